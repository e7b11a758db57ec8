"""This project's models inside lmms-eval: the model "open_qwen_audio".

    lmms-eval eval --model open_qwen_audio --model_args pretrained=folder --tasks vocalsound

lmms-eval finds the model by the entry point `lmms_eval.models` of this package, which names `manifest`. The context of
a request is asked as a question about its recordings; with `task=asr` (any slug of `qwen_audio.format.tasks`) among the
model's arguments the context is left out and the task's own tags are the prompt, which is what a model that was never
tuned on questions knows best. Decoding is greedy, as lmms-eval's audio tasks ask for.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qwen_audio.api import QwenAudio, Request, load, load_window
from qwen_audio.audio.load import AudioError
from qwen_audio.format import tasks
from qwen_audio.inference.scoring import score_answers
from qwen_audio.results.passages import join_words

if TYPE_CHECKING:
    _Base: Any = object
else:
    try:
        from lmms_eval.api.model import lmms as _Base
    except ImportError:  # the class can be used, and is tested, without
        _Base = object

MODEL = "open_qwen_audio"
_BEAMS = ("num_beams", "num_return_sequences")


def manifest() -> Any:
    """What lmms-eval's registry loads by the entry point."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id=MODEL, simple_class_path=f"{__name__}.OpenQwenAudio")


class OpenQwenAudio(_Base):
    """A model of this project that answers lmms-eval's requests.

    Args:
        pretrained: folder of a checkpoint; "embedded" is the model inside the package.
        device, dtype: as of `qwen_audio.load`.
        batch_size: requests answered at once; an answer does not depend on it.
        task: a slug of the task table asked by its tags, for every request; None asks the context as a question.
        language: code of the spoken language for such a task; None lets the model predict it.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str = "embedded",
        device: str | None = None,
        dtype: str | None = None,
        batch_size: int | str = 8,
        task: str | None = None,
        language: str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        # lmms-eval passes its own settings to every model, None where they were not given.
        unknown = {name: value for name, value in unknown.items() if name != "max_batch_size" and value}
        if unknown:
            raise ValueError(f"unknown argument {min(unknown)!r} of {MODEL}: see docs/peers.md")
        if task is not None:
            tasks.task_of(task)
        if not str(batch_size).isdecimal() or int(batch_size) < 1:
            raise ValueError(f"batch_size is {batch_size!r}: give a whole number of 1 or more")
        self.batch_size = int(batch_size)
        self.task, self.language = task, language
        self._rank, self._world_size = _place()
        if device == "cuda" and self._world_size > 1:
            device = f"cuda:{os.environ.get('LOCAL_RANK', self._rank)}"
        self.audio_model: QwenAudio = load(
            None if pretrained == "embedded" else pretrained, device=device, dtype=dtype
        )

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Answers in the order of the requests, without tags, ended at the first of the `until` strings.

        A recording that cannot be read or is over 30 s gives "" and a warning: lmms-eval knows no failures, and a
        wrong answer is what it then counts.
        """
        answers: dict[int, str] = {}
        for rows in _batches(len(requests), self.batch_size):
            asked: list[tuple[int, Request, list[str]]] = []
            for row in rows:
                context, options, to_audio, doc_id, task, split = requests[row].args
                limit, until = _decoding(options)
                try:
                    waves = self._waves(to_audio, doc_id, task, split)
                except AudioError as error:
                    warnings.warn(f"{task} {doc_id}: {error} The answer is left empty.", stacklevel=2)
                    answers[row] = ""
                    continue
                asked.append((row, self._request(context, waves, limit), until))
            made = self.audio_model.run([request for _, request, _ in asked], max(len(asked), 1))
            for (row, _, until), output in zip(asked, made, strict=True):
                words = output.parsed.words
                text = join_words(words, output.language) if words else output.parsed.text
                answers[row] = _cut(text, until)
        for row, request in enumerate(requests):
            hook = getattr(self, "cache_hook", None)
            if hook is not None:
                hook.add_partial("generate_until", request.args[:2], answers[row])
        return [answers[row] for row in range(len(requests))]

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Log-probability of each continuation with its end token, and whether greedy decoding gives just it.

        Raises AudioError for a recording that cannot be read, since no number can stand for it.
        """
        results = []
        for request in requests:
            context, continuation, to_audio, doc_id, task, split = request.args
            if callable(continuation):
                continuation = continuation(self.task_dict[task][split][doc_id])
            text = str(continuation).strip()
            waves = self._waves(to_audio, doc_id, task, split)
            asked = self._request(context, waves, None)
            prompt = tasks.prompt(asked.task, language=asked.language or "unknown", question=asked.question)
            model = self.audio_model
            (score,) = score_answers(model.model, model.processor, waves, prompt, [text])
            greedy = model.run([replace(asked, prompt=prompt)])[0].parsed.text
            results.append((score, greedy == text))
        return results

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Dialogues of several rounds are not for these models: NotImplementedError."""
        raise NotImplementedError(f"{MODEL} answers one question about its recordings, not dialogues")

    def _request(self, context: str, waves: list[np.ndarray], limit: int | None) -> Request:
        if self.task is None:
            return Request("audio_qa", waves, question=context.strip() or None, max_new_tokens=limit)
        return Request(self.task, waves, language=self.language, max_new_tokens=limit)

    def _waves(self, to_audio: Callable[[Any], Any], doc_id: Any, task: str, split: str) -> list[np.ndarray]:
        found = to_audio(self.task_dict[task][split][doc_id])
        return [_wave(one) for one in (found if isinstance(found, list) else [found])]


def _wave(audio: Any) -> np.ndarray:
    """(n,) float32 at 16 kHz of what a data set holds: a decoder, {array, sampling_rate}, bytes, a path."""
    if hasattr(audio, "get_all_samples"):  # the decoder of `datasets` from version 4 on
        samples = audio.get_all_samples()
        return load_window((np.asarray(samples.data), int(samples.sample_rate)))
    if isinstance(audio, dict):
        if audio.get("array") is not None:
            return load_window((np.asarray(audio["array"]), int(audio["sampling_rate"])))
        return load_window(audio["bytes"] if audio.get("bytes") is not None else audio["path"])
    return load_window(audio)


def _decoding(options: dict[str, Any]) -> tuple[int | None, list[str]]:
    """The bound on new tokens and the strings that end an answer; ValueError for what is not greedy."""
    if options.get("do_sample") and (options.get("temperature") or 0) > 0:
        raise ValueError(f"{MODEL} answers greedily: give temperature 0 in generation_kwargs")
    if any((options.get(name) or 1) != 1 for name in _BEAMS):
        raise ValueError(f"{MODEL} answers greedily: give num_beams 1 in generation_kwargs")
    until = options.get("until") or []
    return options.get("max_new_tokens"), [until] if isinstance(until, str) else list(until)


def _cut(text: str, until: Sequence[str]) -> str:
    for end in filter(None, until):
        text = text.split(end, 1)[0]
    return text.strip()


def _batches(count: int, size: int) -> Iterator[range]:
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


def _place() -> tuple[int, int]:
    """Number of this process and how many there are, as torchrun and accelerate set them."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))

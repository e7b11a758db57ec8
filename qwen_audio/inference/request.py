"""Requests and outputs, exchanged between the Python API, its callers and the engine.

Five rules hold for every answer, in any batch:

- Only ids that can occur in an answer are produced: plain text, the end of text, and the special tokens that
  the prompt's task writes (time tags after `<|timestamps|>`, note tags after `<|note_analysis|>` ...). All
  other special tokens and the rows beyond the vocabulary were never a training target there; their logits
  are meaningless.
- A row ends at its own length limit, regardless of the other rows' limits.
- Word times rise, stay within the recording and surround every word; with a closed set the answer is one of it
  (constraints.py).
- A row ends when its last 64 tokens are one block repeated; one copy of the block is kept (stopping.py).
- Sampling is independent for each row (sampling.py).

Rows never see padding, so a row's answer does not depend on its batch. All of them are decoded by token_loop.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any

import numpy as np
from torch import Tensor

from qwen_audio.audio.features import log_mel
from qwen_audio.audio.load import SAMPLE_RATE, AudioError
from qwen_audio.format import tags, tasks
from qwen_audio.format.answers import BODIES
from qwen_audio.format.tags import Segment
from qwen_audio.format.tasks import Parsed
from qwen_audio.inference.allowed import allowed_ids
from qwen_audio.inference.constraints import ChoiceTrie, TimeGrammar
from qwen_audio.inference.row_cache import length_dependent
from qwen_audio.inference.sampling import Sampling
from qwen_audio.inference.scoring import best_language
from qwen_audio.inference.token_loop import Generation, Row, Rule

# Upper bounds of an answer's length. Speech: fast speech is 25 characters a second, up to 2 tokens each in a
# vocabulary of bytes, and word times add a few tokens. All else is a sentence or a short record.
SPEECH_TOKENS_PER_SECOND = 60
SPEECH_EXTRA_TOKENS = 40
ANSWER_TOKENS = 256

_EARLY_ENDS = {
    "length": "the answer reached its length limit and was ended there",
    "loop": "the answer repeated itself and was ended there",
}


@dataclass(frozen=True)
class Request:
    """A task on one or more recordings ((n,) float32, 16 kHz, at most 30 s each).

    The next fields go into the task's prompt, see `tasks.prompt`; language None on a speech task is
    predicted. `prompt` replaces them all. `max_new_tokens` replaces the bound on the answer's length, which for speech
    comes from the duration; without `loop_guard` an answer may repeat itself up to that bound. `sampling` samples the
    tokens; None decodes greedily. With `constrain` the answer is one of `choices`, decoded greedily among the tokens
    that lead to one of them, which need not give the most probable one (scoring.py compares whole answers).
    """

    task: str
    waves: list[np.ndarray]
    language: str | None = None
    target_language: str | None = None
    question: str | None = None
    choices: list[str] | None = None
    instruction: str | None = None
    prompt: list[Segment] | None = None
    max_new_tokens: int | None = None
    loop_guard: bool = True
    sampling: Sampling | None = None
    constrain: bool = False


@dataclass(frozen=True)
class Output:
    """The answer to a request.

    Attributes:
        raw: the generated string.
        parsed: the same as data.
        language: of the speech; None where there is none.
        problems: the repairs, and why an answer ended early, in sentences.
        ended_by: "end", or why it was cut: "length" or "loop" (it repeated itself).
    """

    raw: str
    parsed: Parsed
    language: str | None
    problems: list[str] = field(default_factory=list)
    ended_by: str = "end"


class Prepared:
    """A request as a row of the token loop, and the parsing of its answer.

    Raises:
        ValueError: no such task, no recording for a task that needs one, a limit that is no whole number or below 1,
            a prompt longer than the model has positions, `constrain` without choices.
        AudioError: a recording that is no array, empty, too long or not made of numbers.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        request: Request,
        on_text: Callable[[str], None] | None = None,
    ) -> None:
        self._model, self._processor, self._request, self._on_text = model, processor, request, on_text
        _check(request)
        self._seconds = seconds_of(request.waves)
        self._trie = ChoiceTrie(processor.tokenizer, request.choices or ()) if request.constrain else None
        self.language = request.language
        mels = [log_mel(wave) for wave in request.waves]
        row = self._row(mels, self.language)
        spoken = tasks.task_of(request.task).audio_language == tasks.SPOKEN
        if request.prompt is None and request.language is None and spoken:
            # Every language's tag is one token, so the prompt's length is the same for all.
            extra = len(self._row(mels, "en").ids) - len(row.ids)
            row = replace(row, then=self._go_on, extra=extra)
        most = model.config.get_text_config(decoder=True).max_position_embeddings
        if len(row.ids) + row.extra > most and not length_dependent(model):  # those are made to go beyond
            raise ValueError(
                f"the prompt has {len(row.ids) + row.extra} tokens, over the {most} positions of the model: "
                "shorten the text, or give fewer recordings"
            )
        self.row = row
        self._mels = mels

    def output(self, generation: Generation) -> Output:
        """The answer as data."""
        request = self._request
        if self._trie is not None:  # the caller's spelling: the tokens are in Unicode's composed form
            generation = replace(generation, text=self._trie.answer(generation.ids))
        parsed = tasks.parse(request.task, generation.text, request.choices)
        early = [_EARLY_ENDS[generation.ended_by]] if generation.ended_by != "end" else []
        return Output(generation.text, parsed, self.language, [*parsed.problems, *early], generation.ended_by)

    def _go_on(self, logits: Tensor) -> Row:
        """The row with the predicted language, from the logits (V,) after the transcription tag."""
        self.language = best_language(self._processor.tokenizer, logits)
        return self._row(self._mels, self.language)

    def _row(self, mels: list[Tensor], language: str | None) -> Row:
        request = self._request
        prompt = request.prompt
        if prompt is None:
            prompt = tasks.prompt(
                request.task,
                language=language,
                target_language=request.target_language,
                question=request.question,
                choices=request.choices,
                instruction=request.instruction,
            )
        return task_row(
            self._model,
            self._processor,
            mels,
            self._seconds,
            prompt,
            self._limit(),
            sampling=request.sampling,
            choices=self._trie,
            on_text=self._on_text,
            loop_guard=request.loop_guard,
        )

    def _limit(self) -> int:
        request = self._request
        if request.max_new_tokens is not None:
            return request.max_new_tokens
        if not BODIES[tasks.task_of(request.task).body].grows:
            return ANSWER_TOKENS
        return SPEECH_EXTRA_TOKENS + int(SPEECH_TOKENS_PER_SECOND * self._seconds)


def _check(request: Request) -> None:
    """Refuse a request that would give an empty answer, or an unclear error later; ValueError or AudioError."""
    limit = request.max_new_tokens
    if limit is not None:
        if isinstance(limit, bool) or not isinstance(limit, Integral):
            raise ValueError(f"max_new_tokens is {limit!r}: give a whole number, or None")
        if limit < 1:
            raise ValueError(f"max_new_tokens is {limit}: give 1 or more, or None")
    if request.constrain and not request.choices:
        raise ValueError("constrain is set and there are no choices: give the answers in choices")
    waves = request.waves
    if not isinstance(waves, Sequence):
        raise ValueError(
            f"waves is of type {type(waves).__name__}: give a list of arrays, one for each recording"
        )
    for wave in waves:
        if not isinstance(wave, np.ndarray | Tensor):
            raise AudioError(
                f"a recording is of type {type(wave).__name__}: give an array (n,) of floats at 16 kHz"
            )
    # A question, and a prompt of the caller's, need no recording.
    asked = tasks.task_of(request.task).task_tag == tags.QUESTION and request.question
    if not len(waves) and request.prompt is None and not asked:
        raise ValueError(f"the task {request.task!r} needs a recording and there is none: give one in waves")


def task_row(
    model: Any,
    processor: Any,
    mels: Sequence[Tensor],
    seconds: float,
    prompt: list[Segment],
    limit: int,
    *,
    sampling: Sampling | None = None,
    choices: ChoiceTrie | None = None,
    on_text: Callable[[str], None] | None = None,
    loop_guard: bool = True,
) -> Row:
    """The row of the token loop for one prompt on recordings of `seconds` with the log-mels (80, T) `mels`."""
    tokenizer = processor.tokenizer
    rules: list[Rule] = []
    tagged = "".join(segment.text for segment in prompt if segment.special)
    if choices is not None:  # it ends by itself
        rules, limit, loop_guard = [choices], choices.longest, False
    elif tags.TRANSCRIBE in tagged and tagged.endswith(tags.TIMESTAMPS + tags.time_tag(0.0)):
        rules = [TimeGrammar(tokenizer, seconds)]
    ids, _ = processor.encode_row([mel.shape[-1] for mel in mels], prompt)
    return Row(
        ids,
        limit,
        allowed_ids(tokenizer, [prompt], model.config.text_config.vocab_size)[0],
        mels=mels,
        sampling=sampling,
        guarded=loop_guard,
        rules=rules,
        on_text=on_text,
    )


def seconds_of(waves: Sequence[np.ndarray]) -> float:
    """Total length of a row's recordings in seconds."""
    return sum(len(wave) for wave in waves) / SAMPLE_RATE

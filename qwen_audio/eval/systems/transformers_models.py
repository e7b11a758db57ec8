"""Models of a local folder that transformers' Auto classes load: Whisper and its like, CTC models, chat models.

    TransformersSystem("models/whisper-small", "cuda")

Nothing is fetched, no code of the folder is run, and weights are read from safetensors alone. Decoding is greedy.

| family | which folders | tasks | batches |
|---|---|---|---|
| whisper | `model_type` is whisper | asr; into English; word times with alignment heads | rows of 30 s |
| speech | others of `AutoModelForSpeechSeq2Seq` | asr | one by one |
| ctc | `AutoModelForCTC` | asr; word times where the tokenizer has a word delimiter | one by one |
| chat | `AutoModelForMultimodalLM` with a chat template | those answered in plain text | padded left |

Whisper sees every clip padded to 30 s, and a chat model masks the padding, so their rows do not see each other; all
others (some normalise over the padding) and all word times are computed one by one. What batches leave is the rounding
of matrix products of another size, as in any model; `batch_size` 1 has none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qwen_audio.audio import SAMPLE_RATE
from qwen_audio.eval.systems.base import Item, Reply
from qwen_audio.eval.systems.plain import in_plain_text, question_of, raw_answer, raw_words
from qwen_audio.timestamps import Word

CHAT_TOKENS = 256  # of an answer, where the benchmark does not say
FAMILIES = ("chat", "whisper", "ctc", "speech")
_PROMPT_TOKENS = 4  # of a Whisper decoder: start, language, task, times


class TransformersSystem:
    """A model of a folder. ValueError of one sentence for a folder that cannot be used.

    Args:
        folder: with config.json, safetensors and the processor's files.
        device: "cpu", "cuda" ...; None takes the GPU when there is one. float32 on a CPU, else as the weights are.
    """

    def __init__(self, folder: str | Path, device: str | None = None) -> None:
        import torch

        self.folder = Path(folder)
        self.name = self.folder.resolve().name
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if not (self.folder / "config.json").is_file():
            raise ValueError(f"{folder} has no config.json: give the folder of a transformers model")
        if not list(self.folder.glob("*.safetensors")):
            raise ValueError(f"{folder} has no weights in safetensors: convert them with save_pretrained")
        self.family, self.model, self.processor = self._load()
        self._answer: Callable[[Sequence[Item]], list[Reply]] = getattr(self, f"_{self.family}")

    def facts(self) -> dict[str, Any]:
        """Kind, family and architecture, SHA-256 (16 digits) of the weight files, numbers and decoding."""
        return {
            "kind": "transformers",
            "family": self.family,
            "architecture": type(self.model).__name__,
            "weights": self._digest(),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "decoding": "greedy",
            "language": "the example's" if self.family == "whisper" else None,
            "prompt": "the question of the example or the task" if self.family == "chat" else None,
        }

    def supports(self, task: str) -> bool:
        """See the table of the module."""
        if self.family == "chat":
            return in_plain_text(task)
        if task == "asr":
            return True
        if self.family == "whisper":
            generation = self.model.generation_config
            wanted = {"word_timestamps": "alignment_heads", "speech_translation": "is_multilingual"}
            return bool(getattr(generation, wanted.get(task, ""), None))
        return task == "word_timestamps" and self.family == "ctc" and self._delimiter() is not None

    def answer(self, items: Sequence[Item]) -> list[Reply]:
        """Replies in order; a clip that the model cannot take is an error of its own."""
        replies: dict[int, Reply] = {}
        groups: dict[tuple[Any, ...], list[int]] = {}
        for row, item in enumerate(items):
            reason = self._refusal(item)
            if reason:
                replies[row] = Reply(error=reason)
            else:
                groups.setdefault(self._key(row, item), []).append(row)
        for rows in groups.values():
            for row, reply in zip(rows, self._answer([items[row] for row in rows]), strict=True):
                replies[row] = reply
        return [replies[row] for row in range(len(items))]

    def _refusal(self, item: Item) -> str | None:
        if self.family != "chat" and len(item.waves) != 1:
            return f"{self.name} hears one recording, not {len(item.waves)}"
        target = item.example.target_language
        if self.family == "whisper" and item.example.task == "speech_translation" and target != "en":
            return f"{self.name} translates into English, not {target}"
        return None

    def _key(self, row: int, item: Item) -> tuple[Any, ...]:
        """Items with the same key are computed at once."""
        if self.family == "whisper" and item.example.task != "word_timestamps":
            return item.example.task, self._language(item), item.max_new_tokens
        return (item.max_new_tokens,) if self.family == "chat" else (row,)

    def _load(self) -> tuple[str, Any, Any]:
        """Family, model and processor."""
        import torch
        import transformers
        from safetensors import SafetensorError

        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            config = transformers.AutoConfig.from_pretrained(self.folder, **local)
            processor = transformers.AutoProcessor.from_pretrained(self.folder, **local)
            family = _family(config, processor)
            auto = {
                "chat": transformers.AutoModelForMultimodalLM,
                "ctc": transformers.AutoModelForCTC,
            }.get(family, transformers.AutoModelForSpeechSeq2Seq)
            dtype = torch.float32 if torch.device(self.device).type == "cpu" else "auto"
            model = auto.from_pretrained(
                self.folder, dtype=dtype, use_safetensors=True, output_loading_info=True, **local
            )
            model, found = model
            if found["missing_keys"]:
                raise ValueError(f"the weights lack {sorted(found['missing_keys'])[0]}")
            model = model.to(self.device).eval()
        except (
            ValueError,
            OSError,
            KeyError,
            TypeError,
            RuntimeError,
            ImportError,
            SafetensorError,
        ) as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise ValueError(
                f"{self.folder} is no speech or audio model that transformers can load here: {said[0][:300]}"
            ) from None
        return family, model, processor

    def _digest(self) -> str:
        total = hashlib.sha256()
        for path in sorted(self.folder.glob("*.safetensors")):
            with path.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
        return total.hexdigest()[:16]

    # whisper -----------------------------------------------------------------------------------------------

    def _language(self, item: Item) -> str | None:
        """The code to tell the model; None lets it find out (a language that it lacks, or that is not given)."""
        known = getattr(self.model.generation_config, "lang_to_id", None) or {}
        language = item.example.language
        return language if f"<|{language}|>" in known else None

    def _whisper(self, items: Sequence[Item]) -> list[Reply]:
        task = items[0].example.task
        longest = self.model.config.max_target_positions - _PROMPT_TOKENS
        options: dict[str, Any] = {
            "do_sample": False,
            "num_beams": 1,
            "max_new_tokens": min(items[0].max_new_tokens or longest, longest),
        }
        if getattr(self.model.generation_config, "is_multilingual", False):
            options["task"] = "translate" if task == "speech_translation" else "transcribe"
            options["language"] = self._language(items[0])
        if task == "word_timestamps":
            return [self._whisper_words(items[0], options)]
        inputs = self._features(
            [item.waves[0] for item in items], padding="max_length", return_attention_mask=True
        )
        made = self._generate(inputs, options)
        return [Reply(raw_answer(task, text)) for text in self._decoded(made)]

    def _whisper_words(self, item: Item, options: dict[str, Any]) -> Reply:
        from transformers import pipeline

        run = pipeline(
            "automatic-speech-recognition",
            model=self.model,
            tokenizer=self.processor.tokenizer,
            feature_extractor=self.processor.feature_extractor,
            device=self.model.device,
        )
        wave = item.waves[0]
        with _quiet():
            found: Any = run(
                {"raw": wave, "sampling_rate": SAMPLE_RATE}, return_timestamps="word", generate_kwargs=options
            )
        seconds = len(wave) / SAMPLE_RATE
        words = [
            Word(
                chunk["text"],
                chunk["timestamp"][0] or 0.0,
                seconds if chunk["timestamp"][1] is None else chunk["timestamp"][1],
            )
            for chunk in found["chunks"]
        ]
        return Reply(*raw_words(words, seconds))

    # others that transcribe ----------------------------------------------------------------------------------

    def _speech(self, items: Sequence[Item]) -> list[Reply]:
        options: dict[str, Any] = {"do_sample": False, "num_beams": 1}
        if items[0].max_new_tokens is not None:
            options["max_new_tokens"] = items[0].max_new_tokens
        made = self._generate(self._features([items[0].waves[0]]), options)
        return [Reply(text.strip()) for text in self._decoded(made)]

    def _ctc(self, items: Sequence[Item]) -> list[Reply]:
        import torch

        wave = items[0].waves[0]
        with torch.inference_mode():
            ids = self.model(**self._features([wave])).logits[0].argmax(-1).cpu()
        tokenizer = self.processor.tokenizer
        if items[0].example.task == "asr":
            return [Reply(tokenizer.decode(ids, skip_special_tokens=True).strip())]
        found = tokenizer.decode(ids, skip_special_tokens=True, output_word_offsets=True)
        seconds = len(wave) / SAMPLE_RATE
        step = self.model.config.inputs_to_logits_ratio / SAMPLE_RATE
        words = [
            Word(word["word"], word["start_offset"] * step, word["end_offset"] * step)
            for word in found.word_offsets
        ]
        return [Reply(*raw_words(words, seconds))]

    def _delimiter(self) -> str | None:
        """What parts words in the output of a CTC model, without which it has no words to give times to."""
        usable = hasattr(self.model.config, "inputs_to_logits_ratio")
        return getattr(self.processor.tokenizer, "word_delimiter_token", None) if usable else None

    # chat --------------------------------------------------------------------------------------------------

    def _chat(self, items: Sequence[Item]) -> list[Reply]:
        from transformers import GenerationConfig

        texts = []
        for item in items:
            content = [{"type": "audio", "audio_url": "given"} for _ in item.waves]
            turn = {
                "role": "user",
                "content": [*content, {"type": "text", "text": question_of(item.example)}],
            }
            texts.append(
                self.processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
            )
        inputs = self.processor(
            text=texts,
            audio=[wave for item in items for wave in item.waves],
            sampling_rate=SAMPLE_RATE,
            return_tensors="pt",
            padding=True,
            padding_side="left",
        )
        saved = self.model.generation_config  # its ends count, not how it would draw
        limit = items[0].max_new_tokens or CHAT_TOKENS
        plain = GenerationConfig(
            do_sample=False,
            max_new_tokens=limit,
            eos_token_id=saved.eos_token_id,
            pad_token_id=saved.pad_token_id,
            bos_token_id=saved.bos_token_id,
        )
        width = inputs["input_ids"].shape[1]
        made = self._generate(inputs.to(self.model.device, self.model.dtype), {"generation_config": plain})
        new = made[:, width:]
        ends = saved.eos_token_id if isinstance(saved.eos_token_id, list) else [saved.eos_token_id]
        replies = []
        for item, row, text in zip(items, new, self._decoded(new), strict=True):
            ended = len(row) < limit or any(int(token) in ends for token in row)
            problems = () if ended else (f"the answer was cut at {limit} tokens",)
            replies.append(Reply(raw_answer(item.example.task, text), problems))
        return replies

    # all ---------------------------------------------------------------------------------------------------

    def _features(self, waves: list[np.ndarray], **options: Any) -> dict[str, Any]:
        extractor = getattr(self.processor, "feature_extractor", self.processor)
        made = extractor(waves, sampling_rate=SAMPLE_RATE, return_tensors="pt", **options)
        return dict(made.to(self.model.device, self.model.dtype))

    def _generate(self, inputs: Any, options: dict[str, Any]) -> Any:
        import torch

        with torch.inference_mode(), _quiet():
            return self.model.generate(**inputs, **options)

    def _decoded(self, ids: Any) -> list[str]:
        texts: list[str] = self.processor.batch_decode(ids, skip_special_tokens=True)
        return texts


def _quiet() -> Any:
    """Without transformers' warnings of options that it sets itself, one for every clip."""
    from qwen_audio.model import hf  # late, as transformers everywhere here

    return hf.quiet()


def _family(config: Any, processor: Any) -> str:
    """Which of FAMILIES a folder belongs to; ValueError for none."""
    import transformers

    from qwen_audio.model import hf

    kind = type(config)
    if config.model_type == "qwen_audio":
        raise ValueError("it is a model of this project, which the system 'ours' loads")
    if config.model_type == "whisper":
        return "whisper"
    if (
        any(name.endswith("ForCTC") for name in config.architectures or ())
        or kind in transformers.MODEL_FOR_CTC_MAPPING
    ):
        return "ctc"
    if hf.is_multimodal(config) and hasattr(processor, "feature_extractor"):
        if not getattr(processor, "chat_template", None):
            raise ValueError("its processor has no chat template: save one with the processor")
        return "chat"
    if kind in transformers.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING:
        return "speech"
    raise ValueError(f"a {config.model_type} model hears nothing")

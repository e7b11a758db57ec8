"""Greedy decoding of a batch, and what keeps it sane.

Four rules hold for every answer, in any batch:

- Only ids that can occur in an answer are produced: plain text, the end of text, and the special tokens that
  the prompt's task writes (time tags after `<|timestamps|>`, note tags after `<|note_analysis|>` ...). All
  other special tokens and the rows beyond the vocabulary were never a training target there; their logits
  mean nothing.
- A row ends at its own length limit, whatever limit its neighbours have.
- Word times rise, stay within the recording and surround every word (see constraints.py).
- A row ends when its last 64 tokens are one block repeated; one copy of the block is kept.

Rows are padded on the left and never see the padding, so a row's answer does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from qwen_audio import tags
from qwen_audio.audio import SAMPLE_RATE
from qwen_audio.constraints import TimeGrammar
from qwen_audio.tags import Segment

# A block of 1 to 32 tokens that fills the last 64 is a loop, not language: ten "zero " in bytes are 50.
LOOP_TOKENS = 64
LOOP_LONGEST_BLOCK = 32

_TIMES = (*(tags.time_tag(t / tags.TICKS_PER_SECOND) for t in range(tags.MAX_TICK + 1)), tags.SILENCE)
_ENTITY = (
    tags.START_OF_ENTITY_VALUE,
    tags.END_OF_ENTITY_VALUE,
    tags.START_OF_ENTITY_TYPE,
    tags.END_OF_ENTITY_TYPE,
)
_MIDI = (
    *(tags.pitch_tag(n) for n in range(tags.MIDI_VALUES)),
    *(tags.velocity_tag(n) for n in range(tags.MIDI_VALUES)),
)
# Tag in the prompt -> special tokens that its answers may hold.
ANSWER_TAGS: dict[str, tuple[str, ...]] = {
    tags.TIMESTAMPS: (*_TIMES, tags.DELIMITER),
    tags.QUESTION: _TIMES,  # an answer may say when
    tags.AUDIO_GROUNDING: (tags.START_OF_WORD, tags.END_OF_WORD, tags.DELIMITER),
    tags.NOTE_ANALYSIS: (tags.PITCH, tags.VELOCITY, tags.SONIC, tags.INSTRUMENT, *_MIDI),
    tags.NAMED_ENTITY_RECOGNITION: _ENTITY,
    tags.SPEECH_UNDERSTANDING: (*_ENTITY, tags.SCENARIO, tags.ACTION, tags.ENTITIES),
}


@dataclass(frozen=True)
class Generation:
    """Generated text with its special tokens, less the end token, and why it ended: end, length or loop."""

    text: str
    ended_by: str


def generate(
    model: Any,
    processor: Any,
    waves: Sequence[list[np.ndarray]],
    prompts: Sequence[list[Segment]],
    max_new_tokens: int | Sequence[int],
) -> list[Generation]:
    """Answers of one batch.

    Args:
        waves: for each row its recordings, (n,) float32 at 16 kHz, at most 30 s each.
        prompts: for each row the segments after its audio spans.
        max_new_tokens: one limit, or one for each row.
    """
    if len(waves) != len(prompts):
        raise ValueError(f"{len(waves)} rows of audio but {len(prompts)} prompts: give one for each row")
    limits = [max_new_tokens] * len(waves) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    if len(limits) != len(waves) or min(limits, default=1) < 1:
        raise ValueError(
            f"max_new_tokens must be one positive number, or one for each of the {len(waves)} rows"
        )
    if not waves:
        return []
    tokenizer = processor.tokenizer
    inputs = _inputs(model, processor, waves, prompts)
    width = inputs["input_ids"].shape[1]
    stops = _RowStops(width, limits, tokenizer.eos_token_id)
    allowed = _allowed_ids(tokenizer, prompts, model.config.text_config.vocab_size).to(model.device)
    settings = GenerationConfig(
        max_new_tokens=max(limits),
        do_sample=False,
        num_beams=1,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    with torch.inference_mode():
        ids = model.generate(
            **inputs,
            generation_config=settings,
            logits_processor=LogitsProcessorList(
                [_AllowedOnly(allowed), TimeGrammar(tokenizer, width, _timed_seconds(waves, prompts))]
            ),
            stopping_criteria=StoppingCriteriaList([stops]),
        )
    return [
        _finish(tokenizer, row, limit, loop)
        for row, limit, loop in zip(ids[:, width:].tolist(), limits, stops.loop_at, strict=True)
    ]


def _inputs(
    model: Any, processor: Any, waves: Sequence[list[np.ndarray]], rows: Sequence[list[Segment]]
) -> dict[str, Tensor]:
    batch = processor(list(waves), list(rows), padding_side="left").to(model.device)
    return {name: tensor for name, tensor in batch.items() if name != "labels"}


def _finish(tokenizer: Any, ids: list[int], limit: int, loop_at: int | None) -> Generation:
    ids = ids[:limit]
    if loop_at is not None:
        ids, ended_by = ids[:loop_at], "loop"
    elif tokenizer.eos_token_id in ids:
        ids, ended_by = ids[: ids.index(tokenizer.eos_token_id)], "end"
    else:
        ended_by = "length"
    return Generation(tokenizer.decode(ids, skip_special_tokens=False).strip(), ended_by)


def _timed_seconds(waves: Sequence[list[np.ndarray]], prompts: Sequence[list[Segment]]) -> list[float | None]:
    """Length of each row's recording if the row transcribes with times, else None."""
    seconds: list[float | None] = []
    for row, prompt in zip(waves, prompts, strict=True):
        tagged = "".join(segment.text for segment in prompt if segment.special)
        timed = tags.TRANSCRIBE in tagged and tagged.endswith(tags.TIMESTAMPS + tags.time_tag(0.0))
        seconds.append(sum(len(wave) for wave in row) / SAMPLE_RATE if timed else None)
    return seconds


def _allowed_ids(tokenizer: Any, prompts: Sequence[list[Segment]], vocabulary: int) -> Tensor:
    """(B, vocabulary) bool: the ids that each row may produce."""
    first_special = tokenizer.special_id(tags.SPECIAL_TOKENS[0])
    allowed = torch.zeros(len(prompts), vocabulary, dtype=torch.bool)
    allowed[:, :first_special] = True
    allowed[:, tokenizer.eos_token_id] = True
    for row, prompt in enumerate(prompts):
        tagged = "".join(segment.text for segment in prompt if segment.special)
        for tag, answers in ANSWER_TAGS.items():
            if tag in tagged:
                allowed[row, [tokenizer.special_id(name) for name in answers]] = True
    return allowed


class _AllowedOnly(LogitsProcessor):
    def __init__(self, allowed: Tensor) -> None:
        self.allowed = allowed

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores.masked_fill(~self.allowed, float("-inf"))


class _RowStops(StoppingCriteria):
    """Ends each row at its own limit, or when it loops; `loop_at[row]` is how many tokens to keep then."""

    def __init__(self, prompt_width: int, limits: list[int], end: int) -> None:
        self.prompt_width, self.limits, self.end = prompt_width, limits, end
        self.loop_at: list[int | None] = [None] * len(limits)

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        made = input_ids.shape[1] - self.prompt_width
        stopped = torch.tensor([made >= limit for limit in self.limits], device=input_ids.device)
        if made >= LOOP_TOKENS:
            for row, tail in enumerate(input_ids[:, -LOOP_TOKENS:].tolist()):
                if self.loop_at[row] is None and made <= self.limits[row] and self.end not in tail:
                    block = loop_length(tail)
                    if block:
                        self.loop_at[row] = made - LOOP_TOKENS + block
                stopped[row] |= self.loop_at[row] is not None
        return stopped


def loop_length(tail: list[int]) -> int:
    """Length of the shortest block (up to 32) that makes up the whole tail by repetition; 0 if none does."""
    for block in range(1, min(LOOP_LONGEST_BLOCK, len(tail) // 2) + 1):
        if tail[block:] == tail[:-block]:
            return block
    return 0


def predict_languages(
    model: Any, processor: Any, waves: Sequence[list[np.ndarray]], prompts: Sequence[list[Segment]]
) -> list[str]:
    """Most probable language code of each row after prompts that end before the audio-language tag.

    "unknown" is one of the nine candidates.
    """
    codes = (*tags.LANGUAGES, "unknown")
    ids = [processor.tokenizer.special_id(tags.language_tag(code)) for code in codes]
    inputs = _inputs(model, processor, waves, prompts)
    with torch.inference_mode():
        logits = model(**inputs, logits_to_keep=1).logits[:, -1]
    return [codes[best] for best in logits[:, ids].argmax(dim=1).tolist()]


def score_answers(
    model: Any, processor: Any, waves: list[np.ndarray], prompt: list[Segment], answers: Sequence[str]
) -> list[float]:
    """Log-probability of each answer with its end token after the prompt, all in one pass.

    The whole sequence counts, so an answer that is the beginning of another one is not favoured.
    """
    endings = [[Segment(answer, False, True), Segment(tags.END_OF_TEXT, True, True)] for answer in answers]
    lengths = [len(processor.tokenizer.encode_segments(ending)[0]) for ending in endings]
    rows = [[*prompt, *ending] for ending in endings]
    inputs = _inputs(model, processor, [waves] * len(rows), rows)
    longest = max(lengths)
    with torch.inference_mode():
        logits = model(**inputs, logits_to_keep=longest + 1).logits[:, :-1].float()
    # Padding is on the left, so every answer ends at the last position: (R, longest) log-probabilities.
    targets = inputs["input_ids"][:, -longest:]
    chosen = logits.log_softmax(-1).gather(2, targets[..., None])[..., 0]
    return [float(chosen[row, longest - length :].sum()) for row, length in enumerate(lengths)]

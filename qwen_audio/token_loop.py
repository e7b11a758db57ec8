"""One run of the token loop: prompt tensors go in, one `Generation` for each row comes out.

What holds for every row, in any batch: only allowed ids are produced, a row ends at its own limit, at a stop token or
when it loops, and its draws are its own. Which ids are allowed, and what a prompt is, the callers decide
(generation.py for tasks, dialogue_cache.py for dialogues).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteriaList

from qwen_audio.allowed import stop_ids
from qwen_audio.sampling import Sampler, Sampling
from qwen_audio.stopping import RowStops
from qwen_audio.streaming import BatchStream, OnText


@dataclass(frozen=True)
class Generation:
    """Generated text with its special tokens, less the stop token, and why it ended: end, length or loop.

    ids: the tokens of the text, as generated.
    """

    text: str
    ended_by: str
    ids: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """How a batch is decoded.

    Attributes:
        limits: for each row the most tokens to make.
        allowed: `(B, V)` bool, the ids that each row may produce.
        sampling: for each row how tokens are drawn; None: the most probable one.
        guarded: for each row whether an answer that repeats itself is ended.
        rules: processors of scores that come after `allowed` and before sampling.
        stream: gets a row's number and its new text.
        cache_implementation: name of a cache of transformers; None: its default.
        cache: a cache to use and fill instead.
    """

    limits: list[int]
    allowed: Tensor
    sampling: list[Sampling | None]
    guarded: list[bool]
    rules: list[LogitsProcessor] = field(default_factory=list)
    stream: OnText | None = None
    cache_implementation: str | None = None
    cache: Any = None


def run(model: Any, tokenizer: Any, inputs: dict[str, Tensor], how: Run) -> list[Generation]:
    """Decode a left-padded batch. `inputs`: what `forward` takes, with `input_ids` of the whole prompts."""
    width = inputs["input_ids"].shape[1]
    ends = stop_ids(tokenizer)
    stops = RowStops(width, how.limits, ends, how.guarded)
    processors: list[LogitsProcessor] = [AllowedOnly(how.allowed.to(model.device)), *how.rules]
    if any(how.sampling):
        processors.append(Sampler(how.sampling, model.device))
    settings = GenerationConfig(
        max_new_tokens=max(how.limits),
        do_sample=False,  # draws are made by the Sampler; what is left is to take the largest
        num_beams=1,
        repetition_penalty=1.0,  # not what a checkpoint's generation_config.json may say
        no_repeat_ngram_size=0,
        eos_token_id=ends,
        pad_token_id=tokenizer.eos_token_id,
        cache_implementation=how.cache_implementation,
    )
    streamer = BatchStream(tokenizer, len(how.limits), ends, how.stream) if how.stream else None
    given = {} if how.cache is None else {"past_key_values": how.cache}
    with torch.inference_mode():
        ids = model.generate(
            **inputs,
            **given,
            generation_config=settings,
            logits_processor=LogitsProcessorList(processors),
            stopping_criteria=StoppingCriteriaList([stops]),
            streamer=streamer,
        )
    return [
        _finish(tokenizer, row, limit, loop, stops.stops)
        for row, limit, loop in zip(ids[:, width:].tolist(), how.limits, stops.loop_at, strict=True)
    ]


def _finish(
    tokenizer: Any, ids: list[int], limit: int, loop_at: int | None, stops: frozenset[int]
) -> Generation:
    ids = ids[:limit]
    end = next((at for at, token_id in enumerate(ids) if token_id in stops), None)
    if loop_at is not None:
        ids, ended_by = ids[:loop_at], "loop"
    elif end is not None:
        ids, ended_by = ids[:end], "end"
    else:
        ended_by = "length"
    return Generation(tokenizer.decode(ids, skip_special_tokens=False).strip(), ended_by, ids)


class AllowedOnly(LogitsProcessor):
    """Minus infinity at every id that a row may not produce; `allowed` is `(B, V)` bool."""

    def __init__(self, allowed: Tensor) -> None:
        self.allowed = allowed

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores.masked_fill(~self.allowed, float("-inf"))

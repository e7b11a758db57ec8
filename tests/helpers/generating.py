"""Answers of a batch of prompts, decoded in the caller's thread: the token loop with tests' own prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from qwen_audio.audio.features import log_mel
from qwen_audio.format.tags import Segment
from qwen_audio.inference.constraints import ChoiceTrie
from qwen_audio.inference.request import seconds_of, task_row
from qwen_audio.inference.sampling import Sampling
from qwen_audio.inference.token_loop import Generation, decode


def generate(
    model: Any,
    processor: Any,
    waves: Sequence[list[np.ndarray]],
    prompts: Sequence[list[Segment]],
    max_new_tokens: int | Sequence[int],
    *,
    sampling: Sampling | Sequence[Sampling | None] | None = None,
    choices: Sequence[Sequence[str] | None] | None = None,
    stream: Callable[[int, str], None] | None = None,
    loop_guard: bool | Sequence[bool] = True,
) -> list[Generation]:
    """Answers of one batch, decoded together in the caller's thread.

    Args:
        waves: for each row its recordings, (n,) float32 at 16 kHz, at most 30 s each.
        prompts: for each row the segments after its audio spans.
        max_new_tokens: one limit, or one for each row. A row with choices ends with its choice instead.
        sampling: how tokens are drawn, for all rows or for each; None takes the most probable one.
        choices: for each row the answers it may give, or None for any answer. Token by token the best way on
            towards one of them is taken, which need not lead to the best one: `score_answers` compares whole answers.
        stream: called with a row's number and its new text, whole characters only. Joined, a row's pieces are its
            answer; only an answer that repeated itself is shorter than what was streamed.
        loop_guard: whether an answer that repeats itself is ended, for all rows or for each.
    """
    rows = len(waves)
    if rows != len(prompts):
        raise ValueError(f"{rows} rows of audio but {len(prompts)} prompts: give one for each row")
    limits = [max_new_tokens] * rows if isinstance(max_new_tokens, int) else list(max_new_tokens)
    if len(limits) != rows or min(limits, default=1) < 1:
        raise ValueError(f"max_new_tokens must be one positive number, or one for each of the {rows} rows")
    guarded = [loop_guard] * rows if isinstance(loop_guard, bool) else list(loop_guard)
    if len(guarded) != rows:
        raise ValueError(
            f"loop_guard has {len(guarded)} entries for {rows} rows: give one, or one for each row"
        )
    rules = rules_of(sampling, rows)
    tokenizer = processor.tokenizer
    tries = [None if row is None else ChoiceTrie(tokenizer, row) for row in choices or [None] * rows]
    if len(tries) != rows:
        raise ValueError(f"choices has {len(tries)} entries for {rows} rows: give one for each row")
    todo = [
        task_row(
            model,
            processor,
            [log_mel(wave) for wave in waves[row]],
            seconds_of(waves[row]),
            prompts[row],
            limits[row],
            sampling=rules[row],
            choices=tries[row],
            on_text=None if stream is None else partial(stream, row),
            loop_guard=guarded[row],
        )
        for row in range(rows)
    ]
    made = [run.generation for run in decode(model, tokenizer, todo)]
    # An answer is given as the caller wrote it: in tokens it is in Unicode's composed form.
    return [
        one if trie is None else replace(one, text=trie.answer(one.ids))
        for one, trie in zip(made, tries, strict=True)
        if one is not None
    ]


def rules_of(sampling: Sampling | Sequence[Sampling | None] | None, rows: int) -> list[Sampling | None]:
    """One rule for each of `rows` rows, from one for all or one for each."""
    if sampling is None or isinstance(sampling, Sampling):
        return [sampling] * rows
    if len(sampling) != rows:
        raise ValueError(
            f"sampling has {len(sampling)} entries for {rows} rows: give one, or one for each row"
        )
    return list(sampling)

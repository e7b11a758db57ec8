"""Answers of a batch of prompts, and what keeps them sane.

Five rules hold for every answer, in any batch:

- Only ids that can occur in an answer are produced: plain text, the end of text, and the special tokens that
  the prompt's task writes (time tags after `<|timestamps|>`, note tags after `<|note_analysis|>` ...). All
  other special tokens and the rows beyond the vocabulary were never a training target there; their logits
  mean nothing.
- A row ends at its own length limit, whatever limit its neighbours have.
- Word times rise, stay within the recording and surround every word; a closed set of answers is kept to
  (constraints.py).
- A row ends when its last 64 tokens are one block repeated; one copy of the block is kept (stopping.py).
- What is drawn at random is drawn for each row by itself (sampling.py).

Rows never see padding, so a row's answer does not depend on its batch. All of them are decoded by token_loop.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from qwen_audio import tags
from qwen_audio.allowed import allowed_ids
from qwen_audio.audio import SAMPLE_RATE, log_mel
from qwen_audio.constraints import ChoiceTrie, TimeGrammar
from qwen_audio.sampling import BASE, CHAT, Sampling, rules_of
from qwen_audio.scoring import predict_languages, score_answers
from qwen_audio.stopping import loop_length
from qwen_audio.streaming import OnText
from qwen_audio.tags import Segment
from qwen_audio.token_loop import Generation, Row, Rule, decode

__all__ = [
    "BASE",
    "CHAT",
    "Generation",
    "Sampling",
    "generate",
    "loop_length",
    "predict_languages",
    "score_answers",
    "task_row",
]


def generate(
    model: Any,
    processor: Any,
    waves: Sequence[list[np.ndarray]],
    prompts: Sequence[list[Segment]],
    max_new_tokens: int | Sequence[int],
    *,
    sampling: Sampling | Sequence[Sampling | None] | None = None,
    choices: Sequence[Sequence[str] | None] | None = None,
    stream: OnText | None = None,
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
    """What the token loop needs for one prompt on recordings of `seconds` with the log-mels (80, T) `mels`."""
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
    """Length of a row's recordings together."""
    return sum(len(wave) for wave in waves) / SAMPLE_RATE

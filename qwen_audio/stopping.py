"""When a row of a batch ends: at a stop token, at its own length limit, or when it repeats itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria

# A block of 1 to 32 tokens that fills the last 64 is a loop, not language: ten "zero " in bytes are 50.
LOOP_TOKENS = 64
LOOP_LONGEST_BLOCK = 32


class RowStops(StoppingCriteria):
    """Ends each row at its own limit, or when it loops; `loop_at[row]` is how many tokens to keep then.

    Args:
        prompt_width: positions of the prompt.
        limits: for each row the most tokens to make.
        stops: ids that end a row (transformers ends it; here they show that a row is over).
        guarded: for each row whether loops are looked for.
    """

    def __init__(
        self, prompt_width: int, limits: Sequence[int], stops: Sequence[int], guarded: Sequence[bool]
    ) -> None:
        self.prompt_width, self.limits, self.guarded = prompt_width, list(limits), list(guarded)
        self.stops = frozenset(stops)
        self.loop_at: list[int | None] = [None] * len(self.limits)

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        made = input_ids.shape[1] - self.prompt_width
        stopped = torch.tensor([made >= limit for limit in self.limits], device=input_ids.device)
        if made >= LOOP_TOKENS and any(self.guarded):
            for row, tail in enumerate(input_ids[:, -LOOP_TOKENS:].tolist()):
                running = self.guarded[row] and self.loop_at[row] is None and made <= self.limits[row]
                if running and self.stops.isdisjoint(tail):
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

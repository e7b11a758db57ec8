"""Detection of an answer that repeats itself."""

from __future__ import annotations

from collections.abc import Sequence

# A block of 1 to 32 tokens that fills the last 64 is a loop, not language: ten "zero " in bytes are 50.
LOOP_TOKENS = 64
LOOP_LONGEST_BLOCK = 32


def repeated_block(made: Sequence[int]) -> int | None:
    """Number of tokens to keep if the last 64 are one block repeated, up to the end of its first copy; else None."""
    if len(made) < LOOP_TOKENS:
        return None
    block = loop_length(list(made[-LOOP_TOKENS:]))
    return len(made) - LOOP_TOKENS + block if block else None


def loop_length(tail: list[int]) -> int:
    """Length of the shortest block (up to 32) that makes up the whole tail by repetition; 0 if none does."""
    for block in range(1, min(LOOP_LONGEST_BLOCK, len(tail) // 2) + 1):
        # The last token rules out most lengths cheaply: this runs for each row at each token.
        if tail[-1] == tail[-1 - block] and tail[block:] == tail[:-block]:
            return block
    return 0

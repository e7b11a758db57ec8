"""AAS, the shift of word times: how far starts and ends of recognised words are from the annotated ones.

An output of None is an example that failed; it matches no word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qwen_audio.eval.metrics.score import Score, check_lengths, count_failures, of_ratio


class TimedToken(NamedTuple):
    """A word (or `<|sil|>`) with its start and end in seconds."""

    token: str
    start: float
    end: float


def matched_pairs(reference: Sequence[str], hypothesis: Sequence[str]) -> list[tuple[int, int]]:
    """Indices (i, j) of equal tokens on a minimal edit path; of several, the one matching late tokens."""
    rows, columns = len(reference), len(hypothesis)
    cost = np.zeros((rows + 1, columns + 1), dtype=np.int64)
    cost[:, 0], cost[0, :] = np.arange(rows + 1), np.arange(columns + 1)
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            step = cost[i - 1, j - 1] + (reference[i - 1] != hypothesis[j - 1])
            cost[i, j] = min(step, cost[i - 1, j] + 1, cost[i, j - 1] + 1)
    pairs, i, j = [], rows, columns
    while i and j:
        same = reference[i - 1] == hypothesis[j - 1]
        if cost[i, j] == cost[i - 1, j - 1] + (not same):
            if same:
                pairs.append((i - 1, j - 1))
            i, j = i - 1, j - 1
        elif cost[i, j] == cost[i, j - 1] + 1:
            j -= 1
        else:
            i -= 1
    return pairs[::-1]


def alignment_shift(
    references: Sequence[Sequence[TimedToken]],
    hypotheses: Sequence[Sequence[TimedToken] | None],
    *,
    per_timestamp: bool = True,
) -> Score:
    """AAS in seconds: sum of |start shift| + |end shift| over matched tokens.

    `per_timestamp=True` divides by the number of time stamps (two a token); False divides by tokens, which
    is the published convention and twice as large. An output that could not be read matches nothing and so
    leaves the mean untouched: read `details["matched_share"]` (matched over wanted tokens) beside it.
    """
    check_lengths(references, hypotheses)
    shifts: list[float] = []
    counts: list[float] = []
    wanted_tokens = 0
    for wanted, got in zip(references, hypotheses, strict=True):
        wanted_tokens += len(wanted)
        got = got or []
        pairs = matched_pairs([t.token for t in wanted], [t.token for t in got])
        shifts.append(
            sum(abs(wanted[i].start - got[j].start) + abs(wanted[i].end - got[j].end) for i, j in pairs)
        )
        counts.append(len(pairs) * (2 if per_timestamp else 1))
    matched = sum(counts) / (2 if per_timestamp else 1)
    name = "aas" if per_timestamp else "aas_per_token"
    return of_ratio(
        name,
        shifts,
        counts,
        failures=count_failures(hypotheses),
        signature="align:edit-distance|failed:unmatched",
        unit="seconds",
        higher_is_better=False,
        details={"matched_tokens": float(matched), "matched_share": matched / max(wanted_tokens, 1)},
    )

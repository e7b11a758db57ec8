"""Two systems on the same examples: how much better one is, and whether that may be chance.

    from qwen_audio.eval.metrics.compare import compare
    compare(score_of_a, score_of_b)

The interval is a paired bootstrap: the same examples are drawn for both. The p-value is that of approximate
randomisation (Noreen 1989; Riezler and Maxwell 2005): how often a difference as large comes about when the two
systems' results are swapped at random, example by example. Both work on whatever a score was made of, so BLEU and
an equal error rate are compared as an accuracy is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qwen_audio.eval.metrics.score import BOOTSTRAP_ROUNDS, BOOTSTRAP_SEED, Score

_BOTH = (BOOTSTRAP_SEED, 1), (BOOTSTRAP_SEED, 2)  # seeds of the two kinds of draws


@dataclass(frozen=True)
class Comparison:
    """a minus b.

    interval: 95 %, of the difference; p_value: two-sided, of a difference at least as large if the systems were
    equal (1 / (rounds + 1) at the least); n: examples compared.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float
    n: int
    method: str


def compare(
    a: Score,
    b: Score,
    ids_a: Sequence[str] | None = None,
    ids_b: Sequence[str] | None = None,
    *,
    rounds: int = BOOTSTRAP_ROUNDS,
) -> Comparison:
    """The difference of two scores of one measure.

    ids_a, ids_b: of the examples, in the order in which they were scored; those that both have are compared. Without
    them the examples must be the same, in the same order.

    Raises:
        ValueError for scores of different measures, normalisation included, for examples that are not the same, for
        an id that occurs twice, and for scores read from a file.
    """
    if a.signature != b.signature:
        raise ValueError(f"{a.signature} and {b.signature} are not one measure: score both in the same way")
    first, second = a.resampled(), b.resampled()
    one, other = _paired(len(first.rows), len(second.rows), ids_a, ids_b)
    left, right, count = first.rows[one], second.rows[other], len(one)
    if left.shape[1] != right.shape[1]:
        raise ValueError(
            f"the two scores {a.metric} tell examples apart in different ways: score them together"
        )
    value, value_b = first.of, second.of
    difference = value(left) - value_b(right)
    rng = np.random.default_rng(_BOTH[0])
    draws = (rng.integers(0, count, size=count) for _ in range(rounds))
    drawn = np.array([value(left[rows]) - value_b(right[rows]) for rows in draws])
    drawn = drawn[~np.isnan(drawn)]
    interval = tuple(np.percentile(drawn, [2.5, 97.5]).tolist()) if len(drawn) else (float("nan"),) * 2
    rng, extreme = np.random.default_rng(_BOTH[1]), 0
    for _ in range(rounds):
        swap = rng.integers(0, 2, size=(count, 1)).astype(bool)
        shuffled = value(np.where(swap, right, left)) - value_b(np.where(swap, left, right))
        extreme += bool(abs(shuffled) >= abs(difference) - 1e-12)
    p_value = (extreme + 1) / (rounds + 1) if difference == difference else float("nan")
    method = f"paired bootstrap{rounds}, approximate randomisation{rounds}, seed{BOOTSTRAP_SEED}"
    return Comparison(difference, (interval[0], interval[1]), p_value, count, method)


def _paired(
    count_a: int, count_b: int, ids_a: Sequence[str] | None, ids_b: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the examples that both have, in the order of the first."""
    if ids_a is None or ids_b is None:
        if count_a != count_b:
            raise ValueError(
                f"{count_a} examples and {count_b}: give the ids of both to compare what both have"
            )
        return np.arange(count_a), np.arange(count_a)
    for ids, count in ((ids_a, count_a), (ids_b, count_b)):
        if len(ids) != count:
            raise ValueError(f"{len(ids)} ids for {count} scored examples: give one id an example")
        if len(set(ids)) != len(ids):
            raise ValueError("an id occurs twice: give every example its own id")
    row_of = {name: row for row, name in enumerate(ids_b)}
    pairs = [(row, row_of[name]) for row, name in enumerate(ids_a) if name in row_of]
    if not pairs:
        raise ValueError("the two runs have no example in common: compare runs of one benchmark")
    both = np.array(pairs)
    return both[:, 0], both[:, 1]

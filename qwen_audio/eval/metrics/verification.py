"""The equal error rate of yes or no questions to which a system gives a degree of belief."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qwen_audio.eval.metrics.score import Resampled, Score, check_lengths, count_failures, of_rows

# Beliefs are replaced by their ranks in 0 to 1; these are beyond all of them.
_LEAST, _MOST = -1.0, 2.0


def equal_error_rate(targets: Sequence[bool], beliefs: Sequence[float | None]) -> Score:
    """The rate at which misses and false alarms are equally frequent, when the threshold is moved.

    targets: whether the answer is yes; beliefs: how much the system believes in yes, on any scale; None is an example
    that failed, which counts as wrong at every threshold. Between two thresholds the rates are drawn as straight
    lines, as on a ROC curve. nan without a yes or without a no.
    """
    check_lengths(targets, beliefs)
    known = np.array([belief for belief in beliefs if belief is not None], dtype=float)
    # Ranks give the same rate, and make the beliefs of two systems comparable when they are swapped in a test.
    values, ranks = np.unique(known, return_inverse=True)
    scaled = iter(ranks / max(len(values) - 1, 1))
    rows = np.zeros((len(targets), 2))
    for row, (target, belief) in enumerate(zip(targets, beliefs, strict=True)):
        wrong = _LEAST if target else _MOST
        rows[row] = float(target), wrong if belief is None else next(scaled)
    return of_rows(
        "eer",
        Resampled(rows, _rate),
        failures=count_failures(beliefs),
        signature="eer|curve:linear|failed:wrong",
        higher_is_better=False,
        details={"targets": float(rows[:, 0].sum())},
    )


def _rate(rows: np.ndarray) -> float:
    """rows: (n, 2) target (1 or 0) and belief."""
    order = np.argsort(-rows[:, 1], kind="stable")
    target, belief = rows[order, 0], rows[order, 1]
    yes, no = target.sum(), (1 - target).sum()
    if not yes or not no:
        return float("nan")
    last = np.append(np.flatnonzero(np.diff(belief)), len(belief) - 1)  # of each group of equal beliefs
    misses = np.concatenate([[1.0], 1 - np.cumsum(target)[last] / yes])
    alarms = np.concatenate([[0.0], np.cumsum(1 - target)[last] / no])
    after = int(
        np.argmax(alarms >= misses)
    )  # exists: at the end the misses are 0; not the first: alarms are 0 there
    gap, gap_after = misses[after - 1] - alarms[after - 1], misses[after] - alarms[after]
    share = gap / (gap - gap_after)
    return float(alarms[after - 1] + share * (alarms[after] - alarms[after - 1]))

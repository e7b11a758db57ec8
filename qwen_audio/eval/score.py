"""One result object for every score, and the bootstrap interval that comes with it.

A figure is reported with what is needed to read it: over how many examples, how many of them gave no
usable output (they stay in the denominator), how the text was normalised (the signature), and a 95 %
interval from resampling the examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

BOOTSTRAP_ROUNDS = 1000
BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Score:
    """A corpus-level score.

    `value` is a ratio (accuracy, error rate), seconds (AAS) or 0 to 100 (BLEU), as `unit` says. It is nan
    where nothing could be measured (for instance AAS without one matched word). `failures` counts the
    examples without output. `interval` is the 95 % bootstrap interval over examples.
    """

    metric: str
    value: float
    n: int
    failures: int
    signature: str
    interval: tuple[float, float]
    unit: str = "ratio"
    higher_is_better: bool = True
    details: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; nan becomes None, because JSON has no nan."""
        return {
            "metric": self.metric,
            "value": _json_number(self.value),
            "unit": self.unit,
            "higher_is_better": self.higher_is_better,
            "n": self.n,
            "failures": self.failures,
            "interval_95": [_json_number(bound) for bound in self.interval],
            "signature": self.signature,
            "details": {name: _json_number(value) for name, value in self.details.items()},
        }

    def at(self, value: float) -> str:
        """A value of this metric as it is shown: percent, milliseconds or points."""
        if value != value:
            return "n/a"
        if self.unit == "seconds":
            return f"{1000 * value:.0f} ms"
        if self.unit == "ratio":
            return f"{100 * value:.1f} %"
        return f"{value:.2f}"

    def __str__(self) -> str:
        return self.at(self.value)


def _json_number(value: float) -> float | None:
    return None if value != value else float(value)


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Sum over sum: the corpus-level form of every metric but BLEU; nan with nothing to divide by."""
    total = float(np.sum(denominators))
    return float(np.sum(numerators)) / total if total else float("nan")


def bootstrap_interval(
    numerators: Sequence[float], denominators: Sequence[float], rounds: int = BOOTSTRAP_ROUNDS
) -> tuple[float, float]:
    """95 % percentile interval of `ratio` when the examples are drawn again with replacement (fixed seed).

    numerators, denominators: one number an example, (n,). Rounds that draw no denominator are left out;
    (nan, nan) when none is left.
    """
    top, bottom = np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)
    if not len(top):
        return float("nan"), float("nan")
    draws = np.random.default_rng(BOOTSTRAP_SEED).integers(0, len(top), size=(rounds, len(top)))
    tops, bottoms = top[draws].sum(axis=1), bottom[draws].sum(axis=1)
    values = tops[bottoms > 0] / bottoms[bottoms > 0]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def check_lengths(references: Sequence[object], hypotheses: Sequence[object]) -> None:
    """ValueError unless there is one hypothesis (or None) for each reference."""
    if len(references) != len(hypotheses):
        raise ValueError(
            f"{len(references)} references but {len(hypotheses)} hypotheses: "
            "give one output (or None) for each example"
        )


def count_failures(hypotheses: Sequence[object]) -> int:
    """How many examples have no output."""
    return sum(hypothesis is None for hypothesis in hypotheses)


def bootstrap_note() -> str:
    """How the interval was made, for the signature."""
    return f"ci:bootstrap{BOOTSTRAP_ROUNDS}.seed{BOOTSTRAP_SEED}"

"""One result object for every score, and the bootstrap interval that comes with it.

A figure is reported with what is needed to read it: over how many examples, how many of them gave no
usable output (they stay in the denominator), how the text was normalised (the signature), and a 95 %
interval from resampling the examples. Every score also keeps what it was made of, example by example, so that
breakdowns and paired tests (`compare.py`) need not know which metric it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

BOOTSTRAP_ROUNDS = 1000
BOOTSTRAP_SEED = 0

# Numbers drawn at a time: what fits the cache of a processor.
_DRAWN_AT_ONCE = 200_000


@dataclass(frozen=True, eq=False)
class Resampled:
    """A score that is a function of one row of numbers an example: its value on any rows, drawn with repetition.

    rows: (n, k), what is known of each example; of: the score of such rows, in whatever order they come.
    """

    rows: np.ndarray
    of: Callable[[np.ndarray], float]

    def __call__(self, drawn: np.ndarray) -> float:
        """The score of the examples `drawn`, (m,) row numbers."""
        return self.of(self.rows[drawn])


@dataclass(frozen=True)
class Score:
    """A corpus-level score.

    `value` is a ratio (accuracy, error rate), seconds (AAS) or points (BLEU, CIDEr), as `unit` says. It is nan
    where nothing could be measured (for instance AAS without one matched word). `failures` counts the
    examples without output. `interval` is the 95 % bootstrap interval over examples. `measure` is the name by
    which the score was asked for (`measures.MEASURES`). `per_example` holds numerators and denominators, (n,)
    each, of a score that is a sum over a sum; `recompute` gives any other score on resampled rows.
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
    measure: str = ""
    per_example: tuple[np.ndarray, np.ndarray] | None = field(default=None, compare=False, repr=False)
    recompute: Callable[[np.ndarray], float] | None = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; nan becomes None, because JSON has no nan."""
        return {
            "metric": self.metric,
            "measure": self.measure or self.metric,
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

    def resampled(self) -> Resampled:
        """The score as a function of examples; ValueError if it was made without its parts."""
        if isinstance(self.recompute, Resampled):
            return self.recompute
        if self.per_example is None:
            raise ValueError(f"the score {self.metric} was read from a file: score the predictions again")
        return Resampled(np.stack(self.per_example, axis=1).astype(float), _ratio_of_rows)

    def part(self, rows: np.ndarray) -> tuple[float, tuple[float, float]]:
        """Value and 95 % interval of the examples `rows`, (m,) row numbers: one bar of a breakdown."""
        whole = self.resampled()
        one = Resampled(whole.rows[rows], whole.of)
        return one(np.arange(len(one.rows))), interval_of(one)

    @property
    def remark(self) -> str:
        """What must stand beside the figure, if anything: of how many of the wanted words a shift of times is."""
        share = self.details.get("matched_share")
        return "" if share is None else f"of {100 * share:.0f} % of the words"

    def __str__(self) -> str:
        return self.at(self.value)


def _json_number(value: float) -> float | None:
    return None if value != value else float(value)


def ratio(numerators: Sequence[float] | np.ndarray, denominators: Sequence[float] | np.ndarray) -> float:
    """Sum over sum: the corpus-level form of most metrics; nan with nothing to divide by."""
    total = float(np.sum(denominators))
    return float(np.sum(numerators)) / total if total else float("nan")


def _ratio_of_rows(rows: np.ndarray) -> float:
    return ratio(rows[:, 0], rows[:, 1])


def bootstrap_interval(
    numerators: Sequence[float] | np.ndarray,
    denominators: Sequence[float] | np.ndarray,
    rounds: int = BOOTSTRAP_ROUNDS,
) -> tuple[float, float]:
    """95 % percentile interval of `ratio` when the examples are drawn again with replacement (fixed seed).

    numerators, denominators: one number an example, (n,). Rounds that draw no denominator are left out;
    (nan, nan) when none is left.
    """
    top, bottom = np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)
    if not len(top):
        return float("nan"), float("nan")
    rng, values = np.random.default_rng(BOOTSTRAP_SEED), []
    both = top + 1j * bottom  # one look-up for the two of them is three times as fast
    step = max(_DRAWN_AT_ONCE // len(top), 1)
    for begin in range(0, rounds, step):
        draws = rng.integers(0, len(top), size=(min(step, rounds - begin), len(top)))
        sums = both[draws].sum(axis=1)
        sums = sums[sums.imag > 0]
        values.append(sums.real / sums.imag)
    return _percentiles(np.concatenate(values))


def interval_of(score: Resampled, rounds: int = BOOTSTRAP_ROUNDS) -> tuple[float, float]:
    """As `bootstrap_interval`, of a score that has to be computed again in each round."""
    count = len(score.rows)
    if score.of is _ratio_of_rows:
        return bootstrap_interval(score.rows[:, 0], score.rows[:, 1], rounds)
    if not count:
        return float("nan"), float("nan")
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    values = np.array([score(rng.integers(0, count, size=count)) for _ in range(rounds)])
    return _percentiles(values[~np.isnan(values)])


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def of_ratio(
    metric: str,
    numerators: Sequence[float] | np.ndarray,
    denominators: Sequence[float] | np.ndarray,
    *,
    failures: int,
    signature: str,
    n: int | None = None,
    unit: str = "ratio",
    higher_is_better: bool = True,
    details: dict[str, float] | None = None,
) -> Score:
    """The score that is a sum over examples over another one; `signature` without the metric and the interval.

    n: of examples; None counts the numerators.
    """
    top, bottom = np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)
    return Score(
        metric,
        ratio(top, bottom),
        len(top) if n is None else n,
        failures,
        f"{metric}|{signature}|{bootstrap_note()}",
        bootstrap_interval(top, bottom),
        unit,
        higher_is_better,
        details or {},
        per_example=(top, bottom),
    )


def of_rows(
    metric: str,
    score: Resampled,
    *,
    failures: int,
    signature: str,
    unit: str = "ratio",
    higher_is_better: bool = True,
    details: dict[str, float] | None = None,
) -> Score:
    """The score that is a function of all examples; `signature` without the interval."""
    return Score(
        metric,
        score(np.arange(len(score.rows))),
        len(score.rows),
        failures,
        f"{signature}|{bootstrap_note()}",
        interval_of(score),
        unit,
        higher_is_better,
        details or {},
        recompute=score,
    )


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

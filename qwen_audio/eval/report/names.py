"""How measures are called and figures written where people read them."""

from __future__ import annotations

from qwen_audio.eval.metrics.measures import MEASURES, METRIC_TITLES
from qwen_audio.eval.metrics.score import Score


def title_of(metric: str) -> str:
    """A measure, or the metric of a score, in words."""
    row = MEASURES.get(metric)
    return row.title if row else METRIC_TITLES.get(metric, metric.replace("_", " "))


def short_of(measure: str) -> str:
    """A measure as the head of a column."""
    row = MEASURES.get(measure)
    return (row.short if row else "") or title_of(measure)


def arrow(score: Score) -> str:
    """Which direction is better."""
    return "higher is better" if score.higher_is_better else "lower is better"


def interval_of(score: Score) -> str:
    """The 95 % interval as it stands beside a figure."""
    low, high = score.interval
    if low != low or high != high:
        return ""
    return f"{span(score.at(low), score.at(high))} {score.remark}".rstrip()


def span(low: str, high: str) -> str:
    """Two figures with the unit they share written once."""
    for unit in (" %", " ms", " points"):
        low = low.removesuffix(unit) if high.endswith(unit) else low
    return f"{low} to {high}"


def full_of(score: Score, seconds: float) -> float:
    """The value at the end of a bar: that of its scale, `seconds` for times, else 1."""
    return MEASURES[score.measure].full or (seconds if score.unit == "seconds" else 1.0)


def signed(score: Score, value: float) -> str:
    """A difference of two figures with its sign; shares in percentage points."""
    if value != value:
        return "n/a"
    shown = score.at(abs(value)).replace(" %", " points")
    return ("+" if value > 0 else "\N{MINUS SIGN}" if value < 0 else "") + shown


def bytes_of(count: float) -> str:
    """A size of a file in kB or MB."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"

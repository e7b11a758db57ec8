"""Scores of parts of a benchmark: by language, by duration, by signal-to-noise ratio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qwen_audio.eval.metrics.score import Score
from qwen_audio.eval.predictions import Prediction

DURATIONS = (1.0, 2.0, 5.0, 10.0, 20.0)  # seconds; borders of the bins
SNRS = (5.0, 10.0, 20.0, 30.0)  # dB


@dataclass(frozen=True)
class Part:
    """The examples of a benchmark that have something in common: their rows, and the main score over them."""

    facet: str
    name: str
    rows: np.ndarray
    score: Score


def parts(score: Score, predictions: Sequence[Prediction]) -> list[Part]:
    """The parts of a benchmark, facet by facet; a facet in which all examples are alike is left out."""
    found: list[Part] = []
    for facet, key in FACETS.items():
        names = [key(prediction) for prediction in predictions]
        kinds = sorted(set(names), key=lambda name: (name[0], name[1]))
        if len(kinds) < 2 or all(name[1] == UNSTATED for name in kinds):
            continue
        for kind in kinds:
            rows = np.array([row for row, name in enumerate(names) if name == kind])
            value, interval = score.part(rows)
            failures = sum(predictions[row].parsed is None for row in rows)
            part = replace(
                score, value=value, n=len(rows), failures=failures, interval=interval, details={},
                per_example=None, recompute=None,
            )  # fmt: skip
            found.append(Part(facet, kind[1], rows, part))
    return found


UNSTATED = "not stated"


def _bin(value: float | None, borders: Sequence[float], unit: str) -> tuple[int, str]:
    """A number that orders the bin of a value, and its name."""
    if value is None:
        return len(borders) + 1, UNSTATED
    index = int(np.searchsorted(borders, value, side="right"))
    if index == 0:
        return 0, f"under {borders[0]:g} {unit}"
    if index == len(borders):
        return index, f"{borders[-1]:g} {unit} and more"
    return index, f"{borders[index - 1]:g} to {borders[index]:g} {unit}"


def seconds_of(prediction: Prediction) -> float | None:
    """Seconds of audio of an example, as heard or as its manifest says; None where neither tells."""
    told = [ref.duration for ref in prediction.example.audio]
    return prediction.seconds or (sum(d for d in told if d) if all(told) else None)


def snr_of(meta: dict[str, Any]) -> float | None:
    """The signal-to-noise ratio in dB that an example's `meta` states, of its first clip; None where it states none.

    It stands under `snr_db` or `snr`, of its own or among the facts of the `channel` that a synthetic example came
    through (data/channel.py).
    """
    channel = meta.get("channel")
    first = channel[0] if isinstance(channel, list) and channel else channel
    for facts in (first, meta):
        if isinstance(facts, dict):
            for name in ("snr_db", "snr"):
                value = facts.get(name)
                if isinstance(value, int | float) and not isinstance(value, bool):
                    return float(value)
    return None


def _language(prediction: Prediction) -> tuple[int, str]:
    code = prediction.example.language
    return (1, UNSTATED) if code is None else (0, code)


FACETS: dict[str, Callable[[Prediction], tuple[int, str]]] = {
    "language": _language,
    "duration": lambda p: _bin(seconds_of(p), DURATIONS, "s"),
    "signal-to-noise ratio": lambda p: _bin(snr_of(p.example.meta), SNRS, "dB"),
}

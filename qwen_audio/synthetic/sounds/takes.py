"""Takes: single performances of an event class, cut so that their sounding spans are known exactly.

    take(rng, EVENTS["dog barking"], 3.0, pause=0.25)   # -> Take(wave, spans)

A span begins where the performance first comes within 30 dB of its loudest instant and ends where it stays
below for `pause` seconds; everything outside the spans is made silent, so the spans are exact by construction.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.manifest import Example
from qwen_audio.synthetic.sounds.acoustics import samples, stretches
from qwen_audio.synthetic.sounds.models import Model
from qwen_audio.synthetic.sounds.sounds import BROKEN, CLASSES, PAUSE
from qwen_audio.synthetic.sounds.vocal import coughing, laughing

EVENTS: dict[str, Model] = CLASSES | {"laughing": laughing, "coughing": coughing}
_EDGE = 32  # samples of the ramps where a span is cut out
_SHORTEST = 0.03  # s: shorter stretches are no event of their own

# Countable classes: the pause that ends ONE bark, knock ..., and a length (s) that two of them together exceed.
UNITS = {
    "dog barking": (0.03, 0.26), "sneezing": (0.25, 1.3), "rooster crowing": (0.2, 3.0), "door knocking": (0.03, 0.11),
    "coughing": (0.03, 0.45),
}  # fmt: skip
_SECONDS = {
    "rooster crowing": (2.8, 3.2),
    "sneezing": (2.0, 2.6),
    "laughing": (1.2, 3.0),
    "coughing": (1.0, 2.2),
}
_SECONDS_OTHER = (1.2, 4.0)


class Take(NamedTuple):
    """wave: (n,) float with a root mean square of 1 inside the spans; spans: (first sample, end), in order; clip: the
    row of the recording that it is, if it is one."""

    wave: np.ndarray
    spans: tuple[tuple[int, int], ...]
    clip: Example | None = None


def cut(wave: np.ndarray, pause: float) -> Take:
    """The sounding part of (n,) as a Take: it starts with its first span and ends with its last.

    Raises ValueError for a wave of silence.
    """
    found = stretches(wave, pause)
    found = [s for s in found if s[1] - s[0] >= _SHORTEST * SAMPLE_RATE] or found
    if not found:
        raise ValueError("the wave is silent: there is no event in it")
    first = found[0][0]
    spans = tuple((start - first, end - first) for start, end in found)
    out = np.zeros(spans[-1][1])
    ramp = np.linspace(0, 1, _EDGE)
    for (start, end), (at, to) in zip(found, spans, strict=True):
        out[at:to] = wave[start:end]
        edge = min(_EDGE, (to - at) // 2)
        out[at : at + edge] *= ramp[:edge]
        out[to - edge : to] *= ramp[:edge][::-1]
    active = sum(float(np.sum(out[at:to] ** 2)) for at, to in spans) / sum(to - at for at, to in spans)
    return Take(out / max(float(np.sqrt(active)), 1e-12), spans)


def take(rng: np.random.Generator, model: Model, seconds: float, pause: float) -> Take:
    """A performance of at most `seconds`; one that is silent (a bark that came too late) is performed again."""
    while True:
        wave = model(rng, samples(seconds))
        if np.abs(wave).max() > 1e-6:
            return cut(wave, pause)


def perform(rng: np.random.Generator, label: str, longest: float, shortest: float = 0.0) -> Take:
    """A take of an event class between `shortest` (if the class goes on) and `longest` seconds."""
    low, high = _SECONDS.get(label, _SECONDS_OTHER)
    seconds = min(max(rng.uniform(low, high), shortest), longest)
    return take(rng, EVENTS[label], seconds, PAUSE if label in BROKEN else np.inf)


def unit(rng: np.random.Generator, label: str) -> Take:
    """One bark, knock, cough ... of a class of `UNITS`: a take with a single span."""
    pause, most = UNITS[label]
    while True:  # two barks that run into one another are played again
        whole = take(rng, EVENTS[label], _SECONDS.get(label, (2.0, 2.0))[1], pause)
        start, end = whole.spans[0]
        if end - start <= most * SAMPLE_RATE:
            return cut(whole.wave[start:end], np.inf)

"""Takes: single performances of an event class, cut so that it is known when they sound and when they do not.

    take(rng, EVENTS["dog barking"], 3.0, pause=0.25)   # -> Take(wave, spans)

A span begins where the performance first comes within 30 dB of its loudest instant and ends where it stays
below for `pause` seconds; everything outside the spans is made silent, so the spans are exact by construction.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from qwen_audio.audio import SAMPLE_RATE, load_audio
from qwen_audio.data.manifest import read_manifest
from qwen_audio.data.synthetic.acoustics import samples
from qwen_audio.data.synthetic.sound_models import Model
from qwen_audio.data.synthetic.sounds import CLASSES
from qwen_audio.data.synthetic.vocal_models import coughing, laughing

EVENTS: dict[str, Model] = CLASSES | {"laughing": laughing, "coughing": coughing}
FRAME = 80  # samples of the frames in which levels are measured: 5 ms
FLOOR_DB = -30.0  # what lies below the loudest frame by more is not heard as the event
PAUSE = 0.25  # s: sounds of one class that are closer are one span
_EDGE = 32  # samples of the ramps where a span is cut out
_SHORTEST = 0.03  # s: shorter stretches are no event of their own

# Sounds that stop and start again have a span for each; all others go on from the first to the last instant.
BROKEN = (
    "dog barking", "baby crying", "sneezing", "rooster crowing", "whistling", "door knocking", "laughing", "coughing",
)  # fmt: skip
# What can be counted: the pause that ends ONE bark, knock ..., and a length (s) that two of them together exceed.
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
    """wave: (n,) float with a root mean square of 1 inside the spans; spans: (first sample, end), in order."""

    wave: np.ndarray
    spans: tuple[tuple[int, int], ...]


def stretches(wave: np.ndarray, pause: float, floor_db: float = FLOOR_DB) -> list[tuple[int, int]]:
    """Where (n,) sounds, as (first sample, end): frames within `floor_db` of the loudest, pauses bridged."""
    count = max(len(wave) // FRAME, 1)
    frames = wave[: count * FRAME].reshape(count, -1)
    power = np.einsum("ij,ij->i", frames, frames)
    if not power.max() > 0:
        return []
    loud = np.flatnonzero(power >= power.max() * 10 ** (floor_db / 10))
    cuts = np.flatnonzero(np.diff(loud) * FRAME > pause * SAMPLE_RATE) + 1
    return [(int(g[0]) * FRAME, min(int(g[-1] + 1) * FRAME, len(wave))) for g in np.split(loud, cuts)]


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
    """A performance of at most `seconds`; one that is silent (a bark that came too late) is played again."""
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


class RealClips:
    """Recorded clips of a manifest as takes, by label: `RealClips("clips.jsonl").perform(rng, label, 4.0)`."""

    def __init__(self, manifest: str) -> None:
        """Read the `sound_event` rows; ValueError where there is none (and what `read_manifest` raises)."""
        self.rows: dict[str, list[Callable[[], np.ndarray]]] = {}
        for row in read_manifest(manifest):
            if row.task == "sound_event" and (label := row.label or row.text):
                ref = row.audio[0]
                load = partial(load_audio, ref.path, start=ref.start, duration=ref.duration)
                self.rows.setdefault(label, []).append(load)
        if not self.rows:
            raise ValueError(f"{manifest}: no rows of the task sound_event: give clips with their labels")
        self.labels = sorted(self.rows)

    def perform(self, rng: np.random.Generator, label: str, longest: float) -> Take:
        """A clip of that label, cut to `longest` seconds; ValueError if its file is silent."""
        wave = self.rows[label][rng.integers(len(self.rows[label]))]().astype(np.float64)
        whole = cut(wave, PAUSE if label in BROKEN else np.inf)
        return cut(whole.wave[: samples(longest)], PAUSE if label in BROKEN else np.inf)

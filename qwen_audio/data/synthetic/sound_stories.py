"""Stories: which events sound when in a clip, and the clip itself as a recording.

    story = tell(rng, "sequence")
    wave, conditions = record(rng, story)

A story has a shape. "single": one event. "count": one class a known number of times. "sequence": two or three
classes one after the other. "over": one or two events over a sound that goes on. "free": up to five classes
anywhere. Every event can be heard: where it sounds it is stronger than all the rest in some octave.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from itertools import count as count_up
from typing import NamedTuple

import numpy as np

from qwen_audio.audio import SAMPLE_RATE
from qwen_audio.data import augment
from qwen_audio.data.synthetic.acoustics import band, filtered, noise, room, samples, slope
from qwen_audio.data.synthetic.sound_takes import EVENTS, UNITS, RealClips, Take, perform, unit
from qwen_audio.timestamps import Span

SHAPES = ("single", "count", "sequence", "over", "free")
LONGEST = 10.0  # s
MOST_COUNTED = 5
# What can go on behind other sounds.
BEHIND = (
    "rain", "sea waves", "helicopter", "chainsaw", "fire crackling", "car engine", "wind", "white noise", "train",
    "birds singing", "crickets chirping",
)  # fmt: skip
# Groups in which one sound contains another or is taken for it: never two of a group in one clip or question.
_ALIKE = (
    ("rain", "white noise", "sea waves", "thunderstorm", "wind"),
    ("rain", "fire crackling"),
    ("car engine", "chainsaw", "helicopter", "train", "thunderstorm"),
    ("sneezing", "coughing", "laughing"),
    ("door knocking", "footsteps", "clock ticking", "keyboard typing", "fire crackling"),
    ("whistling", "birds singing", "siren"),
    ("crickets chirping", "birds singing"),
    ("train", "footsteps"),
)  # fmt: skip
_HELD_OUT_PART = 10  # every tenth combination of classes is kept for the held-out part
_TRIES = 50  # draws of classes before recorded clips are left out
_AUDIBLE = 2.0  # an event's power over that of all the rest, in its best octave
_MOST_LIFT = 30.0  # the same as the most power by which a level may be raised for it
_OCTAVES = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # bins of a transform of 512 samples


class Part(NamedTuple):
    """One class in a story: where its take begins (s), the take, its level (dB).

    behind: it goes on behind the others; countable: its spans are single sounds, such as barks.
    """

    label: str
    start: float
    take: Take
    level: float
    behind: bool = False
    countable: bool = False

    @property
    def spans(self) -> list[Span]:
        """Where it sounds, in seconds from the start of the clip."""
        at = round(self.start * SAMPLE_RATE)
        return [
            Span(self.label, round((at + a) / SAMPLE_RATE, 3), round((at + b) / SAMPLE_RATE, 3))
            for a, b in self.take.spans
        ]


class Story(NamedTuple):
    """`shape` of `SHAPES`, the length of the clip in seconds, and its parts in order of their start."""

    shape: str
    seconds: float
    parts: tuple[Part, ...]

    @property
    def spans(self) -> list[Span]:
        """All spans in order of start, then of label."""
        return sorted((s for part in self.parts for s in part.spans), key=lambda s: (s.start, s.label))

    @property
    def labels(self) -> list[str]:
        """The classes in order of their first span, each once."""
        return list(dict.fromkeys(span.label for span in self.spans))


def alike(a: str, b: str) -> bool:
    """Whether one of the two classes can be taken for the other, or holds it."""
    return a == b or any(a in group and b in group for group in _ALIKE)


def held_out_combination(labels: Sequence[str]) -> bool:
    """Whether the classes together belong to the held-out part; it does not depend on their order."""
    return zlib.crc32("|".join(sorted(labels)).encode()) % _HELD_OUT_PART == 0


def _fits(labels: Sequence[str], held_out: bool) -> bool:
    """Whether the classes can be told apart, and, if there are several, belong to the wanted part."""
    if any(alike(a, b) for k, a in enumerate(labels) for b in labels[:k]):
        return False
    return len(labels) == 1 or held_out_combination(labels) == held_out


class Teller:
    """Draws stories.

    Args:
        held_out: combinations of classes from the held-out part.
        real: recorded clips that stand in for procedural events, with the probability `share`.
    """

    def __init__(self, held_out: bool = False, real: RealClips | None = None, share: float = 0.5) -> None:
        self.held_out, self.real, self.share = held_out, real, share

    def tell(self, rng: np.random.Generator, shape: str) -> Story:
        """A story of that shape; ValueError for an unknown one."""
        if shape not in SHAPES:
            raise ValueError(f"unknown shape {shape!r} of a story: use one of {', '.join(SHAPES)}")
        tellers: dict[str, Callable[[np.random.Generator], tuple[float, list[Part]]]] = {
            "single": self._single, "count": self._count, "sequence": self._sequence, "over": self._over,
            "free": self._free,
        }  # fmt: skip
        seconds, parts = tellers[shape](rng)
        return Story(shape, seconds, tuple(sorted(parts, key=lambda part: (part.start, part.label))))

    def _draw(self, rng: np.random.Generator, count: int, behind: bool = False) -> list[str]:
        """`count` classes, some of recorded clips; with `behind` the last one is a procedural one that goes on."""
        for attempt in count_up():
            # A few recorded classes may not give a combination that fits: after some tries there are none.
            share = self.share if self.real and attempt < _TRIES else 0.0
            names = [self._class(rng, share) for _ in range(count)]
            if behind:
                names[-1] = BEHIND[rng.integers(len(BEHIND))]
                if any(name in BEHIND for name in names[:-1]):
                    continue  # of two sounds that go on neither would be the background
            if _fits(names, self.held_out):
                return names
        raise AssertionError("unreachable: the procedural classes have combinations of every number")

    def _class(self, rng: np.random.Generator, share: float) -> str:
        names = self.real.labels if self.real and rng.random() < share else list(EVENTS)
        return names[rng.integers(len(names))]

    def _take(self, rng: np.random.Generator, label: str, longest: float) -> Take:
        if self.real and label in self.real.rows and (label not in EVENTS or rng.random() < self.share):
            return self.real.perform(rng, label, longest)
        return perform(rng, label, longest)

    def _single(self, rng: np.random.Generator) -> tuple[float, list[Part]]:
        (label,) = self._draw(rng, 1)
        performed = self._take(rng, label, 6.0)
        start = _margin(rng)
        return start + _length(performed) + _margin(rng), [Part(label, start, performed, 0.0)]

    def _sequence(self, rng: np.random.Generator) -> tuple[float, list[Part]]:
        parts, at = [], _margin(rng)
        for label in self._draw(rng, int(rng.choice([2, 3], p=[0.65, 0.35]))):
            performed = self._take(rng, label, 3.0)
            parts.append(Part(label, at, performed, rng.uniform(-6, 0)))
            at += _length(performed) + rng.uniform(0.15, 0.6)
        return at, parts

    def _count(self, rng: np.random.Generator) -> tuple[float, list[Part]]:
        label = list(UNITS)[rng.integers(len(UNITS))]
        performed = _repeated(rng, label, int(rng.integers(1, MOST_COUNTED + 1)), LONGEST - 1.0)
        start = _margin(rng)
        return start + _length(performed) + _margin(rng), [Part(label, start, performed, 0.0, countable=True)]

    def _over(self, rng: np.random.Generator) -> tuple[float, list[Part]]:
        *labels, going = self._draw(rng, int(rng.choice([2, 3], p=[0.7, 0.3])), behind=True)
        parts, at = [], rng.uniform(0.4, 1.0)
        for label in labels:
            single = len(labels) == 1 and label in UNITS and rng.random() < 0.5
            if single:
                performed = _repeated(rng, label, int(rng.integers(1, 4)), LONGEST - 2.0)
            else:
                performed = self._take(rng, label, 3.0)
            parts.append(Part(label, at, performed, rng.uniform(-3, 0), countable=single))
            at += _length(performed) + rng.uniform(0.2, 0.6)
        seconds = at + rng.uniform(0.3, 0.8)
        performed = perform(rng, going, seconds, seconds)
        return seconds, [*parts, Part(going, 0.0, performed, rng.uniform(-16, -6), behind=True)]

    def _free(self, rng: np.random.Generator) -> tuple[float, list[Part]]:
        seconds, parts = rng.uniform(4.0, LONGEST), []
        for label in self._draw(rng, int(rng.choice([1, 2, 3, 4, 5], p=[0.1, 0.3, 0.3, 0.2, 0.1]))):
            performed = self._take(rng, label, min(seconds, 4.0))
            start = rng.uniform(0, seconds - _length(performed))
            parts.append(Part(label, start, performed, rng.uniform(-8, 0)))
        return seconds, parts


def _margin(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.0, 0.8))


def _length(performed: Take) -> float:
    return len(performed.wave) / SAMPLE_RATE


def _repeated(rng: np.random.Generator, label: str, count: int, longest: float) -> Take:
    """One class `count` times with pauses of 0.4 s and more; fewer times if `longest` seconds are too short."""
    first = unit(rng, label)
    pieces, spans, at = [], [], 0
    for k in range(count):
        one = first if k == 0 or rng.random() < 0.6 else unit(rng, label)
        gap = samples(rng.uniform(0.4, 1.0)) if k else 0
        if k and at + gap + len(one.wave) > longest * SAMPLE_RATE:
            break
        pieces += [np.zeros(gap), one.wave * 10 ** (rng.uniform(-3, 0) / 20)]
        spans.append((at + gap, at + gap + len(one.wave)))
        at = spans[-1][1]
    return Take(np.concatenate(pieces), tuple(spans))


def _octaves(wave: np.ndarray) -> np.ndarray:
    """Power of (n,) in octaves: (frames of 512 samples, 8)."""
    frames = wave[: len(wave) // 512 * 512].reshape(-1, 512).astype(np.float32)
    return np.add.reduceat(np.abs(np.fft.rfft(frames)[:, :256]) ** 2, _OCTAVES[:-1], axis=1)


def audibility(stems: Sequence[np.ndarray], rest: np.ndarray | None = None) -> list[float]:
    """For each stem (n,), its power over that of all others (and of `rest`) in its best octave where it is loud.

    An octave with less than a thirtieth of the stem's power does not count.
    """
    power = [_octaves(stem) for stem in stems]
    total = sum(power, np.zeros_like(power[0])) + (0.0 if rest is None else _octaves(rest))
    ratios = []
    for own in power:
        level = own.sum(1)
        loud = level >= level.max() / 10
        mine, others = own[loud].sum(0), (total - own)[loud].sum(0)
        counts = mine >= mine.sum() / 30
        ratios.append(float((mine[counts] / np.maximum(others[counts], 1e-9 * mine.sum())).max()))
    return ratios


def stems_of(story: Story) -> list[np.ndarray] | None:
    """Each part alone at its level, (n,) each; parts that are drowned are raised; None where that is not enough."""
    n = samples(story.seconds)
    stems = []
    for part in story.parts:
        stem, at = np.zeros(n), round(part.start * SAMPLE_RATE)
        wave = part.take.wave[: n - at]
        stem[at : at + len(wave)] = wave * 10 ** (part.level / 20)
        stems.append(stem)
    lifted = [1.0] * len(stems)
    for _ in range(4):
        ratios = audibility(stems)
        if min(ratios) >= _AUDIBLE:
            return stems
        for k, ratio in enumerate(ratios):
            if ratio < _AUDIBLE:
                lift = 1.3 * _AUDIBLE / max(ratio, 1e-6)
                lifted[k] *= lift
                if lifted[k] > _MOST_LIFT:
                    return None
                stems[k] = stems[k] * np.sqrt(lift)
    return stems if min(audibility(stems)) >= _AUDIBLE else None


def record(rng: np.random.Generator, stems: Sequence[np.ndarray]) -> tuple[np.ndarray, dict[str, float]]:
    """The stems (n,) as one recording: (n,) float32 with a peak of 0.1 to 0.98, and how it was recorded.

    The conditions: "reverberation_s" and its level beside the
    direct sound ("reverberation_level") if there is a room, "snr_db" if there is noise: the level of the sound
    where it is active over the noise, exact.
    """
    conditions: dict[str, float] = {}
    wave = np.sum(stems, axis=0)
    if rng.random() < 0.35:
        time, wet = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.6)
        wave = room(rng, wave, time, wet)
        conditions |= {"reverberation_s": round(time, 3), "reverberation_level": round(wet, 3)}
    if rng.random() < 0.6:  # the microphone: a tilt, and the ends of its band
        wave = filtered(
            wave, slope(rng.uniform(-3, 2.5), 200), band(rng.uniform(20, 100), rng.uniform(4000, 12000), 1)
        )
    if rng.random() < 0.55:
        powers = [float(np.mean(stem**2)) for stem in stems]
        weakest = 10 * np.log10(max(powers) / max(min(powers), 1e-12))
        wave, conditions["snr_db"] = surround(rng, wave, min(weakest, 25.0))
    peak = np.exp(rng.uniform(np.log(0.1), np.log(0.98)))
    return (wave * (peak / np.abs(wave).max())).astype(np.float32), conditions


def surround(rng: np.random.Generator, wave: np.ndarray, least: float) -> tuple[np.ndarray, float]:
    """(n,) in even noise, and the ratio in dB (12 to 45 above `least`) of its active level to the noise."""
    snr = round(float(rng.uniform(12, 45) + least), 2)
    return augment.add_noise(wave, noise(rng, len(wave), slope(-rng.uniform(0, 6), 60)), snr), snr

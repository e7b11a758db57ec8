"""Stories: the events of a clip and their times (recordings.py makes the clip itself).

    story = Teller().tell(rng, "sequence")

A story has a shape. "single": one event. "count": one class a known number of times. "sequence": two or three
classes one after the other. "over": one or two events over a continuous sound. "free": up to five classes
anywhere. Every event is audible: where it sounds it is stronger than all the rest in some octave.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from itertools import count as count_up
from typing import NamedTuple

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.manifest import Example
from qwen_audio.format.timestamps import Span
from qwen_audio.synthetic.sounds.acoustics import FRAME, samples
from qwen_audio.synthetic.sounds.real_clips import RealClips
from qwen_audio.synthetic.sounds.takes import EVENTS, UNITS, Take, perform, unit

SHAPES = ("single", "count", "sequence", "over", "free")
LONGEST = 10.0  # s
MOST_COUNTED = 5
# Continuous sounds, fit to be behind others.
BEHIND = (
    "rain", "sea waves", "helicopter", "chainsaw", "fire crackling", "car engine", "wind", "white noise", "train",
    "birds singing", "crickets chirping",
)  # fmt: skip
# Groups in which one sound contains another or is confused with it: never two of a group in one clip or question.
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
_SHORT_GAP = 0.4  # s between two single sounds that are counted
# Number of classes of a story, with its weight.
_NUMBERS: dict[str, tuple[list[int], list[float]]] = {
    "single": ([1], [1.0]), "sequence": ([2, 3], [0.65, 0.35]), "over": ([2, 3], [0.7, 0.3]),
    "free": ([1, 2, 3, 4, 5], [0.1, 0.3, 0.3, 0.2, 0.1]),
}  # fmt: skip
_TRIES = 50  # attempts at classes before recorded clips are left out


class Part(NamedTuple):
    """One class in a story: where its take begins (s), the take, its level (dB).

    behind: it is a continuous sound behind the others; countable: its spans are single sounds, such as barks.
    """

    label: str
    start: float
    take: Take
    level: float
    behind: bool = False
    countable: bool = False

    @property
    def spans(self) -> list[Span]:
        """Spans in which it sounds, in seconds from the start of the clip."""
        at = round(self.start * SAMPLE_RATE)
        return [
            Span(self.label, round((at + a) / SAMPLE_RATE, 3), round((at + b) / SAMPLE_RATE, 3))
            for a, b in self.take.spans
        ]


class Outline(NamedTuple):
    """The plan of a story, made before any audio.

    shape: of `SHAPES`; labels: its classes, in order for "sequence", the one that goes on last for "over"; times:
    how many times the first one is to sound as single sounds (0: as it comes); longest: the place among the labels
    of one that is to last clearly longest (-1: as it comes).
    """

    shape: str
    labels: tuple[str, ...]
    times: int = 0
    longest: int = -1


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
    def clips(self) -> list[Example]:
        """The recorded clips in it."""
        return [part.take.clip for part in self.parts if part.take.clip]

    @property
    def labels(self) -> list[str]:
        """The classes in order of their first span, each once."""
        return list(dict.fromkeys(span.label for span in self.spans))


def alike(a: str, b: str) -> bool:
    """True if one of the two classes can be confused with the other, or contains it.

    An unknown class of a recorded clip is compared by its words: "dog" may be the same as "dog barking".
    """
    if a == b or any(a in group and b in group for group in _ALIKE):
        return True
    known = a in EVENTS and b in EVENTS
    return not known and bool(set(a.lower().split()) & set(b.lower().split()))


def held_out_combination(labels: Sequence[str]) -> bool:
    """True if the classes together belong to the held-out part; it does not depend on their order."""
    return zlib.crc32("|".join(sorted(labels)).encode()) % _HELD_OUT_PART == 0


def _fits(labels: Sequence[str], held_out: bool) -> bool:
    """True if the classes are distinct to a listener and, if there are several, belong to the wanted split."""
    if any(alike(a, b) for k, a in enumerate(labels) for b in labels[:k]):
        return False
    return len(labels) == 1 or held_out_combination(labels) == held_out


class Teller:
    """Samples stories.

    Args:
        held_out: combinations of classes from the held-out part.
        real: recorded clips that stand in for procedural events, with the probability `share`.
    """

    def __init__(self, held_out: bool = False, real: RealClips | None = None, share: float = 0.5) -> None:
        self.held_out, self.real, self.share = held_out, real, share

    def outline(
        self, rng: np.random.Generator, shape: str, several: int | None = None, recorded: bool = True
    ) -> Outline:
        """Sample the outline of a story of that shape: its classes, and the count of a counted one.

        several: number of classes; None samples it. recorded: with classes of recorded clips, where there are some.
        Raises ValueError for an unknown shape.
        """
        if shape not in SHAPES:
            raise ValueError(f"unknown shape {shape!r} of a story: use one of {', '.join(SHAPES)}")
        if shape == "count":
            label = list(UNITS)[rng.integers(len(UNITS))]
            return Outline(shape, (label,), int(rng.integers(1, most_counted(label, shape) + 1)))
        numbers, shares = _NUMBERS[shape]
        number = several or int(rng.choice(numbers, p=shares))
        labels = tuple(self._draw(rng, number, behind=shape == "over", recorded=recorded))
        times = 0
        if shape == "over" and len(labels) == 2 and labels[0] in UNITS and rng.random() < 0.5:
            times = int(rng.integers(1, most_counted(labels[0], shape) + 1))
        return Outline(shape, labels, times)

    def tell(self, rng: np.random.Generator, shape: str, outline: Outline | None = None) -> Story:
        """A story of that shape (of that outline, if one is given); ValueError for an unknown shape."""
        outline = outline or self.outline(rng, shape)
        tellers: dict[str, Callable[[np.random.Generator, Outline], tuple[float, list[Part]]]] = {
            "single": self._single, "count": self._count, "sequence": self._sequence, "over": self._over,
            "free": self._free,
        }  # fmt: skip
        seconds, parts = tellers[outline.shape](rng, outline)
        return Story(outline.shape, seconds, tuple(sorted(parts, key=lambda part: (part.start, part.label))))

    def _draw(
        self, rng: np.random.Generator, count: int, behind: bool = False, recorded: bool = True
    ) -> list[str]:
        """`count` classes, some of recorded clips; with `behind` the last one is a continuous procedural one."""
        for attempt in count_up():
            # A few recorded classes may not give a combination that fits: after some tries there are none.
            share = self.share if self.real and recorded and attempt < _TRIES else 0.0
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

    def _single(self, rng: np.random.Generator, outline: Outline) -> tuple[float, list[Part]]:
        (label,) = outline.labels
        performed = self._take(rng, label, 6.0)
        start = _margin(rng)
        return start + _length(performed) + _margin(rng), [Part(label, start, performed, 0.0)]

    def _sequence(self, rng: np.random.Generator, outline: Outline) -> tuple[float, list[Part]]:
        parts, at = [], _margin(rng)
        brief = rng.uniform(0.7, 1.5)
        for k, label in enumerate(outline.labels):
            if outline.longest < 0:
                performed = self._take(rng, label, 3.0)
            else:  # lengths that the class has no part in
                seconds = (
                    brief * rng.uniform(1.8, 2.4) if k == outline.longest else brief * rng.uniform(0.8, 1)
                )
                performed = perform(rng, label, seconds, seconds)
            parts.append(Part(label, at, performed, rng.uniform(-6, 0)))
            at += _length(performed) + rng.uniform(0.15, 0.6)
        return at, parts

    def _count(self, rng: np.random.Generator, outline: Outline) -> tuple[float, list[Part]]:
        (label,) = outline.labels
        performed = _repeated(rng, label, outline.times)
        start = _margin(rng)
        return start + _length(performed) + _margin(rng), [Part(label, start, performed, 0.0, countable=True)]

    def _over(self, rng: np.random.Generator, outline: Outline) -> tuple[float, list[Part]]:
        *labels, going = outline.labels
        parts, at = [], rng.uniform(0.4, 1.0)
        for label in labels:
            performed = _repeated(rng, label, outline.times) if outline.times else self._take(rng, label, 3.0)
            parts.append(Part(label, at, performed, rng.uniform(-3, 0), countable=outline.times > 0))
            at += _length(performed) + rng.uniform(0.2, 0.6)
        seconds = at + rng.uniform(0.3, 0.8)
        performed = perform(rng, going, seconds, seconds)
        return seconds, [*parts, Part(going, 0.0, performed, rng.uniform(-16, -6), behind=True)]

    def _free(self, rng: np.random.Generator, outline: Outline) -> tuple[float, list[Part]]:
        seconds, parts = rng.uniform(4.0, LONGEST), []
        for label in outline.labels:
            performed = self._take(rng, label, min(seconds, 4.0))
            start = rng.uniform(0, seconds - _length(performed))
            parts.append(Part(label, start, performed, rng.uniform(-8, 0)))
        return seconds, parts


def _margin(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.0, 0.8))


def _length(performed: Take) -> float:
    return len(performed.wave) / SAMPLE_RATE


def most_counted(label: str, shape: str) -> int:
    """The largest count that a class of `UNITS` always reaches in a story of that shape, up to `MOST_COUNTED`."""
    most, room_for = (MOST_COUNTED, LONGEST - 1.0) if shape == "count" else (3, LONGEST - 2.0)
    longest = UNITS[label][1] + 2 * FRAME / SAMPLE_RATE
    return max(1, min(most, int((room_for + _SHORT_GAP) / (longest + _SHORT_GAP))))


def _repeated(rng: np.random.Generator, label: str, count: int) -> Take:
    """One class `count` times with pauses of 0.4 to 1 s."""
    first = unit(rng, label)
    units = [first, *(first if rng.random() < 0.6 else unit(rng, label) for _ in range(count - 1))]
    # Many long ones stand closer, so that the number that was asked for is always there.
    left = LONGEST - 1.0 - sum(map(_length, units))
    widest = min(1.0, max(_SHORT_GAP, left / max(count - 1, 1)))
    pieces, spans, at = [], [], 0
    for k, one in enumerate(units):
        gap = samples(rng.uniform(_SHORT_GAP, widest)) if k else 0
        pieces += [np.zeros(gap), one.wave * 10 ** (rng.uniform(-3, 0) / 20)]
        spans.append((at + gap, at + gap + len(one.wave)))
        at = spans[-1][1]
    return Take(np.concatenate(pieces), tuple(spans))

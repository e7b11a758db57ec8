"""Keys, chords and chord progressions as numbers, and melody lines over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KEY_NAMES = ("C", "C sharp", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")
# Where a key is usually written with another name, and the letters that notes and chords of keys are spelt with.
_USUAL_KEYS = {(1, "major"): "D flat", (8, "minor"): "G sharp"}
_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_DEGREES = (0, 1, 1, 2, 2, 3, 4, 4, 5, 5, 6, 6)  # of the scale, by semitones above the tonic
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
# Quality -> semitones above the root.
QUALITIES = {
    "": (0, 4, 7),
    "m": (0, 3, 7),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "m7": (0, 3, 7, 10),
    "dim": (0, 3, 6),
}
# One chord a bar: (semitones above the tonic, quality).  All name the tonic's third, which makes the mode.
PROGRESSIONS: dict[str, dict[str, tuple[tuple[tuple[int, str], ...], ...]]] = {
    "plain": {
        "major": (
            ((0, ""), (5, ""), (7, ""), (0, "")),
            ((0, ""), (9, "m"), (5, ""), (7, "")),
            ((0, ""), (0, ""), (7, ""), (0, "")),
            ((0, ""), (5, ""), (0, ""), (7, "")),
            ((0, ""), (7, ""), (9, "m"), (5, "")),
        ),
        "minor": (
            ((0, "m"), (5, "m"), (7, ""), (0, "m")),
            ((0, "m"), (8, ""), (10, ""), (0, "m")),
            ((0, "m"), (0, "m"), (7, ""), (0, "m")),
            ((0, "m"), (5, "m"), (0, "m"), (7, "")),
            ((0, "m"), (10, ""), (8, ""), (7, "")),
        ),
    },
    "seventh": {
        "major": (
            ((0, "maj7"), (9, "m7"), (2, "m7"), (7, "7")),
            ((0, "maj7"), (2, "m7"), (7, "7"), (0, "maj7")),
            ((0, "maj7"), (5, "maj7"), (2, "m7"), (7, "7")),
        ),
        "minor": (
            ((0, "m7"), (5, "m7"), (7, "7"), (0, "m7")),
            ((0, "m7"), (8, "maj7"), (5, "m7"), (7, "7")),
        ),
    },
    "blues": {
        "major": (((0, "7"), (5, "7"), (0, "7"), (7, "7")), ((0, "7"), (5, "7"), (7, "7"), (0, "7"))),
        "minor": (((0, "m7"), (5, "m7"), (0, "m7"), (7, "7")),),
    },
    "dark": {
        "major": (((0, ""), (10, ""), (5, ""), (0, "")),),
        "minor": (
            ((0, "m"), (1, ""), (0, "m"), (6, "dim")),
            ((0, "m"), (6, "dim"), (1, ""), (0, "m")),
            ((0, "m"), (8, ""), (1, ""), (0, "m")),
        ),
    },
}


def key_name(tonic: int, mode: str) -> str:
    """A key as it is usually named: "D flat major", "C sharp minor"."""
    return f"{_USUAL_KEYS.get((tonic, mode), KEY_NAMES[tonic])} {mode}"


def spelt(pitch: int, tonic: int, mode: str) -> str:
    """The name of a pitch class (0 is C) in a key, such as "G#", "Bb" or, where the key asks for it, "Fb".

    The letter follows from the degree of the scale; a name with two accidentals is replaced by the simplest one.
    """
    letters = list(_LETTERS)
    home = key_name(tonic, mode)[0]
    letter = letters[(letters.index(home) + _DEGREES[(pitch - tonic) % 12]) % 7]
    accidental = (pitch - _LETTERS[letter] + 6) % 12 - 6
    if abs(accidental) > 1:
        return _symbols(KEY_NAMES[pitch % 12])
    return letter + {-1: "b", 0: "", 1: "#"}[accidental]


def note_name(pitch: int, *, symbols: bool = False) -> str:
    """The name of a MIDI pitch outside of any key, 60 being C4: "B flat 3", or with `symbols` "Bb3"."""
    name, octave = KEY_NAMES[pitch % 12], pitch // 12 - 1
    if symbols:
        name = _symbols(name)
    return f"{name} {octave}" if " " in name else f"{name}{octave}"


def _symbols(name: str) -> str:
    return name.replace(" sharp", "#").replace(" flat", "b")


@dataclass(frozen=True)
class Chord:
    """A chord: pitch class of its root (0 is C) and quality, a key of `QUALITIES`."""

    root: int
    quality: str

    @property
    def classes(self) -> tuple[int, ...]:
        return tuple((self.root + step) % 12 for step in QUALITIES[self.quality])

    def name(self, tonic: int, mode: str) -> str:
        """Its symbol, spelt as in the key: "C#m" and "G#7" in C sharp minor, "Ab" in F minor."""
        return spelt(self.root, tonic, mode) + self.quality

    def voicing(self, low: int) -> list[int]:
        """Its notes in close position, all in the octave from `low` up, ascending."""
        return sorted(low + (pitch - low) % 12 for pitch in self.classes)

    def bass(self, low: int, step: int = 0) -> int:
        """Its root plus `step` semitones, the lowest such pitch from `low` up."""
        return low + (self.root + step - low) % 12

    @property
    def fifth(self) -> int:
        return QUALITIES[self.quality][2]

    @property
    def third(self) -> int:
        return QUALITIES[self.quality][1]


def progression(rng: np.random.Generator, style: str, mode: str, tonic: int, bars: int) -> list[Chord]:
    """One chord a bar, in a style of `PROGRESSIONS`, repeated as needed; an even number of bars ends on the tonic."""
    rows = PROGRESSIONS[style][mode]
    row = rows[rng.integers(len(rows))]
    chords = [Chord((tonic + step) % 12, quality) for step, quality in row]
    return [chords[bar % len(chords)] for bar in range(bars)]


def scale_pitches(tonic: int, mode: str, low: int, high: int) -> list[int]:
    """The scale's pitches from low to high, inclusive."""
    classes = {(tonic + step) % 12 for step in SCALES[mode]}
    return [pitch for pitch in range(low, high + 1) if pitch % 12 in classes]


# Note lengths in beats that fill a bar, by number of beats and by how lively the line is.
RHYTHMS: dict[int, dict[str, tuple[tuple[float, ...], ...]]] = {
    4: {
        "long": ((2, 2), (3, 1), (2, 1, 1), (1, 1, 2)),
        "plain": ((1, 1, 1, 1), (1, 1, 2), (1.5, 0.5, 1, 1), (1, 0.5, 0.5, 1, 1), (2, 1, 1)),
        "busy": (
            (0.5, 0.5, 0.5, 0.5, 1, 1),
            (1, 0.5, 0.5, 0.5, 0.5, 1),
            (0.5, 0.5, 1, 0.5, 0.5, 1),
            (1.5, 0.5, 0.5, 0.5, 1),
            (0.5,) * 8,
        ),
    },
    3: {
        "long": ((3,), (2, 1), (1, 2)),
        "plain": ((1, 1, 1), (2, 1), (1.5, 0.5, 1), (1, 0.5, 0.5, 1)),
        "busy": ((0.5, 0.5, 1, 1), (1, 0.5, 0.5, 0.5, 0.5), (0.5,) * 6, (1.5, 0.5, 0.5, 0.5)),
    },
}


def melody(
    rng: np.random.Generator, chords: list[Chord], tonic: int, mode: str, beats: int, style: str, span: range
) -> list[tuple[float, float, int]]:
    """A line of (start beat, beats, pitch) over the chords: notes on the bar and on whole beats after leaps
    are chord notes, the others move by step in the scale; two rhythms take turns, so that it hangs together.
    """
    scale = scale_pitches(tonic, mode, span.start, span.stop - 1)
    rows = RHYTHMS[beats][style]
    rhythms = [rows[k] for k in rng.choice(len(rows), 2)]
    at = len(scale) // 2
    notes: list[tuple[float, float, int]] = []
    for bar, chord in enumerate(chords):
        start = float(bar * beats)
        for k, length in enumerate(rhythms[bar % 2]):
            if k == 0:
                near = sorted(
                    (p for p in range(span.start, span.stop) if p % 12 in chord.classes),
                    key=lambda p: (abs(p - scale[at]), p),
                )
                pitch = near[int(rng.integers(min(2, len(near))))]
                at = min(range(len(scale)), key=lambda i: abs(scale[i] - pitch))
            else:
                step = int(rng.choice((-2, -1, 1, 2), p=(0.15, 0.35, 0.35, 0.15)))
                at = at + step if 0 <= at + step < len(scale) else at - step
                pitch = scale[at]
            notes.append((start, float(length), pitch))
            start += length
    return notes

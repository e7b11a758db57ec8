"""Named patterns of accompaniment and bass for a bar of four or three beats.

A chord pattern is a list of (start beat, beats, notes): "chord" is the whole chord, "power" root and fifth, a
number that note of the chord.  A bass pattern is a list of (start beat, beats, note): "root", "third",
"fifth", "octave".
"""

from __future__ import annotations

Pattern = list[tuple[float, float, str | int]]


def _chords(*strokes: tuple[float, float]) -> Pattern:
    return [(start, beats, "chord") for start, beats in strokes]


def _broken(step: float, order: tuple[int, ...]) -> Pattern:
    return [(k * step, step, note) for k, note in enumerate(order)]


CHORD_PATTERNS: dict[str, dict[int, Pattern]] = {
    "block": {4: _chords((0, 2), (2, 2)), 3: _chords((0, 3))},
    "quarters": {4: _chords(*((b, 0.8) for b in range(4))), 3: _chords(*((b, 0.8) for b in range(3)))},
    "oompah": {4: _chords((1, 0.5), (3, 0.5)), 3: _chords((1, 0.5), (2, 0.5))},
    "arpeggio": {4: _broken(0.5, (0, 2, 1, 2, 0, 2, 1, 2)), 3: _broken(0.5, (0, 1, 2, 3, 2, 1))},
    "sixteenths": {4: _broken(0.25, (0, 1, 2, 3) * 4), 3: _broken(0.25, (0, 1, 2, 3) * 3)},
    "charleston": {4: _chords((0, 1.2), (1.5, 0.5)), 3: _chords((0, 1), (1.5, 0.5))},
    "shuffle": {4: _chords((0, 0.4), (0.5, 0.3), (1, 0.8), (2, 0.4), (2.5, 0.3), (3, 0.8))},
    "power": {4: [(k * 0.5, 0.45, "power") for k in range(8)]},
    "stab": {4: _chords((0.5, 0.25), (1.5, 0.25), (2.5, 0.25), (3.25, 0.2), (3.75, 0.2))},
    "skank": {4: _chords(*((b + 0.5, 0.25) for b in range(4)))},
    "bossa": {4: _chords((0, 0.6), (0.75, 0.6), (1.5, 0.8), (2.5, 0.6), (3.25, 0.6))},
}
BASS_PATTERNS: dict[str, dict[int, Pattern]] = {
    "root": {4: [(0, 2, "root"), (2, 2, "root")], 3: [(0, 3, "root")]},
    "held": {4: [(0, 4, "root")], 3: [(0, 3, "root")]},
    "one": {4: [(0, 1, "root")], 3: [(0, 1, "root")]},
    "fifths": {4: [(0, 1, "root"), (2, 1, "fifth")], 3: [(0, 1, "root")]},
    "walking": {4: [(0, 0.95, "root"), (1, 0.95, "third"), (2, 0.95, "fifth"), (3, 0.95, "third")]},
    "shuffle": {
        4: [(0, 0.6, "root"), (0.5, 0.4, "root"), (1, 0.6, "third"), (1.5, 0.4, "third"),
            (2, 0.6, "fifth"), (2.5, 0.4, "fifth"), (3, 0.6, "third"), (3.5, 0.4, "third")],
    },
    "eighths": {4: [(k * 0.5, 0.45, "root") for k in range(8)]},
    "octaves": {4: [(k * 0.5, 0.4, ("root", "octave")[k % 2]) for k in range(8)]},
    "offbeat": {4: [(b + 0.5, 0.45, "root") for b in range(4)]},
    "sparse": {4: [(0, 1.2, "root"), (2.5, 0.8, "root")]},
    "dub": {4: [(0, 0.8, "root"), (1.5, 0.4, "root"), (2, 0.8, "fifth"), (3.5, 0.4, "third")]},
}  # fmt: skip

"""Melodies in the public domain as notes, with their titles and composers, for music recognition and song.

A melody is written as `PITCH/UNITS`: pitch as letter, accidental and octave (C4 is MIDI pitch 60), length in
units (1 where left out), R for a rest.  The unit (an eighth, a quarter) differs between tunes; `tempos` gives the
number of units per minute.  All melodies were published before 1900, the youngest being that of "Happy Birthday to
You" (1893).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_NOTE = re.compile(r"(R|([A-G])([#b]?)(\d))(?:/(\d*\.?\d+))?")


def parse_notes(text: str) -> list[tuple[float, int | None]]:
    """(length in units, MIDI pitch or None for a rest) of each note; ValueError for a malformed note."""
    notes: list[tuple[float, int | None]] = []
    for word in text.split():
        match = _NOTE.fullmatch(word)
        if match is None:
            raise ValueError(
                f"{word!r} is no note: write letter, accidental, octave, /length, such as F#4/1.5"
            )
        name, letter, accidental, octave, length = match.groups()
        pitch = None
        if name != "R":
            pitch = 12 * (int(octave) + 1) + _LETTERS[letter] + {"#": 1, "b": -1, "": 0}[accidental]
        notes.append((float(length or 1), pitch))
    return notes


@dataclass(frozen=True)
class Tune:
    """A melody: title, composer ("traditional" where none is known), units per minute, notes."""

    title: str
    composer: str
    tempos: tuple[int, int]
    text: str

    @cached_property
    def notes(self) -> list[tuple[float, int | None]]:
        return parse_notes(self.text)

    @cached_property
    def pitches(self) -> list[int]:
        return [pitch for _, pitch in self.notes if pitch is not None]


# fmt: off
TUNES = (
    Tune("Twinkle Twinkle Little Star", "traditional", (90, 150),
         "C4 C4 G4 G4 A4 A4 G4/2 F4 F4 E4 E4 D4 D4 C4/2"),
    Tune("Ode to Joy", "Ludwig van Beethoven", (100, 160),
         "E4 E4 F4 G4 G4 F4 E4 D4 C4 C4 D4 E4 E4/1.5 D4/.5 D4/2 "
         "E4 E4 F4 G4 G4 F4 E4 D4 C4 C4 D4 E4 D4/1.5 C4/.5 C4/2"),
    Tune("Brother John", "traditional", (110, 170),
         "C4 D4 E4 C4 C4 D4 E4 C4 E4 F4 G4/2 E4 F4 G4/2 "
         "G4/.5 A4/.5 G4/.5 F4/.5 E4 C4 G4/.5 A4/.5 G4/.5 F4/.5 E4 C4 C4 G3 C4/2 C4 G3 C4/2"),
    Tune("Happy Birthday to You", "Patty and Mildred Hill", (100, 150),
         "G4/.75 G4/.25 A4 G4 C5 B4/2 G4/.75 G4/.25 A4 G4 D5 C5/2 "
         "G4/.75 G4/.25 G5 E5 C5 B4 A4 F5/.75 F5/.25 E5 C5 D5 C5/2"),
    Tune("Jingle Bells", "James Lord Pierpont", (150, 230),
         "E4 E4 E4/2 E4 E4 E4/2 E4 G4 C4/1.5 D4/.5 E4/4 F4 F4 F4/1.5 F4/.5 F4 E4 E4 E4/.5 E4/.5 E4 D4 D4 E4 "
         "D4/2 G4/2"),
    Tune("Silent Night", "Franz Xaver Gruber", (110, 160),
         "G4/1.5 A4/.5 G4 E4/3 G4/1.5 A4/.5 G4 E4/3 D5/2 D5 B4/3 C5/2 C5 G4/3"),
    Tune("Amazing Grace", "traditional", (100, 150),
         "D4 G4/2 B4/.5 G4/.5 B4/2 A4 G4/2 E4 D4/2 D4 G4/2 B4/.5 G4/.5 B4/2 A4 D5/4"),
    Tune("Auld Lang Syne", "traditional", (100, 150),
         "C4 F4/1.5 F4/.5 F4 A4 G4/1.5 F4/.5 G4 A4 F4/1.5 F4/.5 A4 C5 D5/3 "
         "D5 C5/1.5 A4/.5 A4 F4 G4/1.5 F4/.5 G4 A4 F4/1.5 D4/.5 D4 C4 F4/3"),
    Tune("Greensleeves", "traditional", (150, 220),
         "A4 C5/2 D5 E5/1.5 F5/.5 E5 D5/2 B4 G4/1.5 A4/.5 B4 C5/2 A4 A4/1.5 G#4/.5 A4 B4/2 G#4 E4/2"),
    Tune("When the Saints Go Marching In", "traditional", (150, 220),
         "C4 E4 F4 G4/4 R C4 E4 F4 G4/4 R C4 E4 F4 G4/2 E4/2 C4/2 E4/2 D4/4"),
    Tune("Mary Had a Little Lamb", "Lowell Mason", (120, 180),
         "E4 D4 C4 D4 E4 E4 E4/2 D4 D4 D4/2 E4 G4 G4/2 E4 D4 C4 D4 E4 E4 E4 E4 D4 D4 E4 D4 C4/3"),
    Tune("London Bridge Is Falling Down", "traditional", (130, 190),
         "G4/1.5 A4/.5 G4 F4 E4 F4 G4/2 D4 E4 F4/2 E4 F4 G4/2 G4/1.5 A4/.5 G4 F4 E4 F4 G4/2 D4/2 G4/2 E4 C4/3"),
    Tune("Row Row Row Your Boat", "traditional", (240, 340),
         "C4/3 C4/3 C4/2 D4 E4/3 E4/2 D4 E4/2 F4 G4/6 C5 C5 C5 G4 G4 G4 E4 E4 E4 C4 C4 C4 G4/2 F4 E4/2 D4 C4/4"),
    Tune("For Elise", "Ludwig van Beethoven", (240, 340),
         "E5 D#5 E5 D#5 E5 B4 D5 C5 A4/2 R C4 E4 A4 B4/2 R E4 G#4 B4 C5/2 R E4 "
         "E5 D#5 E5 D#5 E5 B4 D5 C5 A4/2 R C4 E4 A4 B4/2 R E4 C5 B4 A4/3"),
    Tune("A Little Night Music", "Wolfgang Amadeus Mozart", (110, 150),
         "G4 R/.5 D4/.5 G4 R/.5 D4/.5 G4/.5 D4/.5 G4/.5 B4/.5 D5 R "
         "C5 R/.5 A4/.5 C5 R/.5 A4/.5 C5/.5 A4/.5 F#4/.5 A4/.5 D4"),
    Tune("Oh! Susanna", "Stephen Foster", (150, 220),
         "C4/.5 D4/.5 E4 G4 G4/1.5 A4/.5 G4 E4 C4/1.5 D4/.5 E4 E4 D4 C4 D4/3 "
         "C4/.5 D4/.5 E4 G4 G4/1.5 A4/.5 G4 E4 C4/1.5 D4/.5 E4 E4 D4 D4 C4/3"),
    Tune("Yankee Doodle", "traditional", (170, 250),
         "C4 C4 D4 E4 C4 E4 D4 G3 C4 C4 D4 E4 C4/2 B3/2 C4 C4 D4 E4 F4 E4 D4 C4 B3 G3 A3 B3 C4/2 C4/2"),
    Tune("Cradle Song", "Johannes Brahms", (80, 120),
         "E4/.5 E4/.5 G4/1.5 E4/.5 E4 G4/2 E4/.5 G4/.5 C5 B4/1.5 A4/.5 A4 G4 "
         "D4/.5 E4/.5 F4 D4 D4/.5 E4/.5 F4/2 D4/.5 F4/.5 B4/.5 A4/.5 G4 B4 C5/2"),
    Tune("The Blue Danube", "Johann Strauss II", (160, 210),
         "D4 D4 F#4 A4 A4/2 A5 A5/2 F#5 F#5/2 D4 D4 F#4 A4 A4/2 A5 A5/2 G5 G5/2 C#4"),
    Tune("In the Hall of the Mountain King", "Edvard Grieg", (200, 330),
         "B3 C#4 D4 E4 F#4 D4 F#4/2 F4 C#4 F4/2 E4 C4 E4/2 B3 C#4 D4 E4 F#4 D4 F#4 B4 A4 F#4 D4 F#4 A4/4"),
    Tune("Minuet in G", "Christian Petzold", (110, 150),
         "D5 G4/.5 A4/.5 B4/.5 C5/.5 D5 G4 G4 E5 C5/.5 D5/.5 E5/.5 F#5/.5 G5 G4 G4 "
         "C5 D5/.5 C5/.5 B4/.5 A4/.5 B4 C5/.5 B4/.5 A4/.5 G4/.5 A4 B4/.5 A4/.5 G4/.5 F#4/.5 G4/3"),
    Tune("Old MacDonald Had a Farm", "traditional", (150, 220),
         "G4 G4 G4 D4 E4 E4 D4/2 B4 B4 A4 A4 G4/3 D4 G4 G4 G4 D4 E4 E4 D4/2 B4 B4 A4 A4 G4/3"),
    Tune("God Save the King", "traditional", (90, 140),
         "G4 G4 A4 F#4/1.5 G4/.5 A4 B4 B4 C5 B4/1.5 A4/.5 G4 A4 G4 F#4 G4/2"),
    Tune("The Marseillaise", "Claude Joseph Rouget de Lisle", (100, 130),
         "D4/.25 D4/.75 D4/.25 G4 G4 A4 A4 D5/1.5 B4/.5 G4/.75 G4/.25 B4/.75 G4/.25 E4 C5/2 A4/.75 F#4/.25 G4/2"),
    Tune("Korobeiniki", "traditional", (130, 180),
         "E5 B4/.5 C5/.5 D5 C5/.5 B4/.5 A4 A4/.5 C5/.5 E5 D5/.5 C5/.5 B4/1.5 C5/.5 D5 E5 C5 A4 A4/2"),
    Tune("Swan Lake", "Pyotr Ilyich Tchaikovsky", (90, 130),
         "F#5/2 B4/.5 C#5/.5 D5/.5 E5/.5 F#5/1.5 D5/.5 F#5/1.5 D5/.5 F#5/1.5 B4/.5 D5/.5 B4/.5 G4/.5 D5/.5 B4/2"),
    Tune("William Tell Overture", "Gioachino Rossini", (110, 150),
         "D4/.25 D4/.25 D4/.5 D4/.25 D4/.25 D4/.5 D4/.25 D4/.25 G4/.5 A4/.5 B4/.5 "
         "D4/.25 D4/.25 D4/.5 D4/.25 D4/.25 G4/.5 B4/.25 B4/.25 A4/.5 F#4/.5 D4/.5 "
         "D4/.25 D4/.25 D4/.5 D4/.25 D4/.25 D4/.5 D4/.25 D4/.25 G4/.5 A4/.5 B4/.5 "
         "G4/.25 B4/.25 D5/1.25 C5/.25 B4/.25 A4/.25 G4/.5 B4/.5 G4"),
    Tune("Largo from the New World", "Antonín Dvořák", (80, 120),
         "E4/1.5 G4/.5 G4/2 E4/1.5 D4/.5 C4/2 D4/1.5 E4/.5 G4/1.5 E4/.5 D4/3"),
    Tune("Morning Mood", "Edvard Grieg", (150, 220),
         "B4 G#4 F#4 E4 F#4 G#4 B4 G#4 F#4 E4 F#4/.5 G#4/.5 F#4/.5 G#4/.5 B4 G#4 B4 C#5 G#4 C#5 B4 G#4 F#4 E4/3"),
    Tune("Can-can", "Jacques Offenbach", (130, 180),
         "C4/2 D4/.5 F4/.5 E4/.5 D4/.5 G4 G4 G4/.5 A4/.5 E4/.5 F4/.5 D4 D4 D4/.5 F4/.5 E4/.5 D4/.5 "
         "C4/.5 C5/.5 B4/.5 A4/.5 G4/.5 F4/.5 E4/.5 D4/.5 C4/2"),
    Tune("Spring from the Four Seasons", "Antonio Vivaldi", (100, 140),
         "E4 G#4 G#4 G#4 F#4/.5 E4/.5 B4/3 B4/.5 A4/.5 G#4 G#4 G#4 F#4/.5 E4/.5 B4/3 B4/.5 A4/.5 "
         "G#4 A4/.5 B4/.5 A4 G#4 F#4/2"),
    Tune("Turkish March", "Wolfgang Amadeus Mozart", (330, 460),
         "B4 A4 G#4 A4 C5/2 R/2 D5 C5 B4 C5 E5/2 R/2 F5 E5 D#5 E5 B5 A5 G#5 A5 B5 A5 G#5 A5 C6/4"),
    Tune("O Christmas Tree", "traditional", (80, 120),
         "C4 F4/.75 F4/.25 F4/1.5 G4/.5 A4/.75 A4/.25 A4/1.5 A4/.5 G4/.5 A4/.5 Bb4 E4 G4 F4/2"),
    Tune("Joy to the World", "George Frideric Handel and Lowell Mason", (80, 120),
         "C5 B4/.75 A4/.25 G4/1.5 F4/.5 E4 D4 C4/1.5 G4/.5 A4/1.5 A4/.5 B4/1.5 B4/.5 C5/2"),
)
# fmt: on


def excerpt(tune: Tune, unit: float, shift: int, seconds: float) -> list[tuple[float, float, int]]:
    """The tune's beginning, as many notes as fit, each as (start and length in seconds, MIDI pitch), from 0 on.

    Args:
        unit: seconds of one unit.
        shift: semitones to move it by.
        seconds: no note ends later.
    """
    notes: list[tuple[float, float, int]] = []
    start = 0.0
    for units, pitch in tune.notes:
        end = start + units * unit
        if end > seconds:
            break
        if pitch is not None:
            notes.append((start, end - start, pitch + shift))
        start = end
    return notes

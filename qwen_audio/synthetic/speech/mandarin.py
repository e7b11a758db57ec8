"""Start times of characters inside a Chinese compound, from the phonemes that espeak reports.

espeak speaks a compound as one word and gives no event for the characters in it.  A character is one syllable, so
its start is the phoneme that opens the syllable.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

_VOWELS = frozenset("aɑɐeəɚɛɤiɨouyɔʊɪæ")  # letters of which a syllable's core has at least one
_CODA_ONLY, _CODA_OR_ONSET = "ŋ", "n"


def syllable_starts(phonemes: Sequence[tuple[int, str]], count: int) -> list[int] | None:
    """Samples at which the syllables of a word start, or None if they are not `count` or are ambiguous.

    `phonemes` are (first sample, IPA) in order; silent ones have an empty name.
    """
    sounds = [(sample, name) for sample, name in phonemes if name]
    cores = [i for i, (_, name) in enumerate(sounds) if _VOWELS & set(name)]
    if len(cores) != count:
        return None
    starts = [sounds[0][0]]
    for before, core in pairwise(cores):
        between = [name for _, name in sounds[before + 1 : core]]
        opens = before + 1
        if between and between[0].startswith(_CODA_ONLY):
            opens += 1
        elif between and between[0] == _CODA_OR_ONSET:
            if len(between) == 1:
                return None  # the end of one syllable or the beginning of the next
            opens += 1
        starts.append(sounds[opens][0])
    return starts


def part_compounds(
    starts: list[int | None], sounds: Sequence[tuple[int, str]], size: int, active: np.ndarray, frame: int
) -> None:
    """Fill in the starts of characters inside compounds, by syllable, where they are unambiguous.

    Args:
        starts: first sample of every character, None where espeak gave none; changed in place.
        sounds: (first sample, IPA) of the phonemes of the whole utterance.
        size: samples of the utterance.
        active: whether each frame of `frame` samples is louder than silence.
    """
    known = [index for index, start in enumerate(starts) if start is not None]
    for index, following in pairwise([*known, len(starts)]):
        if following == index + 1:
            continue
        start = starts[index] or 0
        end = size if following == len(starts) else starts[following] or 0
        inside = [(at, name) for at, name in sounds if start <= at < end]
        for offset, at in enumerate(syllable_starts(inside, following - index) or ()):
            # the silent closure of a stop comes before its event and belongs to it, as at the start of a word
            while offset and at - frame > start and not active[min(at // frame, active.size) - 1]:
                at -= frame
            starts[index + offset] = at if offset else start

"""Captions of stories and of places in three styles: Clotho, AudioCaps and plain.

Clotho: 8 to 20 words with the sounds, their number, their order and the surroundings. AudioCaps: a short clause
in the present tense, without a full stop. Plain: one short sentence. Every statement of a caption holds in the
recording: number, order, loudness, length, echo and noise are taken from the story.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from qwen_audio.format.timestamps import Span
from qwen_audio.synthetic.sounds.places import KINDS
from qwen_audio.synthetic.sounds.stories import Part, Story

STYLES = ("clotho", "audiocaps", "plain")
CLOTHO_WORDS = (8, 20)
TIMES = ("once", "twice", "three times", "four times", "five times")


class Words(NamedTuple):
    """A class in words: subject, what it is doing, what it does, and both in a participle ("barking")."""

    subject: str
    going: str
    does: str
    participle: str


WORDS: dict[str, Words] = {
    "dog barking": Words("a dog", "is barking", "barks", "barking"),
    "rain": Words("rain", "is falling", "falls", "falling"),
    "sea waves": Words(
        "waves", "are rolling onto the shore", "roll onto the shore", "rolling onto the shore"
    ),
    "baby crying": Words("a baby", "is crying", "cries", "crying"),
    "clock ticking": Words("a clock", "is ticking", "ticks", "ticking"),
    "sneezing": Words("a person", "is sneezing", "sneezes", "sneezing"),
    "helicopter": Words("a helicopter", "is flying", "flies", "flying"),
    "chainsaw": Words("a chainsaw", "is running", "runs", "running"),
    "rooster crowing": Words("a rooster", "is crowing", "crows", "crowing"),
    "fire crackling": Words("a fire", "is crackling", "crackles", "crackling"),
    "siren": Words("a siren", "is wailing", "wails", "wailing"),
    "bell ringing": Words("a bell", "is ringing", "rings", "ringing"),
    "whistling": Words("someone", "is whistling a tune", "whistles a tune", "whistling a tune"),
    "footsteps": Words("someone", "is walking", "walks", "walking"),
    "door knocking": Words("someone", "is knocking on a door", "knocks on a door", "knocking on a door"),
    "car engine": Words("a car engine", "is running", "runs", "running"),
    "wind": Words("the wind", "is blowing", "blows", "blowing"),
    "birds singing": Words("birds", "are singing", "sing", "singing"),
    "thunderstorm": Words("thunder", "is rolling", "rolls", "rolling"),
    "crickets chirping": Words("crickets", "are chirping", "chirp", "chirping"),
    "white noise": Words("white noise", "is hissing", "hisses", "hissing"),
    "train": Words("a train", "is passing", "passes", "passing"),
    "keyboard typing": Words(
        "someone", "is typing on a keyboard", "types on a keyboard", "typing on a keyboard"
    ),
    "laughing": Words("a person", "is laughing", "laughs", "laughing"),
    "coughing": Words("a person", "is coughing", "coughs", "coughing"),
}
# The same, for a class of which the single sounds are counted ("knocks on a door twice" would be two visits).
_COUNTED = {"door knocking": Words("someone", "is knocking", "knocks", "knocking")}


def words_of(label: str, counted: bool = False) -> Words:
    """The words of a class; an unknown one (from a recorded clip) goes by its label."""
    named = (_COUNTED.get(label) if counted else None) or WORDS.get(label)
    return named or Words(label, "can be heard", "can be heard", "sounding")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _times(story: Story, part: Part) -> str:
    """Number of times, if known: " three times" in a "count" story and for a counted event over another."""
    return f" {TIMES[len(part.take.spans) - 1]}" if counted(story, part) else ""


def counted(story: Story, part: Part) -> bool:
    """True if the spans of the part are single sounds that a listener counts."""
    return not part.behind and part.countable and len(part.take.spans) <= len(TIMES)


def _manner(story: Story, part: Part) -> str:
    """A true phrase about a part: its number of times or its length."""
    if times := _times(story, part):
        return times
    spans = part.spans
    if len(spans) >= 3:
        return " several times"
    length = spans[-1].end - spans[0].start
    return " for a moment" if length < 0.8 else " for a few seconds" if length > 2.5 else ""


def _setting(rng: np.random.Generator, story: Story, conditions: Mapping[str, float]) -> list[str]:
    """Endings that are true of the recording, in random order; each may follow a comma or "and"."""
    alone = len(story.parts) == 1
    endings = ["and nothing else is heard", "with no other sound around"] if alone else []
    if conditions.get("snr_db", 99) < 30:
        endings = ["over a faint noise", "with a little noise in the recording"]
    if conditions.get("reverberation_s", 0) > 0.5 and conditions["reverberation_level"] > 0.3:
        endings.append("in a room that echoes")
    return [endings[k] for k in rng.permutation(len(endings))]


def _clotho(rng: np.random.Generator, story: Story, conditions: Mapping[str, float]) -> str:
    front = [part for part in story.parts if not part.behind]
    behind = next((part for part in story.parts if part.behind), None)
    named = [words_of(part.label, counted(story, part)) for part in front]
    told = [f"{w.subject} {w.does}{_manner(story, part)}" for w, part in zip(named, front, strict=True)]
    if behind is not None:
        back = words_of(behind.label)
        line = " and then ".join(told)
        forms = [
            f"{line} while {back.subject} {back.going} in the background",
            f"{back.subject} {back.does} in the background the whole time as {line}",
            f"over the sound of {back.subject} {back.participle} all the while, {line}",
        ]
    elif len(told) == 1:
        w, manner = named[0], _manner(story, front[0])
        forms = [
            f"{w.subject} {w.does}{manner} and is the only thing to hear",
            f"the sound of {w.subject} {w.participle}{manner} is heard in the recording",
            f"{w.subject} can be heard {w.participle}{manner}",
        ]
    else:
        last = len(told) - 1
        forms = [
            ", then ".join(told[:last]) + f", and in the end {told[last]}",
            f"first {told[0]}, after that {', and after that '.join(told[1:])}",
            f"{told[0]} and a little later {' and then '.join(told[1:])}",
        ]
    low, high = CLOTHO_WORDS
    for k in rng.permutation(len(forms)):
        line = forms[k]
        for ending in _setting(rng, story, conditions):
            if len(line.split()) >= low and rng.random() < 0.6:
                break
            if len(f"{line} {ending}".split()) <= high:
                line = f"{line} {ending}"
                break
        if low <= len(line.split()) <= high:
            return _sentence(line)
    # Long names: described together, without their manners.
    brief = [f"{w.subject} {w.does}" for w in named]
    if behind is not None:
        return _sentence(f"{' and then '.join(brief)} while {back.subject} {back.going} in the background")
    return _sentence(", then ".join(brief) + ", one after the other")


def _audiocaps(rng: np.random.Generator, story: Story) -> str:
    front = [part for part in story.parts if not part.behind]
    behind = next((part for part in story.parts if part.behind), None)
    named = [words_of(part.label, counted(story, part)) for part in front]
    told = [f"{w.subject} {w.does}{_times(story, part)}" for w, part in zip(named, front, strict=True)]
    if behind is not None:
        back = words_of(behind.label)
        forms = [
            f"{' and '.join(told)} while {back.subject} {back.does}",
            f"{back.subject} {back.participle} as {' and '.join(told)}",
        ]
    elif len(told) == 1:
        forms = [told[0], f"{named[0].subject} {named[0].participle}{_times(story, front[0])}"]
    else:
        followed = [f"{w.subject} {w.participle}" for w in named]
        forms = [" followed by ".join(followed), ", then ".join(told)]
    line = forms[rng.integers(len(forms))]
    return line[:1].upper() + line[1:]


def _plain(rng: np.random.Generator, story: Story) -> str:
    front = [part for part in story.parts if not part.behind]
    behind = next((part for part in story.parts if part.behind), None)
    named = [words_of(part.label) for part in front]
    if behind is not None:
        back = words_of(behind.label)
        told = " and ".join(f"{w.subject} {w.does}" for w in named)
        return _sentence(f"{told} while {back.subject} {back.going}")
    if len(named) == 1:
        return _sentence(f"{named[0].subject} {named[0].going if rng.random() < 0.6 else named[0].does}")
    return _sentence(", then ".join(f"{w.subject} {w.does}" for w in named))


def caption(rng: np.random.Generator, story: Story, style: str, conditions: Mapping[str, float]) -> str:
    """Caption of the story's recording, in one of `STYLES`.

    conditions: as `record` gives them. Raises ValueError for an unknown style, and for a story of the shape
    "free", in which events may begin together in ways that no caption here describes.
    """
    if style not in STYLES:
        raise ValueError(f"unknown style {style!r} of a caption: use one of {', '.join(STYLES)}")
    if story.shape == "free":
        raise ValueError("a free story has no caption: tell one of the shapes single, count, sequence, over")
    if style == "clotho":
        return _clotho(rng, story, conditions)
    return _audiocaps(rng, story) if style == "audiocaps" else _plain(rng, story)


def place_caption(rng: np.random.Generator, scene: str, spans: Sequence[Span], style: str) -> str:
    """Caption of a visit to a place: its textures, its events (`spans`) and, for Clotho, the place itself."""
    told, where = KINDS[scene].told
    heard = list(dict.fromkeys(span.label for span in spans))
    happens = [f"{words_of(label).subject} {words_of(label).does}" for label in heard]
    if style == "plain":
        return _sentence(f"{told} {where}")
    if style == "audiocaps":
        line = f"{told} as {happens[0]}" if happens and rng.random() < 0.7 else told
        return line[:1].upper() + line[1:]
    line = f"{told} {where}" if rng.random() < 0.6 else f"{where}, {told}"
    for more in happens:
        if len(f"{line} and {more}".split()) <= CLOTHO_WORDS[1]:
            line = f"{line} and {more}"
    return _sentence(line if len(line.split()) >= CLOTHO_WORDS[0] else f"{line} for the whole time")

"""A recording with what its labels say of it, read from an annotated example, and words to say it with.

Everything that a made dialogue claims comes from here: from the fields of the example, from what a synthetic
example's `meta` adds (which is exact), or from the wave itself (length, level). What the labels do not decide is
None or empty, and then no turn is made about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.manifest import Example
from qwen_audio.format import tags
from qwen_audio.format.example import SYNTHETIC_SOURCE
from qwen_audio.format.timestamps import Span, Word

SPACED = ("en", "de", "es", "fr", "it")  # languages whose words a listener counts as they are written
_SPOKEN = (
    "asr", "speech_translation", "dialect_asr", "word_timestamps", "emotion", "keyword_spotting", "language_id",
    "speaker_gender", "speaker_age", "dialect_id", "entity_recognition", "speech_intent", "overlapped_asr",
    "speaker_diarization", "speaker_verification",
)  # fmt: skip
_SOUNDS = ("audio_caption", "sound_event", "event_detection", "audio_qa")
_FRAME = 400  # samples of the frames whose level decides what is loud: 25 ms


class QA(NamedTuple):
    """One turn about a recording: what it trains, the request and the answer."""

    kind: str
    request: str
    answer: str


@dataclass(frozen=True, eq=False)
class Heard:
    """One recording: its example, its wave (n,) at 16 kHz, and which of the example's clips it is."""

    example: Example
    wave: np.ndarray
    clip: int = 0

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return len(self.wave) / SAMPLE_RATE

    @cached_property
    def level(self) -> float:
        """dB: mean power of the frames within 30 dB of the loudest one, so that pauses do not count."""
        count = max(len(self.wave) // _FRAME, 1)
        frames = self.wave[: count * _FRAME].astype(np.float64).reshape(count, -1)
        power = (frames**2).mean(1)
        return 10 * float(np.log10(power[power >= power.max() / 1000].mean() + 1e-12))

    @property
    def exact(self) -> bool:
        """Whether the labels say all there is to hear, as those of the synthetic world do."""
        return (self.example.source or "").startswith(SYNTHETIC_SOURCE)

    @property
    def task(self) -> str:
        """The task of the example."""
        return self.example.task

    @property
    def meta(self) -> dict[str, Any]:
        """The example's free data, for an exact one; elsewhere its keys may mean anything."""
        return self.example.meta if self.exact else {}

    @property
    def is_speech(self) -> bool:
        """Whether someone speaks."""
        return self.task in _SPOKEN

    @property
    def has_speech(self) -> bool | None:
        """None where the labels leave it open: places may have voices, songs have words or none."""
        if self.is_speech:
            return True
        closed = self.exact and "scene" not in self.meta and self.singer is None
        return False if closed and (self.task in _SOUNDS or self.is_music) else None

    @property
    def is_music(self) -> bool:
        """Whether it is music or a note of an instrument."""
        return "parts" in self.meta or "tune" in self.meta or "program" in self.meta

    @property
    def transcript(self) -> str | None:
        """The words of a single speaker, as they are labelled."""
        if self.task == "asr" or self.task == "dialect_asr" or self.task == "entity_recognition":
            return self.example.text
        if self.task == "word_timestamps" and self.example.words:
            gap = " " if self.example.language not in ("zh", "ja") else ""
            return gap.join(word.word for word in self.example.words)
        text = self.meta.get("transcript")
        return text if isinstance(text, str) and text else None

    @property
    def words(self) -> list[Word]:
        """The words with their times, where all of them have some."""
        if self.task in ("word_timestamps", "asr") and self.example.words:
            return self.example.words
        return []

    @property
    def spans(self) -> list[Span]:
        """Turns of speakers or sound events that are labelled in full, in order of start."""
        if self.task in ("event_detection", "speaker_diarization", "overlapped_asr"):
            return self.example.spans or []
        rows = self.meta.get("events") if self.task in _SOUNDS else None
        return [Span(label, start, end) for label, start, end in rows or []]

    @cached_property
    def events(self) -> dict[str, list[Span]]:
        """Sound events by class, in order of first start; not of a clip of a place, whose murmur has no label."""
        found: dict[str, list[Span]] = {}
        if self.task in _SOUNDS and "scene" not in self.meta:
            for span in self.spans:
                found.setdefault(span.label, []).append(span)
        return found

    @property
    def singer(self) -> str | None:
        """The name of who sings."""
        name = self.meta.get("singer") or (self.example.label if self.task == "singer_id" else None)
        performer = self.meta.get("performer")
        if (
            name is None and isinstance(performer, str) and performer[:1].isupper()
        ):  # instruments are in lower case
            name = performer
        return name if isinstance(name, str) else None

    @property
    def voice(self) -> tuple[str | None, str | None]:
        """(age group, sex) of the only speaker."""
        if self.task in ("speaker_gender", "speaker_age"):
            label = self.example.label
            return (label, None) if self.task == "speaker_age" else (None, label)
        if self.exact and self.is_speech and self.task not in ("overlapped_asr", "speaker_diarization"):
            # "espeak/adult-female/...", "espeak/child/...": who speaks in the synthetic world is known by the name.
            name = (self.example.speaker if self.clip == 0 else self.example.speaker2) or ""
            parts = name.split("/")
            age, _, sex = (parts[1] if len(parts) > 3 else "").partition("-")
            if age in ("child", "adult", "senior") and sex in ("male", "female"):
                return age, sex
            if age == "child":
                return age, None
        return None, None


def pick(rng: np.random.Generator, items: Sequence[Any]) -> Any:
    """One of the items."""
    return items[int(rng.integers(len(items)))]


def one(rng: np.random.Generator, templates: str, **slots: str) -> str:
    """One of the templates, parted by "|", filled, as a sentence: it begins with a capital."""
    return sentence(pick(rng, [part.strip() for part in templates.split("|")]).format(**slots))


def sentence(text: str) -> str:
    """With a capital at the beginning."""
    return text[:1].upper() + text[1:]


def at(seconds: float) -> str:
    """A time as the tag that answers hold, kept within the 30 s that tags reach."""
    return tags.time_tag(min(max(seconds, 0.0), 30.0))


def from_to(start: float, end: float) -> str:
    """ "from <|0.20|> to <|0.90|>"."""
    return f"from {at(start)} to {at(end)}"


def listed(items: Sequence[str], last: str = "and") -> str:
    """ "a", "a and b", "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"


def a(noun: str) -> str:
    """The noun with its article."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


NUMBERS = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)


def number(count: int) -> str:
    """In words up to twelve; 0 is "no"."""
    return NUMBERS[count] if count < len(NUMBERS) else str(count)

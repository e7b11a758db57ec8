"""Where in a recording something is: words by the transcript with times, sounds by detected events.

ground(model, "talk.wav", 'find the word "seven"').spans
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from qwen_audio.audio.features import MAX_SECONDS
from qwen_audio.audio.load import SAMPLE_RATE, AudioSource, load_audio
from qwen_audio.editing.instructions import Instruction, InstructionError, Target, read_instruction
from qwen_audio.format.text import spoken_form
from qwen_audio.format.timestamps import Span, Word

if TYPE_CHECKING:
    from qwen_audio.api import QwenAudio

PAUSE_SECONDS = 0.3  # a gap between words from which it is a pause
NAMED_PAUSE_SECONDS = 0.1  # a gap whose place is named; what is shorter may be the error of the model's times
# The model's times are some hundredths of a second off: a boundary is looked for at the quietest place so near by,
# further on the outside of a word than on its inside.
OUTSIDE_SECONDS = 0.15
INSIDE_SECONDS = 0.06
_QUIET_STEP = 0.01


@dataclass(frozen=True)
class Grounding:
    """What was found.

    Attributes:
        spans: label and times in seconds, in order.
        words: all words that were heard, if any target needed them.
        problems: what was odd about the transcript.
    """

    spans: list[Span]
    words: list[Word] | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """One line for each span: start, end and label, separated by tabs."""
        return "\n".join(f"{span.start:.2f}\t{span.end:.2f}\t{span.label}" for span in self.spans)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data: dict[str, Any] = {
            "spans": [
                {"label": s.label, "start": round(s.start, 3), "end": round(s.end, 3)} for s in self.spans
            ]
        }
        return data | ({"problems": self.problems} if self.problems else {})


def ground(model: QwenAudio, audio: AudioSource, query: str, language: str | None = None) -> Grounding:
    """Where in a recording the things named in `query` are, e.g. `find the word "seven"`, `find the first two words`.

    The times are the model's. Raises InstructionError for a query that cannot be read or names what is not heard
    (the message says what is heard), AudioError for audio that cannot be read.
    """
    instruction = read_instruction(query)
    if instruction.kind != "find":
        raise InstructionError(f"{query!r} asks for an edit: begin with find, or use `qwen-audio edit`")
    return Finder(model, load_audio(audio), language).find(instruction)


class Finder:
    """Finds things in one recording, which is transcribed and searched for events at most once.

    Args:
        wave: (n,) float32, 16 kHz.
        language: code of the spoken language; None lets the model say.
    """

    def __init__(self, model: QwenAudio, wave: np.ndarray, language: str | None = None) -> None:
        self.model, self.wave, self.language = model, wave, language
        self.seconds = len(wave) / SAMPLE_RATE
        self.problems: list[str] = []
        self._words: list[Word] | None = None
        self._events: list[Span] | None = None

    @property
    def words(self) -> list[Word]:
        """All words of the recording with their times."""
        if self._words is None:
            heard = self.model.transcribe(
                (self.wave, SAMPLE_RATE), language=self.language, word_timestamps=True
            )
            self._words, self.problems = heard.words or [], [*self.problems, *heard.problems]
        return self._words

    @property
    def events(self) -> list[Span]:
        """All sound events of the recording, heard in stretches of 30 s."""
        # Late: it brings transformers, which takes seconds to import.
        from qwen_audio.inference.request import Request

        if self._events is None:
            step = int(MAX_SECONDS * SAMPLE_RATE)
            starts = range(0, len(self.wave), step)
            asked = [Request("event_detection", [self.wave[at : at + step]]) for at in starts]
            self._events = []
            for at, output in zip(starts, self.model.run(asked), strict=True):
                shift = at / SAMPLE_RATE
                self._events += [
                    Span(s.label, s.start + shift, min(s.end + shift, self.seconds))
                    for s in output.parsed.spans
                    if s.start + shift < self.seconds
                ]
        return self._events

    def find(self, instruction: Instruction) -> Grounding:
        """The spans of all targets in order of time; InstructionError for a target that is not there."""
        spans = [span for target in instruction.targets for span in self.spans(target)]
        return Grounding(sorted(spans, key=lambda span: span.start), self._words, self.problems)

    def spans(self, target: Target) -> list[Span]:
        """Where one target is; InstructionError where it is nowhere."""
        if target.kind == "time":
            if target.start >= self.seconds:
                raise InstructionError(
                    f"{target.start:.2f} s is after the end of the recording, which is {self.seconds:.2f} s long"
                )
            start = target.start if target.start >= 0 else max(0.0, self.seconds + target.start)
            return [Span("", start, min(target.end, self.seconds))]
        if target.kind == "pauses":
            return self._pauses(target)
        if target.kind == "position":
            return self._by_position(target)
        found = self._spoken(target.text) if target.kind in ("words", "any") else []
        if not found and target.kind in ("sound", "any"):
            found = self._sounding(target.text)
        if not found:
            raise InstructionError(self._absent(target))
        if target.which is None:
            return found
        place = target.which - 1 if target.which > 0 else target.which
        if place >= len(found):
            raise InstructionError(f"{target.text!r} is heard {len(found)} times only")
        return [found[place]]

    def _spoken(self, text: str) -> list[Span]:
        """Runs of words that say `text`, whatever its case and punctuation."""
        wanted = spoken_form(text)
        if not wanted:
            return []
        found, at = [], 0
        forms = [spoken_form(word.word) for word in self.words]
        while at < len(forms):
            for end in range(at + 1, len(forms) + 1):
                # Chinese and Japanese come by character, and are written without spaces.
                if wanted in (" ".join(forms[at:end]), "".join(forms[at:end])):
                    found.append(Span(text, self.words[at].start, self.words[end - 1].end))
                    at = end - 1
                    break
                if sum(map(len, forms[at:end])) > len(wanted):
                    break
            at += 1
        return found

    def _sounding(self, text: str) -> list[Span]:
        """Events whose label has every word of `text`, up to an "s" or "ing" at its end."""
        wanted = {_stem(word) for word in spoken_form(text).split()}
        return [
            span
            for span in self.events
            if wanted and wanted <= {_stem(word) for word in spoken_form(span.label).split()}
        ]

    def _by_position(self, target: Target) -> list[Span]:
        words = self.words
        if target.which is None and words:
            return [Span(word.word, word.start, word.end) for word in words]
        wanted = target.count or abs(target.which or 1)
        if len(words) < wanted:
            raise InstructionError(f"only {len(words)} words are heard: {self._heard()}")
        last = target.which == -1
        if target.count is None:
            chosen = [words[-1] if last else words[wanted - 1]]
        else:
            chosen = words[-wanted:] if last else words[:wanted]
        return [Span(word.word, word.start, word.end) for word in chosen]

    def _pauses(self, target: Target) -> list[Span]:
        """The gaps without words that are meant: all, the inner ones, those at the ends, or between two words."""
        if target.text == "between":
            return self._between(target)
        if target.text in ("start", "end", "ends") and not self.words:
            raise InstructionError(
                "no words are heard, so it has no silence before or after them: name the times"
            )
        edges = [Word("", 0.0, 0.0), *self.words, Word("", self.seconds, self.seconds)]
        gaps = list(pairwise(edges))
        gaps = {"inner": gaps[1:-1], "start": gaps[:1], "end": gaps[-1:], "ends": [gaps[0], gaps[-1]]}.get(
            target.text, gaps
        )
        least = PAUSE_SECONDS if target.text in ("", "inner") else NAMED_PAUSE_SECONDS
        found = [Span("pause", a.end, b.start) for a, b in gaps if b.start - a.end >= least]
        if not found:
            place = {"start": " at the start", "end": " at the end", "ends": " at either end"}.get(
                target.text, ""
            )
            raise InstructionError(f"there is no pause of {least} s or more{place}")
        return found

    def _between(self, target: Target) -> list[Span]:
        """The gap between two words that follow each other, in either order, wherever they do."""
        one, other = (self.spans(side) for side in target.sides)
        pairs = [(a, b) for first, second in ((one, other), (other, one)) for a in first for b in second]
        middles = [(word.start + word.end) / 2 for word in self.words]
        beside = {
            (a.end, b.start)
            for a, b in pairs
            if a.start < b.start and not any(a.end < middle < b.start for middle in middles)
        }
        if not beside:
            raise InstructionError(
                f"{target.sides[0]} and {target.sides[1]} are not next to each other: {self._heard()}"
            )
        found = [
            Span("pause", end, start) for end, start in sorted(beside) if start - end >= NAMED_PAUSE_SECONDS
        ]
        if not found:
            raise InstructionError(
                f"there is no pause of {NAMED_PAUSE_SECONDS} s or more between {target.sides[0]} and {target.sides[1]}"
            )
        return found

    def _absent(self, target: Target) -> str:
        if target.kind == "sound" or (target.kind == "any" and not self.words):
            labels = sorted({span.label for span in self.events})
            said = f"the sound {target.text!r} is not heard"
            if labels:
                return f"{said}; what is: {', '.join(labels)}"
            if self.model.name == "embedded":  # see docs/editing.md for what was measured
                return f"{said}: the embedded model is too small to find sounds; name the times, or a larger --model"
            return f"{said}, nor is any other"
        near = difflib.get_close_matches(
            spoken_form(target.text), [spoken_form(w.word) for w in self.words], n=1
        )
        hint = f" (is it {near[0]!r}?)" if near else ""
        return f"{target.text!r} is not heard{hint}; what is: {self._heard()}"

    def _heard(self) -> str:
        said = " ".join(word.word for word in self.words)
        return f'"{said[:300]}"' if said else "no words"

    def words_between(self, start: float, end: float) -> list[Word]:
        """The words that were heard (if the recording was transcribed) with their middle in a stretch of time."""
        return [word for word in self._words or [] if start <= (word.start + word.end) / 2 < end]

    def widen(self, span: Span) -> Span:
        """The span with both ends moved to the quietest moment near by, never past the middle of a word beside it."""
        return Span(span.label, *snap_to_quiet(self.wave, span, self._words or ()))


def snap_to_quiet(wave: np.ndarray, span: Span, words: Sequence[Word]) -> tuple[float, float]:
    """Start and end of a span, in seconds, at the quietest 20 ms near the given ones.

    wave: (n,) at 16 kHz. Looked at: 0.15 s outwards and 0.06 s inwards, but not past the middle of a neighbour in
    `words` and not past the middle of the span.
    """
    length, middle = len(wave) / SAMPLE_RATE, (span.start + span.end) / 2
    before = [(w.start + w.end) / 2 for w in words if w.end <= span.start + 1e-6]
    after = [(w.start + w.end) / 2 for w in words if w.start >= span.end - 1e-6]
    earliest = max(span.start - OUTSIDE_SECONDS, max(before, default=0.0), 0.0)
    latest = min(span.end + OUTSIDE_SECONDS, min(after, default=length), length)
    start = _quietest(wave, earliest, min(span.start + INSIDE_SECONDS, middle), span.start)
    end = _quietest(wave, max(span.end - INSIDE_SECONDS, middle), latest, span.end)
    return (start, end) if end > start else (span.start, min(span.end, length))


def _quietest(wave: np.ndarray, low: float, high: float, given: float) -> float:
    """The moment in [low, high] with the least energy in the 20 ms around it; of equal ones the nearest to `given`."""
    moments = np.arange(low, high + 1e-9, _QUIET_STEP)
    if not len(moments):
        return given
    half = int(_QUIET_STEP * SAMPLE_RATE)
    energy = []
    for moment in moments:
        at = round(moment * SAMPLE_RATE)
        piece = wave[max(0, at - half) : at + half].astype(np.float64)
        energy.append(10 * np.log10(np.mean(piece**2) + 1e-8) if len(piece) else -80.0)
    # Steps of 3 dB: a hiss that is a hair quieter further away must not move a boundary.
    levels = np.round(np.array(energy) / 3.0)
    best = np.flatnonzero(levels == levels.min())
    return float(moments[best[np.abs(moments[best] - given).argmin()]])


def _stem(word: str) -> str:
    for ending in ("ing", "es", "s"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return word[: -len(ending)]
    return word

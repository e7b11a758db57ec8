"""The model's answers as Python objects, and their output as text, JSON, subtitles and TextGrid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from qwen_audio.format.timestamps import Word
from qwen_audio.results.passages import Passage, problems_as_data, words_as_data
from qwen_audio.results.subtitles import group_words, srt_time, to_srt, to_textgrid, to_vtt

__all__ = [
    "Answer",
    "Classification",
    "Passage",
    "Result",
    "Transcription",
    "format_results",
    "group_words",
    "srt_time",
]


class Result(Protocol):
    """Interface of every result: the answer as text, and the whole result as plain data."""

    @property
    def text(self) -> str: ...

    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Transcription:
    """Spoken words of one recording; none if nobody speaks.

    language: code of the spoken language, given or predicted; "unknown" outside the eight tagged languages, or
    without speech. In a recording with several, the one that is spoken longest; each segment has its own.
    words: words with start and end in seconds, or None when times were not asked for.
    problems: one sentence for each repair, for an answer that was stopped early, and for a recording of which a part
    could not be read.
    segments: the same by passages between pauses.
    duration: seconds of the recording, None if not known.
    """

    text: str
    language: str
    words: list[Word] | None = None
    problems: list[str] = field(default_factory=list)
    segments: list[Passage] = field(default_factory=list)
    duration: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `words` only when times were asked for (then in the segments too), `problems` only if
        any."""
        data: dict[str, Any] = {"text": self.text, "language": self.language} | words_as_data(self.words)
        if self.duration is not None:
            data["duration"] = self.duration
        data["segments"] = [segment.to_dict() for segment in self.segments]
        return data | problems_as_data(self.problems)

    def to_srt(self) -> str:
        """SRT subtitles: words in lines of at most 42 characters and 6 s, cut at pauses over 0.8 s.

        Raises ValueError when the words have no times.
        """
        return to_srt(self._timed())

    def to_vtt(self) -> str:
        """The same as WebVTT."""
        return to_vtt(self._timed())

    def to_textgrid(self) -> str:
        """A TextGrid for Praat: segments, their languages, and words if times were asked for."""
        passages = self._passages()
        ends = [passage.end for passage in passages]
        return to_textgrid(passages, max(ends, default=0.0) if self.duration is None else self.duration)

    def to_lines(self) -> str:
        """One line for each segment; in a recording with several languages each with its own in front."""
        spoken = [segment for segment in self.segments if segment.text]
        if len(spoken) < 2:
            return f"{self.text}\n"
        several = len({segment.language for segment in spoken}) > 1
        return "".join(f"[{s.language}] {s.text}\n" if several else f"{s.text}\n" for s in spoken)

    def _passages(self) -> list[Passage]:
        """The segments, or the whole as one."""
        if self.segments or not self.words:
            return self.segments
        return [Passage(self.words[0].start, self.words[-1].end, self.language, self.text, self.words)]

    def _timed(self) -> list[Passage]:
        if self.words is None:
            raise ValueError("subtitles need word times: transcribe with word_timestamps=True")
        return self._passages()


@dataclass(frozen=True)
class Answer:
    """Free text: the answer to a question, or a caption. `problems` as in Transcription."""

    text: str
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"text": self.text} | problems_as_data(self.problems)


@dataclass(frozen=True)
class Classification:
    """The most probable of the given labels; `scores` maps every label to its probability among them."""

    text: str
    scores: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"text": self.text, "scores": self.scores}


def format_results(results: Sequence[tuple[str, Result]], style: str, *, several: bool | None = None) -> str:
    """One string for (name of the input, result) pairs, ending with a newline unless empty.

    several: there were several inputs (some of which may have failed); None: as many as there are results.

    style "text": the answer; the name goes before it when there are several inputs, and a transcription is one line for
    each segment when it is alone. With word times, one line for each word: start, end, word, separated by tabs. "json":
    one object, or a list of objects for several inputs, each with its `input`. "srt", "vtt": subtitles of one
    transcription with word times; "textgrid": its segments and words for Praat.

    Raises:
        ValueError: an unknown style, or SRT, VTT or TextGrid for anything but one transcription.
    """
    several = len(results) > 1 if several is None else several
    if style == "text":
        return "".join(_as_text(name, result, alone=not several) for name, result in results)
    if style == "json":
        rows = [{"input": name} | result.to_dict() for name, result in results]
        return json.dumps(rows if several else rows[0], ensure_ascii=False, indent=2) + "\n"
    if style not in _FILES:
        raise ValueError(f"unknown format {style!r}: use text, json, {', '.join(_FILES)}")
    if len(results) != 1:
        raise ValueError(
            f"one {style} file holds one recording: transcribe one input, or give a folder as --output"
        )
    result = results[0][1]
    if not isinstance(result, Transcription):
        raise ValueError(f"only a transcription can be written as {style}: use text or json")
    return _FILES[style](result)


_FILES = {
    "srt": Transcription.to_srt,
    "vtt": Transcription.to_vtt,
    "textgrid": Transcription.to_textgrid,
}


def _as_text(name: str, result: Result, *, alone: bool) -> str:
    if isinstance(result, Transcription) and result.words is not None:
        lines = [f"{w.start:.2f}\t{w.end:.2f}\t{w.word}\n" for w in result.words]
        return ("" if alone else f"{name}:\n") + "".join(lines)
    if isinstance(result, Classification):
        ranked = sorted(result.scores.items(), key=lambda item: -item[1])
        lines = [f"{score:.3f}\t{label}\n" for label, score in ranked]
        return ("" if alone else f"{name}:\n") + "".join(lines)
    if isinstance(result, Transcription) and alone:
        return result.to_lines()
    return f"{result.text}\n" if alone else f"{name}: {result.text}\n"

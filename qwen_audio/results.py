"""What the model's answers look like in Python, and the same as text, JSON and SRT subtitles."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from qwen_audio.timestamps import Word

# Subtitle lines: what is comfortable to read, after the usual broadcast guidelines.
SRT_LINE_CHARACTERS = 42
SRT_LINE_SECONDS = 6.0
SRT_PAUSE_SECONDS = 0.8  # a longer pause begins a new line

# Languages whose words are joined without a space.
_UNSPACED = frozenset({"zh", "zh_tr", "ja"})


class Result(Protocol):
    """What every result has: the answer as text, and everything known as plain data."""

    @property
    def text(self) -> str: ...

    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Transcription:
    """Spoken words of one recording.

    language: code of the spoken language, given or predicted; "unknown" outside the eight tagged languages.
    words: words with start and end in seconds, or None when times were not asked for.
    problems: one sentence for each thing that had to be repaired, or for an answer that was stopped early.
    """

    text: str
    language: str
    words: list[Word] | None = None
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `words` only when times were asked for, `problems` only if any."""
        data: dict[str, Any] = {"text": self.text, "language": self.language}
        if self.words is not None:
            data["words"] = [{"word": w.word, "start": w.start, "end": w.end} for w in self.words]
        return data | _problems(self.problems)

    def to_srt(self) -> str:
        """Subtitles: words grouped into lines of at most 42 characters and 6 s, cut at pauses over 0.8 s.

        Raises ValueError when the words have no times.
        """
        if self.words is None:
            raise ValueError("subtitles need word times: transcribe with word_timestamps=True")
        joint = "" if self.language in _UNSPACED else " "
        blocks = []
        for number, line in enumerate(group_words(self.words, joint), start=1):
            times = f"{srt_time(line[0].start)} --> {srt_time(line[-1].end)}"
            blocks.append(f"{number}\n{times}\n{joint.join(w.word for w in line)}\n")
        return "\n".join(blocks)


@dataclass(frozen=True)
class Answer:
    """Free text: the answer to a question, or a caption. `problems` as in Transcription."""

    text: str
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"text": self.text} | _problems(self.problems)


@dataclass(frozen=True)
class Classification:
    """The most probable of the given labels; `scores` maps every label to its probability among them."""

    text: str
    scores: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"text": self.text, "scores": self.scores}


def _problems(problems: list[str]) -> dict[str, Any]:
    return {"problems": problems} if problems else {}


def join_words(words: Sequence[Word], language: str | None) -> str:
    """The words as running text; no spaces in Chinese and Japanese."""
    return ("" if language in _UNSPACED else " ").join(word.word for word in words)


def group_words(words: Sequence[Word], joint: str = " ") -> list[list[Word]]:
    """Cut words into subtitle lines; every word is in exactly one line, and no line is empty."""
    lines: list[list[Word]] = []
    for word in words:
        line = lines[-1] if lines else []
        characters = sum(len(w.word) + len(joint) for w in line) + len(word.word)
        if (
            not line
            or characters > SRT_LINE_CHARACTERS
            or word.end - line[0].start > SRT_LINE_SECONDS
            or word.start - line[-1].end > SRT_PAUSE_SECONDS
        ):
            lines.append([word])
        else:
            line.append(word)
    return lines


def srt_time(seconds: float) -> str:
    """`00:01:02,345` for 62.345 s."""
    milliseconds = round(1000 * seconds)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d},{milliseconds % 1000:03d}"


def format_results(results: Sequence[tuple[str, Result]], style: str, *, several: bool | None = None) -> str:
    """One string for (name of the input, result) pairs, ending with a newline unless empty.

    several: there were several inputs (some of which may have failed); None: as many as there are results.

    style "text": the answer; the name goes before it when there are several inputs. With word times, one line
    for each word: start, end, word, separated by tabs. "json": one object, or a list of objects for several
    inputs, each with its `input`. "srt": subtitles of one transcription.

    Raises:
        ValueError: an unknown style, or SRT for anything but one transcription with word times.
    """
    several = len(results) > 1 if several is None else several
    if style == "text":
        return "".join(_as_text(name, result, alone=not several) for name, result in results)
    if style == "json":
        rows = [{"input": name} | result.to_dict() for name, result in results]
        return json.dumps(rows if several else rows[0], ensure_ascii=False, indent=2) + "\n"
    if style == "srt":
        if len(results) != 1:
            raise ValueError(
                "one SRT file holds one recording: transcribe one input, or give a folder as --output"
            )
        result = results[0][1]
        if not isinstance(result, Transcription):
            raise ValueError("only a transcription can be written as SRT: use text or json")
        return result.to_srt()
    raise ValueError(f"unknown format {style!r}: use text, json or srt")


def _as_text(name: str, result: Result, *, alone: bool) -> str:
    if isinstance(result, Transcription) and result.words is not None:
        lines = [f"{w.start:.2f}\t{w.end:.2f}\t{w.word}\n" for w in result.words]
        return ("" if alone else f"{name}:\n") + "".join(lines)
    if isinstance(result, Classification):
        ranked = sorted(result.scores.items(), key=lambda item: -item[1])
        lines = [f"{score:.3f}\t{label}\n" for label, score in ranked]
        return ("" if alone else f"{name}:\n") + "".join(lines)
    return f"{result.text}\n" if alone else f"{name}: {result.text}\n"

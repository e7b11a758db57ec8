"""Passages of a transcription (the speech between two pauses), and the joining of words and passages to a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from qwen_audio.format.timestamps import Word

# Languages whose words are joined without a space.
UNSPACED = frozenset({"zh", "zh_tr", "ja"})


@dataclass(frozen=True)
class Passage:
    """The transcript between two pauses, from `start` to `end` in seconds of the recording.

    language, words and problems as in Transcription, for this passage alone.
    """

    start: float
    end: float
    language: str
    text: str
    words: list[Word] | None = None
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data = {"start": self.start, "end": self.end, "language": self.language, "text": self.text}
        return data | words_as_data(self.words) | problems_as_data(self.problems)


def words_as_data(words: list[Word] | None) -> dict[str, Any]:
    """The entry `words` of plain data for JSON; none where times were not asked for."""
    if words is None:
        return {}
    return {"words": [{"word": w.word, "start": w.start, "end": w.end} for w in words]}


def problems_as_data(problems: list[str]) -> dict[str, Any]:
    """The entry `problems` of plain data for JSON; none without problems."""
    return {"problems": problems} if problems else {}


def join_words(words: Sequence[Word], language: str | None) -> str:
    """The words as running text; no spaces in Chinese and Japanese."""
    return ("" if language in UNSPACED else " ").join(word.word for word in words)


def join_texts(passages: Sequence[Passage]) -> str:
    """The texts of passages as one; no space between two in Chinese or Japanese."""
    text, before = "", ""
    for passage in passages:
        if passage.text:
            spaced = not text or before not in UNSPACED or passage.language not in UNSPACED
            text += (" " if text and spaced else "") + passage.text
            before = passage.language
    return text

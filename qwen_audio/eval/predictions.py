"""A prediction: an example and what a system made of it; and how it stands in predictions.jsonl.

Everything that is scored, whoever made it, is a list of these, so that all systems are measured by the same code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qwen_audio.data.manifest import Example
from qwen_audio.format import tasks
from qwen_audio.format.tasks import Parsed
from qwen_audio.format.text import collapse_spaces
from qwen_audio.results.passages import join_words

# Answers of several parts, which `Parsed.text` puts in words.
COMPOUND = ("overlap", "dialect", "entities", "events", "turns")


@dataclass
class Prediction:
    """An example and what a system made of it.

    raw: the output as it came, special tokens included; parsed: the same as data (None: no output, `error` says why);
    problems: what the parser could not read; scores: by answer, how much the system believes in it (any scale; for
    speaker verification); seconds: of audio.
    """

    example: Example
    raw: str = ""
    parsed: Parsed | None = None
    problems: list[str] = field(default_factory=list)
    error: str | None = None
    scores: dict[str, float] | None = None
    seconds: float = 0.0

    @property
    def reference(self) -> str:
        """The wanted answer as plain text."""
        example, body = self.example, tasks.task_of(self.example.task).body
        if body == "words":
            return join_words(example.words or [], example.language)
        if body in COMPOUND:
            return self.truth.text
        if body in ("note", "intent"):  # an intent's label may leave out its scenario
            return self.truth.label or ""
        return collapse_spaces(example.text if body in ("transcript", "text", "answer") else _label(example))

    @property
    def truth(self) -> Parsed:
        """The annotation as an answer that is right in every part."""
        return tasks.parse(self.example.task, "".join(piece.text for piece in tasks.render(self.example)))

    @property
    def hypothesis(self) -> str | None:
        """The answer as plain text; None for a failed example."""
        if self.parsed is None:
            return None
        body = tasks.task_of(self.example.task).body
        if body == "words":
            return join_words(self.parsed.words, self.example.language)
        plain = body in ("transcript", "text", "answer", *COMPOUND)
        return self.parsed.text if plain else self.parsed.label or ""

    def to_dict(self) -> dict[str, Any]:
        """One line of predictions.jsonl."""
        row: dict[str, Any] = {
            "id": self.example.id,
            "source": self.example.source,
            "task": self.example.task,
            "reference": self.reference,
            "hypothesis": self.hypothesis,
            "raw": self.raw,
        }
        if self.parsed is not None and self.parsed.words:
            row["words"] = [[word.word, word.start, word.end] for word in self.parsed.words]
        if self.problems:
            row["problems"] = self.problems
        if self.scores is not None:
            row["scores"] = self.scores
        if self.error is not None:
            row["error"] = self.error
        row["seconds"] = round(self.seconds, 3)
        return row

    @classmethod
    def from_dict(cls, example: Example, row: Mapping[str, Any]) -> Prediction:
        """The prediction of which `to_dict` made a line; the answer is parsed again from `raw`."""
        error = row.get("error")
        return cls(
            example,
            raw=row.get("raw", ""),
            parsed=None if error is not None else tasks.parse(example.task, row["raw"], example.choices),
            problems=list(row.get("problems", [])),
            error=error,
            scores=row.get("scores"),
            seconds=row.get("seconds", 0.0),
        )


def _label(example: Example) -> str:
    return example.label or example.text

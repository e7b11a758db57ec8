"""The one schema of an annotated example: audio reference(s), a task, and the wanted answer."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from qwen_audio.format import tags
from qwen_audio.format.task_table import TASKS
from qwen_audio.format.timestamps import Span, Word, parse_words

# `source` of the examples that the generators make.
SPEECH_SOURCE = "synthetic speech (espeak-ng)"
SYNTHETIC_SOURCE = "synthetic"
# The short form's keys, beside the fields of Example themselves.
SHORT_FORM = ("path", "path2", "duration_s")


class AudioRef(BaseModel):
    """A piece of an audio file: from `start`, `duration` long (None: to the end of the file), in seconds."""

    model_config = ConfigDict(extra="forbid")

    path: Annotated[str, Field(min_length=1)]
    start: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    duration: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class Example(BaseModel):
    """One annotated example: audio reference(s), a task, and the wanted answer.

    `task` is a slug of `task_table.TASKS`; `text` is the wanted answer; `label` is its class name where
    the task is a classification and `choices` are the classes; `question` is an English question that `text`
    answers; `spans` are events, turns of speakers or overlapping utterances, in order of start.  `meta` holds
    what only one task or source has (slots, entities, dialect, notes, ...).
    """

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, Field(min_length=1)]
    task: str
    audio: list[AudioRef]
    text: str
    language: str | None = None
    target_language: str | None = None
    words: list[Annotated[Word, BeforeValidator(as_word)]] | None = None
    spans: list[Annotated[Span, BeforeValidator(as_span)]] | None = None
    label: str | None = None
    choices: list[str] | None = None
    question: str | None = None
    speaker: str | None = None
    speaker2: str | None = None
    source: str | None = None
    license: str | None = None
    license_class: str | None = None
    split: str | None = None
    sampling_rate: Annotated[int, Field(gt=0)] | None = None
    meta: dict[str, Any] = Field(default_factory=dict)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _expand(cls, row: Any) -> Any:
        """Turn the short form into the long form, and lift words and target language out of the row."""
        if not isinstance(row, Mapping):
            return row
        row = dict(row)
        if any(key in row for key in SHORT_FORM):
            _expand_audio(row)
        meta = row.get("meta")
        meta = meta if isinstance(meta, Mapping) else {}
        if row.get("task") == "word_timestamps" and row.get("words") is None:
            if meta.get("words") is not None:
                row["words"] = meta["words"]
            elif isinstance(row.get("text"), str):
                parsed = parse_words(row["text"])
                if parsed.repairs:
                    raise ValueError(
                        f"the word times in `text` are not usable: {parsed.repairs[0]}; correct them"
                    )
                row["words"] = parsed.words
        if row.get("task") == "speech_translation" and row.get("target_language") is None:
            if meta.get("target_language") is None:
                raise ValueError('a speech_translation example needs the field `target_language`, e.g. "en"')
            row["target_language"] = meta["target_language"]
        return row

    @pydantic.field_validator("language", "target_language")
    @classmethod
    def _language_code(cls, code: str | None) -> str | None:
        return None if code is None else tags.check_language(code)

    @pydantic.field_validator("task")
    @classmethod
    def _known_task(cls, task: str) -> str:
        if task not in TASKS:
            raise ValueError(f"unknown task {task!r}{close_names(task, TASKS)}")
        return task

    @pydantic.model_validator(mode="after")
    def _known_labels(self) -> Example:
        """Refuse a label, or a span with a label, that is none of the given choices."""
        if self.choices is not None:
            for label in self._labels():
                if label not in self.choices:
                    raise ValueError(
                        f"the label {label!r} is not one of the choices {', '.join(self.choices)}: correct either"
                    )
        return self

    def _labels(self) -> list[str]:
        body = TASKS[self.task].body
        if body == "events":
            return [span.label for span in self.spans or []]
        if body == "keyword" and self.words:
            return [word.word for word in self.words]
        text = [self.text] if body in ("label", "answer") else []
        return [self.label] if self.label is not None else text


@dataclass
class Sample:
    """An example with its audio in memory: `waves` are (n,) float32, 16 kHz mono, one per audio span.

    A synthetic sample's example has no audio references; its waves are the audio.
    """

    example: Example
    waves: list[np.ndarray]


def _expand_audio(row: dict[str, Any]) -> None:
    """Replace `path`, `path2`, `duration_s` of `row` by `audio`; `duration_s` is the first clip's length."""
    if "audio" in row:
        raise ValueError(
            "the row has both `audio` and `path`/`path2`/`duration_s`: keep one of the two forms"
        )
    if "path" not in row:
        raise ValueError("the row has `path2` or `duration_s` but no `path`: add it, or use `audio`")
    first = {"path": row.pop("path"), "duration": row.pop("duration_s", None)}
    second = row.pop("path2", None)
    row["audio"] = [first] if second is None else [first, {"path": second}]


def close_names(name: str, known: Iterable[str]) -> str:
    """The words "; did you mean ...?" or the whole list, for an unknown name."""
    known = list(known)
    near = difflib.get_close_matches(
        name.lower().replace("-", "_").replace(" ", "_"), known, n=3, cutoff=0.55
    )
    return f"; did you mean {' or '.join(near)}?" if near else f"; use one of {', '.join(known)}"


_SPAN_KEYS = {"label", "start", "end", "text"}


def as_word(value: Any) -> Word:
    """Accept a Word, `[word, start, end]` or `{"word", "start", "end"}`; times in seconds."""
    if isinstance(value, Word):
        value = (value.word, value.start, value.end)
    elif isinstance(value, Mapping) and len(value) == 3:
        value = [value.get(key) for key in ("word", "start", "end")]
    match value:
        case [str(word), int() | float() as start, int() | float() as end] if word.strip():
            _check("word", word, start, end)
            return Word(word, float(start), float(end))
    raise ValueError(f"{value!r} is not a timed word: give [word, start, end] with times in seconds")


def as_span(value: Any) -> Span:
    """Accept a Span, `[label, start, end]`, `[label, start, end, text]` or an object with these keys."""
    if isinstance(value, Span):
        value = [value.label, value.start, value.end, value.text]
    elif isinstance(value, Mapping) and {"label", "start", "end"} <= set(value) <= _SPAN_KEYS:
        value = [value["label"], value["start"], value["end"], value.get("text")]
    match value:
        case [str(label), int() | float() as start, int() | float() as end, *rest] if (
            label.strip() and len(rest) < 2 and all(text is None or isinstance(text, str) for text in rest)
        ):
            _check("span", label, start, end)
            return Span(label, float(start), float(end), *rest)
    raise ValueError(
        f"{value!r} is not a span: give [label, start, end] or [label, start, end, text], times in seconds"
    )


def _check(kind: str, name: str, start: float, end: float) -> None:
    if not 0 <= start <= end < math.inf:  # "not <=" also refuses NaN
        raise ValueError(f"the {kind} {name!r} runs from {start} to {end} s: give 0 <= start <= end")

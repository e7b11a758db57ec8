"""Parts shared by all kinds of answers: the answer as data, the interface of a kind, small helpers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from qwen_audio.format import tags
from qwen_audio.format.example import Example
from qwen_audio.format.tags import Segment
from qwen_audio.format.text import collapse_spaces
from qwen_audio.format.timestamps import Span, Word

TIME_TAG = re.compile(r"<\|[0-9]{1,2}\.[0-9]{2}\|>")


@dataclass
class Parsed:
    """An answer as data.

    text: the plain answer; language: code of the audio language if the string named one; words, spans: with
    times in seconds; label: the class of a classification task; fields: named parts (pitch, slots ...);
    problems: one sentence for each deviation from the format.
    """

    text: str
    language: str | None = None
    words: list[Word] = field(default_factory=list)
    label: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)


def text_answer(example: Example) -> list[Segment]:
    """The `text` of the example as an answer to a question; the time tags in it are time tags."""
    return with_times(required(example, example.text, "text"))


class Body(NamedTuple):
    """One kind of answer.

    annotation: what an example must have, in words. render: the labelled segments of an example under one of the
    task's forms. parse: any string into data, never raising. ask: the labelled segments where the task is put as
    a free question. grows: whether a longer recording has a longer answer.
    """

    annotation: str
    render: Callable[[Example, str], list[Segment]]
    parse: Callable[[str], Parsed]
    ask: Callable[[Example], list[Segment]] = text_answer
    grows: bool = False


def tag(*names: str) -> Segment:
    """A labelled segment of special tokens."""
    return Segment("".join(names), True, True)


def plain(text: str) -> Segment:
    """A labelled segment of user data; ValueError for text that could not be read back from its tokens."""
    tags.check_text(text)
    return Segment(text, False, True)


def with_times(text: str) -> list[Segment]:
    """Segments of a text: time tags, such as `<|2.33|>`, as special tokens, all else as user data."""
    return [
        tag(piece) if special and TIME_TAG.fullmatch(piece) else plain(piece)
        for piece, special in tags.split_tags(text)
    ]


def required(example: Example, text: object, what: str) -> str:
    """The text with its white space collapsed; ValueError that names the example where there is none."""
    text = "" if text is None else collapse_spaces(str(text))
    if not text:
        raise ValueError(
            f"example {example.id!r} of task {example.task!r} has no {what}: add it to the manifest"
        )
    return text


def listed(parts: Iterable[str]) -> str:
    """Parts of an answer in a sentence, "none" where there are none."""
    return ", ".join(parts) or "none"

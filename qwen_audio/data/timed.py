"""Timed words and spans as they are written in a manifest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from qwen_audio.timestamps import Span, Word

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

"""Answers of plain text: transcripts, translations and captions, answers to questions, class names."""

from __future__ import annotations

from qwen_audio.format import tags
from qwen_audio.format.answers.base import TIME_TAG, Body, Parsed, plain, required, text_answer
from qwen_audio.format.example import Example
from qwen_audio.format.tags import Segment
from qwen_audio.format.text import collapse_spaces, spoken_form


def transcript_of(text: str, form: str) -> str:
    """The transcript in the given form: written ("itn") or spoken."""
    return collapse_spaces(text) if form == "itn" else spoken_form(text)


def _render_transcript(example: Example, form: str) -> list[Segment]:
    text = transcript_of(example.text, form)
    return [plain(text)] if text else []  # the transcript of silence is empty


def _render_text(example: Example, form: str) -> list[Segment]:
    return [plain(required(example, example.text, "text"))]


def _parse_transcript(text: str) -> Parsed:
    problems: list[str] = []
    return Parsed(tags.without_tags(text, problems), problems=problems)


def _parse_text(text: str) -> Parsed:
    """Parse as a transcript, but report an empty one."""
    parsed = _parse_transcript(text)
    if not parsed.text:
        parsed.problems.append(_EMPTY)
    return parsed


_EMPTY = "the answer is empty"


def _render_answer(example: Example, form: str) -> list[Segment]:
    return text_answer(example)


def _parse_answer(text: str) -> Parsed:
    """An answer to a question may name times (the published chat model writes them inside sentences)."""
    problems: list[str] = []
    answer = tags.without_tags(text, problems, keep=lambda tag: bool(TIME_TAG.fullmatch(tag)))
    if not answer:
        problems.append(_EMPTY)
    return Parsed(answer, label=answer, problems=problems)


def _render_label(example: Example, form: str) -> list[Segment]:
    return [plain(required(example, example.label or example.text, "label"))]


def _ask_label(example: Example) -> list[Segment]:
    return [plain(required(example, example.text or example.label, "text"))]


def _parse_label(text: str) -> Parsed:
    parsed = _parse_text(text)
    parsed.label = parsed.text
    return parsed


BODIES: dict[str, Body] = {
    "transcript": Body("`text`", _render_transcript, _parse_transcript, grows=True),
    "text": Body("`text`", _render_text, _parse_text),
    "answer": Body("`question`, `text`", _render_answer, _parse_answer),
    "label": Body("`label`, else `text`", _render_label, _parse_label, _ask_label),
}

"""Answers about one note of music: a full analysis, or its pitch alone."""

from __future__ import annotations

import re
from typing import Any

from qwen_audio.format import tags
from qwen_audio.format.answers.base import Body, Parsed, plain, required, tag, text_answer
from qwen_audio.format.example import Example
from qwen_audio.format.tags import Segment
from qwen_audio.format.text import collapse_spaces


def _render_note(example: Example, form: str) -> list[Segment]:
    """From meta: pitch, velocity, sonic (a list), instrument (else the label); or from a text in tags."""
    note = example.meta if "pitch" in example.meta else _parse_note(example.text).fields
    missing = [name for name in ("pitch", "velocity") if name not in note]
    if missing:
        raise ValueError(
            f"example {example.id!r} of task {example.task!r} lacks meta.{missing[0]} (0 to 127)"
        )
    for name in ("pitch", "velocity"):
        if isinstance(note[name], bool) or not isinstance(note[name], int):
            raise ValueError(
                f"example {example.id!r}: meta.{name} is {note[name]!r}: give a whole number from 0 to 127"
            )
    sonic, instrument = note.get("sonic") or [], note.get("instrument") or example.label or ""
    sonic = [collapse_spaces(name) for name in ([sonic] if isinstance(sonic, str) else sonic)]
    if any("," in name or not name for name in sonic):
        raise ValueError(
            f"example {example.id!r}: meta.sonic {sonic!r} must be words without commas, which stand between them"
        )
    segments = [
        tag(
            tags.PITCH,
            tags.pitch_tag(note["pitch"]),
            tags.VELOCITY,
            tags.velocity_tag(note["velocity"]),
            tags.SONIC,
        ),
        plain(", ".join(sonic)),
        tag(tags.INSTRUMENT),
        plain(collapse_spaces(instrument)),
    ]
    return [segment for segment in segments if segment.text]


_NEXT_FIELD = r"(?=<\|(?:pitch|velocity|sonic|instrument)\|>|$)"
_NOTE_FIELDS = {
    "pitch": re.compile(r"<\|pitch\|><\|midi_pitch_([0-9]{1,9})\|>"),
    "velocity": re.compile(r"<\|velocity\|><\|midi_velocity_([0-9]{1,9})\|>"),
    "sonic": re.compile(rf"<\|sonic\|>(.*?){_NEXT_FIELD}", re.S),
    "instrument": re.compile(rf"<\|instrument\|>(.*?){_NEXT_FIELD}", re.S),
}


def _parse_note(text: str) -> Parsed:
    """fields: pitch and velocity (int), sonic (list of str), instrument; absent ones are left out."""
    fields: dict[str, Any] = {}
    problems: list[str] = []
    read: list[tuple[int, int]] = []  # stretches of the text
    for name, pattern in _NOTE_FIELDS.items():
        match = pattern.search(text)
        read += [match.span()] if match else []
        value = tags.without_tags(match.group(1), problems) if match else ""
        if match is None:
            problems.append(f"no {name}")
        elif name in ("pitch", "velocity"):
            if int(value) < tags.MIDI_VALUES:
                fields[name] = int(value)
            else:
                problems.append(f"{name} {value} is no MIDI value")
        elif name == "sonic":
            fields[name] = [part.strip() for part in value.split(",") if part.strip()]
        else:
            fields[name] = value
    rest = "".join(char for at, char in enumerate(text) if not any(a <= at < b for a, b in read))
    if rest.strip():
        problems.append(f"not read: {collapse_spaces(rest)}")
    return Parsed(text.strip(), label=fields.get("instrument"), fields=fields, problems=problems)


def _render_pitch(example: Example, form: str) -> list[Segment]:
    value = required(example, example.label or example.text, "label (the MIDI pitch)")
    if not value.isdecimal():
        raise ValueError(
            f"example {example.id!r}: the label of note_pitch must be a MIDI pitch, not {value!r}"
        )
    return [tag(tags.pitch_tag(int(value)))]


_PITCH = re.compile(r"<\|midi_pitch_([0-9]{1,3})\|>")


def _parse_pitch(text: str) -> Parsed:
    match = _PITCH.search(text)
    if match is None or int(match.group(1)) >= tags.MIDI_VALUES:
        return Parsed(tags.without_tags(text, []), problems=["no pitch"])
    pitch = match.group(1)
    problems = [f"not read: {rest}"] if (rest := collapse_spaces(_PITCH.sub("", text, count=1))) else []
    return Parsed(pitch, label=pitch, fields={"pitch": int(pitch)}, problems=problems)


def _ask_note(example: Example) -> list[Segment]:
    """The `text` of the example; a text in tags stays in tags."""
    in_tags = any(special for _, special in tags.split_tags(example.text))
    return _render_note(example, "") if in_tags else text_answer(example)


BODIES: dict[str, Body] = {
    "note": Body("`meta.pitch`, `velocity`, `sonic`, `instrument`", _render_note, _parse_note, _ask_note),
    "pitch": Body("`label`, else `text`", _render_pitch, _parse_pitch),
}

"""The bodies of answers: what stands between the prompt and `<|endoftext|>`, written and read back.

Each kind of body is one `Body`: `render(example, form)` gives labelled segments, `parse(text)` reads a
generated string into a `Parsed` and never raises. `task_table.py` says which task uses which body.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from qwen_audio import tags
from qwen_audio.tags import Segment
from qwen_audio.text import collapse_spaces, spoken_form
from qwen_audio.timestamps import Word, parse_words, render_words

if TYPE_CHECKING:
    from qwen_audio.data.manifest import Example


@dataclass
class Parsed:
    """An answer as data.

    text: the plain answer; language: code of the audio language if the string named one; words: with times in
    seconds; label: the class of a classification task; fields: named parts (pitch, slots ...);
    problems: one sentence for each thing that was not as the format wants it.
    """

    text: str
    language: str | None = None
    words: list[Word] = field(default_factory=list)
    label: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class Body(NamedTuple):
    """How the answer of a task is written (from an example, under one of the task's forms) and read."""

    render: Callable[[Example, str], list[Segment]]
    parse: Callable[[str], Parsed]


def _tag(*names: str) -> Segment:
    return Segment("".join(names), True, True)


def _plain(text: str) -> Segment:
    return Segment(text, False, True)


def _required(example: Example, text: str | None, what: str) -> str:
    text = collapse_spaces(text or "")
    if not text:
        raise ValueError(
            f"example {example.id!r} of task {example.task!r} has no {what}: add it to the manifest"
        )
    return text


# free text -------------------------------------------------------------------------------------------


def _render_transcript(example: Example, form: str) -> list[Segment]:
    text = collapse_spaces(example.text) if form == "itn" else spoken_form(example.text)
    return [_plain(text)] if text else []  # an empty transcript is what silence should give


def _render_text(example: Example, form: str) -> list[Segment]:
    return [_plain(_required(example, example.text, "text"))]


def _parse_text(text: str) -> Parsed:
    problems: list[str] = []
    return Parsed(tags.without_tags(text, problems), problems=problems)


_TIME_TAG = re.compile(r"<\|\d+\.\d\d\|>")


def _parse_answer(text: str) -> Parsed:
    """An answer to a question may name times (the published chat model writes them inside sentences)."""
    problems: list[str] = []
    answer = tags.without_tags(text, problems, keep=lambda tag: bool(_TIME_TAG.fullmatch(tag)))
    return Parsed(answer, label=answer, problems=problems)


def _render_label(example: Example, form: str) -> list[Segment]:
    return [_plain(_required(example, example.label or example.text, "label"))]


def _parse_label(text: str) -> Parsed:
    parsed = _parse_text(text)
    parsed.label = parsed.text
    return parsed


# words with times ------------------------------------------------------------------------------------


def _render_words(example: Example, form: str) -> list[Segment]:
    if example.words is None:
        raise ValueError(
            f"example {example.id!r} of task {example.task!r} has no words with times: add `words`"
        )
    return render_words(example.words)


def _parse_words(text: str) -> Parsed:
    parsed = parse_words(text)
    return Parsed(" ".join(word.word for word in parsed.words), words=parsed.words, problems=parsed.repairs)


def _render_keyword(example: Example, form: str) -> list[Segment]:
    """`<|startofword|>w<|endofword|>`; in the form "times" for every word, with its times, by `<|delim|>`."""
    timed = [(word.word, word.start, word.end) for word in example.words or []]
    names: list[Any] = (
        timed if form == "times" else [_required(example, example.label or example.text, "keyword")]
    )
    segments: list[Segment] = []
    for item in names:
        name, *times = item if form == "times" else (item,)
        if segments:
            segments.append(_tag(tags.DELIMITER))
        segments += [_tag(tags.START_OF_WORD), _plain(collapse_spaces(name))]
        segments.append(_tag(tags.END_OF_WORD, *(tags.time_tag(time) for time in times)))
    return segments


_KEYWORD = re.compile(r"<\|startofword\|>(.*?)<\|endofword\|>(?:<\|(\d+\.\d\d)\|><\|(\d+\.\d\d)\|>)?", re.S)


def _parse_keyword(text: str) -> Parsed:
    names: list[str] = []
    words: list[Word] = []
    problems: list[str] = []
    for match in _KEYWORD.finditer(text):
        name = tags.without_tags(match.group(1), problems)
        names.append(name)
        if match.group(2):
            words.append(Word(name, float(match.group(2)), float(match.group(3))))
    if not names:
        problems.append("no <|startofword|> ... <|endofword|> pair")
        names = [tags.without_tags(text, [])]
    return Parsed(" ".join(names), words=words, label=names[0], fields={"keywords": names}, problems=problems)


# intent and slots ------------------------------------------------------------------------------------


def _render_intent(example: Example, form: str) -> list[Segment]:
    """`<|scenario|>` if meta.scenario is given, `<|action|>` and the intent, `<|entities|>` and the slots."""
    segments: list[Segment] = []
    if scenario := example.meta.get("scenario"):
        segments += [_tag(tags.SCENARIO), _plain(collapse_spaces(scenario))]
    segments += [
        _tag(tags.ACTION),
        _plain(_required(example, example.label, "label (the intent)")),
        _tag(tags.ENTITIES),
    ]
    for kind, values in (example.meta.get("slots") or {}).items():
        for value in values if isinstance(values, list) else [values]:
            segments += [
                _tag(tags.START_OF_ENTITY_TYPE),
                _plain(collapse_spaces(kind)),
                _tag(tags.END_OF_ENTITY_TYPE),
            ]
            segments += [_tag(tags.START_OF_ENTITY_VALUE), _plain(collapse_spaces(str(value)))]
            segments += [_tag(tags.END_OF_ENTITY_VALUE)]
    return segments


_ENTITY = re.compile(
    r"<\|startofentitytype\|>(.*?)<\|endofentitytype\|><\|startofentityvalue\|>(.*?)<\|endofentityvalue\|>",
    re.S,
)


def _parse_intent(text: str) -> Parsed:
    """label: the intent; fields: scenario (or None) and slots; text: the intent and the slots as JSON."""
    problems: list[str] = []
    head, _, entities = text.partition(tags.ENTITIES)
    scenario, found, action = head.partition(tags.ACTION)
    if not found:
        problems.append(f"no {tags.ACTION}")
        scenario, action = "", head
    scenario = tags.without_tags(scenario.removeprefix(tags.SCENARIO), problems)
    intent = tags.without_tags(action, problems)
    slots: dict[str, Any] = {}
    for kind, value in _ENTITY.findall(entities):
        kind, value = tags.without_tags(kind, problems), tags.without_tags(value, problems)
        if kind in slots:
            slots[kind] = [*(slots[kind] if isinstance(slots[kind], list) else [slots[kind]]), value]
        else:
            slots[kind] = value
    if rest := _ENTITY.sub("", entities).strip():
        problems.append(f"entities that do not pair: {rest}")
    summary = json.dumps({"intent": intent, "slots": slots}, ensure_ascii=False)
    return Parsed(
        summary, label=intent, fields={"scenario": scenario or None, "slots": slots}, problems=problems
    )


# notes -----------------------------------------------------------------------------------------------


def _render_note(example: Example, form: str) -> list[Segment]:
    """From meta: pitch, velocity, sonic (a list), instrument (else the label); or from a text in tags."""
    note = example.meta if "pitch" in example.meta else _parse_note(example.text).fields
    missing = [name for name in ("pitch", "velocity") if name not in note]
    if missing:
        raise ValueError(
            f"example {example.id!r} of task {example.task!r} lacks meta.{missing[0]} (0 to 127)"
        )
    sonic, instrument = note.get("sonic") or [], note.get("instrument") or example.label or ""
    sonic = [sonic] if isinstance(sonic, str) else sonic
    segments = [
        _tag(
            tags.PITCH,
            tags.pitch_tag(note["pitch"]),
            tags.VELOCITY,
            tags.velocity_tag(note["velocity"]),
            tags.SONIC,
        ),
        _plain(", ".join(collapse_spaces(name) for name in sonic)),
        _tag(tags.INSTRUMENT),
        _plain(collapse_spaces(instrument)),
    ]
    return [segment for segment in segments if segment.text]


_NEXT_FIELD = r"(?=<\|(?:pitch|velocity|sonic|instrument)\|>|$)"
_NOTE_FIELDS = {
    "pitch": re.compile(r"<\|pitch\|><\|midi_pitch_(\d+)\|>"),
    "velocity": re.compile(r"<\|velocity\|><\|midi_velocity_(\d+)\|>"),
    "sonic": re.compile(rf"<\|sonic\|>(.*?){_NEXT_FIELD}", re.S),
    "instrument": re.compile(rf"<\|instrument\|>(.*?){_NEXT_FIELD}", re.S),
}


def _parse_note(text: str) -> Parsed:
    """fields: pitch and velocity (int), sonic (list of str), instrument; absent ones are left out."""
    fields: dict[str, Any] = {}
    problems: list[str] = []
    for name, pattern in _NOTE_FIELDS.items():
        match = pattern.search(text)
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
    return Parsed(text.strip(), label=fields.get("instrument"), fields=fields, problems=problems)


def _render_pitch(example: Example, form: str) -> list[Segment]:
    value = _required(example, example.label or example.text, "label (the MIDI pitch)")
    if not value.isdecimal():
        raise ValueError(
            f"example {example.id!r}: the label of note_pitch must be a MIDI pitch, not {value!r}"
        )
    return [_tag(tags.pitch_tag(int(value)))]


_PITCH = re.compile(r"<\|midi_pitch_(\d{1,3})\|>")


def _parse_pitch(text: str) -> Parsed:
    match = _PITCH.search(text)
    if match is None or int(match.group(1)) >= tags.MIDI_VALUES:
        return Parsed(tags.without_tags(text, []), problems=["no pitch"])
    pitch = match.group(1)
    return Parsed(pitch, label=pitch, fields={"pitch": int(pitch)})


BODIES: dict[str, Body] = {
    "transcript": Body(_render_transcript, _parse_text),
    "text": Body(_render_text, _parse_text),
    "answer": Body(_render_text, _parse_answer),
    "label": Body(_render_label, _parse_label),
    "words": Body(_render_words, _parse_words),
    "keyword": Body(_render_keyword, _parse_keyword),
    "intent": Body(_render_intent, _parse_intent),
    "note": Body(_render_note, _parse_note),
    "pitch": Body(_render_pitch, _parse_pitch),
}

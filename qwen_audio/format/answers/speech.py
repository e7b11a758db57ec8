"""Answers about speech: several transcripts at once, a dialect, an intent with slots, named entities."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from qwen_audio.format import tags
from qwen_audio.format.answers.base import Body, Parsed, listed, plain, required, tag
from qwen_audio.format.answers.plain import transcript_of
from qwen_audio.format.example import Example
from qwen_audio.format.tags import Segment
from qwen_audio.format.text import collapse_spaces

BETWEEN_TRANSCRIPTS = " | "  # in the `text` of an example, where the tokens have <|delim|>

# transcripts of overlapping speech -----------------------------------------------------------------------


def transcripts_of(example: Example) -> list[str]:
    """The utterances as written, in order of start: from the spans, else the parts of `text`."""
    if example.spans is None:
        return [collapse_spaces(part) for part in example.text.split(BETWEEN_TRANSCRIPTS.strip())]
    if any(
        before.start > after.start for before, after in zip(example.spans, example.spans[1:], strict=False)
    ):
        raise ValueError(f"example {example.id!r}: the spans are not in the order of their starts: sort them")
    return [collapse_spaces(span.text or "") for span in example.spans]


def _render_overlap(example: Example, form: str) -> list[Segment]:
    segments: list[Segment] = []
    for text in transcripts_of(example):
        if segments:
            segments.append(tag(tags.DELIMITER))
        segments.append(plain(required(example, transcript_of(text, form), "text for one of its spans")))
    return segments


def _parse_overlap(text: str) -> Parsed:
    """fields: transcripts, in order; text: the same joined."""
    problems: list[str] = []
    parts = [tags.without_tags(part, problems) for part in text.split(tags.DELIMITER)]
    if not all(parts) and any(parts):
        problems.append("an empty transcript")
    parts = [part for part in parts if part]
    return Parsed(BETWEEN_TRANSCRIPTS.join(parts), fields={"transcripts": parts}, problems=problems)


def _ask_overlap(example: Example) -> list[Segment]:
    return [plain(required(example, BETWEEN_TRANSCRIPTS.join(transcripts_of(example)), "text"))]


# a transcript after the name of its dialect --------------------------------------------------------------


def _render_dialect(example: Example, form: str) -> list[Segment]:
    name = required(example, example.meta.get("dialect"), "meta.dialect")
    text = transcript_of(example.text, form)
    segments = [tag(tags.START_OF_ENTITY_VALUE), plain(name), tag(tags.END_OF_ENTITY_VALUE)]
    return [*segments, plain(text)] if text else segments


_DIALECT = re.compile(r"\s*<\|startofentityvalue\|>(.*?)<\|endofentityvalue\|>", re.S)


def _parse_dialect(text: str) -> Parsed:
    """text: the transcript; fields: dialect, absent where the string names none."""
    problems: list[str] = []
    match = _DIALECT.match(text)
    name = tags.without_tags(match[1], problems) if match else ""
    transcript = tags.without_tags(text[match.end() :] if match else text, problems)
    if not name:
        problems.append("no dialect in front of the transcript")
    return Parsed(transcript, fields={"dialect": name} if name else {}, problems=problems)


# intent and slots ----------------------------------------------------------------------------------------


def _entity_type(name: str) -> list[Segment]:
    return [tag(tags.START_OF_ENTITY_TYPE), plain(name), tag(tags.END_OF_ENTITY_TYPE)]


def _entity_value(value: str) -> list[Segment]:
    return [tag(tags.START_OF_ENTITY_VALUE), plain(value), tag(tags.END_OF_ENTITY_VALUE)]


def _render_intent(example: Example, form: str) -> list[Segment]:
    """`<|scenario|>` if meta.scenario is given, `<|action|>` and the action, `<|entities|>` and the slots.

    The label is the whole intent, "alarm set", or the action alone, "set".
    """
    segments: list[Segment] = []
    action = required(example, example.label, "label (the intent)")
    scenario = example.meta.get("scenario")
    if not isinstance(scenario, str | None):
        raise ValueError(
            f"example {example.id!r}: meta.scenario is {scenario!r}: give a name, or leave it out"
        )
    if scenario := collapse_spaces(scenario or ""):
        segments += [tag(tags.SCENARIO), plain(scenario)]
        action = action.removeprefix(f"{scenario} ")
    segments += [tag(tags.ACTION), plain(action), tag(tags.ENTITIES)]
    slots = example.meta.get("slots") or {}
    if not isinstance(slots, Mapping):
        raise ValueError(
            f'example {example.id!r}: meta.slots is {slots!r}: give {{"type": "value"}}, or a list of values'
        )
    for kind, values in slots.items():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, Mapping | list):
                raise ValueError(f"example {example.id!r}: meta.slots.{kind} has {value!r}: give text")
            segments += _entity_type(required(example, kind, "name for one of meta.slots"))
            segments += _entity_value(required(example, value, f"value for meta.slots.{kind}"))
    return segments


_SLOT = re.compile(
    r"<\|startofentitytype\|>(.*?)<\|endofentitytype\|><\|startofentityvalue\|>(.*?)<\|endofentityvalue\|>",
    re.S,
)


def _parse_intent(text: str) -> Parsed:
    """label: the whole intent, scenario and action; fields: scenario (or None) and slots; text: as JSON."""
    problems: list[str] = []
    head, _, entities = text.partition(tags.ENTITIES)
    scenario, found, action = head.partition(tags.ACTION)
    if not found:
        problems.append(f"no {tags.ACTION}")
        scenario, action = "", head
    elif scenario and not scenario.startswith(tags.SCENARIO):
        problems.append(f"no {tags.SCENARIO} in front of {collapse_spaces(scenario)}")
    if tags.ENTITIES not in text:
        problems.append(f"no {tags.ENTITIES}")
    scenario = tags.without_tags(scenario.removeprefix(tags.SCENARIO), problems)
    action = tags.without_tags(action, problems)
    intent = f"{scenario} {action}".strip()
    slots: dict[str, Any] = {}
    for kind, value in _SLOT.findall(entities):
        kind, value = tags.without_tags(kind, problems), tags.without_tags(value, problems)
        if kind in slots:
            slots[kind] = [*(slots[kind] if isinstance(slots[kind], list) else [slots[kind]]), value]
        else:
            slots[kind] = value
    if rest := _SLOT.sub("", entities).strip():
        problems.append(f"entities that do not pair: {rest}")
    summary = json.dumps({"intent": intent, "slots": slots}, ensure_ascii=False)
    return Parsed(
        summary, label=intent, fields={"scenario": scenario or None, "slots": slots}, problems=problems
    )


# named entities ------------------------------------------------------------------------------------------


def entities_of(example: Example) -> list[tuple[str, str]]:
    """(type, value) of meta.entities in order; ValueError where one has not both."""
    entities = example.meta.get("entities")
    if not isinstance(entities, list):
        raise ValueError(
            f"example {example.id!r} of task {example.task!r} has no list meta.entities: add it, [] for none"
        )
    pairs = []
    for entity in entities:
        if not isinstance(entity, Mapping) or set(entity) != {"type", "value"}:
            raise ValueError(
                f'example {example.id!r}: the entity {entity!r} is not {{"type": ..., "value": ...}}'
            )
        kind = required(example, entity["type"], "type for one of meta.entities")
        pairs.append((kind, required(example, entity["value"], "value for one of meta.entities")))
    return pairs


def _render_entities(example: Example, form: str) -> list[Segment]:
    """Value and type of every entity in order of speech; nothing where there is none."""
    return [
        segment
        for kind, value in entities_of(example)
        for segment in (*_entity_value(value), *_entity_type(kind))
    ]


_ENTITY = re.compile(
    r"<\|startofentityvalue\|>(.*?)<\|endofentityvalue\|><\|startofentitytype\|>(.*?)<\|endofentitytype\|>",
    re.S,
)


def _parse_entities(text: str) -> Parsed:
    """fields: entities, a list of {type, value} in order; text: "value (type), ..." or "none"."""
    problems: list[str] = []
    entities: list[dict[str, str]] = []
    for value, kind in _ENTITY.findall(text):
        entity = {
            "type": tags.without_tags(kind, problems),
            "value": tags.without_tags(value, problems),
        }
        entities.append(entity)
    if rest := collapse_spaces(_ENTITY.sub(" ", text)):
        problems.append(f"entities that do not pair: {rest}")
    summary = listed(f"{entity['value']} ({entity['type']})" for entity in entities)
    return Parsed(summary, fields={"entities": entities}, problems=problems)


def _ask_entities(example: Example) -> list[Segment]:
    return [plain(listed(f"{value} ({kind})" for kind, value in entities_of(example)))]


BODIES: dict[str, Body] = {
    "overlap": Body("`spans` (text), else `text`", _render_overlap, _parse_overlap, _ask_overlap, grows=True),
    "dialect": Body("`text`, `meta.dialect`", _render_dialect, _parse_dialect, grows=True),
    "intent": Body("`label`, `meta.slots`, `text`", _render_intent, _parse_intent),
    "entities": Body("`meta.entities`", _render_entities, _parse_entities, _ask_entities, grows=True),
}

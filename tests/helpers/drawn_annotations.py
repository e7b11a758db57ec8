"""Valid annotations of every task, drawn by hypothesis, and what of them an answer must give back."""

from __future__ import annotations

import itertools
import unicodedata
from typing import Any

from hypothesis import strategies as st

from qwen_audio.data.manifest import Example
from qwen_audio.format import tags
from qwen_audio.format.task_examples import example
from qwen_audio.format.tasks import Parsed, Span, Word, task_of
from qwen_audio.format.text import collapse_spaces, spoken_form


def _clean(text: str) -> str:
    return unicodedata.normalize("NFC", collapse_spaces(text))


def _sayable(text: str) -> bool:
    try:
        tags.check_text(text)
    except ValueError:
        return False
    return True


# Everything but tags: also <, | and >, marks and characters that no font has.
plain = (st.text(max_size=12) | st.text("<|>ab. ", max_size=12)).map(_clean).filter(_sayable)
wording = plain.filter(bool)
speech = wording.filter(lambda text: bool(spoken_form(text)) and _sayable(spoken_form(text)))
languages = st.sampled_from([*tags.LANGUAGES, tags.TRADITIONAL_CHINESE, "ar", "unknown", None])
ticks = st.integers(0, tags.MAX_TICK)


@st.composite
def words(draw: st.DrawFn) -> list[list[Any]]:
    names = draw(st.lists(wording.filter(lambda name: name != tags.SILENCE), max_size=5))
    times = sorted(draw(st.lists(ticks, min_size=2 * len(names), max_size=2 * len(names))))
    return [[name, times[2 * i] / 100, times[2 * i + 1] / 100] for i, name in enumerate(names)]


@st.composite
def spans(draw: st.DrawFn, names: st.SearchStrategy[str] = wording) -> list[list[Any]]:
    pairs = sorted(sorted(pair) for pair in draw(st.lists(st.tuples(ticks, ticks), max_size=5)))
    return [[draw(names), start / 100, end / 100] for start, end in pairs]


@st.composite
def turns(draw: st.DrawFn) -> list[list[Any]]:
    made = draw(spans(st.sampled_from(["anna", "ben", "carla"])))
    number: dict[str, int] = {}
    return [[f"speaker {number.setdefault(n, len(number) + 1)}", a, b] for n, a, b in made]


def _meta(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"meta": st.fixed_dictionaries(parts)})


_entities = st.lists(st.fixed_dictionaries({"type": wording, "value": wording}), max_size=4)
_slots = st.dictionaries(wording, wording | st.lists(wording, min_size=2, max_size=3), max_size=4)
_midi = st.integers(0, tags.MIDI_VALUES - 1)
_sonic = st.lists(wording.filter(lambda name: "," not in name), max_size=4)
_FIELDS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "transcript": st.fixed_dictionaries({"text": speech | st.just("")}),
    "text": st.fixed_dictionaries({"text": wording}),
    "answer": st.fixed_dictionaries({"text": wording, "question": wording}),
    "label": st.fixed_dictionaries({"label": wording}),
    "words": st.fixed_dictionaries({"words": words()}),
    "keyword": st.fixed_dictionaries({"label": wording, "words": words()}),
    "events": st.fixed_dictionaries({"spans": spans()}),
    "turns": st.fixed_dictionaries({"spans": turns()}),
    "overlap": st.fixed_dictionaries(
        {"spans": spans(st.just("speaker")).filter(bool), "texts": st.lists(speech, min_size=5, max_size=5)}
    ),
    "dialect": st.tuples(st.fixed_dictionaries({"text": speech}), _meta(dialect=wording)).map(
        lambda pair: pair[0] | pair[1]
    ),
    "intent": st.tuples(
        st.fixed_dictionaries({"label": wording}), _meta(slots=_slots, scenario=wording | st.none())
    ).map(lambda pair: pair[0] | pair[1]),
    "entities": _meta(entities=_entities),
    "note": _meta(pitch=_midi, velocity=_midi, sonic=_sonic, instrument=plain),
    "pitch": st.fixed_dictionaries({"label": _midi.map(str)}),
}


@st.composite
def examples(draw: st.DrawFn, slug: str) -> Example:
    """A valid example of a task, in one of its forms and languages."""
    row = task_of(slug)
    fields = draw(_FIELDS[row.body])
    texts = fields.pop("texts", [])
    for span, text in zip(fields.get("spans", []), texts, strict=False):
        span.append(text)
    if len(row.forms) > 1 and row.body != "keyword":
        fields.setdefault("meta", {})["instruction"] = draw(st.sampled_from(list(row.forms)))
    if slug == "speech_translation":
        fields["target_language"] = draw(st.sampled_from([*tags.LANGUAGES, tags.TRADITIONAL_CHINESE]))
    return example(slug, language=draw(languages), **fields)


def wanted(item: Example) -> Any:
    """What of an example its answer holds."""
    body, meta = task_of(item.task).body, item.meta
    written = meta.get("instruction") == "itn"
    match body:
        case "transcript":
            return item.text if written else spoken_form(item.text)
        case "text" | "answer":
            return item.text
        case "label":
            return item.label
        case "words":
            return item.words
        case "keyword":
            return item.words or [item.label]
        case "events" | "turns":
            return item.spans
        case "overlap":
            return [span.text if written else spoken_form(span.text or "") for span in item.spans or []]
        case "dialect":
            return spoken_form(item.text), meta["dialect"]
        case "intent":
            label, scenario = item.label or "", meta["scenario"]
            whole = label if not scenario or label.startswith(f"{scenario} ") else f"{scenario} {label}"
            return whole, scenario, meta["slots"]
        case "entities":
            return meta["entities"]
        case "note":
            return meta
        case "pitch":
            return item.label
    raise AssertionError(body)


def given_back(slug: str, parsed: Parsed) -> Any:
    """The same from an answer."""
    fields = parsed.fields
    match task_of(slug).body:
        case "transcript" | "text" | "answer":
            return parsed.text
        case "words":
            return parsed.words
        case "keyword":
            return parsed.words or fields["keywords"]
        case "events" | "turns":
            return parsed.spans
        case "overlap":
            return fields["transcripts"]
        case "dialect":
            return parsed.text, fields["dialect"]
        case "intent":
            return parsed.label, fields["scenario"], fields["slots"]
        case "entities":
            return fields["entities"]
        case "note":
            return fields
    return parsed.label


def typed(parsed: Parsed) -> bool:
    """Whether an answer holds what its types say and times that can exist."""
    spans = [(s.start, s.end) for s in parsed.spans]
    return (
        all(isinstance(word, Word) for word in parsed.words)
        and all(isinstance(span, Span) and span.label for span in parsed.spans)
        and all(0 <= a <= b <= 30 for a, b in [*spans, *((w.start, w.end) for w in parsed.words)])
        and all(a[0] <= b[0] for a, b in itertools.pairwise(spans))
        and all(isinstance(problem, str) and problem for problem in parsed.problems)
    )

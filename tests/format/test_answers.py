"""Answers are read back as they were written, and any string is read."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from drawn_annotations import examples, given_back, typed, wanted
from example_rows import EXAMPLES, answer_of, example, joined
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paths import ROOT

from qwen_audio.data.manifest import read_manifest
from qwen_audio.format import tags
from qwen_audio.format.tasks import TASKS, example_prompt, parse, render
from qwen_audio.format.text import collapse_spaces, spoken_form
from qwen_audio.format.tokenizer import byte_tokenizer
from qwen_audio.inference.allowed import allowed_ids

steady = settings(deadline=None, derandomize=True)  # a busy machine is no failure
thorough = settings(steady, max_examples=40, suppress_health_check=[HealthCheck.too_slow])  # for every task
TOKENIZER = byte_tokenizer()

GOLDEN = ROOT / "tests" / "golden" / "tokenizer"


@pytest.mark.parametrize("task", EXAMPLES)
def test_each_task_reads_back_with_and_without_the_prompt(task: str) -> None:
    item = EXAMPLES[task]
    whole = parse(task, joined(render(item)))
    assert parse(task, "<audio>[[[AUDIO:modality]]]</audio>" + joined(render(item))) == whole
    body = parse(task, answer_of(item))
    texts = {
        "asr": "hello world",
        "overlapped_asr": "good morning | where is it",
        "dialect_asr": "it's a fine day",
        "speaker_diarization": "speaker 1 from 0.00 to 2.10, speaker 2 from 1.85 to 4.20, speaker 1 from 4.50 to 6.00",
        "event_detection": "rain from 0.00 to 10.00, thunder from 3.20 to 5.75",
        "entity_recognition": "Anna (person), Rome (place)",
    }
    for parsed in (whole, body):
        assert parsed.problems == []
        assert parsed.label == (item.label or (item.text if TASKS[task].body == "answer" else parsed.label))
        assert given_back(task, parsed) == wanted(item)
        if task != "note_analysis":
            assert parsed.text == texts.get(task, item.text)
    tag = tags.split_tags(joined(render(item)))[1][0]
    assert whole.language == tags.language_of(tag)
    assert body.language is None


def test_keywords_with_times() -> None:
    item = example("keyword_spotting", "on", language="en", words=[["light", 0.5, 0.8], ["on", 1.0, 1.25]])
    assert answer_of(item) == (
        "<|startofword|>light<|endofword|><|0.50|><|0.80|><|delim|><|startofword|>on<|endofword|><|1.00|><|1.25|>"
    )
    assert "<|timestamps|><|audio_grounding|>" in joined(render(item))
    parsed = parse("keyword_spotting", answer_of(item))
    assert parsed.words == item.words
    assert parsed.fields == {"keywords": ["light", "on"]}


plain = st.text(st.characters(exclude_categories=["C"], exclude_characters="<>|")).map(collapse_spaces)
wording = plain.filter(bool)


@steady
@given(wording, st.sampled_from([*tags.LANGUAGES, "zh_tr", "ar", None]))
def test_plain_answers_round_trip(text: str, language: str | None) -> None:
    item = example("asr", text, language=language)
    parsed = parse("asr", joined(render(item)))
    assert parsed.text == spoken_form(text)
    assert parsed.language == (language if language != "ar" else None)
    for task in (
        "audio_caption",
        "sound_event",
        "note_velocity",
        "speaker_age",
        "keyword_spotting",
        "emotion",
    ):
        item = example(task, text, language=language)
        for string in (joined(render(item)), answer_of(item)):
            parsed = parse(task, string)
            assert parsed.text == text
            assert parsed.problems == []
    item = example("audio_qa", text, question="What <|is|> it?")
    assert parse("audio_qa", joined(render(item))).text == text


@steady
@given(wording, st.dictionaries(wording, wording | st.lists(wording, min_size=2, max_size=3), max_size=4))
def test_intents_round_trip(intent: str, slots: dict[str, str | list[str]]) -> None:
    item = example("speech_intent", "", label=intent, language="en", meta={"slots": slots})
    parsed = parse("speech_intent", joined(render(item)))
    assert parsed.label == intent
    assert parsed.fields == {"scenario": None, "slots": slots}
    assert json.loads(parsed.text) == {"intent": intent, "slots": slots}


names = wording.filter(lambda name: "," not in name)


@steady
@given(st.integers(0, 127), st.integers(0, 127), st.lists(names, max_size=4), plain)
def test_notes_round_trip(pitch: int, velocity: int, sonic: list[str], instrument: str) -> None:
    note = {"pitch": pitch, "velocity": velocity, "sonic": sonic, "instrument": instrument}
    text = answer_of(example("note_analysis", "", meta=note))
    parsed = parse("note_analysis", text)
    assert parsed.fields == note
    assert parsed.problems == []
    assert answer_of(example("note_analysis", text)) == text  # an annotation may be written in tags
    assert parse("note_pitch", answer_of(example("note_pitch", str(pitch)))).fields == {"pitch": pitch}


def test_notes_are_read_as_published() -> None:
    absent = {"pitch": 128, "velocity": 128, "instrument": "", "sonic": ""}
    cases = json.loads((GOLDEN / "notes.json").read_text())
    for case in cases:
        fields = parse("note_analysis", case["text"]).fields
        ours = {**absent, **fields, "sonic": ", ".join(fields.get("sonic", []))}
        assert ours == case["info"]
    assert len(cases) == 10


soup = st.lists(
    st.sampled_from([*tags.SPECIAL_TOKENS[208:235], *tags.SPECIAL_TOKENS[-60:], "a b", "<|", "7"])
)


@pytest.mark.parametrize("task", TASKS)
@given(data=st.data())
@thorough
def test_any_string_is_read(task: str, data: st.DataObject) -> None:
    text = data.draw(st.text() | soup.map("".join) | _damaged(task))
    parsed = parse(task, text)
    assert parsed.text == parsed.text.strip()
    assert parse(task, text + tags.END_OF_TEXT + "more") == parsed
    assert typed(parsed)


@st.composite
def _damaged(draw: st.DrawFn, task: str) -> str:
    """A right answer from which pieces are missing, or stand twice or elsewhere."""
    pieces = [piece for piece, _ in tags.split_tags(joined(render(draw(examples(task)))))]
    return "".join(draw(st.lists(st.sampled_from(pieces), max_size=12)))


@pytest.mark.parametrize("task", TASKS)
@given(data=st.data())
@thorough
def test_annotation_to_token_ids_and_back(task: str, data: st.DataObject) -> None:
    item = data.draw(examples(task))
    segments = render(item)
    ids, _ = TOKENIZER.encode_segments(segments)
    text = TOKENIZER.decode(ids)
    assert text == joined(segments)
    parsed = parse(task, text)
    assert parsed.problems == []
    assert given_back(task, parsed) == wanted(item)
    if TASKS[task].audio_language == "spoken":
        assert parsed.language == tags.language_of(tags.language_tag(item.language))
    answer_ids, _ = TOKENIZER.encode_segments([s for s in segments if s.label][-1:])
    assert answer_ids == [TOKENIZER.special_id(tags.END_OF_TEXT)]


@pytest.mark.parametrize(
    "task", ["event_detection", "speaker_diarization", "entity_recognition", "overlapped_asr"]
)
@given(data=st.data())
@thorough
def test_free_questions_are_answered_in_words(task: str, data: st.DataObject) -> None:
    """The answer to a question says what the tagged answer says; only times are tags in it."""
    item = data.draw(examples(task))
    if task == "overlapped_asr":
        item.meta["instruction"] = "itn"
    ids, _ = TOKENIZER.encode_segments(render(item, as_question=True))
    asked = parse("audio_qa", TOKENIZER.decode(ids))
    assert asked.problems == []
    in_words = re.sub(r"<\|([0-9]+\.[0-9]{2})\|>", r"\1", asked.text)
    assert in_words == parse(task, answer_of(item)).text


@pytest.mark.parametrize("task", EXAMPLES)
@pytest.mark.parametrize("as_question", [False, True])
def test_every_answer_may_be_generated(task: str, as_question: bool) -> None:
    item = EXAMPLES[task]
    prompt = example_prompt(item, as_question=as_question)
    whole, _ = TOKENIZER.encode_segments(render(item, as_question=as_question))
    answer = whole[len(TOKENIZER.encode_segments(prompt)[0]) :]
    assert len(answer) > 1
    allowed = allowed_ids(TOKENIZER, [prompt], len(TOKENIZER))[0]
    assert all(allowed[i] for i in answer)
    if TASKS[task].body == "label" and tags.NOTE_ANALYSIS not in joined(prompt) and not as_question:
        assert allowed.sum() == 256 + 1  # a class name is bytes and an end


def test_numbers_of_any_length_are_read() -> None:
    long = "9" * 5000
    for task in TASKS:
        for text in (
            f"<|{long}.00|>a<|1.00|>",
            f"<|pitch|><|midi_pitch_{long}|>",
            f"<|startofword|>a<|endofword|><|{long}.00|><|1.00|>",
        ):
            parsed = parse(task, text)
            assert typed(parsed)
            assert parsed.problems or TASKS[task].body in ("transcript", "text", "answer", "label")


def test_slots_may_be_numbers() -> None:
    item = example("speech_intent", "-", label="dim", language="en", meta={"slots": {"level": 0}})
    assert parse("speech_intent", answer_of(item)).fields["slots"] == {"level": "0"}


@pytest.mark.parametrize(
    ("text", "spans", "problem"),
    [
        ("<|0.50|>dog<|1.00|><|1.00|>cat<|1.50|>", "dog 0.5-1.0, cat 1.0-1.5", None),
        ("<|1.00|>dog<|2.00|><|0.50|>cat<|3.00|>", "cat 0.5-3.0, dog 1.0-2.0", "spans out of order"),
        ("dog<|1.00|>cat<|1.50|>", "dog 0.0-1.0, cat 1.0-1.5", "no start time for 'dog'"),
        ("<|2.00|>dog<|1.00|>", "", "'dog' ends before it starts: <|2.00|> ... <|1.00|>"),
        ("<|2.00|>dog<|31.00|>", "", "'dog' has a time beyond the last time tag: <|2.00|> ... <|31.00|>"),
        ("<|31.00|>dog<|31.50|>", "", "'dog' has a time beyond the last time tag"),
        ("<|2.00|>dog", "", "no end time for 'dog'"),
        ("<|2.00|><|3.00|>", "", "no label between <|2.00|> and <|3.00|>"),
        ("<|2.00|>", "", "no label after <|2.00|>"),
        ("<|2.00|>a <|sil|> dog<|2.50|>", "a dog 2.0-2.5", "unexpected tag <|sil|>"),
        ("", "", None),
    ],
)
def test_spans_are_repaired(text: str, spans: str, problem: str | None) -> None:
    parsed = parse("event_detection", text)
    assert ", ".join(f"{s.label} {s.start}-{s.end}" for s in parsed.spans) == spans
    assert parsed.problems == [] if problem is None else parsed.problems[0].startswith(problem)


def test_an_intent_is_scenario_and_action() -> None:
    meta = {"scenario": "alarm", "slots": {"time": "seven"}}
    whole = example("speech_intent", "-", label="alarm set", language="en", meta=meta)
    action = example("speech_intent", "-", label="set", language="en", meta=meta)
    assert answer_of(whole) == answer_of(action)
    parsed = parse("speech_intent", answer_of(whole))
    assert parsed.label == "alarm set" and parsed.problems == []
    assert json.loads(parsed.text) == {"intent": "alarm set", "slots": {"time": "seven"}}
    timer = answer_of(whole).replace("alarm", "timer")
    assert parse("speech_intent", timer).label == "timer set"


@pytest.mark.parametrize(
    ("meta", "reason"),
    [
        ({"slots": ["a"]}, "meta.slots is ['a']"),
        ({"scenario": 5}, "meta.scenario is 5"),
        ({"slots": {"time": {"a": 1}}}, "meta.slots.time has {'a': 1}"),
    ],
)
def test_bad_slots_are_refused_in_words(meta: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        render(example("speech_intent", "-", label="set", language="en", meta=meta))


def test_keywords_are_read_in_one_pass() -> None:
    begun = time.process_time()
    parsed = parse("keyword_spotting", "<|startofword|>" * 20000)
    assert parsed.problems and time.process_time() - begun < 5.0
    parsed = parse("keyword_spotting", "<|startofword|>a<|startofword|>b<|endofword|>")
    assert parsed.fields["keywords"] == ["b"] and parsed.problems == ["not read: <|startofword|>a"]


def test_keywords_stand_in_order() -> None:
    words = [["six", 1.0, 2.0], ["two", 0.5, 0.7]]
    with pytest.raises(ValueError, match="sort the words"):
        render(example("keyword_spotting", "six, two", language="en", words=words))
    text = "<|startofword|>six<|endofword|><|1.00|><|2.00|><|delim|><|startofword|>two<|endofword|><|0.50|><|0.70|>"
    parsed = parse("keyword_spotting", text)
    assert parsed.problems == ["the keyword 'two' starts before the one in front of it ends"]
    assert [word.word for word in parsed.words] == ["two", "six"]


def test_an_answer_outside_the_choices_is_reported() -> None:
    for task, choices in (
        ("speaker_gender", ["male", "female"]),
        ("note_velocity", ["piano", "forte"]),
        ("speaker_verification", ["yes", "no"]),
    ):
        assert parse(task, "junk words", choices).problems == ["'junk words' is not one of the choices"]
        assert parse(task, choices[0].title(), choices).problems == []
        assert parse(task, "junk words").problems == []
    assert parse("event_detection", "<|0.00|>dog<|1.00|>", ["cat"]).problems
    assert parse("asr", "anything", ["cat"]).problems == []


def test_what_does_not_belong_is_reported() -> None:
    assert parse("word_timestamps", "<|1.00|>").problems == ["no word before the last time <|1.00|>"]
    assert parse("word_timestamps", "<|sil|><|1.00|>").problems == []
    assert len(parse("word_timestamps", "a<|0.50|><|1.00|>").problems) == 1
    assert parse("word_timestamps", "<|0.50|><|0.60|>a<|1.00|>").problems == []
    assert parse("asr", "hello<|0.50|> world").problems == ["unexpected tag <|0.50|>"]
    assert parse("asr", "hello<|0.50|> world").text == "hello world"
    assert parse("audio_qa", "It starts at <|2.33|> seconds.").problems == []
    assert parse("keyword_spotting", "seven").label == "seven"
    assert parse("keyword_spotting", "seven").problems
    assert parse("note_pitch", "sixty").problems == ["no pitch"]
    assert parse("note_analysis", "<|pitch|><|midi_pitch_3|>").problems == [
        "no velocity",
        "no sonic",
        "no instrument",
    ]
    assert parse("speech_intent", "x<|entities|>y").problems
    assert parse("speech_intent", "<|action|>go").problems == ["no <|entities|>"]
    assert parse("sound_event", "").problems == parse("audio_qa", " ").problems == ["the answer is empty"]
    assert parse("note_pitch", "about <|midi_pitch_60|>").problems == ["not read: about"]
    assert parse("dialect_asr", "hello").problems == ["no dialect in front of the transcript"]
    assert parse("dialect_asr", "hello").text == "hello"
    assert parse("entity_recognition", "Rome").problems == ["entities that do not pair: Rome"]
    assert parse("overlapped_asr", "a<|delim|>").problems == ["an empty transcript"]
    late = "<|startofword|>on<|endofword|><|2.00|><|1.00|>"
    assert parse("keyword_spotting", late).problems == [
        "the times <|2.00|><|1.00|> of 'on' are no start and end"
    ]


def test_a_predicted_language_is_read() -> None:
    parsed = parse("asr", "<|de|><|transcribe|><|de|><|notimestamps|><|wo_itn|>hallo welt<|endoftext|>")
    assert (parsed.text, parsed.language, parsed.problems) == ("hallo welt", "de", [])


def test_the_whole_corpus_round_trips(shared: Path) -> None:
    seen = set()
    for name in ("valid", "test"):
        for item in read_manifest(shared / "corpus" / f"{name}.jsonl", check_files=False):
            parsed = parse(item.task, joined(render(item)))
            assert parsed.problems == []
            assert item.label in (None, parsed.label)
            if item.task == "word_timestamps":
                assert item.words is not None
                pairs = list(zip(parsed.words, item.words, strict=True))
                assert all(a.word == b.word and abs(a.start - b.start) < 0.006 for a, b in pairs)
            else:
                text = spoken_form(item.text) if item.task == "asr" else collapse_spaces(item.text)
                assert parsed.text == text
            seen.add(item.task)
    assert len(seen) >= 15

"""Prompts equal the published ones, every task round-trips, and docs/format.md says what the code does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_audio import tags
from qwen_audio.data.manifest import Example, read_manifest
from qwen_audio.tasks import TASKS, Segment, example_prompt, parse, prompt, prompt_text, render
from qwen_audio.text import collapse_spaces, spoken_form
from qwen_audio.timestamps import Word

steady = settings(deadline=None, derandomize=True)  # a busy machine is no failure

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "tokenizer"
FORMAT = HERE.parent / "docs" / "format.md"


def example(task: str, text: str = "", **fields: object) -> Example:
    return Example.model_validate({"id": "x", "task": task, "audio": [], "text": text, **fields})


# One example of each task: those that docs/format.md shows.
EXAMPLES = {
    "asr": example("asr", "Hello, world!", language="en"),
    "speech_translation": example("speech_translation", "Hallo, Welt!", language="en", target_language="de"),
    "word_timestamps": example(
        "word_timestamps", "hello world", language="en", words=[["hello", 0.54, 0.86], ["world", 0.86, 1.17]]
    ),
    "emotion": example("emotion", "joy", label="joy", language="en"),
    "vocal_sound": example("vocal_sound", "cough", label="cough"),
    "keyword_spotting": example("keyword_spotting", "seven", label="seven", language="en"),
    "language_id": example("language_id", "German", label="German", language="de"),
    "speaker_gender": example("speaker_gender", "female", label="female", language="en"),
    "speaker_age": example("speaker_age", "20-30", label="20-30", language="en"),
    "speech_intent": example(
        "speech_intent",
        '{"intent": "order", "slots": {"size": "large"}}',
        label="order",
        language="en",
        meta={"scenario": "coffee", "slots": {"size": "large"}},
    ),
    "speaker_verification": example("speaker_verification", "yes", label="yes", language="en"),
    "audio_caption": example("audio_caption", "A dog barks."),
    "sound_event": example("sound_event", "rain", label="rain"),
    "acoustic_scene": example("acoustic_scene", "beach", label="beach"),
    "audio_qa": example("audio_qa", "yes", question="Is it raining?", choices=["yes", "no"]),
    "music_caption": example("music_caption", "A slow waltz."),
    "music_genre": example("music_genre", "jazz", label="jazz"),
    "note_analysis": example(
        "note_analysis",
        "A guitar.",
        meta={"pitch": 60, "velocity": 75, "sonic": ["bright", "percussive"], "instrument": "guitar"},
    ),
    "note_pitch": example("note_pitch", "60", label="60"),
    "note_velocity": example("note_velocity", "forte", label="forte"),
    "instrument": example("instrument", "cello", label="cello"),
}


def joined(segments: list[Segment]) -> str:
    return "".join(segment.text for segment in segments)


def answer_of(item: Example) -> str:
    """The answer without prompt and `<|endoftext|>`: what a model generates."""
    return joined(render(item)).removeprefix(joined(example_prompt(item))).removesuffix(tags.END_OF_TEXT)


# prompts ----------------------------------------------------------------


def test_published_prompts_to_the_character() -> None:
    published = {
        name: row["prompt"] for name, row in json.loads((GOLDEN / "prompts.json").read_text()).items()
    }
    ours = {
        "aqa": prompt_text("audio_qa", question="Is it?"),
        "emotion": prompt_text("emotion"),
        "note_analysis": prompt_text("note_analysis"),
        "scene": prompt_text("acoustic_scene"),
        "vocal_sound": prompt_text("vocal_sound"),
    }
    for name, text in ours.items():
        assert published[name].format("", "Is it?").removeprefix("<audio></audio>") == text
    for code in (*tags.LANGUAGES, tags.TRADITIONAL_CHINESE):
        for name, task in (("asr", "asr"), ("srwt", "word_timestamps")):
            wanted = published[name].format("", code, code).removeprefix("<audio></audio>")
            assert prompt_text(task, language=code) == wanted
        wanted = published["st"].format("", "fr", code).removeprefix("<audio></audio>")
        assert prompt_text("speech_translation", language="fr", target_language=code) == wanted
    for style in ("clotho", "audiocaps", "plain"):
        wanted = published["caption"].format("", style).removeprefix("<audio></audio>")
        assert prompt_text("audio_caption", instruction=style) == wanted
    assert len(published) == 9


def test_every_corpus_slug_has_an_example_here() -> None:
    assert list(EXAMPLES) == list(TASKS)


def test_no_two_forms_share_a_prompt_or_begin_with_one() -> None:
    # A question task is told apart by its question.
    prompts = [
        prompt_text(task.slug, language="en", target_language="en", instruction=form)
        for task in TASKS.values()
        for form in task.forms or [None]
    ]
    assert len(set(prompts)) == len(prompts) == 25
    # Neither may one task's prompt be the prompt and the beginning of an answer of another.
    note = joined(render(EXAMPLES["note_analysis"]))
    for name in ("note_pitch", "note_velocity", "instrument"):
        assert not note.startswith(prompt_text(name))


def test_unknown_language_stops_the_prompt_where_the_model_must_predict_it() -> None:
    for task in TASKS.values():
        text = prompt_text(task.slug, target_language="de")
        if task.audio_language == "spoken":
            assert text == task.start
        else:
            assert text.startswith(task.start) and len(text) > len(task.start)
    assert prompt_text("asr", language="unknown") == prompt_text("asr", language="ar")
    assert prompt_text("asr", language="ar").count(tags.UNKNOWN) == 2


def test_the_answer_of_language_id_never_stands_in_its_prompt() -> None:
    assert prompt_text("language_id", language="de") == prompt_text("language_id", language="fr")


def test_choices_and_questions_are_user_data() -> None:
    segments = prompt("audio_qa", question="Say\n <|answer|>", choices=["a", "<|en|>"])
    assert segments[1] == Segment("Say <|answer|> Choose from: a, <|en|>.", False, False)
    assert [segment.special for segment in segments] == [True, False, True]
    assert not any(segment.label for segment in segments)


def test_bad_requests_are_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match="unknown task 'sing': use one of asr"):
        prompt("sing")
    with pytest.raises(ValueError, match="no output instruction 'clotho'; known: wo_itn, itn"):
        prompt("asr", language="en", instruction="clotho")
    with pytest.raises(ValueError, match="target language None of speech_translation"):
        prompt("speech_translation", language="en")
    with pytest.raises(ValueError, match="unknown task"):
        parse("sing", "la")
    for task, fields in {
        "sound_event": {},
        "speech_intent": {"text": "x", "language": "en"},
        "note_pitch": {"text": "C4"},
        "note_analysis": {"text": "a guitar"},
        "word_timestamps": {"text": "a", "words": None},
    }.items():
        bad = example("asr").model_copy(update={"task": task, **fields})
        with pytest.raises(ValueError, match="example 'x'"):
            render(bad)
    with pytest.raises(ValueError, match="0 to 127"):
        render(example("note_pitch", "128"))


# training sequences and the parser ----------------------------------------------------------------


@pytest.mark.parametrize("task", EXAMPLES)
def test_each_task_reads_back_with_and_without_the_prompt(task: str) -> None:
    item = EXAMPLES[task]
    whole = parse(task, joined(render(item)))
    assert parse(task, "<audio>[[[AUDIO:modality]]]</audio>" + joined(render(item))) == whole
    body = parse(task, answer_of(item))
    for parsed in (whole, body):
        assert parsed.problems == []
        assert parsed.label == (item.label or (item.text if task == "audio_qa" else parsed.label))
        assert parsed.words == (item.words or [])
        if task == "asr":
            assert parsed.text == "hello world"
        elif task == "note_analysis":
            assert parsed.fields == item.meta
        else:
            assert parsed.text == item.text
    tag = tags.split_tags(joined(render(item)))[1][0]
    assert whole.language == tags.language_of(tag)
    assert body.language is None
    if task == "speech_intent":
        assert body.fields == item.meta


@pytest.mark.parametrize("task", EXAMPLES)
def test_labels_are_on_language_answer_and_end(task: str) -> None:
    item = EXAMPLES[task]
    segments = render(item)
    labelled = joined([segment for segment in segments if segment.label])
    truth = tags.split_tags(joined(segments))[1][0] == tags.language_tag(item.language)
    language = tags.language_tag(item.language) if truth else ""
    assert labelled == language + answer_of(item) + tags.END_OF_TEXT
    assert truth == (task not in ("language_id", "vocal_sound", "audio_qa"))
    head = joined(example_prompt(item))
    assert joined(segments).startswith(head)


def test_speech_without_an_annotated_language_teaches_none() -> None:
    segments = render(example("asr", "hi"))
    assert segments[1] == Segment(tags.UNKNOWN, True, False)
    assert render(example("asr", "hi", language="ar"))[1] == Segment(tags.UNKNOWN, True, True)


@pytest.mark.parametrize("task", EXAMPLES)
def test_as_question(task: str) -> None:
    item = EXAMPLES[task].model_copy(update={"choices": ["this", "that"]})
    segments = render(item, as_question=True)
    question = f"{item.question or TASKS[task].question} Choose from: this, that."
    head = prompt("audio_qa", question=question)
    assert joined(segments).startswith(joined(head))
    assert Segment(question, False, False) in segments
    answer = joined([segment for segment in segments if segment.label])
    answer = answer.removeprefix("<|en|>").removesuffix(tags.END_OF_TEXT)
    if task == "word_timestamps":
        assert parse(task, answer).words == item.words
        assert answer.startswith("<|0.00|>")
    else:
        assert answer == item.text
        assert parse("audio_qa", joined(segments)).text == item.text


def test_output_instructions_of_an_example() -> None:
    item = example("asr", "Hello, world!", language="en", meta={"instruction": "itn"})
    assert joined(render(item)).endswith("<|notimestamps|><|itn|>Hello, world!<|endoftext|>")
    item = example("audio_caption", "Rain.", meta={"instruction": "clotho"})
    assert "<|caption_clotho|>Rain." in joined(render(item))
    assert parse("audio_caption", joined(render(item))).text == "Rain."


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


@steady
@given(st.sampled_from(list(TASKS)), st.text() | soup.map("".join))
def test_any_string_is_read(task: str, text: str) -> None:
    parsed = parse(task, text)
    assert parsed.text == parsed.text.strip()
    assert parse(task, text + tags.END_OF_TEXT + "more") == parsed
    assert all(isinstance(word, Word) for word in parsed.words)


def test_what_does_not_belong_is_reported() -> None:
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


# the document ----------------------------------------------------------------


def test_document_has_the_prompt_and_the_answer_of_every_task() -> None:
    shown: dict[str, str] = {}
    block = FORMAT.read_text(encoding="utf-8").split("## Tasks", 1)[1].split("```")[1]
    for entry in block.strip().split("\n\n"):
        title, prompt_line, answer_line = entry.splitlines()
        slug = title.split()[0]
        row = TASKS[slug]
        assert title == f"{slug} ({row.abbreviation}: {row.title})"
        item = EXAMPLES[slug]
        assert prompt_line.strip() == joined(example_prompt(item))
        assert answer_line.strip() == "-> " + answer_of(item)
        shown[slug] = title
    assert list(shown) == list(TASKS)


def test_document_names_every_other_form() -> None:
    text = FORMAT.read_text(encoding="utf-8")
    for row in TASKS.values():
        for name, form in list(row.forms.items())[1:]:
            assert f"| `{row.slug}` | `{name}` | `{''.join(form).replace('|', chr(92) + '|')}` |" in text

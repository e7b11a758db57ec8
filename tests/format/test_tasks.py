"""Prompts equal the published ones, and sequences are labelled where they should be."""

from __future__ import annotations

import json

import pytest
from example_rows import EXAMPLES, answer_of, example, joined
from paths import ROOT

from qwen_audio.data.manifest import Example
from qwen_audio.format import tags
from qwen_audio.format.tasks import TASKS, Segment, Span, example_prompt, parse, prompt, prompt_text, render

HERE = ROOT / "tests"
GOLDEN = HERE / "golden" / "tokenizer"


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
    for language in ("en", "unknown"):
        prompts = [
            prompt_text(task.slug, language=language, target_language="en", instruction=form)
            for task in TASKS.values()
            for form in task.forms or [None]
        ]
        assert len(set(prompts)) == len(prompts) == 36
    forms = [(task.task_tag, *form) for task in TASKS.values() if task.forms for form in task.forms.values()]
    assert len(set(forms)) == len(forms)  # not even the languages are needed to part them
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
        "event_detection": {},
        "dialect_asr": {"text": "a"},
        "entity_recognition": {"meta": {"entities": [{"value": "Rome"}]}},
        "overlapped_asr": {"spans": [Span("speaker 1", 0, 1)]},
        "speaker_diarization": {"spans": [Span("anna", 0, 1)]},
    }.items():
        bad = example("asr").model_copy(update={"task": task, **fields})
        with pytest.raises(ValueError, match="example 'x'"):
            render(bad)
    with pytest.raises(ValueError, match="0 to 127"):
        render(example("note_pitch", "128"))


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (example("asr", "say <|en|> now"), r"'say <\|en\|> now' spells the tag <\|en\|>.*remove it"),
        (example("audio_caption", "<audio>"), "spells the tag <audio>"),
        (example("sound_event", label="\ud83d"), "surrogate"),
        (example("audio_qa", "at <|31.00|>"), "spells the tag"),
        (example("keyword_spotting", "<|endofword|>"), "spells the tag"),
        (example("event_detection", spans=[["a<|0.50|>", 0, 1]]), "spells the tag"),
        (example("event_detection", spans=[["dog", 29, 30.02]]), "time 30.020 s is outside 0.00 to 30.00 s"),
        (example("event_detection", spans=[["dog", 2, 3], ["cat", 1, 2]]), "'cat' starts at 1.00 s.*sort"),
        (example("overlapped_asr", spans=[["a", 2, 3, "x"], ["b", 1, 2, "y"]]), "sort"),
        (example("speaker_diarization", spans=[["speaker 2", 0, 1]]), "name them speaker 1"),
        (example("speech_translation", "hi", target_language="ar"), "'ar' .* has no tag: use one of en"),
        (example("note_analysis", meta={"pitch": 1, "velocity": 1, "sonic": ["a,b"]}), "commas"),
    ],
)
def test_what_cannot_be_rendered_is_refused_in_one_sentence(item: Example, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        render(item)


def test_a_language_that_is_no_code_is_refused() -> None:
    with pytest.raises(ValueError, match="'english' is no code"):
        prompt("asr", language="english")
    with pytest.raises(ValueError, match="'German' is no code"):
        prompt("speech_translation", language="en", target_language="German")


def test_an_answer_to_another_task_is_reported() -> None:
    other = joined(render(EXAMPLES["acoustic_scene"]))
    problems = parse("asr", other).problems
    assert problems[0].startswith("the tags in front are not those of asr: <|keyword|>")
    assert parse("audio_qa", other).problems and parse("sound_event", other).problems


def test_table_1_is_whole() -> None:
    """The names of Table 1; time stamps are there for two languages."""
    names = (
        "ASR, S2TT, OSR, Dialect ASR, SRWT, DID, LID, SGC, ER, SV, SD, SER, KS, IC, SF, SAP, VSC, "
        "AAC, SEC, ASC, SED, AQA, SID, SMER, MC, MIC, MNA, MGR, MR, MQA"
    )
    assert {name for row in TASKS.values() for name in row.abbreviation.split(", ")} == set(names.split(", "))
    assert {row.group for row in TASKS.values()} == {"speech", "sound", "music"}
    questions = [row.question for row in TASKS.values()]
    assert len(set(questions)) == len(questions)  # nor do two tasks share a question


# training sequences ----------------------------------------------------------------


@pytest.mark.parametrize("task", EXAMPLES)
def test_labels_are_on_language_answer_and_end(task: str) -> None:
    item = EXAMPLES[task]
    segments = render(item)
    labelled = joined([segment for segment in segments if segment.label])
    truth = tags.split_tags(joined(segments))[1][0] == tags.language_tag(item.language)
    language = tags.language_tag(item.language) if truth else ""
    assert labelled == language + answer_of(item) + tags.END_OF_TEXT
    assert truth == (task not in ("language_id", "vocal_sound", "audio_qa", "music_qa"))
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
    asked = "Translate the speech into German." if task == "speech_translation" else TASKS[task].question
    question = f"{item.question or asked} Choose from: this, that."
    head = prompt("audio_qa", question=question)
    assert joined(segments).startswith(joined(head))
    assert Segment(question, False, False) in segments
    answer = joined([segment for segment in segments if segment.label])
    answer = answer.removeprefix("<|en|>").removesuffix(tags.END_OF_TEXT)
    if task == "word_timestamps":
        assert parse(task, answer).words == item.words
        assert answer.startswith("<|0.00|>")
    else:
        answers = {
            "speaker_diarization": "speaker 1 from <|0.00|> to <|2.10|>, speaker 2 from <|1.85|> to <|4.20|>, "
            "speaker 1 from <|4.50|> to <|6.00|>",
            "event_detection": "rain from <|0.00|> to <|10.00|>, thunder from <|3.20|> to <|5.75|>",
            "entity_recognition": "Anna (person), Rome (place)",
        }
        assert answer == answers.get(task, item.text)
        parsed = parse("audio_qa", joined(segments))
        assert (parsed.text, parsed.problems) == (answer, [])


def test_output_instructions_of_an_example() -> None:
    item = example("asr", "Hello, world!", language="en", meta={"instruction": "itn"})
    assert joined(render(item)).endswith("<|notimestamps|><|itn|>Hello, world!<|endoftext|>")
    item = example("audio_caption", "Rain.", meta={"instruction": "clotho"})
    assert "<|caption_clotho|>Rain." in joined(render(item))
    assert parse("audio_caption", joined(render(item))).text == "Rain."

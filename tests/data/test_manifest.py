"""The manifest: what it accepts, what it refuses and how it says so."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from qwen_audio.data.manifest import (
    AudioRef,
    Example,
    ManifestError,
    parse_row,
    read_manifest,
    write_manifest,
)
from qwen_audio.format.timestamps import Word

ROW = {"id": "a", "task": "asr", "path": "a.wav", "duration_s": 1.5, "language": "en", "text": "hello"}

SPANS = {k: v for k, v in ROW.items() if k != "language"} | {"task": "event_detection"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"RIFF")
    return tmp_path


def write(folder: Path, *rows: object) -> Path:
    path = folder / "m.jsonl"
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, *rows: object) -> str:
    path = write(folder, *rows)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message.removeprefix(str(path)).lstrip()


def test_short_and_long_form_are_the_same(folder: Path) -> None:
    long = {k: v for k, v in ROW.items() if k not in ("path", "duration_s")}
    long |= {"id": "b", "audio": [{"path": "a.wav", "duration": 1.5}]}
    one, two = read_manifest(write(folder, ROW, "", long))
    assert one.audio == two.audio == [AudioRef(path=str(folder / "a.wav"), start=0.0, duration=1.5)]
    assert (one.text, one.language, one.meta) == ("hello", "en", {})


def test_second_clip_and_offsets(folder: Path) -> None:
    pair = ROW | {"task": "speaker_verification", "path2": "b.wav", "label": "yes"}
    (example,) = read_manifest(write(folder, pair))
    assert [Path(ref.path).name for ref in example.audio] == ["a.wav", "b.wav"]
    assert [ref.duration for ref in example.audio] == [1.5, None]
    assert parse_row(json.dumps({"id": "c", "task": "asr", "text": "", "audio": [{"path": "x", "start": 2}]}))


def test_words_and_target_language_are_lifted() -> None:
    row = ROW | {"task": "word_timestamps", "meta": {"words": [["hi", 0.1, 0.5], ["yo", 0.5, 0.5]]}}
    assert Example.model_validate(row).words == [Word("hi", 0.1, 0.5), Word("yo", 0.5, 0.5)]
    row = ROW | {"task": "word_timestamps", "text": "<|0.15|>two<|0.55|> <|0.76|>three<|1.26|>"}
    assert Example.model_validate(row).words == [Word("two", 0.15, 0.55), Word("three", 0.76, 1.26)]
    row = ROW | {"task": "speech_translation", "meta": {"target_language": "zh"}}
    assert Example.model_validate(row).target_language == "zh"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"id": "a",', "not JSON"),
        ("[1]", "not a JSON object but a list"),
        ({k: v for k, v in ROW.items() if k != "text"}, "the field `text` is missing"),
        ({k: v for k, v in ROW.items() if k not in ("path", "duration_s")}, "no audio: add `path`"),
        ({k: v for k, v in ROW.items() if k != "path"}, "no `path`"),
        (ROW | {"lang": "en"}, "unknown field `lang`; did you mean"),
        (ROW | {"speaker3": "en"}, "did you mean speaker"),
        (ROW | {"task": "audio caption"}, "unknown task 'audio caption'; did you mean audio_caption"),
        (ROW | {"task": "zzzz"}, "use one of"),
        (ROW | {"path": "c.wav"}, "does not exist"),
        (ROW | {"duration_s": 0}, "bad offset `audio.0.duration` = 0"),
        (ROW | {"duration_s": float("nan")}, "bad offset"),
        (ROW | {"audio": []}, "both `audio` and `path`"),
        ({"id": "a", "task": "asr", "text": "", "audio": []}, "no audio"),
        ({"id": "a", "task": "asr", "text": "", "audio": [{"path": "a.wav", "start": -1}]}, "bad offset"),
        ({"id": "a", "task": "asr", "text": "", "audio": [{"path": "a.wav", "end": 1}]}, "unknown field"),
        (ROW | {"text": 3}, "the field `text` = 3 is wrong"),
        (ROW | {"task": "speech_translation"}, "needs the field `target_language`"),
        (ROW | {"task": "word_timestamps", "words": [["a", 2.0, 1.0]]}, "runs from 2.0 to 1.0 s"),
        (ROW | {"task": "word_timestamps", "words": [["a", 2.0]]}, "not a timed word"),
        (SPANS | {"spans": [["dog", 1.2, 0.5]]}, "the span 'dog' runs from 1.2 to 0.5 s"),
        (SPANS | {"spans": [["dog", 0.5]]}, "['dog', 0.5] is not a span"),
        (SPANS | {"spans": [[" ", 0.5, 1]]}, "is not a span"),
        (SPANS | {"spans": [{"label": "dog", "start": 0, "stop": 1}]}, "is not a span"),
        (SPANS | {"spans": [["dog", 0.5, 31]], "duration_s": None}, "31.000 s is outside 0.00 to 30.00 s"),
        (SPANS | {"spans": [["dog", 0.5, 1.7]]}, "the last span ends at 1.7 s but the clip is 1.5 s long"),
        (
            SPANS | {"spans": [["dog", 1, 1.1], ["cat", 0, 1]]},
            "before the one in front of it: sort the spans",
        ),
        (SPANS, "has no times: add `spans`"),
        (SPANS | {"spans": [["dog", 0, 1]], "choices": ["cat"]}, "'dog' is not one of the choices cat"),
        (ROW | {"label": "dog", "choices": ["cat", "cow"]}, "'dog' is not one of the choices cat, cow"),
        (ROW | {"task": "sound_event", "choices": ["cat"]}, "'hello' is not one of the choices"),
        (
            ROW | {"task": "speech_translation", "target_language": "ar"},
            "'ar' of speech_translation has no tag",
        ),
        (ROW | {"task": "dialect_asr"}, "has no meta.dialect"),
        (ROW | {"task": "entity_recognition", "meta": {"entities": ["Rome"]}}, "the entity 'Rome' is not"),
        (ROW | {"text": "a <|delim|> b"}, "spells the tag <|delim|>"),
        (ROW | {"text": "\ud83d"}, "half of a surrogate pair"),
    ],
)
def test_refusals_name_the_line(folder: Path, row: object, said: str) -> None:
    message = refusal(folder, ROW | {"id": "good"}, "", row)
    assert message.startswith("line 3: ") and said in message


def test_duplicates_empty_and_absent(folder: Path) -> None:
    assert "line 2: the id 'a' is already on line 1" in refusal(folder, ROW, ROW)
    assert "the manifest is empty" in refusal(folder, "", "")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(folder / "none.jsonl")
    (folder / "m.jsonl").write_bytes(b'{"id": "\xff"}')
    with pytest.raises(ManifestError, match="line 1: not UTF-8"):
        read_manifest(folder / "m.jsonl")


def test_files_need_not_exist_when_not_checked(folder: Path) -> None:
    path = write(folder, ROW | {"path": "c.wav"})
    assert read_manifest(path, check_files=False)[0].audio[0].path == str(folder / "c.wav")


def test_line_separator_in_a_string_is_text(folder: Path) -> None:
    (example,) = read_manifest(write(folder, json.dumps(ROW | {"text": "a\u2028b"}, ensure_ascii=False)))
    assert example.text == "a\u2028b"


def test_write_then_read_is_identity(folder: Path) -> None:
    words = [Word("hello", 0.1, 0.5)]
    timed = Example.model_validate(
        ROW | {"id": "t", "task": "word_timestamps", "words": words, "meta": {"n": [1]}}
    )
    outside = ROW | {"id": "o", "path": str(folder / "b.wav"), "choices": ["x", "y"], "sampling_rate": 8000}
    spans = [["speaker 1", 0.25, 1, "hi"], ["speaker 2", 0.5, 0.75]]
    overlap = Example.model_validate(ROW | {"id": "s", "task": "speaker_diarization", "spans": spans})
    overlap.audio[0].path = str(folder / "b.wav")
    (folder / "sub").mkdir()
    (folder / "sub" / "a.wav").write_bytes(b"RIFF")
    timed.audio[0].path = str(folder / "sub" / "a.wav")
    examples = [timed, overlap, Example.model_validate(outside)]
    write_manifest(folder / "sub" / "w.jsonl", examples)
    first = json.loads((folder / "sub" / "w.jsonl").read_text().splitlines()[0])
    assert first["audio"][0]["path"] == "a.wav"
    assert read_manifest(folder / "sub" / "w.jsonl") == examples
    assert [p.name for p in (folder / "sub").iterdir() if p.suffix == ".part"] == []


def test_writing_refuses_what_could_not_be_read(folder: Path) -> None:
    example = Example.model_validate(ROW)
    with pytest.raises(ManifestError, match="occurs twice"):
        write_manifest(folder / "w.jsonl", [example, example])
    with pytest.raises(ManifestError, match="has no audio"):
        write_manifest(folder / "w.jsonl", [example.model_copy(update={"audio": []})])
    with pytest.raises(ManifestError, match="no examples"):
        write_manifest(folder / "w.jsonl", [])
    assert not (folder / "w.jsonl").exists()


def test_five_thousand_rows_in_two_seconds(folder: Path) -> None:
    path = write(folder, *(ROW | {"id": str(n)} for n in range(5000)))
    begin = time.process_time()
    assert len(read_manifest(path)) == 5000
    assert time.process_time() - begin < 2


def test_the_corpus_is_valid(shared: Path) -> None:
    rows = {name: read_manifest(shared / "corpus" / f"{name}.jsonl") for name in ("train", "valid", "test")}
    assert {name: len(examples) for name, examples in rows.items()} == {
        "train": 4418,
        "valid": 876,
        "test": 1190,
    }
    for example in (e for examples in rows.values() for e in examples):
        assert (example.words is not None) == (example.task == "word_timestamps")
        assert (example.target_language is not None) == (example.task == "speech_translation")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "note_pitch", "text": "C4"}, "note_pitch"),
        ({"task": "speech_intent", "label": "x", "meta": {"slots": [1]}}, "speech_intent"),
        ({"task": "word_timestamps", "words": [["late", 31.0, 32.0]]}, "word_timestamps"),
        ({"task": "word_timestamps", "words": [["hello", 1.0, 9.0]], "duration_s": 2.0}, "2.0 s long"),
        ({"language": "klingon"}, "klingon"),
    ],
)
def test_a_row_that_no_task_can_write_is_named(tmp_path, change, message):
    (tmp_path / "a.wav").write_bytes(b"x")
    row = {"id": "a", "task": "asr", "path": "a.wav", "text": "hello", "language": "en"} | change
    (tmp_path / "m.jsonl").write_text("\n" + json.dumps(row) + "\n")
    with pytest.raises(ManifestError, match=rf"m\.jsonl line 2: .*{message}"):
        read_manifest(tmp_path / "m.jsonl")


def test_a_row_whose_parts_do_not_agree_is_refused(folder: Path) -> None:
    plain = {k: v for k, v in ROW.items() if k != "duration_s"}
    sound = plain | {"task": "sound_event", "text": "wind", "label": "wind"}
    question = plain | {"task": "audio_qa", "text": "yes"}
    timed = ROW | {"task": "word_timestamps", "words": [["hi", 0.1, 0.3]]}
    for row, reason in (
        (plain | {"task": "speaker_verification", "text": "yes"}, "compares two recordings"),
        (question, "no question"),
        (timed, "the text is 'hello' but the words are 'hi'"),
        (sound | {"label": "rain"}, "the label is 'rain' but the text is 'wind'"),
        (sound | {"label": "rain", "choices": ["rain"]}, "the label is 'rain' but the text is 'wind'"),
        (plain | {"task": "music_genre", "text": "jazz", "label": "jaz"}, "the label is 'jaz'"),
        (ROW | {"language": "xx"}, "no code of ISO 639"),
        (
            ROW | {"task": "keyword_spotting", "words": [["six", 0, 1]], "choices": ["two"]},
            "'six' is not one",
        ),
    ):
        assert reason in refusal(folder, row), row
    read_manifest(write(folder, question | {"question": "Is it raining?"}))
    read_manifest(write(folder, timed | {"text": "Hi!"}))
    # a longer text is a sentence about the label; a language without a tag is no error
    read_manifest(write(folder, sound | {"text": "A strong wind blows.", "language": "nl"}))
    note = ROW | {"task": "note_analysis", "meta": {"pitch": 60, "velocity": True, "instrument": "piano"}}
    assert "meta.velocity is True" in refusal(folder, note)


def test_times_are_held_against_the_length_of_the_file(folder: Path) -> None:
    soundfile.write(folder / "a.wav", np.zeros(16000), 16000)
    row = {k: v for k, v in ROW.items() if k != "duration_s"} | {"task": "word_timestamps"}
    read_manifest(write(folder, row | {"words": [["hello", 0.2, 1.0]]}))
    late = row | {"words": [["hello", 0.2, 25.0]]}
    assert refusal(folder, late) == (
        "line 1: the last word ends at 25.0 s but the clip is 1.0 s long: correct the times"
    )
    spans = ROW | {"spans": [["a", 3, 200]]}
    assert "the last span ends at 200.0 s but the clip is 1.5 s long" in refusal(folder, spans)
    cut = {"id": "c", "task": "asr", "text": "", "audio": [{"path": "a.wav", "start": 0.8}]}
    assert "is 0.2 s long" in refusal(folder, cut | {"spans": [["a", 0, 0.5]]})

"""Running a manifest through a model: its files, the scores of each task, failures and the control."""

import json

import numpy as np
import pytest
import tiny

import qwen_audio
from qwen_audio.data.manifest import AudioRef, Example, ManifestError, write_manifest
from qwen_audio.eval.benchmarks import of_rows
from qwen_audio.eval.groups import score_benchmark
from qwen_audio.eval.predictions import Prediction
from qwen_audio.eval.run import evaluate, select, swapped_audio
from qwen_audio.tasks import Parsed, parse
from qwen_audio.timestamps import Word


@pytest.fixture(scope="module")
def model():
    return qwen_audio.load(tiny.trained()[0] / "model", device="cpu")


@pytest.fixture(scope="module")
def manifest():
    return tiny.trained()[0] / "clips.jsonl"


def _scores(report):
    return {(group.task, score.metric): score for group in report.groups for score in group.scores}


def _lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_model_that_knows_its_clips_scores_full_marks(model, manifest, tmp_path):
    seen = []
    report = evaluate(model, manifest, tmp_path, batch_size=4, progress=lambda *p: seen.append(p))
    scores = _scores(report)
    assert scores["asr", "wer"].value == 0 and scores["asr", "accuracy"].value == 1
    assert scores["word_timestamps", "aas"].value == pytest.approx(0, abs=1e-9)
    assert scores["word_timestamps", "aas"].details["matched_share"] == 1
    assert scores["word_timestamps", "wer"].value == 0
    assert scores["note_pitch", "pitch_accuracy"].value == 1
    assert scores["sound_event", "accuracy"].value == scores["audio_qa", "accuracy"].value == 1
    assert scores["audio_caption", "bleu"].value == pytest.approx(100)
    assert all(
        group.baselines["accuracy"] == pytest.approx(1 / 3) for group in report.groups if group.task == "asr"
    )
    assert seen[-1] == (18, 18) and [done for done, _ in seen] == sorted(done for done, _ in seen)
    saved = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert saved["run"]["examples"] == 18 and saved["run"]["weights"] == model.digest()
    assert saved["groups"] == json.loads(json.dumps([group.to_dict() for group in report.groups]))
    assert [row["id"] for row in _lines(tmp_path / "predictions.jsonl")] == [
        row.id for row in tiny.trained()[1]
    ]


def test_predictions_do_not_depend_on_the_batch_size(model, manifest, tmp_path):
    evaluate(model, manifest, tmp_path / "one", batch_size=1, only_tasks=["asr", "word_timestamps"])
    evaluate(model, manifest, tmp_path / "many", batch_size=6, only_tasks=["asr", "word_timestamps"])
    assert (tmp_path / "one/predictions.jsonl").read_bytes() == (
        tmp_path / "many/predictions.jsonl"
    ).read_bytes()
    assert {row["task"] for row in _lines(tmp_path / "one/predictions.jsonl")} == {"asr", "word_timestamps"}


def test_with_the_audio_swapped_nothing_is_right(model, manifest, tmp_path):
    report = evaluate(model, manifest, tmp_path, only_tasks=["sound_event", "audio_qa"], swap_audio=True)
    scores = _scores(report)
    assert scores["sound_event", "accuracy"].value == 0 and scores["audio_qa", "accuracy"].value == 0
    assert report.run["swap_audio"] is True


def test_swapping_always_takes_another_recording_of_the_task():
    def row(name, task, source, path):
        return Example(id=name, task=task, text="x", source=source, audio=[AudioRef(path=path)])

    rows = [
        row("1", "asr", "a", "p"),
        row("2", "asr", "a", "p"),
        row("3", "asr", "a", "q"),
        row("4", "asr", "b", "r"),
    ]
    paths = [audio[0].path for audio in swapped_audio(rows)]
    assert paths[0] == paths[1] == "q" and paths[2] == "p" and paths[3] in {"p", "q"}
    with pytest.raises(ValueError, match="4: no other recording"):
        swapped_audio(rows[3:])


def test_a_clip_that_cannot_be_read_is_listed_and_counts_as_wrong(model, tmp_path):
    good = tiny.trained()[0] / "up.flac"
    (tmp_path / "bad.flac").write_bytes(b"no audio")
    rows = [
        Example(id="good", task="sound_event", text="up", audio=[AudioRef(path=str(good))], source="s"),
        Example(
            id="bad",
            task="sound_event",
            text="up",
            audio=[AudioRef(path=str(tmp_path / "bad.flac"))],
            source="s",
        ),
    ]
    write_manifest(tmp_path / "m.jsonl", rows)
    report = evaluate(model, tmp_path / "m.jsonl", tmp_path / "out")
    assert report.groups[0].scores[0].value == 0.5 and report.groups[0].scores[0].failures == 1
    saved = json.loads((tmp_path / "out/scores.json").read_text(encoding="utf-8"))
    assert saved["failed"][0]["id"] == "bad" and "bad.flac" in saved["failed"][0]["error"]
    assert _lines(tmp_path / "out/predictions.jsonl")[1]["hypothesis"] is None


def test_a_limit_is_for_each_source_and_task(manifest):
    rows = tiny.trained()[1]
    chosen = select(rows, None, 2)
    assert len(chosen) == 12 and [row.id for row in chosen][:2] == ["up-asr", "up-words"]
    assert len(select(rows, ["asr"], None)) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only_tasks": ["asrr"]}, "unknown task 'asrr'"),
        ({"only_tasks": ["speech_translation"]}, "no example is left"),
        ({"limit": 0}, "limit is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_wrong_options_are_refused(model, manifest, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(model, manifest, tmp_path, **options)


def test_a_missing_manifest_is_named(model, tmp_path):
    with pytest.raises(ManifestError, match=r"none\.jsonl"):
        evaluate(model, tmp_path / "none.jsonl", tmp_path)


def _predicted(task, text, raw, **fields):
    example = Example(id="x", task=task, text=text, audio=[AudioRef(path="p")], **fields)
    return Prediction(example, raw=raw, parsed=parse(task, raw))


def test_transcripts_are_compared_in_their_spoken_form():
    predictions = [_predicted("asr", "Hello, World!", "hello world", language="en")]
    scores = score_benchmark(of_rows("s", "asr"), predictions).scores
    assert scores[0].value == 0 and "norm:spoken" in scores[0].signature and scores[1].value == 1


def test_intents_are_scored_with_and_without_their_slots():
    meta = {"slots": {"size": "small"}}
    raw = (
        "<|action|>order<|entities|><|startofentitytype|>size<|endofentitytype|>"
        "<|startofentityvalue|>{}<|endofentityvalue|>"
    )
    predictions = [
        _predicted("speech_intent", "-", raw.format(size), label="order", meta=meta)
        for size in ("small", "large")
    ]
    scores = {
        score.metric: score.value
        for score in score_benchmark(of_rows("s", "speech_intent"), predictions).scores
    }
    assert scores == {"accuracy": 1.0, "accuracy_lenient": 1.0, "accuracy_intent_and_slots": 0.5}


def test_pitches_are_right_within_a_semitone():
    predictions = [
        _predicted("note_pitch", "60", f"<|midi_pitch_{pitch}|>", language=None) for pitch in (60, 61, 62)
    ]
    group = score_benchmark(
        of_rows("s", "note_pitch"), [*predictions, _predicted("note_pitch", "60", "none")]
    )
    assert [score.value for score in group.scores] == [0.5, 0.25]
    assert group.baselines == {"accuracy": 1.0, "pitch_accuracy": 1.0}


def test_a_failed_example_has_no_hypothesis_in_any_task():
    words = [Word("a", 0.0, 0.5)]
    example = Example(id="x", task="word_timestamps", text="", words=words, audio=[AudioRef(path="p")])
    failed = Prediction(example, error="cannot be read")
    group = score_benchmark(
        of_rows("s", "word_timestamps"), [failed, Prediction(example, parsed=Parsed("a", words=words))]
    )
    assert [score.failures for score in group.scores] == [1, 1, 1]
    assert np.isclose(group.scores[0].details["matched_share"], 0.5) and group.scores[-1].value == 0.5


def test_the_table_names_every_group_and_the_control(model, manifest, tmp_path):
    from rich.console import Console

    report = evaluate(model, manifest, tmp_path, only_tasks=["asr", "note_pitch"], swap_audio=True)
    console = Console(width=160, record=True, file=open(tmp_path / "table", "w", encoding="utf-8"))  # noqa: SIM115
    console.print(report.table())
    text = console.export_text()
    assert "asr" in text and "note_pitch" in text and "pitch_accuracy" in text and "control" in text

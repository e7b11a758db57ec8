"""Trying a model on benchmarks: the files of the run, the scores of each task, failures and the control."""

import json
import re

import numpy as np
import pytest
import tiny

import qwen_audio
from qwen_audio.data.manifest import AudioRef, Example, ManifestError, write_manifest
from qwen_audio.eval.answering import Ask, answer, cut
from qwen_audio.eval.benchmarks import BENCHMARKS, of_rows
from qwen_audio.eval.choose import Chosen, swapped_audio
from qwen_audio.eval.evaluate import evaluate, score
from qwen_audio.eval.predictions import Prediction
from qwen_audio.eval.run_folder import Result, load_run
from qwen_audio.eval.systems import Item, Reply, open_system
from qwen_audio.eval.systems.ours import Ours
from qwen_audio.format.tasks import Parsed, example_prompt, parse
from qwen_audio.format.timestamps import Word


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


def _files(folder):
    """What a run gives, byte by byte: all but run.json, which has times."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.json*") if p.name != "run.json"}


def test_a_model_that_knows_its_clips_scores_full_marks(model, manifest, tmp_path):
    seen = []
    report = evaluate(model, manifest, tmp_path, batch_size=4, progress=lambda *p: seen.append(p))
    scores = _scores(report)
    assert scores["asr", "wer"].value == 0 and scores["asr", "accuracy"].value == 1
    assert scores["word_timestamps", "aas"].value == pytest.approx(0, abs=1e-9)
    assert scores["word_timestamps", "wer"].value == 0
    assert scores["note_pitch", "pitch_accuracy"].value == 1
    assert scores["sound_event", "accuracy"].value == scores["audio_qa", "accuracy"].value == 1
    assert scores["audio_caption", "bleu"].value == pytest.approx(100)
    assert seen[0] == (0, 18) and seen[-1] == (18, 18)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    facts = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert facts == report.run.facts and facts["system"]["weights"] == model.digest()
    assert facts["benchmarks"][0] == "clips-asr" and len(facts["benchmarks"]) == 6
    saved = json.loads((tmp_path / "clips-asr/scores.json").read_text(encoding="utf-8"))
    assert saved["benchmark"] == "clips-asr" and saved["n"] == 3 and saved["failures"] == 0
    assert saved["scores"] == json.loads(json.dumps([one.to_dict() for one in report.groups[0].scores]))
    assert saved["baselines"]["accuracy"] == pytest.approx(1 / 3) and saved["failed"] == []
    rows = [row for row in tiny.trained()[1] if row.task == "asr"]
    assert [row["id"] for row in _lines(tmp_path / "clips-asr/predictions.jsonl")] == [row.id for row in rows]


def test_a_run_is_read_back_as_it_was(model, manifest, tmp_path):
    report = evaluate(model, manifest, tmp_path)
    run = load_run(tmp_path)
    assert run.facts == report.run.facts and run.name == model.name
    assert run.results == report.run.results
    assert [result.predictions[0].example.task for result in run.results] == [g.task for g in report.groups]
    (tmp_path / "clips-asr" / "predictions.jsonl").unlink()
    with pytest.raises(ValueError, match=r"not finished.*clips-asr"):
        load_run(tmp_path)
    with pytest.raises(ValueError, match="is no run"):
        load_run(tmp_path / "clips-asr")


@pytest.mark.parametrize("size", [8, 32])
def test_predictions_do_not_depend_on_the_batch_size(model, manifest, tmp_path, size):
    evaluate(model, manifest, tmp_path / "one", batch_size=1)
    evaluate(model, manifest, tmp_path / "many", batch_size=size)
    assert _files(tmp_path / "one") == _files(tmp_path / "many")
    assert len(_files(tmp_path / "one")) == 6 * 4


def test_batches_are_of_similar_length_and_bounded_in_seconds():
    def ask(name, seconds, task="asr"):
        audio = [AudioRef(path="p", duration=seconds)]
        return Ask(Example(id=name, task=task, text="x", audio=audio), audio, [])

    seconds = [30, 1, 29, 2, 28, 3, 14, 14]
    asks = [ask(str(length) + str(place), length) for place, length in enumerate(seconds)]
    batches = cut("f", [*asks, ask("other", 5, "audio_caption")], 4)
    lengths = [[one.seconds for one in batch.asks] for batch in batches]
    assert lengths == [[30, 29], [28, 14], [14, 3, 2, 1], [5]]
    assert all(len(batch) * batch[0] <= 4 * 15 for batch in lengths)
    assert [len(batch.asks) for batch in cut("f", asks, 1)] == [1] * 8


def test_with_the_audio_swapped_nothing_is_right(model, manifest, tmp_path):
    report = evaluate(model, manifest, tmp_path, only_tasks=["sound_event", "audio_qa"], swap_audio=True)
    scores = _scores(report)
    assert scores["sound_event", "accuracy"].value == 0 and scores["audio_qa", "accuracy"].value == 0
    assert report.run.facts["swap_audio"] is True


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
    assert swapped_audio(rows) == swapped_audio(rows)
    with pytest.raises(ValueError, match="4: no other recording"):
        swapped_audio(rows[3:])


def _event(name, path, text="up"):
    return Example(id=name, task="sound_event", text=text, audio=[AudioRef(path=str(path))], source="s")


def test_a_clip_that_cannot_be_read_is_listed_and_counts_as_wrong(model, tmp_path):
    good = tiny.trained()[0] / "up.flac"
    (tmp_path / "bad.flac").write_bytes(b"no audio")
    write_manifest(tmp_path / "m.jsonl", [_event("good", good), _event("bad", tmp_path / "bad.flac")])
    report = evaluate(model, tmp_path / "m.jsonl", tmp_path / "out")
    assert report.groups[0].scores[0].value == 0.5 and report.groups[0].scores[0].failures == 1
    saved = json.loads((tmp_path / "out/s-sound-event/scores.json").read_text(encoding="utf-8"))
    assert saved["failures"] == 1
    assert saved["failed"][0]["id"] == "bad" and "bad.flac" in saved["failed"][0]["error"]
    assert _lines(tmp_path / "out/s-sound-event/predictions.jsonl")[1]["hypothesis"] is None


class Fussy:
    """A system that answers "up", and cannot answer a batch with the example "down" in it."""

    name = "fussy"

    def __init__(self, error):
        self.error = error

    def facts(self):
        return {"kind": "fussy"}

    def supports(self, task):
        return task == "sound_event"

    def answer(self, items):
        if any(item.example.text == "down" for item in items):
            raise self.error
        return [Reply("up", ("said so",)) for _ in items]


def test_a_clip_on_which_the_system_fails_costs_only_itself(manifest, tmp_path):
    report = evaluate(Fussy(KeyError("down")), manifest, tmp_path)
    predictions = {prediction.example.text: prediction for prediction in report.predictions}
    assert predictions["up"].raw == predictions["hiss"].raw == "up"
    assert predictions["down"].error == "KeyError: 'down'" and predictions["up"].problems == ["said so"]
    assert set(report.run.facts["skipped"]) == {
        f"clips-{name}" for name in ("asr", "audio-caption", "audio-qa", "note-pitch", "word-timestamps")
    }
    with pytest.raises(ConnectionError):
        evaluate(Fussy(ConnectionError("nobody there")), manifest, tmp_path / "server")
    assert not list(tmp_path.glob("server/*/predictions.jsonl"))
    with pytest.raises(ValueError, match="fussy does not do asr"):
        evaluate(Fussy(None), manifest, tmp_path / "asr", only_tasks=["asr"])


def test_speaker_verification_has_a_belief_in_each_answer(model):
    system = Ours(model)
    example = Example(
        id="x", task="speaker_verification", text="yes", choices=["yes", "no"], audio=[AudioRef(path="p")] * 2
    )
    waves = [tiny.CLIPS["up"], tiny.CLIPS["down"]]
    (reply,) = system.answer([Item(example, waves, example_prompt(example), 4)])
    assert set(reply.scores) == {"yes", "no"} and all(value < 0 for value in reply.scores.values())
    assert system.facts()["kind"] == "ours" and system.facts()["weights"] == model.digest()
    asr = example.model_copy(update={"task": "asr", "choices": None})
    assert system.answer([Item(asr, waves[:1], example_prompt(asr), 4)])[0].scores is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("theirs",), "unknown kind of system 'theirs': use one of ours"),
        (("pocketsphinx", "m"), "leave --model out"),
        (("openai", "a#m", "cuda"), "leave --device out"),
        (("transformers",), "needs --model: the folder"),
    ],
)
def test_systems_that_cannot_be_opened(arguments, message):
    with pytest.raises(ValueError, match=message):
        open_system(*arguments)


def test_a_limit_is_for_each_benchmark(model, manifest, tmp_path):
    report = evaluate(model, manifest, tmp_path, limit=2, only_tasks=["asr", "audio_caption"])
    assert [len(result.predictions) for result in report.run.results] == [2, 2]
    assert [p.example.id for p in report.predictions][:2] == ["up-asr", "down-asr"]


def test_the_bound_of_a_benchmark_ends_an_answer(model):
    rows = [row for row in tiny.trained()[1] if row.task == "audio_caption"]
    asks = [Ask(row, row.audio, example_prompt(row), 3) for row in rows]
    assert [p.raw for p in answer(Ours(model), asks)] == ["A u", "A d", "A h"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only_tasks": ["asrr"]}, "unknown task 'asrr'"),
        ({"only_tasks": ["speech_translation"]}, "no example is left"),
        ({"limit": 0}, "limit is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"processes": 0}, "processes is 0"),
        ({"processes": 2}, "give an Opening"),
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


def _score(task, predictions):
    return score(Result(of_rows("s", task), predictions))


def test_transcripts_are_compared_in_their_spoken_form():
    predictions = [_predicted("asr", "Hello, World!", "hello world", language="en")]
    scores = _score("asr", predictions).scores
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
    scores = {score.metric: score.value for score in _score("speech_intent", predictions).scores}
    whole = [value for name, value in scores.items() if name.endswith("intent_and_slots")]
    assert scores["accuracy"] == 1.0 and whole == [0.5]


def test_pitches_are_right_within_a_semitone():
    predictions = [
        _predicted("note_pitch", "60", f"<|midi_pitch_{pitch}|>", language=None) for pitch in (60, 61, 62)
    ]
    group = _score("note_pitch", [*predictions, _predicted("note_pitch", "60", "none")])
    assert [score.value for score in group.scores] == [0.5, 0.25]
    assert group.baselines == {"accuracy": 1.0, "pitch_accuracy": 1.0}


def test_a_failed_example_has_no_hypothesis_in_any_task():
    words = [Word("a", 0.0, 0.5)]
    example = Example(id="x", task="word_timestamps", text="", words=words, audio=[AudioRef(path="p")])
    failed = Prediction(example, error="cannot be read")
    group = _score("word_timestamps", [failed, Prediction(example, parsed=Parsed("a", words=words))])
    assert {score.failures for score in group.scores} == {1}
    assert np.isclose(group.scores[0].details["matched_share"], 0.5) and group.scores[-1].value == 0.5


def test_the_table_names_every_benchmark_and_the_control(model, manifest, tmp_path):
    from rich.console import Console

    report = evaluate(model, manifest, tmp_path, only_tasks=["asr", "note_pitch"], swap_audio=True)
    console = Console(width=160, record=True, file=open(tmp_path / "table", "w", encoding="utf-8"))  # noqa: SIM115
    console.print(report.table())
    text = console.export_text()
    assert (
        "clips-asr" in text and "clips-note-pitch" in text and "pitch_accuracy" in text and "control" in text
    )


def test_a_published_set_stands_beside_the_best_published_figure(model, tmp_path):
    from qwen_audio.eval.table import best_published, remarks

    clean = BENCHMARKS["librispeech-test-clean"]
    rows = [row for row in tiny.trained()[1] if row.id == "up-asr"]
    report = evaluate(model, [Chosen(clean, rows)], tmp_path)
    score = report.groups[0].scores[0]
    assert score.measure == "wer_published" and re.match(r"[12]\.\d %, \w", best_published(clean, score))
    assert list(remarks(report.run, report.groups)) == [
        f"partial: {clean.name} has 1 of the {clean.count} examples of the published set"
    ]
    saved = json.loads((tmp_path / clean.name / "scores.json").read_text())
    assert saved["partial"] is True and saved["published_count"] == clean.count


def test_benchmarks_with_examples_are_taken_as_they_are(model, tmp_path):
    rows = [row for row in tiny.trained()[1] if row.task == "sound_event"]
    benchmark = of_rows("mine", "sound_event")
    report = evaluate(model, [Chosen(benchmark, rows)], tmp_path, limit=1)
    assert report.run.results[0].benchmark == benchmark and len(report.predictions) == 1
    with pytest.raises(ValueError, match="not both"):
        evaluate(model, [Chosen(benchmark, rows), "m.jsonl"], tmp_path)

"""Outputs of other systems in a file: every form, what is missing, and what is refused with its line."""

import json

import pytest
import tiny

import qwen_audio
from qwen_audio.eval.choose import Chosen, choose
from qwen_audio.eval.evaluate import evaluate, score_outputs
from qwen_audio.eval.outputs import read_outputs
from qwen_audio.eval.run_folder import load_run


@pytest.fixture(scope="module")
def folder():
    return tiny.trained()[0]


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def right(row):
    """An output that is right, as another system would give it."""
    if row.task == "word_timestamps":
        return {"id": row.id, "words": [[word.word, word.start, word.end] for word in row.words]}
    return {"id": row.id, "hypothesis": row.text}


def scores(report):
    return {(group.task, score.metric): score.value for group in report.groups for score in group.scores}


def test_plain_text_and_words_of_another_system_score_full_marks(folder, tmp_path):
    chosen = choose(None, [folder / "clips.jsonl"])
    file = write(tmp_path / "peer.jsonl", [right(row) for row in tiny.trained()[1]])
    report = score_outputs(read_outputs(file, chosen), chosen, tmp_path / "run")
    found = scores(report)
    assert found["asr", "wer"] == 0 and found["word_timestamps", "aas"] == pytest.approx(0, abs=1e-9)
    assert found["note_pitch", "pitch_accuracy"] == found["audio_qa", "accuracy"] == 1
    assert found["audio_caption", "bleu"] == pytest.approx(100)
    assert report.run.name == "peer" and report.run.facts["system"]["kind"] == "predictions"
    assert load_run(tmp_path / "run").results == report.run.results
    assert report.predictions[0].seconds == pytest.approx(0.6)
    again = score_outputs(read_outputs(file, chosen, name="theirs"), chosen, tmp_path / "run")
    assert scores(again) == found and again.run.name == "theirs"
    write(file, [right(row) for row in tiny.trained()[1][1:]])
    with pytest.raises(ValueError, match="holds another run, with sha256"):
        score_outputs(read_outputs(file, chosen), chosen, tmp_path / "run")


def test_our_own_predictions_score_the_same_as_the_run(folder, tmp_path):
    chosen = choose(None, [folder / "clips.jsonl"])
    model = qwen_audio.load(folder / "model", device="cpu")
    report = evaluate(model, chosen, tmp_path / "run", swap_audio=True)
    file = tmp_path / "all.jsonl"
    file.write_bytes(b"".join(path.read_bytes() for path in sorted(tmp_path.glob("run/*/predictions.jsonl"))))
    again = score_outputs(read_outputs(file, chosen), chosen, tmp_path / "again")
    assert [group.scores for group in again.groups] == [group.scores for group in report.groups]


def test_missing_outputs_and_errors_are_failures(folder, tmp_path):
    chosen = choose(["clips-asr"], [folder / "clips.jsonl"])
    file = write(
        tmp_path / "p.jsonl", [{"id": "up-asr", "hypothesis": "go up"}, {"id": "hiss-asr", "error": "busy"}]
    )
    report = score_outputs(read_outputs(file, chosen), chosen, tmp_path / "run")
    saved = json.loads((tmp_path / "run/clips-asr/scores.json").read_text())
    assert saved["failures"] == 2 and saved["failed"] == [
        {"id": "down-asr", "error": "no output in p.jsonl"},
        {"id": "hiss-asr", "error": "busy"},
    ]
    assert scores(report)["asr", "wer"] == pytest.approx(4 / 6)


@pytest.mark.parametrize(("name", "sign"), [("p.csv", ","), ("p.tsv", "\t")])
def test_tables_are_read(folder, tmp_path, name, sign):
    chosen = choose(["clips-asr"], [folder / "clips.jsonl"])
    lines = [sign.join(line) for line in (("text", "id"), ("go up", "up-asr"), ("go down", "down-asr"))]
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    report = score_outputs(read_outputs(tmp_path / name, chosen), chosen, tmp_path / "run")
    assert [p.hypothesis for p in report.predictions] == ["go up", "go down", None]
    (tmp_path / name).write_text("name\nup\n")
    with pytest.raises(ValueError, match="line 1: the head is name: name id and text"):
        read_outputs(tmp_path / name, chosen)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "nobody", "hypothesis": "x"}, "the id 'nobody' is of no example"),
        ({"hypothesis": "x"}, 'there is no "id"'),
        ({"id": "up-asr"}, "there is no output"),
        ({"id": "up-asr", "hypothesis": 3}, "'hypothesis' is 3: give text"),
        ({"id": "up-words", "hypothesis": "go up"}, "plain text has no word times"),
        ({"id": "up-words", "words": [["go", 2.0, 1.0]]}, '"words" cannot be read.*ends at 1.00 s'),
        ({"id": "up-words", "words": "go"}, '"words" cannot be read'),
        ({"id": "up-asr", "words": []}, '"words" are answers to word_timestamps, not to asr'),
        ({"id": "up-asr", "hypothesis": "x", "scores": ["yes"]}, '"scores" is'),
        ({"id": "down-asr", "hypothesis": "x"}, "the id 'down-asr' is already on line 1"),
        (["up-asr", "x"], "not a JSON object"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(folder, tmp_path, row, message):
    chosen = choose(None, [folder / "clips.jsonl"])
    file = write(tmp_path / "p.jsonl", [{"id": "down-asr", "hypothesis": "go down"}, row])
    with pytest.raises(ValueError, match=message) as caught:
        read_outputs(file, chosen)
    assert f"{file} line 2: " in str(caught.value) and "\n" not in str(caught.value)


def test_ids_of_several_benchmarks_and_of_examples_that_are_not_chosen(folder, tmp_path):
    every = choose(None, [folder / "clips.jsonl"])
    twice = [
        every[0],
        Chosen(every[1].benchmark, [e.model_copy(update={"id": "up-asr"}) for e in every[1].examples[:1]]),
    ]
    file = write(tmp_path / "p.jsonl", [{"id": "up-asr", "hypothesis": "go up"}])
    with pytest.raises(ValueError, match='is in clips-asr and clips-audio-caption: add "benchmark"'):
        read_outputs(file, twice)
    file = write(tmp_path / "p.jsonl", [{"id": "up-asr", "hypothesis": "go up", "benchmark": "clips-asr"}])
    assert list(read_outputs(file, twice).replies) == [("clips-asr", "up-asr")]
    captions = [one for one in every if one.benchmark.task == "audio_caption"]
    rows = [{"id": "up-asr", "hypothesis": "go up"}, {"id": "up-caption", "hypothesis": "A sound."}]
    file = write(tmp_path / "p.jsonl", rows)
    assert list(read_outputs(file, captions, others=every).replies) == [("clips-audio-caption", "up-caption")]
    with pytest.raises(ValueError, match="no output for any of the chosen"):
        read_outputs(write(tmp_path / "p.jsonl", rows[:1]), captions, others=every)


@pytest.mark.parametrize(
    "task", ["event_detection", "speaker_diarization", "entity_recognition", "speech_intent"]
)
def test_records_are_given_in_their_tags(task, tmp_path):
    from qwen_audio.eval.benchmarks import of_rows
    from qwen_audio.format import tasks
    from qwen_audio.format.task_examples import EXAMPLES

    chosen = [Chosen(of_rows("s", task), [EXAMPLES[task]])]
    file = write(tmp_path / "p.jsonl", [{"id": "x", "hypothesis": "something"}])
    with pytest.raises(ValueError, match='give "raw"'):
        read_outputs(file, chosen)
    raw = "".join(segment.text for segment in tasks.answer(EXAMPLES[task]))
    outputs = read_outputs(write(tmp_path / "p.jsonl", [{"id": "x", "raw": raw}]), chosen)
    assert outputs.predict("s-" + task.replace("_", "-"), EXAMPLES[task]).problems == []

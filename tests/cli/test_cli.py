"""The command line: every verb, its formats, and mistakes that end in one sentence and exit code 2."""

import json
import subprocess
import sys

import pytest
import tiny

import qwen_audio
from qwen_audio.cli.main import main
from qwen_audio.data.manifest import write_manifest

pytestmark = pytest.mark.versions


@pytest.fixture(scope="module")
def folder():
    return tiny.trained()[0]


def run(capsys, *arguments):
    """Exit code, stdout and stderr of a command line."""
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return exit_.value.code or 0, captured.out, captured.err


def sound(folder):
    """The tiny model, and that its clips, which are no speech, are transcribed."""
    return "--model", folder / "model", "--detect", "sound"


def test_transcribe_one_file(capsys, folder):
    assert run(capsys, "transcribe", folder / "up.flac", *sound(folder)) == (0, "go up\n", "")


def test_transcribe_several_files_names_them(capsys, folder):
    code, out, _ = run(capsys, "transcribe", folder / "up.flac", folder / "hiss.flac", *sound(folder))
    assert code == 0 and out == f"{folder}/up.flac: go up\n{folder}/hiss.flac: go hiss\n"


def test_transcribe_as_json_with_words_to_a_file(capsys, folder, tmp_path):
    target = tmp_path / "new" / "out.json"
    options = (
        "--words",
        "--format",
        "json",
        "--language",
        "en",
        "--output",
        target,
        *sound(folder),
    )
    assert run(capsys, "transcribe", folder / "up.flac", *options) == (0, "", "")
    data = json.loads(target.read_text(encoding="utf-8"))
    assert data["text"] == "go up" and data["words"][1] == {"word": "up", "start": 0.3, "end": 0.5}


def test_transcribe_as_subtitles(capsys, folder, tmp_path):
    options = ("--format", "srt", *sound(folder))
    code, out, _ = run(capsys, "transcribe", folder / "up.flac", *options)
    assert code == 0 and out == "1\n00:00:00,100 --> 00:00:00,500\ngo up\n"
    both = (folder / "up.flac", folder / "down.flac")
    code, out, _ = run(capsys, "transcribe", *both, *options, "--output", tmp_path / "subtitles")
    assert code == 0 and out == ""
    assert sorted(path.name for path in (tmp_path / "subtitles").iterdir()) == ["down.srt", "up.srt"]
    code, _, err = run(capsys, "transcribe", *both, *options)
    assert code == 2 and "needs a folder" in err
    namesake = tmp_path / "other" / "up.flac"
    namesake.parent.mkdir()
    namesake.write_bytes(both[0].read_bytes())
    code, _, err = run(capsys, "transcribe", both[0], namesake, *options, "--output", tmp_path)
    assert code == 2 and "same name" in err


def test_ask_caption_and_classify(capsys, folder):
    model = ("--model", folder / "model")
    clip = folder / "down.flac"
    assert run(capsys, "ask", clip, "-q", "Which one?", *model)[1] == "down\n"
    assert run(capsys, "caption", clip, *model)[1] == "A down sound.\n"
    labels = ("--labels", "up,down,hiss", "--question", "Which one?")
    code, out, _ = run(capsys, "classify", clip, *labels, "--format", "json", *model)
    assert code == 0 and json.loads(out)["text"] == "down"


def test_a_bad_file_among_good_ones_is_named_and_the_others_are_answered(capsys, folder, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"")
    code, out, err = run(capsys, "transcribe", bad, folder / "up.flac", *sound(folder))
    assert code == 2 and out == f"{folder}/up.flac: go up\n"
    assert err.startswith("error: ") and "bad.wav" in err and err.count("\n") == 1


def test_evaluate_prints_a_table_and_writes_a_run(capsys, folder, tmp_path):
    options = ("--tasks", "asr", "--tasks", "audio_qa", "--limit", 2, "--batch-size", 3)
    where = ("--manifest", folder / "clips.jsonl", "--output", tmp_path, "--model", folder / "model")
    code, out, err = run(capsys, "evaluate", *where, *options)
    assert code == 0 and "wer" in out and "accuracy" in out and "s of audio in" in out and "4/4" in err
    facts = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert facts["benchmarks"] == ["clips-asr", "clips-audio-qa"] and facts["limit"] == 2
    for name in facts["benchmarks"]:
        assert json.loads((tmp_path / name / "scores.json").read_text(encoding="utf-8"))["n"] == 2
    assert (tmp_path / "report.html").stat().st_size > 1000
    assert "clips: automatic speech" in (tmp_path / "report.md").read_text()
    code, out, _ = run(capsys, "report", tmp_path, tmp_path, "--out", tmp_path / "both")
    assert code == 0 and "report.html" in out and (tmp_path / "both" / "report.json").exists()
    code, _, err = run(capsys, "report", tmp_path / "both", "--out", tmp_path)
    assert code == 2 and "both is no run" in err
    code, _, err = run(capsys, "evaluate", *where)
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1 and "another run" in err


def test_evaluate_scores_the_outputs_of_another_system(capsys, folder, tmp_path):
    (tmp_path / "peer.csv").write_text("id,text\nup-asr,go up\ndown-asr,go on\n")
    where = ("--manifest", folder / "clips.jsonl", "--predictions", tmp_path / "peer.csv")
    code, out, err = run(capsys, "evaluate", *where, "--tasks", "asr", "--output", tmp_path / "run")
    assert (code, err) == (0, "") and "failed: hiss-asr: no output in peer.csv" in out
    facts = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert facts["system"]["name"] == "peer"
    for option, message in (
        ("--swap-audio", "--swap-audio does not go with"),
        ("--model=m", "--model does not go"),
    ):
        code, _, err = run(capsys, "evaluate", *where, "--output", tmp_path / "run", option)
        assert code == 2 and message in err


def test_evaluate_looks_for_leaks(capsys, folder, tmp_path):
    options = ("--manifest", folder / "clips.jsonl", "--tasks", "asr", "--model", folder / "model")
    training = [row for row in tiny.trained()[1] if row.id in ("up-asr", "hiss-caption")]
    training[0] = training[0].model_copy(update={"id": "other"})
    write_manifest(tmp_path / "train.jsonl", training[:1])
    options = (*options, "--train-manifest", tmp_path / "train.jsonl")
    code, _, err = run(capsys, "evaluate", *options, "--output", tmp_path / "refused")
    assert code == 2 and "up-asr is in the training data" in err and "--leaks flag" in err
    assert not (tmp_path / "refused" / "run.json").exists()
    code, out, _ = run(capsys, "evaluate", *options, "--output", tmp_path / "flagged", "--leaks", "flag")
    assert code == 0 and "leak: up-asr" in out
    code, _, _ = run(capsys, "evaluate", *options, "--output", tmp_path / "dropped", "--leaks", "drop")
    facts = {n: json.loads((tmp_path / n / "run.json").read_text()) for n in ("flagged", "dropped")}
    assert facts["flagged"]["leaks"] == facts["dropped"]["leaks"] != []
    rows = {n: (tmp_path / n / "clips-asr" / "predictions.jsonl").read_text() for n in facts}
    assert code == 0 and "up-asr" in rows["flagged"] and "up-asr" not in rows["dropped"]


def test_info_names_the_model(capsys, folder):
    code, out, _ = run(capsys, "info", "--model", folder / "model")
    assert code == 0 and str(folder / "model") in out and "3,778 rows" in out and "word_timestamps" in out


def test_demo_answers_every_clip_and_draws_it(capsys, folder, tmp_path):
    from qwen_audio.show import demo

    pictures = demo.run_demo(
        qwen_audio.load(folder / "model", device="cpu"), tmp_path, _some_clips(folder, tmp_path)
    )
    out = capsys.readouterr().out
    assert len(pictures) == 3 and all(path.read_bytes()[:4] == b"\x89PNG" for path in pictures)
    assert "truth: go up" in out and "model: go up" in out and "2 of 2 words agree" in out
    with pytest.raises(FileNotFoundError, match=r"clips\.jsonl is missing"):
        demo.run_demo(None, tmp_path, tmp_path / "nothing")


def _some_clips(folder, target):
    lines = (folder / "clips.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(lines[index]) for index in (1, 2, 5)]
    for row in rows:
        row["audio"][0]["path"] = str(folder / row["audio"][0]["path"])
    (target / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return target


def test_training_gets_its_file_and_settings(capsys, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(
        "qwen_audio.train.main.train", lambda path, overrides: calls.append((str(path), overrides))
    )
    assert run(capsys, "train", "stage.yaml", "--set", "steps=3", "--set", "seed=1")[0] == 0
    assert run(capsys, "train", "stage.yaml")[0] == 0
    assert calls == [("stage.yaml", ["steps=3", "seed=1"]), ("stage.yaml", [])]


MISTAKES = {
    "missing file": (("transcribe", "nowhere.wav"), "nowhere.wav"),
    "unknown format": (
        ("caption", "{clip}", "--format", "srt"),
        "--format srt is not known here: use text or json",
    ),
    "unknown model": (("caption", "{clip}", "--model", "nowhere"), "nowhere is not a directory"),
    "leaks of another kind": (
        ("evaluate", "--manifest", "no.jsonl", "--output", "{tmp}", "--leaks", "hide"),
        "--leaks hide is not known",
    ),
    "a name without predictions": (
        ("evaluate", "--manifest", "no.jsonl", "--output", "{tmp}", "--system-name", "me"),
        "--system-name goes with --predictions",
    ),
    "no data": (("evaluate", "--output", "{tmp}"), "nothing to evaluate"),
    "missing manifest": (("evaluate", "--manifest", "no.jsonl", "--output", "{tmp}"), "no.jsonl"),
    "one label": (("classify", "{clip}", "--labels", "a"), "two or more different"),
    "empty question": (("ask", "{clip}", "-q", " "), "question is empty"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_in_one_sentence(capsys, folder, tmp_path, mistake):
    arguments, message = MISTAKES[mistake]
    filled = [part.format(clip=folder / "up.flac", tmp=tmp_path) for part in arguments]
    if "--model" not in filled:
        filled += ["--model", str(folder / "model")]
    code, out, err = run(capsys, *filled)
    assert code == 2 and out == ""
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: ") and message in last and "Traceback" not in err


def test_a_missing_optional_package_is_named(capsys, monkeypatch):
    def missing(*_):
        raise ModuleNotFoundError("No module named 'pretty_midi'", name="pretty_midi")

    monkeypatch.setattr("qwen_audio.train.main.train", missing)
    code, _, err = run(capsys, "train", "stage.yaml")
    assert code == 2 and err.count("\n") == 1
    assert "pretty_midi" in err and "run pip install 'open-qwen-audio[synth]'" in err


def test_usage_and_help():
    done = subprocess.run([sys.executable, "-m", "qwen_audio", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    for verb in ("transcribe", "ask", "caption", "classify", "train", "evaluate", "demo", "info"):
        assert verb in done.stdout
    wrong = subprocess.run([sys.executable, "-m", "qwen_audio", "sing"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "sing" in wrong.stderr

"""The verb transcribe as it is typed: folders, patterns, pipes, damaged files, progress."""

import io
import json
import shutil
import sys
import types

import dummies
import numpy as np
import pytest
import soundfile
import tiny

from qwen_audio import cli
from qwen_audio.cli_transcribe import Progress

RATE = 16_000


@pytest.fixture(scope="module")
def folder():
    return tiny.trained()[0]


@pytest.fixture
def recordings(folder, tmp_path):
    """A folder with two good files, one of them further down, and one that is none."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    shutil.copy(folder / "up.flac", tmp_path / "in" / "up.flac")
    shutil.copy(folder / "hiss.flac", tmp_path / "in" / "deep" / "hiss.flac")
    (tmp_path / "in" / "bad.wav").write_bytes(b"no sound")
    (tmp_path / "in" / "notes.md").write_text("no sound either, and not one by its ending")
    return tmp_path / "in"


def run(capsys, folder, *arguments):
    options = ["--model", str(folder / "model"), "--detect", "sound", "--device", "cpu"]
    with pytest.raises(SystemExit) as exit_:
        cli.main(["transcribe", *map(str, arguments), *options])
    captured = capsys.readouterr()
    return exit_.value.code or 0, captured.out, captured.err


class OneWay(io.RawIOBase):
    """Bytes that can only be read forward."""

    def __init__(self, data):
        self.data = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.data.readinto(buffer)


def standard_input(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BufferedReader(OneWay(data))))


def test_a_folder_gives_a_file_for_each_and_a_bad_one_stops_no_other(capsys, folder, recordings, tmp_path):
    code, out, err = run(capsys, folder, recordings, "--output", tmp_path / "out")
    assert (code, out) == (2, "") and err.count("\n") == 1 and "bad.wav" in err
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert found == {"up.txt", "deep/hiss.txt"}  # and no journal is left
    assert (tmp_path / "out" / "up.txt").read_text() == "go up\n"


def test_patterns(capsys, folder, recordings):
    pattern = str(recordings / "**" / "*.flac")
    code, out, err = run(capsys, folder, pattern, "--format", "json")
    assert (code, err) == (0, "")
    assert [row["text"] for row in json.loads(out)] == ["go hiss", "go up"]
    code, _, err = run(capsys, folder, recordings / "*.ogg")
    assert code == 2 and "no file matches" in err


@pytest.mark.parametrize("style", ["srt", "vtt", "textgrid"])
def test_formats_with_times(capsys, folder, style):
    code, out, err = run(capsys, folder, folder / "up.flac", "--words", "--format", style)
    assert (code, err) == (0, "") and "up" in out
    assert out.startswith({"srt": "1\n00:00:00,", "vtt": "WEBVTT\n", "textgrid": 'File type = "oo'}[style])


def test_a_pipe_with_and_without_a_header(capsys, folder, monkeypatch):
    wave, rate = soundfile.read(folder / "up.flac", dtype="float32")
    standard_input(monkeypatch, dummies.encode(wave, rate, "wav"))
    assert run(capsys, folder, "-") == (0, "go up\n", "")
    standard_input(monkeypatch, (wave * 32767).astype("<i2").tobytes())
    code, out, _ = run(capsys, folder, "-", "--raw", rate, "--words", "--format", "json")
    data = json.loads(out)
    assert code == 0 and data["text"] == "go up" and [w["word"] for w in data["words"]] == ["go", "up"]


def test_a_truncated_recording_gives_its_text_and_an_exit_code(capsys, folder, tmp_path, monkeypatch):
    pause = np.zeros(RATE, np.float32)
    wave = np.concatenate([tiny.CLIPS["up"], pause, tiny.CLIPS["down"], pause, dummies.noise(8.0)])
    data = dummies.encode(wave, RATE, "flac")
    path = tmp_path / "cut.flac"
    path.write_bytes(data[: len(data) // 2])
    code, out, err = run(capsys, folder, path, "--output", tmp_path / "cut.txt")
    text = (tmp_path / "cut.txt").read_text()
    assert code == 2 and "] go up\n" in text and "truncated or damaged" in err
    standard_input(monkeypatch, data[: len(data) // 2])
    code, out, err = run(capsys, folder, "-")
    assert code == 2 and out.startswith("go up\n") and "truncated" in err


def test_a_recording_is_not_overwritten(capsys, folder, recordings):
    path = recordings / "up.flac"
    before = path.read_bytes()
    code, _, err = run(capsys, folder, path, "--output", path)
    assert code == 2 and "is one of the recordings" in err and path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to transcribe"),
        (("-", "a.wav"), "transcribed alone"),
        (("a.wav", "--raw", 8000), "--raw is for a pipe"),
        (("a.wav", "--format", "doc"), "--format doc is not known here"),
    ],
)
def test_mistakes_are_one_sentence(capsys, folder, arguments, message):
    code, out, err = run(capsys, folder, *arguments)
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1


def test_progress_counts_only_what_this_run_has_done(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    progress = Progress("a.wav", 1000.0, True)
    clock[0] = 10.0
    progress.update(400.0, True)  # by an earlier run
    clock[0] = 20.0
    progress.update(500.0, False)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "a.wav: [##########----------] 0:08:20 of 0:16:40, 10.0 times real time, 0:00:50 left"
    assert Progress("-", None, True).line(10.0, 5.0) == "-: 0:00:10, 2.0 times real time"


def test_progress_of_a_recording_never_goes_back(folder):
    import qwen_audio
    from qwen_audio.long_audio.blocks import open_blocks
    from qwen_audio.long_audio.job import Options, transcribe_all

    pause = np.zeros(RATE, np.float32)
    wave = np.concatenate([part for name in ("hiss", "up", "down") * 3 for part in (pause, tiny.CLIPS[name])])
    told = []
    options = Options(detect="sound", batch_size=2)
    model = qwen_audio.load(folder / "model", device="cpu")
    transcribe_all(model, open_blocks((wave, RATE)), options, on_passages=lambda *row: told.append(row))
    times = [seconds for seconds, _ in told]
    assert times == sorted(times) and len(times) == 5 and not any(known for _, known in told)
    assert times[-1] == pytest.approx(len(wave) / RATE, abs=0.1)

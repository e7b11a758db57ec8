"""The verb transcribe as it is typed: folders, patterns, pipes, damaged files, progress."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import types

import dummies
import numpy as np
import pytest
import soundfile
import tiny

import qwen_audio.api
from qwen_audio.audio.stream import open_blocks
from qwen_audio.cli import main
from qwen_audio.cli.progress import Progress, _OpenLine

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
        main.main(["transcribe", *map(str, arguments), *options])
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


def test_what_cannot_be_written_stops_no_other(capsys, folder, recordings, tmp_path):
    (tmp_path / "out" / "up.txt").mkdir(parents=True)  # in the way of the first
    shutil.copy(folder / "down.flac", recordings)
    code, _, err = run(capsys, folder, recordings, "--output", tmp_path / "out")
    assert code == 2 and f"{tmp_path / 'out' / 'up.txt'}: " in err and err.count("error: ") == 2
    assert (tmp_path / "out" / "down.txt").read_text() == "go down\n"
    assert (tmp_path / "out" / "up.txt.part").exists()  # what is transcribed is not lost
    (tmp_path / "out" / "up.txt").rmdir()
    run(capsys, folder, recordings, "--output", tmp_path / "out")
    assert (tmp_path / "out" / "up.txt").read_text() == "go up\n"
    assert not list((tmp_path / "out").rglob("*.part"))


def test_an_unexpected_error_of_one_file_stops_no_other(capsys, folder, recordings, tmp_path, monkeypatch):
    inner = open_blocks

    def fail(path):
        if "bad" in path:
            raise RuntimeError("out of\nmemory")
        return inner(path)

    monkeypatch.setattr("qwen_audio.audio.stream.open_blocks", fail)
    code, out, err = run(capsys, folder, recordings, "--format", "json")
    assert code == 2 and [row["text"] for row in json.loads(out)] == ["go hiss", "go up"]
    assert err == f"error: {recordings / 'bad.wav'}: RuntimeError: out of memory\n"
    with pytest.raises(RuntimeError):  # alone it is shown whole
        main.main(["transcribe", str(recordings / "bad.wav"), "--model", str(folder / "model")])


def test_patterns(capsys, folder, recordings):
    pattern = str(recordings / "**" / "*.flac")
    code, out, err = run(capsys, folder, pattern, "--format", "json")
    assert (code, err) == (0, "")
    assert [row["text"] for row in json.loads(out)] == ["go hiss", "go up"]
    code, _, err = run(capsys, folder, recordings / "*.ogg")
    assert code == 2 and "no file matches" in err


def test_a_file_that_is_named_twice_is_done_once(capsys, folder, recordings, tmp_path, monkeypatch):
    (recordings / "bad.wav").unlink()
    (recordings / "again.flac").symlink_to("up.flac")  # another name
    monkeypatch.chdir(recordings)
    names = ["up.flac", recordings / "up.flac", "deep/../up.flac", recordings, "*.flac"]
    code, _, err = run(capsys, folder, *names, "--output", f"{tmp_path}/out/")
    assert (code, err) == (0, "")
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert found == {"up.txt", "deep/hiss.txt", "again.txt"}
    assert run(capsys, folder, "up.flac", "up.flac") == (0, "go up\n", "")


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


@pytest.mark.parametrize("kind", ["raw", "header"])
def test_ctrl_c_ends_a_pipe_and_what_was_heard_is_written(folder, tmp_path, kind):
    pause = np.zeros(2 * RATE, np.float32)
    heard = [tiny.CLIPS["up"], pause, tiny.CLIPS["down"], pause, tiny.CLIPS["up"]]
    wave = np.concatenate([*heard, pause, pause])  # the recorder is stopped before all that has come
    data = dummies.encode(wave, RATE, "wav")
    if kind == "raw":
        data = data[44:]
    command = [
        sys.executable,
        "-m",
        "qwen_audio",
        "transcribe",
        "-",
        *(["--raw", str(RATE)] * (kind == "raw")),
    ]
    command += ["--format", "json", "--output", str(tmp_path / "live.json"), "--detect", "sound"]
    command += ["--model", str(folder / "model"), "--device", "cpu"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    # More than a pipe holds: it listens after that.
    process.stdin.write(data[: 2 * sum(map(len, heard)) + 100])
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    err = process.stderr.read().decode()
    assert err.startswith("note: -: interrupted after ") and err.count("\n") == 1
    found = json.loads((tmp_path / "live.json").read_text())
    assert [part["text"] for part in found["segments"]] == ["go up", "go down", "go up"]


def test_a_second_ctrl_c_stops_at_once():
    code = """if True:
        import signal
        from qwen_audio.cli.ctrl_c import CtrlC
        with CtrlC() as ctrl_c:
            signal.raise_signal(signal.SIGINT)
            print(ctrl_c.pressed, flush=True)
            signal.raise_signal(signal.SIGINT)
            print("still here")
        """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "True\n", "")


def test_ctrl_c_before_any_sound(capsys, folder, monkeypatch):
    ends = os.pipe()
    with open(ends[0], "rb") as stdin, open(ends[1], "wb"):
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=stdin))
        load = qwen_audio.api.load
        monkeypatch.setattr(
            "qwen_audio.api.load", lambda *a, **k: signal.raise_signal(signal.SIGINT) or load(*a, **k)
        )
        assert run(capsys, folder, "-") == (130, "", "note: -: interrupted before there was any sound\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_ends_the_microphone_and_all_that_it_heard_is_transcribed(capsys, folder, monkeypatch):
    pause = np.zeros(RATE, np.float32)
    wave = np.concatenate([tiny.CLIPS["up"], pause, tiny.CLIPS["down"], pause])

    class Stream:
        def __init__(self, callback, blocksize, **_):
            self.callback, self.size = callback, blocksize

        def start(self):
            for at in range(0, len(wave), self.size):
                block = wave[at : at + self.size, None]
                self.callback(block, len(block), None, types.SimpleNamespace(input_overflow=False))
            signal.raise_signal(signal.SIGINT)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    device = types.SimpleNamespace(InputStream=Stream, PortAudioError=OSError)
    monkeypatch.setitem(sys.modules, "sounddevice", device)
    code, out, err = run(capsys, folder, "--microphone")
    assert (code, out) == (0, "go up\ngo down\n") and "interrupted after 3.3 s" in err


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a line of words", " of words"),
        ("今天天气很好", "天气很好"),  # two columns each: a fifth would wrap
        ("今天 ok 很好", " ok 很好"),
        ("e\u0301" * 12, "e\u0301" * 9),
        ("short", "short"),
    ],
)
def test_the_open_line_fits_into_the_columns_of_the_terminal(capsys, monkeypatch, text, shown):
    monkeypatch.setenv("COLUMNS", "10")
    _OpenLine(True).show(text)
    assert capsys.readouterr().err == f"\r\x1b[K{shown}"


def test_progress_of_a_recording_never_goes_back(folder):
    from qwen_audio.transcribe.recording import Options, transcribe_all

    pause = np.zeros(RATE, np.float32)
    wave = np.concatenate([part for name in ("hiss", "up", "down") * 3 for part in (pause, tiny.CLIPS[name])])
    told = []
    options = Options(detect="sound", batch_size=2)
    model = qwen_audio.load(folder / "model", device="cpu")
    transcribe_all(
        model.engine, open_blocks((wave, RATE)), options, on_passages=lambda *row: told.append(row)
    )
    times = [seconds for seconds, _ in told]
    assert times == sorted(times) and len(times) == 5 and not any(known for _, known in told)
    assert times[-1] == pytest.approx(len(wave) / RATE, abs=0.1)

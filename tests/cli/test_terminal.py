"""Chat in the terminal: lines of a person, files dragged in, commands, edits, a real pseudo-terminal."""

import fcntl
import io
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

import qwen_audio
from qwen_audio.api import QwenAudio, load
from qwen_audio.audio.load import SAMPLE_RATE, load_audio
from qwen_audio.chat.dialogue import Dialogue, Reply
from qwen_audio.chat.questions import Questions
from qwen_audio.cli.main import main
from qwen_audio.cli.terminal import Quit, Terminal, split_paths
from qwen_audio.inference.engine import Engine
from qwen_audio.model.loading import EMBEDDED

CLIPS = Path(qwen_audio.__file__).parent / "demo_clips"
WORDS = CLIPS / "words.flac"


@pytest.fixture(scope="module")
def model():
    return load(device="cpu")


class Session:
    """A terminal whose output is kept."""

    def __init__(self, model, chat=None):
        self.pieces = []
        self.terminal = Terminal(model, chat or Questions(model), self.pieces.append)

    def __call__(self, line):
        self.pieces.clear()
        self.terminal.handle(line)
        return "".join(self.pieces)


@pytest.fixture
def talk(tmp_path):
    copy = tmp_path / "my talk.flac"
    copy.write_bytes(WORDS.read_bytes())
    return copy


def test_paths_are_found_however_a_terminal_writes_them(talk):
    plain = talk.with_name("plain.wav")
    plain.write_bytes(b"")
    escaped = str(talk).replace(" ", "\\ ")
    quoted_url = f"file://{str(talk).replace(' ', '%20')}"
    for line in (str(talk), f"'{talk}'", f'"{talk}"', escaped, quoted_url):
        assert split_paths(line) == ([talk], ""), line
    assert split_paths(f"'{talk}' {plain} what's the difference?") == (
        [talk, plain],
        "what's the difference?",
    )
    assert split_paths('is it "rain"? isn\'t it') == ([], 'is it "rain"? isn\'t it')
    for line in ("Is it ~5 s long?", "~~hello", "~ what?", "~nouser what?", "rain and/or wind, 3/4.5 s?"):
        assert split_paths(line) == ([], line)
    assert split_paths("x" * 5000)[0] == [] and split_paths("a\0b")[0] == []


def test_words_are_words_and_paths_are_paths(model, talk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "the").write_bytes(talk.read_bytes())
    (tmp_path / "w.flac").write_bytes(talk.read_bytes())
    assert split_paths("Transcribe the speech.") == ([], "Transcribe the speech.")
    assert split_paths("what is w.flac about") == ([Path("w.flac")], "what is about")
    for line in ("the", "'the'", "./the"):
        assert split_paths(line) == ([Path("the")], "")
    session = Session(model)
    assert "[1] the" in session("/add the w.flac") and len(session.terminal.sounds) == 2
    session("Transcribe the speech.")
    for piece in ("/nosuch/typo.wav", "nosuch.MP3", "./nosuch.wave", "~nouser/x.wav", "file://[/x"):
        for line in (piece, f"{piece} What is said?", f"Tell w.flac from {piece}"):
            shown = session(line)
            assert shown.startswith("! ") and piece in shown and shown.count("\n") == 1, line
    assert len(session.terminal.sounds) == 2 and len(session.terminal.chat.history) == 1


def test_a_session(model, talk, tmp_path):
    session = Session(model)
    said = model.transcribe(talk).text
    assert "there is no recording yet" in session("What is it?")
    assert "[1] my talk.flac, 3.4 s" in session(str(talk))
    assert session("Transcribe the speech.").strip() == said
    assert session("transcribe the speech").strip() == said  # the recording is remembered
    words = session("/words 1").split()
    assert words[2::3] == [w.word for w in model.transcribe(talk, word_timestamps=True).words]
    assert str(talk) in session("/audio")
    assert "written" in session(f"/save {tmp_path / 'talk.json'}")
    assert said in session("/history")
    assert "1 turns" in session("/undo") and "forgotten" in session("/clear")
    assert "nothing was said" in session("/history") and "no recording" in session("/audio")
    assert "2 turns, 1 recordings" in session(f"/load {tmp_path / 'talk.json'}")
    assert session("Transcribe the speech.").strip() == said
    assert "/words" in session("/help") and session("  ") == ""
    with pytest.raises(Quit):
        session("/quit")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/nothing", "no command /nothing"),
        ("/play 7", "no recording 7"),
        ("/words x", "no recording x"),
        ("/save", "name a file"),
        ("/load /no/such/file.json", "No such file"),
        ("/load ~nouser/talk.json", "No such file"),
        ("/save ~nouser/talk.json", "No such file"),
        ("/edit " + "paint " * 100, "does not begin with what to do"),  # no name is so long
        ("/add /no/such.wav", "there is no file /no/such.wav"),
        ("/add nothing", "no recording"),
        ("/edit paint it", "does not begin with what to do"),
        ("remove the word banana", "'banana' is not heard"),
    ],
)
def test_what_goes_wrong_is_one_sentence(model, talk, line, says):
    session = Session(model)
    session(str(talk))
    shown = session(line)
    assert shown.startswith("! ") and says in shown and shown.count("\n") == 1


def test_a_file_that_is_no_audio_leaves_the_session_as_it_was(model, tmp_path):
    (tmp_path / "notes.txt").write_text("no sound")
    session = Session(model)
    assert session(str(tmp_path / "notes.txt")).startswith("! ")
    assert session.terminal.sounds == []


def test_saving_replaces_a_saved_dialogue_and_nothing_else(model, talk, tmp_path):
    session = Session(model)
    session(str(talk))
    session("Transcribe the speech.")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "list.json").write_text('{"turns": []}')
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for path in before:
        shown = session(f"/save {path}")
        assert shown.startswith("! ") and path.name in shown and shown.count("\n") == 1
    assert "name another file" in session(f"/save {tmp_path}")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    gone = talk.rename(tmp_path / "elsewhere.flac")
    assert "a recording of this session" in session(f"/save {talk}") and not talk.exists()
    saved = tmp_path / "talk.json"
    for turns in (1, 0):  # written again, though its recording is gone
        assert "written" in session(f"/save {saved}")
        assert len(json.loads(saved.read_text())["turns"]) == turns
        if turns:
            session("/undo")
    assert gone.read_bytes() == WORDS.read_bytes()


def test_a_recording_too_long_for_questions_is_there_for_the_rest(model, talk, tmp_path):
    wave = load_audio(talk)
    long = tmp_path / "long.wav"
    soundfile.write(long, np.concatenate([wave, np.zeros(30 * SAMPLE_RATE, np.float32)]), SAMPLE_RATE)
    for chat in (Questions(model), Scripted()):
        session = Session(model, chat)
        shown = session(f"/add {long}")
        assert "33.4 s: longer than 30 s" in shown and "/words" in shown and "not for questions" in shown
        assert "the question was not asked" in session(f"{long} Transcribe the speech.")
        assert session("/words").split()[2] == model.transcribe(talk, word_timestamps=True).words[0].word
        assert "[3] long.edited" in session("remove the first word")
    session = Session(model)
    session(str(long))
    assert "at most 30 s" in session("Transcribe the speech.")
    session(str(talk))
    assert session("Transcribe the speech.").strip() == model.transcribe(talk).text


def test_a_question_that_fails_for_its_recording_does_not_spoil_the_next(model, talk, tmp_path):
    session = Session(model)
    gone = tmp_path / "gone.flac"
    gone.write_bytes(talk.read_bytes())
    said = session(f"'{talk}' Transcribe the speech.").splitlines()[1]
    session(str(gone))
    gone.unlink()
    shown = session("Which sound event is heard?")
    assert shown.startswith("! ") and "gone.flac: not with the next question" in shown
    assert shown.count("\n") == 1
    assert session("Transcribe the speech.").strip() == said


def test_an_edit_makes_a_new_recording_that_is_asked_about_next(model, talk):
    session = Session(model)
    session(str(talk))
    before = session("Transcribe the speech.").split()
    shown = session("Please remove the last word.")
    assert "remove\t" in shown and "[2] my talk.edited.wav" in shown
    assert session("Transcribe the speech.").split() == before[:-1]
    assert "my talk.edited-2.wav" in session("/edit bleep the first word")
    assert talk.read_bytes() == WORDS.read_bytes()


@pytest.fixture
def busy(model):
    """A model whose engine does something else until the event is set, by itself after some seconds."""
    begun, on = threading.Event(), threading.Event()
    copy = QwenAudio(model.model, model.processor)
    copy._engine = Engine(model.model, model.processor, queue_limit=1)
    other = threading.Thread(target=copy.engine.call, args=(lambda: (begun.set(), on.wait(10)),))
    other.start()
    assert begun.wait(10)
    yield copy, on, other
    on.set()
    other.join()
    copy.engine.close()


def waits_for_its_turn(model):
    end = time.monotonic() + 5
    while not model.engine.waiting and time.monotonic() < end:
        time.sleep(0.01)


def test_a_stopped_question_leaves_the_engine_at_once(busy, talk):
    model, on, other = busy
    session = Session(model)
    session(str(talk))

    def stop():
        waits_for_its_turn(model)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=stop).start()
    assert session("Transcribe the speech.") == "\n(stopped)\n"
    assert other.is_alive() and model.engine.waiting == 0  # no token was due yet
    on.set()
    # Nor does the recording go with it twice if the whole line is put again.
    assert "goes with your next question" in session(f"'{talk}' Transcribe the speech.")
    (turn,) = session.terminal.chat.history
    assert len(turn.clips) == 1 and turn.answer == model.transcribe(talk).text


def test_a_full_queue_is_one_sentence_and_the_question_can_be_asked_again(busy, talk):
    model, on, _ = busy
    session = Session(model)
    session(str(talk))
    waiting = threading.Thread(target=model.engine.call, args=(lambda: None,))
    waiting.start()
    waits_for_its_turn(model)
    shown = session("Transcribe the speech.")
    assert shown.startswith("! ") and "try again later" in shown and shown.count("\n") == 1
    on.set()
    waiting.join()
    assert session("Transcribe the speech.").strip() == model.transcribe(talk).text


class Scripted(Dialogue):
    """A dialogue whose answers are given: no small model here was tuned to write lists of cuts."""

    answers = ()

    def respond(self, system, history, query, max_new_tokens, on_text):
        answer = self.answers[len(history)]
        on_text(answer)
        return Reply(answer, answer, "end", 0, 0, 0), answer


def test_the_answer_of_a_chat_model_drives_the_edit(model, talk):
    chat = Scripted()
    chat.answers = (
        "Cut from <|1.00|> to <|1.50|>.",
        'The word "x" is not spoken, so there is nothing to cut.',
    )
    session = Session(model, chat)
    session(str(talk))
    shown = session('cut "eight" out of it')
    assert "Cut from" in shown and "remove\t" in shown and "[2] my talk.edited.wav" in shown
    seconds = [sound.seconds for sound in session.terminal.sounds]
    assert 0.3 < seconds[0] - seconds[1] < 0.8
    shown = session("remove the word x")
    assert "nothing to cut" in shown and "[3]" not in shown


def test_a_player_gets_the_recording(model, talk, tmp_path, monkeypatch):
    session = Session(model)
    session(str(talk))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert "nothing here plays audio" in session("/play")
    (tmp_path / "bin").mkdir()
    aplay = tmp_path / "bin" / "aplay"
    aplay.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/played"\n', encoding="utf-8")
    aplay.chmod(0o755)
    assert session("/play 1") == ""
    assert (tmp_path / "played").read_text().strip() == f"-q {talk}"


def test_in_a_real_terminal(talk):
    """Under a pseudo-terminal, as over SSH: a prompt, an answer, Ctrl-C drops what is typed, Ctrl-D ends."""
    main, other = pty.openpty()
    env = {**os.environ, "TERM": "vt100", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "qwen_audio", "chat", str(talk), "--device", "cpu"]
    process = subprocess.Popen(
        command,
        stdin=other,
        stdout=other,
        stderr=other,
        env=env,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C is a signal
    )
    os.close(other)
    seen = ""

    def until(text, seconds=30):
        nonlocal seen
        end = time.monotonic() + seconds
        while text not in seen and time.monotonic() < end:
            if select.select([main], [], [], 0.2)[0]:
                try:
                    seen += os.read(main, 65_536).decode(errors="replace")
                except OSError:
                    break
        assert text in seen, seen
        seen = seen.split(text, 1)[1]

    try:
        until("[1] my talk.flac")
        until("> ")
        said = load(device="cpu").transcribe(talk).text
        os.write(main, b"/save half a li\x03")
        until("> ")
        os.write(main, b"Transcribe the speech.\n")
        until(said)
        for _ in range(3):  # the first just after an answer, or before its end was seen
            os.write(main, b"\x03")
            time.sleep(0.3)  # keys that come with a signal may go with it
        os.write(main, b"/audio\n")
        until(str(talk))  # the session is the same
        until("> ")
        os.write(main, b"\x04")
        assert process.wait(30) == 0
    finally:
        process.kill()
        os.close(main)


def test_through_a_pipe(talk):
    lines = f"{talk}\nTranscribe the speech.\n/quit\n"
    command = [sys.executable, "-m", "qwen_audio", "chat", "--device", "cpu"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and load(device="cpu").transcribe(talk).text in done.stdout, done.stderr


def run_chat(monkeypatch, *arguments):
    """The exit code of the verb without a line to read."""
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(SystemExit) as ended:
        main(["chat", *map(str, arguments), "--device", "cpu"])
    return ended.value.code


def test_recordings_of_any_name_are_there_from_the_beginning(model, tmp_path, monkeypatch, capsys):
    odd = tmp_path / 'it\'s a "talk" \\ ~.flac'
    odd.write_bytes(WORDS.read_bytes())
    saved = tmp_path / 'it\'s  a "talk".json'
    session = Session(model)
    session(str(odd))
    session("Transcribe the speech.")
    session.terminal.chat.save(saved)
    assert run_chat(monkeypatch, odd, "--load", saved) == 0
    shown = capsys.readouterr().out
    assert "1 turns, 1 recordings" in shown and f"[2] {odd.name}, 3.4 s" in shown


@pytest.mark.parametrize("dialogues", [False, True])
def test_the_kind_of_dialogue_is_what_config_json_says(dialogues, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    shutil.copytree(EMBEDDED, folder)
    facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(facts | {"dialogues": dialogues}), encoding="utf-8")
    alone = []

    class Watched(Terminal):
        def __init__(self, model, chat, write):
            super().__init__(model, chat, write)
            alone.append(chat.alone)

    monkeypatch.setattr("qwen_audio.cli.terminal.Terminal", Watched)
    for mode in ("auto", "chat", "questions"):
        assert run_chat(monkeypatch, "--model", folder, "--mode", mode) == 0
    assert alone == [not dialogues, False, True]


def test_a_chat_does_not_begin_with_what_cannot_be_read(tmp_path, monkeypatch, capsys):
    (tmp_path / "notes.txt").write_text("no sound")
    for arguments in (
        (tmp_path / "gone.wav",),
        (WORDS, tmp_path / "notes.txt"),
        ("--load", tmp_path / "gone.json"),
        ("--load", tmp_path / "notes.txt"),
    ):
        assert run_chat(monkeypatch, *arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and arguments[-1].name in error and error.count("\n") == 1


def test_escape_codes_do_not_reach_the_terminal(capsys):
    from qwen_audio.cli.chat import _show

    _show("a\x1b[31mb\x07\n")
    assert capsys.readouterr().out == "a\ufffd[31mb\ufffd\n"

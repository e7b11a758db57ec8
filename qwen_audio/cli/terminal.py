"""Chat in a terminal: lines go in, text comes out; nothing but a terminal is needed, so it works over SSH.

A line is a question, the path of a recording (typed, or dragged into the window), both together, or a command that
begins with a slash. `Terminal` has no input loop of its own: cli/chat.py gives it lines, and so does a test.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from qwen_audio.audio.features import MAX_SECONDS
from qwen_audio.audio.load import SAMPLE_RATE, AudioError, load_audio
from qwen_audio.chat.dialogue import Dialogue, is_saved
from qwen_audio.cli.inputs import ENDINGS
from qwen_audio.editing import Instruction, InstructionError, edit, read_answer, read_instruction
from qwen_audio.format.messages import Recording
from qwen_audio.inference.job import EngineBusy, EngineClosed
from qwen_audio.show import player

if TYPE_CHECKING:
    from qwen_audio.api import QwenAudio

HELP = """\
Write a question and press Enter. To add a recording, write its path or drag the file into the window, alone or in
front of the question. "remove the word seven", "bleep from 1 to 2" and the like edit the newest recording.
  /audio         the recordings and their numbers
  /play [N]      play a recording (the newest)
  /words [N]     its words with their times
  /edit WHAT     edit the newest recording as told, without asking the model what is meant
  /history       what was said
  /undo          forget the last turn
  /clear         forget everything
  /save FILE     write the dialogue
  /load FILE     go on with a saved one
  /help          this
  /quit          end (so does Ctrl-D; Ctrl-C stops an answer, or drops the line)"""

_PROBLEMS = (ValueError, OSError)  # what a user's input can cause; AudioError and ChatError are ValueErrors
_REFUSALS = (EngineBusy, EngineClosed)  # other users of the same model; the same question may work later


class Quit(Exception):
    """The user wants to end."""


@dataclass(frozen=True)
class Sound:
    """A recording of the session."""

    path: Path
    seconds: float

    @property
    def long(self) -> bool:
        """Whether it is longer than what the model hears at once, so that no question can be about it."""
        return self.seconds > MAX_SECONDS


class Terminal:
    """One session.

    Args:
        model: answers /words and carries out edits.
        chat: the dialogue: `QwenAudio.chat()`, or `Questions(model)`.
        write: gets every piece of text to show, in order; pieces of an answer come without line breaks.
    """

    def __init__(self, model: QwenAudio, chat: Dialogue, write: Callable[[str], None]) -> None:
        self.model, self.chat, self.write = model, chat, write
        self.sounds: list[Sound] = []
        self._new: list[Path] = []  # recordings that go with the next question
        self._commands: dict[str, Callable[[str], None]] = {
            "help": lambda _: self._say(HELP), "quit": self._quit, "exit": self._quit, "audio": self._list,
            "add": self._add_named, "play": self._play, "words": self._words, "edit": self._edit,
            "history": self._history, "undo": self._undo, "clear": self._clear, "save": self._save, "load": self._load,
        }  # fmt: skip

    def handle(self, line: str) -> None:
        """Do what one line asks for. What goes wrong is shown as one sentence; raises Quit at the end."""
        line = line.strip()
        if not line:
            return
        try:
            command = re.match(r"/(\w+)(?:\s+(.*))?$", line, re.S)
            if command and _file(line) is None:
                self._command(command[1].lower(), (command[2] or "").strip())
                return
            paths, question = split_paths(line)
            heard = [self.add(path) for path in paths]
            if question:
                self._ask(question, all(heard))
        except (*_PROBLEMS, *_REFUSALS) as error:
            self._say(f"! {' '.join(str(error).split())}")
        except KeyboardInterrupt:
            self._say("\n(stopped)")

    def add(self, path: Path) -> bool:
        """A new recording; whether it goes with the next question. Raises AudioError if it cannot be read."""
        # A line that is put again after Ctrl-C.
        if path.resolve() in [queued.resolve() for queued in self._new]:
            self._say(f"{path.name}: goes with your next question")
            return True
        sound = Sound(path, len(load_audio(path)) / SAMPLE_RATE)
        self.sounds.append(sound)
        if sound.long:
            use = f"longer than {MAX_SECONDS:.0f} s, so for /words, /play and edits, not for questions"
        else:
            self._new.append(path)
            use = "goes with your next question"
        self._say(f"[{len(self.sounds)}] {path.name}, {sound.seconds:.1f} s: {use}")
        return not sound.long

    def load(self, path: Path) -> None:
        """Go on with a saved dialogue. Raises ChatError or OSError if it or a recording of it cannot be read."""
        self.chat.load(path)
        clips = [clip for turn in self.chat.history for clip in turn.clips]
        paths = [Path(clip.path) for clip in clips if isinstance(clip, Recording) and clip.path]
        self.sounds = [Sound(path, len(load_audio(path)) / SAMPLE_RATE) for path in paths]
        self._new = []
        self._say(f"{len(self.chat.history)} turns, {len(self.sounds)} recordings; /history shows them")

    def _command(self, name: str, rest: str) -> None:
        if name not in self._commands:
            raise ValueError(f"there is no command /{name}: /help lists them")
        self._commands[name](rest)

    def _ask(self, question: str, heard: bool) -> None:
        """heard: whether the model can hear the recordings of the same line."""
        asked = _as_edit(question)  # a model that was not tuned on dialogues gives no list of cuts
        if asked is not None and (self.chat.alone or (self.sounds and self.sounds[-1].long)):
            self._change(asked)
            return
        if not heard:
            raise ValueError("the question was not asked: the recording beside it is too long")
        parts = [*({"audio": str(path)} for path in self._new), {"text": question}]
        try:
            for piece in self.chat.stream(parts):
                self.write(piece)
        except _PROBLEMS as error:
            if not self._new:
                raise
            # It may be due to one of them, and would be so for each later question.
            names, self._new = ", ".join(path.name for path in self._new), []
            raise ValueError(f"{error} ({names}: not with the next question unless added again)") from error
        self._new = []
        reply = self.chat.last_reply
        assert reply is not None  # a finished stream leaves one
        ends = {"length": " (cut at the limit)", "loop": " (it repeated itself)"}
        self._say(ends.get(reply.ended_by, ""))
        if reply.dropped_turns:
            self._say(f"({reply.dropped_turns} early turns no longer fit and were left out)")
        if asked is not None:
            meant = read_answer(question, reply.raw)
            if meant is not None and self.sounds:
                self._change(meant)

    def _change(self, asked: Instruction) -> None:
        sound = self._sound("")
        done = edit(self.model, sound.path, asked)
        target = _free_name(sound.path)
        done.save(target)
        for problem in done.problems:
            self._say(f"! {problem}")
        self._say(done.text)
        self.add(target)

    def _edit(self, rest: str) -> None:
        self._change(read_instruction(rest))

    def _add_named(self, rest: str) -> None:
        paths, left = split_paths(rest, sentence=False)
        if left or not paths:
            raise AudioError(f"{left or 'nothing'!r} is no recording: /add takes the path of an audio file")
        for path in paths:
            self.add(path)

    def _list(self, _: str) -> None:
        lines = [f"[{n}] {s.path} ({s.seconds:.1f} s)" for n, s in enumerate(self.sounds, start=1)]
        self._say("\n".join(lines) or "no recording yet: write the path of one")

    def _play(self, rest: str) -> None:
        sound = self._sound(rest)
        player.play(player.find_player(), sound.path)

    def _words(self, rest: str) -> None:
        heard = self.model.transcribe(str(self._sound(rest).path), word_timestamps=True)
        lines = [f"{word.start:8.2f} {word.end:8.2f}  {word.word}" for word in heard.words or []]
        self._say("\n".join(lines) or "no words are heard")

    def _history(self, _: str) -> None:
        for turn in self.chat.history:
            shown = [part if isinstance(part, str) else f"<{_name(part)}>" for part in turn.query]
            self._say(f"> {' '.join(shown)}\n{turn.answer}")
        if not self.chat.history:
            self._say("nothing was said yet")

    def _undo(self, _: str) -> None:
        if not self.chat.history:
            raise ValueError("there is no turn to forget")
        self.chat.history.pop()
        self._say(f"forgotten; {len(self.chat.history)} turns are left")

    def _clear(self, _: str) -> None:
        self.chat.clear()
        self.sounds, self._new = [], []
        self._say("forgotten")

    def _save(self, rest: str) -> None:
        if not rest:
            raise ValueError("name a file: /save talk.json")
        path = _path(rest)
        if path.resolve() in [sound.path.resolve() for sound in self.sounds]:
            raise ValueError(f"{rest} is a recording of this session: name another file")
        if path.exists() and not is_saved(path):
            raise ValueError(f"{rest} is there already and no saved dialogue: name another file")
        self.chat.save(path)
        self._say(f"written: {rest}")

    def _load(self, rest: str) -> None:
        if not rest:
            raise ValueError("name a file: /load talk.json")
        self.load(_path(rest))

    def _sound(self, number: str) -> Sound:
        """A recording by its number, or the newest."""
        if not self.sounds:
            raise AudioError("there is no recording yet: write the path of one")
        if number and not (number.isdecimal() and 1 <= int(number) <= len(self.sounds)):
            raise ValueError(f"there is no recording {number}: /audio lists them")
        return self.sounds[int(number) - 1 if number else -1]

    def _quit(self, _: str) -> None:
        raise Quit

    def _say(self, text: str) -> None:
        self.write(text + "\n")


def split_paths(line: str, *, sentence: bool = True) -> tuple[list[Path], str]:
    """The files that a line names, and the rest of it as one text.

    Terminals put a file that is dragged into them as a path in quotes, with backslashes before spaces, or as a file://
    address. A line that is a path as a whole is one, spaces and all.

    sentence: words may be words: only those that are written like a path name a file. Raises AudioError for one that
    is written like the path of a recording where there is no such file.
    """
    whole = _file(line)
    if whole is not None:
        return [whole], ""
    # Quoted stretches and backslashed spaces are one piece each; an apostrophe in a word opens no quote.
    pieces = re.findall(r"""(?<!\S)"[^"]+"(?!\S)|(?<!\S)'[^']+'(?!\S)|(?:\\.|\S)+""", line)
    paths: list[Path] = []
    rest: list[str] = []
    for piece in pieces:
        name = _unquoted(piece)
        quoted = len(piece) > 1 and piece[0] in "\"'" and piece[0] == piece[-1]
        ending = PurePath(name).suffix.lower()
        address = name.startswith("file://")
        separated = any(mark in name for mark in (os.sep, os.altsep) if mark)
        path = _file(name) if not sentence or quoted or address or separated or ending in ENDINGS else None
        if path is not None:
            paths.append(path)
        elif address or ending in ENDINGS or (separated and re.fullmatch(r"\.[a-z][a-z0-9]{1,4}", ending)):
            raise AudioError(f"there is no file {piece}: correct it, or put a path with spaces in quotes")
        else:
            rest.append(piece)
    return paths, " ".join(rest)


def _unquoted(piece: str) -> str:
    if os.name == "nt":  # backslashes are part of paths there
        return piece.strip("\"'")
    try:
        return "".join(shlex.split(piece))
    except ValueError:  # an open quote
        return piece


def _file(text: str) -> Path | None:
    """The file of this name, if there is one."""
    path = _path(text)
    try:
        return path if text and path.is_file() else None
    except OSError:  # a question can be longer than a name may be
        return None


def _path(text: str) -> Path:
    """The path that a name or a file:// address stands for, whether anything is there or not."""
    if text.startswith("file://"):
        text = "/" + unquote(text.removeprefix("file://").partition("/")[2])
    return Path(os.path.expanduser(text))  # unlike Path's own, leaves the `~5` of "is it ~5 s long?" alone


def _as_edit(question: str) -> Instruction | None:
    """The edit that a question asks for, if it does."""
    try:
        asked = read_instruction(question)
    except InstructionError:
        return None
    return None if asked.kind == "find" else asked


def _free_name(path: Path) -> Path:
    """`talk.edited.wav` beside `talk.wav`, or with a number if that is taken."""
    stem = re.sub(r"\.edited(-\d+)?$", "", path.stem)
    names = (path.with_name(f"{stem}.edited{f'-{n}' if n > 1 else ''}.wav") for n in range(1, 10_000))
    return next(name for name in names if not name.exists())


def _name(part: object) -> str:
    return Path(part.path).name if isinstance(part, Recording) and part.path else "recording"

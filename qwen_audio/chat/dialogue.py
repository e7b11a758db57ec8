"""A dialogue about recordings: its turns, how they are said, streamed, saved and read again.

How an answer comes about is up to the subclass: `chat.Chat` remembers earlier turns, `questions.Questions` puts each
question by itself.
"""

from __future__ import annotations

import base64
import io
import json
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import soundfile

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.files import write_whole
from qwen_audio.format.chatml import (
    NUMBERINGS,
    SYSTEM_PROMPT,
    WINDOW_TOKENS,
    ChatError,
    Clip,
    Turn,
    audio_numbers,
)
from qwen_audio.format.messages import Recording, parse_messages, parse_query

ANSWER_TOKENS = 512  # published default
_KINDS = {"system": str, "numbering": str, "window": int, "turns": list}  # what a saved dialogue holds


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes:
        text: the answer without special tokens; times that the model tagged are seconds.
        raw: the same with its tags, as it is kept in the history.
        ended_by: "end", or why it was cut: "length" or "loop" (it repeated itself).
        prompt_tokens: length of the prompt.
        reused_tokens: how many of them were kept from the call before.
        dropped_turns: early turns that did not fit the window.
    """

    text: str
    raw: str
    ended_by: str
    prompt_tokens: int
    reused_tokens: int
    dropped_turns: int


class Dialogue(ABC):
    """Turns of questions and answers; a subclass says in `respond` where an answer comes from.

    Args:
        system: the system message.
        numbering, window: as in `chat.Chat`; they are saved with the dialogue.

    Attributes:
        alone: whether each question is answered by itself, by a model that was not tuned on dialogues.
        history: the finished turns; a failed or abandoned answer adds none. To go back a turn, remove it from the list.
        last_reply: the newest answer.
    """

    alone: ClassVar[bool] = False

    def __init__(
        self,
        *,
        system: str = SYSTEM_PROMPT,
        numbering: str = "dialogue",
        window: int = WINDOW_TOKENS,
    ) -> None:
        audio_numbers([], numbering)  # checks the name
        self.system, self.numbering, self.window = system, numbering, window
        self.history: list[Turn] = []
        self.last_reply: Reply | None = None
        self._busy = threading.Lock()

    @abstractmethod
    def respond(
        self,
        system: str,
        history: Sequence[Turn],
        query: Turn,
        max_new_tokens: int,
        on_text: Callable[[str], None] | None,
    ) -> tuple[Reply, str]:
        """The reply to a query after a history, and the answer as the history keeps it. One call at a time."""

    def say(
        self,
        query: str | Sequence[dict[str, Any]],
        *,
        max_new_tokens: int = ANSWER_TOKENS,
        on_text: Callable[[str], None] | None = None,
    ) -> Reply:
        """The answer to a text, or to a list of `{"audio": source}` and `{"text": str}` in any order.

        on_text is called with each new piece of the answer as it comes; an exception that it raises ends the
        answer. Raises ChatError for a query that cannot be used.
        """
        turn = parse_query(query)
        with self._busy:
            return self._turn(self.system, self.history, turn, max_new_tokens, on_text)

    def answer(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        max_new_tokens: int = ANSWER_TOKENS,
        on_text: Callable[[str], None] | None = None,
        allow_paths: bool = False,
    ) -> Reply:
        """The answer to OpenAI-style messages, which replace the history (and the system message, if any).

        allow_paths: let the messages name local files; leave it off for messages of other people. See
        `parse_messages` for what they may hold. Raises ChatError.
        """
        dialogue = parse_messages(messages, allow_paths=allow_paths)
        with self._busy:
            system = self.system if dialogue.system is None else dialogue.system
            *history, query = dialogue.turns
            return self._turn(system, history, query, max_new_tokens, on_text)

    def stream(
        self, query: str | Sequence[dict[str, Any]], *, max_new_tokens: int = ANSWER_TOKENS
    ) -> Iterator[str]:
        """The pieces of an answer as they come; afterwards `last_reply` is the whole.

        Leaving the loop early stops the answer, and the turn does not enter the history.
        """
        pieces: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()
        abandoned = threading.Event()

        def put(piece: str) -> None:
            if abandoned.is_set():
                raise _Abandoned
            pieces.put(piece)

        def work() -> None:
            try:
                self.say(query, max_new_tokens=max_new_tokens, on_text=put)
                pieces.put(None)
            except BaseException as error:  # handed to the caller, in the caller's thread
                pieces.put(error)

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        try:
            while (piece := pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            abandoned.set()
            worker.join()

    def clear(self) -> None:
        """Forget the history."""
        with self._busy:
            self.history, self.last_reply = [], None

    def save(self, path: str | Path) -> None:
        """Write the dialogue as JSON: texts, and recordings by their path, or whole where they had none."""
        turns = [{"query": [_saved(part) for part in t.query], "answer": t.answer} for t in self.history]
        data = {
            "system": self.system,
            "numbering": self.numbering,
            "window": self.window,
            "turns": turns,
        }
        write_whole(path, json.dumps(data, ensure_ascii=False, indent=1) + "\n")

    def load(self, path: str | Path) -> None:
        """Replace this dialogue by a saved one. The recordings that it names are read again.

        Raises ChatError if the file is none that `save` wrote or a recording cannot be read; the dialogue is
        then as it was.
        """
        system, numbering, window, turns = _read_saved(Path(path))
        with self._busy:
            self.system, self.numbering, self.window = system, numbering, window
            self.history, self.last_reply = turns, None

    def _turn(
        self,
        system: str,
        history: Sequence[Turn],
        query: Turn,
        max_new_tokens: int,
        on_text: Callable[[str], None] | None,
    ) -> Reply:
        reply, answer = self.respond(system, history, query, max_new_tokens, on_text)
        return self._keep(system, history, query, reply, answer)

    def _keep(self, system: str, history: Sequence[Turn], query: Turn, reply: Reply, answer: str) -> Reply:
        self.system, self.history = system, [*history, Turn(query.query, answer)]
        self.last_reply = reply
        return reply


class _Abandoned(Exception):
    """Nobody listens to a stream any more."""


def _saved(part: str | Clip) -> dict[str, str]:
    if isinstance(part, str):
        return {"text": part}
    if isinstance(part, Recording) and part.path is not None:
        return {"audio": part.path}
    if not isinstance(part, Recording) or part.wave is None:
        raise ChatError("a turn of the history holds a clip without its sound: it cannot be saved")
    file = io.BytesIO()
    soundfile.write(file, part.wave, SAMPLE_RATE, format="WAV", subtype="FLOAT")  # float32: as it is heard
    return {"audio": "data:audio/wav;base64," + base64.b64encode(file.getvalue()).decode()}


def is_saved(path: Path) -> bool:
    """Whether a file is a dialogue that `Dialogue.save` wrote; its recordings may be gone.

    Raises OSError if it cannot be read.
    """
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(1) != b"{":  # no recording is read as a whole
            return False
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(data, dict) and all(isinstance(data.get(key), kind) for key, kind in _KINDS.items())


def _read_saved(path: Path) -> tuple[str, str, int, list[Turn]]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ChatError(f"{path} is not JSON ({error}): give a file that Chat.save wrote") from None
    for key, kind in _KINDS.items():
        if not isinstance(data, dict) or not isinstance(data.get(key), kind):
            raise ChatError(
                f"{path}: {key} is missing or no {kind.__name__}: give a file that Chat.save wrote"
            )
    turns = []
    for number, turn in enumerate(data["turns"], start=1):
        if not isinstance(turn, dict) or set(turn) != {"query", "answer"}:
            raise ChatError(f"{path}: turn {number} must have a query and an answer")
        if not isinstance(turn["answer"], str | None):
            raise ChatError(f"{path}: the answer of turn {number} must be text")
        try:
            query = parse_query(turn["query"]).query
        except ChatError as error:
            raise ChatError(f"{path}: turn {number}: {error}") from error
        turns.append(Turn(query, turn["answer"]))
    if data["numbering"] not in NUMBERINGS:
        raise ChatError(f"{path}: there is no numbering {data['numbering']!r}: use {' or '.join(NUMBERINGS)}")
    return data["system"], data["numbering"], data["window"], turns

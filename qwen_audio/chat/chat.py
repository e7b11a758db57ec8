"""A dialogue with a chat model: turns with any number of recordings, answers that remember them.

    chat = qwen_audio.load("path/to/chat-model").chat()
    print(chat.say([{"audio": "dog.wav"}, {"text": "What is that sound?"}]).text)
    print(chat.say("Is it near or far?").text)

The keys and values of earlier turns are kept between calls: a turn runs only its own tokens through the
model, and encodes only its own recordings, until an early turn leaves the window.
"""

from __future__ import annotations

import base64
import io
import json
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile
import torch

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.chat.cache import Kept, continue_dialogue
from qwen_audio.files import write_whole
from qwen_audio.format.chatml import (
    NUMBERINGS,
    SYSTEM_PROMPT,
    WINDOW_TOKENS,
    ChatError,
    Clip,
    Readable,
    Turn,
    audio_numbers,
    build_prompt,
)
from qwen_audio.format.messages import Recording, parse_messages, parse_query
from qwen_audio.inference.engine import Engine
from qwen_audio.inference.sampling import CHAT, Sampling

ANSWER_TOKENS = 512  # published default
_KINDS = {"system": str, "numbering": str, "window": int, "turns": list}  # what a saved dialogue holds

__all__ = ["ANSWER_TOKENS", "Chat", "ChatError", "Reply", "is_saved"]


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


class Chat:
    """One dialogue with a model. Several dialogues can share a model, also from several threads.

    Args:
        model, processor: as in `QwenAudio`.
        system: the system message.
        numbering: "dialogue" numbers recordings through the whole dialogue, "turn" from 1 in each turn as the
            published code does.
        window: system message and earlier turns stay under this number of tokens.
        sampling: how answers are drawn; None is greedy.
        loop_guard: whether an answer that repeats itself is ended.
        engine: decodes the answers, together with what else it has to do; None: each in the thread that asks.

    `history` holds the finished turns, also those outside the window; a failed or abandoned answer adds
    none. To go back a turn, remove it from the list.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        system: str = SYSTEM_PROMPT,
        numbering: str = "dialogue",
        window: int = WINDOW_TOKENS,
        sampling: Sampling | None = CHAT,
        loop_guard: bool = True,
        engine: Engine | None = None,
    ) -> None:
        audio_numbers([], numbering)  # checks the name
        self.model, self.processor = model, processor
        self.system, self.numbering, self.window, self.sampling = system, numbering, window, sampling
        self.loop_guard, self.engine = loop_guard, engine
        self.history: list[Turn] = []
        self.last_reply: Reply | None = None
        self._kept: Kept | None = None
        self._busy = threading.Lock()

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
            return self._answer(self.system, self.history, turn, max_new_tokens, on_text)

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
            return self._answer(system, history, query, max_new_tokens, on_text)

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
        """Forget the history and what was kept of it."""
        with self._busy:
            self.history, self.last_reply = [], None
            self._kept = None

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
            self._kept = None

    def _answer(
        self,
        system: str,
        history: Sequence[Turn],
        query: Turn,
        max_new_tokens: int,
        on_text: Callable[[str], None] | None,
    ) -> Reply:
        prompt = build_prompt(
            self.processor.tokenizer,
            history,
            query,
            system=system,
            window=self.window,
            numbering=self.numbering,
        )
        most = self.model.config.get_text_config().max_position_embeddings
        if len(prompt.ids) + max_new_tokens > most:
            raise ChatError(
                f"the query makes a prompt of {len(prompt.ids)} tokens, which with {max_new_tokens} for the answer "
                f"is over the {most} of the model: shorten it, or give fewer recordings"
            )
        mels = [_mel(clip) for clip in prompt.clips]
        shown = Readable()
        generation, kept = continue_dialogue(
            self.model,
            self.processor,
            prompt.ids,
            mels,
            self._kept,
            max_new_tokens,
            sampling=self.sampling,
            loop_guard=self.loop_guard,
            stream=None if on_text is None else lambda _, text: pass_on(on_text, shown.add(text)),
            engine=self.engine,
        )
        self._kept = kept
        reply = Reply(
            Readable().add(generation.text),
            generation.text,
            generation.ended_by,
            len(prompt.ids),
            kept.reused,
            prompt.dropped,
        )
        self.system, self.history = system, [*history, Turn(query.query, generation.text)]
        self.last_reply = reply
        return reply


class _Abandoned(Exception):
    """Nobody listens to a stream any more."""


def _mel(clip: Clip) -> torch.Tensor:
    if not isinstance(clip, Recording):
        raise ChatError("a turn of the history holds a clip without its sound: make turns with parse_query")
    return clip.mel


def pass_on(on_text: Callable[[str], None], text: str) -> None:
    """Call `on_text` unless there is nothing to pass on."""
    if text:
        on_text(text)


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
    """Whether a file is a dialogue that `Chat.save` wrote; its recordings may be gone. OSError if it cannot be read."""
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

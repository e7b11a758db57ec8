"""A dialogue with a model that was not tuned on dialogues: each question is put by itself about the newest recordings.

    chat = Questions(model)
    print(chat.say([{"audio": "rain.wav"}, {"text": "Which sound event is heard?"}]).text)

It has the interface of `chat.Chat`, so programs need not care which of the two they talk to; what was said before is
not remembered, only the recordings are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from qwen_audio.audio.load import load_audio
from qwen_audio.chat.chat import ANSWER_TOKENS, Chat, Reply
from qwen_audio.format.chatml import ChatError, Clip, Readable, Turn
from qwen_audio.format.messages import Recording, parse_query
from qwen_audio.format.tasks import TASKS
from qwen_audio.inference.engine import Engine
from qwen_audio.inference.job import Job
from qwen_audio.inference.request import Output, Request


class Loaded(Protocol):
    """What is asked of a loaded model, which `QwenAudio` has: network, processor, and the engine that answers."""

    model: Any
    processor: Any

    @property
    def engine(self) -> Engine: ...


class Questions(Chat):
    """Questions about recordings, one at a time; see `chat.Chat` for what can be called.

    A question with recordings is about these; one without is about those of the last turn that had any. The request
    "Transcribe the speech." and the other questions of the task table are put in the tags of their task, which is
    what such a model was trained on.
    """

    def __init__(self, model: Loaded) -> None:
        super().__init__(model.model, model.processor, engine=model.engine)
        self._asked = model

    def stream(
        self, query: str | Sequence[dict[str, Any]], *, max_new_tokens: int = ANSWER_TOKENS
    ) -> Iterator[str]:
        """As `Chat.stream`; it waits in the caller's thread, so that Ctrl-C ends the answer at once, before any text.

        Raises EngineBusy where too many wait.
        """
        turn = parse_query(query)
        asked = self._ask(self.history, turn, max_new_tokens)
        yield from _pieces(asked)
        with self._busy:
            self._keep(self.system, self.history, turn, asked.result())

    def _answer(
        self,
        system: str,
        history: Sequence[Turn],
        query: Turn,
        max_new_tokens: int,
        on_text: Callable[[str], None] | None,
    ) -> Reply:
        asked = self._ask(history, query, max_new_tokens)
        for piece in _pieces(asked):
            if on_text is not None:
                on_text(piece)
        return self._keep(system, history, query, asked.result())

    def _ask(self, history: Sequence[Turn], query: Turn, max_new_tokens: int) -> Job[Output]:
        clips = query.clips or next((turn.clips for turn in reversed(history) if turn.clips), [])
        question = " ".join(part for part in query.query if isinstance(part, str)).strip()
        if not clips:
            raise ChatError("there is no recording yet: give one of at most 30 s with the question")
        if not question:
            raise ChatError("there is no question: write what you want to know about the recording")
        waves = [_wave(clip) for clip in clips]
        task = _task_of(question)
        request = (
            Request(task, waves, max_new_tokens=max_new_tokens)
            if task
            else Request("audio_qa", waves, question=question, max_new_tokens=max_new_tokens)
        )
        return self._asked.engine.submit(request)

    def _keep(self, system: str, history: Sequence[Turn], query: Turn, output: Output) -> Reply:
        """The turn enters the history."""
        text = output.parsed.text or output.parsed.label or ""
        reply = Reply(text, output.raw, output.ended_by, 0, 0, 0)
        self.system, self.history = system, [*history, Turn(query.query, text)]
        self.last_reply = reply
        return reply


def _pieces(asked: Job[Output]) -> Iterator[str]:
    """Text of the answer without its tags; the job is cancelled where the loop is left early."""
    shown = Readable()
    try:
        yield from filter(None, map(shown.add, asked))
    finally:
        asked.cancel()


def _task_of(question: str) -> str | None:
    """The task whose own question this is, if it is that of one that can be asked without more."""
    wanted = question.rstrip(".?! ").casefold()
    for row in TASKS.values():
        if (
            row.question
            and row.question.rstrip(".?! ").casefold() == wanted
            and row.text_language != "target"
        ):
            return row.slug
    return None


def _wave(clip: Clip) -> np.ndarray:
    if isinstance(clip, Recording) and clip.wave is not None:
        return clip.wave
    if isinstance(clip, Recording) and clip.path is not None:
        return load_audio(clip.path)
    raise ChatError("a turn of the history holds a clip without its sound: give the recording again")

"""A dialogue with a model that was not tuned on dialogues: each question is put by itself about the newest recordings.

    chat = Questions(model)
    print(chat.say([{"audio": "rain.wav"}, {"text": "Which sound event is heard?"}]).text)

Like `chat.Chat` it is a `Dialogue`, so programs need not care which of the two they talk to; what was said before is
not remembered, only the recordings are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from qwen_audio.audio.load import load_audio
from qwen_audio.chat.dialogue import ANSWER_TOKENS, Dialogue, Reply
from qwen_audio.format.chatml import ChatError, Clip, Readable, Turn
from qwen_audio.format.messages import Recording, parse_query
from qwen_audio.format.tasks import TASKS
from qwen_audio.inference.engine import Engine
from qwen_audio.inference.job import Job
from qwen_audio.inference.request import Output, Request


class Loaded(Protocol):
    """What is asked of a loaded model, which `QwenAudio` has: the engine that answers."""

    @property
    def engine(self) -> Engine: ...


class Questions(Dialogue):
    """Questions about recordings, one at a time; what can be called stands in `Dialogue`.

    A question with recordings is about these; one without is about those of the last turn that had any. The request
    "Transcribe the speech." and the other questions of the task table are put in the tags of their task, which is
    what such a model was trained on.
    """

    alone = True

    def __init__(self, model: Loaded) -> None:
        super().__init__()
        self.model = model

    def stream(
        self, query: str | Sequence[dict[str, Any]], *, max_new_tokens: int = ANSWER_TOKENS
    ) -> Iterator[str]:
        """As `Dialogue.stream`, in the caller's thread, so that Ctrl-C ends the answer at once, before any text.

        Raises EngineBusy where too many wait.
        """
        turn = parse_query(query)
        asked = self._ask(self.history, turn, max_new_tokens)
        yield from _pieces(asked)
        with self._busy:
            self._keep(self.system, self.history, turn, *_reply(asked.result()))

    def respond(
        self,
        system: str,
        history: Sequence[Turn],
        query: Turn,
        max_new_tokens: int,
        on_text: Callable[[str], None] | None,
    ) -> tuple[Reply, str]:
        """See `Dialogue.respond`."""
        asked = self._ask(history, query, max_new_tokens)
        for piece in _pieces(asked):
            if on_text is not None:
                on_text(piece)
        return _reply(asked.result())

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
        return self.model.engine.submit(request)


def _reply(output: Output) -> tuple[Reply, str]:
    """The reply that an output is, and its text, which the history keeps."""
    text = output.parsed.text or output.parsed.label or ""
    return Reply(text, output.raw, output.ended_by, 0, 0, 0), text


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

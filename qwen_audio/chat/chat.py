"""A dialogue with a chat model: turns with any number of recordings, answers that remember them.

    chat = qwen_audio.load("path/to/chat-model").chat()
    print(chat.say([{"audio": "dog.wav"}, {"text": "What is that sound?"}]).text)
    print(chat.say("Is it near or far?").text)

The keys and values of earlier turns are kept between calls: a turn runs only its own tokens through the
model, and encodes only its own recordings, until an early turn leaves the window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from qwen_audio.chat.cache import Kept, continue_dialogue
from qwen_audio.chat.dialogue import ANSWER_TOKENS, Dialogue, Reply, is_saved
from qwen_audio.format.chatml import (
    SYSTEM_PROMPT,
    WINDOW_TOKENS,
    ChatError,
    Clip,
    Readable,
    Turn,
    build_prompt,
)
from qwen_audio.format.messages import Recording
from qwen_audio.inference.engine import Engine
from qwen_audio.inference.sampling import CHAT, Sampling

__all__ = ["ANSWER_TOKENS", "Chat", "ChatError", "Reply", "is_saved"]


class Chat(Dialogue):
    """One dialogue with a model. Several dialogues can share a model, also from several threads.

    Args:
        model, processor: as in `QwenAudio`.
        system: the system message.
        numbering: "dialogue" numbers recordings through the whole dialogue, "turn" from 1 in each turn as the
            published code does.
        window: system message and earlier turns stay under this number of tokens.
        sampling: how answers are drawn; None is greedy.
        loop_guard: whether an answer that repeats itself is ended.
        engine: decodes the answers, together with what else it has to do; None: one of this dialogue's own.

    `history` also holds the turns outside the window. What can be called stands in `Dialogue`.
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
        super().__init__(system=system, numbering=numbering, window=window)
        self.model, self.processor = model, processor
        self.sampling, self.loop_guard = sampling, loop_guard
        self.engine = Engine(model, processor) if engine is None else engine
        self._kept: Kept | None = None

    def clear(self) -> None:
        """Forget the history and what was kept of it."""
        super().clear()
        self._kept = None

    def load(self, path: str | Path) -> None:
        """As `Dialogue.load`."""
        super().load(path)
        self._kept = None

    def respond(
        self,
        system: str,
        history: Sequence[Turn],
        query: Turn,
        max_new_tokens: int,
        on_text: Callable[[str], None] | None,
    ) -> tuple[Reply, str]:
        """See `Dialogue.respond`."""
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
            self.engine,
            prompt.ids,
            mels,
            self._kept,
            max_new_tokens,
            sampling=self.sampling,
            loop_guard=self.loop_guard,
            on_text=None if on_text is None else lambda text: pass_on(on_text, shown.add(text)),
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
        return reply, generation.text


def _mel(clip: Clip) -> torch.Tensor:
    if not isinstance(clip, Recording):
        raise ChatError("a turn of the history holds a clip without its sound: make turns with parse_query")
    return clip.mel


def pass_on(on_text: Callable[[str], None], text: str) -> None:
    """Call `on_text` unless there is nothing to pass on."""
    if text:
        on_text(text)

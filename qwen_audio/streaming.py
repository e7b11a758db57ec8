"""Text of an answer as its tokens come: whole characters only, for every row of a batch.

A token of the vocabulary is a run of bytes, and one character may need several tokens. The bytes of a row go through
an incremental UTF-8 decoder, which holds an unfinished character back. White space is held back until something
follows it, because an answer begins and ends without any. What was streamed is then the answer's text, except where
an answer repeated itself: the guard keeps one copy of a block that was streamed several times.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from torch import Tensor
from transformers.generation.streamers import BaseStreamer

from qwen_audio.tokenizer import _byte_alphabet

# Takes the row and its new text, never empty.
OnText = Callable[[int, str], None]


@lru_cache(maxsize=1)
def _byte_of() -> dict[str, int]:
    return {char: byte for byte, char in enumerate(_byte_alphabet())}


def token_bytes(tokenizer: Any, token_id: int) -> bytes:
    """The bytes of a token's text; a special token's are those of its name."""
    token = tokenizer.backend_tokenizer.id_to_token(token_id)
    try:
        return bytes(_byte_of()[char] for char in token)
    except KeyError:
        return str(token).encode()


class RowText:
    """Turns the tokens of one answer into pieces of text that join to `tokenizer.decode(...).strip()`."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._begun = False
        self._held = ""

    def add(self, token_id: int) -> str:
        """The text that is certain after one more token."""
        return self._certain(self._decoder.decode(token_bytes(self._tokenizer, token_id)))

    def end(self) -> str:
        """What was held back as an unfinished character, as U+FFFD."""
        return self._certain(self._decoder.decode(b"", final=True))

    def _certain(self, text: str) -> str:
        text = self._held + text
        if not self._begun:
            text = text.lstrip()
        certain = text.rstrip()
        self._held = text[len(certain) :]
        self._begun = self._begun or bool(certain)
        return certain


class BatchStream(BaseStreamer):
    """Gets the tokens of a batch step by step from transformers and hands each row's text on.

    Args:
        stops: ids that end a row; what follows one is padding.
    """

    def __init__(self, tokenizer: Any, rows: int, stops: Iterable[int], on_text: OnText) -> None:
        self._rows = [RowText(tokenizer) for _ in range(rows)]
        self._running = [True] * rows
        self._stops, self._on_text = frozenset(stops), on_text
        self._prompt_seen = False

    def put(self, value: Tensor) -> None:
        """The prompt `(B, L)` first, which is left out, then the new token of each row `(B,)`."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        for row, token_id in enumerate(value.tolist()):
            if not self._running[row]:
                continue
            if token_id in self._stops:
                self._finish(row)
            else:
                self._emit(row, self._rows[row].add(token_id))

    def end(self) -> None:
        """Called after the last token."""
        for row, running in enumerate(self._running):
            if running:
                self._finish(row)

    def _finish(self, row: int) -> None:
        self._running[row] = False
        self._emit(row, self._rows[row].end())

    def _emit(self, row: int, text: str) -> None:
        if text:
            self._on_text(row, text)

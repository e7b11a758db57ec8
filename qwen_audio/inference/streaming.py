"""Streaming of an answer's text as its tokens come: whole characters only.

A token of the vocabulary is a run of bytes, and one character may need several tokens. The bytes of a row go through
an incremental UTF-8 decoder, which holds an unfinished character back. White space is held back until something
follows it, because an answer begins and ends without any. The streamed text then equals the answer's text, except where
an answer repeated itself: the loop guard keeps one copy of a block that was streamed several times.
"""

from __future__ import annotations

import codecs
from functools import lru_cache
from typing import Any

from qwen_audio.format.tokenizer import _byte_alphabet


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
        """The text held back as an unfinished character, as U+FFFD."""
        return self._certain(self._decoder.decode(b"", final=True))

    def _certain(self, text: str) -> str:
        text = self._held + text
        if not self._begun:
            text = text.lstrip()
        certain = text.rstrip()
        self._held = text[len(certain) :]
        self._begun = self._begun or bool(certain)
        return certain

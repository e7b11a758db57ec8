"""Where an answer differs from the wanted one: pieces of both, word by word or character by character."""

from __future__ import annotations

from typing import NamedTuple

from qwen_audio.eval.metrics.text import CHARACTER_LANGUAGES
from qwen_audio.eval.metrics.word_times import matched_pairs
from qwen_audio.format.text import spoken_form

MAX_TOKENS = 400  # longer texts are not aligned: the time grows with the square


class Piece(NamedTuple):
    """A run of text, and whether it stands in both."""

    text: str
    same: bool


def differences(wanted: str, answer: str, language: str | None) -> tuple[list[Piece], list[Piece]]:
    """The wanted text and the answer in pieces, by an alignment with the fewest edits.

    Tokens are words, or characters in languages written without spaces; case and punctuation make no difference.
    Of texts over `MAX_TOKENS` tokens, all is the same or nothing.
    """
    joint = "" if language in CHARACTER_LANGUAGES else " "
    a, b = ([*text.replace(" ", "")] if not joint else text.split() for text in (wanted, answer))
    if len(a) > MAX_TOKENS or len(b) > MAX_TOKENS:
        return [Piece(wanted, wanted == answer)], [Piece(answer, wanted == answer)]
    pairs = matched_pairs([spoken_form(t) or t for t in a], [spoken_form(t) or t for t in b])
    return _pieces(a, {i for i, _ in pairs}, joint), _pieces(b, {j for _, j in pairs}, joint)


def _pieces(tokens: list[str], same: set[int], joint: str) -> list[Piece]:
    pieces: list[Piece] = []
    for index, token in enumerate(tokens):
        if pieces and pieces[-1].same == (index in same):
            pieces[-1] = Piece(pieces[-1].text + joint + token, pieces[-1].same)
        else:
            pieces.append(Piece(token, index in same))
    return pieces

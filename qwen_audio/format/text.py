"""Plain-text helpers for answers: the spoken form of a transcript, and white space."""

from __future__ import annotations

import unicodedata


def collapse_spaces(text: str) -> str:
    """One space for every run of white space, none at the ends."""
    return " ".join(text.split())


def spoken_form(text: str) -> str:
    """Lower case, no punctuation, white space collapsed: the form under `<|wo_itn|>`.

    Kept: an apostrophe between letters (don't), and `.`, `,` or `:` between digits (3.14). Every other mark
    of the Unicode punctuation classes becomes a space, or nothing between two characters of a script that is
    written without spaces. Symbols and numerals stay as written. The result is NFC, and applying the function
    again changes nothing.
    """
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower()).replace("\u2019", "'")
    out: list[str] = []
    for index, char in enumerate(text):
        if not unicodedata.category(char).startswith("P"):
            out.append(char)
            continue
        before = text[index - 1] if index else " "
        after = text[index + 1] if index + 1 < len(text) else " "
        if (char == "'" and _joins(before) and _joins(after)) or (
            char in ".,:" and before.isdecimal() and after.isdecimal()
        ):
            out.append(char)
        elif not (out and _unspaced(out[-1]) and _unspaced(after)):
            out.append(" ")
    return collapse_spaces("".join(out))


def _joins(char: str) -> bool:
    return unicodedata.category(char)[0] in "LM"


def _unspaced(char: str) -> bool:
    """True for Han characters and kana, which are written without spaces between words."""
    if unicodedata.category(char)[0] != "L":  # a combining kana mark must not slip onto another character
        return False
    return "\u3005" <= char <= "\u30ff" or "\u3400" <= char <= "\u9fff" or char >= "\U00020000"

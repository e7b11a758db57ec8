"""Text for pictures: characters that no installed font has are replaced by letters and digits, with one notice.

drawable("你好 こんにちは")   # "U+4F60 U+597D konnichiha" where no East Asian font is installed
"""

from __future__ import annotations

import sys
import unicodedata
from functools import lru_cache

# Fonts of Linux, macOS and Windows, one of which usually is there.
EAST_ASIAN = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "Arial Unicode MS",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
)
_ADVICE = (
    "note: no font here has all characters of the labels; they are written in Latin letters or as code points. "
    "Install one, such as the package fonts-noto-cjk (Debian, Ubuntu) or google-noto-sans-cjk-fonts (Fedora)."
)


@lru_cache(maxsize=1)
def families() -> list[str]:
    """matplotlib's own font, then those installed that have Chinese, Japanese and Korean characters."""
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return ["DejaVu Sans", *(name for name in EAST_ASIAN if name in installed)]


@lru_cache(maxsize=1)
def _characters() -> frozenset[int]:
    """Code points that one of the fonts has."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    found: set[int] = set()
    for name in families():
        found.update(get_font(findfont(FontProperties(family=name))).get_charmap())
    return frozenset(found)


@lru_cache(maxsize=1)
def _advise() -> None:
    print(_ADVICE, file=sys.stderr)


def drawable(text: str) -> str:
    """Text that a picture can show; a dollar sign is escaped, so that it does not start a formula.

    Kana and Hangul without a glyph are written in Latin letters by syllable, other characters as code points; a line
    on stderr then names a font to install, once in a process.
    """
    have = _characters()
    if all(ord(letter) in have or letter.isspace() for letter in text):
        return text.replace("$", r"\$")
    _advise()
    out = []
    for letter in text:
        if ord(letter) in have or letter.isspace():
            out.append(letter)
        else:
            out.append(_latin(letter))
    return " ".join("".join(out).split()).replace("$", r"\$").strip()


def _latin(letter: str) -> str:
    """One character by its name: "ga" for the syllable GA, "U+4F60 " for an ideograph, its plain form if it has one."""
    plain = unicodedata.normalize("NFKC", letter)
    if plain != letter and plain.isascii():
        return plain
    name = unicodedata.name(letter, "")
    for script in ("HIRAGANA LETTER ", "KATAKANA LETTER ", "HANGUL SYLLABLE "):
        if name.startswith(script):
            return name.removeprefix(script).removeprefix("SMALL ").lower()
    if name == "KATAKANA-HIRAGANA PROLONGED SOUND MARK":
        return "-"
    marks = {"IDEOGRAPHIC FULL STOP": ". ", "IDEOGRAPHIC COMMA": ", "}
    return marks.get(name, f"U+{ord(letter):04X} ")

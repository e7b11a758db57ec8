"""Captions as words, in the way of the Penn treebank, which the published caption scores presuppose.

The published tools ask a Java program for it. This follows its conventions for lower-case English: "a car's engine"
has the words a, car, 's, engine; "can't" is ca and n't. Marks of punctuation are left out, but brackets become
words ("-lrb-"), as they do there. docs/metrics.md says how often the two agree.
"""

from __future__ import annotations

import re

_PLAIN = str.maketrans({"’": "'", "‘": "'", "`": "'", "“": '"', "”": '"', "–": "--", "—": "--", "…": "..."})
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_LEFT_OUT = frozenset({"''", "'", '"', ".", "?", "!", ",", ":", "-", "--", "...", ";"})

_ABBREVIATIONS = (
    "mr mrs ms dr prof st sr jr vs etc inc ltd co corp ave dept gen gov sen rep capt lt col sgt no approx"
)
_SUFFIX = r"(?:n't|'(?:s|re|ve|ll|d|m))(?!\w)"
_TOKEN = re.compile(
    "|".join(
        (
            r"https?://\S+",
            r"[\w.+-]+@\w[\w-]*(?:\.\w+)+",
            rf"(?:{_ABBREVIATIONS.replace(' ', '|')})\.(?!\w)",
            r"(?:[^\W\d_]\.){2,}",
            r"[-+]?\d+(?:[.,:/-]\d+)+",  # 10,000 and 10:30
            r"'?\d\d(?:s|th)(?!\w)",  # the '90s
            r"(?:'n'|o'clock|[od]'(?=[^\W\d_]{2})[^\W_]+|ma'am)(?!\w)",
            r"\w+?(?=n't(?!\w))",
            _SUFFIX,
            r"'t(?=is(?!\w)|was(?!\w))",
            r"(?:\w+(?:[-/&]|\.(?=[^\W\d_]{2})))*?\w+?(?=n't(?!\w))",
            r"w/(?=o(?!\w))o",
            r"\w+(?:(?:[-/]|(?<=[^\W\d_]{2})\.(?=[^\W\d_]{2})|(?<=\b\w)&)\w+)*",
            r"\.{2,}",
            r"[!?]{2,}",
            r"-{2,}",
            r"\S",
        )
    )
)
# Words that are written together and counted apart.
_APART = {
    "cannot": ("can", "not"),
    "gonna": ("gon", "na"),
    "gotta": ("got", "ta"),
    "wanna": ("wan", "na"),
    "gimme": ("gim", "me"),
    "lemme": ("lem", "me"),
}


def caption_words(text: str) -> list[str]:
    """The words of a caption, lower case, punctuation left out."""
    words: list[str] = []
    for token in _TOKEN.findall(text.translate(_PLAIN).lower()):
        if token in _LEFT_OUT:
            continue
        if set(token) <= {"."}:
            continue
        words += _APART.get(token, (_BRACKETS.get(token, token),))
    return words

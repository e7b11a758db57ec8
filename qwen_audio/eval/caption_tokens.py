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

# Words whose full stop stays with them, found by asking that program for each of 57,000 English words.
_ABBREVIATIONS = (
    "adj adm adv al ala alex apr ariz assn assoc asst atty aug ave bancorp bhd bldg blvd brig bros calif capt cf cie "
    "cmdr co col colo conn corp cos cpl ct dak dec dept det dr drs elec ens esq est etc ext feb fla fri ft ga gen gov "
    "hon inc ind insp intl jan jos jr jul jun kan ky lieut lt ltd maj mar md messrs mfg mich minn mlle mme mo mon mont "
    "mr mrs ms mt mtg natl neb nev nov oct okla penn pfc ph plc pres prof profs pte pty pvt rd rep reps rev rt sen "
    "sens sep sept seq sfc sgt spc sq sr st ste supt sys tel tenn thu thurs tue tues univ va vs vt wed wis wm wyo"
)
_SUFFIX = r"(?:n't|'(?:s|re|ve|ll|d|m))(?!\w)"
_TOKEN = re.compile(
    "|".join(
        (
            r"https?://\S+",
            r"[\w.+-]+@\w[\w-]*(?:\.\w+)+",
            rf"(?:{_ABBREVIATIONS.replace(' ', '|')})\.(?!\w)",
            r"no\.(?=\s*\d)",
            r"(?:[^\W\d_]\.){2,}|[a-z]\.(?!\w)",  # u.s., and a letter alone
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

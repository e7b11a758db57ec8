"""CIDEr-D: how much a caption has in common with several reference captions, weighted by how rare the words are.

Vedantam, Zitnick and Parikh (CVPR 2015). The other caption scores, which need programs and models that do not come
with this package, are in spice.py and fense.py.

Captions become words in the way of the Penn treebank, which the published scores presuppose. The published tools ask a
Java program for it; `caption_words` follows its conventions for lower-case English: "a car's engine" has the words a,
car, 's, engine; "can't" is ca and n't. Marks of punctuation are left out, but brackets become words ("-lrb-"), as they
do there. docs/metrics.md says how often the two agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from scipy import sparse

from qwen_audio.eval.metrics.score import Score, check_lengths, count_failures, of_ratio

ORDER = 4  # the longest n-grams
SIGMA = 6.0  # of the penalty for a difference in length, in words
SCALE = 10.0


def cider(references: Sequence[Sequence[str]], hypotheses: Sequence[str | None]) -> Score:
    """CIDEr-D of captions, in points (the published tables print it as it is, for instance 0.441).

    references: one or more captions an example; how rare an n-gram is, is counted over all of them, so the score of a
    part of a set is not that of the part alone. A failed example is an empty caption and has 0. The interval holds
    the rarities fixed.
    """
    check_lengths(references, hypotheses)
    check_references(references)
    found = [caption_words(text or "") for text in hypotheses]
    each = cider_of_words([[caption_words(text) for text in texts] for texts in references], found)
    return of_ratio(
        "cider",
        each,
        np.ones(len(each)),
        failures=count_failures(hypotheses),
        signature=f"cider-d|n:{ORDER}|sigma:{SIGMA:g}|tok:ptb-like|idf:references of the set|failed:empty",
        unit="points",
    )


def check_references(references: Sequence[Sequence[str]]) -> None:
    """ValueError for an example without a reference."""
    for row, texts in enumerate(references):
        if not texts:
            raise ValueError(f"example {row + 1} has no reference caption: give at least one")


def cider_of_words(
    references: Sequence[Sequence[Sequence[str]]], hypotheses: Sequence[Sequence[str]]
) -> np.ndarray:
    """CIDEr-D of each example, (n,), from captions that are words already.

    For n = 1 to 4 a caption is the vector of its n-grams' counts times log(examples / examples whose references have
    the n-gram). Two captions are compared by the cosine of their vectors, in which what the hypothesis has more of
    than the reference is cut (equation 7 of the paper), times exp(-difference of lengths ** 2 / (2 sigma ** 2)). The
    mean over n and over the references is multiplied by 10.
    """
    count = len(hypotheses)
    if not count:
        return np.zeros(0)
    owner = np.repeat(np.arange(count), [len(texts) for texts in references])  # (R,) example of a reference
    codes: dict[str, int] = {}
    texts = [*hypotheses, *(text for row in references for text in row)]
    words = [
        np.array([codes.setdefault(word, len(codes)) for word in text], dtype=np.int64) for text in texts
    ]
    # The widely used implementation measures a length in pairs of words: of no word and of one it is 0.
    lengths = np.array([max(len(text) - 1, 0) for text in texts], dtype=float)
    apart = lengths[owner] - lengths[count:]
    penalty = np.exp(-(apart**2) / (2 * SIGMA**2))
    similarity = np.zeros(len(owner))
    grams = words
    for order in range(1, ORDER + 1):
        if order > 1:
            grams = _longer(grams, words, order)
        counts = _counts(grams)
        similarity += _cosine(_weighted(counts, owner, count), owner, count) * penalty
    per_reference = similarity / ORDER
    sums = np.bincount(owner, weights=per_reference, minlength=count)
    return SCALE * sums / np.maximum(np.bincount(owner, minlength=count), 1)


def _longer(shorter: Sequence[np.ndarray], words: Sequence[np.ndarray], order: int) -> list[np.ndarray]:
    """Codes of the n-grams of `order`, given those one word shorter: each the pair of one of them and the next word.

    The codes of `order` are numbered anew, so that they never outgrow 64 bits.
    """
    size = max((int(text.max()) + 1 for text in words if len(text)), default=1)
    pairs = [
        gram[: max(len(text) - order + 1, 0)] * size + text[order - 1 :]
        for gram, text in zip(shorter, words, strict=True)
    ]
    _, codes = np.unique(_joined(pairs), return_inverse=True)
    return np.split(codes, np.cumsum([len(pair) for pair in pairs])[:-1])


def _joined(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def _counts(grams: Sequence[np.ndarray]) -> sparse.csr_array:
    """(captions, n-grams) how often each occurs."""
    columns = _joined(grams)
    rows = np.repeat(np.arange(len(grams)), [len(gram) for gram in grams])
    shape = (len(grams), int(columns.max()) + 1 if len(columns) else 1)
    return sparse.csr_array((np.ones(len(columns)), (rows, columns)), shape=shape)


def _weighted(counts: sparse.csr_array, owner: np.ndarray, examples: int) -> sparse.csr_array:
    """Counts times the logarithm of how rare an n-gram is among the references of the examples."""
    references = counts[examples:].tocoo()
    having = np.unique(np.stack([owner[references.coords[0]], references.coords[1]]), axis=1)
    documents = np.bincount(having[1], minlength=counts.shape[1])
    rarity = np.log(max(examples, 1)) - np.log(np.maximum(documents, 1))
    return (counts @ sparse.diags_array(rarity)).tocsr()


def _cosine(vectors: sparse.csr_array, owner: np.ndarray, examples: int) -> np.ndarray:
    """(R,) of each reference with the hypothesis of its example; 0 where either vector is."""
    found, wanted = vectors[:examples][owner], vectors[examples:]
    product = (found.minimum(wanted) * wanted).sum(axis=1)
    norms = np.sqrt((found * found).sum(axis=1)) * np.sqrt((wanted * wanted).sum(axis=1))
    return np.divide(product, norms, out=np.zeros(len(owner)), where=norms > 0)


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

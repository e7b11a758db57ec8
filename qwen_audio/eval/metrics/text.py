"""Metrics of text: error rate, accuracy, pitch accuracy. Those of word times are in `word_times.py`, and so on.

Every function takes the wanted answers and the outputs in the same order and returns a `Score`. An output
of None is an example that failed: it stays in the denominator, as all words deleted or as a wrong answer.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from qwen_audio.eval.metrics.normalize import CHARACTER_LANGUAGES, Normalizer, published_normalizer
from qwen_audio.eval.metrics.score import Score, check_lengths, count_failures, of_ratio


def error_rate(
    references: Sequence[str],
    hypotheses: Sequence[str | None],
    languages: Sequence[str | None] | str | None = "en",
    *,
    normalizer: Normalizer = published_normalizer,
    normalizer_name: str = "published",
    suffix: str = "",
) -> Score:
    """Corpus-level error rate: edits of all examples over reference tokens of all examples.

    Tokens are characters for zh, zh_tr and ja and words for every other language, so the score is named
    `cer`, `wer`, or `mer` (mixed) by what occurs, and `suffix`. An empty reference is allowed; each output word for
    it is an insertion.
    `details` has the three kinds of edit as shares of the reference length.
    """
    check_lengths(references, hypotheses)
    per_row = (
        [languages] * len(references) if languages is None or isinstance(languages, str) else list(languages)
    )
    check_lengths(references, per_row)
    lengths, edits = np.zeros(len(references)), np.zeros((len(references), 3))
    for row, (reference, hypothesis, language) in enumerate(
        zip(references, hypotheses, per_row, strict=True)
    ):
        wanted = _tokens(normalizer(reference, language), language)
        got = _tokens(normalizer(hypothesis, language), language) if hypothesis is not None else []
        lengths[row] = len(wanted)
        edits[row] = edit_counts(wanted, got)
    by_character = {language in CHARACTER_LANGUAGES for language in per_row}
    name = {(True,): "cer", (False, True): "mer"}.get(tuple(sorted(by_character)), "wer") + suffix
    shares = edits.sum(axis=0) / max(lengths.sum(), 1)
    return of_ratio(
        name,
        edits.sum(axis=1),
        lengths,
        failures=count_failures(hypotheses),
        signature=f"level:corpus|norm:{normalizer_name}|failed:deleted",
        higher_is_better=False,
        details=dict(zip(("substitutions", "deletions", "insertions"), shares.tolist(), strict=True))
        | {"tokens": float(lengths.sum())},
    )


def edit_counts(wanted: Sequence[str], got: Sequence[str]) -> tuple[int, int, int]:
    """Substitutions, deletions and insertions of a shortest way from `wanted` to `got`.

    rapidfuzz compares lists of words by their hashes, which are 64 bits long.
    """
    from rapidfuzz.distance import Levenshtein

    substitutions = deletions = 0
    edits = Levenshtein.editops(wanted, got)
    for edit in edits:
        substitutions += edit.tag == "replace"
        deletions += edit.tag == "delete"
    return substitutions, deletions, len(edits) - substitutions - deletions


def _tokens(text: str, language: str | None) -> list[str]:
    return [c for c in text if not c.isspace()] if language in CHARACTER_LANGUAGES else text.split()


def lenient_form(text: str) -> str:
    """Lower case, no punctuation, no leading article, white space collapsed: "A Dog." becomes "dog"."""
    kept = "".join(" " if c in string.punctuation else c for c in text.casefold())
    words = kept.split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in {"a", "an", "the"} else words)


def accuracy(references: Sequence[str], hypotheses: Sequence[str | None], *, lenient: bool = False) -> Score:
    """Share of outputs equal to the wanted answer.

    Strict is the published rule: equality to the character (outputs are stripped where they are decoded).
    Lenient compares `lenient_form`.
    """
    check_lengths(references, hypotheses)
    form = lenient_form if lenient else str
    hits = [
        float(hypothesis is not None and form(hypothesis) == form(reference))
        for reference, hypothesis in zip(references, hypotheses, strict=True)
    ]
    kind = "lenient" if lenient else "strict"
    name = "accuracy_lenient" if lenient else "accuracy"
    return share(name, hits, hypotheses, f"match:{kind}|failed:wrong")


def majority_baseline(references: Sequence[str]) -> float:
    """Accuracy of always giving the most frequent wanted answer of the same examples; nan for no example."""
    if not references:
        return float("nan")
    return Counter(reference.strip() for reference in references).most_common(1)[0][1] / len(references)


def pitch_majority_baseline(references: Sequence[int], *, tolerance: int = 1) -> float:
    """Pitch accuracy of the best constant answer; nan for no example."""
    if not references:
        return float("nan")
    hits = (sum(abs(r - guess) <= tolerance for r in references) for guess in range(128))
    return max(hits) / len(references)


def pitch_accuracy(
    references: Sequence[int], hypotheses: Sequence[int | None], *, tolerance: int = 1
) -> Score:
    """Share of MIDI pitches at most `tolerance` semitones off; None (no number in the output) is wrong.

    `details`: `exact`; `chroma` (same pitch class); `chroma_published`, which compares indices among the
    pitches that occur instead of MIDI numbers and is kept only to stand beside the published figure.
    """
    check_lengths(references, hypotheses)
    pairs = list(zip(references, hypotheses, strict=True))
    missing = (
        128  # one past the last MIDI note, the value the published scoring gives to an unreadable answer
    )
    filled = [missing if hypothesis is None else hypothesis for hypothesis in hypotheses]
    index = {pitch: i for i, pitch in enumerate(sorted({*references, *filled}))}
    count = max(len(pairs), 1)
    details = {
        "exact": sum(h == r for r, h in pairs) / count,
        "chroma": sum(h is not None and h % 12 == r % 12 for r, h in pairs) / count,
        "chroma_published": sum(
            index[h] % 12 == index[r] % 12 for r, h in zip(references, filled, strict=True)
        )
        / count,
    }
    hits = [float(h is not None and abs(h - r) <= tolerance) for r, h in pairs]
    return share(
        "pitch_accuracy", hits, hypotheses, f"tolerance:{tolerance}semitone|failed:wrong", details=details
    )


def share(
    name: str,
    hits: Sequence[float],
    hypotheses: Sequence[object],
    signature: str,
    *,
    details: dict[str, float] | None = None,
) -> Score:
    """The share of examples that are right: `hits`, 1 or 0 for each."""
    failures = count_failures(hypotheses)
    return of_ratio(name, hits, np.ones(len(hits)), failures=failures, signature=signature, details=details)

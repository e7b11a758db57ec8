"""Metrics of text: error rate, accuracy, pitch accuracy, BLEU. Those of word times are in `word_times.py`.

Every function takes the wanted answers and the outputs in the same order and returns a `Score`. An output
of None is an example that failed: it stays in the denominator, as all words deleted or as a wrong answer.
Normalisation follows the published evaluation unless another normaliser is given, and is named in the
signature of the score.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from qwen_audio.eval.score import (
    BOOTSTRAP_SEED,
    Score,
    bootstrap_interval,
    bootstrap_note,
    check_lengths,
    count_failures,
    ratio,
)

# Languages written without spaces: their error rate is counted in characters, as in the published evaluation.
CHARACTER_LANGUAGES = frozenset({"zh", "zh_tr", "ja"})

_TAG = re.compile(r"<\|.*?\|>")

Normalizer = Callable[[str, str | None], str]


def published_normalizer(text: str, language: str | None) -> str:
    """Text as the published scoring sees it: `strip_tags`, then lower case; punctuation stays."""
    return strip_tags(text, language).lower()


def strip_tags(text: str, language: str | None) -> str:
    """The published clean-up (`remove_sp` there): tags become spaces, white space is collapsed, a space
    before one of `!,.?;:` goes; in languages counted by character all white space goes."""
    text = re.sub(r"\s+", " ", _TAG.sub(" ", text))
    text = re.sub(r" ([!,.?;:])", r"\1", text).lstrip(" ")
    return re.sub(r"\s", "", text) if language in CHARACTER_LANGUAGES else text


def error_rate(
    references: Sequence[str],
    hypotheses: Sequence[str | None],
    languages: Sequence[str | None] | str | None = "en",
    *,
    normalizer: Normalizer = published_normalizer,
    normalizer_name: str = "published",
) -> Score:
    """Corpus-level error rate: edits of all examples over reference tokens of all examples.

    Tokens are characters for zh, zh_tr and ja and words for every other language, so the score is named
    `cer`, `wer`, or `mer` (mixed) by what occurs. An empty reference is allowed; each output word for it is
    an insertion.
    `details` has the three kinds of edit as shares of the reference length.
    """
    import jiwer

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
        if wanted and got:
            counts = jiwer.process_words(" ".join(wanted), " ".join(got))
            edits[row] = counts.substitutions, counts.deletions, counts.insertions
        else:
            edits[row] = 0, len(wanted), len(got)
    by_character = {language in CHARACTER_LANGUAGES for language in per_row}
    name = {(True,): "cer", (False, True): "mer"}.get(tuple(sorted(by_character)), "wer")
    shares = edits.sum(axis=0) / max(lengths.sum(), 1)
    return Score(
        metric=name,
        value=ratio(edits.sum(axis=1).tolist(), lengths.tolist()),
        n=len(references),
        failures=count_failures(hypotheses),
        signature=f"{name}|level:corpus|norm:{normalizer_name}|failed:deleted|{bootstrap_note()}",
        interval=bootstrap_interval(edits.sum(axis=1).tolist(), lengths.tolist()),
        higher_is_better=False,
        details=dict(zip(("substitutions", "deletions", "insertions"), shares.tolist(), strict=True))
        | {"tokens": float(lengths.sum())},
    )


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
    return _share(name, hits, hypotheses, f"{name}|match:{kind}|failed:wrong|{bootstrap_note()}")


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
    signature = f"pitch_accuracy|tolerance:{tolerance}semitone|failed:wrong|{bootstrap_note()}"
    return _share("pitch_accuracy", hits, hypotheses, signature, details)


def _share(
    name: str,
    hits: list[float],
    hypotheses: Sequence[object],
    signature: str,
    details: dict[str, float] | None = None,
) -> Score:
    ones = [1.0] * len(hits)
    interval = bootstrap_interval(hits, ones)
    return Score(
        name,
        ratio(hits, ones),
        len(hits),
        count_failures(hypotheses),
        signature,
        interval,
        details=details or {},
    )


def bleu(references: Sequence[str], hypotheses: Sequence[str | None], language: str | None) -> Score:
    """Corpus BLEU (0 to 100) of sacrebleu with its tokenizer for `language`: zh, ja-mecab, else 13a."""
    from sacrebleu.metrics import BLEU

    check_lengths(references, hypotheses)
    tokenize = {"zh": "zh", "zh_tr": "zh", "ja": "ja-mecab"}.get(language or "", "13a")
    metric = BLEU(tokenize=tokenize)
    texts = [hypothesis or "" for hypothesis in hypotheses]
    value = metric.corpus_score(texts, [list(references)]).score
    rng, samples = np.random.default_rng(BOOTSTRAP_SEED), []
    for _ in range(100):  # BLEU is no ratio of sums, so each round scores the corpus again
        draw = rng.integers(0, len(texts), size=len(texts))
        samples.append(metric.corpus_score([texts[i] for i in draw], [[references[i] for i in draw]]).score)
    low, high = np.percentile(samples, [2.5, 97.5])
    return Score(
        metric="bleu",
        value=value,
        n=len(texts),
        failures=count_failures(hypotheses),
        signature=f"{metric.get_signature()}|failed:empty|ci:bootstrap100.seed{BOOTSTRAP_SEED}",
        interval=(float(low), float(high)),
        unit="points",
    )

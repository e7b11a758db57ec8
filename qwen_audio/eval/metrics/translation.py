"""BLEU of sacrebleu, with the tokeniser that the published evaluation takes for each language."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qwen_audio.eval.metrics.missing import MeasureMissing
from qwen_audio.eval.metrics.score import Resampled, Score, check_lengths, count_failures, of_rows

_ORDER = 4


def tokenizer_of(language: str | None) -> str:
    """sacrebleu's name of the tokeniser: zh and ja-mecab for Chinese and Japanese, else 13a (Korean too)."""
    return {"zh": "zh", "zh_tr": "zh", "ja": "ja-mecab"}.get(language or "", "13a")


def bleu(references: Sequence[str], hypotheses: Sequence[str | None], language: str | None) -> Score:
    """Corpus BLEU, 0 to 100; a failed example is an empty translation.

    The value is that of sacrebleu's `corpus_score`. A round of the bootstrap adds up the counts of the sentences
    drawn, it does not tokenise them again.

    Raises MeasureMissing for Japanese without the package MeCab.
    """
    from sacrebleu.metrics import BLEU

    check_lengths(references, hypotheses)
    tokenize = tokenizer_of(language)
    try:
        metric = BLEU(tokenize=tokenize)
        # Sentence scores with `effective_order` are not used, only the counts in them, which are the same.
        counter = BLEU(tokenize=tokenize, effective_order=True)
    except (ImportError, RuntimeError) as error:
        raise MeasureMissing(
            f"BLEU of Japanese needs a package: pip install 'sacrebleu[ja]' ({error})"
        ) from None
    rows = np.zeros((len(references), 2 * _ORDER + 2))
    for row, (reference, hypothesis) in enumerate(zip(references, hypotheses, strict=True)):
        one = counter.sentence_score(hypothesis or "", [reference])
        rows[row] = *one.counts, *one.totals, one.sys_len, one.ref_len
    metric.corpus_score([""], [[""]])  # the signature is only known after a first score

    def of_counts(chosen: np.ndarray) -> float:
        total = chosen.sum(axis=0).astype(int).tolist()
        correct, counts = total[:_ORDER], total[_ORDER : 2 * _ORDER]
        return BLEU.compute_bleu(correct, counts, total[-2], total[-1], smooth_method="exp").score

    return of_rows(
        "bleu",
        Resampled(rows, of_counts),
        failures=count_failures(hypotheses),
        signature=f"{metric.get_signature()}|failed:empty",
        unit="points",
    )

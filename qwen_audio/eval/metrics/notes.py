"""Scores of note analyses (NSynth): the qualities of a note, a set of labels, by mean average precision."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from qwen_audio.eval.metrics.score import Resampled, Score, check_lengths, count_failures, of_rows

# The note qualities of NSynth (Engel et al. 2017); other words in an answer are not counted.
QUALITIES = (
    "bright", "dark", "distortion", "fast_decay", "long_release", "multiphonic", "nonlinear_env", "percussive",
    "reverb", "tempo-synced",
)  # fmt: skip


def qualities_map(
    references: Sequence[Collection[str]], hypotheses: Sequence[Collection[str] | None]
) -> Score:
    """Mean over labels of the average precision, of predictions that are 0 or 1, as in the published evaluation.

    The labels are those of `QUALITIES` that occur in any reference or output; a label that never ought to be
    predicted has 0. With predictions of 0 or 1 the precision-recall curve has two points, and the average precision is
    precision * recall + (1 - recall) * (share of examples with the label). A failed example predicts no label.
    """
    check_lengths(references, hypotheses)
    count = len(QUALITIES)
    rows = np.zeros((len(references), 2 * count))
    for row, (wanted, got) in enumerate(zip(references, hypotheses, strict=True)):
        rows[row, :count] = [name in wanted for name in QUALITIES]
        rows[row, count:] = [name in (got or ()) for name in QUALITIES]
    return of_rows(
        "note_qualities_map",
        Resampled(rows, _mean_precision),
        failures=count_failures(hypotheses),
        signature="note_qualities_map|average:macro|predictions:0,1|labels:occurring|failed:no label",
    )


def _mean_precision(rows: np.ndarray) -> float:
    """rows: (n, 2 * labels) of 0 and 1, wanted and predicted."""
    wanted, got = np.split(rows, 2, axis=1)
    right, positives, predicted = (wanted * got).sum(axis=0), wanted.sum(axis=0), got.sum(axis=0)
    occurs = (positives + predicted) > 0
    if not occurs.any():
        return float("nan")
    recall = right / np.maximum(positives, 1)
    precision = right / np.maximum(predicted, 1)
    average = precision * recall + (1 - recall) * positives / len(rows)
    return float(average[occurs].mean())

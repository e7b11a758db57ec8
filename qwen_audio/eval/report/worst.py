"""The examples of a benchmark that went worst, by the share of each in the main score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qwen_audio.eval.metrics.score import Score
from qwen_audio.eval.predictions import Prediction
from qwen_audio.eval.report.difference import differences

SHOWN = 5  # of each benchmark


def errors(score: Score, predictions: Sequence[Prediction]) -> np.ndarray:
    """(n,) how wrong each example is: 0 is right; nan for one without output.

    Of a score that is a ratio of sums, the example's own ratio (1 minus it where higher is better); an example with
    nothing to measure, such as word times of which no word was found, is worse than all others unless its answer is
    the wanted one. Of other scores, the share of words that differ.
    """
    wrong = np.array(
        [prediction.hypothesis != prediction.reference for prediction in predictions], dtype=float
    )
    if score.per_example is None:
        found = np.array([_share_that_differs(prediction) for prediction in predictions])
    else:
        top, bottom = (np.asarray(values, dtype=float) for values in score.per_example)
        measured = bottom > 0
        own = np.divide(top, bottom, out=np.zeros_like(top), where=measured)
        own = np.maximum(1.0 - own, 0.0) if score.higher_is_better else own
        beyond = 1.0 + own[measured].max(initial=0.0)
        found = np.where(measured, own, wrong * beyond)
    failed = np.array([prediction.hypothesis is None for prediction in predictions], dtype=bool)
    return np.where(failed, np.nan, found)


def worst(score: Score, predictions: Sequence[Prediction], count: int = SHOWN) -> list[int]:
    """Rows of the worst examples that have an output and an error, the worst first; equally bad ones in order."""
    found = errors(score, predictions)
    rows = [row for row in range(len(found)) if found[row] > 0]  # not those that are nan
    return sorted(rows, key=lambda row: (-found[row], row))[:count]


def _share_that_differs(prediction: Prediction) -> float:
    wanted, answer = differences(
        prediction.reference, prediction.hypothesis or "", prediction.example.language
    )
    sizes = [len(piece.text.split()) or 1 for piece in (*wanted, *answer)]
    changed = sum(size for size, piece in zip(sizes, (*wanted, *answer), strict=True) if not piece.same)
    return changed / max(sum(sizes), 1)

"""What was taken for what: the confusion matrix of a benchmark whose answers are classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qwen_audio.eval.predictions import Prediction
from qwen_audio.format import tasks

MAX_CLASSES = 30
OTHER, NO_ANSWER = "other", "no answer"
_ALWAYS = ("label", "keyword", "intent", "pitch")


@dataclass(frozen=True)
class Confusion:
    """counts (rows, columns): wanted classes by answers. Rare classes are together in the last row, `OTHER`.

    The columns are those of `rows`, then `OTHER` if no row is (an answer that is no class of the test), then
    `NO_ANSWER`: no output, or an empty one.
    """

    rows: list[str]
    columns: list[str]
    counts: np.ndarray

    def mistakes(self, most: int = 5) -> list[tuple[str, str, int]]:
        """(wanted, answered, how often) of the commonest mistakes, `OTHER` left out."""
        found = [
            (row, column, int(self.counts[i, j]))
            for i, row in enumerate(self.rows)
            for j, column in enumerate(self.columns)
            if row != column and self.counts[i, j] and OTHER not in (row, column)
        ]
        return sorted(found, key=lambda item: (-item[2], item[0], item[1]))[:most]


def confusion(task: str, predictions: Sequence[Prediction]) -> Confusion | None:
    """The matrix; None for a task whose answers are no classes, or where nothing can be confused.

    Free answers count as classes where there are few of them: at most `MAX_CLASSES`, and two examples for each.
    """
    body = tasks.task_of(task).body
    wanted = [prediction.reference for prediction in predictions]
    numbers = Counter(wanted)
    few = len(numbers) <= MAX_CLASSES and len(wanted) >= 2 * len(numbers)
    if len(numbers) < 2 or (body not in _ALWAYS and not (body == "answer" and few)):
        return None
    kept = {
        name
        for name, _ in numbers.most_common(MAX_CLASSES if len(numbers) <= MAX_CLASSES else MAX_CLASSES - 1)
    }
    classes = sorted(kept, key=lambda name: (0, int(name), "") if name.isdecimal() else (1, 0, name))
    rows = classes if len(kept) == len(numbers) else [*classes, OTHER]
    columns = [*classes, OTHER, NO_ANSWER]
    counts = np.zeros((len(rows), len(columns)), dtype=np.int64)
    for reference, prediction in zip(wanted, predictions, strict=True):
        answer = prediction.hypothesis
        column = len(classes) + 1 if not answer else classes.index(answer) if answer in kept else len(classes)
        counts[classes.index(reference) if reference in kept else len(classes), column] += 1
    return Confusion(rows, columns, counts)

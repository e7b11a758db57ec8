"""Scores of spans and of lists: F-scores of events and entities, and the diarisation error rate.

An output of None is an example that failed: nothing of it was found. In all of them sums over examples are divided
by sums over examples.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from qwen_audio.eval.metrics.score import Score, check_lengths, count_failures, of_ratio, ratio
from qwen_audio.format import tags
from qwen_audio.format.timestamps import Span

COLLAR = (
    0.2  # seconds by which start and end of an event may be off; the end of a long event by a fifth of it
)
SEGMENT = 1.0  # seconds


def event_f1(references: Sequence[Sequence[Span]], hypotheses: Sequence[Sequence[Span] | None]) -> Score:
    """F-score of events: the label must be right, and start and end within the collar.

    Each wanted event is matched with at most one found event; of all ways to match, the one with most matches.
    """
    return _f_score(
        "event_f1", f"collar:{COLLAR}s,end:20%", references, hypotheses, lambda a, b: int(_same(a, b).sum())
    )


def segment_f1(references: Sequence[Sequence[Span]], hypotheses: Sequence[Sequence[Span] | None]) -> Score:
    """F-score of events in segments of one second: which labels are heard in which second.

    A second that an event touches is its own; micro-averaged over seconds, labels and examples (Mesaros et al. 2016,
    "Metrics for polyphonic sound event detection"). `details`: precision, recall, and the error rate of the same
    paper, in which a label missing and another one too many in one second are one substitution.
    """
    score = _f_score(
        "segment_f1",
        f"segment:{SEGMENT:g}s",
        [_seconds(spans) for spans in references],
        [None if spans is None else _seconds(spans) for spans in hypotheses],
        lambda a, b: len({*a} & {*b}),
    )
    errors = wanted = 0
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        a, b = {*_seconds(reference)}, {*_seconds(hypothesis or [])}
        missed, extra = Counter(second for second, _ in a - b), Counter(second for second, _ in b - a)
        errors += sum(max(missed[second], extra[second]) for second in {*missed, *extra})
        wanted += len(a)
    score.details["error_rate"] = errors / wanted if wanted else float("nan")
    return score


def _seconds(spans: Sequence[Span]) -> list[tuple[int, str]]:
    """(segment, label) of every segment that a span touches."""
    touched = {
        (segment, span.label)
        for span in spans
        # times lie on a grid of 10 ms: what ends at 2.00 does not touch the third second
        for segment in range(
            math.floor(span.start / SEGMENT + 1e-6), math.ceil(max(span.end, span.start) / SEGMENT - 1e-6)
        )
    }
    return sorted(touched)


def entity_f1(
    references: Sequence[Sequence[Hashable]],
    hypotheses: Sequence[Sequence[Hashable] | None],
    *,
    name: str = "entity_f1",
) -> Score:
    """F-score of lists whose items are right or wrong, such as (type, value), whatever their order."""
    return _f_score(
        name, "match:exact", references, hypotheses, lambda a, b: (Counter(a) & Counter(b)).total()
    )


def _same(wanted: Sequence[Span], found: Sequence[Span]) -> np.ndarray:
    """Whether each pair of the best matching is one event, (pairs,) bool."""
    near = np.zeros((len(wanted), len(found)))
    for row, a in enumerate(wanted):
        late = max(COLLAR, 0.2 * (a.end - a.start)) + 1e-6  # times on a grid must not fall off by rounding
        for column, b in enumerate(found):
            near[row, column] = (
                a.label == b.label and abs(a.start - b.start) <= COLLAR + 1e-6 and abs(a.end - b.end) <= late
            )
    return near[linear_sum_assignment(near, maximize=True)] > 0


def _f_score(
    name: str,
    rule: str,
    references: Sequence[Sequence],
    hypotheses: Sequence[Sequence | None],
    matches: Callable[[Sequence, Sequence], int],
) -> Score:
    check_lengths(references, hypotheses)
    found = [hypothesis or [] for hypothesis in hypotheses]
    hits = [matches(a, b) for a, b in zip(references, found, strict=True)]
    doubled = [2.0 * hit for hit in hits]
    sizes = [float(len(a) + len(b)) for a, b in zip(references, found, strict=True)]
    return of_ratio(
        name,
        doubled,
        sizes,
        failures=count_failures(hypotheses),
        signature=f"{rule}|average:micro|failed:nothing found",
        details={
            "precision": ratio(hits, [len(b) for b in found]),
            "recall": ratio(hits, [len(a) for a in references]),
        },
    )


def diarization_error(
    references: Sequence[Sequence[Span]], hypotheses: Sequence[Sequence[Span] | None]
) -> Score:
    """Diarisation error rate: time missed, falsely given or given to the wrong speaker, over time of speech.

    Counted in steps of 10 ms, speakers who talk at once each counted, without a collar. The names of the found
    speakers do not matter: of all ways to assign them to the wanted ones, the best counts.
    """
    check_lengths(references, hypotheses)
    errors, lengths = [], []
    for wanted, found in zip(references, hypotheses, strict=True):
        a, b = _activity(wanted), _activity(found or [])
        together = a.astype(int) @ b.T.astype(int)  # (wanted speakers, found speakers) steps
        rows, columns = linear_sum_assignment(together, maximize=True)
        right = (a[rows] & b[columns]).sum(axis=0)
        errors.append(float((np.maximum(a.sum(axis=0), b.sum(axis=0)) - right).sum()))
        lengths.append(float(a.sum()))
    return of_ratio(
        "der",
        errors,
        lengths,
        failures=count_failures(hypotheses),
        signature="collar:0|overlap:counted|step:10ms|failed:missed",
        higher_is_better=False,
        details={"speech_seconds": sum(lengths) / tags.TICKS_PER_SECOND},
    )


def _activity(spans: Sequence[Span]) -> np.ndarray:
    """(speakers, steps of 10 ms) bool: who speaks when."""
    rows = {label: row for row, label in enumerate(dict.fromkeys(span.label for span in spans))}
    active = np.zeros((len(rows), tags.MAX_TICK), dtype=bool)
    for span in spans:
        active[rows[span.label], tags.to_tick(span.start) : tags.to_tick(span.end)] = True
    return active

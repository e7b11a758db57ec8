"""Scores of spans, against values worked out by hand, and of every task as a group."""

from __future__ import annotations

import math

import pytest
from example_rows import EXAMPLES, answer_of

from qwen_audio.eval.benchmarks import of_rows
from qwen_audio.eval.groups import score_benchmark
from qwen_audio.eval.metrics.spans import diarization_error, entity_f1, event_f1
from qwen_audio.eval.predictions import Prediction
from qwen_audio.format.task_table import TASKS
from qwen_audio.format.tasks import parse
from qwen_audio.format.timestamps import Span

DOG, CAT = Span("dog", 1.0, 2.0), Span("cat", 1.5, 3.5)


def test_events_must_have_label_start_and_end_right() -> None:
    assert event_f1([[DOG, CAT]], [[DOG, CAT]]).value == 1
    for found, hits in (
        (Span("dog", 1.2, 1.8), 1),  # on the edge of the collar
        (Span("dog", 1.21, 2.0), 0),
        (Span("dog", 1.0, 2.21), 0),
        (Span("cat", 1.0, 2.0), 0),
        (Span("cat", 1.5, 3.9), 1),  # a fifth of two seconds
        (Span("cat", 1.5, 3.91), 0),
    ):
        score = event_f1([[DOG, CAT]], [[found]])
        assert score.value == pytest.approx(2 * hits / 3)
        assert score.details == pytest.approx({"precision": hits, "recall": hits / 2})


def test_one_event_is_not_found_twice() -> None:
    close = [Span("dog", 1.0, 2.0), Span("dog", 1.1, 2.1)]
    assert event_f1([[DOG]], [close]).value == pytest.approx(2 / 3)
    # The first found event fits both wanted ones, the second only the first: both are matched.
    wanted = [Span("dog", 1.0, 2.0), Span("dog", 1.3, 2.3)]
    found = [Span("dog", 1.15, 2.15), Span("dog", 0.85, 1.85)]
    assert event_f1([wanted], [found]).value == 1


def test_nothing_wanted_and_nothing_found_is_no_error() -> None:
    assert event_f1([[], [DOG]], [[], [DOG]]).value == 1
    assert math.isnan(event_f1([[]], [[]]).value)
    failed = event_f1([[DOG], [DOG]], [None, [DOG]])
    assert failed.failures == 1 and failed.value == pytest.approx(2 / 3)


def test_entities_are_counted() -> None:
    rome = ("place", "Rome")
    assert entity_f1([[rome, rome]], [[rome]]).value == pytest.approx(2 / 3)
    assert entity_f1([[rome]], [[("person", "Rome")]]).value == 0


def test_diarization_error_by_hand() -> None:
    wanted = [Span("speaker 1", 0, 2), Span("speaker 2", 1, 3)]
    swapped = [Span("speaker 2", 0, 2), Span("speaker 1", 1, 3)]
    assert diarization_error([wanted], [wanted]).value == 0
    assert diarization_error([wanted], [swapped]).value == 0  # names do not matter
    assert diarization_error([wanted], [None]).value == 1
    one = [Span("speaker 1", 0, 3)]  # the best: speaker 1 is wanted 1 or 2, 2 s right; 2 s of 4 are wrong
    assert diarization_error([wanted], [one]).value == pytest.approx(0.5)
    more = [*wanted, Span("speaker 3", 4, 5)]  # one second that nobody speaks
    assert diarization_error([wanted], [more]).value == pytest.approx(0.25)
    assert diarization_error([wanted], [more]).details == {"speech_seconds": 4.0}


@pytest.mark.parametrize("slug", TASKS)
def test_right_wrong_and_failed_answers_of_every_task(slug: str) -> None:
    item = EXAMPLES[slug]
    right = Prediction(item, parsed=parse(slug, answer_of(item)))
    wrong = Prediction(item, parsed=parse(slug, "<|0.00|>zzz<|0.01|>"))
    failed = Prediction(item, error="cannot be read")
    best = score_benchmark(of_rows("s", slug), [right]).scores
    mixed = score_benchmark(of_rows("s", slug), [right, wrong, failed]).scores
    for score, other in zip(best, mixed, strict=True):
        # One caption alone has no rare words; a label that every example has keeps its average precision of 1.
        if score.metric in ("cider", "note_qualities_map"):
            continue
        assert score.value == pytest.approx(
            {"seconds": 0.0, "points": 100.0}.get(score.unit, float(score.higher_is_better))
        )
        unread = score.metric == "pitch_accuracy"  # an answer without a number is counted as none
        assert other.failures == 1 + unread and other.n == 3
        if score.unit != "seconds":
            assert other.value < score.value if score.higher_is_better else other.value > score.value
    assert right.to_dict()["hypothesis"] == right.reference or slug in ("asr", "word_timestamps")
    assert failed.to_dict()["hypothesis"] is None

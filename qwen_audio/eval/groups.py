"""Which metrics a task gets, and the scores of one group of predictions: one source, one task.

The first score of a group is the main one. Transcripts: error rate, and the share of exact transcripts. Word
times: shift of the times (both conventions) and error rate. Translations and captions: BLEU and exact
matches; for captions that is no substitute for CIDEr and says little unless they are templates. Pitches:
within a semitone. Overlapping transcripts: error rate of all of them in order of start. Turns of speakers:
diarisation error rate; events and entities: F-score; and for all three the share of examples that are right as a
whole. Everything else: accuracy, strict and lenient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qwen_audio import tasks
from qwen_audio.answers.speech import BETWEEN_TRANSCRIPTS
from qwen_audio.eval import metrics, spans
from qwen_audio.eval.predictions import COMPOUND, Prediction
from qwen_audio.eval.score import Score
from qwen_audio.eval.word_times import TimedToken, alignment_shift
from qwen_audio.tasks import Parsed
from qwen_audio.text import spoken_form
from qwen_audio.timestamps import Word


@dataclass(frozen=True)
class Group:
    """Scores of one source and task; `baselines`: metric -> value of always giving the commonest answer."""

    source: str
    task: str
    scores: list[Score]
    baselines: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for scores.json."""
        return {
            "source": self.source,
            "task": self.task,
            "n": self.scores[0].n,
            "failures": self.scores[0].failures,
            "scores": [score.to_dict() for score in self.scores],
            "majority_baseline": self.baselines,
        }


def score_group(source: str, task: str, predictions: Sequence[Prediction]) -> Group:
    """Scores of predictions of one task, in the order named in the module's description."""
    row = tasks.task_of(task)
    wanted = [prediction.reference for prediction in predictions]
    got = [prediction.hypothesis for prediction in predictions]
    baselines: dict[str, float] = {}
    if row.body in ("transcript", "words", "overlap", "dialect"):
        languages = [prediction.example.language for prediction in predictions]
        scores = [metrics.error_rate(wanted, got, languages, normalizer=_spoken, normalizer_name="spoken")]
        if row.body == "words":
            scores = [*_shifts(predictions), *scores]
        else:
            spoken = [spoken_form(text) for text in wanted]
            outputs = [None if text is None else spoken_form(text) for text in got]
            scores.append(metrics.accuracy(spoken, outputs))
            baselines["accuracy"] = metrics.majority_baseline(spoken)
            if row.body == "dialect":
                scores.append(_dialects(predictions))
        return Group(source, task, scores, baselines)
    baselines["accuracy"] = metrics.majority_baseline(wanted)
    if row.body == "text":
        target = predictions[0].example.target_language or "en"
        return Group(
            source, task, [metrics.bleu(wanted, got, target), metrics.accuracy(wanted, got)], baselines
        )
    if row.body in COMPOUND:
        return Group(
            source, task, [_of_parts(row.body, predictions), metrics.accuracy(wanted, got)], baselines
        )
    scores = [metrics.accuracy(wanted, got), metrics.accuracy(wanted, got, lenient=True)]
    if row.body == "pitch":
        pitches = [int(text) for text in wanted]
        scores = [metrics.pitch_accuracy(pitches, [_number(text) for text in got]), scores[0]]
        baselines["pitch_accuracy"] = metrics.pitch_majority_baseline(pitches)
    elif row.body == "intent":
        scores.append(_intent_with_slots(predictions))
    return Group(source, task, scores, baselines)


def _of_parts(body: str, predictions: Sequence[Prediction]) -> Score:
    wanted = [prediction.truth for prediction in predictions]
    got = [prediction.parsed for prediction in predictions]
    if body == "entities":
        return spans.entity_f1(
            [_pairs(one) for one in wanted], [None if one is None else _pairs(one) for one in got]
        )
    measure = spans.diarization_error if body == "turns" else spans.event_f1
    return measure([one.spans for one in wanted], [None if one is None else one.spans for one in got])


def _pairs(parsed: Parsed) -> list[tuple[str, str]]:
    return [(entity["type"], entity["value"]) for entity in parsed.fields["entities"]]


def _dialects(predictions: Sequence[Prediction]) -> Score:
    """Share of examples whose dialect is right."""
    wanted = [prediction.truth.fields["dialect"] for prediction in predictions]
    got = [None if p.parsed is None else p.parsed.fields.get("dialect", "") for p in predictions]
    return Score(**{**vars(metrics.accuracy(wanted, got)), "metric": "accuracy_dialect"})


def _spoken(text: str, language: str | None) -> str:
    return spoken_form(text.replace(BETWEEN_TRANSCRIPTS, " "))


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _shifts(predictions: Sequence[Prediction]) -> list[Score]:
    wanted = [_tokens(prediction.example.words or []) for prediction in predictions]
    got = [
        None if prediction.parsed is None else _tokens(prediction.parsed.words) for prediction in predictions
    ]
    return [alignment_shift(wanted, got, per_timestamp=stamp) for stamp in (True, False)]


def _tokens(words: Sequence[Word]) -> list[TimedToken]:
    """Words compared in their spoken form; silences are not compared."""
    return [TimedToken(spoken_form(word.word) or word.word, word.start, word.end) for word in words]


def _intent_with_slots(predictions: Sequence[Prediction]) -> Score:
    """Share of examples whose intent and all slots are right."""
    wanted = [_record(p.truth) for p in predictions]
    got = [None if p.parsed is None else _record(p.parsed) for p in predictions]
    score = metrics.accuracy(wanted, got)
    return Score(**{**vars(score), "metric": "accuracy_intent_and_slots"})


def _record(parsed: Parsed) -> str:
    slots = parsed.fields.get("slots", {})
    return repr((parsed.label, sorted((name, str(value)) for name, value in slots.items())))

"""Functions from predictions of one task to a score, of which `measures.MEASURES` gives each its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qwen_audio.eval.metrics import normalize, translation, verification
from qwen_audio.eval.metrics import text as metrics
from qwen_audio.eval.metrics.missing import MeasureMissing
from qwen_audio.eval.metrics.score import Score, count_failures, of_ratio
from qwen_audio.eval.metrics.word_times import TimedToken, alignment_shift
from qwen_audio.eval.predictions import Prediction
from qwen_audio.format import tasks
from qwen_audio.format.tasks import Parsed
from qwen_audio.format.text import spoken_form
from qwen_audio.format.timestamps import Word

Predictions = Sequence[Prediction]
Scorer = Callable[[Predictions], Score]

TRANSCRIPTS = ("transcript", "words", "overlap", "dialect")


def body_of(predictions: Predictions) -> str:
    """The kind of answer (key of `answers.BODIES`) of predictions of one task."""
    return tasks.task_of(predictions[0].example.task).body


def answers_of(predictions: Predictions) -> tuple[list[str], list[str | None]]:
    """Wanted and given answers as they are compared: transcripts in their spoken form, all else as it is."""
    wanted, got = [p.reference for p in predictions], [p.hypothesis for p in predictions]
    if body_of(predictions) not in TRANSCRIPTS:
        return wanted, got
    return [spoken_form(text) for text in wanted], [
        None if text is None else spoken_form(text) for text in got
    ]


def binary(predictions: Predictions) -> list[bool]:
    """Which examples have yes or no as the wanted answer, whatever the case."""
    return [prediction.reference.lower() in ("yes", "no") for prediction in predictions]


def pitches_of(predictions: Predictions) -> tuple[list[int], list[int | None]]:
    """Wanted and given MIDI pitches; None where no pitch could be read."""
    got = [None if p.parsed is None else p.parsed.fields.get("pitch") for p in predictions]
    return [p.truth.fields["pitch"] for p in predictions], got


# error rates ---------------------------------------------------------------------------------------------


def error_rate(normalizer: normalize.Normalizer, name: str, suffix: str = "") -> Scorer:
    """Error rate after the normaliser `name`; `suffix` ends the name of the metric."""

    def score(predictions: Predictions) -> Score:
        return metrics.error_rate(
            [p.reference for p in predictions],
            [p.hypothesis for p in predictions],
            [p.example.language for p in predictions],
            normalizer=normalizer,
            normalizer_name=name,
            suffix=suffix,
        )

    return score


# accuracies ----------------------------------------------------------------------------------------------


def accuracy(lenient: bool = False) -> Scorer:
    """Share of answers that are the wanted one."""
    return lambda predictions: metrics.accuracy(*answers_of(predictions), lenient=lenient)


def exact(predictions: Predictions) -> Score:
    """Share of answers that are right to the character; transcripts in their spoken form."""
    form = "spoken" if body_of(predictions) in TRANSCRIPTS else "none"
    wanted, got = answers_of(predictions)
    hits = [float(a == b) for a, b in zip(wanted, got, strict=True)]
    return metrics.share("exact", hits, got, f"norm:{form}|failed:wrong")


def accuracy_binary(predictions: Predictions) -> Score:
    """The published rule: strict equality, on the examples whose answer is yes or no."""
    chosen = np.array(binary(predictions))
    if not chosen.any():
        raise MeasureMissing("accuracy_binary: no example has yes or no as its answer")
    hits = [float(p.hypothesis == p.reference) for p in predictions]
    return of_ratio(
        "accuracy_binary",
        np.array(hits) * chosen,
        chosen,
        n=int(chosen.sum()),
        failures=sum(p.parsed is None for p, one in zip(predictions, chosen, strict=True) if one),
        signature="match:strict|answers:yes,no|failed:wrong",
    )


def field(metric: str, name: str) -> Scorer:
    """Share of examples in which one field of the answer is right."""

    def score(predictions: Predictions) -> Score:
        got = [None if p.parsed is None else p.parsed.fields.get(name, "") for p in predictions]
        hits = [float(a.truth.fields.get(name) == b) for a, b in zip(predictions, got, strict=True)]
        return metrics.share(metric, hits, got, "match:strict|failed:wrong")

    return score


def intent_and_slots(predictions: Predictions) -> Score:
    """Share of examples whose intent and all slots are right."""
    wanted, got = _parts(_record, predictions)
    hits = [float(a == b) for a, b in zip(wanted, got, strict=True)]
    return metrics.share("accuracy_intent_and_slots", hits, got, "match:strict|failed:wrong")


def _record(parsed: Parsed) -> str:
    return repr((parsed.label, sorted(slots(parsed))))


def slots(parsed: Parsed) -> list[tuple[str, str]]:
    """Name and value of each slot."""
    return [(name, str(value)) for name, value in parsed.fields.get("slots", {}).items()]


# texts ---------------------------------------------------------------------------------------------------


def bleu(predictions: Predictions) -> Score:
    """BLEU with the tokeniser of the target language of the first example."""
    target = predictions[0].example.target_language or "en"
    return translation.bleu([p.reference for p in predictions], [p.hypothesis for p in predictions], target)


def references_of(prediction: Prediction) -> list[str]:
    """The captions that an example may have: `meta.references`, else its text.

    ValueError for `references` that are no list of texts.
    """
    references = prediction.example.meta.get("references")
    if references is None:
        return [prediction.reference]
    if (
        not isinstance(references, list)
        or not references
        or not all(isinstance(one, str) for one in references)
    ):
        raise ValueError(
            f"example {prediction.example.id!r}: meta.references is {references!r}: give a list of captions, the "
            "one in `text` first"
        )
    return references


def caption(score: Callable[[Sequence[Sequence[str]], Sequence[str | None]], Score]) -> Scorer:
    """A score of captions against all captions that each example may have."""
    return lambda predictions: score(
        [references_of(p) for p in predictions], [p.hypothesis for p in predictions]
    )


def fense(references: Sequence[Sequence[str]], hypotheses: Sequence[str | None]) -> Score:
    """FENSE of captions."""
    from qwen_audio.eval.metrics.fense import fense as score  # late: it needs torch, no other measure does

    return score(references, hypotheses)


# notes ---------------------------------------------------------------------------------------------------


def note_pitch(predictions: Predictions) -> Score:
    """Share of notes whose MIDI pitch is right."""
    score = metrics.pitch_accuracy(*pitches_of(predictions), tolerance=0)
    return replace(
        score, metric="note_pitch", signature=score.signature.replace("pitch_accuracy", "note_pitch", 1)
    )


def pitch(predictions: Predictions) -> Score:
    """Share of MIDI pitches within a semitone."""
    return metrics.pitch_accuracy(*pitches_of(predictions))


# times and lists -----------------------------------------------------------------------------------------


def shift(per_timestamp: bool) -> Scorer:
    """Shift of word times, per time stamp or per word."""

    def score(predictions: Predictions) -> Score:
        wanted = [_tokens(p.example.words or []) for p in predictions]
        got = [None if p.parsed is None else _tokens(p.parsed.words) for p in predictions]
        return alignment_shift(wanted, got, per_timestamp=per_timestamp)

    return score


def _tokens(words: Sequence[Word]) -> list[TimedToken]:
    """Words compared in their spoken form; silences are not compared."""
    return [TimedToken(spoken_form(word.word) or word.word, word.start, word.end) for word in words]


def parts(of: Callable[[Parsed], Any], score: Callable[[list, list], Score]) -> Scorer:
    """A score of what `of` takes from the wanted answer and from the given one (None where there is none)."""
    return lambda predictions: score(*_parts(of, predictions))


def _parts(of: Callable[[Parsed], Any], predictions: Predictions) -> tuple[list, list]:
    return [of(p.truth) for p in predictions], [
        None if p.parsed is None else of(p.parsed) for p in predictions
    ]


def entities(parsed: Parsed) -> list[tuple[str, str]]:
    """Type and value of each entity."""
    return [(entity["type"], entity["value"]) for entity in parsed.fields["entities"]]


def eer(predictions: Predictions) -> Score:
    """Equal error rate of how much the system believes in yes over no."""
    strange = [p for p, one in zip(predictions, binary(predictions), strict=True) if not one]
    if strange:
        raise MeasureMissing(
            f"eer: the answer of {strange[0].example.id!r} is {strange[0].reference!r}, neither yes nor no"
        )
    beliefs = [
        p.scores["yes"] - p.scores["no"] if p.scores and {"yes", "no"} <= p.scores.keys() else None
        for p in predictions
    ]
    if count_failures(beliefs) == len(beliefs):
        raise MeasureMissing("eer: the system does not say how much it believes in yes and in no")
    return verification.equal_error_rate([p.reference.lower() == "yes" for p in predictions], beliefs)


# what always giving the commonest answer scores ----------------------------------------------------------


def commonest(predictions: Predictions) -> float:
    """Accuracy of the commonest answer."""
    return metrics.majority_baseline(answers_of(predictions)[0])


def commonest_binary(predictions: Predictions) -> float:
    """Accuracy of the commonest answer of the examples whose answer is yes or no."""
    pairs = zip(predictions, binary(predictions), strict=True)
    return metrics.majority_baseline([p.reference for p, chosen in pairs if chosen])


def commonest_field(name: str) -> Callable[[Predictions], float]:
    """Accuracy of the commonest value of a field."""
    return lambda predictions: metrics.majority_baseline(
        [str(p.truth.fields.get(name, "")) for p in predictions]
    )


def commonest_pitch(tolerance: int) -> Callable[[Predictions], float]:
    """Accuracy of the best constant pitch."""
    return lambda predictions: metrics.pitch_majority_baseline(
        pitches_of(predictions)[0], tolerance=tolerance
    )

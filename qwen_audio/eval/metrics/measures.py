"""The measures by name: what a benchmark may ask for, each a function of predictions.

    from qwen_audio.eval.metrics.measures import measure
    scores = measure(["wer", "wer_whisper"], predictions)

docs/metrics.md says of each what it is and where it comes from. A measure that cannot be had here (a program, a model
or a package is absent) is left out with the reason, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, MutableMapping, Sequence
from dataclasses import replace

import numpy as np

from qwen_audio.eval.metrics import captions, normalize, notes, spans, spice, translation, verification
from qwen_audio.eval.metrics import text as metrics
from qwen_audio.eval.metrics.missing import MeasureMissing
from qwen_audio.eval.metrics.score import Score, count_failures, of_ratio
from qwen_audio.eval.metrics.word_times import TimedToken, alignment_shift
from qwen_audio.eval.predictions import Prediction
from qwen_audio.format import tasks
from qwen_audio.format.example import close_names
from qwen_audio.format.tasks import Parsed
from qwen_audio.format.text import spoken_form
from qwen_audio.format.timestamps import Span, Word

Predictions = Sequence[Prediction]
Measure = Callable[[Predictions], Score]

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


def _error_rate(normalizer: normalize.Normalizer, name: str, suffix: str) -> Measure:
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


def _accuracy(predictions: Predictions) -> Score:
    return metrics.accuracy(*answers_of(predictions))


def _lenient(predictions: Predictions) -> Score:
    return metrics.accuracy(*answers_of(predictions), lenient=True)


def _exact(predictions: Predictions) -> Score:
    form = "spoken" if body_of(predictions) in TRANSCRIPTS else "none"
    wanted, got = answers_of(predictions)
    hits = [float(a == b) for a, b in zip(wanted, got, strict=True)]
    return metrics.share("exact", hits, got, f"norm:{form}|failed:wrong")


def _binary(predictions: Predictions) -> Score:
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


def _dialects(predictions: Predictions) -> Score:
    """Share of examples whose dialect is right."""
    _want(predictions, "accuracy_dialect", "dialect")
    return _same_field("accuracy_dialect", "dialect", predictions)


def _same_field(metric: str, field: str, predictions: Predictions) -> Score:
    got = [None if p.parsed is None else p.parsed.fields.get(field, "") for p in predictions]
    hits = [float(a.truth.fields.get(field) == b) for a, b in zip(predictions, got, strict=True)]
    return metrics.share(metric, hits, got, "match:strict|failed:wrong")


def _intent_and_slots(predictions: Predictions) -> Score:
    """Share of examples whose intent and all slots are right."""
    _want(predictions, "intent_and_slots", "intent")
    wanted = [_record(p.truth) for p in predictions]
    got = [None if p.parsed is None else _record(p.parsed) for p in predictions]
    hits = [float(a == b) for a, b in zip(wanted, got, strict=True)]
    return metrics.share("accuracy_intent_and_slots", hits, got, "match:strict|failed:wrong")


def _record(parsed: Parsed) -> str:
    return repr((parsed.label, sorted(_slots(parsed))))


def _slots(parsed: Parsed) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in parsed.fields.get("slots", {}).items()]


# texts ---------------------------------------------------------------------------------------------------


def _bleu(predictions: Predictions) -> Score:
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


def _caption(score: Callable[[Sequence[Sequence[str]], Sequence[str | None]], Score]) -> Measure:
    return lambda predictions: score(
        [references_of(p) for p in predictions], [p.hypothesis for p in predictions]
    )


def _spice(references: Sequence[Sequence[str]], hypotheses: Sequence[str | None]) -> Score:
    return spice.spice(references, hypotheses)


def _spider(references: Sequence[Sequence[str]], hypotheses: Sequence[str | None]) -> Score:
    return spice.spider(references, hypotheses)


def _fense(references: Sequence[Sequence[str]], hypotheses: Sequence[str | None]) -> Score:
    from qwen_audio.eval.metrics.fense import fense  # late: it needs torch, no other measure does

    return fense(references, hypotheses)


# notes ---------------------------------------------------------------------------------------------------


def _note(name: str, field: str) -> Measure:
    def score(predictions: Predictions) -> Score:
        _want(predictions, name, "note")
        return _same_field(name, field, predictions)

    return score


def _note_pitch(predictions: Predictions) -> Score:
    _want(predictions, "note_pitch", "note", "pitch")
    score = metrics.pitch_accuracy(*pitches_of(predictions), tolerance=0)
    return replace(
        score, metric="note_pitch", signature=score.signature.replace("pitch_accuracy", "note_pitch", 1)
    )


def _pitch(predictions: Predictions) -> Score:
    _want(predictions, "pitch_accuracy", "note", "pitch")
    return metrics.pitch_accuracy(*pitches_of(predictions))


def _qualities(predictions: Predictions) -> Score:
    _want(predictions, "note_qualities_map", "note")
    got = [None if p.parsed is None else p.parsed.fields.get("sonic", []) for p in predictions]
    return notes.qualities_map([p.truth.fields.get("sonic", []) for p in predictions], got)


# times and lists -----------------------------------------------------------------------------------------


def _shift(name: str, per_timestamp: bool) -> Measure:
    def score(predictions: Predictions) -> Score:
        _want(predictions, name, "words")
        wanted = [_tokens(p.example.words or []) for p in predictions]
        got = [None if p.parsed is None else _tokens(p.parsed.words) for p in predictions]
        return alignment_shift(wanted, got, per_timestamp=per_timestamp)

    return score


def _tokens(words: Sequence[Word]) -> list[TimedToken]:
    """Words compared in their spoken form; silences are not compared."""
    return [TimedToken(spoken_form(word.word) or word.word, word.start, word.end) for word in words]


def _spans(
    name: str, body: str, score: Callable[[Sequence[Sequence[Span]], Sequence[Sequence[Span] | None]], Score]
) -> Measure:
    def of(predictions: Predictions) -> Score:
        _want(predictions, name, body)
        return score(
            [p.truth.spans for p in predictions],
            [None if p.parsed is None else p.parsed.spans for p in predictions],
        )

    return of


def _items(name: str, body: str, of: Callable[[Parsed], Sequence[Hashable]]) -> Measure:
    def score(predictions: Predictions) -> Score:
        _want(predictions, name, body)
        got = [None if p.parsed is None else of(p.parsed) for p in predictions]
        return spans.entity_f1([of(p.truth) for p in predictions], got, name=name)

    return score


def _entities(parsed: Parsed) -> list[tuple[str, str]]:
    return [(entity["type"], entity["value"]) for entity in parsed.fields["entities"]]


def _eer(predictions: Predictions) -> Score:
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


def _want(predictions: Predictions, name: str, *bodies: str) -> None:
    """ValueError unless the answers are of one of the kinds that a measure can read."""
    if body_of(predictions) not in bodies:
        raise ValueError(
            f"the measure {name} cannot score answers of {predictions[0].example.task}: "
            f"it reads {' and '.join(bodies)} answers; leave it out"
        )


MEASURES: dict[str, Measure] = {
    "wer": _error_rate(normalize.spoken_normalizer, "spoken", ""),
    "wer_published": _error_rate(normalize.published_normalizer, "published", "_published"),
    "wer_whisper": _error_rate(normalize.whisper_normalizer, "whisper", "_whisper"),
    "exact": _exact,
    "bleu": _bleu,
    "cider": _caption(captions.cider),
    "spice": _caption(_spice),
    "spider": _caption(_spider),
    "fense": _caption(_fense),
    "accuracy": _accuracy,
    "accuracy_lenient": _lenient,
    "accuracy_binary": _binary,
    "accuracy_dialect": _dialects,
    "intent_and_slots": _intent_and_slots,
    "slot_f1": _items("slot_f1", "intent", _slots),
    "entity_f1": _items("entity_f1", "entities", _entities),
    "note_instrument": _note("note_instrument", "instrument"),
    "note_velocity": _note("note_velocity", "velocity"),
    "note_qualities_map": _qualities,
    "note_pitch": _note_pitch,
    "pitch_accuracy": _pitch,
    "aas": _shift("aas", True),
    "aas_per_token": _shift("aas_per_token", False),
    "event_f1": _spans("event_f1", "events", spans.event_f1),
    "segment_f1": _spans("segment_f1", "events", spans.segment_f1),
    "der": _spans("der", "turns", spans.diarization_error),
    "eer": _eer,
}

_DEFAULTS = {
    "transcript": ("wer", "accuracy"),
    "overlap": ("wer", "accuracy"),
    "dialect": ("wer", "accuracy", "accuracy_dialect"),
    "words": ("aas", "aas_per_token", "wer"),
    "text": ("bleu", "accuracy"),
    "turns": ("der", "accuracy"),
    "entities": ("entity_f1", "accuracy"),
    "events": ("event_f1", "segment_f1", "accuracy"),
    "pitch": ("pitch_accuracy", "accuracy"),
    "intent": ("accuracy", "accuracy_lenient", "intent_and_slots", "slot_f1"),
    "note": ("note_instrument", "note_qualities_map", "pitch_accuracy", "note_velocity", "accuracy"),
}
# Tasks that are not scored as others with the same kind of answer.
_DEFAULTS_OF_TASKS = {
    "audio_caption": ("cider", "bleu", "accuracy"),
    "music_caption": ("cider", "bleu", "accuracy"),
    "speaker_verification": ("accuracy", "accuracy_lenient", "eer"),
}


def default_measures(task: str) -> tuple[str, ...]:
    """What a task is scored by where a benchmark says nothing, the main one first; ValueError for an unknown task."""
    body = tasks.task_of(task).body
    return _DEFAULTS_OF_TASKS.get(task) or _DEFAULTS.get(body, ("accuracy", "accuracy_lenient"))


def measure(
    names: Sequence[str], predictions: Predictions, missing: MutableMapping[str, str] | None = None
) -> list[Score]:
    """The scores of these names, in order, of predictions of one task.

    missing: takes the reason for each measure that cannot be had here and is left out.
    Raises ValueError for no predictions, an unknown name, or a measure that cannot read answers of this task.
    """
    if not predictions:
        raise ValueError("there are no predictions to score: check which examples were chosen")
    scores = []
    for name in names:
        if name not in MEASURES:
            raise ValueError(f"unknown measure {name!r}{close_names(name, MEASURES)}")
        try:
            scores.append(replace(MEASURES[name](predictions), measure=name))
        except MeasureMissing as reason:
            if missing is not None:
                missing[name] = str(reason)
    return scores

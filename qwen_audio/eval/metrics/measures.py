"""The measures by name: what a benchmark may ask for, and all that is known of each, one row a measure.

    from qwen_audio.eval.metrics.measures import measure
    scores = measure(["wer", "wer_whisper"], predictions)

docs/metrics.md says of each what it is and where it comes from. A measure that cannot be had here (a program, a model
or a package is absent) is left out with the reason, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter

from qwen_audio.eval.metrics import captions, normalize, notes, scorers, spans, spice
from qwen_audio.eval.metrics.missing import MeasureMissing
from qwen_audio.eval.metrics.score import Score
from qwen_audio.eval.metrics.scorers import Predictions, Scorer
from qwen_audio.format import tasks
from qwen_audio.format.example import close_names


@dataclass(frozen=True)
class Measure:
    """A row of the table of measures.

    short: the head of a column, where it is not the title; unit, higher: as `unit` and `higher_is_better` of `Score`;
    full: the end of the scale, None without one; reads: kinds of answers (keys of `answers.BODIES`) that it can score,
    () for all; baseline: what always giving the commonest answer scores, None where that says nothing.
    """

    name: str
    title: str
    score: Scorer
    short: str = ""
    unit: str = "ratio"
    higher: bool = True
    full: float | None = 1.0
    reads: tuple[str, ...] = ()
    baseline: Callable[[Predictions], float] | None = None


_error_rate = partial(Measure, higher=False)
_caption = partial(Measure, unit="points", full=None)
_shift = partial(Measure, unit="seconds", higher=False, full=None, reads=("words",))
_PITCH = ("note", "pitch")

_TABLE = (
    _error_rate("wer", "word error rate", scorers.error_rate(normalize.spoken_normalizer, "spoken"), "WER"),
    _error_rate("wer_published", "word error rate, published normaliser",
                scorers.error_rate(normalize.published_normalizer, "published", "_published"), "WER"),
    _error_rate("wer_whisper", "word error rate, Whisper's normaliser",
                scorers.error_rate(normalize.whisper_normalizer, "whisper", "_whisper")),
    Measure("exact", "exactly right", scorers.exact, baseline=scorers.commonest),
    Measure("bleu", "BLEU", scorers.bleu, unit="points", full=100.0),
    _caption("cider", "CIDEr", scorers.caption(captions.cider)),
    _caption("spice", "SPICE", scorers.caption(spice.spice)),
    _caption("spider", "SPIDEr", scorers.caption(spice.spider)),
    _caption("fense", "FENSE", scorers.caption(scorers.fense)),
    Measure("accuracy", "accuracy", scorers.accuracy(), "ACC", baseline=scorers.commonest),
    Measure("accuracy_lenient", "accuracy, lenient", scorers.accuracy(lenient=True)),
    Measure("accuracy_binary", "accuracy, yes or no", scorers.accuracy_binary, "ACC, yes or no",
            baseline=scorers.commonest_binary),
    Measure("accuracy_dialect", "accuracy of the dialect", scorers.field("accuracy_dialect", "dialect"),
            reads=("dialect",), baseline=scorers.commonest_field("dialect")),
    Measure("intent_and_slots", "intent and all slots right", scorers.intent_and_slots, reads=("intent",)),
    Measure("slot_f1", "F-score of slots", scorers.parts(scorers.slots, partial(spans.entity_f1, name="slot_f1")),
            reads=("intent",)),
    Measure("entity_f1", "F-score of entities", scorers.parts(scorers.entities, spans.entity_f1),
            reads=("entities",)),
    Measure("note_instrument", "accuracy of the instrument", scorers.field("note_instrument", "instrument"),
            "instrument ACC", reads=("note",), baseline=scorers.commonest_field("instrument")),
    Measure("note_velocity", "note velocity", scorers.field("note_velocity", "velocity"), reads=("note",),
            baseline=scorers.commonest_field("velocity")),
    Measure("note_qualities_map", "mean average precision of qualities",
            scorers.parts(lambda parsed: parsed.fields.get("sonic", []), notes.qualities_map), "qualities MAP",
            reads=("note",)),
    Measure("note_pitch", "accuracy of the pitch", scorers.note_pitch, reads=_PITCH,
            baseline=scorers.commonest_pitch(0)),
    Measure("pitch_accuracy", "pitch within a semitone", scorers.pitch, reads=_PITCH,
            baseline=scorers.commonest_pitch(1)),
    _shift("aas", "shift per time stamp (AAS)", scorers.shift(per_timestamp=True), "AAS per time stamp"),
    _shift("aas_per_token", "shift per word, start and end (AAS as published)",
           scorers.shift(per_timestamp=False), "AAS"),
    Measure("event_f1", "F-score of events", scorers.parts(attrgetter("spans"), spans.event_f1), reads=("events",)),
    Measure("segment_f1", "F-score of segments", scorers.parts(attrgetter("spans"), spans.segment_f1),
            reads=("events",)),
    _error_rate("der", "diarisation error rate", scorers.parts(attrgetter("spans"), spans.diarization_error),
                reads=("turns",)),
    _error_rate("eer", "equal error rate", scorers.eer),
)  # fmt: skip
MEASURES = {row.name: row for row in _TABLE}
# Names of scores that are not those of their measures: error rates are named by what the languages count.
METRIC_TITLES = {
    "cer": "character error rate",
    "mer": "mixed error rate (characters in zh, ja)",
    "accuracy_intent_and_slots": MEASURES["intent_and_slots"].title,
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
    body = scorers.body_of(predictions)
    for name in names:
        if name not in MEASURES:
            raise ValueError(f"unknown measure {name!r}{close_names(name, MEASURES)}")
        row = MEASURES[name]
        if row.reads and body not in row.reads:
            raise ValueError(
                f"the measure {name} cannot score answers of {predictions[0].example.task}: "
                f"it reads {' and '.join(row.reads)} answers; leave it out"
            )
        try:
            score = replace(row.score(predictions), measure=name)
            assert (score.unit, score.higher_is_better) == (row.unit, row.higher), name
            scores.append(score)
        except MeasureMissing as reason:
            if missing is not None:
                missing[name] = str(reason)
    return scores

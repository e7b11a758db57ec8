"""How measures are called and figures written where people read them."""

from __future__ import annotations

from qwen_audio.eval.metrics.score import Score

_TITLES = {
    "wer": "word error rate", "cer": "character error rate", "mer": "mixed error rate (characters in zh, ja)",
    "wer_published": "word error rate, published normaliser", "wer_whisper": "word error rate, Whisper's normaliser",
    "bleu": "BLEU", "cider": "CIDEr", "spice": "SPICE", "spider": "SPIDEr", "fense": "FENSE",
    "accuracy": "accuracy", "accuracy_lenient": "accuracy, lenient", "accuracy_binary": "accuracy, yes or no",
    "accuracy_dialect": "accuracy of the dialect", "accuracy_intent_and_slots": "intent and all slots right",
    "intent_and_slots": "intent and all slots right", "note_instrument": "accuracy of the instrument",
    "note_qualities_map": "mean average precision of qualities", "note_pitch": "accuracy of the pitch",
    "pitch_accuracy": "pitch within a semitone", "aas": "shift per time stamp (AAS)",
    "aas_per_token": "shift per word, start and end (AAS as published)", "event_f1": "F-score of events",
    "segment_f1": "F-score of segments", "der": "diarisation error rate", "eer": "equal error rate",
    "entity_f1": "F-score of entities", "slot_f1": "F-score of slots", "exact": "exactly right",
}  # fmt: skip
_SHORT = {
    "wer_published": "WER", "wer": "WER", "cer": "CER", "mer": "MER", "aas_per_token": "AAS",
    "aas": "AAS per time stamp", "accuracy": "ACC",
    "accuracy_binary": "ACC, yes or no", "note_instrument": "instrument ACC", "note_qualities_map": "qualities MAP",
}  # fmt: skip
_LOWER = ("wer", "cer", "mer", "aas", "der", "eer")


def title_of(measure: str) -> str:
    """A measure in words."""
    return _TITLES.get(measure) or measure.replace("_", " ")


def short_of(measure: str) -> str:
    """A measure as the head of a column."""
    return _SHORT.get(measure) or _TITLES.get(measure) or measure.replace("_", " ")


def lower_is_better(measure: str) -> bool:
    """Whether a measure, by its name, is an error or a shift."""
    return measure.split("_")[0] in _LOWER


def arrow(score: Score) -> str:
    """Which direction is better."""
    return "higher is better" if score.higher_is_better else "lower is better"


def interval_of(score: Score) -> str:
    """The 95 % interval as it stands beside a figure."""
    low, high = score.interval
    if low != low or high != high:
        return ""
    return f"{span(score.at(low), score.at(high))} {score.remark}".rstrip()


def span(low: str, high: str) -> str:
    """Two figures with the unit they share written once."""
    for unit in (" %", " ms", " points"):
        low = low.removesuffix(unit) if high.endswith(unit) else low
    return f"{low} to {high}"


def full_of(score: Score, seconds: float) -> float:
    """The value at the end of a bar: 100 %, 100 points, or `seconds` for times."""
    if score.unit == "seconds":
        return seconds
    if score.unit == "ratio":
        return 1.0
    return 100.0 if score.metric == "bleu" else 1.0


def signed(score: Score, value: float) -> str:
    """A difference of two figures with its sign; shares in percentage points."""
    if value != value:
        return "n/a"
    shown = score.at(abs(value)).replace(" %", " points")
    return ("+" if value > 0 else "\N{MINUS SIGN}" if value < 0 else "") + shown


def bytes_of(count: float) -> str:
    """A size of a file in kB or MB."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"

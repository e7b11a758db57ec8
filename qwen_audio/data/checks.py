"""Checks of a manifest row for fields that are valid alone but contradict each other.

Classes are not checked against a list (a real corpus has its own ages, dialects and emotions) unless the row has
`choices`, see format/example.py.
"""

from __future__ import annotations

import soundfile

from qwen_audio.format.answers.plain import transcript_of
from qwen_audio.format.example import Example
from qwen_audio.format.task_table import TASKS

_SLACK = 0.1  # s: durations are rounded, and words may end in the last frame
_TWO_RECORDINGS = "speaker_verification"


def check_annotation(example: Example) -> None:
    """Refuse a row whose fields contradict one another; ValueError says which."""
    row = TASKS[example.task]
    if example.task == _TWO_RECORDINGS and len(example.audio) != 2:
        raise ValueError(f"the task {example.task} compares two recordings: give a second one (`path2`)")
    if row.body == "answer" and example.task != _TWO_RECORDINGS and not (example.question or "").strip():
        raise ValueError(f"the task {example.task} has a text and no question: add `question`")
    if row.body in ("label", "pitch") or (row.body == "keyword" and not example.words):
        _check_label(example)
    if example.task == "word_timestamps":
        said = " ".join(word.word for word in example.words or [])
        if "<|" not in example.text and _letters(example.text) not in ("", _letters(said)):
            raise ValueError(f"the text is {example.text!r} but the words are {said!r}: make them the same")


def _check_label(example: Example) -> None:
    """Refuse a text that is not longer than the label and differs from it; a longer text is a sentence about it."""
    label, text = (transcript_of(part or "", "wo_itn").split() for part in (example.label, example.text))
    if label and text and len(text) <= len(label) and text != label:
        raise ValueError(f"the label is {example.label!r} but the text is {example.text!r}: correct either")


def _letters(text: str) -> str:
    return "".join(transcript_of(text, "wo_itn").split())


def check_times(example: Example) -> None:
    """Refuse words or spans that end after the first recording; ValueError says where.

    A length that the row does not have is read from the header of the file, where its format has it (WAV, FLAC ...).
    """
    ends = {
        "word": [word.end for word in example.words or []],
        "span": [span.end for span in example.spans or []],
    }
    if not example.audio or not any(ends.values()):
        return
    known = example.audio[0].duration or _length(example)
    for kind, times in ends.items():
        if known is not None and times and max(times) > known + _SLACK:
            raise ValueError(
                f"the last {kind} ends at {max(times)} s but the clip is {round(known, 3)} s long: correct the times"
            )


def _length(example: Example) -> float | None:
    """Seconds from the start of the first recording to the end of its file; None where no header states them."""
    try:
        found = soundfile.info(example.audio[0].path)
    except (soundfile.LibsndfileError, OSError):
        return None
    return max(found.frames / found.samplerate - example.audio[0].start, 0.0)

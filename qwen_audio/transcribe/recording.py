"""Transcription of windows: requests in batches, results in the order of the recording.

    for passage in transcribe_blocks(engine, blocks, Options(word_timestamps=True)): ...

Windows are taken in groups of a fixed number and sorted by length in each, so that a batch holds rows of similar
length and only one group's sound is in memory. Which windows share a batch depends on the recording alone, so a
continued job gives the same result as an uninterrupted one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.audio.stream import Blocks
from qwen_audio.format import tags
from qwen_audio.format.timestamps import Word
from qwen_audio.inference.engine import Engine
from qwen_audio.inference.request import Output, Request
from qwen_audio.results.passages import Passage, join_texts, join_words
from qwen_audio.results.results import Transcription
from qwen_audio.transcribe.journal import Journal
from qwen_audio.transcribe.segments import Window, windows_of
from qwen_audio.transcribe.speech import DETECTORS

AHEAD = 4  # batches that are sorted together
OnPassages = Callable[[float, bool], None]  # seconds of the recording that are done; True if from the journal


@dataclass(frozen=True)
class Options:
    """Options of a transcription; see `QwenAudio.transcribe`. ValueError for an unknown language or detector."""

    language: str | None = None
    word_timestamps: bool = False
    detect: str = "speech"
    max_new_tokens: int | None = None
    loop_guard: bool = True
    batch_size: int = 8

    def __post_init__(self) -> None:
        known = (*tags.LANGUAGES, tags.TRADITIONAL_CHINESE, "unknown")
        if self.language is not None and self.language not in known:
            raise ValueError(
                f"language {self.language!r} has no tag: use one of {', '.join(known)} (unknown for any other), or None"
            )
        if self.detect not in DETECTORS:
            raise ValueError(f"the detector {self.detect!r} is not known: use {' or '.join(DETECTORS)}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}: give 1 or more")

    def request(self, wave: np.ndarray) -> Request:
        """The request for one window (n,) float32 at 16 kHz."""
        task = "word_timestamps" if self.word_timestamps else "asr"
        limits: dict[str, Any] = {"max_new_tokens": self.max_new_tokens, "loop_guard": self.loop_guard}
        return Request(task, [wave], language=self.language, **limits)


def transcribe_blocks(
    engine: Engine,
    blocks: Iterable[np.ndarray],
    options: Options,
    *,
    ahead: int = AHEAD,
    journal: Journal | None = None,
    on_passages: OnPassages | None = None,
) -> Iterator[Passage]:
    """Passages of a recording that comes in blocks (n,) float32 at 16 kHz, in order.

    ahead: batches of windows collected before the first of them is transcribed; 0: each window by itself.
    journal: finished windows are written to it, and those already in it are not transcribed again.
    """
    size = max(1, ahead * options.batch_size)
    windows = enumerate(windows_of(blocks, options.detect))
    done = 0.0
    while group := list(islice(windows, size)):
        found: dict[int, Passage | None] = {}
        # Batches of a group are not in the order of the recording: each adds its share of the sound to the progress.
        begun, last = done, group[-1][1].end / SAMPLE_RATE
        total, heard = sum(len(window.wave) for _, window in group), 0
        by_length = sorted(group, key=lambda item: len(item[1].wave))
        for at in range(0, len(by_length), options.batch_size):
            batch = by_length[at : at + options.batch_size]
            known = [_known(journal, number, window) for number, window in batch]
            repeated = all(row is not None for row in known)
            if repeated:
                rows = [row for row in known if row is not None]
            else:
                outputs = engine.run([options.request(window.wave) for _, window in batch], len(batch))
                rows = [
                    {"number": number, "first": window.first, "samples": len(window.wave)}
                    | {"passage": _as_data(passage_of(window, output, options.word_timestamps))}
                    for (number, window), output in zip(batch, outputs, strict=True)
                ]
                if journal is not None:
                    journal.add(rows)
            found |= {row["number"]: _from_data(row["passage"]) for row in rows}
            if on_passages is not None:
                heard += sum(len(window.wave) for _, window in batch)
                done = begun + (last - begun) * heard / total
                on_passages(done, repeated)
        _trim()
        for number, _ in group:
            passage = found[number]
            if passage is not None:
                yield passage


def transcribe_all(
    engine: Engine,
    blocks: Blocks,
    options: Options,
    *,
    journal: Journal | None = None,
    on_passages: OnPassages | None = None,
) -> Transcription:
    """The transcription of the whole recording. A part that could not be read is reported in `problems`."""
    if journal is not None and journal.end is not None:  # all was done, only the output was not written
        numbers = sorted(journal.rows)
        kept = [_from_data(journal.rows[number]["passage"]) for number in numbers]
        return whole_of([one for one in kept if one is not None], options.word_timestamps, **journal.end)
    passages = list(transcribe_blocks(engine, blocks, options, journal=journal, on_passages=on_passages))
    end: dict[str, Any] = {"duration": round(blocks.seconds, 3), "defect": None}
    if blocks.defect:
        end["defect"] = f"the recording {blocks.defect}"
    if journal is not None:
        journal.finish(end)
    return whole_of(passages, options.word_timestamps, **end)


def whole_of(
    passages: list[Passage], timed: bool, *, duration: float | None = None, defect: str | None = None
) -> Transcription:
    """The transcription made of passages; its language is the one that is spoken longest."""
    seconds: dict[str, float] = {}
    for passage in passages:
        seconds[passage.language] = seconds.get(passage.language, 0.0) + passage.end - passage.start
    words = [word for passage in passages for word in passage.words or []]
    problems = []
    for passage in passages:
        # A problem is named with its place only where there are several passages.
        place = f"{passage.start:.2f} s to {passage.end:.2f} s: " if len(passages) > 1 else ""
        problems += [f"{place}{problem}" for problem in passage.problems]
    return Transcription(
        join_texts(passages),
        max(seconds, key=lambda language: seconds[language], default="unknown"),
        words if timed else None,
        problems + ([defect] if defect else []),
        passages,
        duration,
    )


def passage_of(window: Window, output: Output, timed: bool) -> Passage | None:
    """The passage of a window, with times of the recording; None if it has no text."""
    spoken = output.language or "unknown"
    first = window.first / SAMPLE_RATE
    last = first + len(window.wave) / SAMPLE_RATE
    words: list[Word] | None = None
    text = output.parsed.text
    if timed:
        words = []
        for word in output.parsed.words or []:
            start = min(max(first + word.start, words[-1].end if words else first), last)
            words.append(Word(word.word, round(start, 3), round(min(max(first + word.end, start), last), 3)))
        text = join_words(words, spoken)
    if not text and not output.problems:
        return None
    start, end = round(window.start / SAMPLE_RATE, 3), round(window.end / SAMPLE_RATE, 3)
    return Passage(start, end, spoken, text, words, list(output.problems))


@lru_cache(maxsize=1)
def _malloc_trim() -> Callable[[int], int] | None:
    """glibc's function that gives freed memory back; None with another C library."""
    try:
        function: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # TypeError: Windows has no library without a name
        return None
    return function


def _trim() -> None:
    """Return freed memory to the system: batches of varying sizes leave holes in the heap, 500 MB in three hours."""
    if trim := _malloc_trim():
        trim(0)


def _known(journal: Journal | None, number: int, window: Window) -> dict[str, Any] | None:
    row = None if journal is None else journal.rows.get(number)
    same = row is not None and (row["first"], row["samples"]) == (window.first, len(window.wave))
    return row if same else None


def _as_data(passage: Passage | None) -> dict[str, Any] | None:
    return None if passage is None else asdict(passage)


def _from_data(data: dict[str, Any] | None) -> Passage | None:
    if data is None:
        return None
    words = data["words"]
    return Passage(**{**data, "words": None if words is None else [Word(**word) for word in words]})

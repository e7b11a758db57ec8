"""Getting answers out of a system: batches of similar length, audio read ahead, failures kept to their clip."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from qwen_audio.api import load_window
from qwen_audio.audio.features import MAX_SECONDS
from qwen_audio.audio.load import SAMPLE_RATE, AudioError
from qwen_audio.data.manifest import AudioRef, Example
from qwen_audio.eval.benchmarks import Benchmark
from qwen_audio.eval.predictions import Prediction
from qwen_audio.eval.run_folder import part_file, part_line
from qwen_audio.eval.systems.base import Item, Reply, System
from qwen_audio.format import tasks
from qwen_audio.format.tags import Segment
from qwen_audio.http_client import EndpointError

# A batch of B examples holds at most so many times B seconds, padding included: half of what B longest clips have.
SECONDS_PER_EXAMPLE = MAX_SECONDS / 2


@dataclass(frozen=True)
class Ask:
    """An example to be answered: the recordings that are played, the prompt, the bound on the answer in tokens."""

    example: Example
    audio: list[AudioRef]
    prompt: list[Segment]
    max_new_tokens: int | None = None

    @property
    def seconds(self) -> float:
        """Length of the audio; a file of unknown length counts as long as can be."""
        return sum(MAX_SECONDS if ref.duration is None else ref.duration for ref in self.audio)


def digest_of(benchmark: Benchmark, asks: Sequence[Ask]) -> str:
    """16 digits for what is asked: the annotations, the prompts, the bound on answers, name and size of each file.

    Not the folders of the files: a run goes on after the data has been moved.
    """
    total = hashlib.sha256(benchmark.task.encode())
    for ask in asks:
        files = [
            (os.path.basename(ref.path), os.path.getsize(ref.path), ref.start, ref.duration)
            for ref in ask.audio
        ]
        row = ask.example.model_dump(mode="json", exclude={"audio"})
        words = "".join(segment.text for segment in ask.prompt)
        content = json.dumps([row, files, words, ask.max_new_tokens], sort_keys=True, default=str)
        total.update(content.encode())
    return total.hexdigest()[:16]


@dataclass(frozen=True)
class Batch:
    """Examples of one task that are answered at once, and the folder of their benchmark."""

    folder: Path
    asks: list[Ask]


def cut(folder: Path, asks: Sequence[Ask], size: int) -> list[Batch]:
    """Batches of at most `size` examples of similar length, the longest first.

    What does not fit into the memory then shows at once, and processes that share the batches end together. Long
    clips make smaller batches, see `SECONDS_PER_EXAMPLE`.
    """
    batches: list[Batch] = []
    for ask in sorted(asks, key=lambda ask: (ask.example.task, -ask.seconds)):
        last = batches[-1].asks if batches else []
        if (
            last
            and len(last) < size
            and last[0].example.task == ask.example.task
            and (len(last) + 1) * last[0].seconds <= size * SECONDS_PER_EXAMPLE
        ):
            last.append(ask)
        else:
            batches.append(Batch(folder, [ask]))
    return batches


def without(batches: Sequence[Batch], done: Callable[[Path, str], bool]) -> list[Batch]:
    """What is left when some examples, by folder and id, are done; the others stay in their batches."""
    left = [Batch(one.folder, [a for a in one.asks if not done(one.folder, a.example.id)]) for one in batches]
    return [one for one in left if one.asks]


def answer_batches(
    system: System, batches: Sequence[Batch], part: int, progress: Callable[[int], None]
) -> None:
    """Answer all batches; each answer is a line of its benchmark's part file `part` as soon as it is there.

    progress: called with the number of examples of each batch when its lines are written.
    """
    with ExitStack() as stack:
        streams: dict[Path, TextIO] = {}
        for batch, heard in _read_ahead(batches):
            began = time.monotonic()
            predictions = _answer(system, batch.asks, heard, keep_going=True)
            took = (time.monotonic() - began) / len(batch.asks)
            if batch.folder not in streams:
                path = part_file(batch.folder, part)
                streams[batch.folder] = stack.enter_context(path.open("a", encoding="utf-8"))
            for prediction in predictions:
                streams[batch.folder].write(part_line(prediction, took))
            streams[batch.folder].flush()
            progress(len(predictions))


def answer(system: System, asks: Sequence[Ask]) -> list[Prediction]:
    """Predictions for examples, in one batch.

    A recording that cannot be read makes a failed prediction; what goes wrong in the system is raised.
    """
    return _answer(system, asks, [_read(ask) for ask in asks], keep_going=False)


# The recordings of an example, or why they cannot be read.
_Heard = list[np.ndarray] | str


def _read_ahead(batches: Sequence[Batch]) -> Iterator[tuple[Batch, list[_Heard]]]:
    """Batches with their audio; the next one is read while the caller works on this one."""
    with ThreadPoolExecutor(1) as reader:
        waiting = [reader.submit(_read_all, batch) for batch in batches[:1]]
        for number, batch in enumerate(batches):
            heard = waiting.pop().result()
            waiting = [reader.submit(_read_all, later) for later in batches[number + 1 : number + 2]]
            yield batch, heard


def _read_all(batch: Batch) -> list[_Heard]:
    return [_read(ask) for ask in batch.asks]


def _read(ask: Ask) -> _Heard:
    try:
        return [load_window(ref.path, start=ref.start, duration=ref.duration) for ref in ask.audio]
    except (AudioError, OSError) as error:
        return _reason(error)


def _answer(
    system: System, asks: Sequence[Ask], heard: Sequence[_Heard], keep_going: bool
) -> list[Prediction]:
    predictions = [Prediction(ask.example) for ask in asks]
    items, asked = [], []
    for prediction, ask, waves in zip(predictions, asks, heard, strict=True):
        if isinstance(waves, str):
            prediction.error = waves
            continue
        prediction.seconds = sum(len(wave) for wave in waves) / SAMPLE_RATE
        items.append(Item(ask.example, waves, ask.prompt, ask.max_new_tokens))
        asked.append(prediction)
    replies = (_replies(system, items) if keep_going else system.answer(items)) if items else []
    if len(replies) != len(items):
        raise RuntimeError(
            f"{system.name} gave {len(replies)} replies to {len(items)} items: mend its adapter"
        )
    for prediction, reply in zip(asked, replies, strict=True):
        fill(prediction, reply)
    return predictions


def fill(prediction: Prediction, reply: Reply) -> None:
    """Put a reply into a prediction."""
    prediction.error, prediction.scores = reply.error, reply.scores
    if reply.error is not None:
        return
    prediction.raw = reply.raw
    prediction.parsed = tasks.parse(prediction.example.task, reply.raw, prediction.example.choices)
    prediction.problems = list(dict.fromkeys([*prediction.parsed.problems, *reply.problems]))


def _replies(system: System, items: list[Item]) -> list[Reply]:
    """Replies; where the batch as a whole fails each item is tried alone, so that one bad clip costs only itself.

    Raises ConnectionError and EndpointError: a server that is not there says nothing about a clip.
    """
    try:
        return system.answer(items)
    except (ConnectionError, EndpointError):
        raise
    except (
        Exception
    ) as error:  # whatever a system raises for this clip is the clip's failure, and is reported
        if len(items) == 1:
            return [Reply(error=_reason(error))]
        return [reply for item in items for reply in _replies(system, [item])]


def _reason(error: Exception) -> str:
    """An error as one line; those that were not written for users have their kind in front."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError | OSError) and text else f"{type(error).__name__}: {text}"

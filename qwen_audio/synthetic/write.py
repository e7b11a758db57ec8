"""Writer of synthetic examples as FLAC files and a manifest: `qwen-audio synthesize`.

Example number k of a task depends on the seed, the task and k alone. Worker processes make blocks of examples,
and blocks are taken in order, so the files are the same with any number of workers.
"""

from __future__ import annotations

import io
import itertools
import math
import multiprocessing
import os
import zlib
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.augment import Augment
from qwen_audio.data.channel import distort
from qwen_audio.data.manifest import AudioRef, Example, Sample, write_manifest
from qwen_audio.packages import check_packages
from qwen_audio.synthetic.world import MIXED, WorldGenerator, known_tasks, source_of

MANIFEST = "manifest.jsonl"
_BLOCK = 4  # examples that a worker makes at once

# Of the distortions of an augmented example; an encoder takes longer than all the others.
_CHANNEL = Augment(codec=0.2)


class _Drawn(NamedTuple):
    """Settings besides task, seed and number: held-out data, share sent through a channel, real clips."""

    held_out: bool = False
    augment: float = 0.0
    real: str | None = None


# An example and the FLAC file of each of its clips.
_Made = tuple[Example, list[bytes]]


def synthesize(
    output: str | os.PathLike[str],
    *,
    hours: float | None = None,
    tasks: str | None = None,
    kind: str | None = None,
    count: int | None = None,
    task: str | None = None,
    utterances: str | None = None,
    held_out: bool = False,
    seed: int = 0,
    workers: int = 0,
    augment: float = 0.0,
    real: str | os.PathLike[str] | None = None,
) -> Path:
    """The verb of the command line: hours of tasks (`write_world`), or a count of one kind (`write_dataset`).

    Raises ValueError for options that contradict each other, and the errors of these two.
    """
    if hours is not None:
        single = {"kind": kind, "count": count, "task": task, "utterances": utterances}
        for name, value in single.items():
            if value is not None:
                raise ValueError(f"--{name} does not go with --hours: name the tasks with --tasks")
        names = None if tasks is None else [name.strip() for name in tasks.split(",") if name.strip()]
        return write_world(
            output, hours, names, seed=seed, held_out=held_out, workers=workers, augment=augment, real=real
        )
    if tasks is not None or workers:
        raise ValueError("--tasks and --workers need --hours: say how much audio is wanted")
    kind = kind or "speech"
    if utterances and kind not in ("speech", "long_speech"):
        raise ValueError(f"--utterances does not go with --kind {kind}: speech and long_speech have them")
    options: dict[str, object] = {}
    if held_out:
        options["held_out"] = True
    if utterances:
        options["kinds"] = {utterances: 1.0}
    if task:
        options["weights" if kind in ("notes", "sounds") else "tasks"] = {task: 1.0}
    if real is not None:
        if kind not in ("scenes", "world"):
            raise ValueError(f"--real goes with --hours or --kind scenes: clips are not mixed into {kind}")
        options["real"] = os.fspath(real)
    number = 100 if count is None else count
    return write_dataset(kind, output, number, seed=seed, options=options, augment=augment)


def write_world(
    output: str | os.PathLike[str],
    hours: float,
    tasks: Iterable[str] | None = None,
    *,
    seed: int = 0,
    held_out: bool = False,
    workers: int = 0,
    augment: float = 0.0,
    real: str | os.PathLike[str] | None = None,
) -> Path:
    """Write hours of audio, split evenly over the tasks; returns the manifest.

    Args:
        output: a new or empty folder, for `TASK/NNNNN.flac` (a second clip: `NNNNN-2.flac`) and `manifest.jsonl`.
        hours: of audio in all; each task ends with the first clip that reaches its share.
        tasks: slugs of the synthetic world; None for all.
        seed, held_out: as in `WorldGenerator`.
        workers: processes that make examples; 0 makes them in this one. The files are the same.
        augment: share of the examples that come through a channel: room, noise, codec, level, speed (see
            data/channel.py); `meta["channel"]` holds the settings. All others are the same as without it.
        real: recorded clips to mix into scenes, see `WorldGenerator`.

    Raises:
        ValueError: an unknown task, hours that are not above 0, workers below 0, a share outside 0 to 1, real clips
            that cannot be read or mixed in, or a folder with something in it.
    """
    names = known_tasks(tasks)
    _check_share(augment)
    drawn = _Drawn(held_out, augment, None if real is None else os.path.abspath(real))
    if real is not None:  # errors in the clips are reported before anything is written
        WorldGenerator(names, held_out, drawn.real)
    if not (math.isfinite(hours) and hours > 0):
        raise ValueError(f"the hours are {hours:g}: give a number above 0")
    if workers < 0:
        raise ValueError(f"the workers are {workers}: give 0 or more")
    check_packages("synth")  # before a folder is made
    _check_seed(seed)
    folder = _fresh(output)
    share = 3600 * hours / len(names)
    examples: list[Example] = []
    # Spawned processes start clean: a fork would copy the locks of the threads that run here.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context) if workers else None
    try:
        for name in names:
            (folder / name).mkdir(parents=True)
            seconds = 0.0
            made = _in_order(pool, workers, name, seed, drawn)
            while seconds < share:
                examples.append(_save(next(made), folder / name))
                seconds += sum(ref.duration or 0.0 for ref in examples[-1].audio)
            made.close()
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    write_manifest(folder / MANIFEST, examples)
    return folder / MANIFEST


def _in_order(
    pool: ProcessPoolExecutor | None, workers: int, task: str, seed: int, drawn: _Drawn
) -> Generator[_Made, None, None]:
    """Examples 0, 1, 2 ... of a task without end; the workers are kept two blocks ahead."""
    if pool is None:
        for number in itertools.count():
            yield _make(task, number, seed, drawn)
        return
    running: deque[Future[list[_Made]]] = deque()
    try:
        for block in itertools.count():
            running.append(pool.submit(_make_block, task, block, seed, drawn))
            if len(running) == 2 * workers:
                yield from running.popleft().result()
    finally:  # the remaining blocks are not needed
        for future in running:
            future.cancel()


def _make_block(task: str, block: int, seed: int, drawn: _Drawn) -> list[_Made]:
    first = block * _BLOCK
    return [_make(task, number, seed, drawn) for number in range(first, first + _BLOCK)]


def _make(task: str, number: int, seed: int, drawn: _Drawn) -> _Made:
    """One example of a task and its files; the paths of its audio are still to be set."""
    key = (zlib.crc32(task.encode()), number)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    sample = _through(_generator(task, drawn.held_out, drawn.real).sample(rng), rng, drawn.augment)
    return _with_audio(sample, f"{task}-{'held_out-' if drawn.held_out else ''}{seed}-{number:05d}")


@lru_cache(maxsize=4)
def _generator(task: str, held_out: bool, real: str | None) -> WorldGenerator:
    return WorldGenerator([task], held_out, real if task in MIXED else None)


def _through(sample: Sample, rng: np.random.Generator, share: float) -> Sample:
    """The sample, or with that probability the sample through a channel."""
    return distort(sample, _CHANNEL, rng) if share and rng.random() < share else sample


def _with_audio(sample: Sample, identity: str) -> _Made:
    """The example under its name with the length of each clip, and the clips as FLAC files."""
    files: list[bytes] = []
    for wave in sample.waves:
        buffer = io.BytesIO()
        # FLAC holds 16 bits: what would be clipped is scaled down as a whole.
        scaled = wave / max(1.0, float(np.abs(wave).max()))
        soundfile.write(buffer, scaled, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        files.append(buffer.getvalue())
    audio = [AudioRef(path="unset", duration=len(wave) / SAMPLE_RATE) for wave in sample.waves]
    return sample.example.model_copy(update={"id": identity, "audio": audio}), files


def _save(made: _Made, folder: Path) -> Example:
    """Write the clips of an example, named by the number at the end of its id."""
    example, files = made
    number = example.id.rpartition("-")[2]
    for place, content in enumerate(files):
        path = folder / f"{number}{f'-{place + 1}' if place else ''}.flac"
        path.write_bytes(content)
        example.audio[place].path = str(path)
    return example


def write_dataset(
    kind: str,
    output: str | os.PathLike[str],
    count: int,
    *,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    augment: float = 0.0,
) -> Path:
    """Draw `count` examples of one kind; returns the manifest.

    Args:
        kind: a synthetic kind of source, such as "speech", "notes" or "music".
        output: a new or empty folder, for `audio/NNNNN.flac` (a second clip: `NNNNN-2.flac`) and `manifest.jsonl`.
        count: how many.
        seed: example i depends on the seed and i alone.
        options: keyword arguments of the generator, such as {"held_out": True} for speech.
        augment: share of the examples that come through a channel, see `write_world`.

    Raises:
        ValueError: unknown kind or option, a count below 1, or a folder with something in it.
    """
    if count < 1:
        raise ValueError(f"the count is {count}: give 1 or more")
    if kind in ("chat_world", "dialogues"):
        raise ValueError(f"kind {kind!r} makes dialogues: write them with qwen-audio sft build")
    if kind in ("manifest", "joined", "text"):
        raise ValueError(f"kind {kind!r} is not synthetic: use a generator such as speech, notes or music")
    check_packages("synth")  # before a folder is made
    _check_seed(seed)
    _check_share(augment)
    source = source_of(kind, options or {})
    folder = _fresh(output)
    (folder / "audio").mkdir(parents=True)
    examples: list[Example] = []
    for i in range(count):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(i,)))
        drawn: Any = source.sample(rng)
        sample = _through(drawn, rng, augment)
        examples.append(_save(_with_audio(sample, f"{kind}-{seed}-{i:05d}"), folder / "audio"))
    write_manifest(folder / MANIFEST, examples)
    return folder / MANIFEST


def _fresh(output: str | os.PathLike[str]) -> Path:
    """The folder, if nothing is in it."""
    folder = Path(output)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already and not an empty folder: name another one")
    return folder


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"the seed is {seed}: give 0 or more")


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"the share of augmented examples is {share:g}: give a number from 0 to 1")

"""Writer of synthetic dialogues: FLAC files and dialogues.jsonl (`qwen-audio sft build`).

Dialogue i depends on the seed, the recordings and i alone, so the files are the same bytes with any number of
workers. Recordings of manifests stay where they are and are referred to by path.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.dialogues import UNSET, Dialogue, DialogueSample, write_dialogues
from qwen_audio.sft.make import TEXT_SHARE, ChatWorld

MANIFEST = "dialogues.jsonl"
_BLOCK = 8  # dialogues that a worker makes at once
# Manifests, tasks, held_out, text_share: the arguments of a worker's generator.
_Settings = tuple[tuple[str, ...], tuple[str, ...] | None, bool, float]
_IN_FOLDER = 1000  # dialogues whose recordings share a folder


def build(
    output: str | os.PathLike[str],
    count: int,
    *,
    manifests: Sequence[str] = (),
    tasks: Sequence[str] | None = None,
    workers: int = 0,
    seed: int = 0,
    held_out: bool = False,
    text_share: float = TEXT_SHARE,
) -> Path:
    """Write `count` dialogues; returns the manifest.

    Args:
        output: a new or empty folder, for `audio/NNN/NNNNNN-K.flac` and `dialogues.jsonl`.
        count: how many.
        manifests: annotated examples to talk about; none: the synthetic world.
        tasks: of the synthetic world; None for all.
        workers: processes that make dialogues; 0 makes them in this one.
        seed, held_out, text_share: as in `ChatWorld`.

    Raises ValueError for numbers out of range, a folder with something in it, or recordings with too few labels.
    """
    if count < 1:
        raise ValueError(f"the count is {count}: give 1 or more")
    if workers < 0:
        raise ValueError(f"the workers are {workers}: give 0 or more")
    if seed < 0:
        raise ValueError(f"the seed is {seed}: give 0 or more")
    folder = Path(output)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already and not an empty folder: name another one")
    settings: _Settings = (
        tuple(map(os.path.abspath, manifests)),
        None if tasks is None else tuple(tasks),
        held_out,
        text_share,
    )
    _world(settings)  # a mistake in the settings is reported before any process starts
    folder.mkdir(parents=True, exist_ok=True)
    write_dialogues(folder / MANIFEST, _all(settings, folder, count, seed, workers))
    return folder / MANIFEST


@lru_cache(maxsize=2)
def _world(settings: _Settings) -> ChatWorld:
    manifests, tasks, held_out, text_share = settings
    return ChatWorld(tasks, list(manifests) or None, held_out, text_share)


def _all(
    settings: _Settings, folder: Path, count: int, seed: int, workers: int
) -> Generator[Dialogue, None, None]:
    """Dialogues 0 to count - 1 in order, their recordings written; the workers are kept two blocks ahead."""
    blocks = [range(first, min(first + _BLOCK, count)) for first in range(0, count, _BLOCK)]
    if not workers:
        for block in blocks:
            yield from _make_block(settings, folder, block, seed)
        return
    # Spawned processes start clean: a fork would copy the locks of the threads that run here.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    running: deque[Future[list[Dialogue]]] = deque()
    try:
        for block in blocks:
            running.append(pool.submit(_make_block, settings, folder, block, seed))
            if len(running) == 2 * workers:
                yield from running.popleft().result()
        while running:
            yield from running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _make_block(settings: _Settings, folder: Path, numbers: range, seed: int) -> list[Dialogue]:
    made = []
    for number in numbers:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
        identity = f"chat-{'held_out-' if settings[2] else ''}{seed}-{number:06d}"
        made.append(save(_world(settings).sample(rng), identity, folder, number))
    return made


def save(sample: DialogueSample, identity: str, folder: Path, number: int) -> Dialogue:
    """The dialogue under its name; recordings that have no file yet are written as 16-bit FLAC under `folder`."""
    dialogue = sample.dialogue.model_copy(update={"id": identity}, deep=True)
    for place, (ref, wave) in enumerate(zip(dialogue.audio, sample.waves, strict=True), start=1):
        if ref.path != UNSET:
            continue
        path = folder / "audio" / f"{number // _IN_FOLDER:03d}" / f"{number:06d}-{place}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        # FLAC holds 16 bits: what would be clipped is scaled down as a whole.
        soundfile.write(
            path, wave / max(1.0, float(np.abs(wave).max())), SAMPLE_RATE, format="FLAC", subtype="PCM_16"
        )
        ref.path = str(path)
    return dialogue

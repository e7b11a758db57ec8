"""The training stream: several sources mixed by weight, seeded, the same for any number of workers.

Example number i of the stream depends on the seed and i alone: its source, its content and its augmentation
come from `numpy` generators spawned for i. Examples are taken in chunks; a chunk is sorted into batches of
similar length and its batches are shuffled. The stream therefore resumes at (chunk, batch) exactly, and
workers only divide the chunks among themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from qwen_audio.audio import MAX_SECONDS, SAMPLE_RATE, AudioError
from qwen_audio.data.augment import Augment
from qwen_audio.data.channel import distort
from qwen_audio.data.collate import Batch, Collator, Row
from qwen_audio.data.manifest import Sample
from qwen_audio.data.sources import Source

# So many text tokens cost as much as a second of audio, which passes through both towers, where these are of a size
# (a larger language model makes text dearer still).
TOKENS_PER_SECOND = 80


class Mixture:
    """Examples drawn from sources by weight, augmented; `sample(i)` depends on the seed and i alone.

    Args:
        sources: sources and their weights.
        seed: seed of everything drawn.
        augment: what distorts a wave; None leaves all as they are.
        augment_share: how often an example is distorted: one number, or one for each source.
    """

    def __init__(
        self,
        sources: Sequence[tuple[Source, float]],
        seed: int,
        augment: Augment | None = None,
        augment_share: float | Sequence[float] = 1.0,
    ) -> None:
        self.sources = [s for s, _ in sources]
        p = np.array([w for _, w in sources], dtype=float)
        if not len(p) or (p < 0).any() or not p.sum() > 0:
            raise ValueError("a mixture needs sources with weights of 0 or more, at least one above 0")
        self.p = p / p.sum()
        self.seed = seed
        self.augment = augment
        self.shares = (
            [augment_share] * len(sources) if isinstance(augment_share, (int, float)) else list(augment_share)
        )

    def sample(self, index: int) -> tuple[Sample, np.random.Generator]:
        """Example number `index` and the generator to go on with (rendering choices)."""
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(index,)))
        chosen = rng.choice(len(self.sources), p=self.p)
        sample = self.sources[chosen].sample(rng)
        if self.augment is None or rng.random() >= self.shares[chosen]:
            return sample, rng
        return distort(sample, self.augment, rng), rng


@dataclass(frozen=True)
class StreamState:
    """Where the stream stands: the next batch to be given is `batch` of `chunk`."""

    chunk: int = 0
    batch: int = 0


class ChunkDataset(Dataset[list[Batch]]):
    """Chunk k of the stream as a list of collated batches (map-style, so that workers keep the order)."""

    def __init__(
        self,
        mixture: Mixture,
        collator: Collator,
        batch_seconds: float,
        max_seconds: float,
        chunk_size: int = 256,
    ) -> None:
        if max_seconds > MAX_SECONDS:
            raise ValueError(f"max_seconds={max_seconds} is more than the {MAX_SECONDS:g} s the model takes")
        self.mixture = mixture
        self.collator = collator
        self.batch_seconds = batch_seconds
        self.max_seconds = max_seconds
        self.chunk_size = chunk_size

    def __getitem__(self, chunk: int) -> list[Batch]:
        rows = []
        skipped: Counter[str] = Counter()
        for i in range(chunk * self.chunk_size, (chunk + 1) * self.chunk_size):
            try:
                sample, rng = self.mixture.sample(i)
            except AudioError as error:
                skipped[f"unreadable audio ({error})"] += 1
                continue
            seconds = sum(len(w) for w in sample.waves) / SAMPLE_RATE
            if seconds > self.max_seconds:
                skipped[
                    f"longer than {self.max_seconds:g} s ({sample.example.source}/{sample.example.task})"
                ] += 1
                continue
            row = self.collator.encode(sample, rng)
            if row.transcript_too_long:
                skipped["transcript too long for its clip: no CTC target (the text is still trained on)"] += 1
            rows.append(row)
        rows.sort(key=lambda row: row.seconds + row.text_tokens / TOKENS_PER_SECOND)
        groups: list[list[Row]] = [[]]
        for row in rows:
            if groups[-1] and _padded_seconds([*groups[-1], row]) > self.batch_seconds:
                groups.append([])
            groups[-1].append(row)
        batches = [self.collator.collate(g) for g in groups if g]
        order = np.random.default_rng(np.random.SeedSequence(self.mixture.seed, spawn_key=(chunk, 1)))
        batches = [batches[i] for i in order.permutation(len(batches))]
        if not batches:
            reasons = "; ".join(f"{n} x {reason}" for reason, n in skipped.most_common(3))
            raise ValueError(f"all of {self.chunk_size} examples in a row were skipped: {reasons}")
        if skipped:
            batches[0] = replace(batches[0], skipped=dict(skipped))
        return batches


def _padded_seconds(rows: Sequence[Row]) -> float:
    """Cost of a batch in seconds of audio: padding counts, and so does text."""
    text = max(row.text_tokens for row in rows) / TOKENS_PER_SECOND
    return len(rows) * (max(row.seconds for row in rows) + text)


class _Carried(Dataset[list[Batch] | ValueError]):
    """Brings a worker's error home as it is; raised in the worker it would be buried in a traceback."""

    def __init__(self, dataset: ChunkDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, chunk: int) -> list[Batch] | ValueError:
        try:
            return self.dataset[chunk]
        except ValueError as error:
            return error


class _From(Sampler[int]):
    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        k = self.start
        while True:
            yield k
            k += 1


def stream(dataset: ChunkDataset, state: StreamState, workers: int) -> Iterator[tuple[Batch, StreamState]]:
    """Batches from `state` on, each with the state after it, for ever."""
    loader: DataLoader[list[Batch] | ValueError] = DataLoader(
        _Carried(dataset),
        batch_size=None,
        sampler=_From(state.chunk),
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_one_thread,
        # Its own, so that making a loader does not move torch's random state: a resumed run makes one more.
        generator=torch.Generator(),
    )
    skip = state.batch
    for k, batches in enumerate(loader, start=state.chunk):
        if isinstance(batches, ValueError):
            raise batches
        for b in range(skip, len(batches)):
            after = StreamState(k, b + 1) if b + 1 < len(batches) else StreamState(k + 1, 0)
            yield batches[b], after
        skip = 0


def _one_thread(worker: int) -> None:
    # The training process owns the cores; a worker's own thread pools would only get in its way.
    torch.set_num_threads(1)

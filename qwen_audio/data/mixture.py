"""The training stream: several sources mixed by weight, seeded, the same for any number of workers.

Example number i of the stream depends on the seed and i alone: its source, its content and its augmentation
come from `numpy` generators spawned for i. Examples are taken in chunks; a chunk is sorted into batches of
similar length and its batches are shuffled.

A step of training takes one batch from each of `slots` streams: slot s reads chunks s, s + slots, s + 2 slots ... in
order. The batches of a slot therefore depend on the number of slots alone, not on the number of processes that share
them; each stream resumes at (chunk, batch) exactly, and workers only divide chunks among themselves.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from qwen_audio.audio.features import MAX_SECONDS
from qwen_audio.audio.load import SAMPLE_RATE, AudioError
from qwen_audio.data.augment import Augment
from qwen_audio.data.channel import distort
from qwen_audio.data.collate import Batch, Collator
from qwen_audio.data.encode import Row
from qwen_audio.data.manifest import Sample
from qwen_audio.data.sources import Source

# Number of text tokens that cost as much as a second of audio, which passes through encoder and language model, where
# these are of similar size (with a larger language model text costs more).
TOKENS_PER_SECOND = 80


class Mixture:
    """Examples sampled from sources by weight, augmented; `sample(i)` depends on the seed and i alone.

    Args:
        sources: sources and their weights.
        seed: seed of all sampling.
        augment: distortion of a wave; None leaves all unchanged.
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

    def sample(self, index: int) -> tuple[Any, np.random.Generator]:
        """Example number `index` and the generator to go on with (rendering choices).

        Texts and dialogues are left undistorted.
        """
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(index,)))
        chosen = rng.choice(len(self.sources), p=self.p)
        sample = self.sources[chosen].sample(rng)
        if not isinstance(sample, Sample) or self.augment is None or rng.random() >= self.shares[chosen]:
            return sample, rng
        return distort(sample, self.augment, rng), rng


@dataclass(frozen=True)
class StreamState:
    """Position in the stream: the next batch to be given is `batch` of `chunk`."""

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
                seconds = max((len(w) for w in sample.waves), default=0) / SAMPLE_RATE
                if seconds > self.max_seconds:
                    skipped[f"longer than {self.max_seconds:g} s ({_kind(sample)})"] += 1
                    continue
                row = self.collator.encode(sample, rng)
            except AudioError as error:
                skipped[f"unreadable audio ({error})"] += 1
                continue
            if row.transcript_too_long:
                skipped["transcript too long for its clip: no CTC target (the text is still trained on)"] += 1
            rows.append(row)
        rows.sort(key=lambda row: row.seconds + row.text_tokens / TOKENS_PER_SECOND)
        groups: list[list[Row]] = [[]]
        for row in rows:
            cost = _packed_seconds if self.collator.packing else _padded_seconds
            if groups[-1] and cost([*groups[-1], row]) > self.batch_seconds:
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


def _kind(sample: Any) -> str:
    if isinstance(sample, Sample):
        return f"{sample.example.source}/{sample.example.task}"
    return type(sample).__name__


def _padded_seconds(rows: Sequence[Row]) -> float:
    """Cost of a batch in seconds of audio: padding counts, and so does text."""
    text = max(row.text_tokens for row in rows) / TOKENS_PER_SECOND
    return len(rows) * (max(row.seconds for row in rows) + text)


def _packed_seconds(rows: Sequence[Row]) -> float:
    """Cost of a packed batch in seconds of audio: no padding, text included."""
    return sum(row.seconds + row.text_tokens / TOKENS_PER_SECOND for row in rows)


class _Carried(Dataset[list[Batch] | ValueError]):
    """Returns a worker's error as a value; raised in the worker it would be wrapped in a traceback."""

    def __init__(self, dataset: ChunkDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, chunk: int) -> list[Batch] | ValueError:
        try:
            return self.dataset[chunk]
        except ValueError as error:
            return error


class _Queue:
    """Batches of one slot that are made and not yet taken."""

    def __init__(self, slot: int, state: StreamState) -> None:
        self.slot = slot
        self.first = (
            state.chunk
        )  # the slot's chunks are counted from 0: its chunk k is chunk k * slots + slot
        self.skip = state.batch
        self.asked = self.come = self.batches = 0
        self.ready: deque[tuple[Batch, StreamState]] = deque()

    def waiting(self) -> float:
        usual = self.batches / self.come if self.come else 1.0
        return len(self.ready) + (self.asked - self.come) * usual

    def put(self, batches: Sequence[Batch]) -> None:
        chunk = self.first + self.come
        self.come += 1
        self.batches += len(batches)
        for b in range(self.skip, len(batches)):
            after = StreamState(chunk, b + 1) if b + 1 < len(batches) else StreamState(chunk + 1, 0)
            self.ready.append((batches[b], after))
        self.skip = 0


class _Needed(Sampler[int]):
    """Chooses the chunk to make next: always one of the slot that has the fewest batches waiting.

    It runs ahead of the batches taken, so it counts a chunk that is being made as one of the usual size. Its
    choices change only when a chunk is made, never the batches of a slot.
    """

    def __init__(self, queues: Mapping[int, _Queue], slots: int) -> None:
        self.queues = queues
        self.slots = slots
        self.given: deque[int] = deque()  # slots whose chunks are being made, in order

    def __iter__(self) -> Iterator[int]:
        while True:
            queue = min(self.queues.values(), key=_Queue.waiting)
            queue.asked += 1
            self.given.append(queue.slot)
            yield (queue.first + queue.asked - 1) * self.slots + queue.slot


def stream(
    dataset: ChunkDataset, states: Mapping[int, StreamState], workers: int, slots: int = 1
) -> Iterator[tuple[dict[int, Batch], dict[int, StreamState]]]:
    """A batch for each slot of `states` at a time, with the state after it, for ever.

    Args:
        dataset: the chunks of all slots.
        states: position of each slot that is read here; slots are 0 to `slots` - 1.
        workers: data processes; 0 makes the batches in this one.
        slots: number of slots in all processes together.
    """
    queues = {slot: _Queue(slot, state) for slot, state in sorted(states.items())}
    sampler = _Needed(queues, slots)
    loader: DataLoader[list[Batch] | ValueError] = DataLoader(
        _Carried(dataset),
        batch_size=None,
        sampler=sampler,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_one_thread,
        # Its own generator, to keep torch's random state unchanged: a resumed run makes one loader more.
        generator=torch.Generator(),
    )
    chunks = iter(loader)
    while True:
        while not all(q.ready for q in queues.values()):
            batches = next(chunks)
            if isinstance(batches, ValueError):
                raise batches
            queues[sampler.given.popleft()].put(batches)  # a loader brings its results in order
        taken = {slot: q.ready.popleft() for slot, q in queues.items()}
        yield {s: b for s, (b, _) in taken.items()}, {s: a for s, (_, a) in taken.items()}


def _one_thread(worker: int) -> None:
    # The training process uses all cores; a worker's own thread pools would slow it down.
    torch.set_num_threads(1)

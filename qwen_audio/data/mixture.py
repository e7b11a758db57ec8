"""The training stream: several sources mixed by weight, seeded, the same for any number of workers.

Example number i of the stream depends on the seed and i alone: its source, its content and its augmentation
come from `numpy` generators spawned for i. Examples are taken in chunks; a chunk is sorted into batches of
similar length and its batches are shuffled. The stream therefore resumes at (chunk, batch) exactly, and
workers only divide the chunks among themselves.
"""

from __future__ import annotations

import importlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from qwen_audio.audio import MAX_SECONDS, SAMPLE_RATE, AudioError, load_audio
from qwen_audio.data.augment import Augment
from qwen_audio.data.collate import Batch, Collator
from qwen_audio.data.manifest import Example, Sample, read_manifest
from qwen_audio.timestamps import Word


# A change of speed moves pitch and voice, a change of gain moves loudness: no such distortion where the answer
# depends on it.
SPEED_MATTERS = ("note_pitch", "note_analysis", "speaker_verification", "speaker_gender", "speaker_age")
LEVEL_MATTERS = ("note_velocity", "note_analysis")


class Source(Protocol):
    """Anything that makes one example from a generator of random numbers."""

    def sample(self, rng: np.random.Generator) -> Sample: ...


class ManifestSource:
    """Examples of a manifest; tasks and sources are balanced by the square root of their row counts.

    Args:
        examples: rows of a manifest, with absolute audio paths.
        weights: factors for groups, by "source/task", "source" or "task"; 0 leaves a group out.
        alpha: a group of n rows is drawn with weight n ** alpha (1: as they occur, 0: all equal).
    """

    def __init__(
        self, examples: Sequence[Example], weights: dict[str, float] | None = None, alpha: float = 0.5
    ) -> None:
        weights = weights or {}
        groups: dict[tuple[str, str], list[Example]] = defaultdict(list)
        for e in examples:
            groups[e.source or "", e.task].append(e)
        known = {k for s, t in groups for k in (f"{s}/{t}", s, t)}
        if unknown := sorted(set(weights) - known):
            raise ValueError(f"weights name {unknown[0]!r}, but no row has that source, task or source/task")
        self.groups = list(groups.values())
        sizes = np.array([len(g) ** alpha for g in self.groups])
        for i, (s, t) in enumerate(groups):
            sizes[i] *= weights.get(f"{s}/{t}", weights.get(s, 1.0) * weights.get(t, 1.0))
        if not sizes.sum() > 0:
            raise ValueError("the manifest has no rows left with a weight above 0")
        self.p = sizes / sizes.sum()

    def sample(self, rng: np.random.Generator) -> Sample:
        group = self.groups[rng.choice(len(self.groups), p=self.p)]
        example = group[rng.integers(len(group))]
        return Sample(example, [load_audio(a.path, start=a.start, duration=a.duration) for a in example.audio])


class JoinedWords:
    """Recordings of single words of one speaker joined with random gaps: real audio with exact word times."""

    def __init__(self, examples: Sequence[Example], max_words: int = 8) -> None:
        self.by_speaker: dict[str, list[Example]] = defaultdict(list)
        for e in examples:
            if e.speaker and " " not in e.text and e.task in ("asr", "keyword_spotting"):
                self.by_speaker[e.speaker].append(e)
        self.speakers = sorted(self.by_speaker)
        self.max_words = max_words
        if not self.speakers:
            raise ValueError("no single-word rows with a speaker to join")

    def sample(self, rng: np.random.Generator) -> Sample:
        speaker = self.speakers[rng.integers(len(self.speakers))]
        rows = self.by_speaker[speaker]
        chosen = [rows[i] for i in rng.integers(len(rows), size=rng.integers(1, self.max_words + 1))]
        pieces: list[np.ndarray] = []
        words: list[Word] = []
        at = 0
        for e in chosen:
            gap = int(rng.uniform(0, 0.35) * SAMPLE_RATE) if rng.random() < 0.9 else 0
            wave = load_audio(e.audio[0].path)
            pieces += [np.zeros(gap, np.float32), wave]
            start = at + gap
            at = start + len(wave)
            words.append(Word(e.text, start / SAMPLE_RATE, at / SAMPLE_RATE))
        pieces.append(np.zeros(int(rng.uniform(0, 0.3) * SAMPLE_RATE), np.float32))
        wave = np.concatenate(pieces)
        noise = 10 ** rng.uniform(-4.5, -3) * rng.standard_normal(len(wave), dtype=np.float32)
        task = "word_timestamps" if rng.random() < 0.6 else "asr"
        example = Example(
            id="joined",
            task=task,
            audio=[],
            language=chosen[0].language,
            text=" ".join(e.text for e in chosen),
            words=words,
            speaker=speaker,
            source=chosen[0].source,
        )
        return Sample(example, [wave + noise.astype(np.float32)])


@dataclass(frozen=True)
class SourceConfig:
    """One source of the mixture.

    Attributes:
        kind: "speech", "notes", "sounds" (synthetic), "manifest" or "joined" (single words of a manifest).
        weight: how often it is drawn, relative to the others.
        path: the manifest, for "manifest" and "joined".
        only: for "manifest" and "joined", keep rows of this source only.
        weights: for "manifest", factors by "source/task", "source" or "task".
        options: keyword arguments of the synthetic generator.
    """

    kind: str
    weight: float
    path: str | None = None
    only: str | None = None
    weights: dict[str, float] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def build(self) -> Source:
        """The source itself.

        Raises:
            ValueError: an unknown kind, a missing path, or options the generator does not take.
        """
        if self.kind in ("manifest", "joined"):
            if not self.path:
                raise ValueError(f"a source of kind {self.kind!r} needs `path`, the manifest to read")
            rows = [e for e in read_manifest(self.path) if self.only in (None, e.source)]
            if not rows:
                raise ValueError(f"{self.path}: no rows of source {self.only!r}")
            return ManifestSource(rows, self.weights) if self.kind == "manifest" else JoinedWords(rows)
        if self.kind not in _GENERATORS:
            raise ValueError(
                f"unknown kind of source {self.kind!r}; use one of manifest, joined, {', '.join(_GENERATORS)}"
            )
        module, name = _GENERATORS[self.kind]
        # Imported late: generators need the `synth` extra, which reading a manifest does not.
        generator = getattr(importlib.import_module(module), name)
        try:
            return generator(**self.options)
        except TypeError as error:
            raise ValueError(f"options of source {self.kind!r}: {error}") from error


_GENERATORS = {
    "speech": ("qwen_audio.data.synthetic.speech", "SpeechGenerator"),
    "notes": ("qwen_audio.data.synthetic.notes", "NoteGenerator"),
    "sounds": ("qwen_audio.data.synthetic.sounds", "SoundGenerator"),
}


class Mixture:
    """Examples drawn from sources by weight, augmented; `sample(i)` depends on the seed and i alone."""

    def __init__(
        self, sources: Sequence[tuple[Source, float]], seed: int, augment: Augment | None = None
    ) -> None:
        self.sources = [s for s, _ in sources]
        p = np.array([w for _, w in sources], dtype=float)
        if not len(p) or (p < 0).any() or not p.sum() > 0:
            raise ValueError("a mixture needs sources with weights of 0 or more, at least one above 0")
        self.p = p / p.sum()
        self.seed = seed
        self.augment = augment

    def sample(self, index: int) -> tuple[Sample, np.random.Generator]:
        """Example number `index` and the generator to go on with (rendering choices)."""
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(index,)))
        sample = self.sources[rng.choice(len(self.sources), p=self.p)].sample(rng)
        if self.augment is None:
            return sample, rng
        example, waves = sample.example, []
        augment = self.augment
        if example.task in SPEED_MATTERS:
            augment = replace(augment, speed=0.0)
        if example.task in LEVEL_MATTERS:
            augment = replace(augment, gain=0.0, clip=0.0)
        for wave in sample.waves:
            # Word times belong to the first clip: only single-clip examples have them.
            wave, words = augment(wave, rng, example.words)
            waves.append(wave)
            if words is not None:
                example = example.model_copy(update={"words": words})
        return Sample(example, waves), rng


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
                skipped[f"longer than {self.max_seconds:g} s ({sample.example.source}/{sample.example.task})"] += 1
                continue
            rows.append(self.collator.encode(sample, rng))
        rows.sort(key=lambda row: row.seconds)
        groups: list[list[Any]] = [[]]
        for row in rows:
            # Padded cost: the longest clip (the newest) times the number of rows.
            if groups[-1] and row.seconds * (len(groups[-1]) + 1) > self.batch_seconds:
                groups.append([])
            groups[-1].append(row)
        batches = [self.collator.collate(g) for g in groups if g]
        order = np.random.default_rng(np.random.SeedSequence(self.mixture.seed, spawn_key=(chunk, 1)))
        batches = [batches[i] for i in order.permutation(len(batches))]
        if batches and skipped:
            batches[0] = replace(batches[0], skipped=dict(skipped))
        return batches


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
    loader: DataLoader[list[Batch]] = DataLoader(
        dataset,
        batch_size=None,
        sampler=_From(state.chunk),
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_one_thread,
    )
    skip = state.batch
    for k, batches in enumerate(loader, start=state.chunk):
        for b in range(skip, len(batches)):
            after = StreamState(k, b + 1) if b + 1 < len(batches) else StreamState(k + 1, 0)
            yield batches[b], after
        skip = 0


def _one_thread(worker: int) -> None:
    # The training process owns the cores; a worker's own thread pools would only get in its way.
    torch.set_num_threads(1)

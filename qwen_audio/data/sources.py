"""Sources of training examples: manifests, joined recordings of words, long speech, or any generator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE, load_audio
from qwen_audio.data.dialogues import Dialogue, DialogueSample
from qwen_audio.data.manifest import Example, Sample
from qwen_audio.format.timestamps import Word


class Source(Protocol):
    """Interface of a source: it makes one example from a random generator."""

    def sample(self, rng: np.random.Generator) -> Any: ...


class DialogueSource:
    """Dialogues of a manifest, each as often as any other."""

    def __init__(self, dialogues: Sequence[Dialogue]) -> None:
        self.dialogues = list(dialogues)

    def sample(self, rng: np.random.Generator) -> DialogueSample:
        """A dialogue with its audio read."""
        dialogue = self.dialogues[rng.integers(len(self.dialogues))]
        waves = [load_audio(ref.path, start=ref.start, duration=ref.duration) for ref in dialogue.audio]
        return DialogueSample(dialogue, waves)


class ManifestSource:
    """Examples of a manifest; tasks and sources are balanced by the square root of their row counts.

    Args:
        examples: rows of a manifest, with absolute audio paths.
        weights: factors for groups, by "source/task", "source" or "task"; 0 leaves a group out.
        alpha: a group of n rows is sampled with weight n ** alpha (1: as they occur, 0: all equal).
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
        return Sample(
            example, [load_audio(a.path, start=a.start, duration=a.duration) for a in example.audio]
        )


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
            wave = load_audio(e.audio[0].path, start=e.audio[0].start, duration=e.audio[0].duration)
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


class LongSpeech:
    """Utterances joined to a sampled length, to train late positions, which short utterances never reach.

    Args:
        source: gives utterances whose words have times.
        seconds: shortest and longest total length.
    """

    def __init__(self, source: Source, seconds: tuple[float, float] = (10.0, 28.0)) -> None:
        self.source = source
        self.seconds = seconds

    def sample(self, rng: np.random.Generator) -> Sample:
        wanted = rng.uniform(*self.seconds) * SAMPLE_RATE
        first: Example | None = None
        pieces: list[np.ndarray] = []
        words: list[Word] = []
        texts: list[str] = []
        at = 0
        while True:
            part = self.source.sample(rng)
            first = first or part.example
            if part.example.language != first.language:
                continue
            gap = np.zeros(int(rng.uniform(0.05, 0.6) * SAMPLE_RATE), np.float32)
            if at + len(gap) + len(part.waves[0]) > wanted and pieces:
                break
            shift = (at + len(gap)) / SAMPLE_RATE
            words += [Word(w.word, w.start + shift, w.end + shift) for w in part.example.words or ()]
            texts.append(part.example.text)
            pieces += [gap, part.waves[0]]
            at += len(gap) + len(part.waves[0])
        task = "asr" if rng.random() < 0.5 else "word_timestamps"
        update = {"id": "long", "task": task, "text": " ".join(texts), "words": words, "speaker": None}
        example = first.model_copy(update=update)
        return Sample(example, [np.concatenate(pieces)])

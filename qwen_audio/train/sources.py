"""The sources of a training run: `sources` of the YAML configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qwen_audio.data.dialogues import read_dialogues
from qwen_audio.data.encode import TextSample
from qwen_audio.data.manifest import Example, ManifestError, read_manifest
from qwen_audio.data.sources import DialogueSource, JoinedWords, ManifestSource, Source
from qwen_audio.format.example import SPEECH_SOURCE, SYNTHETIC_SOURCE
from qwen_audio.format.task_table import TASKS
from qwen_audio.sft.make import ChatWorld
from qwen_audio.synthetic.kinds import with_options
from qwen_audio.synthetic.speech.sentences import utterance
from qwen_audio.synthetic.speech.words import join
from qwen_audio.synthetic.world import SYNTHETIC_KINDS, source_of

_SPOKEN = ("asr", "word_timestamps")


class TextSource:
    """Random texts, on which a language model is trained before it gets audio.

    Args:
        path: a UTF-8 file with a text a line; None: sentences of the synthetic world.
        languages: of the synthetic sentences, with weights.
        sentences: most synthetic sentences in a text.
    """

    def __init__(
        self, path: str | None = None, languages: dict[str, float] | None = None, sentences: int = 4
    ) -> None:
        self.lines: list[str] = []
        self.sentences = sentences
        languages = languages or {"en": 1.0}
        self.languages = list(languages)
        self.p = np.array(list(languages.values()), dtype=float)
        self.p /= self.p.sum()
        if path is not None:
            try:
                text = Path(path).read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise ManifestError(f"{path}: is not UTF-8 text ({error.reason}): save it as UTF-8") from None
            self.lines = [line.strip() for line in text.splitlines() if line.strip()]
            if not self.lines:
                raise ManifestError(f"{path}: has no text: write one text a line")

    def sample(self, rng: np.random.Generator) -> TextSample:
        """One text."""
        if self.lines:
            return TextSample(self.lines[rng.integers(len(self.lines))])
        language = self.languages[rng.choice(len(self.languages), p=self.p)]
        count = int(rng.integers(1, self.sentences + 1))
        return TextSample(" ".join(join(language, utterance(rng, language)) for _ in range(count)))


@dataclass(frozen=True)
class SourceConfig:
    """One source of the mixture.

    Attributes:
        kind: "speech", "long_speech", "speech_questions", "spoken", "sounds", "scenes", "notes", "music", "world"
            (synthetic; the last one is every task), "manifest", "joined" (single words of a manifest), "text" (without
            audio); dialogues: "chat_world" (made on the fly), "dialogues" (of a manifest).
        weight: sampling weight, relative to the other sources.
        path: the manifest, for "manifest", "joined" and "dialogues"; for "text" a file with a text a line, or null for
            synthetic sentences.
        only: for "manifest", "joined" and "dialogues", keep rows of this source only.
        weights: for "manifest", factors by "source/task", "source" or "task".
        options: keyword arguments of the synthetic generator.
        augment_share: share of its examples that are distorted; null: the share of the run.
    """

    kind: str
    weight: float
    path: str | None = None
    only: str | None = None
    weights: dict[str, float] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    augment_share: float | None = None

    def build(self) -> Source | DialogueSource:
        """The source itself.

        Raises:
            ValueError: an unknown kind, a missing path, or options the generator does not take.
        """
        if self.kind == "dialogues":
            found = [d for d in read_dialogues(self._manifest()) if self.only in (None, d.source)]
            if not found:
                raise ValueError(f"{self.path}: no dialogues of source {self.only!r}")
            return DialogueSource(found)
        if self.kind in ("manifest", "joined"):
            rows = self._rows()
            return ManifestSource(rows, self.weights) if self.kind == "manifest" else JoinedWords(rows)
        if self.kind == "text":
            return with_options(self.kind, TextSource, {**self.options, "path": self.path})
        if self.kind == "chat_world":
            return with_options(self.kind, ChatWorld, self.options)
        if self.kind in SYNTHETIC_KINDS:
            return source_of(self.kind, self.options)
        known = ("manifest", "joined", "dialogues", "text", "chat_world", *SYNTHETIC_KINDS)
        raise ValueError(f"unknown kind of source {self.kind!r}; use one of {', '.join(known)}")

    def _manifest(self) -> str:
        if not self.path:
            raise ValueError(f"a source of kind {self.kind!r} needs `path`, the manifest to read")
        return self.path

    def _rows(self) -> list[Example]:
        rows = [e for e in read_manifest(self._manifest()) if self.only in (None, e.source)]
        if not rows:
            raise ValueError(f"{self.path}: no rows of source {self.only!r}")
        return rows

    def datasets(self) -> set[tuple[str, str]]:
        """(source, task) of all examples that this source can give. For synthetic sources it is a superset that does
        not depend on weights and options, so that a run with fewer tasks has the same ids.

        Raises ValueError as `build` does for a manifest.
        """
        if self.kind == "joined":
            return {(row.source or "", task) for row in self._rows() for task in _SPOKEN}
        if self.kind == "manifest":
            return {(row.source or "", row.task) for row in self._rows()}
        if self.kind in ("text", "dialogues", "chat_world"):
            return set()  # they have a form of their own
        speech = {(SPEECH_SOURCE, task) for task in (*_SPOKEN, "audio_qa")}
        if self.kind in ("speech", "long_speech", "speech_questions"):
            return speech
        # The other generators share one source name, and some of them make the tasks of others too.
        return {(SYNTHETIC_SOURCE, task) for task in TASKS} | (speech if self.kind == "world" else set())

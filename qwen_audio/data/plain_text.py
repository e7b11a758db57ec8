"""Text without audio, on which a language model learns to write before it hears: lines of a file, or synthetic ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qwen_audio.data.encode import TextSample
from qwen_audio.data.manifest import ManifestError


class TextSource:
    """Texts drawn at random.

    Args:
        path: a UTF-8 file with a text a line; None: sentences of the synthetic world.
        languages: of the synthetic sentences, with weights.
        sentences: how many synthetic sentences a text has at most.
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
        from qwen_audio.data.synthetic.spoken_text import utterance
        from qwen_audio.data.synthetic.text import join

        language = self.languages[rng.choice(len(self.languages), p=self.p)]
        count = int(rng.integers(1, self.sentences + 1))
        return TextSample(" ".join(join(language, utterance(rng, language)) for _ in range(count)))

"""Sound that is still being made: what was said as soon as it ends, and what is being said until then.

live = Live(engine, Options())
for block in microphone():
    for passage in live.feed(block): ...   # final
    live.partial()                         # the words so far, which may still change
live.finish()
"""

from __future__ import annotations

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.inference.engine import Engine
from qwen_audio.results.passages import Passage
from qwen_audio.transcribe.recording import Options, passage_of
from qwen_audio.transcribe.segments import Segmenter, Window

REFRESH = 1.0  # seconds of new sound after which what is being said is transcribed again


class Live:
    """Feeds blocks (n,) float32 at 16 kHz of one source to an engine; see the module."""

    def __init__(self, engine: Engine, options: Options, refresh: float = REFRESH) -> None:
        """refresh: seconds of new sound after which `partial` transcribes again."""
        self.engine, self.options, self.refresh = engine, options, refresh
        self._segmenter = Segmenter(options.detect)
        self._partial: Passage | None = None
        self._transcribed = 0  # samples that had come when _partial was made

    @property
    def seconds(self) -> float:
        """How much sound has come."""
        return self._segmenter.position / SAMPLE_RATE

    def feed(self, block: np.ndarray) -> list[Passage]:
        """What has ended with this block."""
        return self._final(self._segmenter.feed(block))

    def finish(self) -> list[Passage]:
        """What the end of the sound ends."""
        return self._final(self._segmenter.finish())

    def partial(self) -> Passage | None:
        """What is being said, from its beginning; None in a pause. Transcribed anew every `refresh` seconds."""
        window = self._segmenter.open_window()
        if window is None:
            self._partial = None
        elif self._segmenter.position - self._transcribed >= self.refresh * SAMPLE_RATE:
            self._partial = self._transcribe(window)
            self._transcribed = self._segmenter.position
        return self._partial

    def _final(self, windows: list[Window]) -> list[Passage]:
        if windows:
            self._partial = None
        found = [self._transcribe(window) for window in windows]
        return [passage for passage in found if passage is not None]

    def _transcribe(self, window: Window) -> Passage | None:
        output = self.engine.run([self.options.request(window.wave)], 1)[0]
        return passage_of(window, output, self.options.word_timestamps)

"""Live transcription: final passages as soon as they end, and partial ones until then.

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

REFRESH = 1.0  # seconds of new sound after which the open passage is transcribed again


class Live:
    """Transcriber of blocks (n,) float32 at 16 kHz of one source; see the module."""

    def __init__(self, engine: Engine, options: Options, refresh: float = REFRESH) -> None:
        """refresh: seconds of new sound after which `partial` transcribes again."""
        self.engine, self.options, self.refresh = engine, options, refresh
        self._segmenter = Segmenter(options.detect)
        self._partial: Passage | None = None
        self._transcribed = 0  # samples fed when _partial was made

    @property
    def seconds(self) -> float:
        """Seconds of sound fed so far."""
        return self._segmenter.position / SAMPLE_RATE

    def feed(self, block: np.ndarray) -> list[Passage]:
        """Passages that have ended with this block."""
        return self._final(self._segmenter.feed(block))

    def finish(self) -> list[Passage]:
        """The last passages, at the end of the sound."""
        return self._final(self._segmenter.finish())

    def partial(self) -> Passage | None:
        """The open passage, from its beginning; None in a pause. Transcribed anew every `refresh` seconds."""
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

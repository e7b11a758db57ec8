"""Sound that is still being made: what was said as soon as it ends, and what is being said until then.

live = Live(engine, Options())
for block in microphone():
    for passage in live.feed(block): ...   # final
    live.partial()                         # the words so far, which may still change
live.finish()
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from qwen_audio.audio import SAMPLE_RATE
from qwen_audio.long_audio.ctrl_c import WAIT
from qwen_audio.long_audio.job import Options, passage_of
from qwen_audio.long_audio.segments import Segmenter, Window
from qwen_audio.packages import check_packages
from qwen_audio.passages import Passage
from qwen_audio.serve.engine import Engine

REFRESH = 1.0  # seconds of new sound after which what is being said is transcribed again
BEHIND = 600.0  # seconds of a microphone that may wait to be transcribed
BLOCK = 1600  # samples that a microphone gives at once: 0.1 s


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


def microphone(ended: Callable[[], bool] = lambda: False) -> Iterator[np.ndarray]:
    """Blocks (1600,) of the default microphone, until `ended` says so: then what it had heard comes, and no more.

    Raises:
        ValueError: there is no microphone, or no PortAudio; or sound was lost because it is not taken fast enough.
    """
    check_packages("microphone")
    try:
        import sounddevice
    except OSError as error:  # the package is there, the library that it needs is not
        raise ValueError(
            f"the microphone needs the PortAudio library ({error}): install it (on Debian libportaudio2), "
            "or pipe the sound into qwen-audio transcribe -"
        ) from None
    blocks: queue.Queue[np.ndarray] = queue.Queue(round(BEHIND * SAMPLE_RATE / BLOCK))
    lost = threading.Event()

    def heard(data: np.ndarray, frames: int, time: Any, status: Any) -> None:
        try:
            blocks.put_nowait(data[:, 0].copy())
        except queue.Full:
            lost.set()
        if status.input_overflow:
            lost.set()

    try:
        stream = sounddevice.InputStream(
            samplerate=SAMPLE_RATE, channels=1, dtype="float32", blocksize=BLOCK, callback=heard
        )
        stream.start()
    except sounddevice.PortAudioError as error:
        raise ValueError(
            f"no microphone can be opened ({error}): connect one, or check its settings"
        ) from None
    with stream:
        while not lost.is_set() and not ended():
            with suppress(queue.Empty):
                yield blocks.get(timeout=WAIT)
    if lost.is_set():
        raise ValueError(
            "the microphone gives sound faster than it can be transcribed, and some was lost: use a smaller model, or "
            "record to a file and transcribe that"
        )
    while not blocks.empty():
        yield blocks.get()

"""Capture of the default microphone, in blocks of 0.1 s at 16 kHz."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.packages import check_packages

BEHIND = 600.0  # seconds of a microphone that may wait to be transcribed
BLOCK = 1600  # samples that a microphone gives at once: 0.1 s
WAIT = 0.2  # seconds without sound after which `ended` is asked again


def microphone(ended: Callable[[], bool] = lambda: False) -> Iterator[np.ndarray]:
    """Blocks (1600,) of the default microphone until `ended` is true; what was captured before that is still given.

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

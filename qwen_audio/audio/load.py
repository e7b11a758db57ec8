"""Any recording as a 16 kHz mono float32 waveform.

    wave = load_audio("speech.m4a")  # (n,) float32, 16 kHz, the whole recording

`load_audio` never shortens a recording silently. Log-mel features of a waveform: features.py.
"""

from __future__ import annotations

import os
from typing import BinaryIO

import numpy as np

from qwen_audio.audio.decode import MAX_RATE, MIN_RATE, SAMPLE_RATE, AudioError, decode, to_float

__all__ = ["SAMPLE_RATE", "AudioError", "AudioSource", "load_audio"]

MAX_CHANNELS = 16  # of a 2-D array: an axis longer than this is time
LOUDEST = 256.0  # a float array beyond this holds integers that were not scaled
ROUNDING = 0.1  # seconds by which a window may pass the end: manifests and containers round their durations

AudioSource = str | os.PathLike[str] | bytes | BinaryIO | tuple[np.ndarray, int]


def load_audio(source: AudioSource, *, start: float = 0.0, duration: float | None = None) -> np.ndarray:
    """Any recording as (n,) float32 at 16 kHz, mono by the mean of its channels.

    `source` is a path, the bytes of a file, a file object opened for reading bytes, or (array, rate). An
    array is (n,), or 2-D where one axis is the channels: the axis of length 1, else the only one of at most
    16 entries; anything else is ambiguous and an error. Integers of 8, 16 and 32 bits are scaled by their
    range; floats are taken as they are, full scale 1.0.

    `start` and `duration` (seconds) choose a window; without them the whole recording is returned, whatever
    its length. A window may pass the end by at most 0.1 s, and then ends with the recording. Resampling is
    soxr's high-quality setting; a window equals the same part of the whole recording.

    Raises AudioError, with one sentence that names the source, for anything that is not audio, holds no
    sample, NaN or infinite values, or ends before it says it does (the window still loads if it can be read).
    """
    name = source_name(source)
    if not np.isfinite(start) or start < 0:
        raise AudioError(f"{name}: start is {start}, but must be 0 or more seconds.")
    if duration is not None and not (np.isfinite(duration) and duration > 0):
        raise AudioError(f"{name}: duration is {duration}, but must be over 0 seconds (None: to the end).")
    begin = round(start * SAMPLE_RATE)
    if isinstance(source, tuple):
        wave, rate = from_array(source, name)
        first, length, defect = 0, len(wave) / rate, None
    else:
        found = decode(readable_source(source, name), name, start, duration)
        wave, rate, first, length, defect = found.wave, found.rate, found.first, found.end, found.defect
    asked = None if duration is None else start + duration
    if defect and (asked is None or asked > length):
        raise AudioError(f"{name} {defect}; copy it again, or pass start and duration to load what is left.")
    if length == 0:
        raise AudioError(f"{name} holds no samples: record or export it again.")
    if start >= length or (asked is not None and asked > length + ROUNDING):
        window = f"{start:g} s to {'the end' if asked is None else f'{asked:g} s'}"
        raise AudioError(
            f"{name} is {length:.2f} s long, so {window} is not in it: correct start and duration."
        )
    _check_finite(wave, rate, first, name)
    if rate != SAMPLE_RATE:
        import soxr

        wave = soxr.resample(wave, rate, SAMPLE_RATE)
        first = first * SAMPLE_RATE // rate  # exact: decode starts on a sample of both rates
    end = None if asked is None else round(asked * SAMPLE_RATE) - first
    wave = wave[begin - first : end]
    if not len(wave):
        raise AudioError(f"{name} holds less than one sample at {SAMPLE_RATE} Hz: choose a longer recording.")
    return np.ascontiguousarray(wave, dtype=np.float32)


def source_name(source: object) -> str:
    """Name of the source in messages."""
    if isinstance(source, (str, os.PathLike)):
        name = os.fsdecode(os.fspath(source))
        return f"'{name if len(name) <= 300 else name[:300] + '...'}'"
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"audio of {len(source)} bytes"
    if isinstance(source, tuple):
        return "audio array"
    label = getattr(source, "name", None)
    return f"'{label}'" if isinstance(label, str) else "audio stream"


def readable_source(source: object, name: str) -> str | os.PathLike[str] | bytes:
    if isinstance(source, (str, os.PathLike)):
        return source
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    read = getattr(source, "read", None)
    if read is None:
        kind = type(source).__name__
        raise AudioError(
            f"audio cannot be a {kind}: pass a path, bytes, a binary file object or (array, rate)."
        )
    data = read()
    if not isinstance(data, bytes):
        raise AudioError(f"{name} was opened as text: open it with mode 'rb'.")
    if not data:
        raise AudioError(f"{name} gave no bytes: rewind it with seek(0), or pass a file that is not empty.")
    return data


def from_array(source: tuple[np.ndarray, int], name: str) -> tuple[np.ndarray, int]:
    if len(source) != 2 or np.ndim(source[1]) != 0:
        raise AudioError(f"{name} must be the pair (array, rate in Hz).")
    samples, rate = np.asarray(source[0]), source[1]
    try:
        hertz = int(rate)
    except (TypeError, ValueError):
        hertz = 0
    if hertz != rate or not MIN_RATE <= hertz <= MAX_RATE:
        raise AudioError(f"{name} has rate {rate!r}: pass whole Hz from {MIN_RATE} to {MAX_RATE}.")
    if samples.dtype.kind not in "iuf" or samples.dtype.itemsize > (8 if samples.dtype.kind == "f" else 4):
        raise AudioError(f"{name} has type {samples.dtype}: pass float32, float64, int16, int32 or uint8.")
    if samples.ndim == 2 and samples.size:
        rows, columns = samples.shape
        if (rows == 1) != (columns == 1):
            channels_first = rows == 1
        elif (rows <= MAX_CHANNELS) != (columns <= MAX_CHANNELS):
            channels_first = rows <= MAX_CHANNELS
        elif rows == columns == 1:
            channels_first = True
        else:
            raise AudioError(f"{name} of shape {samples.shape} has no clear channel axis: pass (n,).")
        samples = to_float(samples).mean(axis=0 if channels_first else 1, dtype=np.float32)
    elif samples.ndim not in (1, 2):
        raise AudioError(f"{name} has shape {samples.shape}: pass (n,) or (channels, n).")
    if samples.dtype.kind == "f" and samples.size and LOUDEST < np.abs(samples).max() < np.inf:
        raise AudioError(f"{name} holds floats beyond {LOUDEST:g}: divide them by full scale, e.g. 32768.")
    return to_float(samples.reshape(-1)), hertz


def _check_finite(wave: np.ndarray, rate: int, first: int, name: str) -> None:
    finite = np.isfinite(wave)
    if not finite.all():
        second = (first + int(np.argmin(finite))) / rate
        count = int(len(finite) - np.count_nonzero(finite))
        raise AudioError(f"{name} has {count} NaN or infinite samples from {second:.3f} s on: repair it.")

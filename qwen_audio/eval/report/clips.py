"""Recordings inside a page: small MP3 files, and the outline of a wave."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Any

import av
import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE

BIT_RATE = 32_000  # bits a second; 16 kHz mono speech and notes are clear at it
_ENCODER = "libmp3lame"


def as_mp3(wave: np.ndarray) -> bytes:
    """(n,) float32 at 16 kHz as an MP3 file, which every browser plays; ValueError where PyAV lacks the encoder."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp3") as container:
        try:
            stream: Any = container.add_stream(_ENCODER, rate=SAMPLE_RATE, layout="mono")
        except av.codec.codec.UnknownCodecError as error:
            raise ValueError(f"this PyAV has no {_ENCODER}: install PyAV from its wheel") from error
        stream.bit_rate = BIT_RATE
        samples = np.round(np.clip(wave, -1.0, 1.0) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()


def outline(wave: np.ndarray, columns: int) -> np.ndarray:
    """Lowest and highest sample in each of `columns` equal stretches, (columns, 2), scaled so that the loudest is 1."""
    edges = np.linspace(0, len(wave), columns + 1).astype(int)
    peak = float(np.abs(wave).max(initial=0.0)) or 1.0
    found = np.zeros((columns, 2))
    for column, (first, last) in enumerate(pairwise(edges)):
        if last > first:
            found[column] = wave[first:last].min() / peak, wave[first:last].max() / peak
    return found

"""Lossy codecs of telephones, streaming services and messengers: a waveform encoded and decoded in memory.

    pass_codec(wave, "opus", 16000)   # (n,) float32 in, (n,) float32 out, nothing moved in time

"mp3", "opus" and "amr" (the speech codec of mobile telephones, the successor of GSM's) are real encoders, run
through PyAV packet by packet on one thread, so that the same wave gives the same bytes; "g711" is the fixed
telephone's eight-bit mu-law at 8 kHz, in numpy.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
import soxr

from qwen_audio.audio.load import SAMPLE_RATE


class Codec(NamedTuple):
    """Settings of one codec.

    encoder, decoder: names in FFmpeg; rate: samples a second that the encoder is given; format: of its
    samples; bit_rates: bits a second that may be asked for, the lowest first; options: of the encoder; delay:
    samples at 16 kHz by which the output lags after the decoder has dropped the declared priming samples
    (a test measures it).
    """

    encoder: str
    decoder: str
    rate: int
    format: str
    bit_rates: tuple[int, ...]
    options: dict[str, str]
    delay: int = 0


_MP3 = (16000, 24000, 32000, 48000)
_OPUS = (8000, 12000, 16000, 24000, 32000)
_AMR = (4750, 5150, 5900, 6700, 7400, 7950, 10200, 12200)
CODECS: dict[str, Codec] = {
    # Fastest setting of both: three times as fast, with a quality no better than that of files in circulation.
    "mp3": Codec("libmp3lame", "mp3float", 16000, "fltp", _MP3, {"compression_level": "9"}),
    "opus": Codec("libopus", "libopus", 16000, "flt", _OPUS, {"compression_level": "0"}),
    "amr": Codec("libopencore_amrnb", "amrnb", 8000, "s16", _AMR, {}, 80),
    "g711": Codec("", "", 8000, "s16", (64000,), {}),
}
_MU = 255.0  # of the mu-law curve, ITU-T G.711


def mu_law(wave: np.ndarray) -> np.ndarray:
    """`wave` (n,) within -1..1, quantised to eight bits on the mu-law curve (ITU-T G.711, continuous form)."""
    curved = np.sign(wave) * np.log1p(np.float32(_MU) * np.abs(wave)) / np.float32(np.log1p(_MU))
    steps = np.round(curved * np.float32(127.0)) / np.float32(127.0)
    return np.sign(steps) * np.expm1(np.abs(steps) * np.float32(np.log1p(_MU))) / np.float32(_MU)


def pass_codec(wave: np.ndarray, name: str, bit_rate: int | None = None) -> np.ndarray:
    """Encode and decode `wave` (n,) at 16 kHz, within -1..1: (n,) float32 within -1..1, without delay.

    bit_rate: one of the codec's `bit_rates`, the highest if None. Raises ValueError for another codec or rate,
    for a wave that is empty or not mono, and where this build of PyAV lacks the encoder.
    """
    if name not in CODECS:
        raise ValueError(f"unknown codec {name!r}: use one of {', '.join(CODECS)}")
    codec = CODECS[name]
    bit_rate = codec.bit_rates[-1] if bit_rate is None else bit_rate
    if bit_rate not in codec.bit_rates:
        raise ValueError(
            f"{name} has no {bit_rate} bits a second: use {', '.join(map(str, codec.bit_rates))}"
        )
    if wave.ndim != 1 or wave.size == 0:
        raise ValueError(f"the wave has the shape {wave.shape}: give one channel, (n,), with n > 0")
    given = np.asarray(wave, np.float32)
    if codec.rate != SAMPLE_RATE:
        given = soxr.resample(given, SAMPLE_RATE, codec.rate)
    given = np.clip(given, -1.0, 1.0)
    if name == "g711":
        coded, rate = mu_law(given), codec.rate
    else:
        coded, rate = _coded(given, codec, bit_rate)
    if rate != SAMPLE_RATE:
        coded = soxr.resample(coded, rate, SAMPLE_RATE)
    coded = coded[codec.delay : codec.delay + wave.size]
    # The last samples may be missing: a resampler rounds, a decoder drops its last part.
    out = np.zeros(wave.size, np.float32)
    out[: coded.size] = np.clip(coded, -1.0, 1.0)
    return out


def _coded(wave: np.ndarray, codec: Codec, bit_rate: int) -> tuple[np.ndarray, int]:
    """The decoded wave, (m,) float32 with m > n, and its sampling rate."""
    try:
        encoder = av.CodecContext.create(codec.encoder, "w")
        decoder = av.CodecContext.create(codec.decoder, "r")
    except av.codec.codec.UnknownCodecError as error:
        raise ValueError(f"this PyAV has no {codec.encoder}: install PyAV from its wheel") from error
    assert isinstance(encoder, av.AudioCodecContext) and isinstance(decoder, av.AudioCodecContext)
    for context in (encoder, decoder):
        context.sample_rate, context.layout, context.thread_count = codec.rate, "mono", 1
    encoder.format, encoder.bit_rate, encoder.options = codec.format, bit_rate, codec.options
    encoder.time_base = Fraction(1, codec.rate)
    encoder.open()
    packets = [packet for frame in _frames(wave, encoder, codec) for packet in encoder.encode(frame)]
    packets += encoder.encode(None)
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    parts: list[np.ndarray] = []
    rate = codec.rate
    for packet in (*packets, None):
        for frame in decoder.decode(packet):
            part, rate = frame.to_ndarray().reshape(-1), frame.sample_rate
            parts.append(part / np.float32(32768) if part.dtype == np.int16 else part)
    return np.concatenate(parts).astype(np.float32), rate


def _frames(wave: np.ndarray, encoder: av.AudioCodecContext, codec: Codec) -> Iterator[av.AudioFrame]:
    """The wave in the encoder's frames, followed by silence so that the decoder returns all of it."""
    size = encoder.frame_size or 1024
    count = -(-wave.size // size) + 4
    padded = np.zeros(count * size, np.float32)
    padded[: wave.size] = wave
    samples: Any = np.round(padded * 32767).astype(np.int16) if codec.format == "s16" else padded
    for k in range(count):
        part = np.ascontiguousarray(samples[None, k * size : (k + 1) * size])
        frame = av.AudioFrame.from_ndarray(part, format=codec.format, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = codec.rate, k * size, Fraction(1, codec.rate)
        yield frame

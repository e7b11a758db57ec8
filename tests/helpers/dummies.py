"""Makes audio of every kind for the tests: waveforms, and the bytes of files in every container."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import soundfile
import soxr

# container -> (soundfile format and subtype); everything else is written by ffmpeg
SNDFILE = {
    "wav": ("WAV", "PCM_16"),
    "wav_float": ("WAV", "FLOAT"),
    "wav_u8": ("WAV", "PCM_U8"),
    "w64": ("W64", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
}
# container -> (ffmpeg muxer, codec)
FFMPEG = {
    "m4a": ("ipod", "aac"),
    "mp4": ("mp4", "aac"),  # with a picture track
    "mov": ("mov", "alac"),
    "webm": ("webm", "libopus"),
    "mkv": ("matroska", "flac"),
    "aac": ("adts", "aac"),
}


def chirp(seconds: float = 1.0, rate: int = 16_000, low: float = 200.0, high: float = 3000.0) -> np.ndarray:
    """(n,) float32: a sweep between two frequencies, at half of full scale. Every moment sounds different."""
    t = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (low * t + (high - low) * t**2 / (2 * max(seconds, 1e-9)))
    return (0.5 * np.sin(phase)).astype(np.float32)


def noise(seconds: float = 1.0, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    """(n,) float32 white noise, at a tenth of full scale."""
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)


def encode(wave: np.ndarray, rate: int, container: str) -> bytes:
    """The bytes of an audio file, in a container named above; wave (n,), or (n, channels) if in SNDFILE."""
    if container in SNDFILE:
        buffer = io.BytesIO()
        name, subtype = SNDFILE[container]
        soundfile.write(buffer, wave, rate, format=name, subtype=subtype)
        return buffer.getvalue()
    muxer, codec = FFMPEG[container]
    return _encode_ffmpeg(wave, rate, muxer, codec, pictures=container == "mp4")


def film_without_sound() -> bytes:
    """An mp4 with a picture track and nothing else."""
    return _encode_ffmpeg(None, 0, "mp4", "", pictures=True)


def _encode_ffmpeg(wave: np.ndarray | None, rate: int, muxer: str, codec: str, *, pictures: bool) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=muxer) as container:
        film = container.add_stream("mpeg4", rate=10) if pictures else None
        sound = None
        if wave is not None:
            if codec == "libopus":  # opus knows 48 kHz
                wave, rate = soxr.resample(wave, rate, 48_000), 48_000
            sound = container.add_stream(codec, rate=rate)
            sound.layout = "mono"
        if film is not None:
            film.width = film.height = 32
            film.pix_fmt = "yuv420p"
            for shade in range(10):
                picture = av.VideoFrame.from_ndarray(
                    np.full((32, 32, 3), shade * 20, np.uint8), format="rgb24"
                )
                container.mux(film.encode(picture))
            container.mux(film.encode(None))
        if sound is not None and wave is not None:
            frame = av.AudioFrame.from_ndarray(wave[None], format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return buffer.getvalue()

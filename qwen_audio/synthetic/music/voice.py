"""A source-filter singing voice, and a set of fixed singers with different voices.

The source is a harmonic wave whose fundamental follows the notes with glides and vibrato, plus breath; the
filter is five formants of the vowel, scaled by the length of the singer's vocal tract.  Vowel formants:
Peterson and Barney (1952), men's averages; the singer's formant near 3 kHz: Sundberg (1974).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from qwen_audio.audio.load import SAMPLE_RATE

VOWELS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
_WIDTHS = (80.0, 100.0, 140.0, 180.0, 250.0)  # of the formants, Hz
_FRAME = 80  # samples (5 ms) per value of the pitch curve
_TABLE = 2048  # samples of one period
_GLIDE = 0.06  # seconds from one pitch to the next
_CROSSFADE = 0.05  # seconds from one vowel to the next
_CONSONANT = 0.05  # seconds at the start of a syllable while the mouth opens


@dataclass(frozen=True)
class Singer:
    """A singer: range in MIDI pitches; tract, factor on all formants (above 1: a shorter vocal tract);
    vibrato rate (Hz) and depth (cents); breath, level of the noise beside the tone; tilt, steepness of the
    source's spectrum (amplitude of harmonic k is k ** -tilt); ring, strength of the singer's formant;
    scoop, semitones below the note at which it is begun."""

    name: str
    sex: str
    low: int
    high: int
    tract: float
    rate: float
    depth: float
    breath: float
    tilt: float
    ring: float
    scoop: float


SINGERS = (
    Singer("Anna", "female", 60, 81, 1.20, 6.0, 60, 0.02, 0.9, 0.5, 0.0),
    Singer("Bella", "female", 55, 76, 1.12, 4.8, 15, 0.20, 1.5, 0.1, 0.8),
    Singer("Clara", "female", 57, 79, 1.28, 6.8, 25, 0.06, 0.7, 0.2, 0.0),
    Singer("Dora", "female", 53, 74, 1.06, 5.4, 100, 0.03, 1.2, 0.7, 0.3),
    Singer("Emil", "male", 48, 69, 1.02, 5.6, 55, 0.02, 0.9, 1.2, 0.0),
    Singer("Felix", "male", 45, 67, 0.94, 5.0, 12, 0.18, 1.4, 0.1, 0.8),
    Singer("Georg", "male", 40, 62, 0.84, 5.2, 85, 0.03, 1.1, 1.5, 0.2),
    Singer("Hugo", "male", 43, 64, 0.90, 6.6, 30, 0.08, 0.7, 0.4, 0.0),
)


@dataclass(frozen=True)
class Delivery:
    """A manner of singing: a term added to the singer's tilt, factors on vibrato depth and breath, and the
    seconds in which a note swells."""

    tilt: float = 0.0
    vibrato: float = 1.0
    breath: float = 1.0
    attack: float = 0.05


DELIVERIES = {
    "happy": Delivery(-0.2, 1.0, 0.5, 0.03),
    "sad": Delivery(0.5, 1.6, 2.0, 0.15),
    "calm": Delivery(0.6, 0.4, 1.5, 0.12),
    "angry": Delivery(-0.5, 1.3, 0.3, 0.015),
}


def sing(
    rng: np.random.Generator,
    singer: Singer,
    notes: list[tuple[float, float, int]],
    n: int,
    delivery: Delivery | None = None,
) -> np.ndarray:
    """The notes (start and length in seconds, MIDI pitch; in order, one at a time) as (n,) float32 of root
    mean square 1 where it sounds; each note is a syllable on a random vowel.

    Raises ValueError when there are no notes.
    """
    if not notes:
        raise ValueError("nothing to sing: give at least one note")
    delivery = delivery or Delivery()
    pitch = _pitch_curve(rng, singer, notes, n, delivery)
    tilt = max(singer.tilt + delivery.tilt, 0.3)
    source = _source(pitch, notes, n, tilt)
    breath = singer.breath * delivery.breath
    source += breath * rng.standard_normal(n, dtype=np.float32)
    source *= _level(notes, n, delivery.attack)
    names = list(VOWELS)
    vowels = [names[k] for k in rng.integers(len(names), size=len(notes))]
    wave = _filter(source, singer, notes, vowels)
    sounding = max(sum(seconds for _, seconds, _ in notes) * SAMPLE_RATE, 1)
    return wave / np.float32(np.sqrt(float(np.square(wave).sum()) / sounding) + 1e-9)


def _pitch_curve(
    rng: np.random.Generator,
    singer: Singer,
    notes: list[tuple[float, float, int]],
    n: int,
    delivery: Delivery,
) -> np.ndarray:
    """MIDI pitch every 5 ms: glides into the notes, and vibrato that starts after a fifth of a second."""
    frames = n // _FRAME + 2
    time = np.arange(frames) * (_FRAME / SAMPLE_RATE)
    curve = np.full(frames, float(notes[0][2]))
    rate = singer.rate * rng.uniform(0.97, 1.03)
    depth = singer.depth / 100 * delivery.vibrato
    for k, (start, _, pitch) in enumerate(notes):
        after = np.clip((time - start) / _GLIDE, 0, 1)
        before = notes[k - 1][2] if k else pitch - singer.scoop
        step = before + (pitch - before) * (3 - 2 * after) * after**2
        now = time >= start if k else np.ones(frames, dtype=bool)
        curve = np.where(now, step, curve)
        into = np.clip((time - start - 0.15) / 0.2, 0, 1)
        swing = depth * into * np.sin(2 * np.pi * rate * (time - start - 0.15))
        curve = np.where(now, curve + swing, curve)
    return curve


@lru_cache(maxsize=512)
def _period(harmonics: int, tilt: float) -> np.ndarray:
    """One period of a wave with that many harmonics, phases spread so that it is not a spike: (2049,)."""
    k = np.arange(1, harmonics + 1)
    spectrum = np.zeros(_TABLE // 2 + 1, dtype=np.complex128)
    spectrum[1 : harmonics + 1] = k**-tilt * np.exp(-0.5j * np.pi - 0.3j * np.pi * (k - 1) ** 2 / harmonics)
    wave = np.fft.irfft(spectrum) * (_TABLE / 2)
    wave /= np.sqrt(np.mean(wave**2))
    return np.append(wave, wave[0])


def _source(pitch: np.ndarray, notes: list[tuple[float, float, int]], n: int, tilt: float) -> np.ndarray:
    """The harmonic wave at root mean square 1, all harmonics below 7.6 kHz: (n,) float32."""
    f0 = 440 * 2 ** ((pitch - 69) / 12)
    turns = np.interp(np.arange(n) / _FRAME, np.arange(len(f0)), np.cumsum(f0) * (_FRAME / SAMPLE_RATE))
    at = (turns % 1.0) * _TABLE
    left = at.astype(np.int64)
    part = (at - left).astype(np.float32)
    wave = np.empty(n, np.float32)
    borders = [0, *(round(start * SAMPLE_RATE) for start, _, _ in notes[1:]), n]
    for begin, end in pairwise(borders):
        if end <= begin:
            continue
        highest = f0[begin // _FRAME : end // _FRAME + 2].max()
        table = _period(max(1, int(7600 / highest)), tilt).astype(np.float32)
        i, x = left[begin:end], part[begin:end]
        wave[begin:end] = table[i] * (1 - x) + table[i + 1] * x
    return wave


def _level(notes: list[tuple[float, float, int]], n: int, attack: float) -> np.ndarray:
    """Loudness over time, 0..1, with a dip before each syllable: (n,) float32."""
    frames = n // _FRAME + 2
    time = np.arange(frames) * (_FRAME / SAMPLE_RATE)
    level = np.zeros(frames)
    for start, seconds, _ in notes:
        rise = np.clip((time - start) / attack, 0, 1)
        fall = np.clip((start + seconds + 0.04 - time) / 0.08, 0, 1)
        level = np.maximum(level, rise * fall * (time <= start + seconds + 0.04))
        dip = np.clip(np.abs(time - start) / _CONSONANT, 0.25, 1)
        level = np.where(time < start + _CONSONANT, np.minimum(level, np.maximum(dip, 0.25)), level)
    return np.interp(np.arange(n) / _FRAME, np.arange(frames), level).astype(np.float32)


def _filter(
    source: np.ndarray, singer: Singer, notes: list[tuple[float, float, int]], vowels: list[str]
) -> np.ndarray:
    """The source through the formants of each note's vowel, cross-faded at the borders: (n,) float32."""
    n = len(source)
    size = next_fast_len(n + 1024, real=True)
    spectrum = rfft(source, size)
    frames = n // _FRAME + 2
    time = np.arange(frames) * (_FRAME / SAMPLE_RATE)
    borders = [-np.inf, *(start for start, _, _ in notes[1:]), np.inf]
    wave = np.zeros(n, np.float32)
    for vowel in VOWELS:
        share = np.zeros(frames)
        for k, name in enumerate(vowels):
            if name == vowel:
                share += np.clip((time - borders[k]) / _CROSSFADE, 0, 1) * np.clip(
                    1 - (time - borders[k + 1]) / _CROSSFADE, 0, 1
                )
        if share.any():
            sound = irfft(spectrum * _formants(vowel, singer.tract, singer.ring, size), size)[:n]
            wave += sound * np.interp(np.arange(n) / _FRAME, np.arange(frames), share).astype(np.float32)
    return wave


def _formants(vowel: str, tract: float, ring: float, size: int) -> np.ndarray:
    """Amplitude response of the vocal tract at the frequencies of a real FFT of that size: float32."""
    f = rfftfreq(size, 1 / SAMPLE_RATE)
    centres = (*VOWELS[vowel], 3400.0, 4500.0)
    gain = np.ones(len(f))
    for centre, width in zip(centres, _WIDTHS, strict=True):
        c = centre * tract
        gain *= c**2 / np.sqrt((c**2 - f**2) ** 2 + (width * f) ** 2)
    gain *= 1 + 2.5 * ring * np.exp(-0.5 * ((f - 2900 * tract**0.5) / 300) ** 2)
    gain *= 1 + (f / 3500) ** 2  # the poles above 5 kHz that are left out
    return (gain / np.sqrt(np.mean(gain**2))).astype(np.float32)

"""Building blocks of procedural sounds: shaped noise, harmonic sources, struck modes, envelopes, rooms.

Waves are (n,) float at 16 kHz; frequencies are in Hz, times in seconds, and all randomness comes from the
generator that the caller passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from qwen_audio.audio.load import SAMPLE_RATE

FRAME = 80  # samples of the frames in which levels are measured: 5 ms
FLOOR_DB = -30.0  # relative to the loudest frame; anything below is not part of the event
Gain = Callable[[np.ndarray], np.ndarray]  # frequencies in Hz -> amplitude factors


def samples(seconds: float) -> int:
    """Seconds as a number of samples, at least 1."""
    return max(1, round(seconds * SAMPLE_RATE))


def band(low: float, high: float, order: int = 2) -> Gain:
    """A band between `low` and `high` with slopes of 6 dB per octave times `order`."""

    def gain(f: np.ndarray) -> np.ndarray:
        f = np.maximum(f, 1.0)
        return 1 / np.sqrt((1 + (low / f) ** (2 * order)) * (1 + (f / high) ** (2 * order)))

    return gain


def slope(decibels: float, reference: float = 100.0) -> Gain:
    """A straight line of `decibels` per octave above `reference`; flat below it."""
    return lambda f: (np.maximum(f, reference) / reference) ** (decibels / 6.0206)


def resonances(peaks: Sequence[tuple[float, float, float]], floor: float = 0.03) -> Gain:
    """Peaks (centre, bandwidth, amplitude), such as the formants of a voice, over a floor."""

    def gain(f: np.ndarray) -> np.ndarray:
        total = np.full(len(f), floor)
        for centre, width, amplitude in peaks:
            total += amplitude / np.sqrt(1 + ((f - centre) / (width / 2)) ** 2)
        return total

    return gain


def filtered(wave: np.ndarray, *gains: Gain) -> np.ndarray:
    """The wave with its spectrum multiplied by the gains (zero phase)."""
    size = next_fast_len(len(wave) + 2048, real=True)
    spectrum, f = rfft(wave, size), rfftfreq(size, 1 / SAMPLE_RATE)
    for gain in gains:
        spectrum *= gain(f)
    return irfft(spectrum, size)[: len(wave)]


def noise(rng: np.random.Generator, n: int, *gains: Gain) -> np.ndarray:
    """Gaussian noise with that spectrum, at root mean square 1."""
    size = next_fast_len(n, real=True)
    wave = rng.standard_normal(size, dtype=np.float32)
    if gains:
        spectrum, f = rfft(wave), rfftfreq(size, 1 / SAMPLE_RATE)
        for gain in gains:
            spectrum *= gain(f)
        wave = irfft(spectrum, size)
    wave = wave[:n]
    return wave / max(float(np.sqrt(np.mean(np.square(wave)))), 1e-9)


def drift(rng: np.random.Generator, n: int, rate: float, low: float, high: float) -> np.ndarray:
    """A curve that wanders between `low` and `high`, with `rate` new targets per second."""
    points = max(2, int(np.ceil(n / SAMPLE_RATE * rate)) + 1)
    at = np.linspace(0, n - 1, points)
    x = np.arange(n)
    part = (x % max(at[1], 1e-9)) / max(at[1], 1e-9)
    left = np.minimum((x / max(at[1], 1e-9)).astype(int), points - 2)
    values = rng.uniform(low, high, points)
    part = part * part * (3 - 2 * part)
    return values[left] * (1 - part) + values[left + 1] * part


def curve(n: int, *points: tuple[float, float]) -> np.ndarray:
    """Straight lines through (position in 0..1, value) points."""
    positions, values = zip(*points, strict=True)
    return np.interp(np.linspace(0, 1, n), positions, values)


def harmonic(f0: np.ndarray, rolloff: float) -> np.ndarray:
    """Harmonics below 7.8 kHz, amplitudes k ** -rolloff, of a moving fundamental (Hz, one value a sample)."""
    turn = np.exp(2j * np.pi * np.cumsum(f0) / SAMPLE_RATE).astype(np.complex64)
    power = turn.copy()
    total = np.zeros(len(f0))
    for k in range(1, int(7800 / f0.max()) + 1):
        total += power.imag * k**-rolloff
        power *= turn
    return total


def struck(n: int, modes: Sequence[tuple[float, float, float]]) -> np.ndarray:
    """Decaying partials (frequency, seconds to fall by 60 dB, amplitude) that start together."""
    time = np.arange(n) / SAMPLE_RATE
    return sum(
        (a * np.exp(-6.91 * time / d) * np.sin(2 * np.pi * f * time) for f, d, a in modes), np.zeros(n)
    )


def decay(n: int, seconds: float, attack: float = 0.001) -> np.ndarray:
    """An envelope that rises in `attack` and falls by 60 dB in `seconds`."""
    time = np.arange(n) / SAMPLE_RATE
    return np.minimum(time / attack, 1) * np.exp(-6.91 * np.maximum(time - attack, 0) / seconds)


def place(track: np.ndarray, seconds: float, grain: np.ndarray, gain: float = 1.0) -> None:
    """Add a grain to the track at a time; samples past the end of the track are left off."""
    at = round(seconds * SAMPLE_RATE)
    if 0 <= at < len(track):
        part = grain[: len(track) - at]
        track[at : at + len(part)] += gain * part


def events(rng: np.random.Generator, seconds: float, rate: float) -> np.ndarray:
    """Times of a Poisson process of `rate` events per second."""
    return np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))


def room(rng: np.random.Generator, wave: np.ndarray, reverberation: float, wet: float) -> np.ndarray:
    """The wave in a room: exponentially decaying noise of that 60 dB time as the response; same length."""
    n = samples(reverberation)
    response = (
        rng.standard_normal(n) * np.exp(-6.91 * np.arange(n) / n) * band(150, 5000, 1)(np.array([1000.0]))
    )
    response /= np.sqrt((response**2).sum())
    size = next_fast_len(len(wave) + n, real=True)
    tail = irfft(rfft(wave, size) * rfft(response, size), size)[: len(wave)]
    return wave + wet * tail


def stretches(wave: np.ndarray, pause: float, floor_db: float = FLOOR_DB) -> list[tuple[int, int]]:
    """Sounding stretches of (n,) as (first sample, end): frames within `floor_db` of the loudest, pauses bridged."""
    count = max(len(wave) // FRAME, 1)
    frames = wave[: count * FRAME].reshape(count, -1)
    power = np.einsum("ij,ij->i", frames, frames)
    if not power.max() > 0:
        return []
    loud = np.flatnonzero(power >= power.max() * 10 ** (floor_db / 10))
    cuts = np.flatnonzero(np.diff(loud) * FRAME > pause * SAMPLE_RATE) + 1
    return [(int(g[0]) * FRAME, min(int(g[-1] + 1) * FRAME, len(wave))) for g in np.split(loud, cuts)]

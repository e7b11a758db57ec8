"""Random distortions of a waveform for training: speed, room, noise, telephone band, clipping, codecs, bits.

Every distortion happens with its own probability, in the order in which sound meets it: voice, room,
surroundings, microphone, line.  Only the change of speed moves words in time; their times are scaled.
All randomness comes from the caller's generator.  Spectra are shaped by one FFT per step, zero-padded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
import soxr

from qwen_audio.audio.codecs import CODECS, mu_law, pass_codec
from qwen_audio.audio.load import SAMPLE_RATE

NOISE_COLOURS = ("white", "pink", "brown", "babble", "hum")
_HEARD_DECAY = 0.75  # of a reverberation: its last 15 dB are not heard
_SPEED_GRID = 0.005  # speed factors are multiples of this: soxr is quick for ratios of small integers


@dataclass(frozen=True)
class Augment:
    """A random distortion of speech or any other sound.

    Each field but the ranges is the probability of one distortion.

    speed: resampling by a factor in `speed_range`, which moves pitch and formants together; eq: tilt and
    three peaks; room: a synthetic room impulse response; noise: one of `NOISE_COLOURS` at `snr_range` dB
    below the signal's active level; telephone: nothing above 4 kHz, sometimes nothing below 300 Hz, as in
    recordings at 8 kHz; clip: the loudest part is cut off; quantise: mu-law or few bits; gain: a peak level
    in `peak_range` dB below full scale; codec: one of `CODECS` at one of its bit rates (off by default: a
    real encoder takes longer than all the others together, about 6 ms for a second of sound).
    """

    speed: float = 0.5
    eq: float = 0.4
    room: float = 0.3
    noise: float = 0.6
    telephone: float = 0.3
    clip: float = 0.05
    quantise: float = 0.1
    gain: float = 1.0
    codec: float = 0.0
    speed_range: tuple[float, float] = (0.85, 1.18)
    snr_range: tuple[float, float] = (5.0, 40.0)
    peak_range: tuple[float, float] = (-24.0, -0.5)

    def __post_init__(self) -> None:
        """Raise ValueError for a probability outside 0..1 or a range that is not in order."""
        for name in ("speed", "eq", "room", "noise", "telephone", "clip", "quantise", "gain", "codec"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(
                    f"the probability {name} is {getattr(self, name)}: give a number from 0 to 1"
                )
        for name in ("speed_range", "snr_range", "peak_range"):
            low, high = getattr(self, name)
            if not low <= high:
                raise ValueError(f"{name} is {(low, high)}: give the lower end first")
        if self.speed_range[0] < 0.5 or self.speed_range[1] > 2.0:
            raise ValueError(f"speed_range is {self.speed_range}: give factors from 0.5 to 2")

    def distort(self, wave: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, Any]]:
        """A distorted copy of `wave` (n,) at 16 kHz, and what was done to it.

        The wave is float32 within -1..1, (n,) or (n / speed factor,); silence stays silence. The facts are those of
        "speed" (factor), "eq" (true), "reverberation_s" and "direct_db" (the direct sound over all the rest), "noise"
        and "snr_db", "band_hz", "clip_db", "peak_db", "quantise" ("mu-law" or bits), "codec" and "bit_rate" that apply.
        Raises ValueError for a wave that is empty or not mono.
        """
        if wave.ndim != 1 or wave.size == 0:
            raise ValueError(f"the wave has the shape {wave.shape}: give one channel, (n,), with n > 0")
        wave = np.array(wave, dtype=np.float32)
        facts: dict[str, Any] = {}
        dice = rng.random(8)
        if dice[0] < self.speed:
            factor = _speed_factor(rng, self.speed_range)
            wave = change_speed(wave, factor)
            facts["speed"] = factor
        if dice[1] < self.eq:
            wave = shape_spectrum(wave, _random_eq(rng))
            facts["eq"] = True
        if dice[2] < self.room:
            impulse = room_impulse(rng)
            wave = reverberate(wave, impulse)
            facts["reverberation_s"] = round(impulse.size / (_HEARD_DECAY * SAMPLE_RATE), 3)
            facts["direct_db"] = round(float(-10 * np.log10(np.sum(np.square(impulse[1:])))), 2)
        if dice[3] < self.noise:
            colour = NOISE_COLOURS[rng.integers(len(NOISE_COLOURS))]
            disturbance = noise(rng, colour, wave)
            snr = rng.uniform(*self.snr_range)
            wave = add_noise(wave, disturbance, snr)
            facts |= {"noise": colour, "snr_db": round(float(snr), 2)}
        if dice[4] < self.telephone:
            low = rng.uniform(150.0, 350.0) if rng.random() < 0.4 else 0.0
            high = rng.uniform(3300.0, 3900.0)
            wave = limit_band(wave, low, high)
            facts["band_hz"] = [round(low), round(high)]
        peak = float(np.abs(wave).max())
        if peak == 0.0:
            return wave, facts
        if dice[5] < self.clip:
            cut = rng.uniform(1.0, 8.0)
            limit = np.float32(peak * 10 ** (-cut / 20))
            facts["clip_db"] = round(float(cut), 2)
            wave = np.clip(wave, -limit, limit)
            peak = float(limit)
        if dice[7] < self.gain:
            level = rng.uniform(*self.peak_range)
            wave = wave * np.float32(10 ** (level / 20) / peak)
            facts["peak_db"] = round(float(level), 2)
        elif peak > 1.0:
            wave = wave / np.float32(peak)
        if dice[6] < self.quantise:
            bits = None if rng.random() < 0.5 else int(rng.integers(8, 13))
            wave = round_to_bits(wave, bits) if bits else mu_law(wave)
            facts["quantise"] = bits or "mu-law"
        # Drawn only where it can happen: a seed gives the waves it gave before there were codecs.
        if self.codec > 0 and rng.random() < self.codec:
            name = tuple(CODECS)[rng.integers(len(CODECS))]
            rate = int(rng.choice(CODECS[name].bit_rates))
            wave = pass_codec(wave, name, rate)
            facts |= {"codec": name, "bit_rate": rate}
        return wave, facts


def change_speed(wave: np.ndarray, factor: float) -> np.ndarray:
    """Play (n,) `factor` times faster and higher: (round(n / factor),) float32."""
    return wave if factor == 1.0 else soxr.resample(wave, SAMPLE_RATE * factor, SAMPLE_RATE, quality="MQ")


def shape_spectrum(wave: np.ndarray, curve: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Filter (n,) without delay; `curve` is (frequencies in Hz, gains in dB), joined by straight lines."""
    size = scipy.fft.next_fast_len(wave.size + SAMPLE_RATE // 20, real=True)
    gains = 10 ** (np.interp(_frequencies(size), *curve) / 20)
    spectrum = scipy.fft.rfft(wave, size)
    spectrum *= gains.astype(np.float32)
    return scipy.fft.irfft(spectrum, size)[: wave.size]


def limit_band(wave: np.ndarray, low: float, high: float) -> np.ndarray:
    """Keep `low`..`high` Hz of (n,); the edges fall by 60 dB within 200 Hz above and 100 Hz below."""
    frequencies, gains = [high - 50.0, high + 150.0], [0.0, -80.0]
    if low > 0.0:
        frequencies, gains = [low - 100.0, low, *frequencies], [-60.0, 0.0, *gains]
    return shape_spectrum(wave, (np.array(frequencies), np.array(gains)))


def room_impulse(rng: np.random.Generator) -> np.ndarray:
    """A synthetic room: direct path at sample 0, early reflections, an exponentially decaying noise tail.

    The reverberation time (60 dB) is 0.1..0.7 s, the direct sound 0..18 dB above all the rest.  (n,) float32.
    """
    reverberation = rng.uniform(0.1, 0.7)
    size = int(reverberation * _HEARD_DECAY * SAMPLE_RATE)
    impulse = rng.standard_normal(size, dtype=np.float32)
    impulse *= np.exp(np.arange(size, dtype=np.float32) * np.float32(-6.91 / (reverberation * SAMPLE_RATE)))
    predelay = int(rng.uniform(0.002, 0.02) * SAMPLE_RATE)
    impulse[:predelay] = 0.0
    count = int(rng.integers(2, 8))
    early = rng.integers(predelay // 2 + 1, predelay + SAMPLE_RATE // 40, size=count)
    impulse[early] += (rng.choice((-1.0, 1.0), count) * rng.uniform(1.0, 4.0, count)).astype(np.float32)
    impulse *= np.float32(10 ** (-rng.uniform(0.0, 18.0) / 20) / np.sqrt(np.sum(impulse * impulse)))
    impulse[0] = 1.0
    return impulse


def reverberate(wave: np.ndarray, impulse: np.ndarray) -> np.ndarray:
    """`wave` (n,) in a room, cut to (n,): with the direct path at sample 0 nothing moves in time."""
    size = scipy.fft.next_fast_len(wave.size + impulse.size - 1, real=True)
    spectrum = scipy.fft.rfft(wave, size)
    spectrum *= scipy.fft.rfft(impulse, size)
    return scipy.fft.irfft(spectrum, size)[: wave.size]


def noise(rng: np.random.Generator, colour: str, wave: np.ndarray) -> np.ndarray:
    """Noise as long as `wave` (n,), of any level; "babble" is mixed from `wave` itself, shifted and reversed.

    Raises ValueError for a colour that is not in `NOISE_COLOURS`.
    """
    n = wave.size
    if colour == "white":
        return rng.standard_normal(n, dtype=np.float32)
    if colour == "hum":
        return _hum(rng, n)
    if colour == "babble":
        return _babble(rng, wave)
    if colour not in ("pink", "brown"):
        raise ValueError(f"unknown noise {colour!r}: use one of {', '.join(NOISE_COLOURS)}")
    size = scipy.fft.next_fast_len(n, real=True)
    spectrum = scipy.fft.rfft(rng.standard_normal(size, dtype=np.float32))
    # power falls with f (pink) or f^2 (brown), and is flat below 40 Hz
    frequencies = np.maximum(_frequencies(size), 40.0)
    spectrum *= 1.0 / np.sqrt(frequencies) if colour == "pink" else 1.0 / frequencies
    return scipy.fft.irfft(spectrum, size)[:n]


def add_noise(wave: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """`wave` plus `noise`, both (n,), with the noise `snr` dB below the level of the wave where it sounds.

    The level of the noise is its mean power over the whole clip; that of the wave is `active_power`.
    """
    level, disturbance = active_power(wave), float(np.mean(np.square(noise)))
    if level == 0.0 or disturbance == 0.0:
        return wave
    return wave + noise * np.float32(np.sqrt(level / disturbance) * 10 ** (-snr / 20))


def round_to_bits(wave: np.ndarray, bits: int) -> np.ndarray:
    """(n,) within -1..1 rounded to 2**bits even steps."""
    steps = np.float32(2 ** (bits - 1) - 1)
    return np.round(wave * steps) / steps


def _speed_factor(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(np.clip(round(rng.uniform(*limits) / _SPEED_GRID) * _SPEED_GRID, *limits))


def _random_eq(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A tilt of up to 4 dB per octave either way around 1 kHz, and three bells of up to 8 dB."""
    octaves = np.linspace(-4.0, 3.0, 36)  # 62.5 Hz to 8 kHz
    gains = rng.uniform(-4.0, 4.0) * octaves
    for centre, width, height in zip(
        rng.uniform(-3.5, 2.8, 3), rng.uniform(0.2, 1.2, 3), rng.uniform(-8, 8, 3), strict=True
    ):
        gains += height * np.exp(-0.5 * ((octaves - centre) / width) ** 2)
    return 1000.0 * 2.0**octaves, np.clip(gains, -24.0, 18.0)


def _hum(rng: np.random.Generator, n: int) -> np.ndarray:
    """Mains hum: 50 or 60 Hz and harmonics of falling strength, with a little hiss."""
    phase = np.arange(n, dtype=np.float32) * np.float32(2 * np.pi * rng.choice((50.0, 60.0)) / SAMPLE_RATE)
    total = 0.02 * rng.standard_normal(n, dtype=np.float32)
    for harmonic in (1, 2, 3, 5):
        total += np.float32(rng.uniform(0.2, 1.0) / harmonic) * np.sin(
            phase * np.float32(harmonic) + np.float32(rng.uniform(0, 6.28))
        )
    return total


def _babble(rng: np.random.Generator, wave: np.ndarray) -> np.ndarray:
    """Six copies of the wave, each rotated at random, every other one reversed: speech-like, not words."""
    backwards = wave[::-1]
    total = np.zeros(wave.size, np.float32)
    for index, shift in enumerate(rng.integers(wave.size, size=6)):
        source = backwards if index % 2 else wave
        total[shift:] += source[: wave.size - shift]
        total[:shift] += source[wave.size - shift :]
    return total


def active_power(wave: np.ndarray) -> float:
    """Mean power of the 20 ms frames that are within 30 dB of the loudest frame; of a short wave all."""
    frame = SAMPLE_RATE // 50
    whole = wave.size // frame * frame
    if whole == 0:
        return float(np.mean(np.square(wave)))
    frames = wave[:whole].reshape(-1, frame)
    power = np.einsum("ij,ij->i", frames, frames) / frame
    return float(np.mean(power[power >= power.max() * 1e-3]))


def _frequencies(size: int) -> np.ndarray:
    """Frequencies in Hz of the bins of a real FFT of `size` samples: (size // 2 + 1,) float32."""
    return np.arange(size // 2 + 1, dtype=np.float32) * np.float32(SAMPLE_RATE / size)

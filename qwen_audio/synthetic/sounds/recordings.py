"""A story as a recording: its parts at levels at which all of them are audible, a room, a microphone, noise.

stems = stems_of(story)               # None where an event would be masked
wave, conditions = record(rng, stems)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data import augment
from qwen_audio.synthetic.sounds.acoustics import band, filtered, noise, room, samples, slope
from qwen_audio.synthetic.sounds.stories import Story

AUDIBLE = 2.0  # an event's power over that of all the rest, in its best octave
_MOST_LIFT = 30.0  # the same as the most power by which a level may be raised for it
_OCTAVES = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # bins of a transform of 512 samples


def _octaves(wave: np.ndarray) -> np.ndarray:
    """Power of (n,) in octaves: (frames of 512 samples, 8)."""
    frames = wave[: len(wave) // 512 * 512].reshape(-1, 512).astype(np.float32)
    return np.add.reduceat(np.abs(np.fft.rfft(frames)[:, :256]) ** 2, _OCTAVES[:-1], axis=1)


def audibility(stems: Sequence[np.ndarray], rest: np.ndarray | None = None) -> list[float]:
    """For each stem (n,), its power over that of all others (and of `rest`) in its best octave where it is loud.

    An octave with less than a thirtieth of the stem's power does not count.
    """
    power = [_octaves(stem) for stem in stems]
    total = sum(power, np.zeros_like(power[0])) + (0.0 if rest is None else _octaves(rest))
    ratios = []
    for own in power:
        level = own.sum(1)
        loud = level >= level.max() / 10
        mine, others = own[loud].sum(0), (total - own)[loud].sum(0)
        counts = mine >= mine.sum() / 30
        ratios.append(float((mine[counts] / np.maximum(others[counts], 1e-9 * mine.sum())).max()))
    return ratios


def stems_of(story: Story) -> list[np.ndarray] | None:
    """Each part alone at its level, (n,) each; masked parts are raised; None where that is not enough."""
    n = samples(story.seconds)
    stems = []
    for part in story.parts:
        stem, at = np.zeros(n), round(part.start * SAMPLE_RATE)
        wave = part.take.wave[: n - at]
        stem[at : at + len(wave)] = wave * 10 ** (part.level / 20)
        stems.append(stem)
    lifted = [1.0] * len(stems)
    for _ in range(4):
        ratios = audibility(stems)
        if min(ratios) >= AUDIBLE:
            return stems
        for k, ratio in enumerate(ratios):
            if ratio < AUDIBLE:
                lift = 1.3 * AUDIBLE / max(ratio, 1e-6)
                lifted[k] *= lift
                if lifted[k] > _MOST_LIFT:
                    return None
                stems[k] = stems[k] * np.sqrt(lift)
    return stems if min(audibility(stems)) >= AUDIBLE else None


def record(rng: np.random.Generator, stems: Sequence[np.ndarray]) -> tuple[np.ndarray, dict[str, float]]:
    """The stems (n,) as one recording: (n,) float32 with a peak of 0.1 to 0.98, and the recording conditions.

    The conditions: "reverberation_s" and its level relative to the direct sound ("reverberation_level") if there is a
    room; "snr_db" if there is noise: the exact level of the sound, where it is active, over the noise.
    """
    conditions: dict[str, float] = {}
    wave = np.sum(stems, axis=0)
    if rng.random() < 0.35:
        time, wet = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.6)
        wave = room(rng, wave, time, wet)
        conditions |= {"reverberation_s": round(time, 3), "reverberation_level": round(wet, 3)}
    if rng.random() < 0.6:  # the microphone: a tilt, and the ends of its band
        wave = filtered(
            wave, slope(rng.uniform(-3, 2.5), 200), band(rng.uniform(20, 100), rng.uniform(4000, 12000), 1)
        )
    if rng.random() < 0.55:
        powers = [float(np.mean(stem**2)) for stem in stems]
        weakest = 10 * np.log10(max(powers) / max(min(powers), 1e-12))
        wave, conditions["snr_db"] = surround(rng, wave, min(weakest, 25.0))
    peak = np.exp(rng.uniform(np.log(0.1), np.log(0.98)))
    return (wave * (peak / np.abs(wave).max())).astype(np.float32), conditions


def surround(rng: np.random.Generator, wave: np.ndarray, least: float) -> tuple[np.ndarray, float]:
    """(n,) in stationary noise, and the ratio in dB (12 to 45 above `least`) of its active level to the noise."""
    snr = round(float(rng.uniform(12, 45) + least), 2)
    return augment.add_noise(wave, noise(rng, len(wave), slope(-rng.uniform(0, 6), 60)), snr), snr

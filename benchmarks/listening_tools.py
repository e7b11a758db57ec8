"""Measurements independent of the generator: pitch, tempo, bursts of energy, classes by their spectra."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.signal import resample_poly

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.manifest import Example, Sample
from qwen_audio.synthetic.world import WorldGenerator


def drawn(task: str, count: int, seed: int, held_out: bool = False) -> list[Sample]:
    """`count` examples of a task of the world."""
    generator, rng = WorldGenerator([task], held_out), np.random.default_rng(seed)
    return [generator.sample(rng) for _ in range(count)]


def percent(hits: Sequence[bool]) -> str:
    return f"{100 * float(np.mean(hits)):.0f} %"


def pitch_of(wave: np.ndarray) -> float:
    """MIDI pitch from the first high peak of the normalised autocorrelation, 25 Hz to 4.6 kHz."""
    x, rate = resample_poly(wave.astype(float), 4, 1), 4 * SAMPLE_RATE
    n = len(x)
    lags = np.fft.irfft(np.abs(np.fft.rfft(x, 4 * n)) ** 2)[:n]
    energy = np.concatenate([[0], np.cumsum(x**2)])
    norm = 2 * lags / (energy[n] - energy[:n] + energy[n - np.arange(n)] + 1e-9)
    low, high = rate // 4600, min(rate // 25, n // 2)
    inside = norm[low : high + 1]
    peaks = np.flatnonzero((inside > norm[low - 1 : high]) & (inside >= norm[low + 1 : high + 2]))
    if not len(peaks):
        return 0.0
    at = low + int(peaks[inside[peaks] > 0.9 * inside[peaks].max()][0])
    before, here, after = norm[at - 1 : at + 2]
    return float(69 + 12 * np.log2(rate / (at + 0.5 * (before - after) / (before - 2 * here + after)) / 440))


def in_tune(sample: Sample) -> list[bool]:
    """For each note of at least 0.2 s in `meta["notes"]`, True if it sounds within half a semitone of its pitch."""
    found = []
    for start, seconds, pitch in sample.example.meta["notes"]:
        if seconds >= 0.2:
            length = max(0.2, 8 / (440 * 2 ** ((pitch - 69) / 12)))
            begin = start + min(0.08, 0.3 * seconds)
            part = slice(
                round(begin * SAMPLE_RATE), round(min(start + seconds, begin + length) * SAMPLE_RATE)
            )
            found.append(abs(pitch_of(sample.waves[0][part]) - pitch) < 0.5)
    return found


def tempo_of(wave: np.ndarray) -> float:
    """Beats per minute, 50 to 194, at which onsets recur after one, two and four beats."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, 512)[::160] * np.hanning(512)
    level = np.log(np.abs(np.fft.rfft(frames)) + 0.05 * np.abs(wave).max())
    strength = np.maximum(level[2:] - level[:-2], 0).mean(axis=1)
    strength = strength - strength.mean()
    n = len(strength)
    again = np.fft.irfft(np.abs(np.fft.rfft(strength, 2 * n)) ** 2)[:n] / (n - np.arange(n))

    def score(tempo: float) -> float:
        lags = [k * 6000 / tempo for k in (1, 2, 4) if k * 6000 / tempo < 0.7 * n]
        return float(np.mean(np.interp(lags, np.arange(n), again)))

    return float(max(np.arange(50, 194.5, 0.5), key=score))


def bursts(wave: np.ndarray, pause: float, floor_db: float) -> list[tuple[float, float]]:
    """Stretches of 5 ms frames within `floor_db` of the loudest, in seconds; shorter pauses are bridged."""
    power = (wave[: len(wave) // 80 * 80].reshape(-1, 80).astype(np.float64) ** 2).mean(1)
    loud = np.flatnonzero(power > power.max() * 10 ** (floor_db / 10))
    groups = np.split(loud, np.flatnonzero(np.diff(loud) * 0.005 > pause) + 1)
    return [(float(group[0]) * 0.005, float(group[-1] + 1) * 0.005) for group in groups]


def _features(wave: np.ndarray) -> np.ndarray:
    """Level, spread and quick change of 24 bands on a log scale, and the rhythm of the whole: (104,)."""
    frames = wave[: len(wave) // 400 * 400].reshape(-1, 400)
    edges = np.unique(np.round(np.geomspace(2, 200, 25)).astype(int))
    power = np.add.reduceat(np.abs(np.fft.rfft(frames)) ** 2, edges, axis=1)
    log = np.log(power + 1e-7 * power.max())
    total = log.mean(1) - log.mean()
    rhythm = np.abs(np.fft.rfft(total * np.hanning(len(total)), 160))[1:33] / len(total)
    return np.concatenate(
        [log.mean(0) - log.mean(), log.std(0), np.abs(np.diff(log, axis=0)).mean(0), rhythm]
    )


def named_rightly(train: Sequence[Sample], test: Sequence[Sample]) -> str:
    """Share of labels of `test` that linear discriminants trained on `train` predict, with chance beside it."""
    names = sorted({sample.example.text for sample in train})
    x = np.stack([_features(sample.waves[0]) for sample in train])
    y = np.array([names.index(sample.example.text) for sample in train])
    means = np.stack([x[y == k].mean(0) for k in range(len(names))])
    spread = np.cov((x - means[y]).T)
    spread = 0.7 * spread + 0.3 * np.diag(np.diag(spread)) + 1e-3 * np.eye(x.shape[1])
    weights = np.linalg.solve(spread, means.T)
    offsets = -0.5 * np.einsum("kd,dk->k", means, weights)
    guessed = [names[int(np.argmax(_features(sample.waves[0]) @ weights + offsets))] for sample in test]
    right = [guess == sample.example.text for guess, sample in zip(guessed, test, strict=True)]
    return f"{percent(right)} (chance {100 / len(names):.0f} %)"


def guessed_without_audio(examples: Sequence[Example]) -> str:
    """Share of answers predicted from the words of questions and choices alone, trained on half, and chance."""
    groups: defaultdict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[_kind(example.question or "")].append(example)
    guessed, chance = [], []
    for rows in groups.values():
        half, right = len(rows) // 2, Counter[tuple[str, bool]]()
        for row in rows[:half]:
            right.update((_seen(row, choice), choice == row.text) for choice in row.choices or ())
        for row in rows[half:]:
            shares = {
                choice: (right[_seen(row, choice), True] + 1)
                / (right[_seen(row, choice), True] + right[_seen(row, choice), False] + 3)
                for choice in row.choices or ()
            }
            guessed.append(max(shares, key=shares.__getitem__) == row.text)
            chance.append(1 / len(shares))
    return f"{percent(guessed)} (chance {100 * float(np.mean(chance)):.0f} %)"


def _kind(question: str) -> str:
    """The question without the classes that it names."""
    question = re.sub(r"heard: .*", "heard: ...", re.sub(r'"[^"]+"', '"..."', question))
    return re.sub(r"an (?!the).* be heard .*?(?= more than once|\?)", "an ... be heard", question)


def _seen(row: Example, choice: str) -> str:
    fixed = (row.choices or [""])[0] in ("yes", "no", "one", "two", "three", "four", "five")
    return f"{row.question} {choice}" if fixed else choice

"""Tools of listening_speech.py: the recogniser pocketsphinx, stretches of sound, pitch, tremor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE


@lru_cache(maxsize=1)
def _decoder() -> Any:
    import pocketsphinx

    # The best path through its lattice is often an empty one in a grammar: the first pass is taken, with wide beams.
    wide = {"beam": 1e-60, "wbeam": 1e-40, "pbeam": 1e-60, "bestpath": False}
    return pocketsphinx.Decoder(samprate=SAMPLE_RATE, loglevel="FATAL", **wide)


def _pcm(wave: np.ndarray) -> bytes:
    quiet = np.zeros(SAMPLE_RATE // 5, np.float32)
    padded = np.concatenate([quiet, wave / max(float(np.abs(wave).max()), 1e-6) * 0.5, quiet])
    return (padded * 32767).astype(np.int16).tobytes()


def known(words: Sequence[str]) -> bool:
    """True if the recogniser has a pronunciation of each of the words."""
    return all(_decoder().lookup_word(word) for word in words)


def heard(wave: np.ndarray, grammar: Sequence[str], repeated: bool = False) -> list[str]:
    """The words that the recogniser finds, if one of the entries of `grammar`, or a sequence of them, is allowed."""
    decoder = _decoder()
    entries = sorted({entry for entry in grammar if known(entry.split())})
    if not entries:
        return []
    rule = f"#JSGF V1.0;\ngrammar g;\npublic <g> = ( {' | '.join(entries)} ){'+' if repeated else ''} ;"
    decoder.add_jsgf_string("g", rule)
    decoder.activate_search("g")
    decoder.start_utt()
    decoder.process_raw(_pcm(wave), full_utt=True)
    decoder.end_utt()
    return decoder.hyp().hypstr.split() if decoder.hyp() else []


def accuracy(wanted: Sequence[str], found: Sequence[str]) -> int:
    """Words that are right in the best alignment: the longest common subsequence."""
    best = np.zeros(len(found) + 1, int)
    for word in wanted:
        before = best.copy()
        for at, other in enumerate(found, start=1):
            best[at] = max(before[at - 1] + 1 if word == other else 0, before[at], best[at - 1])
    return int(best[-1])


def aligned(wave: np.ndarray, transcript: str) -> list[tuple[str, float]]:
    """(word, start in seconds) by forced alignment; empty if the recogniser does not know a word."""
    decoder = _decoder()
    try:
        decoder.set_align_text(transcript)
    except RuntimeError:
        return []
    decoder.start_utt()
    decoder.process_raw(_pcm(wave), full_utt=True)
    decoder.end_utt()
    return [
        (segment.word.split("(")[0], segment.start_frame / 100 - 0.2)
        for segment in decoder.seg() or ()
        if not segment.word.startswith("<")
    ]


def loud(wave: np.ndarray, pause: float) -> list[tuple[float, float]]:
    """Stretches within 36 dB of the loudest 5 ms, in seconds; shorter pauses are bridged."""
    power = (wave[: wave.size // 80 * 80].reshape(-1, 80).astype(np.float64) ** 2).mean(axis=1)
    frames = np.flatnonzero(power > power.max() * 10**-3.6)
    groups = np.split(frames, np.flatnonzero(np.diff(frames) * 0.005 > pause) + 1)
    return [(float(group[0]) * 0.005, float(group[-1] + 1) * 0.005) for group in groups]


def pitches(wave: np.ndarray) -> np.ndarray:
    """Hz of voiced frames of 40 ms, by autocorrelation, 60 to 500 Hz."""
    size, power, found = 640, float((wave**2).mean()), []
    for at in range(0, wave.size - size, size // 2):
        frame = wave[at : at + size] - wave[at : at + size].mean()
        if (frame**2).mean() < 0.01 * power:
            continue
        correlation = np.fft.irfft(np.abs(np.fft.rfft(frame, 4 * size)) ** 2)[:size]
        correlation /= 1 - np.arange(size) / size + 1e-3
        first, last = SAMPLE_RATE // 500, SAMPLE_RATE // 60
        best = first + int(np.argmax(correlation[first:last]))
        for divisor in (3, 2):  # a multiple of the period correlates as well as the period itself
            near = correlation[best // divisor - 2 : best // divisor + 3]
            if best // divisor > first and near.max() > 0.85 * correlation[best]:
                best = best // divisor - 2 + int(near.argmax())
                break
        if correlation[best] > 0.5 * correlation[0]:
            found.append(SAMPLE_RATE / best)
    return np.array(found if found else [1.0])


def tremor(wave: np.ndarray) -> float:
    """Share of the modulation of loudness (1 to 30 Hz) between 7.5 and 10.5 Hz."""
    envelope = np.sqrt(np.convolve(wave**2, np.full(320, 1 / 320), "same"))[::80]
    spectrum = np.abs(np.fft.rfft(envelope - envelope.mean())) ** 2
    hertz = np.fft.rfftfreq(envelope.size, 80 / SAMPLE_RATE)
    return float(spectrum[(hertz > 7.5) & (hertz < 10.5)].sum() / spectrum[(hertz > 1) & (hertz < 30)].sum())

"""Codecs leave a wave in its place and take away what their bandwidth and bits do not hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT

from qwen_audio.audio.codecs import CODECS, pass_codec

RATE = 16000


def voice(seconds: float = 2.0) -> np.ndarray:
    """A wave with the pitch pulses and the pauses of speech, so that its place in time can be measured."""
    rng, n = np.random.default_rng(0), round(seconds * RATE)
    pulses = np.zeros(n)
    pulses[np.cumsum(rng.integers(100, 180, n // 180))] = 1
    ring = np.exp(-np.arange(400) / 60) * np.sin(2 * np.pi * 700 * np.arange(400) / RATE)
    wave = np.convolve(pulses, ring)[:n] + 0.02 * rng.standard_normal(n)
    return (0.2 * wave * (np.sin(np.arange(n) / 2500) > -0.5)).astype(np.float32)


def delay(wave: np.ndarray, given: np.ndarray) -> int:
    """By how many samples `wave` comes after `given`: the peak of the correlation, -800 to 800."""
    size = 2 ** int(np.ceil(np.log2(len(wave) + 1000)))
    product = np.fft.rfft(wave, size) * np.conj(np.fft.rfft(given, size))
    return int(np.argmax(np.roll(np.fft.irfft(product), 800)[:1601])) - 800


@pytest.mark.parametrize("name", CODECS)
def test_nothing_moves_and_most_of_it_stays(name: str) -> None:
    wave = voice()
    coded = pass_codec(wave, name)
    assert coded.shape == wave.shape and coded.dtype == np.float32 and np.abs(coded).max() <= 1
    assert abs(delay(coded, wave)) <= 2  # an eighth of a millisecond
    assert np.corrcoef(coded, wave)[0, 1] > 0.85


@pytest.mark.parametrize("name", CODECS)
def test_fewer_bits_leave_less(name: str) -> None:
    wave = voice()
    errors = [np.sum((pass_codec(wave, name, rate) - wave) ** 2) for rate in CODECS[name].bit_rates]
    assert errors == sorted(errors, reverse=True) or errors[0] > 1.2 * errors[-1]
    assert min(errors) > 1e-3 * np.sum(wave**2)  # lossy indeed


@pytest.mark.parametrize("name", ["amr", "g711"])
def test_telephones_have_a_narrow_band(name: str) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32)
    power = np.abs(np.fft.rfft(pass_codec(noise, name))) ** 2
    assert power[4200 * 2 :].mean() < 1e-4 * power[500 * 2 : 3000 * 2].mean()


def test_any_length_and_silence() -> None:
    for name in CODECS:
        for n in (1, 79, 575, 577, 16001):
            coded = pass_codec(np.full(n, 0.5, np.float32), name)
            assert coded.shape == (n,) and np.isfinite(coded).all()
        assert np.abs(pass_codec(np.zeros(RATE, np.float32), name)).max() < 2e-3


def digest() -> str:
    import hashlib

    total = hashlib.sha256()
    for name, codec in CODECS.items():
        total.update(pass_codec(voice(1.0), name, codec.bit_rates[0]).tobytes())
    return total.hexdigest()


def test_same_wave_same_bytes_in_another_process() -> None:
    code = "import sys; sys.path[:0] = sys.argv[1:]; import test_codecs as t; print(t.digest())"
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(ROOT / "tests" / "helpers")]
    other = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert digest() == digest() == other.stdout.strip()


def test_bad_input_is_refused_with_a_sentence() -> None:
    wave = np.zeros(100, np.float32)
    with pytest.raises(ValueError, match="unknown codec 'aac'"):
        pass_codec(wave, "aac")
    with pytest.raises(ValueError, match="mp3 has no 1 bits a second: use 16000"):
        pass_codec(wave, "mp3", 1)
    with pytest.raises(ValueError, match="one channel"):
        pass_codec(np.zeros((2, 100), np.float32), "mp3")
    with pytest.raises(ValueError, match="n > 0"):
        pass_codec(wave[:0], "mp3")

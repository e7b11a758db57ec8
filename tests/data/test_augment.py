"""Waveform augmentation: times follow the sound, spectra are what they should be, nothing breaks a wave."""

from __future__ import annotations

import numpy as np
import pytest

from qwen_audio.data import augment
from qwen_audio.data.augment import NOISE_COLOURS, Augment

RATE = 16000
OFF = dict.fromkeys(("speed", "eq", "room", "noise", "telephone", "clip", "quantise", "gain", "codec"), 0.0)


def burst(start: float, end: float, seconds: float = 2.0) -> np.ndarray:
    """White noise from `start` to `end`, silence elsewhere."""
    wave = np.zeros(int(seconds * RATE), np.float32)
    inside = slice(int(start * RATE), int(end * RATE))
    wave[inside] = 0.2 * np.random.default_rng(1).standard_normal(inside.stop - inside.start)
    return wave


def borders(wave: np.ndarray) -> tuple[float, float]:
    """First and last instant (s) at which 5 ms frames are within 20 dB of the loudest."""
    frames = wave[: wave.size // 80 * 80].reshape(-1, 80)
    power = (frames**2).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 0.01)
    return loud[0] * 0.005, (loud[-1] + 1) * 0.005


def band_db(wave: np.ndarray, low: float, high: float) -> float:
    """Mean power density between two frequencies, dB."""
    power = np.abs(np.fft.rfft(wave)) ** 2
    frequencies = np.fft.rfftfreq(wave.size, 1 / RATE)
    return float(10 * np.log10(power[(frequencies >= low) & (frequencies < high)].mean() + 1e-20))


@pytest.mark.parametrize("factor", [0.85, 0.93, 1.07, 1.18])
def test_speed_moves_the_sound(factor: float) -> None:
    wave, facts = Augment(**{**OFF, "speed": 1.0}, speed_range=(factor, factor)).distort(
        burst(0.5, 1.2), np.random.default_rng(0)
    )
    assert facts == {"speed": factor}
    assert wave.size == pytest.approx(2 * RATE / factor, abs=2)
    assert borders(wave) == pytest.approx((0.5 / factor, 1.2 / factor), abs=0.008)


@pytest.mark.parametrize("name", ["eq", "room", "noise", "telephone", "clip", "quantise", "gain", "codec"])
def test_everything_else_leaves_times_alone(name: str) -> None:
    for seed in range(10):
        wave, _ = Augment(**{**OFF, name: 1.0}, snr_range=(30.0, 40.0)).distort(
            burst(0.5, 1.2), np.random.default_rng(seed)
        )
        assert wave.size == 2 * RATE
        begin, end = borders(wave)
        assert begin == pytest.approx(0.5, abs=0.012)
        # a room may ring on, a codec smears over a frame of up to 36 ms, but nothing ends early
        assert end >= 1.19
        if name != "room":
            assert end <= (1.237 if name == "codec" else 1.212)


def test_telephone_leaves_nothing_above_four_kilohertz() -> None:
    for seed in range(5):
        wave, _ = Augment(**{**OFF, "telephone": 1.0}).distort(burst(0.0, 2.0), np.random.default_rng(seed))
        assert band_db(wave, 4100, 8000) < band_db(wave, 500, 3200) - 50


@pytest.mark.parametrize("snr", [5.0, 20.0, 40.0])
@pytest.mark.parametrize("colour", NOISE_COLOURS)
def test_noise_has_the_wanted_level(colour: str, snr: float) -> None:
    wave = burst(0.5, 1.5)
    rng = np.random.default_rng(3)
    noisy = augment.add_noise(wave, augment.noise(rng, colour, wave), snr)
    measured = 10 * np.log10(np.mean(wave[RATE // 2 : RATE * 3 // 2] ** 2) / np.mean((noisy - wave) ** 2))
    assert measured == pytest.approx(snr, abs=0.7)


@pytest.mark.parametrize("snr", [-5.0, 0.0, 12.5, 30.0])
@pytest.mark.parametrize("colour", NOISE_COLOURS)
def test_the_measured_snr_is_the_asked_one(colour: str, snr: float) -> None:
    """Also for a wave of any length whose sound rises, falls and pauses: by the definition that is written."""
    rng = np.random.default_rng(4)
    swell = np.abs(np.sin(np.arange(23456) / 2000)).astype(np.float32)
    wave = 0.2 * rng.standard_normal(23456, dtype=np.float32) * np.where(swell < 0.3, 0, swell)
    disturbance = augment.add_noise(wave, augment.noise(rng, colour, wave), snr) - wave
    frames = (wave[: 23456 // 320 * 320].reshape(-1, 320) ** 2).mean(1)
    level = frames[frames >= frames.max() / 1000].mean()
    assert 10 * np.log10(level / np.mean(disturbance**2)) == pytest.approx(snr, abs=0.05)


def test_codecs_are_drawn_at_all_their_rates() -> None:
    tone = (0.3 * np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE)).astype(np.float32)
    coder = Augment(**{**OFF, "codec": 1.0})
    waves = [coder.distort(tone, np.random.default_rng(seed))[0] for seed in range(12)]
    errors = [float(np.sqrt(np.mean((wave - tone) ** 2))) for wave in waves]
    assert all(0 < error < 0.1 for error in errors) and len({round(error, 5) for error in errors}) >= 6


@pytest.mark.parametrize(("colour", "slope"), [("white", 0.0), ("pink", -3.0), ("brown", -6.0)])
def test_noise_colours_fall_as_they_should(colour: str, slope: float) -> None:
    noise = augment.noise(np.random.default_rng(0), colour, np.zeros(10 * RATE, np.float32))
    per_octave = (band_db(noise, 3000, 5000) - band_db(noise, 375, 625)) / 3
    assert per_octave == pytest.approx(slope, abs=0.3)


def test_room_keeps_the_direct_path_first_and_strongest() -> None:
    rng = np.random.default_rng(0)
    decays = []
    for _ in range(20):
        impulse = augment.room_impulse(rng)
        assert impulse[0] == 1.0
        # the rest together is not louder than the direct path
        assert np.sum(impulse[1:] ** 2) <= 1.0001
        half = impulse.size // 2
        decays.append(np.sum(impulse[1:half] ** 2) / np.sum(impulse[half:] ** 2))
    assert min(decays) > 10


def test_quantisation_steps() -> None:
    wave = np.linspace(-1, 1, 10001, dtype=np.float32)
    assert len(np.unique(augment.round_to_bits(wave, 8))) == 255
    curved = augment.mu_law(wave)
    assert len(np.unique(curved)) == 255
    # steps are fine near zero, coarse far out
    assert np.abs(curved - wave)[4900:5100].max() < 0.0005 < np.abs(curved - wave).max() < 0.03


def test_same_seed_same_bytes_and_input_untouched() -> None:
    wave = burst(0.2, 1.8)
    before = wave.copy()
    first, _ = Augment().distort(wave, np.random.default_rng(5))
    second, _ = Augment().distort(wave, np.random.default_rng(5))
    other, _ = Augment().distort(wave, np.random.default_rng(6))
    assert first.tobytes() == second.tobytes() != other.tobytes()
    assert np.array_equal(wave, before)


@pytest.mark.parametrize("n", [1, 2, 79, 400, 16000])
def test_any_length_stays_finite_and_in_range(n: int) -> None:
    everything = Augment(**dict.fromkeys(OFF, 1.0))
    source = np.random.default_rng(0).standard_normal(n).astype(np.float32)
    for seed in range(20):
        for wave in (source, np.zeros(n, np.float32)):
            changed, _ = everything.distort(wave, np.random.default_rng(seed))
            assert changed.dtype == np.float32
            assert changed.size > 0
            assert np.isfinite(changed).all()
            assert np.abs(changed).max() <= 1.0


def test_bad_input_is_refused_with_a_sentence() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="one channel"):
        Augment().distort(np.zeros((2, 100), np.float32), rng)
    with pytest.raises(ValueError, match="n > 0"):
        Augment().distort(np.zeros(0, np.float32), rng)
    with pytest.raises(ValueError, match="probability room"):
        Augment(room=1.5)
    with pytest.raises(ValueError, match="snr_range"):
        Augment(snr_range=(20.0, 5.0))
    with pytest.raises(ValueError, match="unknown noise"):
        augment.noise(rng, "blue", np.ones(10, np.float32))

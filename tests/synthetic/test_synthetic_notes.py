"""Synthetic notes sound at the pitch they are labelled with, at once, and the same in every process."""

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT
from scipy.signal import resample_poly

from qwen_audio.synthetic.music.notes import (
    DYNAMICS,
    INSTRUMENTS,
    TASK_WEIGHTS,
    NoteGenerator,
    dynamic,
    frequency,
    qualities,
    render_note,
)
from qwen_audio.synthetic.music.soundfont import SoundFont, SoundFontError, load_soundfont

pytest.importorskip("pretty_midi", reason="the sound font comes with the synth extra")


def period_pitch(wave: np.ndarray) -> float:
    """MIDI pitch from the first high peak of the normalised autocorrelation (McLeod's), 50 to 560 ms."""
    x = resample_poly(wave[800:8992].astype(float), 4, 1)
    n, rate = len(x), 64000
    lags = np.fft.irfft(np.abs(np.fft.rfft(x, 4 * n)) ** 2)[:n]
    energy = np.concatenate([[0], np.cumsum(x**2)])
    norm = 2 * lags / (energy[n] - energy[:n] + energy[n - np.arange(n)] + 1e-9)
    low, high = rate // 5000, rate // 24
    inside = norm[low : high + 1]
    peak = (inside > norm[low - 1 : high]) & (inside >= norm[low + 1 : high + 2])
    at = low + int(np.flatnonzero(peak & (inside > 0.9 * inside[peak].max()))[0])
    return 69 + 12 * np.log2(rate / at / 440)


def digest(seed: int, count: int) -> str:
    generator, rng, total = NoteGenerator(), np.random.default_rng(seed), hashlib.sha256()
    for _ in range(count):
        sample = generator.sample(rng)
        total.update(sample.example.model_dump_json().encode() + sample.waves[0].tobytes())
    return total.hexdigest()


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda i: i.name)
def test_pitch_is_the_label_and_the_attack_is_at_once(instrument) -> None:
    for program in instrument.programs:
        for pitch in np.linspace(instrument.low, instrument.high, 4).round().astype(int):
            wave = render_note(
                load_soundfont(), program, pitch, 100, seconds=1.0, hold=1.0, transpose=instrument.transpose
            )
            assert wave.shape == (16000,) and wave.dtype == np.float32 and np.abs(wave).max() == 1
            assert abs(period_pitch(wave) - pitch) < 0.6, (program, pitch)
            assert np.argmax(np.abs(wave) > 0.05) < 0.02 * 16000, (program, pitch)
            assert np.abs(wave[-160:]).max() < 0.5 * np.abs(wave).max()


def test_harder_is_brighter() -> None:
    centroids = []
    for velocity in (20, 50, 80, 110):
        wave = render_note(load_soundfont(), 0, 60, velocity, seconds=1.0, hold=1.0)
        power = np.abs(np.fft.rfft(wave)) ** 2
        centroids.append(float((power * np.arange(len(power))).sum() / power.sum()))
    assert centroids == sorted(centroids) and centroids[-1] > 1.5 * centroids[0]


def test_dynamics_have_their_usual_velocities() -> None:
    assert [dynamic(v) for v in (33, 49, 64, 80, 96, 112)] == list(DYNAMICS)
    assert (dynamic(20), dynamic(127)) == ("pianissimo", "fortissimo")


def test_the_release_is_heard_and_ends() -> None:
    wave = load_soundfont().render(48, 60, hold=0.5, seconds=3.0)
    level = [float(np.sqrt((wave[int(t * 16000) :][:800] ** 2).mean())) for t in (0.4, 0.6, 2.8)]
    assert level[0] > level[1] > 0.01 * level[0] and level[2] < 0.01 * level[0]


def test_samples_follow_their_tasks() -> None:
    generator, rng = NoteGenerator(), np.random.default_rng(1)
    samples = [generator.sample(rng) for _ in range(80)]
    assert {s.example.task for s in samples} == set(TASK_WEIGHTS)
    assert 0.2 < np.mean([s.example.meta["instrument"] == "piano" for s in samples]) < 0.5
    assert len({s.example.id for s in samples}) == 80
    for sample in samples:
        example, (wave,) = sample.example, sample.waves
        meta = example.meta
        assert 16000 <= len(wave) <= 48000 and wave.dtype == np.float32 and 0.15 < np.abs(wave).max() < 1
        assert example.audio == [] and example.question and 21 <= meta["pitch"] <= 108
        wanted = {
            "note_pitch": str(meta["pitch"]),
            "note_velocity": dynamic(meta["velocity"]),
            "instrument": meta["instrument"],
            "note_analysis": None,
        }[example.task]
        assert example.label == wanted and example.text
        assert example.choices is None or example.label in example.choices


def test_qualities_of_known_shapes() -> None:
    time = np.arange(32000) / 16000
    low = np.sin(2 * np.pi * 200 * time).astype(np.float32)
    assert qualities(low, 2.0) == ["dark"]
    assert qualities(low * np.exp(-10 * time), 2.0, distorted=True) == [
        "dark", "distortion", "fast_decay", "percussive"
    ]  # fmt: skip
    assert "bright" in qualities(np.sin(2 * np.pi * 3000 * time), 2.0)
    assert "long_release" in qualities(low, 1.0)


def test_same_seed_same_bytes_in_another_process() -> None:
    code = "import sys; sys.path[:0] = sys.argv[1:]; import test_synthetic_notes as t; print(t.digest(5, 12))"
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(ROOT / "tests" / "helpers")]
    other = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert digest(9, 3) != digest(5, 12) == other.stdout.strip()
    assert len(pickle.dumps(NoteGenerator())) < 2000


def test_wrong_tasks_and_fonts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="note tasks are"):
        NoteGenerator({"asr": 1.0})
    with pytest.raises(SoundFontError, match="no sample for key"):
        load_soundfont().render(200, 60, hold=1, seconds=1)
    whole = load_soundfont().path.read_bytes()
    for name, data in (("text.sf2", b"hello"), ("cut.sf2", whole[: len(whole) // 2])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SoundFontError, match=r"not a whole SoundFont|cut short"):
            SoundFont(tmp_path / name)


def test_the_frequency_of_a() -> None:
    assert frequency(69) == 440 and frequency(57) == 220

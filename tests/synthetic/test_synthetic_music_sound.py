"""Synthetic music as it sounds: pitch, onsets, mode, timbre and level agree with the score and the labels."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import resample_poly

pytest.importorskip("pretty_midi", reason="the sound font comes with the synth extra")

from qwen_audio.synthetic.music.genres import GENRES, MOODS, TEMPO_CLASSES
from qwen_audio.synthetic.music.music import MusicGenerator
from qwen_audio.synthetic.music.piece import draw_plan, perform
from qwen_audio.synthetic.music.soundfont import SoundFontError, load_soundfont
from qwen_audio.synthetic.music.theory import key_name
from qwen_audio.synthetic.music.track import DRUMS, NoteStore
from qwen_audio.synthetic.music.voice import DELIVERIES, SINGERS, sing

RATE = 16000


def draw(task: str, count: int, seed: int = 0, held_out: bool = False) -> list:
    generator, rng = MusicGenerator({task: 1.0}, held_out), np.random.default_rng(seed)
    return [generator.sample(rng) for _ in range(count)]


def pitch_of(wave: np.ndarray) -> float:
    """MIDI pitch from the first high peak of the normalised autocorrelation, 35 Hz to 2.3 kHz."""
    x, rate = resample_poly(wave.astype(float), 2, 1), 2 * RATE
    n = len(x)
    lags = np.fft.irfft(np.abs(np.fft.rfft(x, 4 * n)) ** 2)[:n]
    energy = np.concatenate([[0], np.cumsum(x**2)])
    norm = 2 * lags / (energy[n] - energy[:n] + energy[n - np.arange(n)] + 1e-9)
    low, high = rate // 2300, min(rate // 35, n // 2)
    inside = norm[low : high + 1]
    peaks = np.flatnonzero((inside > norm[low - 1 : high]) & (inside >= norm[low + 1 : high + 2]))
    at = low + int(peaks[inside[peaks] > 0.9 * inside[peaks].max()][0])
    before, here, after = norm[at - 1 : at + 2]
    return 69 + 12 * np.log2(rate / (at + 0.5 * (before - after) / (before - 2 * here + after)) / 440)


def in_tune(samples: list) -> float:
    """Share of the score's notes of 0.2 s and more that sound within half a semitone of their pitch."""
    right = total = 0
    for sample in samples:
        for start, seconds, pitch in sample.example.meta["notes"]:
            if seconds < 0.2:
                continue
            length = max(0.2, 8 / (440 * 2 ** ((pitch - 69) / 12)))
            begin = start + min(0.08, 0.3 * seconds)
            part = sample.waves[0][round(begin * RATE) : round(min(start + seconds, begin + length) * RATE)]
            right += abs(pitch_of(part) - pitch) < 0.5
            total += 1
    assert total > 40
    return right / total


def onset_strength(wave: np.ndarray) -> np.ndarray:
    """How much louder (log) the spectrum becomes, every 10 ms."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, 512)[::160] * np.hanning(512)
    level = np.log(np.abs(np.fft.rfft(frames)) + 0.05 * np.abs(wave).max())
    return np.maximum(level[2:] - level[:-2], 0).mean(axis=1)


def measured_tempo(wave: np.ndarray) -> float:
    """Beats per minute, 50 to 194, at which onsets come again after one, two and four beats."""
    strength = onset_strength(wave)
    strength = strength - strength.mean()
    n = len(strength)
    again = np.fft.irfft(np.abs(np.fft.rfft(strength, 2 * n)) ** 2)[:n] / (n - np.arange(n))

    def score(tempo: float) -> float:
        lags = [k * 6000 / tempo for k in (1, 2, 4) if k * 6000 / tempo < 0.7 * n]
        return float(np.mean(np.interp(lags, np.arange(n), again)))

    return max(np.arange(50, 194.5, 0.5), key=score)


def test_played_melodies_sound_at_the_pitch_of_the_score() -> None:
    names = {singer.name for singer in SINGERS}
    played = [s for s in draw("music_recognition", 12) if s.example.meta["performer"] not in names]
    assert in_tune(played) > 0.97


def test_sung_melodies_sound_at_the_pitch_of_the_score() -> None:
    assert in_tune(draw("singer_id", 10)) > 0.95


def test_onsets_come_at_the_tempo() -> None:
    levels = np.array([1 / 4, 1 / 3, 1 / 2, 2 / 3, 1, 3 / 2, 2, 3])  # a half or a double is heard as well
    samples = draw("music_genre", 12)
    heard = [measured_tempo(s.waves[0]) / s.example.meta["tempo"] for s in samples]
    assert sum(np.abs(ratio / levels - 1).min() < 0.03 for ratio in heard) >= 11


def test_the_mode_is_heard_in_the_third_of_the_key() -> None:
    right = 0
    samples = [s for s in draw("music_genre", 14, seed=1) if s.example.label != "metal"]
    for sample in samples:
        power = np.abs(np.fft.rfft(sample.waves[0]))
        f = np.fft.rfftfreq(len(sample.waves[0]), 1 / RATE)
        part = (f > 100) & (f < 2000)
        classes = np.round(69 + 12 * np.log2(f[part] / 440)).astype(int) % 12
        chroma = np.bincount(classes, power[part], 12)
        key, mode = sample.example.meta["key"].rsplit(" ", 1)
        tonic = next(k for k in range(12) if key_name(k, mode) == f"{key} {mode}")
        right += (chroma[(tonic + 4) % 12] > chroma[(tonic + 3) % 12]) == (mode == "major")
    assert right >= len(samples) - 1


def timbre(singer, seed: int) -> np.ndarray:
    """Levels of 20 bands of a scale in the middle of the singer's range, on whatever vowels."""
    middle = (singer.low + singer.high) // 2
    notes = [(0.3 * k, 0.28, middle + step) for k, step in enumerate((-3, -1, 0, 2, 4, 5, 4, 2, 0, -1))]
    wave = sing(np.random.default_rng(seed), singer, notes, 3 * RATE)
    assert wave.shape == (48000,) and wave.dtype == np.float32 and np.isfinite(wave).all()
    level = np.log((np.abs(np.fft.rfft(wave))[:24000] ** 2).reshape(20, -1).sum(axis=1))
    return level - level.mean()


def test_singers_can_be_told_apart() -> None:
    known = np.array([[timbre(singer, seed) for seed in range(8)] for singer in SINGERS])  # (8, 8, 20)
    heard = np.array([timbre(singer, seed) for singer in SINGERS for seed in (8, 9)])
    means = known.mean(axis=1)
    within = (known - means[:, None]).reshape(-1, 20)  # what the vowels change
    weight = np.linalg.inv(within.T @ within / len(within) + 0.05 * np.eye(20))
    away = heard[:, None] - means
    nearest = np.einsum("nks,st,nkt->nk", away, weight, away).argmin(axis=1)
    assert (nearest == np.repeat(np.arange(8), 2)).sum() >= 14  # of 16


def test_deliveries_differ_in_brightness() -> None:
    def centroid(mood: str) -> float:
        wave = sing(np.random.default_rng(0), SINGERS[4], [(0, 1.9, 57)], 2 * RATE, DELIVERIES[mood])
        power = np.abs(np.fft.rfft(wave)) ** 2
        return float((power * np.arange(len(power))).sum() / power.sum())

    assert centroid("angry") > centroid("happy") > max(centroid("sad"), centroid("calm"))
    assert set(DELIVERIES) == set(MOODS)
    with pytest.raises(ValueError, match="nothing to sing"):
        sing(np.random.default_rng(0), SINGERS[0], [], RATE)


def test_moods_differ_in_tempo_level_and_register() -> None:
    clips: dict[str, list] = {mood: [] for mood in MOODS}
    for sample in draw("music_emotion", 24):
        clips[sample.example.label].append(sample)
    peak = {m: np.mean([np.abs(s.waves[0]).max() for s in rows]) for m, rows in clips.items()}
    pitch = {m: np.mean([n[2] for s in rows for n in s.example.meta["notes"]]) for m, rows in clips.items()}
    assert min(peak["happy"], peak["angry"]) > 1.5 * max(peak["sad"], peak["calm"])
    assert pitch["happy"] > pitch["sad"] + 3
    for mood, rows in clips.items():
        low, high = TEMPO_CLASSES[MOODS[mood].tempo]
        assert rows and all(low <= s.example.meta["tempo"] <= high for s in rows)
        assert all(s.example.meta["key"].endswith(MOODS[mood].mode) for s in rows)


def test_parts_that_enter_later_are_silent_before() -> None:
    store, rng, parts = NoteStore(load_soundfont()), np.random.default_rng(0), set()
    while len(parts) < 4:
        plan = draw_plan(rng, plain=True)
        for part in set(plan.parts) - parts:
            late = replace(plan, entries={"lead": 1, part: 1})
            wave, line = perform(rng, late, store)
            bar = plan.metre * 60 / plan.tempo
            border, least = round(bar * RATE), 1e-4 * np.abs(wave).max()
            assert np.abs(wave[: border - 1]).max() < least < np.abs(wave[border:][: RATE // 2]).max()
            assert line[0][0] == pytest.approx(bar)
            parts.add(part)


def test_drums_are_drums() -> None:
    font = load_soundfont()
    store = NoteStore(font)

    def centroid(name: str) -> float:
        power = np.abs(np.fft.rfft(store.note(0, DRUMS[name], drums=True), RATE)) ** 2
        return float((power * np.arange(len(power))).sum() / power.sum())

    assert centroid("kick") < 400 < centroid("snare") < centroid("closed hat") > 4000
    assert {g.kit for g in GENRES.values()} <= set(font.kits)
    for genre in GENRES.values():
        for strokes in genre.drums.values():
            assert all(len(store.note(genre.kit, DRUMS[name], drums=True)) > 400 for name in strokes)
    with pytest.raises(SoundFontError, match=r"drum kit 3 .* key 36"):
        font.render(3, 36, hold=1, seconds=1, drums=True)


def test_kept_notes_do_not_change_what_is_played() -> None:
    small, large = NoteStore(load_soundfont(), limit=100_000), NoteStore(load_soundfont())
    addresses = [(0, 60), (40, 67), (56, 60), (0, 60), (33, 40)]
    for address in addresses:
        assert np.array_equal(small.note(*address), large.note(*address))
    assert len(small) < len(large) == 4 and small.size <= 100_000 < large.size
    assert np.sqrt(np.square(large.note(40, 67)[RATE : 2 * RATE]).mean()) == pytest.approx(1, abs=0.5)
    track = np.zeros(RATE, np.float32)
    large.play(track, 0, 60, start=0.5, seconds=0.2, gain=1.0)
    assert not track[:7990].any() and track[8000:11200].any() and not track[round(0.79 * RATE) :].any()

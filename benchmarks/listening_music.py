"""Notes and music against measurements: pitch by autocorrelation, tempo by onsets, mode by thirds, level by power."""

from __future__ import annotations

import numpy as np
from listening_row import Row
from listening_tools import drawn, guessed_without_audio, in_tune, named_rightly, percent, pitch_of, tempo_of
from scipy.stats import spearmanr

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.manifest import Sample
from qwen_audio.synthetic.music.notes import frequency
from qwen_audio.synthetic.music.theory import key_name

_LEVELS = np.array([1 / 4, 1 / 3, 1 / 2, 2 / 3, 1, 3 / 2, 2, 3])  # half and double tempo count as well


def _note_pitch(samples: list[Sample]) -> Row:
    right = []
    for sample in samples:
        part = sample.waves[0][round(0.1 * SAMPLE_RATE) : round(0.6 * SAMPLE_RATE)]
        right.append(abs(pitch_of(part) - int(sample.example.text)) < 0.5)
    return Row("note_pitch", "pitch by autocorrelation, within half a semitone", percent(right), len(right))


def _velocity(samples: list[Sample]) -> Row:
    """Harmonics of a piano note against its fundamental: the harder it is struck, the brighter it is."""
    bright, struck = [], []
    for sample in samples:
        meta = sample.example.meta
        if meta["program"] == 0 and 40 <= meta["pitch"] <= 80:
            power = np.abs(np.fft.rfft(sample.waves[0])) ** 2
            f = np.fft.rfftfreq(len(sample.waves[0]), 1 / SAMPLE_RATE) / frequency(meta["pitch"])
            low, high = power[(f > 0.5) & (f < 1.5)].sum(), power[(f > 3.5) & (f < 8.5)].sum()
            bright.append(np.log(high / low))
            struck.append(meta["velocity"])
    rank = spearmanr(bright, struck).statistic
    what = "velocity and brightness of grand piano notes, rank correlation"
    return Row("note_velocity", what, f"{rank:.2f} (chance 0)", len(bright))


def _tempo(samples: list[Sample]) -> Row:
    ratios = [tempo_of(sample.waves[0]) / sample.example.meta["tempo"] for sample in samples]
    right = [bool(np.abs(ratio / _LEVELS - 1).min() < 0.03) for ratio in ratios]
    what = "tempo by onsets, within 3 % of it or of a half, third, double ..."
    return Row("music_genre", what, percent(right), len(right))


def _mode(samples: list[Sample]) -> Row:
    right = []
    for sample in samples:
        meta = sample.example.meta
        if meta["genre"] == "metal":  # power chords have no third
            continue
        power = np.abs(np.fft.rfft(sample.waves[0]))
        f = np.fft.rfftfreq(len(sample.waves[0]), 1 / SAMPLE_RATE)
        part = (f > 100) & (f < 2000)
        chroma = np.bincount(np.round(69 + 12 * np.log2(f[part] / 440)).astype(int) % 12, power[part], 12)
        mode = meta["key"].rsplit(" ", 1)[1]
        tonic = next(k for k in range(12) if key_name(k, mode) == meta["key"])
        right.append((chroma[(tonic + 4) % 12] > chroma[(tonic + 3) % 12]) == (mode == "major"))
    return Row(
        "music_caption",
        "major or minor by the third of the key",
        f"{percent(right)} (chance 50 %)",
        len(right),
    )


def _questions(samples: list[Sample]) -> list[Row]:
    rows = []
    moving = []
    for sample in samples:
        example, wave = sample.example, sample.waves[0]
        if "louder" in (example.question or ""):
            third = len(wave) // 3
            louder = np.square(wave[2 * third : -SAMPLE_RATE // 2]).mean() > np.square(wave[:third]).mean()
            moving.append((example.text == "louder") == bool(louder))
    rows.append(
        Row(
            "music_qa",
            "louder or softer by the power of thirds",
            f"{percent(moving)} (chance 50 %)",
            len(moving),
        )
    )
    asked = [sample.example for sample in samples]
    rows.append(
        Row("music_qa", "answers guessed from the words alone", guessed_without_audio(asked), len(asked) // 2)
    )
    return rows


def rows(count: int, seed: int) -> list[Row]:
    """The rows of the note and music tasks."""
    found = [
        _note_pitch(drawn("note_pitch", count, seed)),
        _velocity(drawn("note_velocity", 8 * count, seed)),
    ]
    found.append(
        Row(
            "instrument", "instrument (notes and solos) by linear discriminants on band levels",
            named_rightly(drawn("instrument", 6 * count, seed), drawn("instrument", count, seed + 1)), count,
        )
    )  # fmt: skip
    for task in ("music_recognition", "singer_id"):
        right = [hit for sample in drawn(task, count // 3, seed) for hit in in_tune(sample)]
        found.append(
            Row(
                task,
                "notes of the melody by autocorrelation, within half a semitone",
                percent(right),
                len(right),
            )
        )
    genres = drawn("music_genre", count, seed, held_out=True)
    found += [_tempo(genres), _mode(drawn("music_caption", count, seed))]
    what = "class of combinations never heard, by linear discriminants on band levels"
    found.append(
        Row("music_genre", what, named_rightly(drawn("music_genre", 3 * count, seed), genres), count)
    )
    moods = drawn("music_emotion", count, seed, held_out=True)
    found.append(
        Row("music_emotion", what, named_rightly(drawn("music_emotion", 2 * count, seed), moods), count)
    )
    singers = drawn("singer_id", count // 2, seed, held_out=True)
    found.append(Row("singer_id", what, named_rightly(drawn("singer_id", count, seed), singers), count // 2))
    return [*found, *_questions(drawn("music_qa", 5 * count, seed))]

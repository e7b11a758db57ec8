"""Examples through a channel: labels stay true, times follow the sound, and `meta` says what was drawn."""

from __future__ import annotations

import numpy as np
import pytest

from qwen_audio.data.augment import Augment, active_power
from qwen_audio.data.channel import distort, moved, suited
from qwen_audio.data.manifest import Example, Sample
from qwen_audio.format.tasks import TASKS
from qwen_audio.format.timestamps import Span, Word

RATE = 16_000
OFF = dict.fromkeys(("speed", "eq", "room", "noise", "telephone", "clip", "quantise", "gain", "codec"), 0.0)
ON = dict.fromkeys(OFF, 1.0)


def burst(start: float, end: float, seconds: float = 2.0) -> np.ndarray:
    wave = np.zeros(int(seconds * RATE), np.float32)
    inside = slice(int(start * RATE), int(end * RATE))
    wave[inside] = 0.2 * np.random.default_rng(1).standard_normal(inside.stop - inside.start)
    return wave


def sample_of(task: str, clips: int = 1, **fields: object) -> Sample:
    example = Example(id="x", task=task, audio=[], text="yes", **fields)
    return Sample(example, [burst(0.5, 1.2) for _ in range(clips)])


@pytest.mark.parametrize("factor", [0.85, 1.18])
def test_all_times_follow_the_speed(factor: float) -> None:
    meta = {"events": [["rain", 0.5, 1.2]], "notes": [[0.5, 0.7, 60]], "kind": "x"}
    given = sample_of(
        "event_detection", spans=[Span("rain", 0.5, 1.2)], words=[Word("a", 0.5, 1.2)], meta=meta
    )
    told = distort(
        given, Augment(**{**OFF, "speed": 1.0}, speed_range=(factor, factor)), np.random.default_rng(0)
    )
    loud = np.flatnonzero(np.abs(told.waves[0]) > 0.05) / RATE
    for start, end in (
        (told.example.spans[0].start, told.example.spans[0].end),
        (told.example.words[0].start, told.example.words[0].end),
        tuple(told.example.meta["events"][0][1:]),
    ):
        assert loud[0] == pytest.approx(start, abs=0.01) and loud[-1] == pytest.approx(end, abs=0.01)
    start, length, pitch = told.example.meta["notes"][0]
    assert (start, length) == pytest.approx((0.5 / factor, 0.7 / factor), abs=1e-3)
    assert pitch == pytest.approx(60 + 12 * np.log2(factor), abs=0.01)
    assert told.example.meta["channel"] == [{"speed": factor}] and told.example.meta["kind"] == "x"
    assert given.example.meta == meta  # the given example is left alone


def test_meta_of_another_shape_is_left_alone() -> None:
    meta = {"events": ["rain", 3], "notes": "loud"}
    assert moved(sample_of("asr", meta=meta).example, 1.1, 2.0).meta == meta


def test_what_is_noted_can_be_measured() -> None:
    wave = burst(0.2, 1.8)
    noisy, facts = Augment(**{**OFF, "noise": 1.0}, snr_range=(12.0, 30.0)).distort(
        wave, np.random.default_rng(3)
    )
    measured = 10 * np.log10(active_power(wave) / np.mean((noisy - wave) ** 2))
    assert measured == pytest.approx(facts["snr_db"], abs=0.05)
    loud, facts = Augment(**{**OFF, "gain": 1.0}).distort(wave, np.random.default_rng(3))
    assert 20 * np.log10(np.abs(loud).max()) == pytest.approx(facts["peak_db"], abs=0.01)
    _, facts = Augment(**{**ON, "room": 1.0}).distort(wave, np.random.default_rng(3))
    assert set(facts) >= {
        "speed", "eq", "reverberation_s", "direct_db", "noise", "snr_db", "band_hz", "clip_db", "peak_db", "quantise",
        "codec", "bit_rate",
    }  # fmt: skip
    assert 0.1 <= facts["reverberation_s"] <= 0.7 and 0 <= facts["direct_db"] <= 18
    assert Augment(**OFF).distort(wave, np.random.default_rng(3))[1] == {}


@pytest.mark.parametrize("task", TASKS)
def test_no_distortion_makes_a_label_untrue(task: str) -> None:
    kept = suited(Augment(**ON), task)
    if task.startswith(
        ("note_", "music_caption", "music_qa", "speaker_g", "speaker_a", "speaker_v", "emotion")
    ):
        assert kept.speed == 0
    if task in ("note_velocity", "note_analysis"):
        assert kept.gain == kept.clip == kept.eq == 0
    if task == "audio_caption":
        assert kept.noise == kept.room == 0
    if TASKS[task].group == "speech":
        assert kept.snr_range == Augment().snr_range and kept.noise == kept.room == 1
    else:
        assert kept.snr_range[0] >= 15


def test_each_clip_has_a_channel_of_its_own() -> None:
    told = distort(sample_of("speaker_verification", 2), Augment(), np.random.default_rng(0))
    one, two = told.example.meta["channel"]
    assert one != two and "speed" not in {**one, **two} and len(told.waves) == 2


def test_a_question_about_seconds_keeps_the_speed() -> None:
    asked = 'In which second does the word "six" begin?'
    for question, slower in ((asked, False), ("Which word is spoken last?", True)):
        example = Example(id="q", task="audio_qa", audio=[], text="1", question=question)
        sample = Sample(example, [burst(0.2, 0.8, 1.0)])
        heard = distort(sample, Augment(speed=1.0), np.random.default_rng(0))
        assert (len(heard.waves[0]) != 16_000) is slower

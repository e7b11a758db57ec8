"""Procedural sounds: every class sounds, looks like itself, and carries a true annotation."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT

from qwen_audio.synthetic.sounds.acoustics import band, decay, drift, harmonic, noise, place, struck
from qwen_audio.synthetic.sounds.models import ESC10
from qwen_audio.synthetic.sounds.sounds import CLASSES, TASK_WEIGHTS, SoundGenerator, caption

RATE = 16000


def perform(name: str, count: int = 5, seconds: float = 3.0) -> list[np.ndarray]:
    return [CLASSES[name](np.random.default_rng(seed), round(seconds * RATE)) for seed in range(count)]


def centroid(wave: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(wave)) ** 2
    return float((power * np.fft.rfftfreq(len(wave), 1 / RATE)).sum() / power.sum())


def levels(wave: np.ndarray) -> np.ndarray:
    """Decibels of 20 ms frames below the loudest."""
    power = (wave[: len(wave) // 320 * 320].reshape(-1, 320) ** 2).mean(1)
    return 10 * np.log10(power / power.max() + 1e-12)


def digest(seed: int, count: int) -> str:
    generator, rng, total = SoundGenerator(), np.random.default_rng(seed), hashlib.sha256()
    for _ in range(count):
        sample = generator.sample(rng)
        total.update(sample.example.model_dump_json().encode() + sample.waves[0].tobytes())
    return total.hexdigest()


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_sounds_at_any_length(name: str) -> None:
    for seconds in (0.7, 1.5, 5.0):
        one, other = perform(name, 2, seconds)
        assert one.shape == other.shape == (round(seconds * RATE),)
        assert np.isfinite(one).all() and np.abs(one).max() > 1e-3
        assert not np.array_equal(one, other)


def test_the_ten_classes_are_named_as_in_the_corpus() -> None:
    assert list(ESC10) == [
        "dog barking", "rain", "sea waves", "baby crying", "clock ticking",
        "sneezing", "helicopter", "chainsaw", "rooster crowing", "fire crackling",
    ]  # fmt: skip
    assert len(CLASSES) >= 14


def test_spectra_are_in_their_places() -> None:
    middle = {name: float(np.median([centroid(w) for w in perform(name)])) for name in CLASSES}
    assert middle["white noise"] == pytest.approx(4000, rel=0.02)
    assert middle["wind"] < 600 > middle["car engine"] and middle["helicopter"] < 1000
    assert 2500 < middle["birds singing"] < 6000 and 3000 < middle["crickets chirping"] < 5600
    assert middle["car engine"] < middle["chainsaw"] < middle["rain"] > middle["sea waves"]
    assert middle["dog barking"] < middle["baby crying"]


def test_envelopes_are_those_of_steady_and_of_struck_sounds() -> None:
    silent = {name: float(np.median([(levels(w) < -30).mean() for w in perform(name)])) for name in CLASSES}
    assert all(silent[name] < 0.05 for name in ("rain", "helicopter", "white noise", "train"))
    assert all(silent[name] > 0.3 for name in ("dog barking", "sneezing", "door knocking", "footsteps"))


def test_a_clock_keeps_time() -> None:
    for wave in perform("clock ticking"):
        level = (wave[: len(wave) // 160 * 160].reshape(-1, 160) ** 2).mean(1)
        level = np.log10(level + 1e-5 * level.max())
        level -= level.mean()
        lags = np.correlate(level, level, "full")[len(level) :]
        lags /= lags[0] + 1e-12
        assert lags[15:].max() > 0.2  # its ticks come again after 0.15 s or more


def test_building_blocks() -> None:
    rng = np.random.default_rng(0)
    tone = harmonic(np.full(RATE, 200.0), 1.0)
    spectrum = np.abs(np.fft.rfft(tone)) / (RATE / 2)
    assert spectrum[200] == pytest.approx(1, abs=0.01) and spectrum[600] == pytest.approx(1 / 3, abs=0.01)
    assert spectrum[7801:].max() < 1e-3
    low = noise(rng, RATE, band(100, 400, 4))
    assert np.sqrt((low**2).mean()) == pytest.approx(1) and centroid(low) < 500
    wander = drift(rng, RATE, 5, 2, 3)
    assert 2 <= wander.min() < wander.max() <= 3 and np.abs(np.diff(wander)).max() < 0.01
    fall = decay(RATE, 0.5)
    assert fall[round(0.501 * RATE)] == pytest.approx(1e-3, rel=0.02)
    assert np.abs(struck(RATE, [(440, 0.2, 1.0)]))[4000:].max() < 1e-3
    track = np.zeros(10)
    place(track, 8 / RATE, np.ones(5), 2.0)
    place(track, 1.0, np.ones(5))
    assert track.tolist() == [0.0] * 8 + [2.0, 2.0]


def test_samples_follow_their_tasks() -> None:
    generator, rng = SoundGenerator(), np.random.default_rng(3)
    samples = [generator.sample(rng) for _ in range(150)]
    assert {s.example.task for s in samples} == set(TASK_WEIGHTS)
    answers = []
    for sample in samples:
        example, (wave,) = sample.example, sample.waves
        assert 1.49 * RATE <= len(wave) <= 5.01 * RATE and wave.dtype == np.float32
        assert 0.09 < np.abs(wave).max() < 0.99 and np.isfinite(wave).all()
        heard = list(dict.fromkeys(name for name, _, _ in example.meta["events"]))
        assert all(end <= len(wave) / RATE + 0.01 for _, _, end in example.meta["events"])
        assert example.choices is None or example.text in example.choices
        if example.task == "sound_event":
            assert [example.label] == heard == [example.text]
        elif example.task == "audio_caption":
            assert example.label is None and example.text[0].isupper() and example.text.endswith(".")
        else:
            assert example.label == example.text
            question = example.question
            named = question.split('"')[1::2]
            if question.startswith("Can the sound"):
                assert (named[0] in heard) == (example.text == "yes")
                answers.append(example.text)
            elif question.startswith("Is the sound"):
                assert (named == heard) == (example.text == "yes") and sorted(named) == sorted(heard)
            elif question.startswith("Which sound is heard"):
                assert example.text == heard[0 if "first" in question else -1]
            else:
                assert heard == [example.text]
    assert 0.3 < answers.count("yes") / len(answers) < 0.7
    assert len({s.example.id for s in samples}) == 150


def test_captions_read_well() -> None:
    rng = np.random.default_rng(0)
    one = {caption(rng, ["sneezing"], False) for _ in range(60)}
    assert "A person sneezes." in one and "The sound of sneezing is heard." in one
    assert {caption(rng, ["dog barking", "rain"], False) for _ in range(60)} == {
        "A dog barks, then rain falls.",
        "A dog barks and then rain falls.",
        "First a dog barks, then rain falls.",
    }
    assert "A dog barks while rain is falling." in {
        caption(rng, ["dog barking", "rain"], True) for _ in range(60)
    }


def test_events_are_where_the_meta_says() -> None:
    """Each span is heard from its first to its last instant; a bark does not last as long as its clip."""
    generator, rng, shorter = SoundGenerator({"sound_event": 1.0}), np.random.default_rng(0), 0
    for _ in range(40):
        sample = generator.sample(rng)
        events, wave = sample.example.meta["events"], sample.waves[0]
        assert all(0 <= start < end <= len(wave) / RATE for _, start, end in events)
        assert events == sorted(events, key=lambda event: event[1])
        inside = np.zeros(len(wave), bool)
        for _, start, end in events:
            inside[round(start * RATE) : round(end * RATE)] = True
        # A room or a background may sound outside; the event itself is far above what is left there.
        outside = np.square(wave[~inside]).max() if (~inside).any() else 0.0
        assert np.square(wave[inside]).max() > 4 * outside
        shorter += events[-1][2] < 0.9 * len(wave) / RATE
    assert shorter >= 5


def test_same_seed_same_bytes_in_another_process() -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]; import test_synthetic_sounds as t; print(t.digest(5, 12))"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(ROOT / "tests" / "helpers")]
    other = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert digest(9, 3) != digest(5, 12) == other.stdout.strip()


def test_wrong_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="the sound tasks are"):
        SoundGenerator({"asr": 1.0})


def test_a_second_of_sound_takes_ten_milliseconds() -> None:
    generator, rng = SoundGenerator(), np.random.default_rng(0)
    begin = time.process_time()
    seconds = sum(len(generator.sample(rng).waves[0]) / RATE for _ in range(60))
    assert seconds / (time.process_time() - begin) > 50  # 300 and more on an idle core


def test_questions_without_yes_or_no_ask_for_a_name():
    generator = SoundGenerator({"audio_qa": 1}, yes_no=False)
    asked = set()
    for seed in range(40):
        example = generator.sample(np.random.default_rng(seed)).example
        assert example.text == example.label in example.choices and example.text in CLASSES
        asked.add(example.question.split('"')[0])
    assert len(asked) == 4

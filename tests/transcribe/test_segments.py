"""Windows around speech: where they are, that they do not depend on what is far away, and that noise has none."""

import dummies
import numpy as np
import pytest

from qwen_audio.audio.load import load_audio
from qwen_audio.show.demo import CLIPS
from qwen_audio.transcribe import segments
from qwen_audio.transcribe.segments import Segmenter, windows_of
from qwen_audio.transcribe.speech import detector

RATE = 16_000


def silence(seconds, level=1e-4, seed=0):
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


@pytest.fixture(scope="module")
def speech():
    """Spoken clips with pauses of faint noise: the sound, and where the pauses are."""
    clips = [load_audio(CLIPS / f"{name}.flac") for name in ("words", "sentence", "words", "sentence")]
    parts, pauses, at = [], [], 0
    for number, clip in enumerate(clips):
        pause = silence(0.9 + 0.37 * number, seed=number)
        pauses.append((at, at + len(pause)))
        parts += [pause, clip]
        at += len(pause) + len(clip)
    return np.concatenate([*parts, silence(1.0, seed=9)]), pauses


def places(windows, shift=0):
    return [(w.first + shift, len(w.wave), w.start + shift, w.end + shift) for w in windows]


def test_every_word_is_in_a_window_and_pauses_are_not(speech):
    wave, pauses = speech
    windows = list(windows_of([wave]))
    covered = np.zeros(len(wave), bool)
    for window in windows:
        assert np.array_equal(window.wave, wave[window.first : window.first + len(window.wave)])
        assert window.first <= window.start < window.end <= window.first + len(window.wave)
        assert not covered[window.first : window.first + len(window.wave)].any()  # they never overlap
        covered[window.first : window.first + len(window.wave)] = True
    loud = np.abs(wave) > 0.05
    assert covered[loud].mean() > 0.99 and not any(covered[(a + b) // 2] for a, b in pauses)


def test_windows_do_not_depend_on_the_blocks(speech):
    wave, _ = speech
    whole = places(windows_of([wave]))
    for size in (160, 5_001, 100_000):
        assert places(windows_of(wave[at : at + size] for at in range(0, len(wave), size))) == whole


@pytest.mark.parametrize("where", [0.35, 0.5, 0.62])
def test_a_recording_cut_at_a_pause_gives_the_same_windows(speech, where):
    wave, pauses = speech
    whole = places(windows_of([wave]))
    for first, last in pauses[1:]:
        cut = first + int(where * (last - first)) + 77
        apart = places(windows_of([wave[:cut]])) + places(windows_of([wave[cut:]]), cut)
        assert apart == whole


@pytest.mark.parametrize(
    "wave",
    [
        np.zeros(80_000, np.float32),
        dummies.noise(6.0),
        silence(6.0, 0.3),
        dummies.chirp(6.0),
        np.sign(dummies.chirp(6.0, low=220, high=220)) * np.float32(0.2),
    ],
    ids=["silence", "noise", "loud noise", "sweep", "tone"],
)
def test_what_is_no_speech_has_no_window(wave):
    assert list(windows_of([wave])) == []


def test_with_sound_all_that_is_not_silent_has_one():
    wave = np.concatenate([silence(1.0), dummies.chirp(2.0), silence(1.0), dummies.noise(1.0), silence(1.0)])
    first, second = windows_of([wave], "sound")
    assert [round(w / RATE, 1) for w in (first.start, first.end)] == [1.0, 3.0]
    assert [round(w / RATE, 1) for w in (second.start, second.end)] == [4.0, 5.0]
    assert first.first == first.start - segments.samples(segments.CONTEXT)


def test_sound_without_a_pause_is_cut_where_it_is_quietest():
    level = np.full(95 * RATE, 0.3)
    for quiet in (20.0, 41.0, 66.0):
        level[round(quiet * RATE) : round((quiet + 0.2) * RATE)] = 0.02
    wave = (level * np.random.default_rng(0).standard_normal(len(level))).astype(np.float32)
    windows = list(windows_of((wave[at : at + 7_000] for at in range(0, len(wave), 7_000)), "sound"))
    assert all(len(w.wave) <= 30 * RATE for w in windows)
    assert np.array_equal(np.concatenate([w.wave for w in windows]), wave)  # nothing lost, nothing twice
    cuts = [w.first / RATE for w in windows[1:]]
    assert [round(cut) for cut in cuts[:3]] == [20, 41, 66]
    assert places(windows_of([wave], "sound")) == places(windows)


def test_little_is_held_of_a_long_stream():
    segmenter = Segmenter("sound")
    block = dummies.noise(1.0)
    for _ in range(200):
        segmenter.feed(block)
        assert len(segmenter._wave) < 60 * RATE
    assert segmenter.position == 200 * RATE


def babble(seed, share):
    """A minute and a half of several voices at once, without a pause, in noise of a share of their level."""
    rng = np.random.default_rng(seed)
    clips = [load_audio(CLIPS / f"{name}.flac") for name in ("words", "sentence", "scene")]
    wave = np.zeros(90 * RATE, np.float32)
    for _ in range(60):
        clip = rng.choice(3)
        at = rng.integers(len(wave) - len(clips[clip]))
        wave[at : at + len(clips[clip])] += rng.uniform(0.1, 1) * clips[clip]
    wave /= np.sqrt(np.mean(wave**2))
    return (0.1 * (wave + share * rng.standard_normal(len(wave)))).astype(np.float32)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0, 1.4])
@pytest.mark.parametrize("seed", [0, 1])
def test_of_talk_without_pauses_nothing_is_given_twice(seed, share):
    wave = babble(seed, share)
    whole = places(windows_of([wave]))
    for (first, length, *_), after in zip(whole, [*whole[1:], (len(wave), 0)], strict=True):
        assert length <= 30 * RATE and first + length <= after[0]
    for size in (8_000, 80_000):
        assert places(windows_of(wave[at : at + size] for at in range(0, len(wave), size))) == whole


@pytest.mark.parametrize("heard,again", [(0.2, 0.2), (0.2, 0.4), (0.25, 0.9), (0.9, 0.2)])
def test_little_is_held_whatever_the_detector_says(monkeypatch, heard, again):
    class Constant:
        def __init__(self, value):
            self.value = value

        def __call__(self, frame):
            return self.value

        def reset(self):
            pass

    both = iter([Constant(heard), Constant(again)])
    monkeypatch.setattr(segments, "detector", lambda name: next(both))
    segmenter = Segmenter()
    windows = []
    for second in range(200):
        windows += segmenter.feed(silence(1.0, level=0.05, seed=second))
        assert len(segmenter._wave) < 35 * RATE
    windows += segmenter.finish()
    # What is never surely speech is not given; of what is, nothing is lost.
    covered = sum(len(window.wave) for window in windows) / RATE
    assert covered == 0 if again < 0.5 else covered > 198


def test_the_open_window_grows_until_it_ends(speech):
    wave, pauses = speech
    segmenter = Segmenter()
    lengths = []
    for at in range(0, pauses[1][0], 8_000):
        done = segmenter.feed(wave[at : at + 8_000])
        window = segmenter.open_window()
        if window is not None and not done:
            lengths.append(len(window.wave))
    assert len(lengths) >= 3 and lengths[-1] > lengths[0]
    segmenter.feed(wave[pauses[1][0] : pauses[1][1]])
    assert segmenter.open_window() is None


def test_an_unknown_detector_is_refused():
    with pytest.raises(ValueError, match="use speech or sound"):
        detector("voice")

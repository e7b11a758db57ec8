"""Synthetic speech: word times agree with the energy, splits are disjoint, bytes are repeatable."""

from __future__ import annotations

import hashlib
import multiprocessing

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="the synth extra is not installed")
pytest.importorskip("wordfreq", reason="the synth extra is not installed")

from qwen_audio.synthetic.speech import espeak, splits
from qwen_audio.synthetic.speech import words as text
from qwen_audio.synthetic.speech.transcribed import (
    ACCENTS,
    KINDS,
    PITCH_BANDS,
    VARIANTS,
    SpeechGenerator,
    voice_settings,
)

RATE = 16000


def digest(seed: int, held_out: bool = False) -> str:
    """Fingerprint of everything a few samples consist of."""
    generator = SpeechGenerator(languages={"en": 1, "zh": 1, "fr": 1}, held_out=held_out)
    rng = np.random.default_rng(seed)
    samples = [generator.sample(rng) for _ in range(8)]
    content = b"".join(s.waves[0].tobytes() + s.example.model_dump_json().encode() for s in samples)
    return hashlib.sha256(content).hexdigest()


def loud_spans(wave: np.ndarray, least_gap: float) -> list[tuple[float, float]]:
    """Stretches of sound (s) that are apart by `least_gap` seconds of silence or more."""
    frames = wave[: wave.size // 80 * 80].reshape(-1, 80)
    power = (frames**2).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10**-4.2)
    cuts = np.flatnonzero(np.diff(loud) * 0.005 > least_gap)
    starts = [loud[0], *loud[cuts + 1]]
    ends = [*loud[cuts], loud[-1]]
    return [(s * 0.005, (e + 1) * 0.005) for s, e in zip(starts, ends, strict=True)]


@pytest.mark.parametrize("variant", ["m1", "f4", "klatt3", "Annie"])
def test_espeak_times_agree_with_energy_at_pauses(variant: str) -> None:
    words = ["moon,", "nine,", "seven,", "river,", "allow,", "mother"]
    speech = espeak.synthesize(words, espeak.Voice("gmw/en", variant, rate=160, volume=60))
    assert speech is not None
    assert speech.times is not None
    assert speech.times[0][0] == 0.0
    assert speech.times[-1][1] == pytest.approx(speech.wave.size / espeak.ESPEAK_RATE, abs=0.011)
    power = np.square(speech.wave)
    spoken = np.zeros(speech.wave.size, bool)
    for start, end in speech.times:
        spoken[round(start * espeak.ESPEAK_RATE) : round(end * espeak.ESPEAK_RATE)] = True
    # pauses at commas are outside the words, and the words hold the energy
    assert (~spoken).sum() > 0.1 * spoken.size
    assert power[~spoken].sum() < 1e-4 * power.sum()


def test_continuous_words_abut_and_match_their_isolated_length() -> None:
    words = ["seven", "little", "rivers", "follow", "nine", "mothers"]
    speech = espeak.synthesize(words, espeak.Voice(rate=150))
    assert speech is not None
    assert speech.times is not None
    for (_, end), (start, _) in zip(speech.times, speech.times[1:], strict=False):
        assert end == pytest.approx(start, abs=1e-9)
    for word, (start, end) in zip(words, speech.times, strict=True):
        alone = espeak.synthesize([word], espeak.Voice(rate=150))
        assert alone is not None
        assert 0.4 < (end - start) / (alone.wave.size / espeak.ESPEAK_RATE) < 1.25


def test_words_without_event_are_told() -> None:
    speech = espeak.synthesize(["all", "of", "the", "time"], espeak.Voice())
    assert speech is not None
    # espeak says "of the" as one word
    assert speech.times is None


def test_espeak_refuses_bad_input() -> None:
    with pytest.raises(espeak.EspeakError, match="no voice 'xx'"):
        espeak.synthesize(["one"], espeak.Voice("xx"))
    with pytest.raises(espeak.EspeakError, match="nothing to speak"):
        espeak.synthesize([], espeak.Voice())


def test_every_voice_exists() -> None:
    known = set(espeak.variants())
    assert {v for names in VARIANTS.values() for v in names.split()} <= known
    for accent in (a for accents in ACCENTS.values() for a in accents):
        speech = espeak.synthesize(["mama"], espeak.Voice(accent, "f1"))
        assert speech is not None


@pytest.mark.parametrize("language", text.LANGUAGES)
def test_vocabularies(language: str) -> None:
    words = text.vocabulary(language)
    assert len(set(words)) == len(words) >= (2500 if language == "en" else 300)
    assert set(text.DIGITS[language].split()) <= set(words)
    assert words == text.vocabulary(language)
    if language == "en":
        assert [w for w in words if len(w) == 1] == [w for w in words if w in ("a", "i")]
        assert {"ten", "seventeen", "ninety", "hundred"} <= set(words)
        assert all(w.isascii() and w.isalpha() for w in words)
    if language == "ja":
        assert not any("\u4e00" <= c <= "\u9fff" for w in words for c in w)
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert "{" not in "".join(text.sentence(rng, language))


def test_unknown_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match="no word list"):
        text.vocabulary("xx")
    with pytest.raises(ValueError, match="zero or more"):
        SpeechGenerator(-1)


def test_isolated_words_lie_where_the_energy_lies() -> None:
    generator = SpeechGenerator(kinds={"isolated": 1}, tasks={"word_timestamps": 1})
    rng = np.random.default_rng(0)
    checked = 0
    for _ in range(40):
        sample = generator.sample(rng)
        words = sample.example.words
        assert words is not None
        sound = loud_spans(sample.waves[0], 0.0)
        # the outer borders, and every sound inside some word (words may hold stop closures)
        assert sound[0][0] == pytest.approx(words[0].start, abs=0.03)
        assert sound[-1][1] == pytest.approx(words[-1].end, abs=0.06)
        for start, end in sound:
            middle = (start + end) / 2
            assert any(w.start - 0.01 <= middle <= w.end + 0.01 for w in words)
            checked += 1
    assert checked > 80


@pytest.mark.parametrize("language", text.LANGUAGES)
def test_samples_of_every_language_are_well_formed(language: str) -> None:
    generator = SpeechGenerator(languages={language: 1})
    rng = np.random.default_rng(1)
    for _ in range(25):
        sample = generator.sample(rng)
        example, wave = sample.example, sample.waves[0]
        assert example.language == language
        assert example.audio == []
        assert wave.dtype == np.float32
        assert 0.1 <= wave.size / RATE <= 8.0
        assert 0.05 < np.abs(wave).max() <= 0.95
        assert example.text
        if example.task == "word_timestamps":
            assert example.words is not None
        if example.words is not None:
            assert text.join(language, [w.word for w in example.words]) == example.text
            flat = [t for w in example.words for t in (w.start, w.end)]
            assert flat == sorted(flat)
            assert all(w.end - w.start > 0.01 for w in example.words)
            assert flat[0] >= 0.0
            assert flat[-1] <= wave.size / RATE


def test_durations_tasks_and_kinds_are_as_asked() -> None:
    generator = SpeechGenerator(tasks={"asr": 0.5, "word_timestamps": 0.5})
    rng = np.random.default_rng(2)
    samples = [generator.sample(rng) for _ in range(200)]
    assert 1.9 < np.mean([s.waves[0].size / RATE for s in samples]) < 3.0
    assert {s.example.meta["kind"] for s in samples} == {"words", "sentence", "isolated", "single"}
    assert 70 < sum(s.example.task == "asr" for s in samples) < 130
    assert len({s.example.id for s in samples}) == 200
    assert generator.dropped["silent"] == 0


@pytest.mark.parametrize("language", text.LANGUAGES)
def test_held_out_voices_are_disjoint(language: str) -> None:
    for register, names in VARIANTS.items():
        train = set(voice_settings(language, register, False))
        held_out = set(voice_settings(language, register, True))
        assert held_out
        assert not train & held_out
        assert len(train | held_out) == len(ACCENTS[language]) * len(names.split()) * len(PITCH_BANDS)


def test_held_out_texts_are_never_said_in_training() -> None:
    rng = np.random.default_rng(0)

    def said(count: int, language: str, kind: str, held_out: bool) -> list[str]:
        make = [splits.speech_words(rng, language, kind, held_out=held_out) for _ in range(count)]
        return [text.join(language, words) for words in make]

    for language in ("en", "zh", "ja"):
        for kind in KINDS:
            train = set(said(1500, language, kind, False))
            assert not train & set(said(150, language, kind, True)), (language, kind)
    # digits are never all held out, and every word of the vocabulary may stand alone in training
    assert {"one", "nine"} <= set(said(400, "en", "single", False))
    unseen = set(splits.unseen_words("en"))
    assert set(said(100, "en", "single", True)) <= unseen
    words = [word for line in said(300, "en", "words", True) for word in line.split()]
    assert 0.1 < np.mean([word in unseen for word in words]) < 0.4
    # a vocabulary of one's own is kept to
    few = set(text.vocabulary("en", 40))
    for kind in KINDS.keys() - {"sentence"}:
        drawn = [splits.speech_words(rng, "en", kind, size=40, held_out=True) for _ in range(50)]
        assert {word for words in drawn for word in words} <= few


@pytest.mark.parametrize("language", text.LANGUAGES)
def test_unseen_words_are_in_no_table_and_no_vocabulary(language: str) -> None:
    unseen = set(splits.unseen_words(language))
    assert len(unseen) >= (1500 if language == "en" else 150)
    assert not unseen & set(text.vocabulary(language))
    if language == "en":
        # these occur in templates of the several tasks
        for word in [
            "berlin",
            "guitar",
            "coat",
            "eggs",
            "hat",
            "piano",
            "jazz",
            "pizza",
            "microsoft",
            "painted",
            "apples",
        ]:
            assert word not in unseen


def test_same_seed_same_bytes_in_any_process() -> None:
    here = digest(7)
    espeak.synthesize(["something", "else"], espeak.Voice("gmw/de", "klatt"))
    assert digest(7) == here
    assert digest(8) != here
    assert digest(7, held_out=True) != here
    # forked with the library loaded, and started afresh
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.apply(digest, (7,)) == here


def test_bad_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown language 'xx'"):
        SpeechGenerator(languages={"xx": 1.0})
    with pytest.raises(ValueError, match="positive sum"):
        SpeechGenerator(tasks={"asr": 0.0})
    with pytest.raises(ValueError, match="unknown kind"):
        SpeechGenerator(kinds={"songs": 1.0})

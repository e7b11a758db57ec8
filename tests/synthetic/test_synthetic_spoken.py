"""Spoken tasks: labels agree with what simple measurements and an independent recogniser hear."""

from __future__ import annotations

import hashlib
import multiprocessing
import re
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="the synth extra is not installed")
pytest.importorskip("wordfreq", reason="the synth extra is not installed")

from qwen_audio.data.manifest import Sample
from qwen_audio.format.tags import LANGUAGES
from qwen_audio.format.tasks import parse, render
from qwen_audio.synthetic.speech import tables
from qwen_audio.synthetic.speech.spoken import TASKS, SpokenGenerator
from qwen_audio.synthetic.speech.transcribed import SpeechGenerator
from qwen_audio.synthetic.speech.voices import EMOTIONS, distance, draw_identity
from qwen_audio.train.sources import SourceConfig

RATE = 16000


def draw(task: str, count: int, seed: int = 0, held_out: bool = False) -> list[Sample]:
    generator = SpokenGenerator({task: 1.0}, held_out=held_out)
    rng = np.random.default_rng(seed)
    return [generator.sample(rng) for _ in range(count)]


def digest(seed: int, held_out: bool = False) -> str:
    """Fingerprint of everything a few samples consist of."""
    generator = SpokenGenerator(held_out=held_out)
    rng = np.random.default_rng(seed)
    samples = [generator.sample(rng) for _ in range(8)]
    content = b"".join(
        s.example.model_dump_json().encode() + b"".join(wave.tobytes() for wave in s.waves) for s in samples
    )
    return hashlib.sha256(content).hexdigest()


def pitches(wave: np.ndarray) -> np.ndarray:
    """Hz of voiced frames of 40 ms, by autocorrelation."""
    size = 640
    power = float((wave**2).mean())
    found = []
    for at in range(0, wave.size - size, size // 2):
        frame = wave[at : at + size] - wave[at : at + size].mean()
        if (frame**2).mean() < 0.01 * power:
            continue
        correlation = np.fft.irfft(np.abs(np.fft.rfft(frame, 4 * size)) ** 2)[:size]
        correlation /= 1 - np.arange(size) / size + 1e-3
        first, last = RATE // 500, RATE // 60
        best = first + int(np.argmax(correlation[first:last]))
        for divisor in (3, 2):  # a multiple of the period correlates as well as the period itself
            near = correlation[best // divisor - 2 : best // divisor + 3]
            if best // divisor > first and near.max() > 0.85 * correlation[best]:
                best = best // divisor - 2 + int(near.argmax())
                break
        if correlation[best] > 0.5 * correlation[0]:
            found.append(RATE / best)
    return np.array(found)


@pytest.mark.parametrize("task", TASKS)
def test_samples_are_well_formed(task: str) -> None:
    for held_out in (False, True):
        for sample in draw(task, 6, seed=1, held_out=held_out):
            example = sample.example
            assert example.task == task
            assert example.source == "synthetic"
            assert example.language in LANGUAGES
            assert len(sample.waves) == (2 if task == "speaker_verification" else 1)
            for wave in sample.waves:
                assert wave.dtype == np.float32
                assert 0.2 < wave.size / RATE < 30.0
                assert 0.02 < np.abs(wave).max() <= 1.0
            if example.label is not None and example.choices:
                assert example.label in example.choices
            written = "".join(segment.text for segment in render(example))
            assert parse(task, written).problems == []


def test_same_seed_same_bytes_in_any_process() -> None:
    here = digest(7)
    assert digest(7) == here
    assert digest(8) != here
    assert digest(7, held_out=True) != here
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.apply(digest, (7,)) == here


def test_the_kind_of_source_is_known_and_bad_options_are_refused() -> None:
    source = SourceConfig("spoken", 1.0, options={"tasks": {"emotion": 1.0}}).build()
    assert source.sample(np.random.default_rng(0)).example.label in EMOTIONS
    with pytest.raises(ValueError, match="unknown task 'asr'"):
        SpokenGenerator({"asr": 1.0})
    with pytest.raises(ValueError, match="positive sum"):
        SpokenGenerator({"emotion": 0.0})
    with pytest.raises(ValueError, match="options of source 'spoken'"):
        SourceConfig("spoken", 1.0, options={"songs": 1}).build()


# what is heard -------------------------------------------------------------------------------------------


def test_pitch_tells_gender_and_age() -> None:
    for sample in draw("speaker_gender", 40):
        hertz = float(np.median(pitches(sample.waves[0])))
        assert ("female" if hertz > 160 else "male") == sample.example.label
        wanted = float(re.search(r"/(\d+)Hz/", sample.example.speaker)[1])  # type: ignore[index]
        assert hertz == pytest.approx(wanted, rel=0.2)
    right = []
    for sample in draw("speaker_age", 60):
        hertz = float(np.median(pitches(sample.waves[0])))
        assert (hertz > 268) == (sample.example.label == "child")
        if sample.example.label != "child":
            right.append((trembling(sample.waves[0]) > 0.029) == (sample.example.label == "senior"))
    assert len(right) > 25
    assert np.mean(right) > 0.85


def trembling(wave: np.ndarray) -> float:
    """How much the pitch departs from its mean over 0.19 s, as a standard deviation of the logarithm."""
    frames = [pitches(wave[at : at + 641]) for at in range(0, wave.size - 640, 160)]
    track = np.array([np.log(found[0]) if found.size else np.nan for found in frames])
    windows = np.lib.stride_tricks.sliding_window_view(track, 19)
    voiced = windows[np.isfinite(windows).all(axis=1)]
    voiced = voiced[np.ptp(voiced, axis=1) < 0.4]  # no octave errors
    return float(np.std(voiced[:, 9] - voiced.mean(axis=1))) if len(voiced) else 0.0


def tremor(wave: np.ndarray, low: float, high: float) -> float:
    """Share of the modulation of loudness (1 to 30 Hz) between `low` and `high` Hz."""
    envelope = np.sqrt(np.convolve(wave**2, np.full(320, 1 / 320), "same"))[::80]
    spectrum = np.abs(np.fft.rfft(envelope - envelope.mean())) ** 2
    hertz = np.fft.rfftfreq(envelope.size, 80 / RATE)
    return float(spectrum[(hertz > low) & (hertz < high)].sum() / spectrum[(hertz > 1) & (hertz < 30)].sum())


def test_verification_pairs_share_a_voice_or_do_not() -> None:
    ratios: dict[str, list[float]] = {"yes": [], "no": []}
    for sample in draw("speaker_verification", 40):
        example = sample.example
        assert (example.speaker == example.speaker2) == (example.label == "yes")
        one, other = (float(np.median(pitches(wave))) for wave in sample.waves)
        ratios[example.label].append(abs(float(np.log(one / other))))
    assert min(len(r) for r in ratios.values()) > 10
    assert max(ratios["yes"]) < 0.12
    assert np.median(ratios["no"]) > 0.2


def test_identities_are_split_and_apart() -> None:
    rng = np.random.default_rng(0)
    train = {draw_identity(rng).name for _ in range(200)}
    held_out = {draw_identity(rng, held_out=True).name for _ in range(200)}
    assert len(train) > 190
    assert not train & held_out
    one, other = draw_identity(rng, gender="male"), draw_identity(rng, gender="female")
    assert distance(one, one) == 0.0
    assert distance(one, other) > 1.5


def loudness(wave: np.ndarray, start: float, end: float) -> float:
    return float(np.sqrt((wave[round(start * RATE) : round(end * RATE)] ** 2).mean()))


def test_energy_shows_the_turns_of_a_dialogue() -> None:
    gaps = 0
    for sample in draw("speaker_diarization", 12):
        spans, wave = sample.example.spans, sample.waves[0]
        assert spans is not None
        names = {span.label for span in spans}
        assert 2 <= len(names) <= 3
        assert [span.start for span in spans] == sorted(span.start for span in spans)
        assert loudness(wave, spans[0].start, spans[0].end) > 0.02
        if spans[0].start > 0.01:
            assert loudness(wave, 0, spans[0].start - 0.005) < 1e-4
        for before, after in pairwise(spans):
            assert before.label != after.label
            # the turn begins and ends with sound, and between turns there is none
            assert loudness(wave, after.start, after.start + 0.1) > 1e-3
            if after.start - before.end > 0.1:
                gaps += 1
                assert loudness(wave, before.end + 0.005, after.start - 0.005) < 1e-4
        # every speaker has one pitch
        for name in names:
            alone = [
                float(np.median(pitches(wave[round(s.start * RATE) : round(s.end * RATE)])))
                for s in spans
                if s.label == name
                and s.end - s.start > 1.0
                and all(o is s or o.end < s.start or o.start > s.end for o in spans)
            ]
            assert len(alone) < 2 or max(alone) / min(alone) < 1.2
    assert gaps > 20


def test_overlapped_speech_overlaps() -> None:
    for sample in draw("overlapped_asr", 15):
        spans, wave = sample.example.spans, sample.waves[0]
        assert spans is not None
        assert sample.example.text == " | ".join(span.text or "" for span in spans)
        assert all(b.start + 0.25 < a.start < b.end for b, a in pairwise(spans))
        end = max(span.end for span in spans)
        assert loudness(wave, spans[0].start, spans[0].start + 0.1) > 1e-3
        assert loudness(wave, end - 0.1, end) > 3e-4
        assert wave[round((end + 0.005) * RATE) :].max(initial=0.0) < 1e-3


def features(sample: Sample) -> list[float]:
    """Pitch and its spread, rise at the end, tilt, rate, crest, fast tremor, level: what a listener goes by."""
    wave = sample.waves[0]
    sound = np.flatnonzero(np.abs(wave) > 1e-4)
    wave = wave[sound[0] : sound[-1]]
    pitch = np.log(pitches(wave))
    power = np.abs(np.fft.rfft(wave)) ** 2
    hertz = np.fft.rfftfreq(wave.size, 1 / RATE)
    peak, level = float(np.abs(wave).max()), float(np.sqrt((wave**2).mean()))
    return [
        float(np.median(pitch)),
        float(pitch.std()),
        float(pitch[-4:].mean() - np.median(pitch)),
        float(np.log(power[hertz > 1500].sum() / power[hertz < 1000].sum())),
        float(np.log(len(sample.example.meta["transcript"]) * RATE / wave.size)),
        float(np.log(peak / level)),
        float(np.log(tremor(wave, 7.5, 10.5))),
        float(np.log(peak)),
    ]


def test_prosody_tells_the_emotions_apart() -> None:
    samples = [s for s in draw("emotion", 130) if s.example.language == "en"]
    x = np.array([features(s) for s in samples])
    labels = np.array([EMOTIONS.index(s.example.label or "") for s in samples])
    right = 0
    for i in range(len(x)):  # leave one out, linear discriminant
        others = np.arange(len(x)) != i
        means = np.stack([x[others & (labels == k)].mean(axis=0) for k in range(len(EMOTIONS))])
        inside = x[others] - means[labels[others]]
        precision = np.linalg.inv(inside.T @ inside / len(inside) + 1e-4 * np.eye(x.shape[1]))
        away = x[i] - means
        right += int(np.argmin(np.einsum("ij,jk,ik->i", away, precision, away)) == labels[i])
    assert right / len(x) > 0.8  # chance is 1/6


def test_a_recogniser_hears_the_keywords_where_they_are() -> None:
    pocketsphinx = pytest.importorskip("pocketsphinx", reason="the dev extra is not installed")
    decoder = pocketsphinx.Decoder(samprate=RATE, loglevel="FATAL")
    grammar = f"#JSGF V1.0;\ngrammar k;\npublic <k> = {' | '.join(tables.KEYWORDS)} ;"
    decoder.add_jsgf_string("keywords", grammar)

    def decode(wave: np.ndarray) -> str:
        quiet = np.zeros(RATE // 5)
        padded = np.concatenate([quiet, wave / np.abs(wave).max() * 0.5, quiet])
        decoder.start_utt()
        decoder.process_raw((padded * 32767).astype(np.int16).tobytes(), full_utt=True)
        decoder.end_utt()
        return decoder.hyp().hypstr if decoder.hyp() else ""

    samples = [s for s in draw("keyword_spotting", 120) if s.example.language == "en"]
    decoder.activate_search("keywords")
    right: dict[str, list[bool]] = {"alone": [], "inside": []}
    for sample in samples:
        wave = sample.waves[0]
        if sample.example.words is None:
            right["alone"].append(decode(wave) == sample.example.label)
        for word in sample.example.words or ():
            assert word.word in tables.KEYWORDS
            cut = wave[round(word.start * RATE) : round(word.end * RATE)]
            right["inside"].append(decode(cut) == word.word)
    # 33 keywords: chance is 0.03
    assert min(len(answers) for answers in right.values()) > 20
    assert np.mean(right["alone"]) > 0.25
    assert np.mean(right["inside"]) > 0.25
    errors = []
    for sample in [s for s in samples if s.example.words][:25]:
        decoder.set_align_text(sample.example.meta["transcript"])
        levelled = (sample.waves[0] / np.abs(sample.waves[0]).max() * 16000).astype(np.int16)
        decoder.start_utt()
        decoder.process_raw(levelled.tobytes(), full_utt=True)
        decoder.end_utt()
        found = [(s.word.split("(")[0], s.start_frame / 100) for s in decoder.seg() or ()]
        for word in sample.example.words or ():
            starts = [start for name, start in found if name == word.word]
            errors += [abs(starts[0] - word.start)] if len(starts) == 1 else []
    assert len(errors) > 10
    assert np.median(errors) < 0.04


def test_chinese_word_times_are_by_character() -> None:
    generator = SpeechGenerator(languages={"zh": 1.0}, tasks={"word_timestamps": 1.0})
    rng = np.random.default_rng(0)
    for _ in range(15):
        example = generator.sample(rng).example
        assert example.words
        assert all(len(word.word) == 1 for word in example.words)
        assert "".join(word.word for word in example.words) == example.text
        assert all(0.03 < word.end - word.start < 1.2 for word in example.words)

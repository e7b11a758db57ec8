"""Sound scenes: what the annotation says can be measured in the wave."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from paths import ROOT

from qwen_audio.data.augment import active_power
from qwen_audio.data.manifest import AudioRef, Example, Sample, write_manifest
from qwen_audio.format.tags import END_OF_TEXT
from qwen_audio.format.tasks import parse, render
from qwen_audio.synthetic.sounds import places as scene_places
from qwen_audio.synthetic.sounds import textures
from qwen_audio.synthetic.sounds.acoustics import drift
from qwen_audio.synthetic.sounds.captions import STYLES, TIMES, WORDS, caption, place_caption, words_of
from qwen_audio.synthetic.sounds.places import SCENES, place_number, visit
from qwen_audio.synthetic.sounds.recordings import audibility, record, stems_of, surround
from qwen_audio.synthetic.sounds.scenes import TASK_WEIGHTS, SceneGenerator
from qwen_audio.synthetic.sounds.stories import SHAPES, Story, Teller, alike, held_out_combination
from qwen_audio.synthetic.sounds.takes import EVENTS, UNITS, perform, unit
from qwen_audio.synthetic.sounds.vocal import VOCAL, anyone
from qwen_audio.train.sources import SourceConfig

RATE = 16000


def samples_of(task: str, count: int, seed: int = 0, **options: object) -> list[Sample]:
    generator, rng = SceneGenerator({task: 1.0}, **options), np.random.default_rng(seed)
    return [generator.sample(rng) for _ in range(count)]


def sounding(wave: np.ndarray, pause: float, floor_db: float) -> list[tuple[float, float]]:
    """Where 5 ms frames are within `floor_db` of the loudest, in seconds; shorter pauses are bridged."""
    power = (wave[: len(wave) // 80 * 80].reshape(-1, 80).astype(np.float64) ** 2).mean(1)
    loud = np.flatnonzero(power > power.max() * 10 ** (floor_db / 10))
    groups = np.split(loud, np.flatnonzero(np.diff(loud) * 0.005 > pause) + 1)
    return [(float(group[0]) * 0.005, float(group[-1] + 1) * 0.005) for group in groups]


def stories(shape: str, count: int) -> list[Story]:
    return [Teller().tell(np.random.default_rng(seed), shape) for seed in range(count)]


# events and their times ------------------------------------------------------------------------------


def test_onsets_of_isolated_events_are_where_the_spans_say() -> None:
    """First energy of a recorded clip against its first span, and the last one where no room rings on."""
    onsets, offsets = [], []
    for seed, story in enumerate(stories("single", 60)):
        wave, conditions = record(np.random.default_rng(seed), stems_of(story))
        if "snr_db" not in conditions:
            # Not lower than -33 dB: a filter without delay rings before a low tone as it does after it.
            heard = sounding(wave, 99.0, -33)
            onsets.append(abs(heard[0][0] - story.spans[0].start))
            if not conditions:
                offsets.append(abs(heard[-1][1] - story.spans[-1].end))
    assert len(onsets) >= 15 and len(offsets) >= 8
    assert max(onsets) <= 0.02 and max(offsets) <= 0.02


@pytest.mark.parametrize("label", UNITS)
def test_every_counted_sound_begins_and_ends_at_its_span(label: str) -> None:
    checked = 0
    for seed in range(60):
        story = Teller().tell(np.random.default_rng(seed), "count")
        if story.labels != [label]:
            continue
        checked += 1
        heard = sounding(stems_of(story)[0], 0.3, -36)
        assert len(heard) == len(story.spans)
        for (start, end), span in zip(heard, story.spans, strict=True):
            assert abs(start - span.start) <= 0.02 and end <= span.end + 0.02
    assert checked >= 4


def test_spans_of_one_class_are_apart_and_inside_the_clip() -> None:
    for sample in samples_of("event_detection", 60, seed=1):
        spans, seconds = sample.example.spans, len(sample.waves[0]) / RATE
        assert (
            spans == sorted(spans, key=lambda s: (s.start, s.label))
            and 1 <= len({s.label for s in spans}) <= 5
        )
        assert all(0 <= s.start < s.end <= seconds + 0.001 for s in spans)
        for label in {s.label for s in spans}:
            own = [s for s in spans if s.label == label]
            assert all(b.start - a.end > 0.2 for a, b in pairwise(own))


def test_polyphonic_clips_are_written_and_read_back() -> None:
    overlaps = 0
    for sample in samples_of("event_detection", 60, seed=2):
        example = sample.example
        text = "".join(segment.text for segment in render(example))
        parsed = parse("event_detection", text.removesuffix(END_OF_TEXT))
        assert not parsed.problems and Counter(s.label for s in parsed.spans) == Counter(
            s.label for s in example.spans
        )
        overlaps += any(a.end > b.start for a, b in pairwise(example.spans))
    assert overlaps > 15


@pytest.mark.parametrize("shape", SHAPES)
def test_every_event_of_a_story_can_be_heard(shape: str) -> None:
    drowned = 0
    for story in stories(shape, 25):
        stems = stems_of(story)
        if stems is None:
            drowned += 1
            continue
        assert min(audibility(stems)) >= 1.99  # 3 dB above all the rest in its best octave
        assert not any(alike(a, b) for k, a in enumerate(story.labels) for b in story.labels[:k])
    assert drowned <= 3


def test_what_is_drowned_is_measured_as_drowned() -> None:
    rng = np.random.default_rng(0)
    loud = rng.standard_normal(RATE)
    quiet = 0.01 * rng.standard_normal(RATE)
    tone = 0.1 * np.sin(2 * np.pi * 3000 * np.arange(RATE) / RATE)
    assert audibility([loud, quiet])[1] < 1e-3
    assert 0.005 < audibility([loud, tone])[1] < 1 < audibility([0.05 * loud, tone])[1]


def test_the_measured_snr_is_the_asked_one() -> None:
    wave = np.concatenate(
        [np.zeros(RATE), perform(np.random.default_rng(1), "siren", 3.0).wave, np.zeros(RATE)]
    )
    for seed in range(8):
        noisy, snr = surround(np.random.default_rng(seed), wave, 0.0)
        added = noisy - wave
        assert 10 * np.log10(active_power(wave) / np.mean(added**2)) == pytest.approx(snr, abs=0.05)
        # the siren never stops, so its plain mean power says nearly the same
        assert 10 * np.log10(np.mean(wave[RATE:-RATE] ** 2) / np.mean(added**2)) == pytest.approx(
            snr, abs=0.5
        )
        assert 12 <= snr <= 45


# captions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["single", "count", "sequence", "over"])
def test_captions_say_what_is_heard(shape: str) -> None:
    for seed, story in enumerate(stories(shape, 40)):
        for style in STYLES:
            text = caption(np.random.default_rng(seed), story, style, {})
            words = text.lower().rstrip(".").split()
            for label in story.labels:
                assert words_of(label).subject in text.lower()
            if style == "clotho":
                assert 8 <= len(words) <= 20 and text.endswith(".")
            elif style == "audiocaps":
                assert 2 <= len(words) <= 20 and not text.endswith(".")
            else:
                assert text.endswith(".")
            said = [k + 1 for k, name in enumerate(TIMES) if name in text]
            if shape == "count" and style != "plain":
                assert said == [len(story.spans)]
        if shape == "sequence":
            places = [text.lower().find(words_of(label).does) for label in story.labels]
            assert places == sorted(places)


def test_captions_come_in_every_style_and_tell_of_the_room() -> None:
    texts = samples_of("audio_caption", 50)
    assert {sample.example.meta["instruction"] for sample in texts} == set(STYLES)
    assert any("scene" in sample.example.meta for sample in texts)
    story = stories("single", 1)[0]
    room = {"reverberation_s": 0.8, "reverberation_level": 0.5}
    echoing = {caption(np.random.default_rng(k), story, "clotho", room) for k in range(30)}
    dry = {caption(np.random.default_rng(k), story, "clotho", {}) for k in range(30)}
    assert any("echoes" in text for text in echoing) and not any("echoes" in text for text in dry)
    with pytest.raises(ValueError, match="unknown style 'poem'"):
        caption(np.random.default_rng(0), story, "poem", {})
    with pytest.raises(ValueError, match="a free story has no caption"):
        caption(np.random.default_rng(0), stories("free", 1)[0], "plain", {})


def test_every_class_and_every_place_has_its_words() -> None:
    assert set(WORDS) == set(EVENTS) and len(EVENTS) >= 20
    rng = np.random.default_rng(0)
    for scene in SCENES:
        lengths = [len(place_caption(rng, scene, [], "clotho").split()) for _ in range(6)]
        assert all(8 <= length <= 20 for length in lengths)
    assert words_of("city traffic").subject == "city traffic"  # a recorded clip's label


# places and voices -----------------------------------------------------------------------------------


def features(wave: np.ndarray) -> np.ndarray:
    """Level, spread and quick change of 24 bands on a log scale, and the rhythm of the whole: (98,)."""
    frames = wave[: len(wave) // 400 * 400].reshape(-1, 400)
    edges = np.unique(np.round(np.geomspace(2, 200, 25)).astype(int))
    power = np.add.reduceat(np.abs(np.fft.rfft(frames)) ** 2, edges, axis=1)
    log = np.log(power + 1e-7 * power.max())
    total = log.mean(1) - log.mean()
    rhythm = np.abs(np.fft.rfft(total * np.hanning(len(total)), 160))[1:33] / len(total)
    return np.concatenate(
        [log.mean(0) - log.mean(), log.std(0), np.abs(np.diff(log, axis=0)).mean(0), rhythm]
    )


def told_apart(train: list[tuple[str, np.ndarray]], test: list[tuple[str, np.ndarray]]) -> float:
    """Share of `test` that linear discriminants learnt from `train` name rightly."""
    names = sorted({name for name, _ in train})
    x = np.stack([features(wave) for _, wave in train])
    y = np.array([names.index(name) for name, _ in train])
    means = np.stack([x[y == k].mean(0) for k in range(len(names))])
    spread = np.cov((x - means[y]).T)
    spread = 0.7 * spread + 0.3 * np.diag(np.diag(spread)) + 1e-3 * np.eye(x.shape[1])
    weights = np.linalg.solve(spread, means.T)
    offsets = -0.5 * np.einsum("kd,dk->k", means, weights)
    guessed = [names[int(np.argmax(features(wave) @ weights + offsets))] for _, wave in test]
    return float(np.mean([guess == name for guess, (name, _) in zip(guessed, test, strict=True)]))


def test_scenes_can_be_told_apart_at_unseen_places() -> None:
    def visits(seed: int, count: int, held_out: bool) -> list[tuple[str, np.ndarray]]:
        rng = np.random.default_rng(seed)
        return [
            (scene, visit(rng, scene, place_number(rng, held_out), 4.0)[0])
            for _ in range(count)
            for scene in SCENES
        ]

    assert len(SCENES) >= 10
    assert told_apart(visits(0, 10, False), visits(1, 4, True)) > 0.75


def test_vocal_sounds_can_be_told_apart_of_unseen_persons() -> None:
    def uttered(seed: int, count: int, held_out: bool) -> list[tuple[str, np.ndarray]]:
        rng = np.random.default_rng(seed)
        return [
            (name, model(rng, 3 * RATE, anyone(rng, held_out)))
            for _ in range(count)
            for name, model in VOCAL.items()
        ]

    assert list(VOCAL) == ["laughter", "sigh", "cough", "throat clearing", "sneeze", "sniff"]
    assert told_apart(uttered(0, 30, False), uttered(1, 10, True)) > 0.8


def test_vocal_sounds_have_the_traits_of_their_kind() -> None:
    def traits(name: str) -> tuple[float, float, float, float]:
        """Medians of: seconds that sound, centroid (Hz), seconds from -20 dB to the peak, rhythm (Hz)."""
        rows = []
        for seed in range(12):
            rng = np.random.default_rng(seed)
            wave = VOCAL[name](rng, 3 * RATE, anyone(rng))
            power = np.abs(np.fft.rfft(wave)) ** 2
            level = np.convolve(wave**2, np.ones(480) / 480, "same")
            first = sounding(wave, 0.08, -20)[0]
            inside = level[round(first[0] * RATE) : round(first[1] * RATE)]
            swing = np.log(level[::160] + 1e-3 * level.max())
            beat = np.abs(np.fft.rfft((swing - swing.mean()) * np.hanning(len(swing)), 2048))
            rates = np.fft.rfftfreq(2048, 0.01)
            beat[(rates < 2) | (rates > 10)] = 0
            rows.append(
                (
                    sum(end - start for start, end in sounding(wave, 0.25, -30)),
                    (power * np.fft.rfftfreq(len(wave), 1 / RATE)).sum() / power.sum(),
                    np.argmax(inside) / RATE,
                    rates[np.argmax(beat)],
                )
            )
        return tuple(np.median(np.array(rows), axis=0))

    found = {name: traits(name) for name in VOCAL}
    assert 4 <= found["laughter"][3] <= 6.5  # "ha" four to six times a second
    assert found["sigh"][0] > 0.9 > found["throat clearing"][1] / 2000
    assert found["cough"][2] < 0.05 < found["sniff"][2]  # a burst; a breath that swells
    assert found["sniff"][1] > 2500 > found["cough"][1] > found["throat clearing"][1]


# the generator ---------------------------------------------------------------------------------------


def digest(seed: int, count: int) -> str:
    generator, rng, total = SceneGenerator(), np.random.default_rng(seed), hashlib.sha256()
    for _ in range(count):
        sample = generator.sample(rng)
        total.update(sample.example.model_dump_json().encode() + sample.waves[0].tobytes())
    return total.hexdigest()


def test_same_seed_same_bytes_in_another_process() -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]; import test_synthetic_scenes as t; print(t.digest(5, 15))"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(ROOT / "tests" / "helpers")]
    other = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert digest(9, 3) != digest(5, 15) == other.stdout.strip()


def test_samples_are_sound_and_render() -> None:
    source = SourceConfig(kind="scenes", weight=1.0).build()
    rng = np.random.default_rng(3)
    drawn = [source.sample(rng) for _ in range(80)]
    assert {sample.example.task for sample in drawn} == set(TASK_WEIGHTS)
    assert len({sample.example.id for sample in drawn}) == 80
    for sample in drawn:
        (wave,) = sample.waves
        assert wave.dtype == np.float32 and 0.3 * RATE < len(wave) < 11.1 * RATE
        assert np.isfinite(wave).all() and 0.09 < np.abs(wave).max() < 0.99
        assert render(sample.example)[-1].text == END_OF_TEXT
        assert sample.example.label is None or sample.example.label in sample.example.choices


def test_the_held_out_part_is_disjoint() -> None:
    for held_out in (False, True):
        for sample in samples_of("event_detection", 12, held_out=held_out):
            labels = {span.label for span in sample.example.spans}
            if len(labels) > 1:
                assert held_out_combination(sorted(labels, reverse=True)) == held_out
        places = {
            sample.example.meta["place"] for sample in samples_of("acoustic_scene", 8, held_out=held_out)
        }
        assert {place % 10 == 0 for place in places} == {held_out}
    pitches = [
        {s.example.meta["pitch"] for s in samples_of("vocal_sound", 25, held_out=held)}
        for held in (False, True)
    ]
    assert not pitches[0] & pitches[1]


def test_recorded_clips_are_mixed_in(tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(0), []
    for k in range(2):
        wave = np.zeros(2 * RATE, np.float32)
        wave[8000:16000] = 0.3 * np.sin(2 * np.pi * (440 + 200 * k) * np.arange(8000) / RATE)
        soundfile.write(tmp_path / f"{k}.wav", wave, RATE)
        rows.append(
            Example(
                id=str(k),
                task="sound_event",
                audio=[AudioRef(path=str(tmp_path / f"{k}.wav"))],
                text=f"tone {k}",
                label=f"tone {k}",
            )
        )
    write_manifest(tmp_path / "clips.jsonl", rows)
    generator = SceneGenerator({"event_detection": 1.0}, real=str(tmp_path / "clips.jsonl"), real_share=0.7)
    heard = [span for _ in range(30) for span in generator.sample(rng).example.spans]
    tones = [span for span in heard if span.label.startswith("tone")]
    assert {span.label for span in tones} == {"tone 0", "tone 1"} and len(tones) < len(heard)
    assert all(span.end - span.start == pytest.approx(0.5, abs=0.011) for span in tones)
    asking = SceneGenerator(real=str(tmp_path / "clips.jsonl"), real_share=1.0)
    assert all(render(asking.sample(rng).example) for _ in range(40))
    rows[0] = rows[0].model_copy(update={"task": "audio_caption"})
    write_manifest(tmp_path / "none.jsonl", rows[:1])
    with pytest.raises(ValueError, match="no clips for training"):
        SceneGenerator(real=str(tmp_path / "none.jsonl"))


def test_one_bark_is_one_bark() -> None:
    for label in UNITS:
        lengths = [len(unit(np.random.default_rng(seed), label).wave) / RATE for seed in range(6)]
        assert max(lengths) <= UNITS[label][1] + 0.01
    assert (
        max(len(sounding(unit(np.random.default_rng(s), "dog barking").wave, 0.05, -25)) for s in range(10))
        == 1
    )


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="the tasks of sound scenes are event_detection"):
        SceneGenerator({"asr": 1.0})
    with pytest.raises(ValueError, match="real_share is 2"):
        SceneGenerator(real_share=2)
    with pytest.raises(ValueError, match="unknown scene 'moon'"):
        visit(np.random.default_rng(0), "moon", 0, 4.0)
    with pytest.raises(ValueError, match="unknown shape 'saga'"):
        Teller().tell(np.random.default_rng(0), "saga")


def test_it_is_far_quicker_than_real_time() -> None:
    generator, rng = SceneGenerator(), np.random.default_rng(0)
    begin = time.process_time()
    seconds = sum(len(generator.sample(rng).waves[0]) / RATE for _ in range(40))
    assert seconds / (time.process_time() - begin) > 50  # 200 and more on an idle core


def test_events_of_places_are_heard_and_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event is measured as the difference to the same visit in which it is not played."""
    monkeypatch.setattr(scene_places, "room", lambda rng, wave, *rest: wave)
    monkeypatch.setattr(scene_places, "filtered", lambda wave, *gains: wave)
    mixed: list[tuple[list[np.ndarray], np.ndarray]] = []

    def watched(stems: list[np.ndarray], rest: np.ndarray) -> list[float]:
        mixed.append((list(stems), rest))
        return audibility(stems, rest)

    monkeypatch.setattr(scene_places, "audibility", watched)
    two = 0
    for seed in range(90):
        mixed.clear()
        scene = SCENES[seed % len(SCENES)]
        _, spans = visit(np.random.default_rng(seed), scene, 3, 5.0)
        labels = list(dict.fromkeys(span.label for span in spans))
        assert not any(alike(a, b) for k, a in enumerate(labels) for b in labels[:k])
        two += len(labels) == 2
        if spans:
            kept = [stems for stems, _ in mixed if len(stems) == len(labels)]
            assert any(min(audibility(stems, mixed[0][1])) >= 2 for stems in kept)
    assert two >= 8


def test_the_drill_of_a_building_site_is_on_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last curve that the texture draws says when the drill is on."""
    curves: list[np.ndarray] = []
    monkeypatch.setattr(textures, "drift", lambda *args: curves.append(drift(*args)) or curves[-1])
    for seed in range(40):
        rng = np.random.default_rng(seed)
        textures.hammering(rng, round(rng.uniform(1, 10) * RATE))
        assert np.mean(curves[-1] > 0.1) >= 0.25
    assert len(curves) > 45  # some had to be drawn again


def test_a_sparse_texture_is_never_silent() -> None:
    """In a short clip the clinking of a restaurant may not happen at all."""
    for seed in range(12):
        wave, _ = visit(np.random.default_rng(seed), "restaurant", 1, 1.0)
        assert np.isfinite(wave).all() and np.abs(wave).max() > 0.09

"""Synthetic music: labels, captions, questions and meta agree with the facts, and the bytes repeat."""

import hashlib
import pickle
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT

pytest.importorskip("pretty_midi", reason="the sound font comes with the synth extra")

from qwen_audio.data.manifest import read_manifest
from qwen_audio.format.tasks import parse, render
from qwen_audio.synthetic.music.genres import FAMILIES, GENRES, TEMPO_CLASSES, player
from qwen_audio.synthetic.music.melodies import TUNES, excerpt, parse_notes
from qwen_audio.synthetic.music.music import TASK_WEIGHTS, MusicGenerator, is_held_out
from qwen_audio.synthetic.music.patterns import BASS_PATTERNS, CHORD_PATTERNS
from qwen_audio.synthetic.music.piece import draw_plan
from qwen_audio.synthetic.music.theory import (
    QUALITIES,
    RHYTHMS,
    SCALES,
    Chord,
    key_name,
    note_name,
    progression,
    spelt,
)
from qwen_audio.synthetic.music.track import DRUMS
from qwen_audio.synthetic.music.voice import SINGERS
from qwen_audio.synthetic.music.words import caption
from qwen_audio.synthetic.write import write_dataset

RATE = 16000


def draw(task: str, count: int, seed: int = 0, held_out: bool = False) -> list:
    generator, rng = MusicGenerator({task: 1.0}, held_out), np.random.default_rng(seed)
    return [generator.sample(rng) for _ in range(count)]


def digest(seed: int, count: int) -> str:
    generator, rng, total = MusicGenerator(), np.random.default_rng(seed), hashlib.sha256()
    for _ in range(count):
        sample = generator.sample(rng)
        total.update(sample.example.model_dump_json().encode() + sample.waves[0].tobytes())
    return total.hexdigest()


def test_samples_follow_their_tasks_and_render() -> None:
    generator, rng = MusicGenerator(), np.random.default_rng(4)
    samples = [generator.sample(rng) for _ in range(50)]
    assert {s.example.task for s in samples} == set(TASK_WEIGHTS)
    assert len({s.example.id for s in samples}) == 50
    for sample in samples:
        example, (wave,) = sample.example, sample.waves
        assert 4 * RATE <= len(wave) <= 12 * RATE and wave.dtype == np.float32
        assert 0.09 < np.abs(wave).max() <= 0.981 and np.isfinite(wave).all()
        assert example.audio == [] and example.source == "synthetic" and example.question
        assert all(
            start >= 0 and start + seconds <= len(wave) / RATE for start, seconds, _ in example.meta["notes"]
        )
        if example.task == "music_caption":
            assert example.text.endswith(".") and example.label is None
        else:
            assert example.label == example.text and example.label in example.choices
        written = "".join(segment.text for segment in render(example))
        assert parse(example.task, written).text == example.text


def test_questions_are_answered_by_the_facts() -> None:
    asked = set()
    for sample in draw("music_qa", 60, seed=2):
        example, meta = sample.example, sample.example.meta
        question, answer, wave = example.question, example.text, sample.waves[0]
        asked.add(question.split('"')[0])
        playing = set(meta["parts"].values())
        if question.startswith("Does the instrument"):
            name = question.split('"')[1]
            assert (name in playing) == (answer == "yes")
            if answer == "no":
                assert FAMILIES[name] not in {FAMILIES.get(p) for p in playing}
        elif "tempo" in question:
            low, high = TEMPO_CLASSES[answer]
            assert low <= meta["tempo"] <= high
        elif "key" in question:
            assert meta["key"].endswith(answer) and meta["genre"] != "metal"
        elif "beats" in question:
            assert meta["metre"] == int(answer)
        elif "drums" in question:
            assert ("drums" in playing) == (answer == "yes")
        elif question == "Does someone sing?":
            assert ("voice" in playing) == (answer == "yes")
        elif "male" in question:
            assert next(s.sex for s in SINGERS if s.name == meta["singer"]) == answer
        elif "first" in question:
            assert [meta["parts"][p] for p, bar in meta["entries"].items() if bar == 0] == [answer]
        elif "melody" in question:
            assert meta["parts"]["lead"] == answer
        elif "chords" in question:
            assert len(set(meta["chords"])) == int(answer)
        else:
            third = len(wave) // 3
            louder = np.square(wave[2 * third : -RATE // 2]).mean() > np.square(wave[:third]).mean()
            assert answer == meta["dynamics"] == ("louder" if louder else "softer")
    assert len(asked) >= 10


def test_the_words_of_a_question_do_not_give_its_answer_away() -> None:
    """A reader who has seen the answers to half of the questions guesses the other half as often as chance has it."""
    generator, rng = MusicGenerator({"music_qa": 1.0}), np.random.default_rng(1)
    generator._perform = lambda rng, plan: (None, {})  # nobody listens here
    groups: defaultdict[str, list[dict]] = defaultdict(list)
    for _ in range(4000):
        asked = generator._question(rng)[1]
        groups[asked["question"].split('"')[0]].append(asked)
    assert len(groups) == 11
    for name, rows in groups.items():
        offered = Counter(choice for row in rows for choice in row["choices"])
        assert {c for c, n in offered.items() if n > 30} <= {row["text"] for row in rows}, name
        half, seen = len(rows) // 2, Counter()
        for row in rows[:half]:
            words = row["question"] if '"' in row["question"] else ""
            seen.update((words, choice, choice == row["text"]) for choice in row["choices"])
        guessed = []
        for row in rows[half:]:
            words = row["question"] if '"' in row["question"] else ""
            yes = {choice: seen[words, choice, True] + 1 for choice in row["choices"]}
            shares = {choice: n / (n + seen[words, choice, False] + 2) for choice, n in yes.items()}
            guessed.append(max(row["choices"], key=shares.__getitem__) == row["text"])
        chance = np.mean([1 / len(row["choices"]) for row in rows[half:]])
        assert np.mean(guessed) < chance + 2.5 * np.sqrt(0.25 / len(guessed)), name


def test_melody_and_chords_can_change_players() -> None:
    rng, exchanged = np.random.default_rng(0), 0
    for plan in (draw_plan(rng) for _ in range(200)):
        other = plan.exchanged
        if other:
            exchanged += 1
            assert (other.lead, other.chords) == (plan.chords, plan.lead) and other.lead_name in caption(
                rng, other
            )
        else:  # sung, or chords that the lead has no range for
            assert plan.singer or plan.lead.high - plan.lead.low < 35
    assert exchanged > 100


def test_an_instrument_that_is_asked_for_by_its_tag_plays_alone() -> None:
    for sample in draw("instrument", 12):
        assert list(sample.example.meta["parts"].values()) == [sample.example.label]


def test_captions_say_what_is_true() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        plan = draw_plan(rng, mood="sad" if rng.random() < 0.3 else None)
        text = caption(rng, plan)
        assert text[0].isupper() and text.endswith(".") and "  " not in text
        assert all(name in text for name in plan.parts.values() if name != "voice")
        assert (plan.singer is None) or f"{plan.singer.sex} voice" in text
        assert ("alone" in text) == plan.staggered and ("gets" in text) == bool(plan.dynamics)
        assert f"in a {({'major': 'minor', 'minor': 'major'})[plan.mode]} key" not in text
        assert " a organ" not in text and " a oboe" not in text
        parts = list(plan.parts.values())
        assert ("a second" in text) == (parts.count(plan.lead_name) > 1)


def test_every_genre_can_be_played() -> None:
    for name, genre in GENRES.items():
        for metre in genre.metres:
            assert metre in CHORD_PATTERNS[genre.chord_pattern], name
            assert not genre.basses or metre in BASS_PATTERNS[genre.bass_pattern], name
            assert all(set(d) <= set(DRUMS) for d in genre.drums.values())
            assert all(len(s) == 4 * metre for s in genre.drums.get(metre, {}).values()), name
            assert all(sum(row) == metre for row in RHYTHMS[metre][genre.lead_style])
        assert all(player(who).family for who in (*genre.leads, *genre.chords, *genre.basses))
    assert set(TASK_WEIGHTS) >= {"music_genre"} and len(GENRES) == 14


def test_chords_are_in_their_key() -> None:
    assert Chord(9, "m").voicing(57) == [57, 60, 64] and Chord(0, "").bass(29) == 36
    assert Chord(2, "7").name(7, "major") == "D7" and QUALITIES["maj7"] == (0, 4, 7, 11)
    assert [Chord(root, "").name(1, "minor") for root in (1, 4, 8, 9)] == ["C#", "E", "G#", "A"]
    assert [spelt(root, 8, "major") for root in (8, 1, 3)] == ["Ab", "Db", "Eb"]
    assert (key_name(8, "minor"), key_name(8, "major"), key_name(1, "major")) == (
        "G sharp minor", "A flat major", "D flat major",
    )  # fmt: skip
    for tonic in range(12):
        for mode, scale in SCALES.items():  # seven letters, each once
            assert len({spelt(tonic + step, tonic, mode)[0] for step in scale}) == 7, (tonic, mode)
    rng = np.random.default_rng(0)
    for style in ("plain", "seventh", "blues", "dark"):
        for mode, third in (("major", 4), ("minor", 3)):
            first = progression(rng, style, mode, 7, 4)[0]
            assert first.root == 7 and first.third == third


def test_notes_have_one_name_in_words_and_in_symbols() -> None:
    pitches = (60, 66, 70, 21)
    assert [note_name(pitch) for pitch in pitches] == ["C4", "F sharp 4", "B flat 4", "A0"]
    assert [note_name(pitch, symbols=True) for pitch in pitches] == ["C4", "F#4", "Bb4", "A0"]


def test_melodies_are_many_different_and_as_known() -> None:
    openings = {tuple(np.diff(tune.pitches[:8])) for tune in TUNES}
    assert len(openings) == len(TUNES) == len({tune.title for tune in TUNES}) >= 30
    assert all("," not in tune.title and len(tune.pitches) >= 8 for tune in TUNES)
    joy = next(tune for tune in TUNES if tune.title == "Ode to Joy")
    assert [p - joy.pitches[0] for p in joy.pitches[:8]] == [0, 0, 1, 3, 3, 1, 0, -2]
    assert parse_notes("C4 F#4/1.5 R/.5 Bb3") == [(1, 60), (1.5, 66), (0.5, None), (1, 58)]
    assert excerpt(joy, 0.5, 2, 1.6) == [(0.0, 0.5, 66), (0.5, 0.5, 66), (1.0, 0.5, 67)]
    with pytest.raises(ValueError, match="'H4' is no note"):
        parse_notes("C4 H4")


def test_held_out_combinations_are_disjoint() -> None:
    for held_out in (False, True):
        for sample in draw("music_recognition", 5, held_out=held_out):
            example = sample.example
            tune = next(tune for tune in TUNES if tune.title == example.label)
            shift = example.meta["notes"][0][2] - tune.pitches[0]
            assert is_held_out(example.label, shift % 12, example.meta["performer"]) == held_out
        for sample in draw("music_genre", 5, held_out=held_out):
            meta = sample.example.meta
            assert is_held_out(meta["genre"], meta["key"], meta["parts"]["lead"]) == held_out
    share = np.mean([is_held_out(genre, key) for genre in GENRES for key in range(60)])
    assert 0.12 < share < 0.22


def test_same_seed_same_bytes_in_another_process() -> None:
    code = "import sys; sys.path[:0] = sys.argv[1:]; import test_synthetic_music as t; print(t.digest(5, 6))"
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(ROOT / "tests" / "helpers")]
    other = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert digest(9, 2) != digest(5, 6) == other.stdout.strip()
    assert len(pickle.dumps(MusicGenerator())) < 2000


def test_a_data_set_of_music_is_written_and_read(tmp_path: Path) -> None:
    options = {"tasks": {"singer_id": 1.0, "music_qa": 1.0}, "held_out": True}
    rows = read_manifest(write_dataset("music", tmp_path, 3, options=options))
    assert len(rows) == 3 and {row.task for row in rows} <= set(options["tasks"])
    assert all(row.meta["notes"] and row.audio[0].duration >= 4 for row in rows)


def test_wrong_tasks_are_refused() -> None:
    for tasks in ({"asr": 1.0}, {"singer_id": 0.0}):
        with pytest.raises(ValueError, match="the music tasks are"):
            MusicGenerator(tasks)


def test_a_second_of_music_takes_ten_milliseconds() -> None:
    generator = MusicGenerator()
    for _ in range(2):  # the second time its notes are kept
        rng, begin = np.random.default_rng(0), time.process_time()
        seconds = sum(len(generator.sample(rng).waves[0]) / RATE for _ in range(40))
        rate = seconds / (time.process_time() - begin)
    assert rate > 100  # 350 on an idle core

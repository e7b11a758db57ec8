"""The synthetic world: every task is made, written the same by any number of workers, and can be looked at."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from drawn_annotations import given_back, wanted

from qwen_audio.cli.main import main
from qwen_audio.data.manifest import Example, read_manifest
from qwen_audio.format.tasks import TASKS, example_prompt, parse, render
from qwen_audio.format.timestamps import Span, Word
from qwen_audio.format.tokenizer import byte_tokenizer
from qwen_audio.show import manifest
from qwen_audio.show.example import spans_of
from qwen_audio.synthetic.music.notes import dynamic
from qwen_audio.synthetic.world import WORLD, WorldGenerator
from qwen_audio.synthetic.write import synthesize, write_world
from qwen_audio.train.sources import SourceConfig

pytest.importorskip("espeakng_loader", reason="needs the synth extra")
pytest.importorskip("pretty_midi", reason="needs the synth extra")

TOKENIZER = byte_tokenizer()


def run(capsys, *arguments):
    """Exit code, stdout and stderr of a command line."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return stop.value.code or 0, captured.out, captured.err


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# generators -------------------------------------------------------------------------------


def test_the_table_is_that_of_the_format():
    assert set(WORLD) == set(TASKS)


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("task", list(WORLD))
def test_an_example_of_every_task_becomes_tokens_and_comes_back(task, held_out):
    sample = WorldGenerator([task], held_out).sample(np.random.default_rng(5))
    example = sample.example
    assert example.task == task
    assert len(sample.waves) == (2 if task == "speaker_verification" else 1)
    for wave in sample.waves:
        assert wave.dtype == np.float32 and 0.3 < len(wave) / 16_000 <= 30 and np.abs(wave).max() > 1e-3
    ids, is_label = TOKENIZER.encode_segments(render(example))
    text = TOKENIZER.decode(ids)
    assert text.startswith("".join(segment.text for segment in example_prompt(example)))
    assert is_label[-1] and not is_label[0]
    parsed = parse(task, text)
    assert parsed.problems == []
    assert near(given_back(task, parsed), wanted(example))
    if example.choices:
        named = [word.word for word in example.words or ()] or [example.label or example.text]
        assert set(named) <= set(example.choices)


def near(found, truth):
    """Equal, with times equal to a step of the grid; what `meta` tells beside a note's answer does not count."""
    if isinstance(found, dict):
        return all(truth[key] == value for key, value in found.items()) and len(found) == 4
    if isinstance(truth, (Word, Span)):
        name = "word" if isinstance(truth, Word) else "label"
        return (
            getattr(found, name) == getattr(truth, name)
            and abs(found.start - truth.start) < 0.0101
            and abs(found.end - truth.end) < 0.0101
        )
    if isinstance(truth, (list, tuple)) and truth and isinstance(truth[0], (Word, Span)):
        return len(found) == len(truth) and all(map(near, found, truth))
    return found == truth


def test_held_out_notes_are_combinations_that_training_never_has():
    def combinations(held_out, count):
        source = SourceConfig("notes", 1.0, options={"held_out": held_out}).build()
        rng = np.random.default_rng(2)
        metas = [source.sample(rng).example.meta for _ in range(count)]
        return {(m["program"], m["pitch"], dynamic(m["velocity"])) for m in metas}

    assert not combinations(False, 150) & combinations(True, 60)


def test_options_of_other_kinds_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="--utterances does not go with --kind music"):
        synthesize(tmp_path / "x", kind="music", utterances="words", count=1)
    for kind in ("notes", "sounds"):
        assert synthesize(tmp_path / kind, kind=kind, held_out=True, count=1).exists()
    with pytest.raises(ValueError, match="there is no 'kinds', use some of weights"):
        SourceConfig("notes", 1.0, options={"kinds": {"words": 1.0}}).build()


def test_held_out_notes_and_sounds_are_other_ones():
    for task in ("note_pitch", "sound_event"):
        here, there = (
            WorldGenerator([task], held).sample(np.random.default_rng(1)) for held in (False, True)
        )
        assert not np.array_equal(here.waves[0][:8000], there.waves[0][:8000])


def test_all_tasks_of_a_generator_are_drawn_equally_often():
    rng, tasks = np.random.default_rng(0), ("note_pitch", "note_velocity")
    drawn = [WorldGenerator(tasks).sample(rng).example.task for _ in range(40)]
    assert 10 <= drawn.count("note_pitch") <= 30


def test_the_world_is_a_source_of_training():
    options = {"tasks": ["note_pitch", "sound_event"], "held_out": True}
    source = SourceConfig("world", 1.0, options=options).build()
    sample = source.sample(np.random.default_rng(3))
    same = WorldGenerator(**options).sample(np.random.default_rng(3))
    assert sample.example == same.example and sample.example.task in options["tasks"]
    with pytest.raises(ValueError, match="unknown task 'sing'"):
        SourceConfig("world", 1.0, options={"tasks": ["sing"]}).build()


# files ------------------------------------------------------------------------------------


def test_any_number_of_workers_writes_the_same_bytes(tmp_path):
    tasks = ["note_pitch", "speaker_verification", "word_timestamps", "sound_event"]
    for workers in (0, 1, 3):
        write_world(tmp_path / str(workers), 0.008, tasks, seed=11, workers=workers)
    written = contents(tmp_path / "0")
    assert contents(tmp_path / "1") == written and contents(tmp_path / "3") == written
    rows = read_manifest(tmp_path / "0" / "manifest.jsonl")
    counted = manifest.count(rows)
    assert list(counted) == tasks and len(written) > len(rows)
    for task, found in counted.items():
        assert sum(found.seconds) >= 7.2 > sum(found.seconds[:-1]), task
    pair = next(row for row in rows if row.task == "speaker_verification")
    assert [len(soundfile.read(ref.path)[0]) / 16_000 for ref in pair.audio] == [
        pytest.approx(ref.duration) for ref in pair.audio
    ]
    write_world(tmp_path / "other", 0.001, ["note_pitch"], seed=12)
    assert contents(tmp_path / "other")["note_pitch/00000.flac"] != written["note_pitch/00000.flac"]


# looking ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A manifest of a few tasks, made by the command line."""
    folder = tmp_path_factory.mktemp("world") / "new"
    names = "word_timestamps,event_detection,speaker_verification,note_pitch"
    with pytest.raises(SystemExit) as stop:
        main(["synthesize", "--hours", "0.001", "--tasks", names, "--out", str(folder), "--held-out"])
    assert not stop.value.code
    return folder / "manifest.jsonl"


def test_show_prints_the_row_its_prompt_and_answer_and_writes_picture_and_audio(capsys, small, tmp_path):
    for row in {row.task: row for row in read_manifest(small)}.values():
        picture = tmp_path / "new" / f"{row.task}.png"
        code, out, err = run(capsys, "show", small, row.id, "--output", picture)
        assert (code, err) == (0, "")
        lines = dict(line.split(": ", 1) for line in out.splitlines())
        assert json.loads(lines["row"])["id"] == row.id
        assert lines["prompt"].strip() == "".join(s.text for s in example_prompt(row))
        whole = lines["prompt"].strip() + lines["answer"].strip()
        assert whole == "".join(s.text for s in render(row))
        ids = [int(part) for part in lines["ids"].partition("(")[0].split()]
        assert TOKENIZER.decode(ids) == lines["answer"].strip()
        assert picture.read_bytes()[:4] == b"\x89PNG"
        clips = sorted(path.name for path in picture.parent.glob(f"{row.task}*.wav"))
        assert clips == [f"{row.task}-2.wav", f"{row.task}.wav"][-len(row.audio) :]
        wave, rate = soundfile.read(picture.with_suffix(".wav"))
        assert rate == 16_000 and len(wave) == round(row.audio[0].duration * 16_000)


def test_what_is_drawn_are_words_spans_or_the_events_of_meta(small):
    rows = {row.task: row for row in read_manifest(small)}
    timed = rows["word_timestamps"]
    assert [s.text for s in spans_of(timed)] == [w.word for w in timed.words]
    assert spans_of(rows["event_detection"]) == rows["event_detection"].spans != []
    assert spans_of(rows["note_pitch"]) == []
    told = rows["note_pitch"].model_copy(
        update={"meta": {"events": [["rain", 0.5, 2], "?", ["a", "b", "c"]]}}
    )
    assert spans_of(told) == [Span("rain", 0.5, 2.0)]


def test_notes_of_meta_are_drawn_with_their_names(small):
    row = next(row for row in read_manifest(small) if row.task == "note_pitch")
    told = row.model_copy(update={"meta": {"notes": [[0.5, 0.25, 60], [1, 0.5, 70], ["x", 1, 2]]}})
    assert spans_of(told) == [Span("notes", 0.5, 0.75, "C4"), Span("notes", 1.0, 1.5, "Bb4")]


def test_show_plays_where_a_player_is_installed(capsys, small, tmp_path, monkeypatch):
    row = next(row for row in read_manifest(small) if row.task == "speaker_verification")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    picture = tmp_path / "new" / "pair.png"
    arguments = ("show", small, row.id, "--output", picture, "--play")
    code, _, err = run(capsys, *arguments)
    assert code == 2 and "nothing here plays audio: install one of ffplay" in err and not picture.exists()
    player = tmp_path / "bin" / "aplay"
    player.parent.mkdir()
    player.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/played\n', encoding="utf-8")
    player.chmod(0o755)
    assert run(capsys, *arguments)[0] == 0
    played = (tmp_path / "played").read_text().splitlines()
    assert played == [f"-q {picture.with_suffix('.wav')}", f"-q {picture.with_name('pair-2.wav')}"]
    player.write_text("#!/bin/sh\necho no device >&2\nexit 1\n", encoding="utf-8")
    code, _, err = run(capsys, *arguments)
    assert code == 2 and "aplay did not play it: no device" in err


def test_characters_without_a_glyph_are_written_out_and_said_once(capsys, monkeypatch):
    from qwen_audio.show import glyphs

    monkeypatch.setattr(glyphs, "_characters", lambda: frozenset(range(128)))
    glyphs._advise.cache_clear()
    assert glyphs.drawable("こんにちは") == "konnitiha" and glyphs.drawable("한국") == "hangug"
    assert glyphs.drawable("你 5 $") == r"U+4F60 5 \$"
    err = capsys.readouterr().err
    assert "fonts-noto-cjk" in err and err.count("\n") == 1
    assert glyphs.drawable("a b") == "a b" and capsys.readouterr().err == ""
    monkeypatch.undo()
    glyphs._advise.cache_clear()
    assert glyphs.drawable("plain été") == "plain été"


def test_labels_are_drawn_where_they_are_in_time(tmp_path):
    from matplotlib.image import imread

    from qwen_audio.show.draw import draw_example

    wave = np.zeros(32_000, np.float32)
    for name, spans in {"none": [], "early": [Span("a", 0.1, 0.4)], "late": [Span("a", 1.6, 1.9)]}.items():
        draw_example([wave], tmp_path / f"{name}.png", spans=spans, title="5 $ and 6 $")
    none, early, late = (imread(tmp_path / f"{name}.png") for name in ("none", "early", "late"))
    assert early.shape == late.shape and early.shape[0] > none.shape[0]
    columns = np.flatnonzero(np.abs(early - late).sum(axis=(0, 2)))
    width = early.shape[1]
    assert columns.min() < 0.3 * width and columns.max() > 0.7 * width


def test_stats_count_hours_languages_durations_and_labels(capsys, small, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = run(capsys, "data", "stats", small, "--output", tmp_path / "new" / "stats.png")
    assert (code, err) == (0, "")
    counted = manifest.count(read_manifest(small))
    for task, found in counted.items():
        assert f"│{task}" in out and f"{np.median(found.seconds):.2f}" in out
        assert sum(found.languages.values()) == pytest.approx(sum(found.seconds))
    assert list(counted["note_pitch"].languages) == ["none"] and "hours by language" in out
    codes = next(line for line in out.splitlines() if "none" in line)
    assert all(code in codes for found in counted.values() for code in found.languages)
    verification = counted["speaker_verification"].labels
    assert set(verification) <= {"yes", "no"} and f"{next(iter(verification))} (" in out
    assert counted["event_detection"].labels and not counted["word_timestamps"].labels
    assert (tmp_path / "new" / "stats.png").read_bytes()[:4] == b"\x89PNG"


def test_stats_have_a_line_for_each_task_in_80_columns_and_in_a_pipe(capsys, small, monkeypatch):
    for columns, most in (("80", 80), (None, 120)):
        monkeypatch.delenv("COLUMNS", raising=False)
        if columns:
            monkeypatch.setenv("COLUMNS", columns)
        _, out, _ = run(capsys, "data", "stats", small)
        lines = out.splitlines()
        assert max(map(len, lines)) <= most and not any("…" in line for line in lines)
        tasks = [line.split("│")[1].strip() for line in lines if line.startswith("│")]
        assert tasks.count("speaker_verification") == 3 and "" not in tasks


def test_what_tasks_without_a_label_ask_for_is_counted():
    audio = [{"path": "a.wav", "duration": 1.0}]
    rows = [
        Example(id="1", task="dialect_asr", audio=audio, text="grüezi", language="de", meta={"dialect": "Swiss"}),
        Example(
            id="2", task="entity_recognition", audio=audio, text="in Rome", language="en",
            meta={"entities": [{"type": "place", "filler": "Rome"}]},
        ),
        Example(id="3", task="keyword_spotting", audio=audio, text="go", language="en", words=[["go", 0.1, 0.3]]),
    ]  # fmt: skip
    counted = manifest.count(rows)
    assert [list(found.labels) for found in counted.values()] == [["Swiss"], ["place"], ["go"]]


def test_a_row_without_duration_is_measured(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    row = {
        "id": "a",
        "task": "asr",
        "language": "de",
        "text": "ja",
        "audio": [{"path": "a.wav", "start": 0.25}],
    }
    (tmp_path / "m.jsonl").write_text(json.dumps(row), encoding="utf-8")
    counted = manifest.count(read_manifest(tmp_path / "m.jsonl"))
    assert counted["asr"].seconds == [pytest.approx(0.75)]
    assert dict(counted["asr"].languages) == {"de": pytest.approx(0.75)}


# mistakes ---------------------------------------------------------------------------------

MISTAKES = {
    "unknown task": (
        ("synthesize", "--hours", 1, "--tasks", "sing", "--out", "{new}"),
        "unknown task 'sing'",
    ),
    "no task": (("synthesize", "--hours", 1, "--tasks", ",", "--out", "{new}"), "no task is named"),
    "no hours": (("synthesize", "--hours", 0, "--out", "{new}"), "the hours are 0: give a number above 0"),
    "hours of nan": (("synthesize", "--hours", "nan", "--out", "{new}"), "give a number above 0"),
    "workers": (("synthesize", "--hours", 1, "--workers", -1, "--out", "{new}"), "give 0 or more"),
    "seed": (("synthesize", "--hours", 1, "--seed", -1, "--out", "{new}"), "the seed is -1"),
    "full folder": (("synthesize", "--hours", 1, "--out", "{full}"), "is there already"),
    "a file as folder": (("synthesize", "--hours", 1, "--out", "{small}"), "is there already"),
    "no folder": (("synthesize", "--hours", 1), "name one folder"),
    "two folders": (("synthesize", "{new}", "--hours", 1, "--out", "{new}"), "name one folder"),
    "two ways": (("synthesize", "{new}", "--hours", 1, "--count", 5), "--count does not go with --hours"),
    "tasks without hours": (("synthesize", "{new}", "--tasks", "asr"), "need --hours"),
    "unknown id": (("show", "{small}", "nobody"), "no example has the id 'nobody'"),
    "no picture": (("show", "{small}", "nobody", "--output", "a.jpg"), "ends in .png"),
    "no manifest": (("show", "{new}", "nobody"), "cannot be read"),
    "no manifest to count": (("data", "stats", "{new}"), "cannot be read"),
    "no picture of counts": (("data", "stats", "{small}", "--output", "a.txt"), "ends in .png"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_in_one_sentence_and_write_nothing(capsys, small, tmp_path, mistake, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, message = MISTAKES[mistake]
    places = {"new": tmp_path / "new", "full": small.parent, "small": small}
    before = contents(small.parent)
    code, out, err = run(capsys, *(str(part).format(**places) for part in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and message in err and err.count("\n") == 1
    assert contents(small.parent) == before and list(tmp_path.iterdir()) == []

"""Which benchmarks a manifest holds, which are made, and what is said where there is nothing."""

import numpy as np
import pytest
import soundfile

from qwen_audio.data.manifest import AudioRef, Example, write_manifest
from qwen_audio.eval import choose as module
from qwen_audio.eval.benchmarks import BENCHMARKS
from qwen_audio.eval.choose import Synthetic, choose
from qwen_audio.synthetic.world import WORLD

CLEAN = BENCHMARKS["librispeech-test-clean"]


@pytest.fixture
def manifest(tmp_path):
    """Two rows of a published set, two of one's own, one of the synthetic world."""
    soundfile.write(tmp_path / "a.wav", np.zeros(1600), 16_000)
    audio = [AudioRef(path=str(tmp_path / "a.wav"), duration=0.1)]
    rows = [
        Example(id="m2", task="sound_event", text="dog", source="mine", audio=audio),
        Example(id="m1", task="asr", text="go", source="mine", split="test", language="en", audio=audio),
        Example(
            id="1", task="asr", text="go", source=CLEAN.source, split=CLEAN.split, language="en", audio=audio
        ),
        Example(
            id="2", task="asr", text="up", source=CLEAN.source, split=CLEAN.split, language="en", audio=audio
        ),
        Example(id="w", task="instrument", text="cello", source="synthetic", audio=audio),
    ]
    write_manifest(tmp_path / "m.jsonl", rows)
    return tmp_path / "m.jsonl"


def names(chosen):
    return {one.benchmark.name: [example.id for example in one.examples] for one in chosen}


def test_every_row_belongs_to_a_benchmark(manifest):
    every = {
        "librispeech-test-clean": ["1", "2"], "mine-asr": ["m1"], "mine-sound-event": ["m2"],
        "synthetic-instrument": ["w"],
    }  # fmt: skip
    assert names(choose(None, [manifest])) == every
    assert list(names(choose(None, [manifest]))) == list(every)
    assert names(choose(None, [manifest], limit=1))["librispeech-test-clean"] == ["1"]
    assert list(names(choose(None, [manifest], only_tasks=["sound_event"]))) == ["mine-sound-event"]


def test_names_choose_in_their_order(manifest):
    chosen = choose(["mine-asr", CLEAN.name, "mine-asr"], [manifest])
    assert names(chosen) == {"mine-asr": ["m1"], CLEAN.name: ["1", "2"]}
    assert chosen[1].benchmark == CLEAN


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["librispeech-test-other"], "the manifests have no rows of it.*qwen-audio prepare librispeech"),
        (["srwt-industrial"], "srwt-industrial has no examples.*never published"),
        (["librispeech-test-claen"], "unknown benchmark.*librispeech-test-clean"),
        (["synthetic-asrr"], "unknown benchmark.*synthetic-asr"),
        (["mine-asr", "clotho"], "unknown benchmark 'clotho'.*clotho"),
    ],
)
def test_a_name_without_rows_says_what_makes_them(manifest, asked, message):
    with pytest.raises(ValueError, match=message) as caught:
        choose(asked, [manifest])
    assert "\n" not in str(caught.value)
    if "prepare" in message:
        with pytest.raises(ValueError, match="no manifest is given"):
            choose(asked, [])


def test_wrong_demands(manifest, tmp_path):
    with pytest.raises(ValueError, match="nothing to evaluate: give a manifest"):
        choose(None, [])
    with pytest.raises(ValueError, match=r"m\.jsonl: the id 'm2' is also in .*m\.jsonl.*mine-sound-event"):
        choose(None, [manifest, manifest])
    with pytest.raises(ValueError, match="number of synthetic examples is 0"):
        choose(["synthetic-instrument"], [], synthetic=Synthetic(tmp_path, 0))
    with pytest.raises(ValueError, match="the seed is -1"):
        choose(["synthetic-instrument"], [], synthetic=Synthetic(tmp_path, 1, -1))


def test_all_is_every_row_and_the_synthetic_tasks_where_they_can_be_made(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "synthetic_installed", lambda: False)
    assert names(choose(["all"], [manifest])) == names(choose(None, [manifest]))
    pytest.importorskip("espeakng_loader", reason="needs the synth extra")
    pytest.importorskip("pretty_midi", reason="needs the synth extra")
    monkeypatch.undo()
    synthetic = Synthetic(tmp_path / "made", 1)
    tasks = ["asr", "instrument", "note_pitch"]
    chosen = names(choose(["all"], [manifest], only_tasks=tasks, synthetic=synthetic))
    assert list(chosen) == [
        CLEAN.name, "mine-asr", "synthetic-instrument", "synthetic-asr", "synthetic-note-pitch",
    ]  # fmt: skip
    assert chosen["synthetic-instrument"] == ["w"]  # the rows that are there


def test_synthetic_benchmarks_are_made_once_and_held_out(tmp_path):
    pytest.importorskip("pretty_midi", reason="needs the synth extra")
    notes = []
    synthetic = Synthetic(tmp_path / "made", 2, seed=3, note=notes.append)
    first = choose(["synthetic_note_pitch"], [], synthetic=synthetic)
    again = choose(["synthetic-note-pitch"], [], synthetic=synthetic)
    assert first == again and notes == ["making 2 examples of synthetic-note-pitch"]
    assert len(first[0].examples) == 2 and {e.task for e in first[0].examples} == {"note_pitch"}
    other = choose(["synthetic-note-pitch"], [], synthetic=Synthetic(tmp_path / "made", 2, seed=4))
    assert [e.text for e in other[0].examples] != [e.text for e in first[0].examples]
    # A folder that was never finished is made again.
    (tmp_path / "made" / "note_pitch-1-seed-3.partial").mkdir()
    assert (
        len(choose(["synthetic-note-pitch"], [], synthetic=Synthetic(tmp_path / "made", 1, 3))[0].examples)
        == 1
    )


def test_all_synthetic_tasks_can_be_named():
    assert {f"synthetic-{task.replace('_', '-')}" for task in WORLD} <= set(module.SYNTHETIC_TASKS)

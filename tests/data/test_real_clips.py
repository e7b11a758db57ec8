"""Recorded clips in synthetic scenes: folders and manifests, attribution, and no clip of the test part in training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from qwen_audio.cli.main import main
from qwen_audio.data.manifest import AudioRef, Example, read_manifest, write_manifest
from qwen_audio.synthetic.sounds.questions import ask
from qwen_audio.synthetic.sounds.real_clips import RealClips, is_held_out
from qwen_audio.synthetic.sounds.scenes import SceneGenerator
from qwen_audio.synthetic.sounds.stories import Teller, alike
from qwen_audio.synthetic.world import WorldGenerator

RATE = 16_000


def tone(path: Path, pitch: float) -> None:
    wave = np.zeros(RATE, np.float32)
    wave[4000:12000] = 0.3 * np.sin(2 * np.pi * pitch * np.arange(8000) / RATE)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, RATE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve clips of two classes."""
    for k in range(12):
        tone(tmp_path / "clips" / ("car_horn", "mouse")[k % 2] / f"{k}.wav", 300 + 40 * k)
    return tmp_path / "clips"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A clip for training and one for testing, each with source and licence."""
    rows = []
    for k, split in enumerate(("train", "test")):
        tone(tmp_path / f"{split}.wav", 440 + 200 * k)
        rows.append(
            Example(
                id=f"clip {k}", task="sound_event", audio=[AudioRef(path=str(tmp_path / f"{split}.wav"))],
                text=f"{split} tone", label=f"{split} tone", split=split, source="tones", license="CC-BY-4.0",
                license_class="by",
            )
        )  # fmt: skip
    write_manifest(tmp_path / "clips.jsonl", rows)
    return tmp_path / "clips.jsonl"


def test_a_folder_of_folders_is_read(folder: Path) -> None:
    parts = [RealClips(folder, held_out) for held_out in (False, True) if _has(folder, held_out)]
    ids = [row.id for part in parts for rows in part.rows.values() for row in rows]
    assert sorted(ids) == sorted(f"{p.parent.name}/{p.name}" for p in folder.glob("*/*.wav"))
    assert parts[0].labels == ["car horn", "mouse"]
    take = parts[0].perform(np.random.default_rng(0), "mouse", 4.0)
    assert take.spans[0][1] == pytest.approx(8000, abs=160) and take.clip.label == "mouse"


def _has(folder: Path, held_out: bool) -> bool:
    rows = [
        Example(id=f"{p.parent.name}/{p.name}", task="sound_event", audio=[], text="x")
        for p in folder.glob("*/*")
    ]
    return any(is_held_out(row) == held_out for row in rows)


def test_clips_of_the_test_part_are_not_in_training(manifest: Path) -> None:
    assert RealClips(manifest).labels == ["train tone"]
    assert RealClips(manifest, held_out=True).labels == ["test tone"]


def test_an_example_names_the_clips_that_are_heard_in_it(manifest: Path) -> None:
    generator, rng = (
        SceneGenerator({"event_detection": 1.0}, real=str(manifest), real_share=0.7),
        np.random.default_rng(0),
    )
    seen = set()
    for _ in range(12):
        example = generator.sample(rng).example
        heard = "train tone" in {span.label for span in example.spans}
        seen.add(heard)
        if heard:
            assert (example.source, example.license, example.license_class) == (
                "synthetic+tones",
                "CC-BY-4.0",
                "by",
            )
            clip = {"id": "clip 0", "label": "train tone", "source": "tones", "license": "CC-BY-4.0"}
            assert example.meta["real"] == [clip]
        else:
            assert (example.source, example.license) == ("synthetic", None) and "real" not in example.meta
    assert seen == {True, False}


def test_a_class_that_may_be_a_known_one_is_taken_for_it(manifest: Path) -> None:
    assert alike("dog", "dog barking") and alike("Rain", "rain") and not alike("mouse", "rain")
    teller = Teller(real=RealClips(manifest), share=1.0)
    for seed in range(20):  # one recorded class alone gives no choices: it ends all the same
        asked, _ = ask(np.random.default_rng(seed), teller)
        assert asked.answer in asked.choices


def test_the_verb_mixes_clips_and_augments(folder: Path, tmp_path: Path) -> None:
    options = [
        "--hours",
        "0.01",
        "--tasks",
        "event_detection,note_pitch",
        "--real",
        str(folder),
        "--augment",
        "0.5",
    ]
    for name, more in (("a", []), ("b", ["--workers", "2"])):
        with pytest.raises(SystemExit) as stop:
            main(["synthesize", "--out", str(tmp_path / name), *options, *more])
        assert not stop.value.code
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    rows = read_manifest(tmp_path / "a" / "manifest.jsonl")
    assert any("real" in row.meta for row in rows) and not any(
        "real" in r.meta for r in rows if r.task == "note_pitch"
    )
    through = [row for row in rows if "channel" in row.meta]
    assert 0.2 < len(through) / len(rows) < 0.8
    with pytest.raises(SystemExit):
        main(["synthesize", "--out", str(tmp_path / "c"), *options[:-1], "0"])
    plain = {row.id: row for row in read_manifest(tmp_path / "c" / "manifest.jsonl")}
    for row in rows:  # what goes through no channel is the same as without any
        if row.id in plain and "channel" not in row.meta:
            assert json.dumps(row.meta) == json.dumps(plain[row.id].meta)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hours", "1", "--augment", "2"], "the share of augmented examples is 2"),
        (["--count", "2", "--augment", "-1"], "the share of augmented examples is -1"),
        (["--hours", "1", "--tasks", "asr", "--real", "{real}"], "mixed into event_detection"),
        (["--kind", "notes", "--real", "{real}"], "--real goes with"),
        (["--hours", "1", "--real", "{none}"], "cannot be read"),
        (["--hours", "1", "--real", "{empty}"], "no clips for training"),
    ],
)
def test_mistakes_end_in_one_sentence(arguments, message, manifest, tmp_path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    places = {"real": manifest, "none": tmp_path / "none.jsonl", "empty": tmp_path / "empty"}
    with pytest.raises(SystemExit) as stop:
        main(["synthesize", str(tmp_path / "new"), *(part.format(**places) for part in arguments)])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and message in err and err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_the_world_refuses_clips_it_has_no_place_for(manifest: Path) -> None:
    with pytest.raises(ValueError, match="recorded clips are mixed into"):
        WorldGenerator(["asr"], real=str(manifest))

"""Writing synthetic examples: the same seed writes the same files, and the manifest reads back."""

import pytest

from qwen_audio.audio.load import load_audio
from qwen_audio.cli.main import main
from qwen_audio.data.manifest import read_manifest
from qwen_audio.synthetic.write import write_dataset

pytest.importorskip("espeakng_loader", reason="needs the synth extra")


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    options = {"held_out": True, "kinds": {"words": 1.0}, "tasks": {"word_timestamps": 1.0}}
    for name in ("a", "b"):
        write_dataset("speech", tmp_path / name, 4, seed=3, options=options)
    files = sorted(p.name for p in (tmp_path / "a" / "audio").iterdir())
    assert len(files) == 4
    for name in files:
        assert (tmp_path / "a/audio" / name).read_bytes() == (tmp_path / "b/audio" / name).read_bytes()
    rows = read_manifest(tmp_path / "a" / "manifest.jsonl")
    assert all(row.words and row.task == "word_timestamps" for row in rows)
    for row in rows:
        wave = load_audio(row.audio[0].path)
        assert len(wave) / 16_000 == pytest.approx(row.audio[0].duration, abs=1e-3)
        assert row.words[-1].end <= len(wave) / 16_000 + 1e-3


def test_the_verb_writes_notes(tmp_path, capsys):
    main_exits(["synthesize", str(tmp_path), "--kind", "notes", "--count", "2", "--task", "note_pitch"], 0)
    rows = read_manifest(tmp_path / "manifest.jsonl")
    assert [r.task for r in rows] == ["note_pitch"] * 2
    assert "manifest.jsonl" in capsys.readouterr().out
    main_exits(["synthesize", str(tmp_path), "--kind", "notes", "--count", "2"], 2)
    assert "already" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--kind", "films"], ["--count", "0"], ["--utterances", "songs"]])
def test_a_wrong_option_is_one_sentence(tmp_path, capsys, arguments):
    main_exits(["synthesize", str(tmp_path / "x"), *arguments], 2)
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "x").exists()


def main_exits(arguments, code):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert (stop.value.code or 0) == code

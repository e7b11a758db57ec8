"""NSynth: single notes of instruments with pitch, velocity, qualities and family of the instrument."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from qwen_audio.data.recipes.base import Notes, Recipe, Row, Rows
from qwen_audio.data.recipes.files import first_file, first_folder, read_json

_FIELDS = ("pitch", "velocity", "qualities_str", "instrument_family_str")


def splits(folder: Path, alignments: Path | None) -> Mapping[str, Rows]:
    """The folders nsynth-test, nsynth-valid and nsynth-train; or one of them itself."""
    there: dict[str, Rows] = {}
    for split in ("test", "valid", "train"):
        own = ["."] if folder.name == f"nsynth-{split}" else []
        root = first_folder(folder, f"nsynth-{split}", f"nsynth-{split}.jsonwav/nsynth-{split}", *own)
        table = first_file([root], "examples.json")
        if root is not None and table is not None:
            there[split] = partial(_rows, root, table, split)
    return there


def _rows(root: Path, table: Path, split: str, notes: Notes) -> Iterator[Row]:
    for name, note in read_json(table).items():
        absent = [field for field in _FIELDS if field not in note]
        if absent:
            notes.leave_out(f"the list does not give its {absent[0]}", name)
            continue
        pitch, velocity, sonic, instrument = (note[field] for field in _FIELDS)
        yield {
            "id": f"nsynth-{name}",
            "path": root / "audio" / f"{name}.wav",
            "task": "note_analysis",
            "text": ", ".join([f"MIDI pitch {pitch}", f"velocity {velocity}", *sonic, instrument]),
            "split": split,
            "meta": {"pitch": pitch, "velocity": velocity, "sonic": sonic, "instrument": instrument},
        }


RECIPE = Recipe(
    "nsynth",
    "NSynth",
    "the Magenta project, nsynth-test.jsonwav.tar.gz",
    "CC-BY-4.0",
    "permissive",
    "a folder nsynth-test with examples.json and audio/*.wav",
    splits,
)

"""CochlScene: clips of 10 s from 13 kinds of places, named as the corpus names them (CrowdedIndoor ...)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from qwen_audio.data.recipes.base import Notes, Recipe, Row, Rows
from qwen_audio.data.recipes.files import audio_below, first_folder

CLASSES = (
    "Bus", "Cafe", "Car", "CrowdedIndoor", "Elevator", "Kitchen", "Park", "ResidentialArea", "Restaurant", "Restroom",
    "Street", "Subway", "SubwayStation",
)  # fmt: skip


def splits(folder: Path, alignments: Path | None) -> Mapping[str, Rows]:
    """The folders Test, Val and Train, each with a folder of clips for every class."""
    there: dict[str, Rows] = {}
    for split in ("test", "val", "train"):
        found = first_folder(folder, split.title(), f"CochlScene/{split.title()}")
        if found is not None and any((found / name).is_dir() for name in CLASSES):
            there[split] = partial(_rows, found, split)
    return there


def _rows(folder: Path, split: str, notes: Notes) -> Iterator[Row]:
    for path in audio_below(folder):
        label = path.parent.name
        if label not in CLASSES:
            notes.leave_out("its folder is none of the 13 classes", f"{label}/{path.name}")
            continue
        yield {
            "id": f"cochlscene-{path.stem}",
            "path": path,
            "task": "acoustic_scene",
            "text": label,
            "label": label,
            "choices": list(CLASSES),
            "split": split,
        }


RECIPE = Recipe(
    "cochlscene",
    "CochlScene",
    "Zenodo, record 7080122",
    "see the record on Zenodo",
    "unknown",
    "folders such as Test/Bus with .wav files, in it or in its folder CochlScene",
    splits,
)

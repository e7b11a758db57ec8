"""TUT Acoustic Scenes 2017: clips of 10 s from 15 kinds of places, named as the corpus names them (city_center ...)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from qwen_audio.data.recipes.base import Notes, Recipe, Row, Rows
from qwen_audio.data.recipes.files import first_file, first_folder, read_text

CLASSES = (
    "beach", "bus", "cafe/restaurant", "car", "city_center", "forest_path", "grocery_store", "home", "library",
    "metro_station", "office", "park", "residential_area", "train", "tram",
)  # fmt: skip


def splits(folder: Path, alignments: Path | None) -> Mapping[str, Rows]:
    """The evaluation and the development set, each a folder with audio and a list of scenes."""
    there: dict[str, Rows] = {}
    for split in ("evaluation", "development"):
        named = f"TUT-acoustic-scenes-2017-{split}"
        own = "." if folder.name.endswith(split) else split
        root = first_folder(folder, named, own)
        table = first_file([root], "meta.txt", "evaluation_setup/evaluate.txt")
        if root is not None and table is not None:
            there[split] = partial(_rows, root, table, split)
    return there


def _rows(root: Path, table: Path, split: str, notes: Notes) -> Iterator[Row]:
    for line in read_text(table).split("\n"):
        if not line.strip():
            continue
        name, label, *_ = [*line.split("\t"), ""]
        name, label = name.strip(), label.strip()
        if label not in CLASSES:
            notes.leave_out("its line names none of the 15 classes", name)
            continue
        yield {
            "id": f"tut2017-{split}-{Path(name).stem}",
            "path": root / name,
            "task": "acoustic_scene",
            "text": label,
            "label": label,
            "choices": list(CLASSES),
            "split": split,
        }


RECIPE = Recipe(
    "tut2017",
    "TUT Acoustic Scenes 2017",
    "Zenodo, records 1040168 (evaluation) and 400515 (development)",
    "TUT licence (not commercial)",
    "non-commercial",
    "a folder TUT-acoustic-scenes-2017-evaluation with audio/*.wav and meta.txt or evaluation_setup/evaluate.txt",
    splits,
)

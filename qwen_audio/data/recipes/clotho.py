"""Clotho: sounds of 15 to 30 s with five captions each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from qwen_audio.data.recipes.base import Notes, Recipe, Row, Rows
from qwen_audio.data.recipes.files import first_file, first_folder, read_csv

SPLITS = ("evaluation", "validation", "development")
CAPTIONS = tuple(f"caption_{number}" for number in range(1, 6))


def splits(folder: Path, alignments: Path | None) -> Mapping[str, Rows]:
    """The splits of which captions and a folder of clips are there."""
    there: dict[str, Rows] = {}
    for split in SPLITS:
        packed = f"clotho_audio_{split}"  # the name of its archive
        clips = first_folder(folder, split, f"clotho_audio_files/{split}", f"{packed}/{split}", packed)
        table = first_file([folder, folder / "clotho_csv_files"], f"clotho_captions_{split}.csv")
        if clips is not None and table is not None:
            there[split] = partial(_rows, clips, table, split)
    return there


def _rows(clips: Path, table: Path, split: str, notes: Notes) -> Iterator[Row]:
    for line in read_csv(table, ("file_name", *CAPTIONS)):
        name = line["file_name"].strip()  # some have a space at the end
        captions = [" ".join(line[column].split()) for column in CAPTIONS if (line[column] or "").strip()]
        if not captions:
            notes.leave_out("it has no caption", name)
            continue
        yield {
            "id": f"clotho-{split}-{name.removesuffix('.wav')}",
            "path": clips / name,
            "task": "audio_caption",
            "text": captions[0],
            "split": split,
            "meta": {"references": captions, "instruction": "clotho"},
        }


RECIPE = Recipe(
    "clotho",
    "Clotho",
    "Zenodo, record 3490684 (version 2.1)",
    "captions: Tampere University licence (not commercial); audio: the Freesound licence of each clip",
    "non-commercial",
    "clotho_captions_evaluation.csv and a folder evaluation of .wav files",
    splits,
)

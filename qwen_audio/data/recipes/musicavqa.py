"""MUSIC-AVQA: questions about videos of music, of which only those about the sound alone are used."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from qwen_audio.data.recipes.base import Notes, Recipe, Row, Rows
from qwen_audio.data.recipes.files import audio_of, first_file, first_folder, read_json

SPLITS = ("test", "val", "train")


def splits(folder: Path, alignments: Path | None) -> Mapping[str, Rows]:
    """The splits whose questions are there (the newer files of `json_update`, else `json`), and the recordings."""
    tables: list[Path | None] = [
        folder / place for place in ("json_update", "data/json_update", ".", "json", "data/json")
    ]
    places: list[Path | None] = [
        first_folder(folder, name)
        for name in ("audio", "data/audio", "video", "data/video", "MUSIC-AVQA-Videos", "MUSIC-AVQA-videos-Real",
                     "MUSIC-AVQA-videos-Synthetic")
    ]  # fmt: skip
    if not any(places):
        return {}
    there: dict[str, Rows] = {}
    for split in SPLITS:
        table = first_file(tables, f"avqa-{split}.json")
        if table is not None:
            there[split] = partial(_rows, places, table, split)
    return there


def _rows(places: list[Path | None], table: Path, split: str, notes: Notes) -> Iterator[Row]:
    for entry in read_json(table):
        kind, kinds = json.loads(entry["type"])
        if kind != "Audio":  # the others ask about the picture too
            continue
        yield {
            "id": f"musicavqa-{split}-{entry['question_id']}",
            "path": audio_of(places, entry["video_id"]),
            "task": "music_qa",
            "question": _question(entry),
            "text": entry["anser"],  # so spelt in the corpus
            "split": split,
            "meta": {"kind": kinds},
        }


def _question(entry: Row) -> str:
    """The question with its template filled in: "Is the <Object> louder than the <Object>?"."""
    parts = entry["question_content"].split("<Object>")
    values = [value.replace("_", " ") for value in json.loads(entry["templ_values"])]
    if len(values) < len(parts) - 1:
        raise ValueError(
            f"question {entry['question_id']} of MUSIC-AVQA has fewer values than its template has places"
        )
    return parts[0] + "".join(value + part for value, part in zip(values, parts[1:], strict=False))


RECIPE = Recipe(
    "musicavqa",
    "MUSIC-AVQA",
    "the GitHub repository GeWu-Lab/MUSIC-AVQA (questions); the videos: the project's page",
    "see the project's page; videos: of their makers",
    "unknown",
    "avqa-test.json (in it, or in json_update or data/json_update) and recordings in audio/ID.wav or video/ID.mp4",
    splits,
)

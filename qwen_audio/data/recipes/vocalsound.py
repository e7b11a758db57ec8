"""VocalSound: laughter, sighs, coughs, throat clearing, sneezes and sniffs of over 3,000 people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from qwen_audio.data.recipes.base import Notes, Recipe, Row, Rows
from qwen_audio.data.recipes.files import first_file, first_folder, read_json

# By the end of a file's name; as the corpus's table of classes writes them.
CLASSES = {
    "laughter": "Laughter",
    "sigh": "Sigh",
    "cough": "Cough",
    "throatclearing": "Throat clearing",
    "sneeze": "Sneeze",
    "sniff": "Sniff",
}
_LISTS = {"test": "te.json", "val": "val.json", "train": "tr.json"}


def splits(folder: Path, alignments: Path | None) -> Mapping[str, Rows]:
    """The splits whose list is in `datafiles`; the clips of 16 kHz, else those of 44.1 kHz."""
    root = (
        folder
        if (folder / "datafiles").is_dir()
        else first_folder(folder, "data", "vs_release_16k", "vs_release_44k")
    )
    clips = None if root is None else first_folder(root, "audio_16k", "audio_44k")
    there: dict[str, Rows] = {}
    for split, name in _LISTS.items():
        table = None if root is None else first_file([root / "datafiles"], name)
        if clips is not None and table is not None:
            there[split] = partial(_rows, clips, table, split)
    return there


def _rows(clips: Path, table: Path, split: str, notes: Notes) -> Iterator[Row]:
    content = read_json(table)
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise ValueError(f'{table} has no list "data": take the corpus\'s own file')
    for entry in content["data"]:
        path = clips / Path(str(entry.get("wav", ""))).name  # the folder in the list is that of its authors
        speaker, _, sound = path.stem.rpartition("_")
        if sound not in CLASSES:
            notes.leave_out("its name ends in none of the six sounds", path.name)
            continue
        yield {
            "id": f"vocalsound-{path.stem}",
            "path": path,
            "task": "vocal_sound",
            "text": CLASSES[sound],
            "label": CLASSES[sound],
            "choices": list(CLASSES.values()),
            "speaker": f"vocalsound:{speaker.partition('_')[0]}",
            "split": split,
        }


RECIPE = Recipe(
    "vocalsound",
    "VocalSound",
    "the GitHub repository YuanGongND/vocalsound (16 kHz release)",
    "CC-BY-SA-4.0",
    "sa",
    "datafiles/te.json and the clips in audio_16k (or audio_44k)",
    splits,
)

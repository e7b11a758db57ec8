"""MELD: utterances of a television series with one of seven emotions; the audio is read from the .mp4 clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from qwen_audio.data.recipes.base import Notes, Recipe, Row, Rows
from qwen_audio.data.recipes.files import audio_of, first_file, first_folder, read_csv

EMOTIONS = ("neutral", "joy", "sadness", "anger", "surprise", "fear", "disgust")
# Folders that the archives unpack to.
_CLIPS = {
    "test": ("output_repeated_splits_test", "test"),
    "dev": ("dev_splits_complete", "dev"),
    "train": ("train_splits", "train"),
}


def splits(folder: Path, alignments: Path | None) -> Mapping[str, Rows]:
    """The splits of which the table and the folder of clips are there."""
    roots = [root for root in (folder, first_folder(folder, "MELD.Raw")) if root is not None]
    tables: list[Path | None] = [
        *roots,
        *(root / "data" / "MELD" for root in roots),
        *(root / "MELD" for root in roots),
    ]
    there: dict[str, Rows] = {}
    for split, names in _CLIPS.items():
        # An archive may have been unpacked into a folder of its own.
        places = [place for name in names for place in (name, f"{split}/{name}", f"{split}_splits/{name}")]
        clips = next((found for root in roots if (found := first_folder(root, *places))), None)
        if clips is not None and not any(clips.glob("dia*_utt*")):
            clips = next(
                (inner for inner in clips.iterdir() if inner.is_dir() and any(inner.glob("dia*_utt*"))), clips
            )
        table = first_file([*tables, clips, None if clips is None else clips.parent], f"{split}_sent_emo.csv")
        if clips is not None and table is not None:
            there[split] = partial(_rows, clips, table, split)
    return there


def _rows(clips: Path, table: Path, split: str, notes: Notes) -> Iterator[Row]:
    for line in read_csv(table, ("Utterance", "Emotion", "Speaker", "Dialogue_ID", "Utterance_ID")):
        name, label = f"dia{line['Dialogue_ID']}_utt{line['Utterance_ID']}", line["Emotion"].strip().lower()
        if label not in EMOTIONS:
            notes.leave_out("its emotion is none of the seven", name)
            continue
        yield {
            "id": f"meld-{split}-{name}",
            "path": audio_of([clips], name),
            "task": "emotion",
            "language": "en",
            "text": label,
            "label": label,
            "choices": list(EMOTIONS),
            "speaker": f"meld:{line['Speaker']}",
            "split": split,
            "meta": {"transcript": line["Utterance"]},
        }


RECIPE = Recipe(
    "meld",
    "MELD",
    "the MELD project (MELD.Raw.tar.gz); tables: the GitHub repository declare-lab/MELD",
    "annotations: GPL-3.0; clips: of a television series, all rights reserved",
    "non-commercial",
    "test_sent_emo.csv (in it, or in data/MELD) and the clips in output_repeated_splits_test/dia0_utt0.mp4",
    splits,
)

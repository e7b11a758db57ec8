"""ClothoAQA: six questions about a sound, each answered by three people.

Each answer is a row of its own, as in the published evaluation (its file has 14,706 rows for the 817 clips of the
validation and test sets, 18 a clip): a question whose answers differ cannot be answered right every time.
`meta.answers` has all three, for scoring against the majority or against any of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from qwen_audio.data.recipes.base import Notes, Recipe, Row, Rows
from qwen_audio.data.recipes.files import first_file, first_folder, read_csv

SPLITS = ("test", "val", "train")


def splits(folder: Path, alignments: Path | None) -> Mapping[str, Rows]:
    """The splits whose table is there, beside one folder of clips for all."""
    clips = first_folder(folder, "audio_files")
    there: dict[str, Rows] = {}
    for split in SPLITS:
        table = first_file([folder, folder / "metadata"], f"clotho_aqa_{split}.csv")
        if table is not None and clips is not None:
            there[split] = partial(_rows, clips, table, split)
    return there


def _rows(clips: Path, table: Path, split: str, notes: Notes) -> Iterator[Row]:
    lines = list(read_csv(table, ("file_name", "QuestionText", "answer", "confidence")))
    answers: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        answers.setdefault((line["file_name"], line["QuestionText"]), []).append(line["answer"].strip())
    for number, line in enumerate(lines):
        yield {
            "id": f"clothoaqa-{split}-{number:05d}",
            "path": clips / line["file_name"].strip(),
            "task": "audio_qa",
            "question": line["QuestionText"],
            "text": line["answer"].strip(),
            "split": split,
            "meta": {
                "answers": answers[line["file_name"], line["QuestionText"]],
                "confidence": line["confidence"].strip(),
            },
        }


RECIPE = Recipe(
    "clothoaqa",
    "ClothoAQA",
    "Zenodo, record 6473207",
    "see LICENSE.txt of the corpus; audio: the Freesound licence of each clip",
    "unknown",
    "clotho_aqa_test.csv and a folder audio_files",
    splits,
)

"""LibriSpeech: read English audiobooks, with word times where the public alignments were merged into the folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from qwen_audio.data.recipes import alignments as aligned
from qwen_audio.data.recipes.base import Notes, Recipe, Row, Rows
from qwen_audio.data.recipes.files import audio_of, first_folder, read_transcripts

SPLITS = (
    "dev-clean", "dev-other", "test-clean", "test-other", "train-clean-100", "train-clean-360", "train-other-500",
)  # fmt: skip


def splits(folder: Path, alignments: Path | None) -> Mapping[str, Rows]:
    """The splits whose folder is there: SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt and .flac files."""
    there: dict[str, Rows] = {}
    for split in SPLITS:
        found = first_folder(folder, split, f"LibriSpeech/{split}")
        if found is not None:
            times = None if alignments is None else first_folder(alignments, split, f"LibriSpeech/{split}")
            there[split] = partial(_rows, found, times or found, split)
    return there


def _rows(folder: Path, times: Path, split: str, notes: Notes) -> Iterator[Row]:
    words = aligned.read_below(times)
    for transcript in sorted(folder.rglob("*.trans.txt")):
        for name, text in read_transcripts(transcript).items():
            row = {
                "id": f"librispeech-{name}",
                "path": audio_of([transcript.parent], name),
                "task": "asr",
                "language": "en",
                "text": text.lower(),
                "speaker": f"librispeech:{transcript.parent.parent.name}",
                "split": split,
            }
            yield row
            if name in words:
                timed = [[word.word.lower(), word.start, word.end] for word in words[name]]
                yield {**row, "id": f"{row['id']}#words", "task": "word_timestamps", "words": timed}
            elif words:
                notes.leave_out("the public alignments have no word times of it", name)


RECIPE = Recipe(
    "librispeech",
    "LibriSpeech",
    "OpenSLR 12; word times: the GitHub repository CorentinJ/librispeech-alignments, condensed format",
    "CC-BY-4.0",
    "permissive",
    "folders such as test-clean, in it or in its folder LibriSpeech",
    splits,
    timed=True,
)

"""AISHELL-1: read Mandarin speech, with word times if an alignment is given (none is published with the corpus)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from qwen_audio.data.recipes import alignments as aligned
from qwen_audio.data.recipes.base import Notes, Recipe, Row, Rows
from qwen_audio.data.recipes.files import audio_below, first_file, first_folder, read_transcripts

SPLITS = ("dev", "test", "train")
_TRANSCRIPTS = "transcript/aishell_transcript_v0.8.txt"


def splits(folder: Path, alignments: Path | None) -> Mapping[str, Rows]:
    """The splits whose folder wav/SPLIT is there, beside the transcripts of all of them."""
    root = first_folder(folder, "data_aishell") or folder
    transcripts = first_file([root], _TRANSCRIPTS)
    if transcripts is None:
        return {}
    there: dict[str, Rows] = {}
    for split in SPLITS:
        wavs = first_folder(root, f"wav/{split}")
        if wavs is not None:
            there[split] = partial(_rows, wavs, transcripts, alignments, split)
    if not there and any((root / "wav").glob("*.tar.gz")):
        raise ValueError(
            f"{root / 'wav'} has archives of speakers that are still packed: unpack each of them there"
        )
    return there


def _rows(wavs: Path, transcripts: Path, alignments: Path | None, split: str, notes: Notes) -> Iterator[Row]:
    texts = read_transcripts(transcripts)
    words = {} if alignments is None else aligned.read_below(alignments)
    if alignments is not None and not words:
        raise ValueError(
            f"{alignments} has no .ctm and no .TextGrid file: give the folder of an alignment of AISHELL-1"
        )
    for path in audio_below(wavs):
        name = path.stem
        if name not in texts:
            notes.leave_out("it has no transcript", name)
            continue
        row = {
            "id": f"aishell1-{name}",
            "path": path,
            "task": "asr",
            "language": "zh",
            "text": texts[name].replace(" ", ""),
            "speaker": f"aishell1:{path.parent.name}",
            "split": split,
        }
        yield row
        if name in words:
            timed = [[word.word, word.start, word.end] for word in words[name]]
            yield {**row, "id": f"{row['id']}#words", "task": "word_timestamps", "words": timed}
        elif words:
            notes.leave_out("the alignment has no word times of it", name)


RECIPE = Recipe(
    "aishell1",
    "AISHELL-1",
    "OpenSLR 33; word times: your own alignment as CTM or TextGrid",
    "Apache-2.0",
    "permissive",
    f"data_aishell/{_TRANSCRIPTS} and data_aishell/wav/test/SPEAKER/*.wav",
    splits,
    timed=True,
)

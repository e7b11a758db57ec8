"""AISHELL-2: read Mandarin speech; development and test sets in three recordings each (microphone, iOS, Android)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from qwen_audio.data.recipes.base import Notes, Recipe, Row, Rows
from qwen_audio.data.recipes.files import audio_below, first_folder, read_transcripts

CHANNELS = ("Mic", "iOS", "Android")
_ROOTS = (".", "AISHELL-2", "AISHELL-DEV-TEST-SET", "AISHELL2-2018A-EVAL")


def splits(folder: Path, alignments: Path | None) -> Mapping[str, Rows]:
    """test-mic ... and dev-mic ... of CHANNEL/test, CHANNEL/dev; train of iOS/data; each with trans.txt and wav."""
    there: dict[str, Rows] = {}
    places = [
        (f"{part}-{channel.lower()}", f"{channel}/{part}") for part in ("test", "dev") for channel in CHANNELS
    ]
    for split, place in [*places, ("train", "iOS/data")]:
        found = first_folder(folder, *(f"{root}/{place}" for root in _ROOTS))
        if found is not None and (found / "trans.txt").is_file():
            there[split] = partial(_rows, found, split)
    return there


def _rows(folder: Path, split: str, notes: Notes) -> Iterator[Row]:
    texts = read_transcripts(folder / "trans.txt")
    wavs = {path.stem: path for path in audio_below(folder / "wav")}
    for name, text in texts.items():
        path = wavs.get(name, folder / "wav" / f"{name}.wav")
        yield {
            "id": f"aishell2-{split}-{name}",  # the three recordings of an utterance have one name
            "path": path,
            "task": "asr",
            "language": "zh",
            "text": text,
            "speaker": f"aishell2:{path.parent.name}",
            "split": split,
        }
    for name in wavs.keys() - texts.keys():
        notes.leave_out("it has no transcript", name)


RECIPE = Recipe(
    "aishell2",
    "AISHELL-2",
    "AISHELL Foundation, on application; its evaluation sets are AISHELL2-2018A-EVAL",
    "AISHELL-2 licence (research and education, not commercial)",
    "non-commercial",
    "iOS/test/trans.txt with iOS/test/wav, and the same for Mic and Android, in it or in AISHELL-2",
    splits,
)

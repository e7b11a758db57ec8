"""Inputs and outputs of a command line: files, folders and patterns, and the files of the results."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Files that are taken from a folder; a file that is named is tried whatever its ending.
_SOUND = "wav w64 rf64 flac mp3 ogg oga opus m4a m4b aac aif aiff au caf wma amr ape tta ac3 mka"
_VIDEO = "mp4 m4v mov mkv webm avi flv ts mpg mpeg 3gp asf wmv"
ENDINGS = frozenset(f".{ending}" for ending in f"{_SOUND} {_VIDEO}".split())
SUFFIXES = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt", "textgrid": ".TextGrid"}


@dataclass(frozen=True)
class Input:
    """A file to transcribe, and its name below the folder it was found in."""

    path: str
    name: Path


def find_inputs(named: Sequence[str]) -> list[Input]:
    """The files that arguments name, in order, those of a folder sorted; a name without a file is kept unchanged.

    A file that is named twice is taken once. Links to it by other names count as files of their own, so that each
    name gets a text.

    Raises:
        ValueError: a folder without a sound file, or a pattern without a match.
    """
    found: list[Input] = []
    for name in named:
        if os.path.isdir(name):
            found += _folder(name)
        elif glob.has_magic(name) and not os.path.lexists(name):
            matches = sorted(glob.glob(name, recursive=True))
            if not matches:
                raise ValueError(f"no file matches {name}: correct the pattern")
            for match in matches:
                found += _folder(match) if os.path.isdir(match) else [Input(match, Path(Path(match).name))]
        else:
            found.append(Input(name, Path(Path(name).name)))
    first: dict[tuple[str, str], Input] = {}
    for one in found:
        first.setdefault((os.path.realpath(one.path), one.name.name), one)
    return list(first.values())


def _folder(folder: str) -> list[Input]:
    files = [
        file
        for file in sorted(Path(folder).rglob("*"))
        if file.suffix.lower() in ENDINGS and file.is_file() and not file.name.startswith(".")
    ]
    if not files:
        raise ValueError(f"{folder} holds no sound file: name another folder, or the file itself")
    return [Input(str(file), file.relative_to(folder)) for file in files]


def targets(inputs: Sequence[Input], folder: Path, style: str) -> list[Path]:
    """The file in `folder` for each input, by its name without extension, or with it where two would be equal.

    Raises:
        ValueError: two inputs have the same name.
    """
    ending = SUFFIXES[style]
    plain = [folder / one.name.with_suffix(ending) for one in inputs]
    full = [folder / one.name.with_name(one.name.name + ending) for one in inputs]
    chosen = [f if plain.count(p) > 1 else p for p, f in zip(plain, full, strict=True)]
    if len(set(chosen)) < len(chosen):
        twice = next(path for path in chosen if chosen.count(path) > 1)
        raise ValueError(f"two inputs have the same name, {twice.name}: transcribe them one at a time")
    return chosen

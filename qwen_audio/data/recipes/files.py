"""Finding and reading the files of a corpus: folders by name, tables, lists of transcripts."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

AUDIO_ENDINGS = (".wav", ".flac", ".mp3", ".ogg", ".m4a", ".mp4", ".mkv", ".webm")


def first_folder(folder: Path, *names: str) -> Path | None:
    """The first of these subfolders that is there ("." is the folder itself); case does not count."""
    for name in names:
        here: Path | None = folder
        for part in Path(name).parts:
            here = None if here is None else _entry(here, part)
        if here is not None and here.is_dir():
            return here
    return None


def _entry(folder: Path, name: str) -> Path | None:
    if (folder / name).exists():
        return folder / name
    if not folder.is_dir():
        return None
    return next((entry for entry in sorted(folder.iterdir()) if entry.name.lower() == name.lower()), None)


def first_file(folders: list[Path | None], *names: str) -> Path | None:
    """The first of these file names in the first of the folders that has it."""
    for name in names:
        for folder in folders:
            if folder is not None and (folder / name).is_file():
                return folder / name
    return None


def audio_of(folders: list[Path | None], stem: str) -> Path:
    """The recording of this name, whatever its ending; the first place it could be in, where there is none."""
    for folder in folders:
        for ending in AUDIO_ENDINGS:
            if folder is not None and (folder / f"{stem}{ending}").is_file():
                return folder / f"{stem}{ending}"
    place = next((folder for folder in folders if folder is not None), Path())
    return place / f"{stem}{AUDIO_ENDINGS[0]}"


def audio_below(folder: Path) -> Iterator[Path]:
    """Every recording below a folder, in order of its path; hidden files (as "._x.wav") are none."""
    for here, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if name.lower().endswith(AUDIO_ENDINGS) and not name.startswith("."):
                yield Path(here, name)


def read_text(path: Path) -> str:
    """A text file as UTF-8, else as Windows-1252, which some corpora have."""
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def read_csv(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Rows of a table with commas and a head line; ValueError where a column is absent."""
    reader = csv.DictReader(read_text(path).splitlines(keepends=True))
    _check(path, list(reader.fieldnames or []), columns)
    yield from reader


def read_tsv(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    r"""Rows of a table with tabs and a head line, no quotes, `\` before a tab that is none; as `read_csv`."""
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE, escapechar="\\")
        _check(path, list(reader.fieldnames or []), columns)
        yield from reader


def _check(path: Path, found: list[str], columns: tuple[str, ...]) -> None:
    absent = [name for name in columns if name not in found]
    if absent:
        raise ValueError(
            f"{path} has no column {absent[0]!r} but {', '.join(found) or 'none'}: take the corpus's own file"
        )


def read_json(path: Path) -> Any:
    """The content of a JSON file; ValueError that names it where it is none."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} line {error.lineno}: not JSON ({error.msg}): download it again") from None


def read_transcripts(path: Path) -> dict[str, str]:
    """A file of lines `ID TEXT`: id -> text; a line without text has the text ""."""
    pairs = (line.split(maxsplit=1) for line in read_text(path).split("\n") if line.strip())
    return {pair[0]: pair[1].strip() if len(pair) > 1 else "" for pair in pairs}

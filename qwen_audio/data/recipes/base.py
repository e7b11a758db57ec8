"""Parts common to all recipes: the description of a corpus, the check and writing of rows, the record of left-out rows.

A recipe finds the splits in a folder; each split is a function that gives rows of the manifest (format/example.py).
The handling common to every corpus is here: audio that is absent, unreadable or longer than the model's input, rows
that cannot be written in the form of their task, and the manifest itself. Nothing is left out silently.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import soundfile

from qwen_audio.data.checks import check_annotation, check_times
from qwen_audio.data.manifest import write_manifest
from qwen_audio.format import tasks
from qwen_audio.format.example import AudioRef, Example

SHOWN = 3  # names of a kind listed in a message
HEARD = 30.0  # seconds, the model's longest input; the published code cuts longer clips to their first 30 s
_HEADER_TELLS = (".wav", ".flac", ".ogg")  # formats with the length in the header, which is quick to read

Row = dict[str, Any]
Rows = Callable[["Notes"], Iterable[Row]]


@dataclass
class Notes:
    """Rows of a split that were left out or changed: their names by reason."""

    left_out: dict[str, list[str]] = field(default_factory=dict)
    changed: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, reason: str, name: str) -> None:
        """Count a row that is not in the manifest."""
        self.left_out.setdefault(reason, []).append(name)

    def change(self, what: str, name: str) -> None:
        """Count a row that is in the manifest in a changed form."""
        self.changed.setdefault(what, []).append(name)

    def lines(self) -> list[str]:
        """One sentence for each reason."""
        return [
            f"{len(names)} {word}: {reason}: {', '.join(names[:SHOWN])}{' ...' if len(names) > SHOWN else ''}"
            for word, kind in (("left out", self.left_out), ("changed", self.changed))
            for reason, names in kind.items()
        ]


@dataclass(frozen=True)
class Recipe:
    """Description of a corpus, and the function that gives its rows from its folder.

    home: where the corpus lives, by name; licence, licence_class: of its data; layout: what the folder must hold;
    splits: (folder, folder of alignments or None) -> name of each split that is there, and its rows; ValueError
    where the folder holds none of them. timed: whether it makes word times from alignments.
    """

    name: str
    title: str
    home: str
    licence: str
    licence_class: str
    layout: str
    splits: Callable[[Path, Path | None], Mapping[str, Rows]]
    timed: bool = False


@dataclass(frozen=True)
class Prepared:
    """Result for a split: the manifest (None: no row was left to write), its rows by source, task and split, and
    the rows left out or changed."""

    name: str
    path: Path | None
    counts: dict[tuple[str, str, str | None], int]
    notes: Notes


def prepare(
    recipe: Recipe,
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    splits: Iterable[str] | None = None,
    alignments: str | os.PathLike[str] | None = None,
) -> list[Prepared]:
    """Write `OUTPUT/NAME-SPLIT.jsonl` for the splits of a corpus; audio is not copied.

    Args:
        folder: where the corpus was unpacked, see `Recipe.layout`.
        output: made where it is not there.
        splits: names of splits, or their endings ("test" for "en-de-test"); None is all that are there.
        alignments: folder of word alignments, where they are not beside the audio.

    Raises:
        ValueError: the folder is not that of the corpus, a split is not in it, or no row is left of a split that was
            named, or of all of them.
    """
    folder = Path(folder).expanduser().absolute()
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: give the one that {recipe.title} was unpacked in")
    if alignments is not None and not recipe.timed:
        raise ValueError(f"{recipe.name} has no word times: leave out the folder of alignments")
    if alignments is not None and not Path(alignments).is_dir():
        raise ValueError(f"{alignments} is no folder: give the one that holds the alignments")
    there = recipe.splits(folder, None if alignments is None else Path(alignments).expanduser().absolute())
    if not there:
        raise ValueError(f"{folder} is not {recipe.title}: looked for {recipe.layout}")
    chosen = _chosen(recipe, list(there), splits)
    target = Path(output)
    target.mkdir(parents=True, exist_ok=True)
    made = [_write(recipe, split, there[split], target) for split in chosen]
    empty = [one for one in made if one.path is None]
    if empty and (splits is not None or len(empty) == len(made)):
        reasons = "; ".join(empty[0].notes.lines()) or "nothing of it is there"
        raise ValueError(f"{recipe.title}: no row is left for {empty[0].name} ({reasons})")
    return made


def _chosen(recipe: Recipe, there: list[str], wanted: Iterable[str] | None) -> list[str]:
    if wanted is None:
        return there
    chosen: dict[str, None] = {}
    for name in wanted:
        found = [split for split in there if split == name] or [s for s in there if s.endswith(f"-{name}")]
        if not found:
            raise ValueError(
                f"{recipe.name} has no split {name!r} in this folder: use one of {', '.join(there)}"
            )
        chosen.update(dict.fromkeys(found))
    return list(chosen)


def _write(recipe: Recipe, split: str, rows: Rows, target: Path) -> Prepared:
    notes = Notes()
    examples = list(_examples(recipe, rows(notes), notes))
    name = f"{recipe.name}-{split}"
    path = target / f"{name}.jsonl"
    if not examples:
        return Prepared(name, None, {}, notes)
    write_manifest(path, examples)
    return Prepared(name, path, dict(Counter((e.source or "", e.task, e.split) for e in examples)), notes)


def _examples(recipe: Recipe, rows: Iterable[Row], notes: Notes) -> Iterator[Example]:
    for row in rows:
        name, path = row["id"], row["path"]
        try:
            audio = _audio(path, notes, name)
        except ValueError as error:
            notes.leave_out(str(error), os.fspath(path))
            continue
        facts = {"source": recipe.name, "license": recipe.licence, "license_class": recipe.licence_class}
        fields = {key: value for key, value in row.items() if key != "path"}
        try:
            example = Example.model_validate({**facts, **fields, "audio": [audio]})
            tasks.render(example)
            check_annotation(example)
            check_times(example)
        except ValueError as error:  # pydantic's errors are ValueErrors too; the reason is in their last line
            notes.leave_out(f"not usable ({_reason(error)})", name)
            continue
        yield example


def _reason(error: ValueError) -> str:
    """The kind of fault, without the names and numbers that differ from row to row."""
    text = str(error)
    for sign, reason in (
        ("outside 0.00 to", "a word ends after the 30 s that time tags reach"),
        ("correct the times", "a word ends after the audio"),
        ("make them the same", "the aligned words are not the transcript"),
        ("spells the tag", "the text spells a tag"),
        (" has no ", "the text is empty"),
    ):
        if sign in text:
            return reason
    return " ".join(text.split())


def _audio(path: str | os.PathLike[str], notes: Notes, name: str) -> AudioRef:
    """Reference to the file, cut to the model's longest input; ValueError for one that is absent or unreadable."""
    if not os.path.isfile(path):
        raise ValueError("the audio file is not there")
    seconds = seconds_of(path)
    if seconds is not None and seconds > HEARD:
        notes.change("longer than 30 s, and only the first 30 s are heard", name)
        return AudioRef(path=os.fspath(path), duration=HEARD)
    known = os.fspath(path).lower().endswith(_HEADER_TELLS)
    return AudioRef(path=os.fspath(path), duration=round(seconds, 3) if known and seconds else None)


def seconds_of(path: str | os.PathLike[str]) -> float | None:
    """Length of a recording in seconds by its header; None where the header has none; ValueError for no audio."""
    if os.fspath(path).lower().endswith(_HEADER_TELLS):
        try:
            info = soundfile.info(path)
        except soundfile.LibsndfileError:
            raise ValueError("the audio file cannot be read") from None
        if not info.frames:
            raise ValueError("the audio file holds no samples")
        return info.frames / info.samplerate
    try:
        with av.open(os.fspath(path)) as container:
            if not container.streams.audio:
                raise ValueError("the file has no sound")
            stream = container.streams.audio[0]
            if stream.duration is not None and stream.time_base is not None:
                return float(stream.duration * stream.time_base)
            return None if container.duration is None else container.duration / av.time_base
    except av.FFmpegError:
        raise ValueError("the audio file cannot be read") from None

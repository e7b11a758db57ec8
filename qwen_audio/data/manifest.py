"""JSONL manifest files of annotated examples (format/example.py), checked when they are read.

A manifest has one JSON object per line; one object is one example of one task.  Audio is referred to by
path (relative to the manifest's folder, or absolute) with optional offsets::

    {"id": "a1", "task": "asr", "language": "en", "text": "hello", "path": "a1.flac", "duration_s": 1.2}
    {"id": "a2", "task": "audio_caption", "text": "A dog barks.", "audio": [{"path": "x.wav", "start": 3.0}]}

The short form (`path`, `path2`, `duration_s`) and the long form (`audio`) are equivalent.  Every fault of a
manifest is reported as one sentence naming file and line, before any training starts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qwen_audio.data.checks import check_annotation, check_times
from qwen_audio.files import write_whole
from qwen_audio.format.example import SHORT_FORM, AudioRef, Example, Sample, close_names
from qwen_audio.format.tasks import render

__all__ = ["AudioRef", "Example", "ManifestError", "Sample", "parse_row", "read_manifest", "write_manifest"]


class ManifestError(ValueError):
    """A manifest, or one row of it, is not usable; the message names file, line, reason and remedy."""


def _sentence(error: ValidationError) -> str:
    """The first fault of a row as one sentence with the remedy."""
    fault = error.errors(include_url=False)[0]
    loc = fault["loc"]
    where = ".".join(str(part) for part in loc)
    match fault["type"]:
        case "missing" if where == "audio":
            return "the row has no audio: add `path` (or `audio`, a list of {path, start, duration})"
        case "missing":
            return f"the field `{where}` is missing: add it"
        case "extra_forbidden":
            known = AudioRef.model_fields if loc[0] == "audio" else [*Example.model_fields, *SHORT_FORM]
            return f"unknown field `{where}`{close_names(str(loc[-1]), known)} (free data belongs in `meta`)"
        case "value_error":
            return str(fault["ctx"]["error"])
    if loc and loc[0] == "audio" and loc[-1] in ("start", "duration"):
        rule = "zero or more" if loc[-1] == "start" else "more than zero (or leave it out)"
        return f"bad offset `{where}` = {fault['input']!r}: give seconds as a number, {rule}"
    return f"the field `{where}` = {fault['input']!r} is wrong: {fault['msg'][:1].lower() + fault['msg'][1:]}"


def json_object(line: str | bytes) -> dict[str, Any]:
    """One line of a JSONL file as an object; ManifestError (without file and line) if it is none."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ManifestError(
            f"not JSON ({error.msg} at column {error.colno}): write one object per line"
        ) from None
    except UnicodeDecodeError as error:
        raise ManifestError(f"not UTF-8 at byte {error.start}: save the file as UTF-8") from None
    if not isinstance(row, dict):
        raise ManifestError(
            f"not a JSON object but a {type(row).__name__}: write one object {{...}} per line"
        )
    return row


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbers, from 1, and bytes of the lines that are not blank; ManifestError for a file that cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ManifestError(
            f"{path}: cannot be read ({error.strerror}): give the path of a JSONL manifest"
        ) from None
    # Split at \n only: JSON strings may hold other line separators such as U+2028.
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            yield number, line


def parse_row(line: str | bytes) -> Example:
    """One line of a manifest as an Example; audio paths are left as they are written.

    Raises ManifestError (without file and line) when the line is not JSON or not a valid example.
    """
    try:
        example = Example.model_validate(json_object(line))
    except ValidationError as error:
        raise ManifestError(_sentence(error)) from None
    if not example.audio:
        raise ManifestError("the row has no audio: give at least one entry in `audio`")
    return example


def read_manifest(path: str | os.PathLike[str], *, check_files: bool = True) -> list[Example]:
    """Read and check a JSONL manifest.

    Args:
        path: the manifest; blank lines are allowed.
        check_files: also check that every audio file exists.

    Returns:
        The examples in order, with audio paths made absolute relative to the manifest's folder.

    Raises:
        ManifestError: `FILE line N: reason and remedy`, at the first fault, for a manifest that is absent or
            empty, and for any fault in a row (see the module's description).
    """
    path = Path(path)
    folder = os.path.abspath(path.parent)
    examples: list[Example] = []
    line_of: dict[str, int] = {}
    exists: dict[str, bool] = {}
    for number, line in lines_of(path):
        try:
            example = parse_row(line)
            _check_renders(example)
        except ManifestError as error:
            raise ManifestError(f"{path} line {number}: {error}") from None
        if example.id in line_of:
            raise ManifestError(
                f"{path} line {number}: the id {example.id!r} is already on line {line_of[example.id]}: "
                "give every example its own id"
            )
        line_of[example.id] = number
        for ref in example.audio:
            ref.path = os.path.normpath(os.path.join(folder, ref.path))
            if check_files and not exists.setdefault(ref.path, os.path.isfile(ref.path)):
                raise ManifestError(
                    f"{path} line {number}: the audio file {ref.path} does not exist: correct the path, "
                    "which is relative to the manifest's folder"
                )
        try:
            check_times(example)
        except ValueError as error:
            raise ManifestError(f"{path} line {number}: {error}") from None
        examples.append(example)
    if not examples:
        raise ManifestError(f"{path}: the manifest is empty: put one JSON object on each line")
    return examples


def _check_renders(example: Example) -> None:
    """Refuse an example that cannot be written as a training sequence, such as a pitch that is no number."""
    try:
        render(example)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ManifestError(
            f"the example {example.id!r} cannot be written in the form of its task {example.task}: {error}"
        ) from None
    try:
        check_annotation(example)
    except ValueError as error:
        raise ManifestError(f"the example {example.id!r}: {error}") from None


def write_manifest(path: str | os.PathLike[str], examples: Iterable[Example]) -> None:
    """Write examples as a JSONL manifest that `read_manifest` gives back equal.

    Audio paths inside the manifest's folder are written relative to it, so that the folder can be moved.
    The file appears whole or not at all.  Raises ManifestError for no examples, an id that occurs twice or
    an example without audio files (save a synthetic sample's waves first, and set `audio`).
    """
    path = Path(path)
    folder = os.path.abspath(path.parent)
    lines: list[str] = []
    seen: set[str] = set()
    for example in examples:
        if example.id in seen:
            raise ManifestError(f"{path}: the id {example.id!r} occurs twice: give every example its own id")
        if not example.audio:
            raise ManifestError(
                f"{path}: the example {example.id!r} has no audio: save it and set `audio` first"
            )
        seen.add(example.id)
        row = example.model_dump(mode="json", exclude_none=True, exclude={"words", "spans", "meta"})
        for ref in row["audio"]:
            ref["path"] = relative_path(ref["path"], folder)
        if example.words is not None:
            row["words"] = [[w.word, w.start, w.end] for w in example.words]
        if example.spans is not None:
            row["spans"] = [
                [s.label, s.start, s.end] + ([] if s.text is None else [s.text]) for s in example.spans
            ]
        if example.meta:
            row["meta"] = example.meta
        lines.append(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
    if not lines:
        raise ManifestError(f"{path}: there are no examples to write")
    write_whole(path, "".join(lines))


def relative_path(path: str, folder: str) -> str:
    """`path` relative to `folder` when it lies inside it, else absolute."""
    full = os.path.abspath(path)
    return os.path.relpath(full, folder) if Path(full).is_relative_to(folder) else full

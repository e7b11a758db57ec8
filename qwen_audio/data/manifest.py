"""The one schema of an annotated example, and the JSONL manifest files that hold them.

A manifest has one JSON object per line; one object is one example of one task.  Audio is referred to by
path (relative to the manifest's folder, or absolute) with optional offsets::

    {"id": "a1", "task": "asr", "language": "en", "text": "hello", "path": "a1.flac", "duration_s": 1.2}
    {"id": "a2", "task": "audio_caption", "text": "A dog barks.", "audio": [{"path": "x.wav", "start": 3.0}]}

The short form (`path`, `path2`, `duration_s`) and the long form (`audio`) say the same thing.  Whatever is
wrong with a manifest is reported as one sentence naming file and line, before any training starts.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from qwen_audio import tags
from qwen_audio.data.timed import as_span, as_word
from qwen_audio.timestamps import Span, Word, parse_words

# The short form's keys, beside the fields of Example themselves.
_SHORT_FORM = ("path", "path2", "duration_s")


class ManifestError(ValueError):
    """A manifest, or one row of it, is not usable; the message names file, line, reason and remedy."""


class AudioRef(BaseModel):
    """A piece of an audio file: from `start`, `duration` long (None: to the end of the file), in seconds."""

    model_config = ConfigDict(extra="forbid")

    path: Annotated[str, Field(min_length=1)]
    start: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    duration: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class Example(BaseModel):
    """One annotated example: audio reference(s), a task, and the wanted answer.

    `task` is a slug of `qwen_audio.tasks.TASKS`; `text` is the wanted answer; `label` is its class name where
    the task is a classification and `choices` are the classes; `question` is an English question that `text`
    answers; `spans` are events, turns of speakers or overlapping utterances, in order of start.  `meta` holds
    what only one task or source has (slots, entities, dialect, notes, ...).
    """

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, Field(min_length=1)]
    task: str
    audio: list[AudioRef]
    text: str
    language: str | None = None
    target_language: str | None = None
    words: list[Annotated[Word, BeforeValidator(as_word)]] | None = None
    spans: list[Annotated[Span, BeforeValidator(as_span)]] | None = None
    label: str | None = None
    choices: list[str] | None = None
    question: str | None = None
    speaker: str | None = None
    speaker2: str | None = None
    source: str | None = None
    license: str | None = None
    license_class: str | None = None
    split: str | None = None
    sampling_rate: Annotated[int, Field(gt=0)] | None = None
    meta: dict[str, Any] = Field(default_factory=dict)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _expand(cls, row: Any) -> Any:
        """Turn the short form into the long form, and lift words and target language out of the row."""
        if not isinstance(row, Mapping):
            return row
        row = dict(row)
        if any(key in row for key in _SHORT_FORM):
            _expand_audio(row)
        meta = row.get("meta")
        meta = meta if isinstance(meta, Mapping) else {}
        if row.get("task") == "word_timestamps" and row.get("words") is None:
            if meta.get("words") is not None:
                row["words"] = meta["words"]
            elif isinstance(row.get("text"), str):
                parsed = parse_words(row["text"])
                if parsed.repairs:
                    raise ValueError(
                        f"the word times in `text` are not usable: {parsed.repairs[0]}; correct them"
                    )
                row["words"] = parsed.words
        if row.get("task") == "speech_translation" and row.get("target_language") is None:
            if meta.get("target_language") is None:
                raise ValueError('a speech_translation example needs the field `target_language`, e.g. "en"')
            row["target_language"] = meta["target_language"]
        return row

    @pydantic.field_validator("language", "target_language")
    @classmethod
    def _language_code(cls, code: str | None) -> str | None:
        return None if code is None else tags.check_language(code)

    @pydantic.field_validator("task")
    @classmethod
    def _known_task(cls, task: str) -> str:
        # Imported here: tasks.py renders examples and so may import this module.
        from qwen_audio.tasks import TASKS

        if task not in TASKS:
            raise ValueError(f"unknown task {task!r}{_close(task, TASKS)}")
        return task

    @pydantic.model_validator(mode="after")
    def _known_labels(self) -> Example:
        """Where the choices are given, the wanted label is one of them; so is the label of every span."""
        if self.choices is not None:
            for label in self._labels():
                if label not in self.choices:
                    raise ValueError(
                        f"the label {label!r} is not one of the choices {', '.join(self.choices)}: correct either"
                    )
        return self

    def _labels(self) -> list[str]:
        from qwen_audio.tasks import TASKS

        body = TASKS[self.task].body
        if body == "events":
            return [span.label for span in self.spans or []]
        text = [self.text] if body in ("label", "answer") else []
        return [self.label] if self.label is not None else text


@dataclass
class Sample:
    """An example with its audio in memory: `waves` are (n,) float32, 16 kHz mono, one per audio span.

    A synthetic sample's example has no audio references; its waves are the audio.
    """

    example: Example
    waves: list[np.ndarray]


def _expand_audio(row: dict[str, Any]) -> None:
    """Replace `path`, `path2`, `duration_s` of `row` by `audio`; `duration_s` is the first clip's length."""
    if "audio" in row:
        raise ValueError(
            "the row has both `audio` and `path`/`path2`/`duration_s`: keep one of the two forms"
        )
    if "path" not in row:
        raise ValueError("the row has `path2` or `duration_s` but no `path`: add it, or use `audio`")
    first = {"path": row.pop("path"), "duration": row.pop("duration_s", None)}
    second = row.pop("path2", None)
    row["audio"] = [first] if second is None else [first, {"path": second}]


def _close(name: str, known: Iterable[str]) -> str:
    """The words "; did you mean ...?" or the whole list, for an unknown name."""
    known = list(known)
    near = difflib.get_close_matches(
        name.lower().replace("-", "_").replace(" ", "_"), known, n=3, cutoff=0.55
    )
    return f"; did you mean {' or '.join(near)}?" if near else f"; use one of {', '.join(known)}"


def _sentence(error: ValidationError) -> str:
    """The first fault of a row as one sentence saying what to do."""
    fault = error.errors(include_url=False)[0]
    loc = fault["loc"]
    where = ".".join(str(part) for part in loc)
    match fault["type"]:
        case "missing" if where == "audio":
            return "the row has no audio: add `path` (or `audio`, a list of {path, start, duration})"
        case "missing":
            return f"the field `{where}` is missing: add it"
        case "extra_forbidden":
            known = AudioRef.model_fields if loc[0] == "audio" else [*Example.model_fields, *_SHORT_FORM]
            return f"unknown field `{where}`{_close(str(loc[-1]), known)} (free data belongs in `meta`)"
        case "value_error":
            return str(fault["ctx"]["error"])
    if loc and loc[0] == "audio" and loc[-1] in ("start", "duration"):
        rule = "zero or more" if loc[-1] == "start" else "more than zero (or leave it out)"
        return f"bad offset `{where}` = {fault['input']!r}: give seconds as a number, {rule}"
    return f"the field `{where}` = {fault['input']!r} is wrong: {fault['msg'][:1].lower() + fault['msg'][1:]}"


def parse_row(line: str | bytes) -> Example:
    """One line of a manifest as an Example; audio paths are left as they are written.

    Raises ManifestError (without file and line) when the line is not JSON or not a valid example.
    """
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
    try:
        example = Example.model_validate(row)
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
            empty, and for anything wrong in a row (see the module's description).
    """
    path = Path(path)
    folder = os.path.abspath(path.parent)
    examples: list[Example] = []
    line_of: dict[str, int] = {}
    exists: dict[str, bool] = {}
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ManifestError(
            f"{path}: cannot be read ({error.strerror}): give the path of a JSONL manifest"
        ) from None
    # Split at \n only: JSON strings may hold other line separators such as U+2028.
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
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
        examples.append(example)
    if not examples:
        raise ManifestError(f"{path}: the manifest is empty: put one JSON object on each line")
    return examples


def _check_renders(example: Example) -> None:
    """Refuse an example that cannot be written as a training sequence, such as a pitch that is no number."""
    # Imported here: tasks.py renders examples and so may import this module.
    from qwen_audio.tasks import render

    try:
        render(example)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ManifestError(
            f"the example {example.id!r} cannot be written in the form of its task {example.task}: {error}"
        ) from None
    known = example.audio[0].duration if example.audio else None
    for kind, ends in (
        ("word", [word.end for word in example.words or []]),
        ("span", [span.end for span in example.spans or []]),
    ):
        # Durations are rounded and words may end in the last frame: a tenth of a second is forgiven.
        if known and ends and max(ends) > known + 0.1:
            raise ManifestError(
                f"the last {kind} ends at {max(ends)} s but the clip is {known} s long: correct the times"
            )


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
            ref["path"] = _relative(ref["path"], folder)
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
    partial = path.with_name(path.name + ".part")
    partial.write_text("".join(lines), encoding="utf-8")
    os.replace(partial, path)


def _relative(path: str, folder: str) -> str:
    """`path` relative to `folder` when it lies inside it, else absolute."""
    full = os.path.abspath(path)
    return os.path.relpath(full, folder) if Path(full).is_relative_to(folder) else full

"""Outputs of any other system in a file, to be scored as if they had been made here.

JSONL, an object a line: {"id": "a1", "hypothesis": "go up"}, or "raw" (the answer in the tags of its task) or "words"
([[word, start, end], ...] in seconds) in its place; "error" for an output that failed; "scores" ({answer: belief}, for
speaker verification); "benchmark" where an id occurs in several. Lines of our own predictions.jsonl are such lines.
CSV or TSV, with a head: id and text, or any of the names above but "words" and "scores".
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_audio.data.manifest import Example, ManifestError, json_object, lines_of
from qwen_audio.eval.answering import fill
from qwen_audio.eval.choose import Chosen
from qwen_audio.eval.predictions import Prediction
from qwen_audio.eval.systems.base import Reply
from qwen_audio.format import tags, tasks
from qwen_audio.format.timestamps import Word

_TABLES = {".csv": ",", ".tsv": "\t"}
# Bodies whose answers are records: plain text cannot say them.
_RECORDS = ("events", "turns", "entities", "intent", "note", "overlap", "dialect")


@dataclass(frozen=True)
class Outputs:
    """A system that has answered already: its name, facts, and its reply to (benchmark's name, id)."""

    name: str
    replies: dict[tuple[str, str], Reply]
    digest: str
    file: Path

    def facts(self) -> dict[str, Any]:
        """The file, by its content."""
        return {"kind": "predictions", "sha256": self.digest}

    def predict(self, benchmark: str, example: Example) -> Prediction:
        """The prediction for an example; a failed one where the file has none."""
        prediction = Prediction(example, seconds=sum(ref.duration or 0.0 for ref in example.audio))
        missing = Reply(error=f"no output in {self.file.name}")
        fill(prediction, self.replies.get((benchmark, example.id), missing))
        return prediction


def read_outputs(
    path: str | os.PathLike[str],
    chosen: Sequence[Chosen],
    *,
    name: str | None = None,
    others: Sequence[Chosen] = (),
) -> Outputs:
    """Read a file of outputs for the chosen benchmarks.

    name: of the system; the file's without its ending if None. others: examples that the file may have outputs for
    though they are not chosen. Raises ValueError that names file and line for a line that is none, an id that is of no
    example, of several benchmarks, or there twice, and for words or plain text where the task's answer is neither.
    """
    path = Path(path)
    owners: dict[str, dict[str, Example]] = {}
    for one in chosen:
        for example in one.examples:
            owners.setdefault(example.id, {})[one.benchmark.name] = example
    known = {example.id for one in others for example in one.examples}
    replies: dict[tuple[str, str], Reply] = {}
    line_of: dict[tuple[str, str], int] = {}
    for number, row in _rows(path):
        try:
            key, wanted = _owner(row, owners, known)
            if wanted is None:
                continue
            if key in line_of:
                raise ValueError(f"the id {key[1]!r} is already on line {line_of[key]}: keep one of them")
            line_of[key] = number
            replies[key] = _reply(row, wanted)
        except ValueError as error:
            raise ValueError(f"{path} line {number}: {error}") from None
    if not replies:
        raise ValueError(
            f"{path}: no output for any of the chosen examples: check the ids, --tasks and --limit"
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return Outputs(name or path.stem, replies, digest, path)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Numbers and contents of the lines."""
    if path.suffix.lower() not in _TABLES:
        for number, line in lines_of(path):
            try:
                yield number, json_object(line)
            except ManifestError as error:
                raise ValueError(f"{path} line {number}: {error}") from None
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            table = csv.DictReader(stream, delimiter=_TABLES[path.suffix.lower()])
            names = table.fieldnames or []
            if "id" not in names or not {"text", "hypothesis", "raw"} & set(names):
                raise ValueError(
                    f"{path} line 1: the head is {', '.join(names) or 'empty'}: name id and text"
                )
            for row in table:
                yield table.line_num, {k: v for k, v in row.items() if k != "error" or v}
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}): give a file of outputs") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: no table in UTF-8 ({error}): save it again") from None


def _owner(
    row: Mapping[str, Any], owners: Mapping[str, Mapping[str, Example]], known: set[str]
) -> tuple[tuple[str, str], Example | None]:
    """Benchmark and id of a line, and its example; no example if it is of one that is not chosen."""
    identity = row.get("id")
    if not isinstance(identity, str) or not identity:
        raise ValueError('there is no "id": give every output the id of its example')
    there = owners.get(identity, {})
    named = row.get("benchmark")
    if named is None and len(there) > 1:
        raise ValueError(f'the id {identity!r} is in {" and ".join(there)}: add "benchmark" to the line')
    if not there and identity not in known:
        raise ValueError(
            f"the id {identity!r} is of no example: correct it, or give the manifest that has it"
        )
    name = named if named is not None else next(iter(there), "")
    return (name, identity), there.get(name)


def _reply(row: Mapping[str, Any], example: Example) -> Reply:
    scores = row.get("scores")
    if scores is not None and not (
        isinstance(scores, dict) and all(isinstance(value, int | float) for value in scores.values())
    ):
        raise ValueError(f'"scores" is {scores!r}: give an object of answers and numbers')
    if row.get("error") is not None:
        return Reply(error=str(row["error"]) or "failed")
    for key in ("raw", "words", "hypothesis", "text"):
        if row.get(key) is not None:
            return Reply(_raw(key, row[key], example), scores=scores)
    raise ValueError('there is no output: give one of "raw", "hypothesis" and "words", or an "error"')


def _raw(key: str, value: Any, example: Example) -> str:
    """An output in the form of its task."""
    if key == "words":
        return _tagged_words(value, example)
    if not isinstance(value, str):
        raise ValueError(f"{key!r} is {value!r}: give text")
    if key == "raw":
        return value
    body = tasks.task_of(example.task).body
    if body == "words":
        raise ValueError(
            f'plain text has no word times, which {example.task} is about: give "words" or "raw"'
        )
    if body in _RECORDS:
        raise ValueError(
            f'plain text does not say all of an answer to {example.task}: give "raw", in its tags'
        )
    if body in ("transcript", "text", "answer", "label"):
        return value
    try:  # what is written with tags, such as a pitch
        update = {"text": value, "label": value, "choices": None, "words": None}
        segments = tasks.answer(example.model_copy(update=update))
    except ValueError:
        return value  # no such answer exists: the parser says so
    return "".join(segment.text for segment in segments).removesuffix(tags.END_OF_TEXT)


def _tagged_words(value: Any, example: Example) -> str:
    """Words with times in the tags of SRWT."""
    if tasks.task_of(example.task).body != "words":
        raise ValueError(f'"words" are answers to word_timestamps, not to {example.task}: give "hypothesis"')
    try:
        words = [Word(str(word), float(start), float(end)) for word, start, end in value]
        segments = tasks.answer(example.model_copy(update={"words": words}))
    except (TypeError, ValueError) as error:
        raise ValueError(f'"words" cannot be read ({error}): give [[word, start, end], ...]') from None
    return "".join(segment.text for segment in segments).removesuffix(tags.END_OF_TEXT)

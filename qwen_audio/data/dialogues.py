"""Dialogues with recordings as JSONL manifests, checked when they are read.

    {"id": "d1", "turns": [{"user": [{"audio": {"path": "dog.wav"}}, {"text": "What is that?"}],
                            "assistant": "A dog that barks from <|0.20|> to <|0.90|>."}]}

One JSON object a line is one dialogue: perhaps a system message, then turns. A user says texts and recordings in
order; an answer is text, in which the tags that an answer may hold are tokens (times above all). A dialogue
without any recording is an instruction of text alone. Paths are relative to the manifest's folder, or absolute.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from qwen_audio.data.manifest import ManifestError, json_object, lines_of, relative_path
from qwen_audio.files import whole_file
from qwen_audio.format import tags
from qwen_audio.format.answer_tags import IN_ANY_TASK
from qwen_audio.format.example import AudioRef, close_names

__all__ = ["AudioRef", "Dialogue", "DialogueSample", "Part", "Turn", "read_dialogues", "write_dialogues"]

UNSET = "unset"  # the path of a recording that is only in memory
_LIKE_A_TAG = re.compile(r"<\|[^<>|\s]*\|>|</?audio>|" + re.escape(tags.AUDIO_PAD))
_SURROGATE = re.compile("[\ud800-\udfff]")


def _usable(text: str, what: str) -> str:
    if not text.strip():
        raise ValueError(f"{what} is empty: write it, or leave it out")
    if _SURROGATE.search(text):
        raise ValueError(f"{what} holds half of a surrogate pair: correct its encoding")
    return text


class Part(BaseModel):
    """A part of a user's message: a recording, or a text."""

    model_config = ConfigDict(extra="forbid")

    audio: AudioRef | None = None
    text: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, part: Any) -> Any:
        """`{"audio": "x.wav"}` says `{"audio": {"path": "x.wav"}}`."""
        if isinstance(part, dict) and isinstance(part.get("audio"), str):
            return {**part, "audio": {"path": part["audio"]}}
        return part

    @model_validator(mode="after")
    def _one(self) -> Part:
        if (self.audio is None) == (self.text is None):
            raise ValueError("a part of `user` has either `audio` or `text`: give one of them")
        if self.text is not None:
            _usable(self.text, "a text of `user`")
        return self


class Turn(BaseModel):
    """A user's message, and the wanted answer."""

    model_config = ConfigDict(extra="forbid")

    user: Annotated[list[Part], Field(min_length=1)]
    assistant: str

    @field_validator("user", mode="before")
    @classmethod
    def _plain(cls, user: Any) -> Any:
        return [{"text": user}] if isinstance(user, str) else user

    @field_validator("assistant")
    @classmethod
    def _answer(cls, answer: str) -> str:
        _usable(answer, "an answer")
        for match in _LIKE_A_TAG.finditer(answer):
            if match.group() not in IN_ANY_TASK:
                raise ValueError(
                    f"the answer spells the tag {match.group()}, which no answer may hold: remove it "
                    "(times run from <|0.00|> to <|30.00|>)"
                )
        return answer

    @property
    def audio(self) -> list[AudioRef]:
        """The recordings of the turn in order."""
        return [part.audio for part in self.user if part.audio is not None]

    @property
    def request(self) -> str:
        """The texts of the user, joined."""
        return " ".join(part.text for part in self.user if part.text is not None)


class Dialogue(BaseModel):
    """One dialogue. `system`: None is the default message. `meta` is free; `meta["kind"]` names the skill trained."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, Field(min_length=1)]
    system: str | None = None
    turns: Annotated[list[Turn], Field(min_length=1)]
    source: str | None = None
    license: str | None = None
    split: str | None = None
    meta: dict[str, Any] = Field(default_factory=dict)

    @field_validator("system")
    @classmethod
    def _system(cls, system: str | None) -> str | None:
        return None if system is None else _usable(system, "`system`")

    @property
    def audio(self) -> list[AudioRef]:
        """All recordings in order."""
        return [ref for turn in self.turns for ref in turn.audio]


@dataclass
class DialogueSample:
    """A dialogue with its audio in memory: `waves` are (n,) float32, 16 kHz mono, one for each recording in order.

    The references of a dialogue that was just made have the path "unset".
    """

    dialogue: Dialogue
    waves: list[np.ndarray]


def parse_dialogue(line: str | bytes) -> Dialogue:
    """One line of a manifest; audio paths are left as they are. ManifestError, without file and line, for a fault."""
    try:
        return Dialogue.model_validate(json_object(line))
    except ValidationError as error:
        raise ManifestError(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    """The first fault of a dialogue as one sentence with its place and the remedy."""
    fault = error.errors(include_url=False)[0]
    where = ""
    for step in fault["loc"]:
        where += f"[{step}]" if isinstance(step, int) else f".{step}"
    where = where.lstrip(".")
    match fault["type"]:
        case "missing":
            return f"the field `{where}` is missing: add it"
        case "extra_forbidden":
            parents = [step for step in fault["loc"] if isinstance(step, str)]
            models: dict[str, type[BaseModel]] = {"turns": Turn, "user": Part, "audio": AudioRef}
            model = models[parents[-2]] if len(parents) > 1 else Dialogue
            near = close_names(parents[-1], model.model_fields)
            return f"unknown field `{where}`{near} (free data belongs in `meta`)"
        case "value_error":
            return f"`{where}`: {fault['ctx']['error']}"
        case "too_short":
            return f"`{where}` is empty: give at least one entry"
    return f"the field `{where}` = {fault['input']!r} is wrong: {fault['msg'][:1].lower() + fault['msg'][1:]}"


def read_dialogues(path: str | os.PathLike[str], *, check_files: bool = True) -> list[Dialogue]:
    """Read and check a JSONL manifest of dialogues; audio paths become absolute.

    Raises ManifestError, `FILE line N: reason and remedy`, at the first fault: a row that is no dialogue, an id
    that occurs twice, and with `check_files` an audio file that does not exist; and for an absent or empty file.
    """
    path = Path(path)
    folder = os.path.abspath(path.parent)
    dialogues: list[Dialogue] = []
    line_of: dict[str, int] = {}
    exists: dict[str, bool] = {}
    for number, line in lines_of(path):
        try:
            dialogue = parse_dialogue(line)
        except ManifestError as error:
            raise ManifestError(f"{path} line {number}: {error}") from None
        if dialogue.id in line_of:
            raise ManifestError(
                f"{path} line {number}: the id {dialogue.id!r} is already on line {line_of[dialogue.id]}: "
                "give every dialogue its own id"
            )
        line_of[dialogue.id] = number
        for ref in dialogue.audio:
            ref.path = os.path.normpath(os.path.join(folder, ref.path))
            if check_files and not exists.setdefault(ref.path, os.path.isfile(ref.path)):
                raise ManifestError(
                    f"{path} line {number}: the audio file {ref.path} does not exist: correct the path, "
                    "which is relative to the manifest's folder"
                )
        dialogues.append(dialogue)
    if not dialogues:
        raise ManifestError(f"{path}: there are no dialogues in it: put one JSON object on each line")
    return dialogues


def dialogue_line(dialogue: Dialogue, folder: str) -> str:
    """The line of a dialogue in a manifest in `folder` (absolute), with the break at its end."""
    row = dialogue.model_dump(mode="json", exclude_none=True, exclude={"meta"})
    for turn in row["turns"]:
        for part in turn["user"]:
            if "audio" in part:
                part["audio"]["path"] = relative_path(part["audio"]["path"], folder)
    if dialogue.meta:
        row["meta"] = dialogue.meta
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def write_dialogues(path: str | os.PathLike[str], dialogues: Iterable[Dialogue]) -> None:
    """Write a manifest that `read_dialogues` gives back equal; the file appears whole or not at all.

    Paths inside the manifest's folder are written relative to it. Raises ManifestError for no dialogues, an id that
    occurs twice, or a recording that is only in memory.
    """
    path = Path(path)
    folder = os.path.abspath(path.parent)
    seen: set[str] = set()
    with whole_file(path) as file:
        for dialogue in dialogues:
            if dialogue.id in seen:
                raise ManifestError(
                    f"{path}: the id {dialogue.id!r} occurs twice: give every dialogue its own id"
                )
            if any(ref.path == UNSET for ref in dialogue.audio):
                raise ManifestError(
                    f"{path}: a recording of {dialogue.id!r} has no file: save it and set its path first"
                )
            seen.add(dialogue.id)
            file.write(dialogue_line(dialogue, folder).encode())
        if not seen:
            raise ManifestError(f"{path}: there are no dialogues to write")

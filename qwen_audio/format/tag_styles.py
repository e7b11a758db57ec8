"""Prompt styles between the audio and the answer: the format's tags, one id for each data set, or nothing.

The format's own style is "hierarchical" (tasks.py). The other two exist to be compared with it, as the paper's
section on tags does (arXiv 2311.07919, section 3.2): with "dataset" one token says which source and task an example
is from, with "none" the model must guess from the audio what is wanted. The question of a question task stays in
every style, as plain text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from qwen_audio.format import tags, tasks
from qwen_audio.format.example import Example
from qwen_audio.format.tags import Segment
from qwen_audio.format.task_table import task_of

TAG_STYLES = ("hierarchical", "dataset", "none")
DATASETS_FILE = "datasets.json"  # in the folder of a run with style "dataset"

# Tokens of the published vocabulary that no task uses.
_IDS = tuple(name for name in tags.SPECIAL_TOKENS if name.startswith("<|extra_"))


def dataset_ids(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """An id token for each (source, task), by sorted names: {"fsdd/asr": "<|extra_0|>", ...}.

    Raises ValueError for more pairs than there are unused tokens (205).
    """
    names = sorted({dataset_name(source, task) for source, task in pairs})
    if len(names) > len(_IDS):
        raise ValueError(f"{len(names)} data sets, but {len(_IDS)} id tokens: leave sources or tasks out")
    return dict(zip(names, _IDS, strict=False))


def dataset_name(source: str | None, task: str) -> str:
    """ "source/task", by which a data set is listed."""
    return f"{source or ''}/{task}"


def read_dataset_ids(path: str | os.PathLike[str]) -> dict[str, str]:
    """The table that a run with style "dataset" wrote; ValueError names the file if it is not one."""
    try:
        table = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path}: cannot be read as a table of data sets ({error}): train with tag_style: dataset to make one"
        ) from None
    if not isinstance(table, dict) or not set(table.values()) <= set(_IDS):
        raise ValueError(
            f'{path}: not a table of data sets: it must map "source/task" to unused tokens such as {_IDS[0]}'
        )
    return table


class TagStyle:
    """Prompts and training sequences of one style.

    Args:
        name: one of TAG_STYLES.
        datasets: for "dataset", the id token of each "source/task" (`dataset_ids`).

    Raises ValueError for an unknown style, or "dataset" without a table.
    """

    def __init__(self, name: str = "hierarchical", datasets: Mapping[str, str] | None = None) -> None:
        if name not in TAG_STYLES:
            raise ValueError(f"tag style {name!r} is unknown: use one of {', '.join(TAG_STYLES)}")
        if name == "dataset" and not datasets:
            raise ValueError("tag style 'dataset' needs the table of data sets: make one with dataset_ids")
        self.name = name
        self.datasets = dict(datasets or {})

    def prompt(self, example: Example, *, as_question: bool = False) -> list[Segment]:
        """The prompt before an example's answer, none of it labelled; see `tasks.example_prompt`.

        Empty for style "none" and a task that is not put as a question. ValueError for a data set that the table
        does not have.
        """
        full = tasks.example_prompt(example, as_question=as_question)
        if self.name == "hierarchical":
            return full
        kept: list[Segment] = []
        if self.name == "dataset":
            name = dataset_name(example.source, example.task)
            if name not in self.datasets:
                raise ValueError(
                    f"the data set {name!r} has no id; known are {', '.join(self.datasets)}: train with it"
                )
            kept.append(Segment(self.datasets[name], True, False))
        if as_question or task_of(example.task).task_tag == tags.QUESTION:
            kept += [segment for segment in full if not segment.special]
        return kept

    def render(self, example: Example, *, as_question: bool = False) -> list[Segment]:
        """Whole training sequence after the audio; see `tasks.render`. Labelled: answer and `<|endoftext|>`, and in the
        hierarchical style the language tag."""
        full = tasks.render(example, as_question=as_question)
        if self.name == "hierarchical":
            return full
        return [
            *self.prompt(example, as_question=as_question),
            *tasks.answer(example, as_question=as_question),
        ]

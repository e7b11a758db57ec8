"""The benchmarks as data: which examples, asked how, decoded how, scored how."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qwen_audio import tasks
from qwen_audio.data.manifest import Example
from qwen_audio.tags import Segment, split_tags


@dataclass(frozen=True)
class Benchmark:
    """One test set.

    name: letters, digits and "-", also the name of its folder in a run; measures: names in `measures.MEASURES`, the
    main one first (empty: those of the task); source, split: rows of a manifest with these, and `task`, belong to it
    (split None: any); recipe: in `data.recipes`, makes such a manifest (None: no published set); prompt: the
    published one, with `{question}` (None: `tasks.example_prompt`); max_new_tokens: as published (None: the bound
    of `api.Request`); count: examples of the published set.
    """

    name: str
    title: str
    task: str
    measures: tuple[str, ...] = ()
    source: str = ""
    split: str | None = None
    recipe: str | None = None
    prompt: str | None = None
    max_new_tokens: int | None = None
    count: int | None = None

    def holds(self, example: Example) -> bool:
        """Whether a row of a manifest belongs to this benchmark."""
        same_split = self.split is None or example.split == self.split
        return (example.source or "", example.task) == (self.source, self.task) and same_split

    def segments(self, example: Example) -> list[Segment]:
        """The prompt of an example; the question in it is text, whatever it says."""
        if self.prompt is None:
            return tasks.example_prompt(example)
        pieces = []
        for part in re.split(r"(\{question\})", self.prompt):
            if part == "{question}":
                pieces.append(Segment(example.question or "", False, False))
            elif part:
                pieces += [Segment(text, special, False) for text, special in split_tags(part)]
        return pieces


def of_rows(source: str, task: str) -> Benchmark:
    """The benchmark of the rows of a manifest that belong to no published set."""
    name = re.sub(r"[^a-z0-9]+", "-", f"{source}-{task}".lower()).strip("-")
    return Benchmark(name, f"{source or 'rows'}: {tasks.task_of(task).title}", task, source=source)

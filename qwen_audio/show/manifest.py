"""Statistics of a manifest, as tables and a picture: `qwen-audio data stats MANIFEST`."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE, load_audio
from qwen_audio.data.manifest import AudioRef, Example, read_manifest
from qwen_audio.show.draw import save
from qwen_audio.show.glyphs import drawable

if TYPE_CHECKING:
    from rich.table import Table

NO_LANGUAGE = "none"
_SHOWN_LANGUAGES = 9
_PIPE_WIDTH = 120  # characters of a line where no terminal gives its width
_SHOWN_LABELS = 8  # of a task, in the table; the picture has twice as many


@dataclass
class TaskStats:
    """Counts of one task.

    seconds: audio of each example, all its clips together; languages: seconds by code, "none" where there is no
    speech; labels: occurrences of each class: the example's label, or the labels of its spans, or those that its task
    has instead: the dialect, the types of entities, the keywords.
    """

    seconds: list[float] = field(default_factory=list)
    languages: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    labels: Counter[str] = field(default_factory=Counter)


def count(examples: list[Example]) -> dict[str, TaskStats]:
    """Counts of every task, in order of its first example.

    Raises AudioError for a file that cannot be read; it is only opened where the row gives no duration.
    """
    tasks: dict[str, TaskStats] = defaultdict(TaskStats)
    for example in examples:
        stats = tasks[example.task]
        seconds = sum(_seconds(ref) for ref in example.audio)
        stats.seconds.append(seconds)
        stats.languages[example.language or NO_LANGUAGE] += seconds
        stats.labels.update(_labels(example))
    return dict(tasks)


def _labels(example: Example) -> list[str]:
    if example.label is not None:
        return [example.label]
    if example.spans:
        return [span.label for span in example.spans]
    if example.task == "keyword_spotting":
        return [word.word for word in example.words or []]
    if example.task == "entity_recognition":
        entities = example.meta.get("entities")
        return [str(e["type"]) for e in entities or [] if isinstance(e, dict) and "type" in e]
    dialect = example.meta.get("dialect")
    return [str(dialect)] if example.task == "dialect_asr" and dialect else []


def _seconds(ref: AudioRef) -> float:
    if ref.duration is not None:
        return ref.duration
    return len(load_audio(ref.path, start=ref.start)) / SAMPLE_RATE


def tables(tasks: dict[str, TaskStats], width: int = _PIPE_WIDTH) -> list[Table]:
    """Hours by task with durations, hours by task and language, and the commonest labels: a line for each task, of
    `width` characters."""
    from rich.table import Table

    hours = Table("task", title="hours")
    for name in ("examples", "hours", "shortest s", "median s", "longest s"):
        hours.add_column(name, justify="right")
    for task, stats in tasks.items():
        hours.add_row(task, str(len(stats.seconds)), _hours(sum(stats.seconds)), *_lengths(stats.seconds))
    total = [seconds for stats in tasks.values() for seconds in stats.seconds]
    hours.add_section()
    hours.add_row("all", str(len(total)), _hours(sum(total)), *_lengths(total))
    found = [hours, _languages(tasks)]
    if any(stats.labels for stats in tasks.values()):
        labels = Table("task", "classes", "labels (times)", title="labels")
        taken = max(map(len, tasks)) + len("classes") + 4  # the lines between columns too
        for task, stats in tasks.items():
            if stats.labels:
                labels.add_row(task, str(len(stats.labels)), _fitting(stats.labels, width - taken))
        found.append(labels)
    for table in found:
        table.padding = (0, 0)
        for column in table.columns:
            column.no_wrap = True
    return found


def _fitting(labels: Counter[str], room: int) -> str:
    """The commonest labels with their numbers, as many as a line of `room` characters holds."""
    names = [f"{name} ({n})" for name, n in labels.most_common(_SHOWN_LABELS)]
    for shown in range(len(names), 0, -1):
        line = ", ".join(names[:shown]) + (", ..." if shown < len(labels) else "")
        if len(line) <= room:
            return line
    return "..."


def _lengths(seconds: list[float]) -> list[str]:
    return [f"{f(seconds):.2f}" for f in (min, np.median, max)]


def _languages(tasks: dict[str, TaskStats]) -> Table:
    """Hours by task and language; the commonest languages have columns of their own, "none" is no speech."""
    from rich.table import Table

    hours: defaultdict[str, float] = defaultdict(float)
    for stats in tasks.values():
        for code, seconds in stats.languages.items():
            hours[code] += seconds
    codes = [code for code, _ in _descending(hours)]
    shown, rest = codes[:_SHOWN_LANGUAGES], codes[_SHOWN_LANGUAGES:]
    table = Table("task", title="hours by language")
    for name in (*shown, *(["others"] if rest else [])):
        table.add_column(name, justify="right")
    for task, stats in tasks.items():
        row = [stats.languages.get(code, 0.0) for code in shown]
        row += [sum(stats.languages.get(code, 0.0) for code in rest)] if rest else []
        table.add_row(task, *(_hours(seconds) if seconds else "" for seconds in row))
    return table


def _descending(seconds: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(seconds.items(), key=lambda pair: -pair[1])


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g}"


def draw(tasks: dict[str, TaskStats], path: str | os.PathLike[str]) -> None:
    """Write a PNG: hours by task and language, durations, and how often the labels of each task occur."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    labelled = {task: stats for task, stats in tasks.items() if stats.labels}
    bars = [min(len(stats.labels), 2 * _SHOWN_LABELS) for stats in labelled.values()]
    figure = Figure(
        figsize=(13, max(4.0, 0.3 * len(tasks) + 2.5, 0.16 * sum(bars) + 1)), dpi=90, layout="constrained"
    )
    left, right = figure.subplots(1, 2) if labelled else (figure.subplots(), None)
    names = list(tasks)
    codes = sorted({code for stats in tasks.values() for code in stats.languages})
    reach = np.zeros(len(names))
    for number, code in enumerate(codes):
        width = np.array([tasks[name].languages.get(code, 0.0) / 3600 for name in names])
        color = "#bbbbbb" if code == NO_LANGUAGE else colormaps["tab20"](number % 20)
        left.barh(names, width, left=reach, label=code, color=color)
        reach += width
    for place, stats in enumerate(tasks.values()):
        low, middle, high = np.percentile(stats.seconds, [0, 50, 100])
        left.text(reach[place], place, f" {middle:.1f} s ({low:.1f} to {high:.1f})", va="center", fontsize=7)
    left.invert_yaxis()
    left.set_xlim(0, 1.35 * reach.max())
    left.set_xlabel("hours; beside the bars the median length of an example (shortest to longest)")
    left.legend(title="language", fontsize=7, loc="lower right")
    if right is not None:
        rows = [
            (f"{task}: {label}", number)
            for task, stats in labelled.items()
            for label, number in stats.labels.most_common(2 * _SHOWN_LABELS)
        ]
        right.barh(range(len(rows)), [number for _, number in rows], color="#557799")
        right.set_yticks(range(len(rows)), [drawable(name) for name, _ in rows], fontsize=6)
        right.set_ylim(len(rows) - 0.5, -0.5)
        right.set_xlabel(f"times that a label occurs (the {2 * _SHOWN_LABELS} commonest of each task)")
    save(figure, path)


def show_stats(manifest: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> None:
    """Print the tables of a manifest and, if `output` is given, write the picture.

    Raises ManifestError for a bad manifest and ValueError for an output that is no PNG.
    """
    from rich.console import Console

    if output is not None and Path(output).suffix.lower() != ".png":
        raise ValueError(f"{output}: the picture is a PNG file: give a name that ends in .png")
    tasks = count(read_manifest(manifest))
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=_PIPE_WIDTH)
    for table in tables(tasks, console.width):
        console.print(table)
    if output is not None:
        draw(tasks, output)
        print(f"written: {output}")

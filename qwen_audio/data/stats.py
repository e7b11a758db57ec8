"""A whole manifest at a glance, as tables and a picture: `qwen-audio data stats MANIFEST`."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qwen_audio.audio import SAMPLE_RATE, load_audio
from qwen_audio.data.manifest import AudioRef, Example, read_manifest

if TYPE_CHECKING:
    from rich.table import Table

NO_LANGUAGE = "none"
_SHOWN_LABELS = 8  # of a task, in the table; the picture has twice as many


@dataclass
class TaskStats:
    """Counts of one task.

    seconds: audio of each example, all its clips together; languages: seconds by code, "none" where there is no
    speech; labels: how often each class occurs: the example's label, or the labels of its spans.
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
        if example.label is not None:
            stats.labels[example.label] += 1
        elif example.spans:
            stats.labels.update(span.label for span in example.spans)
    return dict(tasks)


def _seconds(ref: AudioRef) -> float:
    if ref.duration is not None:
        return ref.duration
    return len(load_audio(ref.path, start=ref.start)) / SAMPLE_RATE


def tables(tasks: dict[str, TaskStats]) -> list[Table]:
    """Hours by task and language with durations, and the commonest labels."""
    from rich.table import Table

    hours = Table(title="hours")
    for name in ("task", "examples", "hours", "shortest s", "median s", "longest s", "by language"):
        hours.add_column(name, justify="left" if name in ("task", "by language") else "right")
    for task, stats in tasks.items():
        shares = ", ".join(f"{code} {_hours(s)}" for code, s in _descending(stats.languages))
        lengths = [f"{f(stats.seconds):.2f}" for f in (min, np.median, max)]
        hours.add_row(task, str(len(stats.seconds)), _hours(sum(stats.seconds)), *lengths, shares)
    total = [seconds for stats in tasks.values() for seconds in stats.seconds]
    hours.add_section()
    lengths = [f"{f(total):.2f}" for f in (min, np.median, max)]
    hours.add_row("all", str(len(total)), _hours(sum(total)), *lengths, "")
    found = [hours]
    if any(stats.labels for stats in tasks.values()):
        labels = Table("task", "classes", "labels (times)", title="labels")
        for task, stats in tasks.items():
            if stats.labels:
                shown = [f"{name} ({n})" for name, n in stats.labels.most_common(_SHOWN_LABELS)]
                more = ["..."] if len(stats.labels) > _SHOWN_LABELS else []
                labels.add_row(task, str(len(stats.labels)), ", ".join(shown + more))
        found.append(labels)
    return found


def _descending(seconds: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(seconds.items(), key=lambda pair: -pair[1])


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g}"


def draw(tasks: dict[str, TaskStats], path: str | os.PathLike[str]) -> None:
    """Write a PNG: hours by task and language, durations, and how often the labels of each task occur."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    from qwen_audio.draw import plain, save

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
        right.set_yticks(range(len(rows)), [plain(name) for name, _ in rows], fontsize=6)
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
    for table in tables(tasks):
        console.print(table)
    if output is not None:
        draw(tasks, output)
        print(f"written: {output}")

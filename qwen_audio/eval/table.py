"""The scores of a run as a table for the terminal, and what else a reader of it must know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qwen_audio.eval.benchmarks import Benchmark
from qwen_audio.eval.groups import Group
from qwen_audio.eval.metrics.score import Score
from qwen_audio.eval.published import figures
from qwen_audio.eval.run_folder import Run

if TYPE_CHECKING:
    from rich.table import Table

LISTED = 10  # of a kind of remark; run.json has them all


def table_of(run: Run, groups: Sequence[Group]) -> Table:
    """A row for each score of each benchmark; the first score of a benchmark is its main one."""
    from rich.table import Table

    table = Table(
        title="audio swapped between examples: a control" if run.facts.get("swap_audio") else None,
        caption="failed: counted as wrong; brackets: 95 % bootstrap interval; majority: the commonest answer to all",
    )
    known = any(
        best_published(r.benchmark, s) for r, g in zip(run.results, groups, strict=True) for s in g.scores
    )
    for name in (
        "benchmark",
        "n",
        "failed",
        "metric",
        "score",
        "majority",
        *(["best published"] if known else []),
    ):
        left = name in ("benchmark", "metric", "best published")
        table.add_column(name, justify="left" if left else "right", no_wrap=not name.startswith("be"))
    for result, group in zip(run.results, groups, strict=True):
        head = (result.benchmark.name, str(group.n), str(group.failures))
        if not group.scores:
            table.add_row(*head, "none", end_section=True)
        for place, score in enumerate(group.scores):
            majority = group.baselines.get(score.metric)
            table.add_row(
                *(head if place == 0 else ("", "", "")),
                score.metric,
                f"{score} [{score.at(score.interval[0])}, {score.at(score.interval[1])}] {score.remark}".rstrip(),
                "" if majority is None else score.at(majority),
                *([best_published(result.benchmark, score)] if known else []),
                end_section=place == len(group.scores) - 1,
            )
    return table


def best_published(benchmark: Benchmark, score: Score) -> str:
    """The best figure that is known of a published set by the measure of this score, and whose it is; "" if none is."""
    known = figures(benchmark.name, score.measure)
    if not known:
        return ""
    best = (max if score.higher_is_better else min)(known, key=lambda figure: figure.value)
    return f"{score.at(best.value)}, {best.system}"


def remarks(run: Run, groups: Sequence[Group]) -> Iterator[str]:
    """One line each: partial sets, measures that are missing, what was skipped, leaks, examples that failed."""
    for result, group in zip(run.results, groups, strict=True):
        name, count = result.benchmark.name, result.benchmark.count
        if count is not None and len(result.predictions) < count:
            yield f"partial: {name} has {len(result.predictions)} of the {count} examples of the published set"
        for measure, reason in group.missing.items():
            yield f"not measured: {measure} of {name}: {reason}"
    for name, reason in run.facts.get("skipped", {}).items():
        yield f"skipped: {name}: {reason}"
    leaks = run.facts.get("leaks", [])
    yield from _some("leak", [told(leak) for leak in leaks])
    predictions = [prediction for result in run.results for prediction in result.predictions]
    yield from _some("failed", [f"{p.example.id}: {p.error}" for p in predictions if p.error is not None])


def told(leak: Mapping[str, Any]) -> str:
    """A leak of run.json in words."""
    return f"{leak['id']} is in the training data: {leak['how']} ({leak['manifest']} line {leak['line']})"


def _some(what: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines[:LISTED]:
        yield f"{what}: {line}"
    if len(lines) > LISTED:
        yield f"{what}: {len(lines) - LISTED} more, all in run.json and scores.json"

"""Try a system on benchmarks and score it: a run folder (run_folder.py), a table, a report.

    from qwen_audio.eval.evaluate import evaluate
    report = evaluate(qwen_audio.load(), "test.jsonl", "runs/test")
    print(report.groups[0].scores[0])

Every example gets the prompt of its benchmark. Answers are written as they come: the same call goes on where a killed
one stopped, and comes to the same bytes. What cannot be answered is listed and counts as wrong. Answers do not depend
on the batch size or the number of processes; predictions.jsonl is in the order of the examples.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import qwen_audio
from qwen_audio.api import QwenAudio
from qwen_audio.data.manifest import Example
from qwen_audio.eval.answering import Ask, Batch, answer_batches, cut, digest_of, without
from qwen_audio.eval.choose import Chosen, by_source, choose, swapped_audio
from qwen_audio.eval.groups import Group, score_benchmark
from qwen_audio.eval.outputs import Outputs
from qwen_audio.eval.predictions import Prediction
from qwen_audio.eval.run_folder import (
    Result,
    Run,
    alone,
    check_same,
    load_result,
    next_part,
    read_parts,
    reopen_failed,
    write_benchmark,
    write_json,
    write_predictions,
)
from qwen_audio.eval.systems import Opening, System
from qwen_audio.eval.systems.ours import Ours
from qwen_audio.eval.table import table_of
from qwen_audio.eval.workers import Workers
from qwen_audio.format.tags import Segment

if TYPE_CHECKING:
    from rich.table import Table

# Manifests, or benchmarks with their examples.
Data = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Sequence[Chosen]
Progress = Callable[[int, int], None]
Prompt = Callable[[Example], list[Segment]]


@dataclass
class Report:
    """What an evaluation gave: a finished run, and the scores of each of its results."""

    run: Run
    groups: list[Group]

    @property
    def predictions(self) -> list[Prediction]:
        """All predictions, benchmark by benchmark, each in the order of its examples."""
        return [prediction for result in self.run.results for prediction in result.predictions]

    def table(self) -> Table:
        """The scores as a rich table."""
        return table_of(self.run, self.groups)


def evaluate(
    system: System | QwenAudio | Opening,
    data: Data,
    output: str | os.PathLike[str],
    *,
    only_tasks: Sequence[str] | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    processes: int = 1,
    swap_audio: bool = False,
    prompt: Prompt | None = None,
    facts: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Answer every example and score the answers; a run in `output` that was stopped goes on.

    Args:
        system: a loaded model or any system under test; for several processes an `Opening`, as each opens its own.
        data: a manifest, several, or what `choose` gives.
        output: the folder of the run.
        only_tasks: task slugs; None is all of them.
        limit: at most so many examples of a benchmark, the first ones.
        batch_size: examples at once; long clips make smaller batches.
        swap_audio: every example is asked about another one's audio: the score of a model that does not listen.
        prompt: makes the prompt of an example in place of the benchmark's (`TagStyle.prompt` has others).
        facts: more for run.json, such as what was found of the training data.
        progress: called with (examples done, examples in all), at first with what an earlier run has done.

    Raises:
        ValueError: nothing to evaluate, wrong options, a folder that holds another run or is being written to;
            ChildProcessError if a process ended early, ConnectionError if a server is not there: the run is then
            not finished, and the same call goes on with it.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: give 1 or more")
    if processes < 1:
        raise ValueError(f"processes is {processes}: give 1 or more")
    chosen = as_chosen(data, only_tasks, limit)
    began = time.monotonic()
    with _answering(system, processes, sorted({one.benchmark.task for one in chosen})) as answering:
        chosen, skipped = _supported(answering, chosen)
        asks = {one.benchmark.name: _asks(one, swap_audio, prompt) for one in chosen}
        settings = {
            "system": {"name": answering.name, **answering.facts()},
            "skipped": skipped,
            "batch_size": batch_size,
            "processes": processes,
            "limit": limit,
            "swap_audio": swap_audio,
            **(facts or {}),
        }
        folder = Path(output)
        with alone(folder):
            begun = _begin(folder, chosen, asks, settings)
            batches = [
                batch
                for one in chosen
                for batch in cut(folder / one.benchmark.name, asks[one.benchmark.name], batch_size)
            ]
            carried = _answer_rest(answering, chosen, folder, batches, progress)
            for one in chosen:
                _collect(folder / one.benchmark.name, one.examples)
            if carried is not None:
                before = begun.get(
                    "wall_seconds", carried / processes
                )  # a finished run, of which some failed
                begun["wall_seconds"] = round(time.monotonic() - began + before, 2)
            return _finish(folder, chosen, begun)


def score_outputs(
    outputs: Outputs,
    data: Sequence[Chosen],
    output: str | os.PathLike[str],
    *,
    limit: int | None = None,
    facts: dict[str, Any] | None = None,
) -> Report:
    """Score what another system has answered (`read_outputs`): the same files and scores as of a system run here.

    limit: with which `data` was chosen. Raises ValueError for a folder that holds another run.
    """
    folder = Path(output)
    asks = {one.benchmark.name: _asks(one, False, None) for one in data}
    settings = {
        "system": {"name": outputs.name, **outputs.facts()},
        "skipped": {},
        "limit": limit,
        "swap_audio": False,
        **(facts or {}),
    }
    with alone(folder):
        begun = _begin(folder, data, asks, settings)
        for one in data:
            name = one.benchmark.name
            write_predictions(folder / name, [outputs.predict(name, example) for example in one.examples])
        return _finish(folder, data, begun)


def as_chosen(data: Data, only_tasks: Sequence[str] | None = None, limit: int | None = None) -> list[Chosen]:
    """Manifests as benchmarks with their examples; what is chosen already as it is, shortened."""
    paths = [data] if isinstance(data, str | os.PathLike) else list(data)
    files = [path for path in paths if not isinstance(path, Chosen)]
    chosen = [one for one in paths if isinstance(one, Chosen)]
    if files and chosen:
        raise ValueError("give manifests or chosen benchmarks, not both")
    if files:
        return choose(None, files, only_tasks=only_tasks, limit=limit)
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}: give 1 or more")
    chosen = [
        Chosen(one.benchmark, one.examples[:limit])
        for one in chosen
        if only_tasks is None or one.benchmark.task in only_tasks
    ]
    if not chosen:
        raise ValueError("no example is left to evaluate: give benchmarks with examples")
    return chosen


def score_predictions(predictions: Sequence[Prediction]) -> list[Group]:
    """Scores of the rows of each source and task, whatever published set they are of."""
    found = {id(prediction.example): prediction for prediction in predictions}
    return [
        score(Result(one.benchmark, [found[id(example)] for example in one.examples]))
        for one in by_source(prediction.example for prediction in predictions)
    ]


def score(result: Result) -> Group:
    """The scores of a result."""
    return score_benchmark(result.benchmark, result.predictions)


# one run, step by step ----------------------------------------------------------------------------------


class _Answering(Protocol):
    """Whoever answers: this process, or several others."""

    @property
    def name(self) -> str: ...

    def facts(self) -> dict[str, Any]: ...

    def supports(self, task: str) -> bool: ...

    def answer_batches(
        self, batches: Sequence[Batch], part: int, progress: Callable[[int], None]
    ) -> None: ...


class _Here:
    """This process."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.name, self.facts, self.supports = system.name, system.facts, system.supports

    def answer_batches(self, batches: Sequence[Batch], part: int, progress: Callable[[int], None]) -> None:
        answer_batches(self.system, batches, part, progress)


@contextmanager
def _answering(
    system: System | QwenAudio | Opening, processes: int, tasks: Sequence[str]
) -> Iterator[_Answering]:
    if processes > 1:
        if not isinstance(system, Opening):
            raise ValueError("each of several processes opens the system itself: give an Opening of it")
        with Workers(system, processes, tasks) as workers:
            yield workers
        return
    if isinstance(system, Opening):
        system = system.open()
    if isinstance(system, QwenAudio):
        system = Ours(system)
    yield _Here(system)


def _supported(answering: _Answering, chosen: Sequence[Chosen]) -> tuple[list[Chosen], dict[str, str]]:
    """What the system can answer, and why it is not asked the rest."""
    able = [one for one in chosen if answering.supports(one.benchmark.task)]
    skipped = {
        one.benchmark.name: f"{answering.name} does not do {one.benchmark.task}"
        for one in chosen
        if one not in able
    }
    if not able:
        raise ValueError(f"nothing is left to evaluate: {'; '.join(skipped.values())}")
    return able, skipped


def _asks(one: Chosen, swap_audio: bool, prompt: Prompt | None) -> list[Ask]:
    audio = swapped_audio(one.examples) if swap_audio else [example.audio for example in one.examples]
    make = prompt or one.benchmark.segments
    bound = one.benchmark.max_new_tokens
    return [
        Ask(example, refs, make(example), bound) for example, refs in zip(one.examples, audio, strict=True)
    ]


def _begin(
    folder: Path, chosen: Sequence[Chosen], asks: dict[str, list[Ask]], settings: dict[str, Any]
) -> dict[str, Any]:
    """Check that the folder is of this run or of none, and write what is asked; returns run.json's content."""
    facts: dict[str, Any] = {
        "system": settings["system"],
        "benchmarks": [one.benchmark.name for one in chosen],
        "leaks": [],
        "train_manifests": [],
        **{name: value for name, value in settings.items() if name != "system"},
        "version": qwen_audio.__version__,
        "examples": {
            one.benchmark.name: digest_of(one.benchmark, asks[one.benchmark.name]) for one in chosen
        },
    }
    check_same(folder, facts)
    for one in chosen:
        write_benchmark(folder / one.benchmark.name, one.benchmark, one.examples)
    if (folder / "run.json").exists():
        before = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return facts | {name: before[name] for name in ("wall_seconds",) if name in before}
    write_json(folder / "run.json", facts)
    return facts


def _answer_rest(
    answering: _Answering,
    chosen: Sequence[Chosen],
    folder: Path,
    batches: Sequence[Batch],
    progress: Progress | None,
) -> float | None:
    """Ask for everything that an earlier run has not answered; what failed there is tried again.

    Returns the seconds that the answers of the earlier run took, None if that run was finished.
    """
    done: set[tuple[Path, str]] = set()
    carried, finished = 0.0, True
    for one in chosen:
        place = folder / one.benchmark.name
        reopen_failed(place)
        if (place / "predictions.jsonl").exists():
            done |= {(place, example.id) for example in one.examples}
        else:
            finished = False
            for name, row in read_parts(place, one.examples).items():
                if row.get("error") is None:
                    done.add((place, name))
                    carried += row.get("took", 0.0)
    total = sum(len(one.examples) for one in chosen)
    count = len(done)

    def add(number: int) -> None:
        nonlocal count
        count += number
        if progress is not None:
            progress(count, total)

    add(0)
    rest = without(batches, lambda place, name: (place, name) in done)
    if rest:
        answering.answer_batches(rest, next_part([folder / one.benchmark.name for one in chosen]), add)
    return None if finished else carried


def _collect(folder: Path, examples: Sequence[Example]) -> None:
    """Parts into predictions.jsonl."""
    if not (folder / "predictions.jsonl").exists():
        rows = read_parts(folder, examples)
        write_predictions(folder, [Prediction.from_dict(example, rows[example.id]) for example in examples])


def _finish(folder: Path, chosen: Sequence[Chosen], facts: dict[str, Any]) -> Report:
    """Score the answers from the files, as whoever reads the run back would."""
    results = [load_result(folder / one.benchmark.name) for one in chosen]
    groups = []
    for result in results:
        group = score(result)
        groups.append(group)
        write_json(folder / result.benchmark.name / "scores.json", scores_of(result, group))
    heard = sum(prediction.seconds for result in results for prediction in result.predictions)
    facts = {**facts, "audio_seconds": round(heard, 2)}
    write_json(folder / "run.json", facts)
    return Report(Run(folder, facts, results), groups)


def scores_of(result: Result, group: Group) -> dict[str, Any]:
    """What scores.json holds; `partial`: fewer examples than the published set has."""
    benchmark, predictions = result.benchmark, result.predictions
    failed = [{"id": p.example.id, "error": p.error} for p in predictions if p.error is not None]
    content: dict[str, Any] = {
        "benchmark": benchmark.name,
        "n": len(predictions),
        "failures": len(failed),
        "scores": [one.to_dict() for one in group.scores],
        "baselines": group.baselines,
        "missing": group.missing,
    }
    if benchmark.count is not None:
        content["published_count"] = benchmark.count
        content["partial"] = len(predictions) < benchmark.count
    return {**content, "failed": failed}

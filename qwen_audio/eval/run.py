"""Run a manifest through a model and score it: predictions.jsonl, scores.json and a table.

    from qwen_audio.eval.run import evaluate
    report = evaluate(qwen_audio.load(), "test.jsonl", "runs/test")

Every example gets the prompt of its training form. An example whose audio cannot be read is listed and
counted as wrong. Answers do not depend on the batch size, and both files are in the order of the manifest.
`swap_audio` gives every example another example's audio: a model that listens must then fall to chance.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import qwen_audio
from qwen_audio import tasks
from qwen_audio.api import QwenAudio, Request, load_window
from qwen_audio.audio import SAMPLE_RATE, AudioError
from qwen_audio.data.manifest import AudioRef, Example, read_manifest
from qwen_audio.eval.benchmarks import of_rows
from qwen_audio.eval.groups import Group, score_benchmark
from qwen_audio.eval.predictions import Prediction
from qwen_audio.tags import Segment

if TYPE_CHECKING:
    from rich.table import Table

SWAP_SEED = 0


@dataclass
class Report:
    """What an evaluation gave: `groups` by source and task, `predictions` in manifest order, `run` facts."""

    groups: list[Group]
    predictions: list[Prediction]
    run: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """What scores.json holds."""
        failed = [{"id": p.example.id, "error": p.error} for p in self.predictions if p.error is not None]
        return {"run": self.run, "groups": [group.to_dict() for group in self.groups], "failed": failed}

    def table(self) -> Table:
        """The scores as a rich table: for each source and task the main score, the others below it."""
        from rich.table import Table

        title = "audio swapped between examples: a control" if self.run.get("swap_audio") else None
        table = Table(
            title=title, caption="brackets: 95 % bootstrap interval; majority: always the commonest answer"
        )
        for name in ("source", "task", "n", "failed", "metric", "score", "majority"):
            table.add_column(
                name, justify="right" if name in ("n", "failed", "score", "majority") else "left"
            )
        for group in self.groups:
            for row, score in enumerate(group.scores):
                low, high = score.at(score.interval[0]), score.at(score.interval[1])
                majority = group.baselines.get(score.metric)
                table.add_row(
                    *(
                        (group.source, group.task, str(score.n), str(score.failures))
                        if row == 0
                        else [""] * 4
                    ),
                    score.metric,
                    f"{score} [{low}, {high}]",
                    "" if majority is None else f"{100 * majority:.1f} %",
                    end_section=row == len(group.scores) - 1,
                )
        return table


def evaluate(
    model: QwenAudio,
    manifest: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    only_tasks: Sequence[str] | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    swap_audio: bool = False,
    progress: Callable[[int, int], None] | None = None,
    prompt: Callable[[Example], list[Segment]] = tasks.example_prompt,
) -> Report:
    """Answer every example of a manifest and score the answers.

    Args:
        output: folder for predictions.jsonl (written as the answers come) and scores.json.
        only_tasks: task slugs; None is all of them.
        limit: at most so many examples, the first ones, of each source and task.
        progress: called with (examples done, examples in all).
        prompt: makes the prompt of an example; the default is that of the format (`TagStyle.prompt` has others).

    Raises:
        ManifestError, or ValueError for an unknown task, nothing left to evaluate, or a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: give 1 or more")
    examples = select(read_manifest(manifest), only_tasks, limit)
    if not examples:
        raise ValueError(f"{manifest}: no example is left to evaluate: check --tasks and --limit")
    audio = swapped_audio(examples) if swap_audio else [example.audio for example in examples]
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    started, heard = time.monotonic(), 0.0
    predictions: dict[int, Prediction] = {}
    partial = folder / "predictions.jsonl.part"  # an earlier result stays until this one is whole
    with partial.open("w", encoding="utf-8") as stream:
        for rows in _batches(examples, audio, batch_size):
            batch = answer_batch(model, [examples[row] for row in rows], [audio[row] for row in rows], prompt)
            for row, prediction in zip(rows, batch, strict=True):
                predictions[row] = prediction
                heard += prediction.seconds
                stream.write(json.dumps(prediction.to_dict(), ensure_ascii=False) + "\n")
            stream.flush()
            if progress is not None:
                progress(len(predictions), len(examples))
    ordered = [predictions[row] for row in range(len(examples))]
    seconds = time.monotonic() - started
    run = {
        "model": model.name,
        "weights": model.digest(),
        "manifest": os.fspath(manifest),
        "manifest_sha256": hashlib.sha256(Path(manifest).read_bytes()).hexdigest()[:16],
        "examples": len(examples),
        "tasks": list(only_tasks) if only_tasks else None,
        "limit": limit,
        "batch_size": batch_size,
        "swap_audio": swap_audio,
        "decoding": "greedy",
        "version": qwen_audio.__version__,
        "wall_seconds": round(seconds, 2),
        "audio_seconds": round(heard, 2),
    }
    report = Report(score_predictions(ordered), ordered, run)
    _write(folder / "predictions.jsonl", "".join(_line(prediction) for prediction in ordered))
    _write(folder / "scores.json", json.dumps(report.to_dict(), ensure_ascii=False, indent=2) + "\n")
    return report


def select(
    examples: Sequence[Example], only_tasks: Sequence[str] | None = None, limit: int | None = None
) -> list[Example]:
    """The examples of the named tasks, at most `limit` of each (source, task), in order."""
    for name in only_tasks or ():
        tasks.task_of(name)
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}: give 1 or more")
    counts: dict[tuple[str, str], int] = {}
    chosen = []
    for example in examples:
        key = (example.source or "", example.task)
        if only_tasks and example.task not in only_tasks:
            continue
        counts[key] = counts.get(key, 0) + 1
        if limit is None or counts[key] <= limit:
            chosen.append(example)
    return chosen


def swapped_audio(examples: Sequence[Example]) -> list[list[AudioRef]]:
    """For each example the audio of another one with other recordings, of its source and task, or its task.

    The partner is drawn with a fixed seed. Raises ValueError where a task has one recording only.
    """
    rng = np.random.default_rng(SWAP_SEED)
    swapped: list[list[AudioRef]] = []
    for example in examples:
        mine = _recordings(example.audio)
        others = [e for e in examples if e.task == example.task and not mine & _recordings(e.audio)]
        near = [e for e in others if e.source == example.source] or others
        if not near:
            raise ValueError(f"{example.id}: no other recording of {example.task} to swap with: leave it out")
        swapped.append(near[int(rng.integers(len(near)))].audio)
    return swapped


def _recordings(audio: Sequence[AudioRef]) -> set[tuple[str, float]]:
    return {(ref.path, ref.start) for ref in audio}


def _batches(examples: Sequence[Example], audio: list[list[AudioRef]], size: int) -> Iterator[list[int]]:
    """Row numbers in batches of one task and of similar duration, so that little padding is computed."""
    lengths = [sum(ref.duration or 0.0 for ref in refs) for refs in audio]
    order = sorted(range(len(examples)), key=lambda row: (examples[row].task, lengths[row], row))
    batch: list[int] = []
    for row in order:
        if batch and (len(batch) == size or examples[row].task != examples[batch[0]].task):
            yield batch
            batch = []
        batch.append(row)
    yield batch


def answer_batch(
    model: QwenAudio,
    examples: list[Example],
    audio: list[list[AudioRef]],
    prompt: Callable[[Example], list[Segment]],
) -> list[Prediction]:
    """Answers to the prompts of examples, each on its recordings of `audio`, computed in one batch."""
    predictions = [Prediction(example) for example in examples]
    requests, asked = [], []
    for prediction, refs in zip(predictions, audio, strict=True):
        try:
            waves = [load_window(ref.path, start=ref.start, duration=ref.duration) for ref in refs]
        except AudioError as error:
            prediction.error = str(error)
            continue
        prediction.seconds = sum(len(wave) for wave in waves) / SAMPLE_RATE
        example = prediction.example
        requests.append(Request(example.task, waves, prompt=prompt(example)))
        asked.append(prediction)
    for prediction, output in zip(asked, model.run(requests, batch_size=max(len(requests), 1)), strict=True):
        prediction.raw, prediction.parsed, prediction.problems = output.raw, output.parsed, output.problems
    return predictions


def score_predictions(predictions: Sequence[Prediction]) -> list[Group]:
    """Scores of each source and task."""
    members: dict[tuple[str, str], list[Prediction]] = {}
    for prediction in predictions:
        example = prediction.example
        members.setdefault((example.source or "", example.task), []).append(prediction)
    return [score_benchmark(of_rows(*key), members[key]) for key in sorted(members)]


def _line(prediction: Prediction) -> str:
    return json.dumps(prediction.to_dict(), ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    """The file appears whole or not at all."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)

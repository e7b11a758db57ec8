"""The verbs of the command line that measure: `evaluate` and `report`.

Imports that take long happen inside the functions, as in all of the command line.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qwen_audio.cli.common import Device

if TYPE_CHECKING:
    from qwen_audio.eval.choose import Chosen
    from qwen_audio.eval.evaluate import Report

_PIPE_WIDTH = 120  # characters of a line where no terminal gives its width
_LEAKS = ("refuse", "flag", "drop")


def evaluate(
    output: Annotated[Path, typer.Option(help="Folder of the run; a stopped run in it goes on.")],
    benchmarks: Annotated[
        str | None,
        typer.Option(help="Names separated by commas, synthetic, synthetic-TASK or all; without: all rows."),
    ] = None,
    manifest: Annotated[
        list[Path] | None, typer.Option(help="JSONL manifest of annotated examples; may be given again.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Checkpoint directory, the embedded model if absent; or as --system says."),
    ] = None,
    system: Annotated[
        str, typer.Option(help="ours, transformers, openai, pocketsphinx or pocketsphinx-align.")
    ] = "ours",
    predictions: Annotated[
        Path | None,
        typer.Option(help="Score these outputs of any system (JSONL, CSV or TSV) in place of a model."),
    ] = None,
    system_name: Annotated[
        str | None, typer.Option(help="With --predictions: the system's name; the file's if absent.")
    ] = None,
    tasks: Annotated[list[str] | None, typer.Option(help="Only this task; may be given again.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many examples of each benchmark.")] = None,
    batch_size: Annotated[
        int, typer.Option(help="Examples at once; long clips make smaller batches. The answers are the same.")
    ] = 8,
    processes: Annotated[
        int, typer.Option(help="Processes, each with the model; on several GPUs one each, in turn.")
    ] = 1,
    swap_audio: Annotated[
        bool, typer.Option("--swap-audio", help="Control: every example gets another one's audio.")
    ] = False,
    synthetic_count: Annotated[int, typer.Option(help="Synthetic examples of each task.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the synthetic examples.")] = 0,
    train_manifest: Annotated[
        list[Path] | None,
        typer.Option(help="Manifest of training data, to look for leaks in; may be given again."),
    ] = None,
    leaks: Annotated[
        str, typer.Option(help="Test examples found in training data: refuse, flag or drop.")
    ] = "refuse",
    device: Device = None,
) -> None:
    """Try a model, another system or a file of outputs on benchmarks, and score it."""
    from qwen_audio.eval.choose import Synthetic, choose, of_manifests
    from qwen_audio.eval.evaluate import evaluate as run_evaluation
    from qwen_audio.eval.evaluate import score_outputs
    from qwen_audio.eval.outputs import read_outputs
    from qwen_audio.eval.report import write_report
    from qwen_audio.eval.systems import Opening

    if leaks not in _LEAKS:
        raise ValueError(f"--leaks {leaks} is not known: use refuse, flag or drop")
    if leaks != "refuse" and not train_manifest:
        raise ValueError(f"--leaks {leaks} needs --train-manifest, in which leaks are looked for")
    if predictions is not None:
        _check_alone(
            model=model,
            device=device,
            swap_audio=swap_audio or None,
            system=None if system == "ours" else system,
            processes=None if processes == 1 else processes,
            batch_size=None if batch_size == 8 else batch_size,
        )
    elif system_name is not None:
        raise ValueError("--system-name goes with --predictions: a model that is run has a name")
    names = None if benchmarks is None else [name.strip() for name in benchmarks.split(",") if name.strip()]
    chosen = choose(
        names,
        manifest or [],
        only_tasks=tasks,
        limit=limit,
        synthetic=Synthetic(output / "data" / "synthetic", synthetic_count, seed, _note),
    )
    facts: dict[str, Any] = {}
    every = chosen  # examples for which a file may have outputs
    if train_manifest:
        chosen, facts = without_leaks(chosen, train_manifest, leaks, output / "data" / "clips.sqlite")
    if predictions is not None:
        others = [*every, *of_manifests(manifest or [])]
        outputs = read_outputs(predictions, chosen, name=system_name, others=others)
        done = score_outputs(outputs, chosen, output, limit=limit, facts=facts)
    else:
        with _bar() as progress:
            done = run_evaluation(
                Opening(system, model, device),
                chosen,
                output,
                limit=limit,
                batch_size=batch_size,
                processes=processes,
                swap_audio=swap_audio,
                facts=facts,
                progress=progress,
            )
    _show(done)
    write_report([done.run], output, [done.groups])
    print(f"report: {output / 'report.html'}")


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs of evaluate.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write: report.md, report.json, report.html.")],
) -> None:
    """Put runs beside one another, with published figures."""
    from qwen_audio.eval.report import write_report
    from qwen_audio.eval.run_folder import load_run

    write_report([load_run(run) for run in runs], out)
    print(f"written: {out / 'report.html'}")


def without_leaks(
    chosen: Sequence[Chosen], training: Sequence[Path], what: str, cache: Path | None = None
) -> tuple[list[Chosen], dict[str, Any]]:
    """Look for the chosen examples in training data; returns the remaining ones and the facts for run.json.

    what: "refuse" raises ValueError where there is a leak, "flag" only reports it, "drop" leaves the examples out.
    cache: of `find_leaks`.
    """
    from qwen_audio.eval.choose import Chosen
    from qwen_audio.eval.leaks import find_leaks
    from qwen_audio.eval.table import told

    found = find_leaks([example for one in chosen for example in one.examples], training, cache=cache)
    rows = [dataclasses.asdict(leak) for leak in found]
    if rows and what == "refuse":
        raise ValueError(
            f"{len(rows)} leaks, the first: {told(rows[0])}: mend the data, or use --leaks flag or --leaks drop"
        )
    facts = {"leaks": rows, "leaks_are": what, "train_manifests": [str(path) for path in training]}
    if what != "drop":
        return list(chosen), facts
    leaked = {(leak.id, leak.source, leak.task) for leak in found}
    left = [
        Chosen(one.benchmark, [e for e in one.examples if (e.id, e.source, e.task) not in leaked])
        for one in chosen
    ]
    if not any(one.examples for one in left):
        raise ValueError("every example is in the training data: nothing is left to evaluate")
    return [one for one in left if one.examples], facts


def _check_alone(**options: Any) -> None:
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"--{name.replace('_', '-')} does not go with --predictions: nothing is run")


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr; the time left is estimated from the work of this run alone."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True))
    jobs: list[Any] = []

    def show(done: int, total: int) -> None:
        if jobs:
            bar.update(jobs[0], completed=done)
            return
        bar.start()  # only now: a run refused before leaves no empty bar
        jobs.append(bar.add_task("evaluating", total=total, completed=done))

    try:
        yield show
    finally:
        if jobs:
            bar.stop()


def _note(line: str) -> None:
    typer.echo(line, err=True)


def _show(done: Report) -> None:
    from rich.console import Console

    from qwen_audio.eval.table import remarks

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=_PIPE_WIDTH)
    console.print(done.table())
    for line in remarks(done.run, done.groups):
        console.print(line, markup=False, soft_wrap=True)
    facts = done.run.facts
    time = f" in {facts['wall_seconds']:.1f} s" if "wall_seconds" in facts else ""
    console.print(
        f"{facts['audio_seconds']:.0f} s of audio{time}; written to {done.run.folder}",
        markup=False,
        soft_wrap=True,
    )

"""The verbs of the command line that make data and look at it: `synthesize`, `prepare`, `show` and `data stats`.

Imports that take long happen inside the functions, as in all of the command line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def synthesize(
    folder: Annotated[
        Path | None, typer.Argument(help="The same as --out, in front.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write: FLAC files and manifest.jsonl.")] = None,
    hours: Annotated[float | None, typer.Option(help="Hours of audio, shared equally by the tasks.")] = None,
    tasks: Annotated[
        str | None, typer.Option(help="With --hours: tasks separated by commas; all if absent.")
    ] = None,
    workers: Annotated[int, typer.Option(help="With --hours: processes; the files are the same.")] = 0,
    kind: Annotated[
        str | None,
        typer.Option(
            help="Without --hours: speech (if absent), long_speech, spoken, sounds, scenes, notes, music or world."
        ),
    ] = None,
    count: Annotated[int | None, typer.Option(help="Without --hours: how many; 100 if absent.")] = None,
    task: Annotated[str | None, typer.Option(help="Without --hours: only this task.")] = None,
    utterances: Annotated[
        str | None, typer.Option(help="Speech: only words, sentence, isolated or single.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 0,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="What training never uses: other voices, texts, pieces ...")
    ] = False,
    augment: Annotated[
        float,
        typer.Option(
            help="Share of the examples that come through a channel: room, noise, codec, level, speed. meta says which."
        ),
    ] = 0.0,
    real: Annotated[
        Path | None,
        typer.Option(
            help="Recorded clips to mix into scenes: a manifest, or a folder with a folder for each class."
        ),
    ] = None,
) -> None:
    """Write labelled examples of the synthetic world."""
    from qwen_audio.synthetic.write import synthesize as write

    if (folder is None) == (out is None):
        raise ValueError("name one folder to write, with --out")
    manifest = write(
        out or folder or Path(),
        hours=hours,
        tasks=tasks,
        kind=kind,
        count=count,
        task=task,
        utterances=utterances,
        held_out=held_out,
        seed=seed,
        workers=workers,
        augment=augment,
        real=real,
    )
    print(f"written: {manifest}")


def prepare(
    name: Annotated[str | None, typer.Argument(help="Corpus, see --list.", show_default=False)] = None,
    folder: Annotated[
        Path | None, typer.Argument(help="Folder that it was unpacked in.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write: NAME-SPLIT.jsonl.")] = None,
    splits: Annotated[
        str | None, typer.Option(help="Splits separated by commas, or how they end; all if absent.")
    ] = None,
    alignments: Annotated[
        Path | None, typer.Option(help="Folder of word alignments, where they do not lie beside the audio.")
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="Show the corpora and what their folders hold.")
    ] = False,
) -> None:
    """Write manifests of a public corpus from its folder; audio is not copied."""
    from qwen_audio.data import recipes
    from qwen_audio.eval.benchmarks import differences

    if list_:
        for recipe in recipes.RECIPES.values():
            print(f"{recipe.name}: {recipe.title}\n  from: {recipe.home}\n  licence: {recipe.licence}")
            print(f"  folder: {recipe.layout}")
        return
    if name is None:
        raise ValueError("name a corpus and its folder: qwen-audio prepare --list shows the corpora")
    recipe = recipes.find(name)
    if folder is None or out is None:
        raise ValueError(
            f"give the folder of {recipe.title} and one to write: "
            f"qwen-audio prepare {recipe.name} FOLDER --out OUT"
        )
    wanted = [split.strip() for split in splits.split(",")] if splits else None
    for made in recipes.prepare(recipe, folder, out, splits=wanted, alignments=alignments):
        rows = ", ".join(f"{count} {task}" for (_, task, _), count in made.counts.items())
        print(f"written: {made.path} ({rows})" if made.path else f"nothing to write: {made.name}")
        for line in [*made.notes.lines(), *differences(made.counts)]:
            print(f"  {line}")


def show(
    manifest: Annotated[Path, typer.Argument(help="JSONL manifest of annotated examples.")],
    identity: Annotated[str, typer.Argument(metavar="ID", help="The example's id.")],
    output: Annotated[
        Path | None, typer.Option(help="PNG file; ID.png if absent. The audio goes beside it as WAV.")
    ] = None,
    play: Annotated[
        bool, typer.Option("--play", help="Play the audio too, where a player is installed.")
    ] = False,
) -> None:
    """Draw one example and print its row, its prompt and its answer."""
    from qwen_audio.show.example import show as run_show

    run_show(manifest, identity, output, play)


def stats(
    manifest: Annotated[Path, typer.Argument(help="JSONL manifest of annotated examples.")],
    output: Annotated[Path | None, typer.Option(help="PNG file to draw the same as a picture.")] = None,
) -> None:
    """Count a manifest: hours for each task and language, durations, labels."""
    from qwen_audio.show.manifest import show_stats

    show_stats(manifest, output)

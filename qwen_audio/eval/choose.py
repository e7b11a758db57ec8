"""What is to be evaluated: the benchmarks of given manifests, and those of the synthetic world, made when asked for.

    choose(["synthetic-asr"], [], synthetic=Synthetic(Path("out/data/synthetic")))
    choose(None, ["test.jsonl"])    # every row belongs to a benchmark: a published set, or the rows of its source

`swapped_audio` gives every example another one's audio: a model that listens falls to chance.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qwen_audio.data.manifest import AudioRef, Example, read_manifest
from qwen_audio.eval.benchmarks import BENCHMARKS, SYNTHETIC_TASKS, Benchmark, assign, find, of_rows
from qwen_audio.files import new_folder
from qwen_audio.format import tasks
from qwen_audio.synthetic.world import WORLD
from qwen_audio.synthetic.write import MANIFEST, write_dataset

SWAP_SEED = 0
SYNTHETIC = "synthetic"
SYNTHETIC_COUNT = 20


@dataclass(frozen=True)
class Chosen:
    """A benchmark and the examples that it is tried on, in their order."""

    benchmark: Benchmark
    examples: list[Example]


@dataclass(frozen=True)
class Synthetic:
    """How synthetic benchmarks are made: into which folder, how many examples of each task, from which seed.

    note: told what is being made, one line for each.
    """

    folder: Path
    count: int = SYNTHETIC_COUNT
    seed: int = 0
    note: Callable[[str], None] | None = None


def choose(
    names: Sequence[str] | None,
    manifests: Sequence[str | os.PathLike[str]],
    *,
    only_tasks: Sequence[str] | None = None,
    limit: int | None = None,
    synthetic: Synthetic | None = None,
) -> list[Chosen]:
    """The named benchmarks with their examples.

    Args:
        names: benchmarks of the manifests' rows, published or not; "synthetic" or "synthetic-TASK", made from the
            held-out stream of the synthetic world; "all": every row, and all synthetic ones where the extra is
            installed. None: every row.
        manifests: in which the examples are; ids may occur once in a benchmark.
        only_tasks: task slugs; None is all of them.
        limit: at most so many examples of a benchmark, the first ones.

    Raises:
        ValueError: a name that is not known, or has no rows (then it says what makes them); an unknown task; a limit
            below 1; nothing left; PackageError for a synthetic benchmark without the extra `synth`.
    """
    for name in only_tasks or ():
        tasks.task_of(name)
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}: give 1 or more")
    if not manifests and not names:
        raise ValueError("nothing to evaluate: give a manifest, or the names of benchmarks")
    rows = of_manifests(manifests)
    if only_tasks:
        rows = [one for one in rows if one.benchmark.task in only_tasks]
    if names is not None:
        rows = _named(list(dict.fromkeys(names)), rows, only_tasks, synthetic, bool(manifests))
    chosen = [Chosen(one.benchmark, one.examples[:limit]) for one in rows]
    if not chosen:
        where = ", ".join(os.fspath(path) for path in manifests) or "synthetic"
        raise ValueError(f"{where}: no example is left to evaluate: check --tasks and --limit")
    return chosen


def of_manifests(manifests: Sequence[str | os.PathLike[str]]) -> list[Chosen]:
    """Every row under its benchmark, published sets in their own order first, then the others by source and task.

    Raises ManifestError, or ValueError for an id that occurs twice in a benchmark.
    """
    rows: list[Example] = []
    place: dict[int, str] = {}
    for manifest in manifests:
        read = read_manifest(manifest)
        place |= {id(example): os.fspath(manifest) for example in read}
        rows += read
    chosen = [Chosen(benchmark, examples) for benchmark, examples in assign(rows)]
    for one in chosen:
        first: dict[str, Example] = {}
        for example in one.examples:
            before = first.setdefault(example.id, example)
            if before is not example:
                raise ValueError(
                    f"{place[id(example)]}: the id {example.id!r} is also in {place[id(before)]}, in the same "
                    f"benchmark {one.benchmark.name}: give every example its own id, or leave a manifest out"
                )
    order = list(BENCHMARKS)

    def key(one: Chosen) -> tuple[int, str, str]:
        name = one.benchmark.name
        return order.index(name) if name in order else len(order), one.benchmark.source, one.benchmark.task

    return sorted(chosen, key=key)


def by_source(examples: Iterable[Example]) -> list[Chosen]:
    """The rows of each source and task, sorted by both, whatever published set they are of."""
    groups: dict[tuple[str, str], list[Example]] = {}
    for example in examples:
        groups.setdefault((example.source or "", example.task), []).append(example)
    return [Chosen(of_rows(*key), groups[key]) for key in sorted(groups)]


def _named(
    names: list[str],
    rows: list[Chosen],
    only_tasks: Sequence[str] | None,
    synthetic: Synthetic | None,
    manifests: bool,
) -> list[Chosen]:
    there = {one.benchmark.name: one for one in rows}
    found: dict[str, Chosen] = {}
    for name in names:
        if name in there:
            found[name] = there[name]
            continue
        if name in ("all", SYNTHETIC):
            if name == "all":
                found.update(there)
            asked = name == SYNTHETIC or not rows or synthetic_installed()
            worlds = [known for known in SYNTHETIC_TASKS.values() if known.task in WORLD] if asked else []
        else:
            worlds = [_synthetic_named(name, manifests)]
        for world in worlds:
            if world.name in there:  # the manifests have examples of it
                found[world.name] = there[world.name]
            elif world.name not in found and (not only_tasks or world.task in only_tasks):
                found[world.name] = make(world, synthetic)
    return list(found.values())


def _synthetic_named(name: str, manifests: bool) -> Benchmark:
    """The synthetic benchmark of that name; ValueError that says what makes the rows of any other."""
    known = find(name)
    if known.name in SYNTHETIC_TASKS and known.task in WORLD:
        return known
    where = "the manifests have no rows of it" if manifests else "no manifest is given"
    rows = f"source {known.source!r}, task {known.task}" + (f", split {known.split!r}" if known.split else "")
    how = (
        f"make one with qwen-audio prepare {known.recipe} and name it with --manifest"
        if known.recipe
        else known.note or "name a manifest that has them"
    )
    raise ValueError(f"the benchmark {known.name} has no examples, as {where} ({rows}): {how}")


# the synthetic world ------------------------------------------------------------------------------------


def synthetic_installed() -> bool:
    """Whether the packages of the extra `synth` are there."""
    from importlib.util import find_spec

    return all(find_spec(name) for name in ("espeakng_loader", "wordfreq", "pretty_midi"))


def make(benchmark: Benchmark, synthetic: Synthetic | None) -> Chosen:
    """Held-out examples of a synthetic task, in a folder that is made once for each count and seed.

    Raises ValueError for a count below 1 or a seed below 0, PackageError without the extra `synth`.
    """
    if synthetic is None:
        raise ValueError(f"{benchmark.name} needs a folder to be made in: give `synthetic`")
    if synthetic.count < 1:
        raise ValueError(f"the number of synthetic examples is {synthetic.count}: give 1 or more")
    if synthetic.seed < 0:  # said here, as the folder is named after it
        raise ValueError(f"the seed is {synthetic.seed}: give 0 or more")
    folder = synthetic.folder / f"{benchmark.task}-{synthetic.count}-seed-{synthetic.seed}"
    if not folder.exists():
        if synthetic.note is not None:
            synthetic.note(f"making {synthetic.count} examples of {benchmark.name}")
        options = {"tasks": [benchmark.task], "held_out": True}
        with new_folder(folder) as unfinished:
            write_dataset(
                "world", unfinished / "world", synthetic.count, seed=synthetic.seed, options=options
            )
    return Chosen(benchmark, read_manifest(folder / "world" / MANIFEST))


# other audio ----------------------------------------------------------------------------


def swapped_audio(examples: Sequence[Example]) -> list[list[AudioRef]]:
    """For each example the audio of another one with other recordings, of its source and task, or its task.

    The partner is drawn with a fixed seed. Raises ValueError where a task has one recording only.
    """
    rng = np.random.default_rng(SWAP_SEED)
    groups: dict[tuple[str | None, ...], list[Example]] = {}
    for example in examples:
        groups.setdefault((example.task,), []).append(example)
        groups.setdefault((example.task, example.source), []).append(example)
    swapped: list[list[AudioRef]] = []
    for example in examples:
        place = rng.random()
        near = _partner(example, groups[example.task, example.source], place)
        partner = near or _partner(example, groups[example.task,], place)
        if partner is None:
            raise ValueError(f"{example.id}: no other recording of {example.task} to swap with: leave it out")
        swapped.append(partner.audio)
    return swapped


def _partner(example: Example, others: list[Example], place: float) -> Example | None:
    """The first one with other recordings from that place on, round the end of the list."""
    mine, start = _recordings(example.audio), int(place * len(others))
    walk = (others[(start + step) % len(others)] for step in range(len(others)))
    return next((other for other in walk if not mine & _recordings(other.audio)), None)


def _recordings(audio: Sequence[AudioRef]) -> set[tuple[str, float]]:
    return {(ref.path, ref.start) for ref in audio}

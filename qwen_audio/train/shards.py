"""Plan of the files of a checkpoint: tensors and writing process of each. Every process computes the same plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from qwen_audio.model.tensor_files import SHARD_BYTES, TensorInfo

WEIGHTS, STATE = "model", "trainer"  # prefixes of the file names


@dataclass(frozen=True)
class Shard:
    """A file of a checkpoint: its name, the process that writes it, its tensors (of weights or of state)."""

    file: str
    rank: int
    tensors: tuple[str, ...]
    nbytes: int
    state: bool = False
    frozen: bool = False


def cut(names: Sequence[str], infos: Mapping[str, TensorInfo], limit: int) -> list[tuple[str, ...]]:
    """Runs of `names` in their order, each of at most `limit` bytes or one tensor."""
    runs: list[list[str]] = []
    size = 0
    for name in names:
        if not runs or size + infos[name].nbytes > limit:
            runs.append([])
            size = 0
        runs[-1].append(name)
        size += infos[name].nbytes
    return [tuple(run) for run in runs]


def frozen_runs(
    weights: Mapping[str, TensorInfo], frozen: Collection[str], limit: int = SHARD_BYTES
) -> list[tuple[str, ...]]:
    """Runs of frozen weights, one a file, for any number of processes alike, so that a file can be linked."""
    return cut([name for name in weights if name in frozen], weights, limit)


def plan(
    weights: Mapping[str, TensorInfo],
    state: Mapping[str, TensorInfo],
    frozen: Collection[str],
    linked: Collection[tuple[str, ...]],
    world: int,
    limit: int = SHARD_BYTES,
) -> list[Shard]:
    """All files of a checkpoint, frozen weights first.

    Args:
        linked: those of `frozen_runs` that exist already and need no writing.
        world: processes. Each gets about as many bytes to write.
        limit: bytes of a file.
    """
    loads = [0] * world
    runs = frozen_runs(weights, frozen, limit)
    owners = [0] * len(runs)  # the first process makes the links
    for number, run in enumerate(runs):
        if run not in linked:
            owners[number] = _lightest(loads, sum(weights[name].nbytes for name in run))
    trained = {name: info for name, info in weights.items() if name not in frozen}
    # State first: it has more tensors (two moments a weight), and the later ones even out the loads.
    state_runs = _spread(state, loads, limit)
    trained_runs = _spread(trained, loads, limit)
    files: list[Shard] = []
    count = len(runs) + len(trained_runs)
    for run, rank in [*zip(runs, owners, strict=True), *trained_runs]:
        file = _name(WEIGHTS, len(files) + 1, count)
        nbytes = sum(weights[name].nbytes for name in run)
        files.append(Shard(file, rank, run, nbytes, frozen=len(files) < len(runs)))
    for number, (run, rank) in enumerate(state_runs, 1):
        nbytes = sum(state[name].nbytes for name in run)
        files.append(Shard(_name(STATE, number, len(state_runs)), rank, run, nbytes, state=True))
    return files


def _spread(
    infos: Mapping[str, TensorInfo], loads: list[int], limit: int
) -> list[tuple[tuple[str, ...], int]]:
    """Runs of names, each with its writing process; adds to `loads` (bytes by process)."""
    mine: list[set[str]] = [set() for _ in loads]
    for name in sorted(infos, key=lambda name: -infos[name].nbytes):  # large ones first evens out best
        mine[_lightest(loads, infos[name].nbytes)].add(name)
    return [
        (run, rank)
        for rank, names in enumerate(mine)
        for run in cut([name for name in infos if name in names], infos, limit)
    ]


def _lightest(loads: list[int], nbytes: int) -> int:
    rank = loads.index(min(loads))
    loads[rank] += nbytes
    return rank


def _name(stem: str, number: int, count: int) -> str:
    # One file of weights has the name under which every loader finds it without an index.
    if stem == WEIGHTS and count == 1:
        return f"{stem}.safetensors"
    return f"{stem}-{number:05d}-of-{count:05d}.safetensors"

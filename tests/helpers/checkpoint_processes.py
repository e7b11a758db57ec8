"""What several processes do in test_checkpoint.py: they save, load and get killed. Started by `start`."""

from __future__ import annotations

import multiprocessing
import re
import resource
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from qwen_audio.train.checkpoint import Writer, checkpoints, read, read_meta, verify

# Processes are forked from one that has imported everything and runs no thread: a start takes some milliseconds.
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(
    ["torch.distributed.fsdp", "torch._dynamo", "safetensors.torch", "qwen_audio.train.checkpoint"]
)


def start(world: int, work: Callable[..., None], folder: Path, *args: Any) -> list[BaseProcess]:
    """`world` processes that meet and call `work(rank, world, folder, *args)`."""
    folder.mkdir(exist_ok=True)
    meeting = folder / f"meeting-{time.monotonic_ns()}"
    processes = [
        FORK.Process(target=_meet, args=(r, world, meeting, work, folder, *args)) for r in range(world)
    ]
    for process in processes:
        process.start()
    return processes


def run(world: int, work: Callable[..., None], folder: Path, *args: Any) -> None:
    """As `start`, to the end; all must end well."""
    processes = start(world, work, folder, *args)
    for process in processes:
        process.join(20)
    assert [p.exitcode for p in processes] == [0] * world, "what the process printed says why"


def _meet(rank: int, world: int, meeting: Path, work: Callable[..., None], folder: Path, *args: Any) -> None:
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    work(rank, world, folder, *args)
    if world > 1:
        dist.destroy_process_group()


class Net(nn.Module):
    """Layers that no number of processes divides, and a frozen one."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.ModuleList([nn.Linear(5, 7), nn.Linear(7, 5), nn.Linear(5, 1)])
        self.frozen = nn.Linear(3, 5)
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.frozen(x)
        for layer in self.layers:
            x = layer(x)
        return x


def sharded(world: int, seed: int) -> tuple[Net, torch.optim.Optimizer]:
    """The net (in several processes sharded as training shards it) and its optimiser after two steps."""
    net = Net(seed)
    if world > 1:
        # Four: two copies of the net, each cut in two.
        mesh = init_device_mesh("cpu", (world,))
        if world == 4:
            mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("copy", "part"))
        for layer in [*net.layers, net.frozen, net]:
            fully_shard(layer, mesh=mesh)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.1)
    for step in range(2):
        net(torch.full((2, 3), 1.0 + step)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return net, optimizer


def parts(net: Net, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and training state by name; they share memory with the net and the optimiser."""
    state = {
        f"optimizer.{key}.{name}": value
        for name, parameter in net.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    return dict(net.state_dict()), {**state, "rng.torch": torch.get_rng_state()}


FROZEN = {"frozen.weight", "frozen.bias"}


def whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Full copies, the same in all processes."""
    return {
        name: (t.detach().full_tensor() if isinstance(t, DTensor) else t.detach()).clone()
        for name, t in tensors.items()
    }


def save_net(rank: int, world: int, folder: Path) -> None:
    """Train, save, and change everything before the thread can have written it; twice."""
    net, optimizer = sharded(world, seed=0)
    writer = Writer(folder / "run", keep=3, rank=rank, world=world)
    for step in (1, 2):
        weights, state = parts(net, optimizer)
        before = whole({**weights, **state})
        writer.save(step, weights, state, FROZEN, {"config": {"seed": 0}}, extra=_note)
        with torch.no_grad():
            for name, tensor in weights.items():
                if name not in FROZEN:
                    tensor.add_(1.0)
        folder_of_step = writer.commit()
        assert folder_of_step == folder / "run" / f"step-{step:06d}"
        assert writer.commit() is None and writer.finished()
    if rank == 0:
        save_file(before, folder / "expected.safetensors")


def _note(folder: Path) -> None:
    (folder / "config.json").write_text("{}")


def load_net(rank: int, world: int, folder: Path) -> None:
    """Load into a net of other values and compare it with what was saved."""
    newest = checkpoints(folder / "run")[-1]
    assert read_meta(newest) == {"config": {"seed": 0}, "step": 2}
    verify(newest, rank, world)
    net, optimizer = sharded(world, seed=1)
    weights, state = parts(net, optimizer)
    read(newest, weights, kind="weights")
    read(newest, state, kind="state")
    expected = load_file(folder / "expected.safetensors")
    found = whole({**weights, **state})
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.equal(found[name], expected[name]), name
    # The optimiser goes on from there.
    net(torch.ones(2, 3)).sum().backward()
    optimizer.step()


def save_other_names(rank: int, world: int, folder: Path) -> None:
    """Processes that do not mean the same tensors."""
    writer = Writer(folder / "run", keep=1, rank=rank, world=world)
    try:
        writer.save(1, {f"of_{rank}": torch.ones(2)}, {}, (), {})
    except ValueError as error:
        assert "process 1 saves other tensors than process 0" in str(error)
    else:
        raise AssertionError("nobody noticed")


def save_where_one_fails(rank: int, world: int, folder: Path) -> None:
    """First process 0 cannot begin, then process 1 cannot write its part: all hear of it, and training could go on."""
    output = folder / "run"
    writer = Writer(output, keep=1, rank=rank, world=world)
    tensors = {name: torch.ones(10_000) for name in "ab"}
    writer.save(1, tensors, {}, (), {})
    assert writer.commit() == output / "step-000001"
    for step, message in ((2, "in the way"), (3, "process 1: .*File too large|File too large")):
        if rank == 0 and step == 2:
            (output / "step-000002.partial").mkdir()
            (output / "step-000002.partial/thesis.txt").write_text("years")
        if rank == 1 and step == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
        dist.barrier()
        try:
            writer.save(step, tensors, {}, (), {})
            writer.commit()
        except (ValueError, OSError) as error:
            assert re.search(message, str(error)), error
        else:
            raise AssertionError(f"step {step} went well")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    writer.save(4, tensors, {}, (), {})
    assert writer.commit() == output / "step-000004"
    assert [p.name for p in checkpoints(output)] == ["step-000004"]


def save_for_ever(rank: int, world: int, folder: Path) -> None:
    """Many small checkpoints, until this process is killed. Their tensors say in which step they were made."""
    output = folder / "run"
    done = checkpoints(output)
    step = read_meta(done[-1])["step"] if done else 0
    writer = Writer(output, keep=2, rank=rank, world=world)
    while True:
        step += 1
        weights = {f"layer.{i}": torch.full((50, 20), float(step)) for i in range(4)}
        weights["frozen"] = torch.full((200, 20), 7.0)
        writer.save(
            step, weights, {"moment": torch.full((100,), float(step))}, {"frozen"}, {"data": [step]}, _note
        )
        writer.commit()
        if rank == 0:
            # In one move: a kill between the emptying and the writing of a file would hide what was committed.
            (folder / "newest.new").write_text(str(step))
            (folder / "newest.new").replace(folder / "newest")

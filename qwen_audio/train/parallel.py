"""One process or many: rank, sums over processes, and the split of the model (FSDP2).

qwen-audio train CONFIG.yaml                                        one process
torchrun --nproc-per-node 8 -m qwen_audio train CONFIG.yaml         eight, each with one GPU
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

# How long a process waits for the others: answering a validation set and writing to slow disks take their time.
PATIENCE = timedelta(hours=1)


@dataclass(frozen=True)
class World:
    """The processes of a run. `rank` of `size`; `device` is this one's. `sharded`: the model is split over them."""

    rank: int
    size: int
    device: torch.device
    sharded: bool

    @property
    def first(self) -> bool:
        """True if this process writes the log."""
        return self.rank == 0

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes, in float64."""
        if self.size == 1:
            return [float(v) for v in values]
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return [float(v) for v in total.tolist()]

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, in order of rank; they come from this run's own processes only."""
        return gather(value, self.size)


def gather(value: Any, size: int) -> list[Any]:
    """The value of each of `size` processes, in order of rank; all of them call it."""
    values: list[Any] = [value] * size
    if size > 1:
        dist.all_gather_object(values, value)
    return values


def begin(device: str) -> World:
    """Join the run that `torchrun` started, or start a run of one process.

    Args:
        device: "cpu", "cuda" or "auto" (a GPU if there is one).
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if "RANK" not in os.environ:
        return World(0, 1, torch.device(device), sharded=False)
    where = torch.device(device)
    if device == "cuda":
        where = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(where)
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE)
    return World(dist.get_rank(), dist.get_world_size(), where, sharded=True)


def end() -> None:
    """Leave the run."""
    if dist.is_initialized():
        dist.destroy_process_group()


def shard(module: nn.Module, layers: Iterable[nn.Module], world: World, bf16: bool) -> None:
    """Split the parameters of a module over all processes (FSDP2): each layer is gathered only while it computes.

    On GPUs, layers are gathered in bfloat16 if the run computes in it; gradients are summed in float32.
    """
    mesh = init_device_mesh(world.device.type, (world.size,))
    cast = bf16 and world.device.type == "cuda"
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if cast else MixedPrecisionPolicy()
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(module, mesh=mesh, mp_policy=policy)


@contextmanager
def whole(module: nn.Module) -> Iterator[None]:
    """Context in which every process holds all parameters, so that each can compute independently."""
    parts = [m for m in module.modules() if isinstance(m, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(part is not module, recurse=False)
            part.reshard()


def full(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be split."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor

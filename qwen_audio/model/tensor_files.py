"""Safetensors files: reading of headers, and writing tensor by tensor (the library needs all of them in memory)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from qwen_audio.model.loading import CheckpointError

SHARD_BYTES = 2 * 10**9  # of tensors in one file of a checkpoint of several files
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "BOOL": torch.bool, "U8": torch.uint8,
    "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64,
}  # fmt: skip
DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True)
class TensorInfo:
    """Entry of a tensor in the header of a file."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Output:
    """A tensor to be written: its header entry, and a function that gives it when it is written."""

    name: str
    info: TensorInfo
    make: Callable[[], Tensor]

    @property
    def nbytes(self) -> int:
        return self.info.nbytes


def safetensors_infos(path: Path) -> dict[str, TensorInfo]:
    """Type and shape of the tensors of a file by name, from its header.

    Raises:
        CheckpointError: the file cannot be read, or has tensors of a quantised type.
    """
    infos = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (a reader of safetensors is no mapping)
                part = file.get_slice(name)
                if part.get_dtype() not in _DTYPES:
                    raise CheckpointError(
                        f"{path}: {name} has the type {part.get_dtype()}: convert unquantised weights"
                    )
                infos[name] = TensorInfo(_DTYPES[part.get_dtype()], tuple(part.get_shape()))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): copy the checkpoint again") from None
    return infos


def write_safetensors(path: Path, outputs: Sequence[Output]) -> None:
    """One safetensors file, made tensor by tensor."""
    with path.open("wb") as file:
        send_safetensors(file.write, outputs)


def send_safetensors(write: Callable[[Any], object], outputs: Sequence[Output]) -> None:
    """The bytes of one safetensors file, given to `write` in order: the header, then tensor by tensor."""
    # Wide types first: then every tensor starts at a multiple of its type's size, as readers need.
    ordered = sorted(outputs, key=lambda output: -output.info.dtype.itemsize)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for output in ordered:
        header[output.name] = {
            "dtype": DTYPE_NAMES[output.info.dtype],
            "shape": list(output.info.shape),
            "data_offsets": [start, start + output.nbytes],
        }
        start += output.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    write(len(text).to_bytes(8, "little") + text)
    for output in ordered:
        tensor = output.make()
        assert (tensor.dtype, tuple(tensor.shape)) == (output.info.dtype, output.info.shape), output.name
        write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        del tensor  # with it goes its mapped file, before the next one is opened

"""Weights on disk: tensors read one at a time from sharded checkpoints, written as sharded safetensors.

Nothing here needs memory for more than one tensor, and nothing executes pickled code: `.bin` and `.pt` files are
read with torch's restricted loader, which builds tensors and plain containers and refuses everything else.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from qwen_audio.model.loading import CheckpointError, read_json
from qwen_audio.model.tensor_files import (
    DTYPE_NAMES,
    SHARD_BYTES,
    Output,
    TensorInfo,
    safetensors_infos,
    write_safetensors,
)

# Pages of a mapped pickle file that were touched count as memory until it is closed: reopen it after so many.
_REOPEN_BYTES = 5 * 10**8


class Weights:
    """The tensors of a checkpoint: `info` has type and shape of each, in the order of the files."""

    def __init__(self, files: Sequence[Path] = (), memory: Mapping[str, Tensor] | None = None) -> None:
        self.info: dict[str, TensorInfo] = {}
        self._file: dict[str, Path] = {}
        self._memory = dict(memory or {})
        self._open: tuple[Path, dict[str, Tensor]] | None = None
        self._mapped = 0
        for name, tensor in self._memory.items():
            self.info[name] = TensorInfo(tensor.dtype, tuple(tensor.shape))
        for path in files:
            for name, info in _infos(path):
                if name in self.info:
                    raise CheckpointError(
                        f"{path}: tensor {name} is also in {self._file[name].name}: remove one file"
                    )
                self.info[name], self._file[name] = info, path

    def read(self, name: str) -> Tensor:
        """The tensor, backed by its file: it counts as memory only while it is held."""
        if name in self._memory:
            return self._memory[name]
        path = self._file[name]
        if _is_safetensors(path):
            # Opened for each tensor, because pages that were read count as memory while the file is mapped.
            with safe_open(path, framework="pt") as file:
                return file.get_tensor(name)
        if self._open is None or self._open[0] != path or self._mapped > _REOPEN_BYTES:
            self._open = None  # let go of the one before, so that a single shard is open
            self._open, self._mapped = (path, pickled_tensors(path)), 0
        tensor = self._open[1][name]
        self._mapped += tensor.nbytes
        return tensor


def _is_safetensors(path: Path) -> bool:
    return path.suffix == ".safetensors"


def _infos(path: Path) -> Iterator[tuple[str, TensorInfo]]:
    if not _is_safetensors(path):
        for name, tensor in pickled_tensors(path).items():
            yield name, TensorInfo(tensor.dtype, tuple(tensor.shape))
        return
    yield from safetensors_infos(path).items()


def load_pickled(path: Path) -> Any:
    """Content of a file of `torch.save`, mapped rather than read where it is a zip file; no code in it is run.

    Raises:
        CheckpointError: the file holds more than tensors and plain containers, or is broken.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path} is not a plain file of tensors: it is broken, or would run code when read, "
            "which was not done; get the weights as safetensors"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
        raise CheckpointError(f"{path} cannot be read ({reason}): copy it again") from None


def pickled_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name of a `.bin` or `.pt` file, also one that keeps them under `model_state_dict` (Whisper)."""
    data = load_pickled(path)
    if isinstance(data, dict) and "model_state_dict" in data:
        data = data["model_state_dict"]
    if not isinstance(data, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in data.items()
    ):
        raise CheckpointError(f"{path} does not hold tensors by name: give a state dictionary")
    for name, tensor in data.items():
        if tensor.layout != torch.strided or tensor.is_meta or tensor.dtype not in DTYPE_NAMES:
            kind = f"{tensor.dtype}, {tensor.layout}" + (", without data" if tensor.is_meta else "")
            raise CheckpointError(
                f"{path}: {name} is of a kind that is no weight ({kind}): convert plain weights"
            )
    return {name: tensor.detach() for name, tensor in data.items()}


def open_weights(folder: Path) -> Weights:
    """The weights of a directory: safetensors if there are any, else `.bin` shards, by their index or alone.

    Raises:
        CheckpointError: there are no weights, or an index names files that are missing (all are listed).
    """
    for stem in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{stem}.index.json"
        if index.is_file():
            return Weights(_indexed(index))
        if (folder / stem).is_file():
            return Weights([folder / stem])
    raise CheckpointError(
        f"{folder} has no model.safetensors, pytorch_model.bin or index of shards: give a whole checkpoint"
    )


def _indexed(index: Path) -> list[Path]:
    names = read_json(index).get("weight_map")
    if (
        not isinstance(names, dict)
        or not names
        or any(not isinstance(name, str) or Path(name).name != name for name in names.values())
    ):
        raise CheckpointError(f"{index}: weight_map must give a file name for each tensor: copy it again")
    files = [index.parent / name for name in sorted(set(names.values()))]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise CheckpointError(f"{index} names files that are missing: {', '.join(missing)}: copy them too")
    return files


def write_weights(folder: Path, outputs: Sequence[Output], shard_bytes: int = SHARD_BYTES) -> None:
    """Write tensors as model.safetensors, or as shards of at most `shard_bytes` (or one tensor) with an index."""
    shards: list[list[Output]] = [[]]
    size = 0
    for output in outputs:
        if shards[-1] and size + output.nbytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(output)
        size += output.nbytes
    if len(shards) == 1:
        write_safetensors(folder / "model.safetensors", shards[0])
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_safetensors(folder / name, shard)
        weight_map |= {output.name: name for output in shard}
    index = {"metadata": {"total_size": sum(o.nbytes for o in outputs)}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")

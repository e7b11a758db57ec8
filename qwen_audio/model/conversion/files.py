"""Weights on disk: tensors read one at a time from sharded checkpoints, written as sharded safetensors.

Nothing here needs memory for more than one tensor, and nothing executes pickled code: `.bin` and `.pt` files are
read with torch's restricted loader, which builds tensors and plain containers and refuses everything else.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from qwen_audio.loading import CheckpointError, read_json

SHARD_BYTES = 2 * 10**9
# Pages of a mapped pickle file that were touched count as memory until it is closed: reopen it after so many.
_REOPEN_BYTES = 5 * 10**8
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "BOOL": torch.bool, "U8": torch.uint8,
    "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64,
}  # fmt: skip
_MARK = ".qwen-audio-convert"  # in a folder that is being written: the number of the process
_DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True)
class TensorInfo:
    """What the header of a file says about a tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]


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
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (a reader of safetensors is no mapping)
                part = file.get_slice(name)
                if part.get_dtype() not in _DTYPES:
                    raise CheckpointError(
                        f"{path}: {name} has the type {part.get_dtype()}: convert unquantised weights"
                    )
                yield name, TensorInfo(_DTYPES[part.get_dtype()], tuple(part.get_shape()))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): copy the checkpoint again") from None


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
        if tensor.layout != torch.strided or tensor.is_meta or tensor.dtype not in _DTYPE_NAMES:
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


@dataclass(frozen=True)
class Output:
    """A tensor to be written: what the header will say, and how to get it when its turn comes."""

    name: str
    info: TensorInfo
    make: Callable[[], Tensor]

    @property
    def nbytes(self) -> int:
        return math.prod(self.info.shape) * self.info.dtype.itemsize


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


def write_safetensors(path: Path, outputs: Sequence[Output]) -> None:
    """One safetensors file, made tensor by tensor (the library's own writer wants all of them in memory)."""
    # Wide types first: then every tensor starts at a multiple of its type's size, as readers need.
    ordered = sorted(outputs, key=lambda output: -output.info.dtype.itemsize)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for output in ordered:
        header[output.name] = {
            "dtype": _DTYPE_NAMES[output.info.dtype],
            "shape": list(output.info.shape),
            "data_offsets": [start, start + output.nbytes],
        }
        start += output.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for output in ordered:
            tensor = output.make()
            assert (tensor.dtype, tuple(tensor.shape)) == (output.info.dtype, output.info.shape), output.name
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
            del tensor  # with it goes its mapped file, before the next one is opened


@contextmanager
def new_folder(target: Path, needed_bytes: int) -> Iterator[Path]:
    """A folder to write into, which becomes `target` if all goes well and vanishes if not.

    Raises:
        ValueError: `target` exists, or the disk has no room for `needed_bytes`.
    """
    if os.path.lexists(target):
        raise ValueError(f"{target} exists already: name a new folder, nothing is overwritten")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    if os.path.lexists(partial):
        # Only what this function began, and no one is writing any more, is cleared away.
        if not (partial / _MARK).is_file():
            raise ValueError(f"{partial} is in the way: move it, or name another folder")
        if _alive((partial / _MARK).read_text()):
            raise ValueError(
                f"{partial} is being written by another run: wait for it, or name another folder"
            )
        shutil.rmtree(partial)
    free = shutil.disk_usage(target.parent).free
    if free < needed_bytes:
        raise ValueError(
            f"{target} needs {needed_bytes / 1e9:.1f} GB and its disk has {free / 1e9:.1f} GB free: make room"
        )
    partial.mkdir()
    (partial / _MARK).write_text(str(os.getpid()))
    try:
        yield partial
        (partial / _MARK).unlink()
        for file in partial.rglob("*"):
            if file.is_file():
                file.chmod(0o644)
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _alive(process: str) -> bool:
    """Whether another process of this number runs (asked on POSIX systems only)."""
    if not process.isdecimal() or int(process) == os.getpid() or os.name != "posix":
        return False
    try:
        os.kill(int(process), 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True

"""Checkpoints of training: named tensors, written whole or not at all, read by any number of processes.

step-000500/  config.json model*.safetensors tokenizer.json ...   (loads like any checkpoint)
              trainer-*.safetensors  what training needs beside the weights: moments, CTC head, adapters
              trainer.json           step and other facts; size and SHA-256 of every file (written last)

The tensors are whole, under names that do not depend on how many processes wrote them. All processes must see the same
file system.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor

from qwen_audio.files import new_folder
from qwen_audio.model import hf
from qwen_audio.model.loading import CheckpointError, has_adapters, load_checkpoint, read_json, weight_files
from qwen_audio.model.tensor_files import TensorInfo, safetensors_infos
from qwen_audio.train.adapters import add_lora, is_adapter, merge, plain_name, split_rows
from qwen_audio.train.checkpoint_writer import FILES, TRAINER, Writer, checkpoints, file_digest
from qwen_audio.train.config import STAGES
from qwen_audio.train.shards import STATE

if TYPE_CHECKING:
    from qwen_audio.model.modeling_qwen_audio import QwenAudioForConditionalGeneration
    from qwen_audio.model.processing_qwen_audio import QwenAudioProcessor

__all__ = ["Writer", "checkpoints", "contents", "read", "read_meta", "save_model", "verify"]

Kind = Literal["weights", "state"]


def read_meta(folder: Path) -> dict[str, Any]:
    """The `meta` that `Writer.save` was given, and `step`.

    Raises:
        CheckpointError: trainer.json is missing or broken.
    """
    meta = _trainer(folder)
    del meta[FILES]
    return meta


def _trainer(folder: Path) -> dict[str, Any]:
    path = folder / TRAINER
    if not path.is_file():
        raise CheckpointError(
            f"{folder} has no {TRAINER}: training can go on from a checkpoint that training wrote only"
        )
    facts = read_json(path)
    files = facts.get(FILES)
    if not isinstance(files, dict) or not isinstance(facts.get("step"), int):
        raise CheckpointError(
            f"{path} lacks {FILES if isinstance(facts.get('step'), int) else 'step'}: {_ADVICE}"
        )
    for name, record in files.items():
        if (
            Path(name).name != name
            or not isinstance(record, dict)
            or not {"bytes", "sha256"} <= record.keys()
        ):
            raise CheckpointError(f"{path}: {FILES}.{name} must give bytes and sha256: {_ADVICE}")
    return facts


_ADVICE = "delete this checkpoint to go on from the one before"


def verify(folder: Path, rank: int = 0, world: int = 1) -> None:
    """Compare the files of a checkpoint with the sizes and SHA-256 sums in trainer.json.

    Process `rank` of `world` compares every `world`-th file: together they compare all.

    Raises:
        CheckpointError: a file is missing or differs from the one written.
    """
    files = _trainer(folder)[FILES]
    for name in sorted(files)[rank::world]:
        path, record = folder / name, files[name]
        if not path.is_file():
            raise CheckpointError(f"{path} is missing: {_ADVICE}")
        size = path.stat().st_size
        if size != record["bytes"]:
            raise CheckpointError(f"{path} has {size} bytes where {record['bytes']} were written: {_ADVICE}")
        if file_digest(path) != record["sha256"]:
            raise CheckpointError(f"{path} is damaged (its SHA-256 has changed): {_ADVICE}")


def contents(folder: Path, kind: Kind) -> dict[str, TensorInfo]:
    """Type and shape of the tensors of a checkpoint by name; no state in a folder that training did not write."""
    return {name: info for infos in _infos(folder, kind).values() for name, info in infos.items()}


def _infos(folder: Path, kind: Kind) -> dict[Path, dict[str, TensorInfo]]:
    if kind not in ("weights", "state"):
        raise ValueError(f"kind {kind!r} is not known: use weights or state")
    files = weight_files(folder) if kind == "weights" else sorted(folder.glob(f"{STATE}-*.safetensors"))
    return {path: safetensors_infos(path) for path in files}


def read(folder: Path, targets: Mapping[str, Tensor], *, kind: Kind, strict: bool = True) -> set[str]:
    """Copy tensors of a checkpoint into `targets`, in place. A sharded target reads its own part only.

    Args:
        folder: a checkpoint; for weights any model directory.
        kind: "weights" are converted to the type of the target; "state" must have it.
        strict: the names must be the same on both sides. Otherwise names that only one side has are skipped.

    Returns:
        The names that were read.

    Raises:
        CheckpointError: a file cannot be read, or a name (if `strict`), a shape or a type does not fit. Nothing
            has been copied then, unless reading a file failed midway.
    """
    by_file = _infos(folder, kind)
    found = {name: info for infos in by_file.values() for name, info in infos.items()}
    common = found.keys() & targets.keys()
    faults = {
        "lacks": sorted(targets.keys() - found.keys()) if strict else [],
        "has unknown": sorted(found.keys() - targets.keys()) if strict else [],
        "has another shape of": sorted(n for n in common if found[n].shape != tuple(targets[n].shape)),
        "has another type of": sorted(n for n in common if found[n].dtype != targets[n].dtype)
        if kind == "state"
        else [],
    }
    for what, names in faults.items():
        if names:
            raise CheckpointError(
                f"{folder}: the checkpoint {what} tensor {names[0]!r} of its {kind} ({len(names)} such); it does not "
                "match the configuration: use the preset it was trained with, or another output folder"
            )
    for path, infos in by_file.items():
        try:
            with safe_open(path, framework="pt") as file, torch.no_grad():
                for name in infos.keys() & targets.keys():
                    _fill(targets[name], file, name)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}): {_ADVICE}") from None
    return set(common)


def _fill(target: Tensor, file: Any, name: str) -> None:
    if not isinstance(target, DTensor):
        target.copy_(file.get_tensor(name))
        return
    local: Tensor = target.to_local()
    if local.numel():  # a process can have no row at all
        local.copy_(file.get_slice(name)[_own_part(target)])


def _own_part(target: DTensor) -> tuple[slice, ...]:
    """Slices of the whole tensor that this process holds: rows in runs of equal length, as `torch.chunk` cuts them."""
    part = [slice(0, n) for n in target.shape]
    for dimension, placement in enumerate(target.placements):
        if placement.is_replicate():
            continue
        assert placement.is_shard(), f"{placement} is no placement of a parameter"
        axis = placement.dim  # type: ignore[attr-defined]
        assert part[axis] == slice(0, target.shape[axis]), "an axis that is sharded twice is not handled"
        length = -(-target.shape[axis] // target.device_mesh.size(dimension))
        start = min(length * target.device_mesh.get_local_rank(dimension), target.shape[axis])
        part[axis] = slice(start, min(start + length, target.shape[axis]))
    assert tuple(p.stop - p.start for p in part) == tuple(target.to_local().shape)
    return tuple(part)


def save_model(
    folder: Path, model: QwenAudioForConditionalGeneration, processor: QwenAudioProcessor, dtype: torch.dtype
) -> None:
    """Write a model that `from_pretrained` loads, its floating point weights cast to `dtype`.

    The folder appears whole or not at all.

    Raises:
        ValueError: the folder exists, or its disk is too small.
    """
    tied = hf.tied_names(model)
    state = {k: v.to(dtype) for k, v in model.state_dict().items() if k not in tied}
    old = model.config.dtype
    with new_folder(folder, sum(tensor.nbytes for tensor in state.values())) as unfinished:
        model.config.dtype = dtype
        try:
            model.save_pretrained(unfinished, state_dict=state)
        finally:
            model.config.dtype = old
        processor.save_pretrained(unfinished)


def load_run(folder: Path, dtype: Any, *, ema: bool = False) -> tuple[Any, Any]:
    """The model and processor of a checkpoint, of a run or not; trained adapters are merged into the model.

    Args:
        dtype: of the model: a torch dtype, or "auto" as it is stored.
        ema: take the running mean of the weights.

    Raises:
        CheckpointError: it is damaged, or keeps no running mean.
    """
    if not (folder / "trainer.json").is_file():
        if ema:
            raise CheckpointError(f"{folder} is no checkpoint of a training run: it keeps no running mean")
        return load_checkpoint(folder, "cpu", dtype)
    verify(folder)
    model, processor = load_checkpoint(folder, "cpu", dtype, adapted=True)
    config = read_meta(folder)["config"]
    if ema and not config["ema"]:
        raise CheckpointError(f"{folder} keeps no running mean of its weights: train with ema above 0")
    adapted = has_adapters(folder)
    if adapted:
        names = config["train"] or STAGES[config["stage"]]
        if any(name.endswith("new_rows") for name in names):
            split_rows(model, processor.tokenizer.audio_pad_id)
        if config["lora_rank"]:
            lora = (config[f"lora_{key}"] for key in ("rank", "alpha", "dropout", "targets"))
            add_lora(model, *lora)
    parameters = {plain_name(k): p.detach() for k, p in model.named_parameters()}
    beside = {k: p for k, p in parameters.items() if is_adapter(k)}
    _read_all(folder, beside)
    if ema:
        kept = {k.removeprefix("ema.") for k in contents(folder, "state") if k.startswith("ema.")}
        _read_all(folder, {f"ema.{k}": parameters[k] for k in kept & parameters.keys()})
    if adapted:
        merge(model)
    return model, processor


def _read_all(folder: Path, targets: dict[str, Tensor]) -> None:
    missing = sorted(targets.keys() - read(folder, targets, kind="state", strict=False))
    if missing:
        raise CheckpointError(
            f"{folder}: the checkpoint lacks tensor {missing[0]!r} ({len(missing)} such): use the one before"
        )

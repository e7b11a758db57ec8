"""From a training run to a model to use: the weights alone, in half precision."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qwen_audio.loading import CheckpointError, has_adapters, load_checkpoint
from qwen_audio.model import hf
from qwen_audio.train.adapters import add_lora, is_adapter, merge, plain_name, split_rows
from qwen_audio.train.checkpoint import checkpoints, contents, read, read_meta, save_model, verify
from qwen_audio.train.config import STAGES

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def export(
    run: str | os.PathLike[str],
    target: str | os.PathLike[str],
    dtype: str = "float16",
    ema: bool = False,
) -> Path:
    """Write the newest checkpoint of a run (or the checkpoint given) as a model directory.

    Args:
        run: folder of a training run, or of one checkpoint.
        target: new folder to write; it appears whole or not at all.
        dtype: "float16", "bfloat16" or "float32". Small models fit float16 well, which keeps three more bits.
        ema: take the running mean of the weights instead of the last ones.

    Raises:
        ValueError: unknown dtype, a target that exists already, a value too large for float16, or a run without
            a running mean.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r} is not known: use one of {', '.join(DTYPES)}")
    if Path(target).exists():
        raise ValueError(f"{target} exists already: name a new folder, nothing is overwritten")
    folder = Path(run)
    found = checkpoints(folder) if folder.is_dir() else []
    model, processor = load_run(found[-1] if found else folder, torch.float32, ema=ema)
    limit = torch.finfo(DTYPES[dtype]).max
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and tensor.abs().max() > limit:
            raise ValueError(f"{name} has values over {limit:g}: export as bfloat16")
    with hf.without_progress_bars():
        save_model(Path(target), model, processor, DTYPES[dtype])
    return Path(target)


def load_run(folder: Path, dtype: Any, *, ema: bool = False) -> tuple[Any, Any]:
    """The model and processor of a checkpoint, of a run or not; what was trained beside the model is put into it.

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

"""Export of a training run as a model directory: the weights alone, in half precision."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from qwen_audio.model import hf
from qwen_audio.train.checkpoint import checkpoints, load_run, save_model

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

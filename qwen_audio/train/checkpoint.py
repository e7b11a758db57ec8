"""Checkpoints: model and training state in safetensors and JSON, written atomically, resumed exactly.

step-000500/  config.json model.safetensors tokenizer.json ...   (loads like any checkpoint)
              trainer.safetensors   optimiser moments, CTC head, random state
              trainer.json          step, position in the data, elapsed time, configuration
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from qwen_audio.loading import CheckpointError
from qwen_audio.model.modeling_qwen_audio import QwenAudioForConditionalGeneration
from qwen_audio.model.processing_qwen_audio import QwenAudioProcessor

_STEP = re.compile(r"step-(\d+)$")


def save_model(
    folder: Path, model: QwenAudioForConditionalGeneration, processor: QwenAudioProcessor, dtype: torch.dtype
) -> None:
    """Write a model that `from_pretrained` loads, its floating point weights cast to `dtype`.

    The folder appears whole or not at all.
    """
    temporary = _fresh(folder)
    tied = set(model.all_tied_weights_keys)
    state = {k: v.to(dtype) for k, v in model.state_dict().items() if k not in tied}
    old = model.config.dtype
    model.config.dtype = dtype
    model.save_pretrained(temporary, state_dict=state)
    model.config.dtype = old
    processor.save_pretrained(temporary)
    _replace(temporary, folder)


def save(
    output: Path,
    step: int,
    module: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    processor: QwenAudioProcessor,
    generator: torch.Generator,
    meta: Mapping[str, Any],
    keep: int,
) -> Path:
    """Write `output/step-N` in full precision and delete all but the newest `keep` checkpoints.

    Args:
        module: the stage's module, with `.model` and `.ctc_head`.
        meta: JSON-able facts to come back with `load`.
    """
    folder = output / f"step-{step:06d}"
    temporary = _fresh(folder)
    model: Any = module.model
    model.save_pretrained(temporary)
    processor.save_pretrained(temporary)
    tensors = {f"ctc_head.{k}": v for k, v in module.ctc_head.state_dict().items()}  # type: ignore[union-attr, operator]
    tensors["rng.masks"] = generator.get_state()
    tensors["rng.torch"] = torch.get_rng_state()
    for name, parameter in module.named_parameters():
        for optimizer in optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
    save_file({k: v.contiguous() for k, v in tensors.items()}, temporary / "trainer.safetensors")
    (temporary / "trainer.json").write_text(json.dumps({**meta, "step": step}, indent=1))
    _replace(temporary, folder)
    for old in checkpoints(output)[:-keep]:
        shutil.rmtree(old)
    return folder


def checkpoints(output: Path) -> list[Path]:
    """Finished checkpoints in `output`, oldest first."""
    found = [(int(m[1]), p) for p in output.glob("step-*") if (m := _STEP.search(p.name)) and p.is_dir()]
    return [p for _, p in sorted(found)]


def load(
    folder: Path, module: nn.Module, optimizers: Sequence[torch.optim.Optimizer], generator: torch.Generator
) -> dict[str, Any]:
    """Restore what `save` wrote into a module of the same shape; returns the meta facts.

    Raises:
        CheckpointError: files are missing, or tensors do not fit this model.
    """
    try:
        weights = load_file(folder / "model.safetensors")
        tensors = load_file(folder / "trainer.safetensors")
        meta: dict[str, Any] = json.loads((folder / "trainer.json").read_text())
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{folder}: not a whole checkpoint ({error}); delete it to go on from the one before"
        ) from error
    model: Any = module.model
    tied = set(model.all_tied_weights_keys)
    _load_strict(folder, model, weights, allowed_missing=tied)
    head = {k.removeprefix("ctc_head."): v for k, v in tensors.items() if k.startswith("ctc_head.")}
    _load_strict(folder, module.ctc_head, head, allowed_missing=set())  # type: ignore[arg-type]
    missing = [k for k in ("rng.masks", "rng.torch") if k not in tensors]
    missing += [k for k in ("step", "data", "elapsed", "config") if k not in meta]
    if missing:
        raise CheckpointError(f"{folder}: the training state lacks {missing[0]}: delete this checkpoint")
    generator.set_state(tensors["rng.masks"])
    torch.set_rng_state(tensors["rng.torch"])
    names = {parameter: name for name, parameter in module.named_parameters()}
    for optimizer in optimizers:
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            state = {
                key: tensors[name]
                for key in ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")
                if (name := f"optimizer.{key}.{names[parameter]}") in tensors
            }
            if state:
                optimizer.state[parameter] = state
    return meta


def load_ctc_head(folder: Path, module: nn.Module) -> None:
    """Take over the CTC head of a checkpoint; one that was exported has none, and the head stays as it is."""
    file = folder / "trainer.safetensors"
    if not file.is_file():
        return
    head = {k.removeprefix("ctc_head."): v for k, v in load_file(file).items() if k.startswith("ctc_head.")}
    _load_strict(folder, module.ctc_head, head, allowed_missing=set())  # type: ignore[arg-type]


def _load_strict(
    folder: Path, module: nn.Module, state: dict[str, Tensor], allowed_missing: set[str]
) -> None:
    own = module.state_dict()
    missing = sorted(set(own) - set(state) - allowed_missing)
    unexpected = sorted(set(state) - set(own))
    shapes = sorted(k for k in set(own) & set(state) if own[k].shape != state[k].shape)
    for what, names in (("lacks", missing), ("has unknown", unexpected), ("has a wrong shape for", shapes)):
        if names:
            raise CheckpointError(
                f"{folder}: the checkpoint {what} tensor {names[0]!r} ({len(names)} such); "
                "it does not match the configuration: use the preset it was trained with, or another output folder"
            )
    module.load_state_dict(state, strict=False)


def _fresh(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(folder.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    return temporary


def _replace(temporary: Path, folder: Path) -> None:
    for file in temporary.iterdir():
        file.chmod(0o644)  # safetensors writes files that only their owner can read
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)

"""Plan of a converted directory, and its writing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from qwen_audio.format.tokenizer import QwenAudioTokenizer
from qwen_audio.model.configuration_qwen_audio import QwenAudioConfig
from qwen_audio.model.loading import CheckpointError
from qwen_audio.model.processing_qwen_audio import QwenAudioProcessor

from .. import hf
from . import names
from .files import Output, TensorInfo, write_safetensors, write_weights
from .vocabulary import write_tiktoken

# Folder, in a converted directory, of published files that ours do not need: for the conversion back.
KEPT = "published"


@dataclass
class Plan:
    """Contents of a directory; made, with all checks, before anything is written."""

    config: PreTrainedConfig
    outputs: list[Output]
    tokenizer: QwenAudioTokenizer | None = None
    files: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Tensor] = field(default_factory=dict)
    fresh: str = ""


def write(plan: Plan, folder: Path, shard_bytes: int) -> None:
    """Write a plan into an empty folder, weights last."""
    # The small files first, so that a failure comes before gigabytes are written.
    for name, content in plan.files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if plan.kept:
        (folder / KEPT).mkdir(exist_ok=True)
        write_safetensors(folder / KEPT / "buffers.safetensors", held(plan.kept))
    if "config.json" in plan.files:  # the published form
        if plan.tokenizer is not None:
            write_tiktoken(plan.tokenizer, folder / "qwen.tiktoken")
    else:
        plan.config.save_pretrained(folder)
        whole = isinstance(plan.config, QwenAudioConfig)
        if plan.tokenizer is not None:
            (QwenAudioProcessor(plan.tokenizer) if whole else plan.tokenizer).save_pretrained(folder)
    write_weights(folder, plan.outputs, shard_bytes)


def finish_config(config: Any, outputs: list[Output]) -> None:
    """Set the configuration's class that reads the directory, and the dtype of its weights."""
    types = {output.name: output.info.dtype for output in outputs}
    config.architectures = [hf.model_class_of(config).__name__]
    embedding = next((dtype for name, dtype in types.items() if name.endswith(names.EMBEDDING)), None)
    config.dtype = embedding or outputs[0].info.dtype
    if isinstance(config, QwenAudioConfig):
        for part in (config.text_config, config.audio_config):
            part.dtype = config.dtype  # type: ignore[union-attr]


def end_ids(tokenizer: QwenAudioTokenizer | None, end: Any) -> dict[str, Any]:
    """Entries of generation_config.json on the end of an answer; `end` is the id of `<|endoftext|>`."""
    if tokenizer is None:
        return {} if end is None else {"eos_token_id": end, "pad_token_id": end}
    # A turn also ends where the published chat code stops.
    return {"eos_token_id": [end, tokenizer.im_start_id, tokenizer.im_end_id], "pad_token_id": end}


def check_buffer(where: object, name: str, tensor: Tensor, computed: Tensor) -> None:
    """CheckpointError unless a stored table is the computed one, within the rounding of its type."""
    rounding = max(2e-4, torch.finfo(tensor.dtype).eps)
    if not torch.allclose(tensor.float(), computed, rtol=rounding, atol=rounding):
        raise CheckpointError(f"{where}: {name} is not the usual table, and no other is implemented")


def held(tensors: dict[str, Tensor]) -> list[Output]:
    """Outputs of tensors that are in memory already."""
    return [
        Output(name, TensorInfo(tensor.dtype, tuple(tensor.shape)), tensor.clone)
        for name, tensor in tensors.items()
    ]

"""Conversion of other checkpoints to ours, and of ours to the published form (`qwen-audio convert SRC DST`).

| source | becomes |
|---|---|
| published Qwen-Audio or Qwen-Audio-Chat directory | a model |
| a model of ours, with `to="published"` | a published directory; the round trip with the row above is lossless |
| OpenAI's Whisper `.pt`, transformers' Whisper directory | an encoder |
| Qwen-7B, or a Qwen2, Qwen3 or Llama-style directory | a language model with our special tokens |
| an encoder source, with `text_model` a language-model source | a model with a new projection, begin and end vector |

Names, shapes and configuration are compared before anything is written; tensors then go through memory one at a time,
in their own dtype. The target appears whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qwen_audio.files import new_folder
from qwen_audio.format import tags
from qwen_audio.model.tensor_files import SHARD_BYTES

from . import hf
from .configuration_qwen_audio import QwenAudioConfig
from .conversion.files import Weights
from .conversion.kinds import ENCODERS, KINDS, kind_of
from .conversion.plan import Plan, write
from .conversion.published import from_published, published_outputs, to_published
from .conversion.towers import assembled, encoder, language_model
from .conversion.vocabulary import tokenizer_file
from .modeling_qwen_audio import QwenAudioForConditionalGeneration
from .processing_qwen_audio import QwenAudioProcessor


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    to: str = "ours",
    text_model: str | os.PathLike[str] | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> str:
    """Convert a checkpoint; returns a sentence about what was written.

    Args:
        source: directory or `.pt` file, of a kind in the table above.
        target: directory to make.
        to: "ours" or "published".
        text_model: a language-model source, when `source` is an encoder source.
        tokenizer: a `.tiktoken` file or tokenizer.json, for a directory that has none.
        seed: of the initialisation of parts that no source has; 0 if absent.
        shard_bytes: largest size of a written weights file.

    Raises:
        FileNotFoundError: no such source.
        CheckpointError: the source is broken or of no known kind, or its tensors do not fit (all faults are listed).
        ValueError: `target` exists, its disk is too small, or an option does not apply.
    """
    folder, vocabulary = Path(source), None if tokenizer is None else Path(tokenizer)
    if not folder.exists():
        raise FileNotFoundError(f"{folder} does not exist: give the directory or file of a checkpoint")
    if Path(target).exists():
        raise ValueError(f"{target} exists already: name a new folder, nothing is overwritten")
    if to not in ("ours", "published"):
        raise ValueError(f"--to {to} is not known: use ours or published")
    kind = kind_of(folder)
    if (text_model is not None) and kind not in ENCODERS:
        raise ValueError(f"--text-model goes with a Whisper, and {folder} is {KINDS[kind]}: leave it out")
    if (to == "published") != (kind == "ours"):
        raise ValueError(
            f"{folder} is {KINDS[kind]}: --to published is for models of this package, and only for them"
        )
    new_rows = kind in ("qwen", "causal_lm") or text_model is not None
    if seed is not None and not new_rows:
        raise ValueError(f"nothing of {folder} is made afresh: leave --seed out")
    if vocabulary is not None and kind != "published" and not new_rows:
        raise ValueError(f"--tokenizer is for a directory with a vocabulary, and {folder} is {KINDS[kind]}")
    if kind == "published":
        plan = from_published(folder, vocabulary)
        rows = plan.config.get_text_config().vocab_size
        if plan.tokenizer is None and rows > len(tags.SPECIAL_TOKENS):
            tokenizer_file(folder, None)  # raises
    elif kind == "ours":
        plan = to_published(folder)
    elif text_model is not None:
        plan = assembled(folder, Path(text_model), vocabulary, seed or 0)
    elif kind in ENCODERS:
        if kind == "encoder":
            raise ValueError(
                f"{folder} is an encoder of this package already: give --text-model to build a model"
            )
        config, outputs = encoder(folder)
        plan = Plan(config, outputs)
    else:
        plan = language_model(folder, vocabulary, seed or 0)
    size = sum(output.nbytes for output in plan.outputs)
    with new_folder(Path(target), size) as partial_folder:
        write(plan, partial_folder, shard_bytes)
    fresh = f"; made afresh: {plan.fresh}" if plan.fresh else ""
    return f"written: {target}, {len(plan.outputs)} tensors, {size / 1e9:.3f} GB{fresh}"


def load_published(
    directory: str | os.PathLike[str],
    *,
    tokenizer: str | os.PathLike[str] | None = None,
    audio_pad_id: int | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[QwenAudioForConditionalGeneration, QwenAudioProcessor | None]:
    """Model (in evaluation mode) and processor of a published directory, without writing anything.

    Args:
        tokenizer: its qwen.tiktoken, if that is elsewhere. Without any there is no processor.
        audio_pad_id: see `published_config.full_config`.
        dtype: of the model; as stored if absent.
    """
    plan = from_published(Path(directory), None if tokenizer is None else Path(tokenizer), audio_pad_id)
    state = {output.name: output.make().clone() for output in plan.outputs}
    with hf.without_progress_bars():
        model: Any = QwenAudioForConditionalGeneration.from_pretrained(
            None, config=plan.config, state_dict=state, dtype=dtype or plan.config.dtype
        )
    return model.eval(), None if plan.tokenizer is None else QwenAudioProcessor(plan.tokenizer)


def convert_state(state: Mapping[str, Tensor], config: QwenAudioConfig) -> dict[str, Tensor]:
    """Our state dictionary from a published one, given our configuration; CheckpointError lists all mismatches."""
    weights = Weights(memory=state)
    outputs, _ = published_outputs("state", weights, config)
    return {output.name: output.make() for output in outputs}

"""Plans that start from models of other systems: a Whisper, a language model, or both."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig

from qwen_audio.format import tags
from qwen_audio.model.configuration_qwen_audio import QwenAudioConfig, QwenAudioEncoderConfig
from qwen_audio.model.loading import CheckpointError, read_json
from qwen_audio.model.modeling_encoder import sinusoids

from .. import hf
from . import names
from .files import Output, TensorInfo, Weights, load_pickled, open_weights
from .kinds import KINDS, kind_of
from .names import Link
from .plan import Plan, check_buffer, end_ids, finish_config
from .published_config import text_config, whisper_config
from .vocabulary import Vocabulary, extended, read_vocabulary, tokenizer_file


def _of_decoder(name: str) -> bool:
    return name.startswith(("decoder.", "model.decoder.", "proj_out."))


def encoder(source: Path, prefix: str = "") -> tuple[QwenAudioEncoderConfig, list[Output]]:
    """Configuration and tensors of an encoder source."""
    if source.is_file():
        data = load_pickled(source)
        dims = data.get("dims") if isinstance(data, dict) else None
        if not isinstance(dims, dict):
            raise CheckpointError(
                f"{source} has no dims: give a .pt file of OpenAI's Whisper, or a directory"
            )
        config = whisper_config(source, dims)
        weights = Weights([source])
        links = [
            Link(f"encoder.{old}", (new,)) for old, new in names.encoder_names(config.encoder_layers).items()
        ]
        positions = "encoder.positional_embedding"
    else:
        path = source / "config.json"
        data = read_json(path)
        weights = open_weights(source)
        if data["model_type"] == "whisper":
            config = whisper_config(path, data)
        else:
            config = QwenAudioEncoderConfig.from_dict(data)
        theirs = next((p for p in ("model.encoder.", "encoder.") if p + "conv1.weight" in weights.info), "")
        links = [Link(theirs + name, (name,)) for name in names.encoder_names(config.encoder_layers).values()]
        positions = theirs + "embed_positions.weight"
    shapes, _ = names.shapes_of(config)
    due = names.their_shapes(links, shapes)
    table = sinusoids(config.max_source_positions, config.d_model)
    if positions in weights.info:
        due[positions] = tuple(table.shape)
    names.check_tensors(source, weights.info, due, _of_decoder)
    if positions in weights.info:
        check_buffer(source, positions, weights.read(positions), table)
    outputs = names.to_ours(links, weights, shapes, prefix)
    finish_config(config, outputs)
    return config, outputs


def language_model(folder: Path, vocabulary: Path | None, seed: int, prefix: str = "") -> Plan:
    """Configuration and tensors of a language-model source, with our vocabulary."""
    path = folder / "config.json"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a directory: give the directory of a language model")
    data, kind = read_json(path), kind_of(folder)
    if kind not in ("qwen", "causal_lm"):
        raise CheckpointError(f"{folder} is {KINDS[kind]}: give a language model")
    if data.get("quantization_config"):
        raise CheckpointError(f"{path}: the weights are quantised: give the model they were made from")
    config: Any = text_config(path, data) if kind == "qwen" else _known_config(path, data)
    words = read_vocabulary(tokenizer_file(folder, vocabulary))
    weights = open_weights(folder)
    shapes, tied = names.shapes_of(config)
    shapes = {name: shape for name, shape in shapes.items() if name not in tied}
    is_qwen = kind == "qwen"
    links = names.text_links(config.num_hidden_layers) if is_qwen else [Link(n, (n,)) for n in shapes]
    names.check_tensors(
        folder,
        weights.info,
        names.their_shapes(links, shapes),
        lambda name: name in tied or re.search(r"rotary_emb\.inv_freq$", name) is not None,
    )
    if names.EMBEDDING not in shapes or not {names.HEAD} & ({*shapes, *tied}):
        raise CheckpointError(
            f"{path}: {config.model_type} keeps its embedding elsewhere than Qwen2 and Llama: not supported"
        )
    if shapes[names.EMBEDDING][0] < words.base:
        raise CheckpointError(
            f"{folder}: the tokenizer has {words.base} base tokens and the embedding "
            f"{shapes[names.EMBEDDING][0]} rows: use the tokenizer of this model"
        )
    rows = _special_rows(words, config, shapes[names.EMBEDDING][0])
    outputs = [
        _with_our_rows(output, words, rows, seed)
        if output.name.endswith((names.EMBEDDING, names.HEAD))
        else output
        for output in names.to_ours(links, weights, shapes)
    ]
    config.vocab_size = len(words.tokenizer)
    config.eos_token_id = config.pad_token_id = words.tokenizer.eos_token_id
    config.bos_token_id = None
    finish_config(config, outputs)
    return Plan(
        config,
        [replace(output, name=prefix + output.name) for output in outputs],
        words.tokenizer,
        {"generation_config.json": end_ids(words.tokenizer, words.tokenizer.eos_token_id)},
        fresh=f"{rows.count(None)} special tokens",
    )


def _known_config(path: Path, data: Mapping[str, Any]) -> Any:
    try:
        config = AutoConfig.from_pretrained(path.parent, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # from validators of several libraries: the file is not usable
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: model_type {data['model_type']!r} cannot be used: {reason}") from None
    if not hf.is_causal_lm(config):
        raise CheckpointError(
            f"{path}: {data['model_type']!r} is no causal language model: give a Qwen2 or Llama-style one"
        )
    return config


def _special_rows(words: Vocabulary, config: Any, rows: int) -> list[int | None]:
    """Row of the other model for each of our special tokens, None where it has none."""
    end = config.eos_token_id[0] if isinstance(config.eos_token_id, list) else config.eos_token_id
    old = {tags.END_OF_TEXT: end, **words.old_ids}
    found = [old.get(name) for name in tags.SPECIAL_TOKENS]
    return [row if row is not None and row < rows else None for row in found]


def _with_our_rows(output: Output, words: Vocabulary, rows: list[int | None], seed: int) -> Output:
    info = TensorInfo(output.info.dtype, (words.base + len(rows), *output.info.shape[1:]))
    return Output(output.name, info, lambda: extended(output.make(), words.base, rows, seed))


def assembled(source: Path, text_model: Path, vocabulary: Path | None, seed: int) -> Plan:
    """Plan of a model from an encoder and a language model; projection, begin and end vectors are newly initialised."""
    plan = language_model(text_model, vocabulary, seed, "language_model.")
    audio, outputs = encoder(source, "audio_tower.")
    text: Any = plan.config
    tokenizer: Any = plan.tokenizer
    config = QwenAudioConfig(
        audio_config=audio,
        text_config=text,
        audio_start_token_id=tokenizer.audio_start_id,
        audio_end_token_id=tokenizer.audio_end_id,
        audio_pad_token_id=tokenizer.audio_pad_id,
        tie_word_embeddings=text.tie_word_embeddings,
    )
    deviation = getattr(text, "initializer_range", 0.02)
    width = text.hidden_size
    joints = {
        "audio_projection.weight": ((width, audio.d_model), deviation),
        "audio_projection.bias": ((width,), 0.0),
        "audio_start_embedding": ((width,), deviation),
        "audio_end_embedding": ((width,), deviation),
    }
    for number, (name, (shape, spread)) in enumerate(joints.items()):
        make = partial(_noise, shape, spread, text.dtype, seed + number)
        outputs.append(Output(name, TensorInfo(text.dtype, shape), make))
    outputs += plan.outputs
    shapes, tied = names.shapes_of(config)
    due = {name: shape for name, shape in shapes.items() if name not in tied}
    names.check_tensors(source, {output.name: output.info for output in outputs}, due)
    finish_config(config, outputs)
    fresh = f"audio_projection, audio_start_embedding, audio_end_embedding, {plan.fresh}"
    return Plan(config, outputs, plan.tokenizer, plan.files, fresh=fresh)


def _noise(shape: tuple[int, ...], deviation: float, dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * deviation).to(dtype)

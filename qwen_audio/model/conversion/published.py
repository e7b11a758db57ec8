"""Plans between published Qwen-Audio directories and ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qwen_audio.format.tokenizer import QwenAudioTokenizer
from qwen_audio.model.configuration_qwen_audio import QwenAudioConfig
from qwen_audio.model.loading import CheckpointError, read_json
from qwen_audio.model.modeling_encoder import sinusoids

from . import names
from .files import Output, Weights, open_weights
from .plan import KEPT, Plan, check_buffer, end_ids, finish_config, held
from .published_config import full_config, published_config
from .vocabulary import find_tokenizer, read_vocabulary

_SAMPLING = ("do_sample", "temperature", "top_k", "top_p", "repetition_penalty", "max_new_tokens")
# The published chat code does not start without these.
_CHAT_DEFAULTS = {"chat_format": "chatml", "max_window_size": 6144}


def published_outputs(
    where: object, weights: Weights, config: QwenAudioConfig
) -> tuple[list[Output], dict[str, Tensor]]:
    """Our tensors, and the published tables that our model computes itself (equal to those, which is checked)."""
    audio: Any = config.audio_config
    text: Any = config.text_config
    shapes, _ = names.shapes_of(config)
    links = names.published_links(audio.encoder_layers, text.num_hidden_layers)
    due = names.their_shapes(links, shapes)
    computed = _computed_buffers(config)
    due |= {name: tuple(table.shape) for name, table in computed.items() if name in weights.info}
    names.check_tensors(where, weights.info, due)
    kept = {name: weights.read(name).clone() for name in computed if name in weights.info}
    for name, tensor in kept.items():
        check_buffer(where, name, tensor, computed[name])
    return names.to_ours(links, weights, shapes), kept


def _computed_buffers(config: QwenAudioConfig) -> dict[str, Tensor]:
    audio: Any = config.audio_config
    text: Any = config.text_config
    width = text.hidden_size // text.num_attention_heads
    exponent = torch.arange(0, width, 2, dtype=torch.float32) / width
    return {
        names.POSITIONS: sinusoids(audio.max_source_positions, audio.d_model),
        names.ROTARY: 1 / text.rope_parameters["rope_theta"] ** exponent,
    }


def from_published(folder: Path, vocabulary: Path | None, audio_pad_id: int | None = None) -> Plan:
    """Plan of our model from a published directory; `vocabulary` is the tokenizer file if the directory has none."""
    path = folder / "config.json"
    published = read_json(path)
    config = full_config(path, published, audio_pad_id)
    text: Any = config.text_config
    weights = open_weights(folder)
    outputs, kept = published_outputs(folder, weights, config)
    tokenizer = None
    words = find_tokenizer(folder, vocabulary)
    if words is not None:
        tokenizer = read_vocabulary(words).tokenizer
        if tokenizer.audio_start_id != config.audio_start_token_id or len(tokenizer) > text.vocab_size:
            raise CheckpointError(
                f"{folder}: <audio> is {tokenizer.audio_start_id} of the tokenizer's {len(tokenizer)} ids, but "
                f"config.json has audio_start_id {config.audio_start_token_id} and vocab_size {text.vocab_size}: "
                "use the tokenizer of this model"
            )
    files = {f"{KEPT}/config.json": published}
    generation: dict[str, Any] = {}
    if (folder / "generation_config.json").is_file():
        generation = read_json(folder / "generation_config.json")
        files[f"{KEPT}/generation_config.json"] = generation
    end = generation.get("eos_token_id") if tokenizer is None else tokenizer.eos_token_id
    files["generation_config.json"] = {
        **{key: generation[key] for key in _SAMPLING if key in generation},
        **end_ids(tokenizer, end),
    }
    text.eos_token_id = text.pad_token_id = end
    finish_config(config, outputs)
    return Plan(config, outputs, tokenizer, files, kept)


def to_published(folder: Path) -> Plan:
    """Plan of the published form of a model of ours."""
    path = folder / "config.json"
    config: Any = QwenAudioConfig.from_dict(read_json(path))
    weights = open_weights(folder)
    embedding = weights.info.get("language_model." + names.EMBEDDING)
    dtype = embedding.dtype if embedding else torch.float32  # if there is none, the check below fails
    published = published_config(path, config, dtype)
    shapes, _ = names.shapes_of(config)
    names.check_tensors(folder, weights.info, shapes)
    links = names.published_links(config.audio_config.encoder_layers, config.text_config.num_hidden_layers)
    outputs = names.to_theirs(links, weights, shapes)
    tokenizer = None
    if (folder / "tokenizer.json").is_file():
        tokenizer = QwenAudioTokenizer(tokenizer_file=str(folder / "tokenizer.json"))
    end = config.text_config.eos_token_id
    generation = _CHAT_DEFAULTS | ({} if end is None else {"eos_token_id": end, "pad_token_id": end})
    buffers = {names.POSITIONS: _computed_buffers(config)[names.POSITIONS].to(dtype)}
    kept = folder / KEPT
    if (kept / "config.json").is_file():
        old = read_json(kept / "config.json")
        before = published_config(
            path, full_config(kept / "config.json", old, config.audio_pad_token_id), dtype
        )
        if before == published:  # the same model still, perhaps with other weights
            published = old | ({"torch_dtype": published["torch_dtype"]} if "torch_dtype" in old else {})
            if (kept / "generation_config.json").is_file():
                generation = read_json(kept / "generation_config.json")
            stored = Weights(
                [kept / "buffers.safetensors"] if (kept / "buffers.safetensors").is_file() else []
            )
            buffers = {name: stored.read(name) for name in stored.info}
    outputs += held(buffers)
    files = {"config.json": published, "generation_config.json": generation}
    if tokenizer is not None:
        files["tokenizer_config.json"] = {
            "auto_map": {"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]},
            "model_max_length": config.text_config.max_position_embeddings,
            "tokenizer_class": "QWenTokenizer",
        }
    return Plan(config, outputs, tokenizer, files)

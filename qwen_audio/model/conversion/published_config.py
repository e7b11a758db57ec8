"""Conversion between config.json of the published models (`QWenConfig` and its `audio` part) and our configurations.

A value that our model does not implement is refused; keys that do not change the result (types, file names,
switches of kernels) are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config

from qwen_audio.format import tags
from qwen_audio.model.configuration_qwen_audio import (
    QwenAudioConfig,
    QwenAudioEncoderConfig,
    QwenAudioTextConfig,
)
from qwen_audio.model.loading import CheckpointError

# Required keys, with the required value where only one is implemented (None: any).
_TEXT_KEYS: dict[str, Any] = dict.fromkeys(
    ("vocab_size", "hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "kv_channels",
     "seq_length", "layer_norm_epsilon", "rotary_emb_base", "use_dynamic_ntk", "use_logn_attn")
)  # fmt: skip
_TEXT_KEYS |= {"rotary_pct": 1.0, "no_bias": True}
_AUDIO_KEYS: dict[str, Any] = dict.fromkeys(
    ("n_ctx", "n_state", "n_head", "n_layer", "output_dim", "audio_start_id")
)
_AUDIO_KEYS |= {"n_mels": 80, "avg_pool": True, "add_audio_bos_eos_token": True}
# Optional keys, with the only value that is implemented.
_FIXED = {
    "tie_word_embeddings": False,
    "scale_attn_weights": True,
    "use_cache_quantization": False,
    "attn_dropout_prob": 0.0,
    "emb_dropout_prob": 0.0,
    "quantization_config": None,
}
_MAX_POSITIONS = 8192
_FRACTIONS = ("layer_norm_epsilon", "rotary_emb_base", "initializer_range")
_AUTO_MAP = {
    "AutoConfig": "configuration_qwen.QWenConfig",
    "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel",
}


def _check(
    path: Path, data: Mapping[str, Any], keys: Mapping[str, Any], fixed: Mapping[str, Any], part: str = ""
) -> None:
    missing = [part + key for key in keys if key not in data]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}: give the config.json of a published model")
    wrong = [
        f"{part}{key} is {data[key]!r} where only {value!r} is implemented"
        for key, value in {**{k: v for k, v in keys.items() if v is not None}, **fixed}.items()
        if key in data and data[key] != value
    ]
    for key, value in keys.items():
        given = data[key]
        if value is not None or isinstance(given, bool):
            continue
        if not isinstance(given, (int, float)):
            wrong.append(f"{part}{key} is {given!r}, not a number")
        elif not given > 0 or (given != int(given) and key not in _FRACTIONS):
            wrong.append(f"{part}{key} is {given!r}, which is no size")
        elif key == "seq_length" and given < 2:
            wrong.append(f"{part}{key} is {given!r}; it must be 2 or more, because its logarithm divides")
    if wrong:
        raise CheckpointError(f"{path}: {'; '.join(wrong)}: this model cannot be converted")


def text_config(path: Path, data: Mapping[str, Any]) -> QwenAudioTextConfig:
    """Configuration of the published language model in `data`, the content of `path`; CheckpointError if not ours."""
    _check(path, data, _TEXT_KEYS, _FIXED)
    heads, width = data["num_attention_heads"], data["hidden_size"]
    if data["kv_channels"] * heads != width:
        raise CheckpointError(
            f"{path}: kv_channels {data['kv_channels']} times num_attention_heads {heads} is not hidden_size {width}: "
            "this model cannot be converted"
        )
    return QwenAudioTextConfig(
        vocab_size=data["vocab_size"],
        hidden_size=width,
        num_hidden_layers=data["num_hidden_layers"],
        num_attention_heads=heads,
        num_key_value_heads=heads,
        # Published: the two halves of the MLP together.
        intermediate_size=data["intermediate_size"] // 2,
        rms_norm_eps=data["layer_norm_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": float(data["rotary_emb_base"])},
        initializer_range=data.get("initializer_range", 0.02),
        max_position_embeddings=data.get("max_position_embeddings", _MAX_POSITIONS),
        tie_word_embeddings=False,
        seq_length=data["seq_length"],
        use_dynamic_ntk=data["use_dynamic_ntk"],
        use_logn_attn=data["use_logn_attn"],
    )


def full_config(path: Path, data: Mapping[str, Any], audio_pad_id: int | None = None) -> QwenAudioConfig:
    """Configuration of a published Qwen-Audio.

    Args:
        audio_pad_id: id that fills an audio span. Published weights do not determine it, because every position of a
            span is overwritten. By default it is the id of the published tokenizer; where that is not a valid id, as
            with a vocabulary too small for the special tokens, the second after `<audio>`.
    """
    text = text_config(path, data)
    audio = data["audio"]
    _check(path, audio, _AUDIO_KEYS, {}, part="audio.")
    if audio["output_dim"] != text.hidden_size:
        raise CheckpointError(
            f"{path}: audio.output_dim {audio['output_dim']} is not hidden_size {text.hidden_size}: "
            "this model cannot be converted"
        )
    start = audio["audio_start_id"]
    if audio_pad_id is None:
        audio_pad_id = start - tags.SPECIAL_INDEX[tags.AUDIO_START] + tags.SPECIAL_INDEX[tags.AUDIO_PAD]
        if audio_pad_id < 0:
            audio_pad_id = start + 2
    if max(start + 1, audio_pad_id) >= text.vocab_size:
        raise CheckpointError(
            f"{path}: audio.audio_start_id {start} has no room for the ids of a span in vocab_size {text.vocab_size}: "
            "this model cannot be converted"
        )
    return QwenAudioConfig(
        audio_config=QwenAudioEncoderConfig(
            num_mel_bins=audio["n_mels"],
            d_model=audio["n_state"],
            encoder_layers=audio["n_layer"],
            encoder_attention_heads=audio["n_head"],
            encoder_ffn_dim=4 * audio["n_state"],
            max_source_positions=audio["n_ctx"],
        ),
        text_config=text,
        audio_start_token_id=start,
        audio_end_token_id=start + 1,
        audio_pad_token_id=audio_pad_id,
        tie_word_embeddings=False,
    )


def published_config(path: Path, config: QwenAudioConfig, dtype: torch.dtype) -> dict[str, Any]:
    """The published config.json of our configuration, read from `path`.

    Raises:
        CheckpointError: the published code does not support a value of this configuration.
    """
    text: Any = config.text_config
    audio: Any = config.audio_config
    heads = getattr(text, "num_attention_heads", 0)
    problems = {
        f"the language model is {text.model_type}": not isinstance(text, Qwen2Config),
        "heads share keys and values": getattr(text, "num_key_value_heads", heads) != heads,
        "attention slides": getattr(text, "sliding_window", None) is not None,
        "the rotary embedding is scaled": (text.rope_parameters or {}).get("rope_type") != "default",
        "the embeddings are tied": text.tie_word_embeddings,
        "the encoder's MLP is not four times its width": audio.encoder_ffn_dim != 4 * audio.d_model,
        "</audio> does not follow <audio>": config.audio_end_token_id != config.audio_start_token_id + 1,
    }
    wrong = [problem for problem, is_so in problems.items() if is_so]
    if wrong:
        raise CheckpointError(f"{path}: the published code cannot run this model: {', '.join(wrong)}")
    theta = text.rope_parameters["rope_theta"]
    return {
        "architectures": ["QWenLMHeadModel"],
        "auto_map": _AUTO_MAP,
        "model_type": "qwen",
        "vocab_size": text.vocab_size,
        "hidden_size": text.hidden_size,
        "num_attention_heads": heads,
        "kv_channels": text.hidden_size // heads,
        "num_hidden_layers": text.num_hidden_layers,
        "intermediate_size": 2 * text.intermediate_size,
        "max_position_embeddings": text.max_position_embeddings,
        "seq_length": getattr(text, "seq_length", text.max_position_embeddings),
        "layer_norm_epsilon": text.rms_norm_eps,
        "initializer_range": text.initializer_range,
        "rotary_emb_base": int(theta) if theta == int(theta) else theta,
        "rotary_pct": 1.0,
        "use_dynamic_ntk": getattr(text, "use_dynamic_ntk", False),
        "use_logn_attn": getattr(text, "use_logn_attn", False),
        "no_bias": True,
        "tie_word_embeddings": False,
        "bf16": dtype == torch.bfloat16,
        "fp16": dtype == torch.float16,
        "fp32": dtype == torch.float32,
        "torch_dtype": str(dtype).removeprefix("torch."),
        "audio": {
            "n_mels": audio.num_mel_bins,
            "n_ctx": audio.max_source_positions,
            "n_state": audio.d_model,
            "n_head": audio.encoder_attention_heads,
            "n_layer": audio.encoder_layers,
            "output_dim": text.hidden_size,
            "avg_pool": True,
            "add_audio_bos_eos_token": True,
            "audio_start_id": config.audio_start_token_id,
        },
    }


def whisper_config(path: Path, data: Mapping[str, Any]) -> QwenAudioEncoderConfig:
    """Configuration of the encoder of a transformers Whisper, or of OpenAI's `dims`; CheckpointError if not ours."""
    ours = (
        "num_mel_bins",
        "d_model",
        "encoder_layers",
        "encoder_attention_heads",
        "encoder_ffn_dim",
        "max_source_positions",
    )
    if "n_audio_state" in data:
        theirs = ("n_mels", "n_audio_state", "n_audio_layer", "n_audio_head", "n_audio_ctx")
        _check(path, data, dict.fromkeys(theirs), {}, part="dims.")
        values = {new: data[old] for new, old in zip(ours[:4], theirs[:4], strict=True)}
        values |= {"encoder_ffn_dim": 4 * data["n_audio_state"], "max_source_positions": data["n_audio_ctx"]}
    else:
        _check(path, data, dict.fromkeys(ours), {"activation_function": "gelu"})
        values = {key: data[key] for key in ours}
    if values["num_mel_bins"] != 80:
        raise CheckpointError(
            f"{path}: this encoder hears {values['num_mel_bins']} mel bands and this system makes 80: "
            "use a Whisper up to large-v2"
        )
    return QwenAudioEncoderConfig(**values)

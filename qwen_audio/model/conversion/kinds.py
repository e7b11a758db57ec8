"""Kinds of conversion sources, and the recognition of a source's kind."""

from __future__ import annotations

from pathlib import Path

from qwen_audio.model.configuration_qwen_audio import QwenAudioConfig
from qwen_audio.model.loading import CheckpointError, read_json

KINDS = {
    "published": "a published Qwen-Audio",
    "ours": "a model of this package",
    "encoder": "an encoder of this package",
    "whisper": "a Whisper",
    "whisper_file": "a Whisper",
    "qwen": "a Qwen-7B",
    "causal_lm": "a language model",
}
ENCODERS = ("whisper_file", "whisper", "encoder")


def kind_of(source: Path) -> str:
    """One of the keys of `KINDS`, from the file's or configuration's form; CheckpointError for any other."""
    if source.is_file():
        return "whisper_file"
    data = read_json(source / "config.json")
    model_type = data.get("model_type")
    if model_type == QwenAudioConfig.model_type:
        return "ours"
    if isinstance(data.get("audio"), dict) and "kv_channels" in data:
        return "published"
    own = {"qwen_audio_encoder": "encoder", "whisper": "whisper", "qwen": "qwen"}
    if model_type in own:
        return own[model_type]
    if not isinstance(model_type, str):
        raise CheckpointError(f"{source}/config.json has no model_type: give the directory of a model")
    return "causal_lm"

"""Configuration of a training run: one flat dataclass, read from one YAML file; unknown keys are errors."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from qwen_audio.data.sources import SourceConfig
from qwen_audio.model.presets import PRESETS
from qwen_audio.tag_styles import TAG_STYLES

STAGES = ("warmstart", "multitask")
OPTIMIZERS = ("adamw", "muon")


class ConfigError(ValueError):
    """The configuration cannot be used; the message names file and key."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything a run depends on.

    Attributes:
        stage: "warmstart" (encoder alone, CTC over the bytes of transcripts) or "multitask" (the whole model,
            next-token loss on the text).
        output: folder for checkpoints and the log.
        sources: the training mixture.
        preset: size of the model, if `init_from` does not give one.
        init_from: checkpoint, or folder of a run (its newest checkpoint), to start from; the preset is then ignored.
        seed: seed of weights, data and masks.
        steps: optimiser steps; the learning rate reaches its end at the last one.
        max_minutes: if set, the schedule ends no later than after so many minutes of training time. Such a run
            depends on the speed of the machine, and is not repeatable to the bit.
        batch_seconds: audio in a batch, counted with padding; 80 text tokens count as a second.
        max_seconds: longest example; longer ones are skipped and counted.
        chunk_size: examples sorted by length together.
        workers: data processes.
        optimizer: "adamw", or "muon" for the matrices of hidden layers (and AdamW for the rest).
        learning_rate, final_learning_rate, warmup_steps, weight_decay, beta2, clip_norm: linear warm-up and cosine
            decay, gradients clipped to a norm; `beta2` is AdamW's.
        ctc_weight: share of the CTC loss on the encoder in stage "multitask"; 0 leaves it out.
        question_share: how often a labelled example is asked as a free question instead of by tags.
        tag_style: what stands between audio and answer: the format's tags ("hierarchical"), one id token for each
            source and task ("dataset"), or nothing ("none"); see tag_styles.py.
        augment_share: how often an example's wave is distorted (speed, noise, rooms, band limits ...).
        time_masks, time_width, freq_masks, freq_width: SpecAugment.
        bf16: autocast to bfloat16 where the machine computes in it ("auto"), "on" or "off".
        threads: torch threads; 0 leaves torch's default.
        save_every: steps between checkpoints.
        keep: how many checkpoints stay.
        log_every: steps between lines of the log.
    """

    stage: str
    output: str
    sources: list[SourceConfig]
    preset: str = "tiny"
    init_from: str | None = None
    seed: int = 0
    steps: int = 1000
    max_minutes: float | None = None
    batch_seconds: float = 60.0
    max_seconds: float = 15.0
    chunk_size: int = 256
    workers: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    warmup_steps: int = 200
    weight_decay: float = 0.01
    beta2: float = 0.98
    clip_norm: float = 1.0
    ctc_weight: float = 0.0
    question_share: float = 0.3
    tag_style: str = "hierarchical"
    augment_share: float = 1.0
    time_masks: int = 2
    time_width: int = 20
    freq_masks: int = 2
    freq_width: int = 12
    bf16: str = "auto"
    threads: int = 0
    save_every: int = 500
    keep: int = 2
    log_every: int = 20

    def __post_init__(self) -> None:
        _one_of("stage", self.stage, STAGES)
        _one_of("preset", self.preset, PRESETS)
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("tag_style", self.tag_style, TAG_STYLES)
        _one_of("bf16", self.bf16, ("auto", "on", "off"))
        for key in ("steps", "batch_seconds", "max_seconds", "chunk_size", "learning_rate", "clip_norm",
                    "save_every", "keep", "log_every"):  # fmt: skip
            if not getattr(self, key) > 0:
                raise ConfigError(f"key {key!r} is {getattr(self, key)}; it must be more than 0")
        for key in ("workers", "warmup_steps", "weight_decay", "ctc_weight", "question_share", "augment_share",
                    "threads", "time_masks", "time_width", "freq_masks", "freq_width"):  # fmt: skip
            if getattr(self, key) < 0:
                raise ConfigError(f"key {key!r} is {getattr(self, key)}; it must be 0 or more")
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise ConfigError(f"key 'max_minutes' is {self.max_minutes}; it must be more than 0, or null")


def _one_of(key: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(f"key {key!r} is {value!r}; use one of {', '.join(allowed)}")


def load_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a YAML file. `${NAME}` in a value is taken from the environment.

    Args:
        path: the YAML file.
        overrides: "key=value" strings that replace top-level keys; the value is read as YAML.

    Raises:
        ConfigError: unreadable file, unknown or missing key, wrong type; names the file and the key.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: must hold key: value pairs at the top level")
    for item in overrides:
        key, sep, value = item.partition("=")
        if not sep:
            raise ConfigError(f"override {item!r} must have the form key=value")
        try:
            raw[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"override {item!r}: the value cannot be read as YAML") from None
    try:
        raw = _expand_environment(raw)
        sources = raw.get("sources")
        if not isinstance(sources, list) or not sources:
            raise ConfigError("key 'sources' must be a list of at least one source")
        raw["sources"] = [_build(SourceConfig, s, f"sources[{i}].") for i, s in enumerate(sources)]
        return _build(TrainConfig, raw, "")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _expand_environment(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _expand_environment(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand_environment(v) for v in value]
    if isinstance(value, str) and "${" in value:
        expanded = os.path.expandvars(value)
        if "${" in expanded:
            raise ConfigError(f"{value!r} names an environment variable that is not set: set it first")
        return expanded
    return value


_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str | None": (str, type(None)),
    "float | None": (int, float, type(None)),
}


def _build(cls: type, raw: Any, prefix: str) -> Any:
    if not isinstance(raw, dict):
        raise ConfigError(f"{prefix.rstrip('.') or 'the file'} must hold key: value pairs")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key, value in raw.items():
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(fields)}"
            raise ConfigError(f"unknown key {prefix + str(key)!r}; {hint}")
        want = _TYPES.get(str(fields[key].type))
        # bool is an int to Python, but a truth value is not a number to a reader.
        if want and (not isinstance(value, want) or (isinstance(value, bool) and bool not in want)):
            raise ConfigError(f"key {prefix + key!r} is {value!r}; it must be of type {fields[key].type}")
    for f in fields.values():
        needed = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if needed and f.name not in raw:
            raise ConfigError(f"key {prefix + f.name!r} is missing")
    return cls(**raw)


__all__ = ["STAGES", "ConfigError", "TrainConfig", "load_config"]

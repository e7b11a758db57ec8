"""Configuration of a training run: one flat dataclass, read from one YAML file; unknown keys are errors."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from qwen_audio.format.tag_styles import TAG_STYLES
from qwen_audio.model.presets import PRESETS
from qwen_audio.train.sources import SourceConfig

# Default parameters of each stage, unless `train` is given.
STAGES: dict[str, tuple[str, ...]] = {
    "warmstart": ("audio_tower.*", "ctc_head.*"),
    "text": ("language_model.*",),
    "multitask": ("audio_tower.*", "audio_projection.*", "audio_*_embedding", "ctc_head.*", "*.new_rows"),
    "sft": ("language_model.*",),
}
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
OPTIMIZERS = ("adamw", "muon")


class ConfigError(ValueError):
    """The configuration cannot be used; the message names file and key."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything a run depends on.

    Attributes:
        stage: "warmstart" (encoder alone, CTC over the bytes of transcripts), "text" (language model alone, next
            token), "multitask" (the answers of all tasks) or "sft" (the assistant's turns of dialogues).
        output: folder for checkpoints and the log.
        sources: the training mixture.
        train: which parameters are trained, as patterns over their names (`audio_tower.*`); all others are frozen.
            Null: the default of the stage. A pattern that ends in "new_rows" gives the vocabulary rows of the
            special tokens after Qwen's own a trained copy while the other rows are frozen.
        lora_rank, lora_alpha, lora_dropout, lora_targets: with a rank above 0, LoRA beside these linear layers of the
            language model; `train` null then trains LoRA alone.
        preset: size of the model, if `init_from` does not give one.
        init_from: checkpoint, or folder of a run (its newest checkpoint), to start from; the preset is then ignored.
        seed: seed of weights, data and masks.
        steps: optimiser steps; the learning rate reaches its end at the last one.
        max_minutes: if set, the schedule ends after at most this many minutes of training time. Such a run
            depends on the speed of the machine, and is not bitwise repeatable.
        batches_per_step: batches whose gradients are added up before a step, over all processes together. They are
            the same for any number of processes that divides it, and so is the training.
        batch_seconds: audio in a batch, counted with padding; 80 text tokens count as a second.
        max_seconds: longest example; longer ones are skipped and counted.
        chunk_size: examples sorted by length together.
        packing: rows of a batch joined to one sequence without padding, without attention between them.
        workers: data processes of each training process.
        optimizer: "adamw", or "muon" for the matrices of hidden layers (and AdamW for the rest).
        learning_rate, final_learning_rate, warmup_steps, weight_decay, beta2, clip_norm: linear warm-up and cosine
            decay, gradients clipped to a norm; `beta2` is AdamW's.
        bad_steps: number of consecutive steps whose loss or gradient may be not finite: such a step changes nothing
            and is counted in the log; one more ends the run.
        ema: decay of a running mean of the trained weights, kept beside them; 0 keeps none.
        ctc_weight: share of the CTC loss on the encoder in stage "multitask"; 0 leaves it out.
        question_share: share of the labelled examples asked as a free question instead of by tags.
        tag_style: tokens between audio and answer: the format's tags ("hierarchical"), one id token for each
            source and task ("dataset"), or nothing ("none"); see format/tag_styles.py.
        augment_share: share of the examples whose waveform is distorted (speed, noise, rooms, band limits ...).
        time_masks, time_width, freq_masks, freq_width: SpecAugment.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
        bf16: autocast to bfloat16 where the machine computes in it ("auto"), "on" or "off".
        compile: compile each layer with torch.compile.
        checkpoint_activations: recompute the activations of each layer in the backward pass instead of keeping them.
        threads: torch threads; 0 leaves torch's default.
        validate_manifest: examples that are answered and scored while training; never train on them.
        validate_every: steps between validations; 0: only at the end.
        validate_count: most examples of each source and task.
        tensorboard: also write the log for TensorBoard.
        save_every: steps between checkpoints.
        keep: number of checkpoints that stay.
        log_every: steps between lines of the log.
    """

    stage: str
    output: str
    sources: list[SourceConfig]
    train: list[str] | None = None
    lora_rank: int = 0
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0
    lora_targets: list[str] = field(default_factory=lambda: list(LORA_TARGETS))
    preset: str = "tiny"
    init_from: str | None = None
    seed: int = 0
    steps: int = 1000
    max_minutes: float | None = None
    batches_per_step: int = 1
    batch_seconds: float = 60.0
    max_seconds: float = 15.0
    chunk_size: int = 256
    packing: bool = False
    workers: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    warmup_steps: int = 200
    weight_decay: float = 0.01
    beta2: float = 0.98
    clip_norm: float = 1.0
    bad_steps: int = 3
    ema: float = 0.0
    ctc_weight: float = 0.0
    question_share: float = 0.3
    tag_style: str = "hierarchical"
    augment_share: float = 1.0
    time_masks: int = 2
    time_width: int = 20
    freq_masks: int = 2
    freq_width: int = 12
    device: str = "auto"
    bf16: str = "auto"
    compile: bool = False
    checkpoint_activations: bool = False
    threads: int = 0
    validate_manifest: str | None = None
    validate_every: int = 0
    validate_count: int = 50
    tensorboard: bool = False
    save_every: int = 500
    keep: int = 2
    log_every: int = 20

    def __post_init__(self) -> None:
        _one_of("stage", self.stage, tuple(STAGES))
        _one_of("preset", self.preset, PRESETS)
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("tag_style", self.tag_style, TAG_STYLES)
        _one_of("bf16", self.bf16, ("auto", "on", "off"))
        _one_of("device", self.device, ("auto", "cpu", "cuda"))
        for key in ("steps", "batches_per_step", "batch_seconds", "max_seconds", "chunk_size", "learning_rate",
                    "clip_norm", "save_every", "keep", "log_every", "lora_alpha", "validate_count"):  # fmt: skip
            if not getattr(self, key) > 0:
                raise ConfigError(f"key {key!r} is {getattr(self, key)}; it must be more than 0")
        for key in ("workers", "warmup_steps", "weight_decay", "ctc_weight", "question_share", "augment_share",
                    "threads", "time_masks", "time_width", "freq_masks", "freq_width", "lora_rank", "lora_dropout",
                    "bad_steps", "ema", "validate_every"):  # fmt: skip
            if getattr(self, key) < 0:
                raise ConfigError(f"key {key!r} is {getattr(self, key)}; it must be 0 or more")
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise ConfigError(f"key 'max_minutes' is {self.max_minutes}; it must be more than 0, or null")
        for key in ("ema", "lora_dropout"):
            if getattr(self, key) >= 1:
                raise ConfigError(f"key {key!r} is {getattr(self, key)}; it must be less than 1")
        for key in ("train", "lora_targets"):
            names = getattr(self, key)
            if names is not None and not (names and all(isinstance(name, str) for name in names)):
                raise ConfigError(f"key {key!r} must be a list of names, at least one")
        for key in ("question_share", "augment_share"):
            if getattr(self, key) > 1:
                raise ConfigError(f"key {key!r} is {getattr(self, key)}; it must be at most 1")
        if not 0 <= self.beta2 < 1:
            raise ConfigError(f"key 'beta2' is {self.beta2}; it must be 0 or more and less than 1")
        if not 0 <= self.final_learning_rate <= self.learning_rate:
            raise ConfigError(
                f"key 'final_learning_rate' is {self.final_learning_rate}; it must be from 0 to learning_rate"
            )
        if self.lora_rank and self.train is not None and not any("lora_" in name for name in self.train):
            raise ConfigError(
                "key 'lora_rank': nothing in 'train' names lora_; add \"*.lora_*\" or set train to null"
            )
        if self.lora_rank and self.stage == "warmstart":
            raise ConfigError("key 'lora_rank': stage warmstart has no use for LoRA; set it to 0")

    @property
    def trained(self) -> list[str]:
        """Patterns of the trained parameters."""
        if self.train is not None:
            return self.train
        if self.lora_rank:
            return ["*.lora_*"]
        return [p for p in STAGES[self.stage] if self.ctc or not p.startswith("ctc_head")]

    @property
    def ctc(self) -> bool:
        """True if the CTC head is used."""
        return self.stage == "warmstart" or (self.stage == "multitask" and self.ctc_weight > 0)


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
    "list[str]": (list,),
    "list[str] | None": (list, type(None)),
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
        # bool is a subclass of int in Python, but is not accepted as a number here.
        if want and (not isinstance(value, want) or (isinstance(value, bool) and bool not in want)):
            raise ConfigError(f"key {prefix + key!r} is {value!r}; it must be of type {fields[key].type}")
    for f in fields.values():
        needed = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if needed and f.name not in raw:
            raise ConfigError(f"key {prefix + f.name!r} is missing")
    return cls(**raw)


__all__ = ["STAGES", "ConfigError", "TrainConfig", "load_config"]

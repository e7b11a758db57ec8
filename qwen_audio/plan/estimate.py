"""Estimate of a whole run: parameters, FLOPs, days, memory of a GPU, data; the output of `qwen-audio plan`.

All examples are taken to be alike: one clip of the mean length, a prompt and an answer. Batches are made as in
training, by seconds, and the rows of a batch are packed or equal, so no padding is counted.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields

from qwen_audio.audio.features import mel_frames, span_length
from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.mixture import TOKENS_PER_SECOND
from qwen_audio.model.presets import config as preset_config
from qwen_audio.plan.flops import BatchShape, Flops, flops_per_step
from qwen_audio.plan.inventory import inventory
from qwen_audio.plan.memory import Types, memory, parameters
from qwen_audio.train.config import STAGES as TRAINED_BY_STAGE

# Trained parameters of each stage, without its CTC head. Stage "text" has no hours to count in.
STAGES: dict[str, tuple[str, ...]] = {
    stage: tuple(pattern for pattern in patterns if not pattern.startswith("ctc_head"))
    for stage, patterns in TRAINED_BY_STAGE.items()
    if stage != "text"
}
# LibriSpeech's 960.9 hours of 16 kHz speech are 59.3 GB of FLAC (https://www.openslr.org/12).
FLAC_BYTES_PER_SECOND = 59.3e9 / 960.9 / 3600


@dataclass(frozen=True)
class Gpu:
    """A GPU by its maker's data sheet: dense bfloat16 FLOPs per second, and bytes of memory."""

    flops: float
    memory: float


# NVIDIA's data sheets, SXM where there is one, without sparsity.
GPUS = {
    "a100": Gpu(312e12, 80e9),
    "a100-40": Gpu(312e12, 40e9),
    "h100": Gpu(989e12, 80e9),
    "h200": Gpu(989e12, 141e9),
    "b200": Gpu(2250e12, 180e9),
    "l40s": Gpu(362e12, 48e9),
    "rtx4090": Gpu(165e12, 24e9),
}


@dataclass(frozen=True)
class Run:
    """A run to plan.

    Attributes:
        preset: size of the model.
        stage: "warmstart", "multitask" or "sft"; sets the trained parameters unless `train` is given.
        hours: of audio in the data; `epochs`: passes over it.
        gpus, gpu: number of GPUs, and their type (`GPUS`).
        mfu: model FLOPs utilisation, as a share of the GPU's peak, without recomputation.
        batch_seconds: of a GPU's batch, as in a training configuration: 80 text tokens count as a second.
        batches_per_gpu: batches of each GPU that make one optimiser step.
        clip_seconds: mean length of a clip.
        prompt_length, target_length: mean text tokens of an example without a loss and with one.
        lora_rank: of adapters on the language model, which is then frozen itself.
        checkpointing: activations are recomputed instead of kept.
        train: patterns of the trained parameters instead of the stage's.
    """

    preset: str = "qwen-audio-7b"
    stage: str = "multitask"
    hours: float = 1000.0
    epochs: float = 1.0
    gpus: int = 8
    gpu: str = "h100"
    mfu: float = 0.4
    batch_seconds: float = 240.0
    batches_per_gpu: int = 1
    clip_seconds: float = 10.0
    prompt_length: int = 8
    target_length: int = 30
    lora_rank: int = 0
    checkpointing: bool = False
    train: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ValueError(f"no plan for stage {self.stage!r}: use {', '.join(STAGES)}")
        if self.gpu not in GPUS:
            raise ValueError(f"no GPU named {self.gpu!r} here: use {', '.join(GPUS)}")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not abs(value) <= sys.float_info.max:
                raise ValueError(f"{field.name} is not a finite number: give one that is")
        above = (
            "hours",
            "epochs",
            "gpus",
            "mfu",
            "batch_seconds",
            "batches_per_gpu",
            "clip_seconds",
            "target_length",
        )
        for key in above:
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} is {getattr(self, key)}; it must be more than 0")
        for key in ("prompt_length", "lora_rank"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key} is {getattr(self, key)}; it must be 0 or more")
        if self.mfu > 1:
            raise ValueError(f"mfu is {self.mfu:g}; it is a share of the peak, at most 1")
        if self.clip_seconds > 30:
            raise ValueError(f"clip_seconds is {self.clip_seconds:g}; the model takes at most 30")
        if self.lora_rank and self.stage == "warmstart":
            raise ValueError("lora_rank: a warm start has no language model; leave it out")

    @property
    def trained(self) -> tuple[str, ...]:
        """Patterns of the trained parameters, without adapters."""
        if self.train:
            return tuple(self.train)
        return () if self.lora_rank else STAGES[self.stage]

    @property
    def shape(self) -> BatchShape:
        """One batch of one GPU.

        Raises:
            ValueError: not even one example fits.
        """
        text = 0 if self.stage == "warmstart" else self.prompt_length + self.target_length
        rows = int(self.batch_seconds / (self.clip_seconds + text / TOKENS_PER_SECOND))
        if not rows:
            raise ValueError(f"no clip of {self.clip_seconds:g} s fits batch_seconds {self.batch_seconds:g}")
        mel = mel_frames(round(self.clip_seconds * SAMPLE_RATE))
        if self.stage == "warmstart":
            return BatchShape((mel,) * rows, (), 0, ctc=True)
        row = span_length(mel) + text
        return BatchShape((mel,) * rows, (row,) * rows, rows * self.target_length)


@dataclass(frozen=True)
class Plan:
    """The costs of a run.

    Attributes:
        run: the run.
        parameters: trained and frozen parameters of each part.
        shape: one batch of one GPU.
        flops: FLOPs of such a batch, by part.
        memory: bytes on one GPU, by item.
        steps: optimiser steps.
        seconds: of the whole run.
    """

    run: Run
    parameters: dict[str, tuple[int, int]]
    shape: BatchShape
    flops: dict[str, Flops]
    memory: dict[str, int]
    steps: float
    seconds: float

    @property
    def total_flops(self) -> float:
        """FLOPs of the whole run, recomputation included."""
        return self.flops["total"].hardware * self.steps * self.run.gpus * self.run.batches_per_gpu

    @property
    def fits(self) -> bool:
        """True if the memory suffices."""
        return sum(self.memory.values()) <= GPUS[self.run.gpu].memory

    @property
    def traffic(self) -> float:
        """Bytes that each GPU receives for a batch: weights twice, gradients once (Rajbhandari et al., section 7)."""
        trained, frozen = (sum(part[i] for part in self.parameters.values()) for i in (0, 1))
        return (2 * 2 * (trained + frozen) + 4 * trained) * (self.run.gpus - 1) / self.run.gpus

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of one checkpoint: weights in their stored types, and AdamW's moments."""
        return sum(12 * trained + 2 * frozen for trained, frozen in self.parameters.values())


def plan(run: Run) -> Plan:
    """Compute the plan of a run.

    Raises:
        ValueError: a batch that holds no example, or a pattern that matches no parameter.
    """
    config = preset_config(run.preset)
    stock = inventory(config)
    selection = stock.select(run.trained)
    shape = run.shape
    flops = flops_per_step(
        config, shape, run.trained, lora_rank=run.lora_rank, checkpointing=run.checkpointing
    )
    examples = run.hours * 3600 * run.epochs / run.clip_seconds
    steps = examples / (len(shape.clips) * run.gpus * run.batches_per_gpu)
    batch_seconds = flops["total"].hardware / (GPUS[run.gpu].flops * run.mfu)
    used = parameters(stock, selection, run.lora_rank)
    if run.stage == "warmstart":
        used = {"encoder": used["encoder"]}
    items = memory(
        stock,
        selection,
        shape.packed() if shape.rows else shape,
        run.gpus,
        lora_rank=run.lora_rank,
        checkpointing=run.checkpointing,
        types=Types(),
    )
    planned = Plan(run, used, shape, flops, items, steps, steps * run.batches_per_gpu * batch_seconds)
    if not all(math.isfinite(n) and n > 0 for n in (steps, planned.seconds, planned.total_flops)):
        raise ValueError("the numbers of this run are too large or too small to reckon with: give others")
    return planned


def report(planned: Plan) -> str:
    """The plan as Markdown tables."""
    run, shape = planned.run, planned.shape
    total, gpu = planned.flops["total"], GPUS[run.gpu]
    examples = run.hours * 3600 * run.epochs / run.clip_seconds
    heard = run.hours * 3600 * run.epochs
    lines = [
        "| part | trained parameters | frozen parameters |",
        "|---|--:|--:|",
        *(f"| {part} | {t:,} | {f:,} |" for part, (t, f) in planned.parameters.items()),
        "",
        "| operations for a second of audio, 10^9 | forward | backward | computed twice |",
        "|---|--:|--:|--:|",
        *(_row(part, f, len(shape.clips) * run.clip_seconds) for part, f in planned.flops.items()),
        "",
        "| memory of one GPU | GB |",
        "|---|--:|",
        *(f"| {item} | {n / 1e9:.1f} |" for item, n in planned.memory.items()),
        f"| total, at most | {sum(planned.memory.values()) / 1e9:.1f} |",
        "",
        "| run | |",
        "|---|--:|",
        f"| examples; audio tokens and text tokens | {examples:,.0f}; {_tokens(planned, examples)} |",
        f"| batch of a GPU | {len(shape.clips)} examples, {len(shape.clips) * run.clip_seconds:,.0f} s of audio |",
        f"| optimiser steps | {planned.steps:,.0f} |",
        f"| operations in all | {planned.total_flops:.2e} |",
        f"| utilisation of the peak ({gpu.flops / 1e12:,.0f} TFLOPS): model, hardware | "
        f"{run.mfu * total.model / total.hardware:.0%}, {run.mfu:.0%} |",
        f"| time on {run.gpus} {run.gpu} | {_time(planned.seconds)} |",
        f"| GPU hours | {planned.seconds * run.gpus / 3600:,.1f} |",
        f"| audio read, hours in an hour of training | {heard / planned.seconds:,.0f} |",
        f"| data as 16 kHz FLAC; read at | {run.hours * 3600 * FLAC_BYTES_PER_SECOND / 1e12:,.2f} TB; "
        f"{heard * FLAC_BYTES_PER_SECOND / planned.seconds / 1e6:,.1f} MB/s |",
        f"| network, into each GPU, for a batch of {_batch_time(planned):.2f} s | {planned.traffic / 1e9:.1f} GB: "
        f"{planned.traffic / 1e9 / _batch_time(planned):.0f} GB/s |",
        f"| one checkpoint | {planned.checkpoint_bytes / 1e9:.1f} GB |",
    ]
    if not planned.fits:
        lines += [
            "",
            f"This does not fit: a {run.gpu} has {gpu.memory / 1e9:.0f} GB. "
            "Use more GPUs, a smaller batch, activation checkpointing or LoRA.",
        ]
    return "\n".join(lines)


def _row(part: str, flops: Flops, seconds: float) -> str:
    return f"| {part} | " + " | ".join(f"{n / seconds / 1e9:,.1f}" for n in flops) + " |"


def _time(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours / 24:,.1f} days" if hours >= 48 else f"{hours:,.1f} hours"


def _batch_time(planned: Plan) -> float:
    return planned.seconds / planned.steps / planned.run.batches_per_gpu


def _tokens(planned: Plan, examples: float) -> str:
    run, shape = planned.run, planned.shape
    if not shape.rows:
        return "none (a warm start)"
    text = run.prompt_length + run.target_length
    return f"{examples * (shape.rows[0] - text) / 1e6:,.1f} M and {examples * text / 1e6:,.1f} M"

"""Optimisers and their learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from qwen_audio.train.adapters import NEW_ROWS
from qwen_audio.train.config import TrainConfig


def learning_rate(config: TrainConfig, step: int, progress: float) -> float:
    """Linear warm-up over `warmup_steps`, then a cosine from the peak to the final rate over `progress` 0..1."""
    warmup = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    low, high = config.final_learning_rate, config.learning_rate
    cosine = low + (high - low) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return warmup * cosine


def set_learning_rate(optimizers: Sequence[torch.optim.Optimizer], lr: float) -> None:
    """Set one rate for all optimisers."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr


def make_optimizers(config: TrainConfig, module: torch.nn.Module) -> list[torch.optim.Optimizer]:
    """AdamW for all trained parameters; or Muon for the matrices of hidden layers and AdamW for the rest.

    Matrices decay, vectors and embeddings do not. Muon's step has the root mean square of AdamW's (`match_rms_adamw`,
    Liu et al. 2025, arXiv 2502.16982, section 2.2), so one learning rate serves both. Three Newton-Schulz steps
    trained as fast as the usual five, step for step.
    """
    hidden: list[torch.nn.Parameter] = []
    decay: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
    for name, p in module.named_parameters():
        if not p.requires_grad:
            continue
        if p.ndim < 2 or "embed" in name or name.endswith(NEW_ROWS):
            plain.append(p)
        elif config.optimizer == "muon" and p.ndim == 2 and "head" not in name:
            hidden.append(p)
        else:
            decay.append(p)
    groups = [{"params": decay, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizers: list[torch.optim.Optimizer] = []
    if decay or plain:
        optimizers.append(
            torch.optim.AdamW(
                [group for group in groups if group["params"]],
                lr=config.learning_rate,
                betas=(0.9, config.beta2),
                fused=True,
            )
        )
    if hidden:
        optimizers.append(
            torch.optim.Muon(
                hidden,
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
                adjust_lr_fn="match_rms_adamw",
                ns_steps=3,
            )
        )
    return optimizers

"""The tensors of a run under the names of its checkpoints, and their restoring.

Weights: the plain model under its own names. State: everything else that the next step depends on: adapters, the CTC
head, the optimisers' moments, the running mean. There is no random state: the random numbers of a step come from the
seed and the step number.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from qwen_audio.train import checkpoint
from qwen_audio.train.adapters import is_adapter
from qwen_audio.train.stages import TrainingModule, name_of

_MOMENTS = {torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"), torch.optim.Muon: ("momentum_buffer",)}


def weights(module: TrainingModule) -> tuple[dict[str, Tensor], set[str]]:
    """The plain model's tensors, and the names of those that are frozen."""
    found = {
        name_of(name): p
        for name, p in module.named_parameters()
        if name.startswith("model.") and not is_adapter(name)
    }
    return {k: p.detach() for k, p in found.items()}, {k for k, p in found.items() if not p.requires_grad}


def beside(module: TrainingModule) -> dict[str, Tensor]:
    """Trained parts that the plain model has no place for: adapters and the CTC head."""
    return {
        name_of(name): p.detach()
        for name, p in module.named_parameters()
        if is_adapter(name) or name.startswith("ctc_head.")
    }


def moments(module: TrainingModule, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """The optimisers' tensors; those of parameters that have had no gradient yet are made, as zeros."""
    names = {parameter: name_of(name) for name, parameter in module.named_parameters()}
    tensors = {}
    for optimizer in optimizers:
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            state = optimizer.state[parameter]
            for key in _MOMENTS[type(optimizer)]:
                if key not in state:
                    state[key] = torch.zeros(()) if key == "step" else torch.zeros_like(parameter)
                tensors[f"optimizer.{key}.{names[parameter]}"] = state[key]
    return tensors


class Mean:
    """A running mean of the trained parameters: mean = decay * mean + (1 - decay) * value after each step.

    The decay grows with the steps, min(decay, (1 + n) / (10 + n)), so that the initial values lose weight quickly.
    """

    def __init__(self, module: TrainingModule, decay: float) -> None:
        self.decay = decay
        self.parameters = {
            name_of(name): p for name, p in module.named_parameters() if decay and p.requires_grad
        }
        self.tensors = {f"ema.{name}": p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters after step number `step` (the first is 1)."""
        if self.tensors:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(
                list(self.tensors.values()), [p.detach() for p in self.parameters.values()], 1 - decay
            )


def read(
    folder: Path, module: TrainingModule, optimizers: Sequence[torch.optim.Optimizer], mean: Mean
) -> None:
    """Fill all tensors of a run from its checkpoint; CheckpointError if one is missing or does not fit."""
    checkpoint.read(folder, weights(module)[0], kind="weights")
    state = {**beside(module), **moments(module, optimizers), **mean.tensors}
    checkpoint.read(folder, state, kind="state")

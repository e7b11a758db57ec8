"""What a stage trains and on which loss. The loop knows nothing of the model; a stage knows nothing of time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qwen_audio.data.collate import Batch
from qwen_audio.model.modeling_encoder import encoder_frames
from qwen_audio.model.modeling_qwen_audio import IGNORE_INDEX, QwenAudioForConditionalGeneration

# Bytes of UTF-8, plus the blank of CTC as class 0.
CTC_CLASSES = 257


class Losses(dict[str, tuple[float, int]]):
    """Sum and count of a loss by task, for the log."""


class Stage(Protocol):
    """A module to train (with parts `.model` and `.ctc_head`) and the loss of a batch."""

    module: Any

    def loss(self, batch: Batch) -> tuple[Tensor, Losses]: ...


def ctc_loss(head: Callable[[Tensor], Tensor], frames: Tensor, batch: Batch) -> Tensor:
    """Mean CTC loss per target byte over the clips that have a transcript.

    Args:
        head: maps `(N, S, D)` to `(N, S, CTC_CLASSES)`.
        frames: encoder frames before pooling `(N, S, D)`.
    """
    has = batch.ctc_lengths > 0
    if not has.any():
        return frames.new_zeros((), dtype=torch.float32)
    log_probs = head(frames[has]).float().log_softmax(-1).transpose(0, 1)
    total = F.ctc_loss(
        log_probs,
        batch.ctc_targets,
        encoder_frames(batch.inputs["feature_lengths"])[has],
        batch.ctc_lengths[has],
        reduction="sum",
    )
    return total / batch.ctc_lengths.sum()


class _WithHead(nn.Module):
    """The model and the CTC head, which is used in training only and never exported."""

    def __init__(self, model: QwenAudioForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        self.ctc_head = nn.Linear(model.audio_tower.config.d_model, CTC_CLASSES)

    def head(self, frames: Tensor) -> Tensor:
        return self.ctc_head(self.model.audio_tower.layer_norm(frames))


class WarmStart:
    """The encoder alone learns to spell: CTC over bytes. Stands in for starting from Whisper's encoder."""

    def __init__(self, model: QwenAudioForConditionalGeneration) -> None:
        self.module: Any = _WithHead(model)

    def loss(self, batch: Batch) -> tuple[Tensor, Losses]:
        tower = self.module.model.audio_tower
        frames = tower.encode(batch.inputs["input_features"], batch.inputs["feature_lengths"])
        loss = ctc_loss(self.module.head, frames, batch)
        return loss, Losses(ctc=(float(loss.detach()), 1))


class Multitask:
    """Next-token loss over all tasks, plus `ctc_weight` of the CTC loss on the encoder."""

    def __init__(self, model: QwenAudioForConditionalGeneration, ctc_weight: float) -> None:
        self.module: Any = _WithHead(model)
        self.ctc_weight = ctc_weight
        self._frames: Tensor | None = None
        if ctc_weight:
            # The frames before pooling exist only inside the encoder: keep those of the last layer.
            model.audio_tower.layers[-1].register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, args: object, output: Tensor) -> None:
        self._frames = output

    def loss(self, batch: Batch) -> tuple[Tensor, Losses]:
        output = self.module.model(**batch.inputs)
        loss = output.loss
        losses = _by_task(output.token_losses.detach(), batch)
        if self.ctc_weight and self._frames is not None:
            ctc = ctc_loss(self.module.head, self._frames, batch)
            self._frames = None
            losses["ctc"] = (float(ctc.detach()), 1)
            loss = loss + self.ctc_weight * ctc
        return loss, losses


def _by_task(token_losses: Tensor, batch: Batch) -> Losses:
    labelled = batch.inputs["labels"][:, 1:] != IGNORE_INDEX
    rows = labelled.nonzero()[:, 0]
    sums = torch.zeros(len(batch.tasks)).index_add_(0, rows, token_losses.float()).tolist()
    counts = labelled.sum(1).tolist()
    losses = Losses()
    for task, s, n in zip(batch.tasks, sums, counts, strict=True):
        old_sum, old_n = losses.get(task, (0.0, 0))
        losses[task] = (old_sum + s, old_n + n)
    return losses

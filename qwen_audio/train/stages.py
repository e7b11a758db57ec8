"""Trained parameters and loss of each stage. The loop is independent of the model, a stage of the schedule.

| stage | trained by default | loss |
|---|---|---|
| warmstart | encoder | CTC over the bytes of the transcript; stands in for starting from Whisper |
| text | language model | next token of text alone; stands in for starting from Qwen-7B |
| multitask | encoder, projection, begin and end vectors, rows of new tokens | next token of the answer |
| sft | language model | next token of the assistant's turns |

`TrainConfig.train` names other parts to train, by pattern.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qwen_audio.data.collate import Batch
from qwen_audio.model.modeling_encoder import encoder_frames
from qwen_audio.model.modeling_qwen_audio import IGNORE_INDEX, QwenAudioForConditionalGeneration
from qwen_audio.train.adapters import plain_name
from qwen_audio.train.config import ConfigError

# Bytes of UTF-8, plus the blank of CTC as class 0.
CTC_CLASSES = 257


@dataclass(frozen=True)
class StepLoss:
    """The loss sums of a batch.

    Attributes:
        text: sum of the cross-entropy over labelled tokens.
        ctc: sum of the CTC loss over clips with a transcript.
        by_task: sum and count of the text loss of each task.
    """

    text: Tensor
    ctc: Tensor
    by_task: dict[str, tuple[float, int]]


class TrainingModule(nn.Module):
    """The model and a CTC head on its encoder; the head is used in training only and never exported.

    Args:
        model: the model.
        text: run the language model (else the encoder alone).
        ctc: run the CTC head.
    """

    def __init__(self, model: QwenAudioForConditionalGeneration, text: bool, ctc: bool) -> None:
        super().__init__()
        self.model = model
        self.ctc_head = nn.Linear(model.audio_tower.config.d_model, CTC_CLASSES)
        self.text = text
        self.ctc = ctc
        # In a split model every process must gather every layer, also one whose batch has no recording.
        self.always_listen = False

    def forward(self, batch: Batch) -> StepLoss:
        """The loss sums of a batch on this module's device."""
        text = ctc = torch.zeros((), device=self.ctc_head.weight.device)
        by_task: dict[str, tuple[float, int]] = {}
        heard = "input_features" in batch.inputs
        inputs = dict(batch.inputs)
        if not heard and self.always_listen:
            nothing = 0.0 * self._silence()
            text = text + nothing
            if self.text:  # the gradient passes through the language model here as it does elsewhere
                embeds = self.model.get_input_embeddings()(inputs.pop("input_ids"))
                inputs["inputs_embeds"] = embeds + nothing.to(embeds.dtype)
        frames = None
        if self.text:
            output = self.model(**inputs)
            frames, losses = output.audio_frames, output.token_losses
            text = text + losses.sum()
            by_task = _by_task(losses.detach(), batch)
        elif heard:
            tower = self.model.audio_tower
            frames = tower.encode(batch.inputs["input_features"], batch.inputs["feature_lengths"])
        if self.ctc and frames is not None:
            ctc = ctc_sum(self._head, frames, batch)
        return StepLoss(text, ctc, by_task)

    def _silence(self) -> Tensor:
        """A sum that depends on every audio parameter, from a silent clip; the layers run once, as with a batch."""
        device = self.ctc_head.weight.device
        tower = self.model.audio_tower
        frames = tower.encode(
            torch.zeros(1, tower.config.num_mel_bins, 8, device=device), torch.tensor([8], device=device)
        )
        parts = [self._head(frames)] if self.ctc else []
        if self.text:
            parts += [self.model.audio_projection(tower.pool(frames))]
            parts += [self.model.audio_start_embedding, self.model.audio_end_embedding]
        return torch.stack([part.float().sum() for part in parts]).sum()

    def _head(self, frames: Tensor) -> Tensor:
        return self.ctc_head(self.model.audio_tower.layer_norm(frames))


def ctc_sum(head: Callable[[Tensor], Tensor], frames: Tensor, batch: Batch) -> Tensor:
    """Sum of the CTC loss over the clips that have a transcript.

    Args:
        head: maps `(N, S, D)` to `(N, S, CTC_CLASSES)`.
        frames: encoder frames before pooling `(N, S, D)`.
    """
    has = batch.ctc_lengths > 0
    if not has.any():
        # It passes through the head even so: in a split model every process takes part in its gradient.
        return 0.0 * head(frames[:1]).float().sum()
    log_probs = head(frames[has]).float().log_softmax(-1).transpose(0, 1)
    return F.ctc_loss(
        log_probs,
        batch.ctc_targets,
        encoder_frames(batch.inputs["feature_lengths"])[has],
        batch.ctc_lengths[has],
        reduction="sum",
    )


def _by_task(token_losses: Tensor, batch: Batch) -> dict[str, tuple[float, int]]:
    rows = batch.label_rows
    sums = (
        torch.zeros(len(batch.tasks), device=rows.device).index_add_(0, rows, token_losses.float()).tolist()
    )
    counts = torch.bincount(rows, minlength=len(batch.tasks)).tolist()
    losses: dict[str, tuple[float, int]] = {}
    for task, s, n in zip(batch.tasks, sums, counts, strict=True):
        old_sum, old_n = losses.get(task, (0.0, 0))
        losses[task] = (old_sum + s, old_n + n)
    return losses


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on another device."""
    if device.type == "cpu":
        return batch
    moved: dict[str, Any] = {
        f.name: value.to(device)
        for f in dataclasses.fields(batch)
        if isinstance(value := getattr(batch, f.name), Tensor)
    }
    inputs = {k: v.to(device) for k, v in batch.inputs.items()}
    return dataclasses.replace(batch, inputs=inputs, **moved)


def labelled_tokens(batch: Batch) -> int:
    """Tokens of a batch that carry a loss."""
    return int((batch.inputs["labels"][:, 1:] != IGNORE_INDEX).sum())


def name_of(parameter: str) -> str:
    """A parameter of a TrainingModule by the name that patterns and checkpoints use."""
    return plain_name(parameter.removeprefix("model."))


def freeze(module: TrainingModule, patterns: Sequence[str]) -> None:
    """Train the parameters that match one of the patterns and freeze all others.

    Raises:
        ConfigError: a pattern that matches nothing.
    """
    names = [name_of(name) for name, _ in module.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            parts = ", ".join(sorted({name.split(".")[0] for name in names}))
            raise ConfigError(
                f"key 'train': {pattern!r} matches no parameter; names begin with {parts} (as audio_tower.conv1.weight)"
            )
    for name, parameter in module.named_parameters():
        trained = any(fnmatchcase(name_of(name), pattern) for pattern in patterns)
        parameter.requires_grad_(trained)
        if trained:
            parameter.data = parameter.data.float()


def freeze_map(module: TrainingModule) -> list[tuple[str, int, int]]:
    """Parts of the model with their numbers of trained and frozen parameters."""
    counts: dict[str, list[int]] = {}
    for name, parameter in module.named_parameters():
        part = ".".join(_part(name_of(name)))
        counts.setdefault(part, [0, 0])[not parameter.requires_grad] += parameter.numel()
    return [(part, trained, frozen) for part, (trained, frozen) in counts.items()]


def _part(name: str) -> Iterator[str]:
    """The beginning of a name by which parameters are counted: layers together, LoRA and new rows by themselves."""
    pieces = name.split(".")
    yield pieces[0]
    for piece in pieces[1:-1]:
        if piece in ("layers", "embed_tokens", "lm_head"):
            yield piece
            break
    for mark in ("lora_A", "lora_B"):
        if mark in pieces:
            yield mark
    if pieces[-1] == "new_rows":
        yield pieces[-1]


def layers_of(model: Any) -> list[nn.Module]:
    """The layers of both towers, each the unit in which a large model is split, compiled and recomputed."""
    decoder = model.language_model.base_model
    layers = getattr(decoder, "layers", None) or getattr(decoder, "h", None)
    if layers is None:
        raise ConfigError(
            f"the layers of {type(decoder).__name__} are not known: use a Qwen- or Llama-like model"
        )
    return [*model.audio_tower.layers, *layers]

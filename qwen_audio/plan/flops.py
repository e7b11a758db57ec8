"""FLOPs of a training step, counted from shapes alone: the numerator of every utilisation here.

A multiplication with its addition counts as two FLOPs. Only matrix products and convolutions are counted, as in
Chowdhery et al. 2022 (PaLM, arXiv 2204.02311, appendix B); norms, activations and the rotary embedding are left out.
For a matrix of `i` by `o` that reads n vectors, where each line counts 2 n i o:

    forward                                          always
    backward, the gradient of its input              where anything before it is trained
    backward, the gradient of the matrix             where it is trained itself

so a trained layer costs three forwards, and a frozen one between the loss and a trained layer costs two. Attention of
a row of n vectors with h heads of width w is two products of 2 n^2 h w each, and the backward of a product is as much
again for each of its two sides that has a gradient. Causal attention is counted whole, as PaLM does. The output layer
reads only the positions with a label.

`tests/plan/test_plan.py` compares these counts with those of torch in real steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from qwen_audio.audio.features import audio_tokens, encoder_frames
from qwen_audio.model.configuration_qwen_audio import QwenAudioConfig
from qwen_audio.plan.inventory import (
    INTO_ATTENTION,
    OUT_OF_ATTENTION,
    OUT_OF_MLP,
    Inventory,
    Layer,
    Selection,
    Tower,
    inventory,
)

# Outputs of the CTC head: the bytes and the blank (`qwen_audio.train.stages.CTC_CLASSES`).
CTC_CLASSES = 257
KERNEL = 3  # of the two convolutions
_QUERY_KEY_VALUE = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True)
class BatchShape:
    """The sizes of a batch that determine its FLOPs.

    Attributes:
        clips: mel frames (10 ms) of each clip.
        rows: positions of the language model in each row, audio spans included; none in a warm start.
        labels: labelled positions in all rows.
        ctc: True if the CTC head reads the encoder's frames.
    """

    clips: tuple[int, ...]
    rows: tuple[int, ...]
    labels: int
    ctc: bool = False

    @classmethod
    def of(cls, inputs: Mapping[str, Tensor], ctc: bool = False) -> BatchShape:
        """Shape of the model's inputs, padding left out; a packed row counts as the rows in it."""
        ids = inputs["input_ids"]
        clips = tuple(inputs["feature_lengths"].tolist()) if "feature_lengths" in inputs else ()
        mask, positions = inputs.get("attention_mask"), inputs.get("position_ids")
        if mask is not None:
            rows = mask.sum(1).tolist()
        elif positions is not None:
            starts = (positions.flatten() == 0).nonzero().flatten().tolist()
            rows = [b - a for a, b in zip(starts, [*starts[1:], ids.numel()], strict=True)]
        else:
            rows = [ids.shape[1]] * ids.shape[0]
        labels = int((inputs["labels"][:, 1:] != -100).sum()) if "labels" in inputs else 0
        return cls(clips, tuple(rows), labels, ctc)

    def padded(self) -> BatchShape:
        """The shape with every clip and row padded to the longest."""
        longest = [(max(x),) * len(x) if x else () for x in (self.clips, self.rows)]
        return BatchShape(longest[0], longest[1], self.labels, self.ctc)

    def packed(self) -> BatchShape:
        """The shape with the rows joined, and attention masked, not skipped, between them."""
        return BatchShape(self.clips, (sum(self.rows),), self.labels, self.ctc)


class Flops(NamedTuple):
    """FLOPs of a part; `recomputed` are those of the second forward under activation checkpointing."""

    forward: int = 0
    backward: int = 0
    recomputed: int = 0

    @property
    def model(self) -> int:
        """FLOPs without recomputation: the numerator of model FLOPs utilisation (MFU)."""
        return self.forward + self.backward

    @property
    def hardware(self) -> int:
        """FLOPs with recomputation: the numerator of hardware FLOPs utilisation."""
        return self.model + self.recomputed

    def plus(self, other: Flops) -> Flops:
        """The sum."""
        return Flops(*(a + b for a, b in zip(self, other, strict=True)))


def flops_per_step(
    config: QwenAudioConfig,
    shape: BatchShape,
    trained: Sequence[str] = ("*",),
    *,
    lora_rank: int = 0,
    checkpointing: bool = False,
) -> dict[str, Flops]:
    """FLOPs of one training step (forward and backward; the optimiser does no matrix products).

    Args:
        config: of the model.
        shape: of the batch; give `shape.padded()` to count padding.
        trained: patterns (`fnmatch`) over parameter names, as `train` of a training configuration; "*.new_rows" are
            the rows of new tokens in a frozen embedding and output layer. Everything else is frozen.
        lora_rank: rank of trained adapters on every matrix of the language model's layers; 0 for none.
        checkpointing: layers that the backward passes through are computed a second time.

    Returns:
        `Flops` of "encoder", "projection", "language model" and "head" (with the CTC head), and their "total".

    Raises:
        ValueError: a pattern matches no parameter, or the plan does not know this kind of language model.
    """
    stock = inventory(config)
    count = _Count(stock, stock.select(trained), lora_rank, checkpointing)
    parts = {"encoder": count.encoder(shape)}
    parts["projection"] = count.projection(shape)
    parts["language model"] = count.text(shape)
    parts["head"] = count.head(shape)
    total = Flops()
    for part in parts.values():
        total = total.plus(part)
    return parts | {"total": total}


@dataclass
class _Count:
    """Walk through the model in the order of the forward; `flowing`: True if a gradient goes back from here."""

    stock: Inventory
    selection: Selection
    lora_rank: int
    checkpointing: bool
    flowing: bool = False

    def encoder(self, shape: BatchShape) -> Flops:
        """Two convolutions, the layers, and the CTC head where there is one."""
        tower, total = self.stock.encoder, Flops()
        frames = [encoder_frames(mel) for mel in shape.clips]
        if not frames:
            return total
        for name, inputs, positions in (
            ("conv1", self.stock.mel_bins, sum(shape.clips)),
            ("conv2", tower.width, sum(frames)),
        ):
            one = 2 * positions * KERNEL * inputs * tower.width
            weight, bias = (f"audio_tower.{name}.{kind}" for kind in ("weight", "bias"))
            total = total.plus(self._product(one, weight, bias))
        for layer in tower.layers:
            total = total.plus(self._layer(layer, tower, frames, 0))
        if shape.ctc:
            one = 2 * sum(frames) * tower.width * CTC_CLASSES
            reached = self.flowing or self._has("audio_tower.layer_norm.")
            # The CTC head exists in training only, and is trained.
            total = total.plus(Flops(one, one * (1 + reached)))
        return total

    def projection(self, shape: BatchShape) -> Flops:
        """One matrix, from the encoder's width to the language model's."""
        if not shape.rows or not shape.clips:
            return Flops()
        self._pass("audio_tower.layer_norm.weight", "audio_tower.layer_norm.bias")
        tokens = sum(audio_tokens(mel) for mel in shape.clips)
        one = 2 * tokens * self.stock.encoder.width * self.stock.text.width
        flops = self._product(one, "audio_projection.weight", "audio_projection.bias")
        self._pass("audio_start_embedding", "audio_end_embedding")
        return flops

    def text(self, shape: BatchShape) -> Flops:
        """The layers of the language model."""
        total = Flops()
        self._pass(self.stock.embedding)
        self.flowing = self.flowing or self.selection.rows > 0
        for layer in self.stock.text.layers if shape.rows else ():
            total = total.plus(self._layer(layer, self.stock.text, shape.rows, self.lora_rank))
        return total

    def head(self, shape: BatchShape) -> Flops:
        """The output layer, at labelled positions."""
        if not shape.rows:
            return Flops()
        self.flowing = self.flowing or any(".norm." in name for name in self.selection.names)
        one = 2 * shape.labels * self.stock.text.width * self.stock.vocabulary
        flops = self._product(one, self.stock.head)
        if self.stock.head not in self.selection.names:
            flops = flops.plus(Flops(0, one * self.selection.rows // self.stock.vocabulary))
        return flops

    def _layer(self, layer: Layer, tower: Tower, rows: Sequence[int], lora_rank: int) -> Flops:
        total, last = Flops(), 0
        positions = sum(rows)
        reached: dict[str, bool] = {}  # whether the output of a matrix has a gradient
        for role in range(INTO_ATTENTION, OUT_OF_MLP + 1):
            self._pass(*(name for name, before in layer.norms.items() if before == role))
            if role == OUT_OF_ATTENTION:
                sides = [
                    self.flowing or reached.get(leaf, any(reached.values())) for leaf in _QUERY_KEY_VALUE
                ]
                total = total.plus(_attention(tower, rows, sides))
            entering = self.flowing = self.flowing or any(reached.values())
            for matrix in (m for m in layer.matrices if m.role == role):
                self.flowing = entering  # those of one role read the same input
                last = 2 * positions * matrix.inputs * matrix.outputs
                total = total.plus(self._product(last, matrix.name, matrix.bias))
                if lora_rank:
                    down, up = (2 * positions * lora_rank * n for n in (matrix.inputs, matrix.outputs))
                    total = total.plus(Flops(down + up, down * (1 + entering) + up * 2))
                reached[matrix.leaf] = self.flowing or lora_rank > 0
        self.flowing = self.flowing or any(reached.values())
        if self.checkpointing and self.flowing:
            # The second forward stops once the backward has all it needs: the last product is not part of that.
            total = total.plus(Flops(0, 0, total.forward - last))
        return total

    def _product(self, one: int, name: str, bias: str | None = None) -> Flops:
        """A product of `one` FLOPs with a parameter, as the forward reaches it."""
        flops = Flops(one, one * (self.flowing + (name in self.selection.names)))
        self._pass(name, bias)
        return flops

    def _pass(self, *names: str | None) -> None:
        self.flowing = self.flowing or any(name in self.selection.names for name in names)

    def _has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.selection.names)


def _attention(tower: Tower, rows: Sequence[int], reached: Sequence[bool]) -> Flops:
    """Two products; `reached`: True for those of queries, keys and values that have a gradient."""
    one = 2 * sum(n * n for n in rows) * tower.heads * tower.head_width
    query, key, value = reached
    return Flops(2 * one, one * (query + key + (query or key) + value))


def utilisation(flops: Flops, seconds: float, peak: float) -> float:
    """Model FLOPs utilisation: FLOPs without recomputation, as a share of the peak over that time.

    Args:
        flops: of a step.
        seconds: that it took.
        peak: FLOPs per second of all devices together.
    """
    return flops.model / (seconds * peak)

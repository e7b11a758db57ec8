"""Memory of one GPU in a training step, by item, with the model split over all of them (FSDP2, fully sharded).

As `qwen_audio.train` keeps them: trained weights in float32 with gradient and AdamW's two moments, 16 bytes a
parameter (Rajbhandari et al. 2020, ZeRO, arXiv 1910.02054, section 3.1, has the same sum with bfloat16 copies); frozen
weights in bfloat16. Layers are gathered in bfloat16, the one that computes and the next. Everything outside the layers
(embeddings, output layer, convolutions, projection) is one unit that stays whole from the forward to the backward.

Activations are the tensors that autograd keeps for the backward, layer by layer as in the code (Korthikanti et al.
2022, arXiv 2205.05198, count GPT's in the same way). `tests/plan/test_plan.py` compares them with real steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qwen_audio.audio.features import encoder_frames
from qwen_audio.model.linear_cross_entropy import CHUNK
from qwen_audio.plan.flops import BatchShape
from qwen_audio.plan.inventory import (
    INTO_ATTENTION,
    INTO_MLP,
    OUT_OF_ATTENTION,
    OUT_OF_MLP,
    Inventory,
    Layer,
    Selection,
    Tower,
)

# CUDA's context, the communicators' buffers and gaps between blocks; an allowance, not a measurement.
RESERVE = 3 * 10**9


@dataclass(frozen=True)
class Types:
    """Bytes of a number: `compute` of activations. `autocast`: norms compute in float32 and their output is cast again
    for every matrix that reads it."""

    compute: int = 2
    autocast: bool = True


def parameters(stock: Inventory, selection: Selection, lora_rank: int) -> dict[str, tuple[int, int]]:
    """Trained and frozen parameters of each part; adapters and new rows are parts of their own."""
    counts = {part: [0, 0] for part in ("encoder", "projection", "language model", "embeddings")}
    for name, n in stock.parameters.items():
        counts[stock.part(name)][name not in selection.names] += n
    sides = {stock.embedding, stock.head} - selection.names
    counts["new rows"] = [selection.rows * stock.text.width * len(sides), 0]
    counts["adapters"] = [sum(_adapters(layer, lora_rank) for layer in stock.text.layers), 0]
    return {part: (n[0], n[1]) for part, n in counts.items() if sum(n)}


def _adapters(layer: Layer, rank: int) -> int:
    return sum(rank * (m.inputs + m.outputs) for m in layer.matrices)


def activations(
    stock: Inventory,
    selection: Selection,
    shape: BatchShape,
    *,
    lora_rank: int = 0,
    checkpointing: bool = False,
    types: Types | None = None,
) -> dict[str, int]:
    """Bytes that are kept for the backward of one batch, by part.

    Args:
        shape: of the batch, as computed (`padded` or `packed`).
        checkpointing: layers keep only their input, and one layer at a time everything.

    Attention is assumed to be fused: it keeps its inputs, its output and a number for each query and head.
    """
    types = types or Types()
    encoder_reached, text_reached = stock.reached(selection, lora_rank > 0, bool(shape.clips))
    frames = sum(encoder_frames(mel) for mel in shape.clips)
    positions = sum(shape.rows)
    width, hidden = stock.encoder.width, stock.text.width
    layers = [
        frames * encoder_layer(layer, stock.encoder, selection, types) for layer in stock.encoder.layers
    ]
    kept = {"encoder": _kept(layers, encoder_reached, frames * width * types.compute, checkpointing)}
    if any(".conv" in name for name in selection.names):
        # The masked features; both outputs for GELU; between them the input of the second convolution.
        per_frame = 2 * stock.mel_bins + 2 * width + 2 * width + width
        kept["encoder"] += frames * per_frame * types.compute
    if encoder_reached and encoder_reached[-1] and positions:
        kept["encoder"] += frames * width * types.compute  # pairs pooled, before and after the last norm
    # A mask of pairs of positions is converted to floats for each layer.
    pairs = sum(n * n for n in shape.rows) * types.compute
    layers = [
        positions * text_layer(layer, stock.text, selection, lora_rank, types) + pairs
        for layer in stock.text.layers
    ]
    kept["language model"] = _kept(layers, text_reached, positions * hidden * types.compute, checkpointing)
    if positions:
        kept["language model"] += positions * hidden * 4  # of the last norm
    return kept


def _kept(layers: list[int], reached: list[bool], entering: int, checkpointing: bool) -> int:
    used = [layer for layer, passed in zip(layers, reached, strict=True) if passed]
    if checkpointing and used:
        return len(used) * entering + max(used)
    return sum(used)


def encoder_layer(layer: Layer, tower: Tower, selection: Selection, types: Types) -> int:
    """Bytes that a layer of the encoder keeps for one frame."""
    read = _read(layer, selection, types, 0)
    norms = 2 * (tower.width * (4 if types.autocast else types.compute) + 8)  # with a mean and a deviation
    attention = 4 * tower.width * types.compute + 4 * tower.heads  # queries, keys, values, output, logarithms
    inner = sum(m.outputs for m in layer.matrices if m.role == INTO_MLP)
    gelu = inner * types.compute
    # The output of attention is kept already.
    return (
        norms
        + attention
        + gelu
        + read
        - tower.width * types.compute * _any(layer, selection, OUT_OF_ATTENTION)
    )


def text_layer(layer: Layer, tower: Tower, selection: Selection, lora_rank: int, types: Types) -> int:
    """Bytes that a layer of the language model keeps for one position."""
    norms = 0
    for norm in layer.norms:
        size = {"q_norm": tower.heads, "k_norm": tower.key_value_heads}.get(norm.split(".")[-2])
        width = size * tower.head_width if size else tower.width
        # RMSNorm works in float32; its weight's gradient needs the result, which the matrices after it cannot share.
        norms += width * 4 + width * types.compute * (norm in selection.names)
    # Queries, keys, values, output, logarithms; grouped keys and values are repeated for each head of the queries.
    attention = 4 * tower.heads * tower.head_width * types.compute + 4 * tower.heads
    # gate, up and the SiLU of the gate
    inner = max(m.inputs for m in layer.matrices if m.role == OUT_OF_MLP)
    gated = 3 * inner * types.compute
    read = _read(layer, selection, Types(types.compute, False), lora_rank)
    shared = _any(layer, selection, OUT_OF_ATTENTION) or lora_rank > 0
    return norms + attention + gated + read - tower.heads * tower.head_width * types.compute * shared


def _read(layer: Layer, selection: Selection, types: Types, lora_rank: int) -> int:
    """Inputs of trained matrices: one for all that read the same, or one each where a cast makes copies."""
    total = 0
    for role in (INTO_ATTENTION, OUT_OF_ATTENTION, INTO_MLP, OUT_OF_MLP):
        readers = [m for m in layer.matrices if m.role == role and (m.name in selection.names or lora_rank)]
        copies = len(readers) if types.autocast else min(len(readers), 1)
        total += sum(m.inputs for m in readers[:copies]) + lora_rank * len(readers)
    return total * types.compute


def _any(layer: Layer, selection: Selection, role: int) -> bool:
    return any(m.name in selection.names for m in layer.matrices if m.role == role)


def output_layer(stock: Inventory, selection: Selection, labels: int, types: Types) -> int:
    """Bytes of the logits of a chunk in two types, its gradient, and the summed gradient of a trained output matrix."""
    logits = min(labels, CHUNK) * stock.vocabulary * (4 + 2 * types.compute)
    vectors = 3 * labels * stock.text.width * types.compute
    rows = stock.vocabulary if stock.head in selection.names else selection.rows
    return logits + vectors + rows * stock.text.width * 4


def memory(
    stock: Inventory,
    selection: Selection,
    shape: BatchShape,
    gpus: int,
    *,
    lora_rank: int = 0,
    checkpointing: bool = False,
    types: Types | None = None,
) -> dict[str, int]:
    """Bytes on one of `gpus` GPUs by item; all of them at once are an upper bound of the peak.

    With one GPU nothing is gathered, but autocast keeps bfloat16 copies of trained matrices.
    """
    types = types or Types()
    parts = parameters(stock, selection, lora_rank)
    trained, frozen = (sum(part[i] for part in parts.values()) for i in (0, 1))
    kept = activations(stock, selection, shape, lora_rank=lora_rank, checkpointing=checkpointing, types=types)
    return {
        "trained weights (float32)": _share(4 * trained, gpus),
        "frozen weights (bfloat16)": _share(2 * frozen, gpus),
        "gradients (float32)": _share(4 * trained, gpus),
        "AdamW's moments (float32)": _share(8 * trained, gpus),
        "gathered weights and gradients": _gathered(stock, selection, trained, gpus, lora_rank),
        "activations of the encoder": kept["encoder"],
        "activations of the language model": kept["language model"],
        "output layer": output_layer(stock, selection, shape.labels, types) if shape.rows else 0,
        "allowance for the runtime": RESERVE,
    }


def _share(total: int, gpus: int) -> int:
    return -(-total // gpus)


def _gathered(stock: Inventory, selection: Selection, trained: int, gpus: int, lora_rank: int) -> int:
    if gpus == 1:
        return 2 * trained
    sizes: Mapping[str, int] = stock.parameters
    whole, learnt = [], []
    inside: set[str] = set()
    for tower, rank in ((stock.encoder, 0), (stock.text, lora_rank)):
        for layer in tower.layers:
            inside |= layer.names
            extra = _adapters(layer, rank)
            whole.append(sum(sizes[n] for n in layer.names) + extra)
            learnt.append(sum(sizes[n] for n in layer.names & selection.names) + extra)
    outside = set(sizes) - inside
    root = sum(sizes[n] for n in outside)
    root_learnt = sum(sizes[n] for n in outside & selection.names) + 2 * selection.rows * stock.text.width
    # A gradient is whole in bfloat16, and in float32 while it is summed over the GPUs.
    return 2 * root + 2 * 2 * max(whole) + (2 + 4) * (root_learnt + max(learnt))

"""Attention inside each row of a packed batch, one row after the other, instead of a mask over all of them.

    model.set_attn_implementation("by_rows")

With a mask, attention scores of all pairs of positions are computed and most are discarded: with ten rows of
equal length nine tenths. Here each row is computed by itself: on a CPU in plain matrix products, which in bfloat16
train faster there than the fused kernel; elsewhere by `F.scaled_dot_product_attention`. Batches that are not packed
(generation, padded rows) are computed as with "sdpa". Importing this module registers the name with transformers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from . import hf

NAME = "by_rows"


def row_lengths(position_ids: Tensor) -> tuple[int, ...]:
    """Lengths of the rows of one packed sequence `(1, L)`, whose positions start again at 0 in each."""
    starts: list[int] = (position_ids[0] == 0).nonzero()[:, 0].tolist()
    ends = [*starts[1:], position_ids.shape[1]]
    return tuple(end - start for start, end in zip(starts, ends, strict=True))


def attention_by_rows(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    row_lengths: tuple[int, ...] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention function with the signature that transformers calls.

    Args:
        module: if its `is_causal` is true, positions do not attend to those after them.
        query: `(B, heads, L, width)`; key and value with their own number of heads and positions.
        attention_mask: used where there are no `row_lengths`.
        row_lengths: lengths of the rows joined in the one sequence of the batch.

    Returns:
        `(B, L, heads, width)`, and None for the weights, which are not kept.
    """
    causal = bool(getattr(module, "is_causal", True))
    on_cpu = query.device.type == "cpu"
    if row_lengths is None and not (on_cpu and attention_mask is None and not causal):
        out, _ = hf.sdpa_attention(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return out, None
    # Without lengths it is one clip of the encoder, which splits the clips itself.
    lengths = row_lengths or (query.shape[2],)
    outs = []
    queries, keys, values = (t.split(lengths, dim=2) for t in (query, key, value))
    for q, k, v in zip(queries, keys, values, strict=True):
        if on_cpu:
            outs.append(_plain(q, k, v, scaling, causal))
        else:
            outs.append(hf.sdpa_attention(module, q, k, v, None, scaling=scaling, **kwargs)[0])
    return torch.cat(outs, dim=1), None


def _plain(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, causal: bool) -> Tensor:
    """Softmax attention of one row in three steps: `(B, L, heads, width)`."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
    scores = (query * (query.shape[-1] ** -0.5 if scaling is None else scaling)) @ key.transpose(-1, -2)
    if causal:
        length = query.shape[2]
        future = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
        scores = scores.masked_fill(future, torch.finfo(scores.dtype).min)
    return (scores.softmax(-1).to(value.dtype) @ value).transpose(1, 2)


hf.register_attention(NAME, attention_by_rows)

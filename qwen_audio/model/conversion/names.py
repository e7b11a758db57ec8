"""Names of published tensors and of ours, the mapping in both directions, and the check of names and shapes.

The published model names the encoder's tensors as OpenAI's Whisper files do; transformers' Whisper has our names. The
published language model keeps query, key and value in one matrix and calls the MLP's gate `w2`, its other half `w1`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from qwen_audio.model.loading import CheckpointError

from .. import hf
from .files import Output, TensorInfo, Weights

Shape = tuple[int, ...]

_ENCODER_LAYER = {
    "attn_ln": "self_attn_layer_norm",
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "mlp_ln": "final_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
}
_TEXT_LAYER = {
    "ln_1.weight": ("input_layernorm.weight",),
    "attn.c_attn.weight": tuple(f"self_attn.{x}_proj.weight" for x in "qkv"),
    "attn.c_attn.bias": tuple(f"self_attn.{x}_proj.bias" for x in "qkv"),
    "attn.c_proj.weight": ("self_attn.o_proj.weight",),
    "ln_2.weight": ("post_attention_layernorm.weight",),
    "mlp.w1.weight": ("mlp.up_proj.weight",),
    "mlp.w2.weight": ("mlp.gate_proj.weight",),
    "mlp.c_proj.weight": ("mlp.down_proj.weight",),
}
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
POSITIONS = "transformer.audio.positional_embedding"
ROTARY = "transformer.rotary_emb.inv_freq"


@dataclass(frozen=True)
class Link:
    """`theirs` holds our tensors one after another along its first axis; `stacked`: as its rows."""

    theirs: str
    ours: tuple[str, ...]
    stacked: bool = False


def encoder_names(layers: int) -> dict[str, str]:
    """Our name of each tensor that OpenAI's Whisper has in an encoder of so many layers, its position table aside."""
    pairs = [("conv1", "conv1"), ("conv2", "conv2"), ("ln_post", "layer_norm")]
    for n in range(layers):
        pairs += [(f"blocks.{n}.{old}", f"layers.{n}.{new}") for old, new in _ENCODER_LAYER.items()]
    return {
        f"{old}.{kind}": f"{new}.{kind}"
        for old, new in pairs
        for kind in ("weight", "bias")
        if not (kind == "bias" and old.endswith(".key"))
    }


def text_links(layers: int) -> list[Link]:
    """Links from Qwen-7B's tensors to those of our language model."""
    links = [
        Link("transformer.wte.weight", (EMBEDDING,)),
        Link("transformer.ln_f.weight", ("model.norm.weight",)),
    ]
    for n in range(layers):
        links += [
            Link(f"transformer.h.{n}.{old}", tuple(f"model.layers.{n}.{name}" for name in new))
            for old, new in _TEXT_LAYER.items()
        ]
    return [*links, Link("lm_head.weight", (HEAD,))]


def published_links(encoder_layers: int, text_layers: int) -> list[Link]:
    """Links from every learned tensor of a published Qwen-Audio to ours."""
    links = [
        Link(f"transformer.audio.{old}", (f"audio_tower.{new}",))
        for old, new in encoder_names(encoder_layers).items()
    ]
    links += [
        Link(f"transformer.audio.proj.{kind}", (f"audio_projection.{kind}",)) for kind in ("weight", "bias")
    ]
    tags = ("audio_start_embedding", "audio_end_embedding")
    links.append(Link("transformer.audio.audio_bos_eos_token.weight", tags, stacked=True))
    return links + [
        replace(link, ours=tuple(f"language_model.{name}" for name in link.ours))
        for link in text_links(text_layers)
    ]


def shapes_of(config: Any) -> tuple[dict[str, Shape], set[str]]:
    """Names and shapes of the tensors of the model that a configuration describes, and the names that are tied."""
    with torch.device("meta"):
        skeleton = hf.model_class_of(config)(config)
    return {name: tuple(tensor.shape) for name, tensor in skeleton.state_dict().items()}, hf.tied_names(
        skeleton
    )


class TensorMismatch(CheckpointError):
    """Weights that do not fit: `missing` and `unexpected` names, `misshapen` {name: (shape there, shape due)}."""

    def __init__(
        self,
        where: object,
        missing: Sequence[str],
        unexpected: Sequence[str],
        misshapen: Mapping[str, tuple[Shape, Shape]],
    ) -> None:
        self.missing, self.unexpected, self.misshapen = list(missing), list(unexpected), dict(misshapen)
        wrong = [f"{name} is {there} where {due} is due" for name, (there, due) in misshapen.items()]
        parts = [
            f"{len(names)} {what} ({_some(names)})"
            for what, names in (("missing", missing), ("unexpected", unexpected), ("misshapen", wrong))
            if names
        ]
        super().__init__(f"{where}: the tensors do not fit its configuration: {'; '.join(parts)}")


def _some(names: Sequence[str], limit: int = 20) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def check_tensors(
    where: object,
    found: Mapping[str, TensorInfo],
    due: Mapping[str, Shape],
    may_be_there: Callable[[str], bool] = lambda name: False,
) -> None:
    """Raise TensorMismatch with all faults unless `found` has every tensor of `due`, with its shape, and no other
    than those that `may_be_there` accepts."""
    numbers = [name for name in due if name in found and not found[name].dtype.is_floating_point]
    if numbers:
        raise CheckpointError(f"{where}: these weights are not floating point: {_some(numbers)}")
    missing = [name for name in due if name not in found]
    unexpected = [name for name in found if name not in due and not may_be_there(name)]
    misshapen = {
        name: (found[name].shape, shape)
        for name, shape in due.items()
        if name in found and found[name].shape != shape
    }
    if missing or unexpected or misshapen:
        raise TensorMismatch(where, missing, unexpected, misshapen)


def their_shapes(links: Iterable[Link], ours: Mapping[str, Shape]) -> dict[str, Shape]:
    """Shapes that the linked tensors must have, from the shapes of ours."""
    shapes: dict[str, Shape] = {}
    for link in links:
        first = ours[link.ours[0]]
        if link.stacked:
            shapes[link.theirs] = (len(link.ours), *first)
        else:
            shapes[link.theirs] = (sum(ours[name][0] for name in link.ours), *first[1:])
    return shapes


def to_ours(
    links: Sequence[Link], weights: Weights, shapes: Mapping[str, Shape], prefix: str = ""
) -> list[Output]:
    """Our tensors out of theirs, in the order of the files they come from."""
    outputs = []
    for link in _in_file_order(links, lambda link: link.theirs, weights):
        start = 0
        for row, name in enumerate(link.ours):
            info = TensorInfo(weights.info[link.theirs].dtype, shapes[name])
            if link.stacked:
                pick: int | slice = row
            else:
                pick = slice(start, start + shapes[name][0])
                start += shapes[name][0]
            outputs.append(Output(prefix + name, info, partial(_part, weights, link.theirs, pick)))
    return outputs


def _part(weights: Weights, name: str, pick: int | slice) -> Tensor:
    return weights.read(name)[pick]


def to_theirs(links: Sequence[Link], weights: Weights, shapes: Mapping[str, Shape]) -> list[Output]:
    """Their tensors out of ours, in the order of the files they come from."""
    due = their_shapes(links, shapes)
    return [
        Output(
            link.theirs,
            TensorInfo(weights.info[link.ours[0]].dtype, due[link.theirs]),
            partial(_joined, weights, link),
        )
        for link in _in_file_order(links, lambda link: link.ours[0], weights)
    ]


def _joined(weights: Weights, link: Link) -> Tensor:
    if len(link.ours) == 1:
        return weights.read(link.ours[0])
    parts = [weights.read(name) for name in link.ours]
    return torch.stack(parts) if link.stacked else torch.cat(parts)


def _in_file_order(links: Iterable[Link], name: Callable[[Link], str], weights: Weights) -> list[Link]:
    place = {key: index for index, key in enumerate(weights.info)}
    return sorted(links, key=lambda link: place[name(link)])

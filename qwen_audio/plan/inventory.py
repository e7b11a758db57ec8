"""Inventory of a model for a plan: its parameters by name, and its matrices in the order of a forward pass.

The model is built without memory (torch's meta device), so the counts are exact at any size.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from qwen_audio.model.configuration_qwen_audio import QwenAudioConfig
from qwen_audio.model.modeling_qwen_audio import QwenAudioForConditionalGeneration

# Role of a matrix in a layer: it reads the input, ends the attention, or begins or ends the MLP.
INTO_ATTENTION, OUT_OF_ATTENTION, INTO_MLP, OUT_OF_MLP = range(4)
_ROLES = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj", "qkv_proj"), INTO_ATTENTION),
    **dict.fromkeys(("o_proj", "out_proj"), OUT_OF_ATTENTION),
    **dict.fromkeys(("gate_proj", "up_proj", "gate_up_proj", "fc1"), INTO_MLP),
    **dict.fromkeys(("down_proj", "fc2"), OUT_OF_MLP),
}
# Norms, by the first matrices that read them.
_NORMS = {
    **dict.fromkeys(("input_layernorm", "self_attn_layer_norm"), INTO_ATTENTION),
    **dict.fromkeys(("q_norm", "k_norm"), OUT_OF_ATTENTION),
    **dict.fromkeys(("post_attention_layernorm", "final_layer_norm"), INTO_MLP),
}


@dataclass(frozen=True)
class Matrix:
    """A matrix of a layer.

    Attributes:
        name: of its parameter, as in a checkpoint.
        inputs, outputs: its width on either side.
        role: its place in the layer.
        bias: name of its bias, if it has one.
    """

    name: str
    inputs: int
    outputs: int
    role: int
    bias: str | None

    @property
    def leaf(self) -> str:
        return self.name.split(".")[-2]


@dataclass(frozen=True)
class Layer:
    """A transformer layer: its matrices in order, and its norms by the role of the matrices that come after them."""

    matrices: tuple[Matrix, ...]
    norms: Mapping[str, int]

    @property
    def names(self) -> set[str]:
        """Its parameters."""
        return {n for m in self.matrices for n in (m.name, m.bias) if n} | set(self.norms)


@dataclass(frozen=True)
class Tower:
    """The layers of one transformer, and the sizes of its attention."""

    layers: tuple[Layer, ...]
    width: int
    heads: int
    key_value_heads: int
    head_width: int


@dataclass(frozen=True)
class Selection:
    """The trained part: parameters by name, and a number of rows of an otherwise frozen embedding and output layer."""

    names: frozenset[str]
    rows: int = 0


@dataclass(frozen=True)
class Inventory:
    """A model in numbers.

    Attributes:
        parameters: numbers in each parameter, by canonical name; a tied output layer is not named twice.
        encoder, text: the two transformers.
        mel_bins: mel bands of the input.
        vocabulary: rows of the embedding and of the output layer.
        new_rows: those from the audio padding on, which the language model's own vocabulary ends before.
        embedding, head: the names of these two; the same where they are tied.
    """

    parameters: Mapping[str, int]
    encoder: Tower
    text: Tower
    mel_bins: int
    vocabulary: int
    new_rows: int
    embedding: str
    head: str

    def part(self, name: str) -> str:
        """The part of the model that a parameter belongs to."""
        if name.startswith("audio_tower."):
            return "encoder"
        if name.startswith("audio_"):
            return "projection"
        if name in (self.embedding, self.head):
            return "embeddings"
        return "language model"

    def select(self, patterns: Sequence[str]) -> Selection:
        """The parameters that patterns (`fnmatch`) over names train, as in a training configuration.

        Adapters, new rows and the CTC head are not parameters of the model itself, so patterns for them are accepted
        without a lookup.

        Raises:
            ValueError: a pattern matches no parameter.
        """
        found: set[str] = set()
        rows = False
        for pattern in patterns:
            if pattern.endswith("new_rows"):
                rows = True
            elif not (pattern.startswith("ctc_head") or "lora_" in pattern):
                names = {name for name in self.parameters if fnmatchcase(name, pattern)}
                if not names:
                    close = difflib.get_close_matches(pattern, self.parameters, n=1, cutoff=0)
                    raise ValueError(
                        f"no parameter is named {pattern!r}; there is, for example, {close[0]!r}"
                    )
                found |= names
        return Selection(frozenset(found), self.new_rows if rows else 0)

    def reached(self, selection: Selection, lora: bool, clips: bool) -> tuple[list[bool], list[bool]]:
        """For each layer of the encoder and of the language model, True if a gradient passes or arises in it."""
        trained = selection.names
        flowing = clips and any(name in trained for name in self.parameters if ".conv" in name)
        encoder: list[bool] = []
        for layer in self.encoder.layers:
            flowing = flowing or (clips and not trained.isdisjoint(layer.names))
            encoder.append(flowing)
        others = (n for n in trained if n.startswith("audio_") and ".layers." not in n)
        flowing = flowing or (clips and any(others)) or self.embedding in trained or selection.rows > 0
        text: list[bool] = []
        for layer in self.text.layers:
            flowing = flowing or lora or not trained.isdisjoint(layer.names)
            text.append(flowing)
        return encoder, text


def inventory(config: QwenAudioConfig) -> Inventory:
    """Build the inventory of a model from its configuration.

    Raises:
        ValueError: its language model has layers of another kind than Qwen's and Llama's, such as experts.
    """
    kind: Any = type(config)
    return _inventory(kind, config.to_json_string(use_diff=False))


@lru_cache(maxsize=8)
def _inventory(kind: Any, text: str) -> Inventory:
    config = kind(**json.loads(text))
    with torch.device("meta"):
        model = QwenAudioForConditionalGeneration(config)
    names = {id(p): name for name, p in model.named_parameters()}
    audio: Any = config.audio_config
    language: Any = config.get_text_config()
    heads = language.num_attention_heads
    base: Any = model.language_model.base_model
    return Inventory(
        parameters={name: p.numel() for name, p in model.named_parameters()},
        encoder=Tower(
            layers=_layers(list(model.audio_tower.layers), names),
            width=audio.d_model,
            heads=audio.encoder_attention_heads,
            key_value_heads=audio.encoder_attention_heads,
            head_width=audio.d_model // audio.encoder_attention_heads,
        ),
        text=Tower(
            layers=_layers(base.layers, names),
            width=language.hidden_size,
            heads=heads,
            key_value_heads=getattr(language, "num_key_value_heads", None) or heads,
            head_width=getattr(language, "head_dim", None) or language.hidden_size // heads,
        ),
        mel_bins=audio.num_mel_bins,
        vocabulary=language.vocab_size,
        new_rows=language.vocab_size - config.audio_pad_token_id,
        embedding=names[id(model.get_input_embeddings().weight)],
        head=names[id(model.get_output_embeddings().weight)],
    )


def _layers(modules: Collection[nn.Module], names: Mapping[int, str]) -> tuple[Layer, ...]:
    layers = []
    for module in modules:
        matrices: list[Matrix] = []
        norms: dict[str, int] = {}
        for path, child in module.named_modules():
            leaf = path.split(".")[-1]
            own = {key: names[id(p)] for key, p in child.named_parameters(recurse=False)}
            if isinstance(child, nn.Linear) and leaf in _ROLES:
                role = _ROLES[leaf]
                sizes = child.in_features, child.out_features
                matrices.append(Matrix(own["weight"], *sizes, role, own.get("bias")))
            elif leaf in _NORMS:
                norms.update(dict.fromkeys(own.values(), _NORMS[leaf]))
            elif own:
                raise ValueError(
                    f"the plan knows layers as in Qwen2, Qwen3 and Llama, not {next(iter(own.values()))!r}: "
                    "use a language model without experts"
                )
        layers.append(Layer(tuple(sorted(matrices, key=lambda m: m.role)), norms))
    return tuple(layers)

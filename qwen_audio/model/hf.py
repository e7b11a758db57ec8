"""Every use of transformers that is not its public interface, or that has another name in another version.

Everything else is imported from `transformers` itself; nothing outside this file asks for a version or tries an import.
Run with transformers 5.20, 5.21, 5.22, 5.23 and 5.24 (`scripts/check_versions`).

- The KV cache as an argument and in outputs (`CACHE` to `BackboneOutput`): `past_key_values` up to 5.23, `cache`
  since 5.24, which takes the old name until 5.40 (arguments) or 6.0 (outputs). A layer that is given the other name
  ignores it and computes without a cache, so no other file writes the name in a call.
- Attention (`causal_mask` to `SetsAttention`): `create_causal_mask` has the same rename, and `generate` may have made
  the mask already, one for each kind of layer; "eager" is in no table of attention functions; whether a model can
  change its function is guessed from the text of its source file.
- Inside a cache (`layers_of` to `forget_frequencies`): layers with `keys` and `values`, for a cache that holds given
  tensors without a copy; they have no `dtype` since 5.24. Rotary frequencies are an attribute of our own on any cache:
  should a class refuse attributes, that is an error and not a wrong token.
- Models (`tied_names` to `is_multimodal`): ties are found by identity, for `all_tied_weights_keys` changes its form;
  `activation_checkpointing_enable` was `gradient_checkpointing_enable` up to 5.22; the tables behind the Auto classes
  have private names, and pipelines ask a table of names that has no `register`.
- `command_line`, and messages and progress bars (`quiet`, `without_progress_bars`).
- Re-exports (`__all__`): base classes and decorators that are documented for those who add a model, but
  not exported by `transformers`.

Two more dependencies are not imports and stand in the classes concerned: methods that transformers calls
(`prepare_inputs_for_generation`, `_expand_inputs_for_generation`, `_init_weights` of models; `convert_to_native_format`
of the tokenizer; `attributes` and `apply_chat_template` of the processor), and class attributes that `PreTrainedModel`
reads (`_no_split_modules`, `_supports_sdpa`, `_keep_in_fp32_modules`, `_tied_weights_keys`), of which unknown ones are
ignored. tests/model/test_hf.py holds all of it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoModel,
    AutoModelForCausalLM,
    DynamicCache,
    initialization,
)
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer
from transformers.configuration_utils import SubConfigSpec
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.models.auto import modeling_auto
from transformers.utils import can_return_tuple, logging

# Re-exports.
__all__ = [
    "Cache",
    "CacheLayerMixin",
    "GradientCheckpointingLayer",
    "SubConfigSpec",
    "can_return_tuple",
    "initialization",
    "strict",
]

# Name of the KV cache among arguments and in outputs.
CACHE = "cache" if "cache" in {field.name for field in fields(CausalLMOutputWithPast)} else "past_key_values"

# Keys and values `(B, heads, length, width)` of each layer.
Layers = list[tuple[Tensor, Tensor]]


# The cache as an argument and in outputs ----------------------------------------------------------------------------


def cache_argument(cache: Cache | None) -> dict[str, Cache | None]:
    """The cache as a keyword argument, under the name of the installed transformers."""
    return {CACHE: cache}


def one_cache(cache: Cache | None, past_key_values: Cache | None) -> Cache | None:
    """The cache that a caller gave under either name; of two `cache`, which transformers takes too."""
    return past_key_values if cache is None else cache


def cache_of(values: Any) -> Cache | None:
    """The cache in an output of a model, or among the arguments that `generate` passes on."""
    return values.get(CACHE)  # type: ignore[no-any-return]


@dataclass
class CausalLMOutput(CausalLMOutputWithPast):
    """loss, logits, the cache, hidden_states, attentions."""


@dataclass
class BackboneOutput(BaseModelOutputWithPast):
    """last_hidden_state, the cache, hidden_states, attentions."""


if CACHE != "cache":  # `output.cache` on every version
    for _output in (CausalLMOutput, BackboneOutput):
        _output.cache = property(lambda output: output.past_key_values)  # type: ignore[assignment, method-assign]


# Attention ----------------------------------------------------------------------------------------------------------


def causal_mask(
    config: Any, embeds: Tensor, attention_mask: Any, cache: Cache | None, position_ids: Tensor
) -> Any:
    """The mask that the attention of `config` takes, None where it needs none.

    Args:
        embeds: `(B, L, H)`.
        attention_mask: `(B, past + L)`, 0 at padding; None; or the mask that `generate` made, which is returned.
        position_ids: `(B, L)`; where they start again at 0 another sequence begins (packed rows).
    """
    if isinstance(attention_mask, dict):
        return attention_mask["full_attention"]
    if attention_mask is not None and attention_mask.ndim != 2:
        return attention_mask
    return create_causal_mask(
        config=config,
        inputs_embeds=embeds,
        attention_mask=attention_mask,
        position_ids=position_ids,
        **cache_argument(cache),
    )


def attention_name(config: Any) -> str | None:
    """Name of the attention function, as last set by `set_attn_implementation`."""
    return config._attn_implementation  # type: ignore[no-any-return]


def attention_function(config: Any, eager: Callable[..., Any]) -> Callable[..., Any]:
    """The function that computes attention for `config`; `eager` is the model's own. KeyError for an unknown name."""
    name = attention_name(config)
    return eager if name in (None, "eager") else AttentionInterface()[name]


def register_attention(name: str, function: Callable[..., Any]) -> None:
    """Register an attention function as `name`, with masks as for "sdpa"."""
    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, AttentionMaskInterface()["sdpa"])


def sdpa_attention(*args: Any, **kwargs: Any) -> Any:
    """transformers' attention by `F.scaled_dot_product_attention`: `(B, L, heads, width)` and None."""
    return AttentionInterface()["sdpa"](*args, **kwargs)


class SetsAttention:
    """A model whose attention function `set_attn_implementation` can change."""

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        return True


# Inside a cache -----------------------------------------------------------------------------------------------------


def layers_of(cache: Cache) -> Layers:
    """Keys and values of each layer of a cache that grows, not copies of them."""
    inside: list[Any] = cache.layers
    return [(layer.keys, layer.values) for layer in inside]


def cache_holding(layers: Layers) -> DynamicCache:
    """A cache that holds these tensors, not copies of them. `DynamicCache.update` would copy."""
    cache = DynamicCache()
    for keys, values in layers:
        layer = DynamicLayer()
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        cache.layers.append(layer)
    return cache


def repeated(cache: Cache, times: int) -> Cache:
    """A cache of `times` copies of the one row of a cache, which stays unchanged."""
    made = copy.copy(cache)
    made.layers = [copy.copy(layer) for layer in cache.layers]
    made.batch_repeat_interleave(times)
    return made


def select_rows(cache: DynamicCache, rows: Sequence[int]) -> None:
    """Leave only these rows in a cache, with their rotary frequencies."""
    frequencies = frequencies_of(cache)
    device = layers_of(cache)[0][0].device
    cache.batch_select_indices(torch.tensor(list(rows), device=device))
    if frequencies is not None:
        remember_frequencies(cache, frequencies[list(rows)])


def remember_frequencies(cache: Cache, frequencies: Tensor) -> None:
    """Keep the rotary frequencies `(B or 1, head width / 2)` of its prompt with a cache (modeling_text.py)."""
    cache.rope_frequencies = frequencies  # type: ignore[attr-defined]


def frequencies_of(cache: Cache | None) -> Tensor | None:
    """The frequencies kept with a cache; None if there are none."""
    return getattr(cache, "rope_frequencies", None)


def forget_frequencies(cache: Cache | None) -> None:
    """Remove the frequencies of a cache that is used again from the start."""
    if frequencies_of(cache) is not None:
        cache.rope_frequencies = None  # type: ignore[union-attr]


# Models -------------------------------------------------------------------------------------------------------------


def tied_names(module: nn.Module) -> set[str]:
    """Names in the module's state that are another name of a parameter named before."""
    named = dict(module.named_parameters(remove_duplicate=False))
    first: dict[int, str] = {}
    return {name for name, tensor in named.items() if first.setdefault(id(tensor), name) != name}


def tied_keys_of(module: Any, prefix: str) -> dict[str, str]:
    """The ties that a model declares, for a model that holds it under `prefix`."""
    declared: dict[str, str] = module._tied_weights_keys or {}
    return {f"{prefix}.{new}": f"{prefix}.{old}" for new, old in declared.items()}


def enable_checkpointing(model: Any) -> None:
    """Compute activations again in the backward pass instead of keeping them."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def model_class_of(config: Any) -> Any:
    """The class of the causal language model of a configuration, or else of its model; KeyError for none."""
    auto = AutoModelForCausalLM if is_causal_lm(config) else AutoModel
    return auto._model_mapping[type(config)]


def is_causal_lm(config: Any) -> bool:
    """True if a configuration describes a causal language model."""
    return type(config) in AutoModelForCausalLM._model_mapping


def register_for_pipelines(model_type: str, class_name: str) -> None:
    """Register a model that takes audio and text for `pipeline("any-to-any")` and `transformers serve`."""
    modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES.setdefault(model_type, class_name)


def is_multimodal(config: Any) -> bool:
    """True if a configuration describes a chat model that takes more than text."""
    return type(config) in modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING


def command_line() -> None:
    """The command line of transformers."""
    from transformers.cli.transformers import (
        main,  # not with the others: it needs packages that nothing else does
    )

    main()


# Messages -----------------------------------------------------------------------------------------------------------


@contextmanager
def quiet() -> Iterator[None]:
    """Silence messages of transformers below errors."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Suppress the progress bars of reading and writing weights."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()

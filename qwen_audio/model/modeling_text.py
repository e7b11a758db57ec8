"""The language model of the published Qwen-Audio (Qwen-7B): Qwen2's layout with two rules for long context.

- Dynamic NTK: a prompt longer than `seq_length` gets a larger rotary base, chosen from its own length when it is read
  and kept while it is answered. The frequencies are therefore kept beside the keys, on the cache.
- log-n: past `seq_length` queries grow with the logarithm of their position.

Both are off in training, as published. Both count real tokens only, so that padding changes nothing.
"""

import math
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen2.modeling_qwen2 import (
    Qwen2Attention,
    Qwen2ForCausalLM,
    Qwen2Model,
    eager_attention_forward,
)
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_qwen_audio import QwenAudioTextConfig

# Cosine and sine for queries (these with the log-n factor in them) and for keys, each (1 or B, L, head width).
Rotary = tuple[Tensor, Tensor, Tensor, Tensor]


def ntk_alpha(length: int, seq_length: int) -> float:
    """Factor of dynamic NTK scaling for a prompt of `length` tokens: 1 up to `seq_length`, then 3, 7, 15 ..."""
    return max(2.0 ** math.ceil(math.log2(length / seq_length) + 1) - 1, 1.0) if length else 1.0


def positions_of(attention_mask: Tensor, length: int) -> Tensor:
    """Positions `(B, length)` of the last `length` tokens under a mask `(B, past + length)`: padding is not counted."""
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -length:]


def begin_prompt(cache: Cache | None) -> None:
    """Forget the rotary frequencies of what a cache held before, so that a cache may be used again."""
    if cache is not None and hasattr(cache, "rope_frequencies"):
        del cache.rope_frequencies


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class QwenAudioTextAttention(Qwen2Attention):
    """Qwen2's attention with a rotary embedding of its own for queries."""

    def forward(  # type: ignore[override]
        self,
        hidden_states: Tensor,
        position_embeddings: Rotary,
        attention_mask: Tensor | None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        q, k, v = (
            proj(hidden_states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        cos_q, sin_q, cos_k, sin_k = (x[:, None] for x in position_embeddings)
        q, k = _rotate(q, cos_q, sin_q), _rotate(k, cos_k, sin_k)
        if past_key_values is not None:
            k, v = past_key_values.update(k, v, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        out, weights = attend(self, q, k, v, attention_mask, dropout=0.0, scaling=self.scaling, **kwargs)
        return self.o_proj(out.flatten(2).contiguous()), weights


class QwenAudioTextModel(Qwen2Model):
    """The decoder without its output layer."""

    config: QwenAudioTextConfig

    def __init__(self, config: QwenAudioTextConfig) -> None:
        super().__init__(config)
        for index, layer in enumerate(self.layers):
            layer.self_attn = QwenAudioTextAttention(config, index)
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """One pass.

        Args:
            input_ids: `(B, L)`, or `inputs_embeds` `(B, L, H)`.
            attention_mask: `(B, past + L)`, 0 at padding, or what `generate` makes of it.
            position_ids: `(B, L)`; by default counted from the mask.
            past_key_values: the cache; its `rope_frequencies` are those of the prompt it was begun with.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give one of input_ids and inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            length = inputs_embeds.shape[1]
            if attention_mask is not None and attention_mask.ndim == 2:
                position_ids = positions_of(attention_mask, length)
            else:
                past = past_key_values.get_seq_length() if past_key_values is not None else 0
                position_ids = torch.arange(length, device=inputs_embeds.device)[None] + past
        mask: Any = attention_mask
        if isinstance(mask, dict):
            mask = mask["full_attention"]
        elif mask is None or mask.ndim == 2:
            mask = create_causal_mask(
                config=self.config,
                inputs_embeds=inputs_embeds,
                attention_mask=attention_mask,
                past_key_values=past_key_values,
                position_ids=position_ids,
            )
        rotary = self._rotary(position_ids, past_key_values, inputs_embeds.dtype)
        hidden = inputs_embeds
        for layer in self.layers:
            hidden = layer(
                hidden,
                attention_mask=mask,
                position_embeddings=rotary,
                past_key_values=past_key_values,
                use_cache=use_cache,
                **kwargs,
            )
        return BaseModelOutputWithPast(
            last_hidden_state=self.norm(hidden), past_key_values=past_key_values if use_cache else None
        )

    @torch.no_grad()
    def _rotary(self, position_ids: Tensor, cache: Cache | None, dtype: torch.dtype) -> Rotary:
        frequencies = getattr(cache, "rope_frequencies", None)
        if frequencies is None:
            frequencies = self._frequencies(position_ids)
            if cache is not None:
                cache.rope_frequencies = frequencies  # type: ignore[attr-defined]
        angle = position_ids[..., None].float() * frequencies[:, None]
        angle = torch.cat((angle, angle), dim=-1)
        cos, sin = angle.cos(), angle.sin()
        if self.training or not self.config.use_logn_attn:
            return cos.to(dtype), sin.to(dtype), cos.to(dtype), sin.to(dtype)
        # A rotation is linear: scaling its cosine and sine scales the rotated query.
        logn = ((position_ids + 1).float().log() / math.log(self.config.seq_length)).clamp(min=1)[..., None]
        return (cos * logn).to(dtype), (sin * logn).to(dtype), cos.to(dtype), sin.to(dtype)

    def _frequencies(self, position_ids: Tensor) -> Tensor:
        """Rotary frequencies of each row `(B, head width / 2)`, from the row's length."""
        config = self.config
        width = config.hidden_size // config.num_attention_heads
        alpha = torch.ones(len(position_ids), 1, device=position_ids.device)
        if config.use_dynamic_ntk and not self.training:
            length = position_ids.amax(-1, keepdim=True) + 1
            alpha = (2 ** torch.ceil((length / config.seq_length).log2() + 1) - 1).clamp(min=1)
        rope: Any = config.rope_parameters
        base = rope["rope_theta"] * alpha ** (width / (width - 2))
        exponent = torch.arange(0, width, 2, device=position_ids.device).float() / width
        return 1 / base**exponent


class QwenAudioTextForCausalLM(Qwen2ForCausalLM):
    """The decoder with its output layer."""

    config: QwenAudioTextConfig
    base_model_prefix = "model"

    def __init__(self, config: QwenAudioTextConfig) -> None:
        super().__init__(config)
        self.model = QwenAudioTextModel(config)
        self.post_init()

    def prepare_inputs_for_generation(  # type: ignore[override]
        self, input_ids: Tensor, *args: Any, inputs_embeds: Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        if kwargs.get("is_first_iteration", False):
            begin_prompt(kwargs.get("past_key_values"))
        prepare: Any = super().prepare_inputs_for_generation  # type: ignore[misc]
        return prepare(input_ids, *args, inputs_embeds=inputs_embeds, **kwargs)

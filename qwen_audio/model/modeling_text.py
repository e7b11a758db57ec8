"""The language model of the published Qwen-Audio (Qwen-7B): Qwen2's layout with two rules for long context.

- Dynamic NTK: a prompt longer than `seq_length` gets a larger rotary base, chosen from its own length when it is read
  and kept while it is answered. The frequencies are therefore stored on the KV cache.
- log-n: past `seq_length` queries are scaled by the logarithm of their position.

Both are off in training, as published. Both count real tokens only, so that padding changes nothing.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, GenerationMixin, PreTrainedModel

from . import hf
from .configuration_qwen_audio import QwenAudioTextConfig

# Cosine and sine for queries (these with the log-n factor in them) and for keys, each (1 or B, L, head width).
Rotary = tuple[Tensor, Tensor, Tensor, Tensor]


def ntk_alpha(length: int, seq_length: int) -> float:
    """Factor of dynamic NTK scaling for a prompt of `length` tokens: 1 up to `seq_length`, then 3, 7, 15 ..."""
    return max(2.0 ** math.ceil(math.log2(length / seq_length) + 1) - 1, 1.0) if length else 1.0


def positions_of(attention_mask: Tensor, length: int) -> Tensor:
    """Positions `(B, length)` of the last `length` tokens under a mask `(B, past + length)`: padding is not counted."""
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -length:]


def begin_prompt(cache: hf.Cache | None) -> None:
    """Remove the rotary frequencies that an empty cache still has, so that a cache may be used again."""
    if cache is not None and not int(cache.get_seq_length()):
        hf.forget_frequencies(cache)


def eager_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """Softmax attention in three steps, for `attn_implementation="eager"`.

    Args:
        query: `(B, heads, L, width)`; key and value `(B, key-value heads, S, width)`.
        mask: `(B, 1, L, S)`, added to the scores.

    Returns:
        The attended values `(B, L, heads, width)` and the weights `(B, heads, L, S)`.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
    scores = query @ key.transpose(-1, -2) * scaling
    if mask is not None:
        scores = scores + mask
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    return (weights @ value).transpose(1, 2), weights


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class QwenAudioTextRMSNorm(nn.Module):
    """Root mean square norm, computed in float32 and scaled in the dtype of the input (as Qwen-7B does)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """`(..., width)`."""
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


class QwenAudioTextMLP(nn.Module):
    """SwiGLU."""

    def __init__(self, config: QwenAudioTextConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(..., H)`."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class QwenAudioTextAttention(nn.Module):
    """Causal self-attention: query, key and value with bias, and a rotary embedding of its own for queries."""

    def __init__(self, config: QwenAudioTextConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim = config.hidden_size // config.num_attention_heads
        heads, key_heads = (
            config.num_attention_heads,
            config.num_key_value_heads or config.num_attention_heads,
        )
        self.num_key_value_groups = heads // key_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = True
        width, key_width = heads * self.head_dim, key_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, width, bias=True)
        self.k_proj = nn.Linear(config.hidden_size, key_width, bias=True)
        self.v_proj = nn.Linear(config.hidden_size, key_width, bias=True)
        self.o_proj = nn.Linear(width, config.hidden_size, bias=False)

    def forward(
        self, x: Tensor, rotary: Rotary, mask: Any, cache: hf.Cache | None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Attend over `x` (B, L, H); the other arguments as for a layer. Returns (B, L, H), and the weights if kept."""
        q, k, v = (
            proj(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        cos_q, sin_q, cos_k, sin_k = (part[:, None] for part in rotary)
        q, k = _rotate(q, cos_q, sin_q), _rotate(k, cos_k, sin_k)
        if cache is not None:
            k, v = cache.update(k, v, self.layer_idx)
        attend = hf.attention_function(self.config, eager_attention)
        out, weights = attend(self, q, k, v, mask, dropout=0.0, scaling=self.scaling, **kwargs)
        return self.o_proj(out.flatten(2).contiguous()), weights


class QwenAudioTextLayer(hf.GradientCheckpointingLayer):
    """Pre-norm transformer layer."""

    def __init__(self, config: QwenAudioTextConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = QwenAudioTextAttention(config, layer_idx)
        self.mlp = QwenAudioTextMLP(config)
        self.input_layernorm = QwenAudioTextRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = QwenAudioTextRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self, x: Tensor, rotary: Rotary, mask: Any = None, cache: hf.Cache | None = None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """One layer.

        Args:
            x: `(B, L, H)`.
            rotary: cosines and sines of the positions.
            mask: as the attention function takes it.
            cache: the KV cache, read and extended; or None.
            kwargs: for the attention function.

        Returns:
            `(B, L, H)`, and the attention weights where the function keeps them.
        """
        attended, weights = self.self_attn(self.input_layernorm(x), rotary, mask, cache, **kwargs)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), weights


class _QwenAudioText(hf.SetsAttention, PreTrainedModel):
    """Base class of the decoder with and without its output layer."""

    config: QwenAudioTextConfig
    base_model_prefix = "model"
    input_modalities = ["text"]
    supports_gradient_checkpointing = True
    _no_split_modules = ["QwenAudioTextLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True


class QwenAudioTextModel(_QwenAudioText):
    """The decoder without its output layer."""

    def __init__(self, config: QwenAudioTextConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([QwenAudioTextLayer(config, n) for n in range(config.num_hidden_layers)])
        self.norm = QwenAudioTextRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    @hf.can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: hf.Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        cache: hf.Cache | None = None,
        **kwargs: Any,
    ) -> hf.BackboneOutput:
        """One pass.

        Args:
            input_ids: `(B, L)`, or `inputs_embeds` `(B, L, H)`.
            attention_mask: `(B, past + L)`, 0 at padding, or the mask that `generate` makes of it.
            position_ids: `(B, L)`; by default counted from the mask.
            cache, past_key_values: two names of the KV cache of the tokens before. It keeps the rotary
                frequencies of its first prompt.
            use_cache: whether to make a cache where none is given; by default as the configuration says, and never
                while activations are computed again.
            output_hidden_states: whether to keep the embeddings and the states after each layer, the last one normed.
            output_attentions: whether to keep the attention weights `(B, heads, L, S)` of each layer.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give one of input_ids and inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        cache = hf.one_cache(cache, past_key_values)
        use_cache, keep_states, keep_weights = (
            getattr(self.config, name, False) if value is None else bool(value)
            for name, value in (
                ("use_cache", use_cache),
                ("output_hidden_states", output_hidden_states),
                ("output_attentions", output_attentions),
            )
        )
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            use_cache, cache = False, None  # it would be written again in the backward pass
        if use_cache and cache is None:
            cache = DynamicCache(config=self.config)
        if inputs_embeds.shape[1] > 1 and not torch.compiler.is_compiling():
            begin_prompt(cache)
        if position_ids is None:
            length = inputs_embeds.shape[1]
            if attention_mask is not None and attention_mask.ndim == 2:
                position_ids = positions_of(attention_mask, length)
            else:
                past = cache.get_seq_length() if cache is not None else 0
                position_ids = torch.arange(length, device=inputs_embeds.device)[None] + past
        mask = hf.causal_mask(self.config, inputs_embeds, attention_mask, cache, position_ids)
        rotary = self._rotary(position_ids, cache, inputs_embeds.dtype)
        hidden = inputs_embeds
        states: list[Tensor] = []
        kept: list[Tensor] = []
        for layer in self.layers:
            if keep_states:
                states.append(hidden)
            hidden, weights = layer(hidden, rotary, mask=mask, cache=cache, **kwargs)
            if keep_weights and weights is not None:
                kept.append(weights)
        hidden = self.norm(hidden)
        return hf.BackboneOutput(
            last_hidden_state=hidden,
            hidden_states=(*states, hidden) if keep_states else None,
            attentions=tuple(kept) if keep_weights else None,
            **hf.cache_argument(cache if use_cache else None),
        )

    @torch.no_grad()
    def _rotary(self, position_ids: Tensor, cache: hf.Cache | None, dtype: torch.dtype) -> Rotary:
        frequencies = hf.frequencies_of(cache)
        if frequencies is None:
            frequencies = self._frequencies(position_ids)
            if cache is not None:
                hf.remember_frequencies(cache, frequencies)
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


class QwenAudioTextForCausalLM(_QwenAudioText, GenerationMixin):
    """The decoder with its output layer."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}
    # The loss is the mean of a batch, so that transformers' Trainer divides by the number of its batches.
    accepts_loss_kwargs = False

    def __init__(self, config: QwenAudioTextConfig) -> None:
        super().__init__(config)
        self.model = QwenAudioTextModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @hf.can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: hf.Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        cache: hf.Cache | None = None,
        **kwargs: Any,
    ) -> hf.CausalLMOutput:
        """One pass, as `QwenAudioTextModel.forward`.

        Args:
            labels: `(B, L)`, -100 where there is none; the loss is the mean cross-entropy of the next token.
            logits_to_keep: how many last positions get logits (0: all), or which `(K,)`.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            cache=hf.one_cache(cache, past_key_values),
            **kwargs,
        )
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, keep])
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return hf.CausalLMOutput(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            **hf.cache_argument(hf.cache_of(outputs)),
        )

    def prepare_inputs_for_generation(  # type: ignore[override]
        self, input_ids: Tensor, *args: Any, inputs_embeds: Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Prepare inputs as transformers does, but clear the rotary frequencies of an empty cache."""
        begin_prompt(hf.cache_of(kwargs))
        prepare: Any = super().prepare_inputs_for_generation
        return prepare(input_ids, *args, inputs_embeds=inputs_embeds, **kwargs)

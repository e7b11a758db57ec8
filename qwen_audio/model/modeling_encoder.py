"""The audio encoder: Whisper's, with pooling, for inputs of any length and independent of the batch.

Shapes: N clips of up to T mel frames (10 ms), S = ceil(T / 2) encoder frames (20 ms), P = S // 2 audio tokens (40 ms),
D encoder width.

The encoder sees no padding: frames past a clip's end are set to zero before each convolution and are masked in
attention, so a clip encodes the same alone and in any batch.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from . import hf
from .configuration_qwen_audio import QwenAudioEncoderConfig

# Largest share of padding in a batch of clips that are encoded together.
MOST_PADDING = 0.2


def sinusoids(length: int, channels: int, max_timescale: float = 10000.0) -> Tensor:
    """Sinusoidal positions `(length, channels)`: sines in the first half, cosines in the second (Whisper)."""
    half = channels // 2
    step = math.log(max_timescale) / (half - 1)
    inverse = torch.exp(-step * torch.arange(half, dtype=torch.float32))
    angle = torch.arange(length, dtype=torch.float32)[:, None] * inverse[None, :]
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def encoder_frames(mel_frames: Tensor) -> Tensor:
    """Encoder frames (20 ms) of clips of `mel_frames` mel frames (10 ms): the second convolution has stride 2."""
    return torch.where(mel_frames > 0, (mel_frames - 1) // 2 + 1, mel_frames.new_zeros(()))


def audio_tokens(mel_frames: Tensor) -> Tensor:
    """Audio tokens (40 ms) of clips of `mel_frames` mel frames: pairs of encoder frames, an odd last one is dropped."""
    return encoder_frames(mel_frames) // 2


def eager_attention_forward(
    module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """Softmax attention in three steps, for `attn_implementation="eager"`.

    Args:
        q, k, v: `(N, heads, S, D / heads)`.
        mask: `(N, 1, 1, S)`, true where a frame may be attended to.

    Returns:
        The attended values `(N, S, heads, D / heads)` and the weights `(N, heads, S, S)`.
    """
    scores = (q * scaling) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1).to(v.dtype)
    return (weights @ v).transpose(1, 2), weights


class QwenAudioAttention(nn.Module):
    """Bidirectional self-attention as in Whisper: query, value and output with bias, key without."""

    def __init__(self, config: QwenAudioEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.num_heads = config.encoder_attention_heads
        self.num_key_value_groups = 1
        self.is_causal = False
        self.q_proj = nn.Linear(config.d_model, config.d_model)
        self.k_proj = nn.Linear(config.d_model, config.d_model, bias=False)
        self.v_proj = nn.Linear(config.d_model, config.d_model)
        self.out_proj = nn.Linear(config.d_model, config.d_model)

    def forward(self, x: Tensor, mask: Tensor | tuple[int, ...] | None) -> Tensor:
        """`x` (N, S, D); `mask` as for a layer."""
        q, k, v = (
            proj(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        attend = hf.attention_function(self.config, eager_attention_forward)
        scaling = q.shape[-1] ** -0.5
        if isinstance(mask, tuple):
            clips = zip(*(t.split(mask, dim=2) for t in (q, k, v)), strict=True)
            out = torch.cat([attend(self, *clip, None, scaling=scaling)[0] for clip in clips], dim=1)
        else:
            out, _ = attend(self, q, k, v, mask, scaling=scaling)
        return self.out_proj(out.flatten(2))


class QwenAudioEncoderLayer(hf.GradientCheckpointingLayer):
    """Pre-norm transformer layer with an exact GELU."""

    def __init__(self, config: QwenAudioEncoderConfig) -> None:
        super().__init__()
        self.self_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.self_attn = QwenAudioAttention(config)
        self.final_layer_norm = nn.LayerNorm(config.d_model)
        self.fc1 = nn.Linear(config.d_model, config.encoder_ffn_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_dim, config.d_model)

    def forward(self, x: Tensor, mask: Tensor | tuple[int, ...] | None) -> Tensor:
        """One layer.

        Args:
            x: `(N, S, D)`.
            mask: `(N, 1, 1, S)`, true where a frame may be attended to; or, with N = 1, the lengths of the clips that
                lie one after the other in `x`; or None, where every frame sees all.
        """
        x = x + self.self_attn(self.self_attn_layer_norm(x), mask)
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class QwenAudioEncoder(hf.SetsAttention, PreTrainedModel):
    """Log-mel to encoder frames, and frames to pooled ones. Two convolutions, then transformer layers.

    Attributes:
        packs: whether, in training, the layers get the frames of all clips joined without padding where more than
            `MOST_PADDING` of a batch would be padding. Set it to False where layers are compiled: every mix of
            lengths would be another graph.
    """

    config: QwenAudioEncoderConfig
    base_model_prefix = "model"
    main_input_name = "input_features"
    input_modalities = ["audio"]
    supports_gradient_checkpointing = True
    _no_split_modules = ["QwenAudioEncoderLayer"]
    _supports_sdpa = True

    def __init__(self, config: QwenAudioEncoderConfig) -> None:
        super().__init__(config)
        self.conv1 = nn.Conv1d(config.num_mel_bins, config.d_model, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(config.d_model, config.d_model, kernel_size=3, stride=2, padding=1)
        self.positional_embedding = nn.Buffer(
            sinusoids(config.max_source_positions, config.d_model), persistent=False
        )
        self.layers = nn.ModuleList([QwenAudioEncoderLayer(config) for _ in range(config.encoder_layers)])
        self.layer_norm = nn.LayerNorm(config.d_model)
        self.gradient_checkpointing = False
        self.packs = True
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            hf.initialization.copy_(self.positional_embedding, sinusoids(*self.positional_embedding.shape))
        elif isinstance(module, nn.Conv1d):
            # Keep the variance: with the usual 0.02 the positions, of size 1, dominate for thousands of steps.
            fan_in = module.in_channels * module.kernel_size[0]
            hf.initialization.normal_(module.weight, mean=0.0, std=(2 / fan_in) ** 0.5)

    def encode(self, input_features: Tensor, feature_lengths: Tensor) -> Tensor:
        """Frames before pooling and before the final layer norm.

        Args:
            input_features: log-mel `(N, num_mel_bins, T)`; frames past a clip's length are ignored.
            feature_lengths: mel frames of each clip `(N,)`.

        Returns:
            `(N, S, D)` with S = (T - 1) // 2 + 1; rows past a clip's `encoder_frames` are meaningless.
        """
        frames = input_features.shape[-1]
        limit = 2 * self.config.max_source_positions
        if frames > limit:
            raise ValueError(f"{frames} mel frames are more than the {limit} this encoder has positions for")
        mel_mask = torch.arange(frames, device=input_features.device) < feature_lengths[:, None]
        x = input_features.to(self.conv1.weight.dtype) * mel_mask[:, None]
        # Zero past the end after each convolution too: gelu(bias) there would leak into the last frame.
        x = F.gelu(self.conv1(x)) * mel_mask[:, None]
        x = F.gelu(self.conv2(x)).transpose(1, 2)
        steps = x.shape[1]
        x = x + self.positional_embedding[:steps].to(x.dtype)
        # A clip too short for one frame still attends to frame 0, so that no row is all masked (NaN).
        lengths = encoder_frames(feature_lengths).clamp(min=1)
        valid = torch.arange(steps, device=x.device) < lengths[:, None]
        if self.training and self.packs and not torch.compiler.is_compiling():
            each = tuple(lengths.tolist())
            # With little padding one product over all clips is faster than one for each of them.
            if sum(each) < (1 - MOST_PADDING) * valid.numel():
                return self._packed(x, valid, each)
        for layer in self.layers:
            x = layer(x, valid[:, None, None, :])
        return x

    def _packed(self, x: Tensor, valid: Tensor, lengths: tuple[int, ...]) -> Tensor:
        """The layers over the valid frames alone; `(N, S, D)` with zeros past a clip's end."""
        frames = x[valid][None]
        for layer in self.layers:
            frames = layer(frames, lengths)
        return torch.zeros_like(x, dtype=frames.dtype).masked_scatter(valid[..., None], frames)

    def forward(self, input_features: Tensor, feature_lengths: Tensor) -> Tensor:
        """Pooled encoder states `(N, P, D)`: means of pairs of frames, then the final layer norm.

        The published model pools *before* the final layer norm. Clips of very different lengths are encoded in groups
        of similar ones, except in training, where the layers get little padding (`packs`).
        """
        groups = None if self.training or torch.compiler.is_compiling() else length_groups(feature_lengths)
        if groups is None:
            return self._pooled(input_features, feature_lengths)
        out = input_features.new_zeros(
            len(feature_lengths),
            int(audio_tokens(feature_lengths).max()),
            self.config.d_model,
            dtype=self.conv1.weight.dtype,
        )
        for group in groups:
            lengths = feature_lengths[group]
            pooled = self._pooled(input_features[group, :, : int(lengths.max())], lengths)
            out[group, : pooled.shape[1]] = pooled
        return out

    def _pooled(self, input_features: Tensor, feature_lengths: Tensor) -> Tensor:
        return self.pool(self.encode(input_features, feature_lengths))

    def pool(self, frames: Tensor) -> Tensor:
        """Audio tokens `(N, S // 2, D)` of the frames `(N, S, D)` of `encode`."""
        if frames.shape[1] < 2:
            return frames[:, :0]  # nothing to pool; the gradient of a norm of nothing would be NaN
        pooled = F.avg_pool1d(frames.transpose(1, 2), kernel_size=2, stride=2).transpose(1, 2)
        return self.layer_norm(pooled)


def length_groups(lengths: Tensor) -> list[list[int]] | None:
    """Indices of clips in groups whose padding is at most `MOST_PADDING` of them, longest first; None for one group."""
    groups: list[list[int]] = []
    longest = total = 0
    ordered = sorted(((n, i) for i, n in enumerate(lengths.tolist())), reverse=True)
    for length, index in ordered:
        if groups and (1 - MOST_PADDING) * longest * (len(groups[-1]) + 1) <= total + length:
            groups[-1].append(index)
            total += length
        else:
            groups.append([index])
            longest = total = length
    return groups if len(groups) > 1 else None

"""Qwen-Audio for transformers: an audio encoder, a projection, and any causal language model.

Shapes: B sequences of L tokens, N audio clips of up to T mel frames (10 ms), H language-model width, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel

from . import hf, row_attention
from .configuration_qwen_audio import QwenAudioConfig
from .linear_cross_entropy import linear_cross_entropy
from .modeling_encoder import QwenAudioEncoder, audio_tokens
from .modeling_text import begin_prompt, positions_of

IGNORE_INDEX = -100


@dataclass
class QwenAudioCausalLMOutput(hf.CausalLMOutput):
    """Output of the model.

    Attributes:
        loss: mean cross-entropy over the labelled positions.
        logits: `(B, L or logits_to_keep, V)`; None when labels are given (see `token_losses`).
        cache: the KV cache; also under its old name, `past_key_values`.
        hidden_states, attentions: of the language model, where asked for.
        token_losses: cross-entropy of each labelled position in row-major order `(number of labels,)`.
        audio_frames: in training, the encoder's frames before pooling `(N, S, D)`, for a loss of their own.
    """

    token_losses: Tensor | None = None
    audio_frames: Tensor | None = None


class QwenAudioForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Qwen-Audio: audio spans in the token sequence are replaced by projected encoder states."""

    config: QwenAudioConfig
    base_model_prefix = "model"
    input_modalities = ["audio", "text"]
    supports_gradient_checkpointing = True
    _no_split_modules = ["QwenAudioEncoderLayer"]
    _supports_sdpa = True
    # The loss is the mean of a batch, so that transformers' Trainer divides by the number of its batches.
    accepts_loss_kwargs = False
    # Quantisers of transformers leave these unchanged, whatever list they are given; in float16 they stay float32.
    _keep_in_fp32_modules = ["audio_tower", "audio_projection"]

    def __init__(self, config: QwenAudioConfig) -> None:
        super().__init__(config)
        _check_plain_logits(config.get_text_config())
        # transformers turns dictionaries into configurations before this point
        audio_config: Any = config.audio_config
        text_width = config.get_text_config().hidden_size
        self.audio_tower = QwenAudioEncoder(audio_config)
        self.audio_projection = nn.Linear(audio_config.d_model, text_width)
        self.audio_start_embedding = nn.Parameter(torch.empty(text_width))
        self.audio_end_embedding = nn.Parameter(torch.empty(text_width))
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        self._tied_weights_keys = hf.tied_keys_of(self.language_model, "language_model")
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            std = self.config.get_text_config().initializer_range
            hf.initialization.normal_(self.audio_start_embedding, mean=0.0, std=std)
            hf.initialization.normal_(self.audio_end_embedding, mean=0.0, std=std)

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Save as transformers does; ValueError for a model quantised with torchao, which could not be read again."""
        # torchao's reader takes every name apart at a dot, and audio_start_embedding has none.
        method = getattr(getattr(self.config, "quantization_config", None), "quant_method", None)
        if method == "torchao":
            raise ValueError(
                "a model quantised with torchao cannot be saved: keep the checkpoint it was made of, and "
                "quantise on loading"
            )
        return super().save_pretrained(save_directory, *args, **kwargs)

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.language_model.set_output_embeddings(new_embeddings)

    def embed(
        self, input_ids: Tensor, input_features: Tensor | None = None, feature_lengths: Tensor | None = None
    ) -> Tensor:
        """Token embeddings `(B, L, H)` with every audio span, both tags included, replaced by audio vectors.

        Spans are matched with clips in row-major order.

        Raises:
            ValueError: the number of spans is not the number of clips, or a span is not as long as its clip.
        """
        return self._embed(input_ids, input_features, feature_lengths)[0]

    def _embed(
        self, input_ids: Tensor, input_features: Tensor | None, feature_lengths: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The result of `embed`, and in training the encoder's frames before pooling."""
        embeds = self.get_input_embeddings()(input_ids)
        if input_features is None:
            return embeds, None
        if feature_lengths is None:
            raise ValueError("feature_lengths (mel frames of each clip) must be given with input_features")
        is_start = input_ids == self.config.audio_start_token_id
        is_end = input_ids == self.config.audio_end_token_id
        is_pad = input_ids == self.config.audio_pad_token_id
        counts = audio_tokens(feature_lengths)
        self._check_spans(is_start, is_end, is_pad, counts)
        tower = self.audio_tower
        frames = tower.encode(input_features, feature_lengths) if self.training else None
        audio = tower(input_features, feature_lengths) if frames is None else tower.pool(frames)
        audio = self.audio_projection(audio).to(embeds.dtype)
        valid = torch.arange(audio.shape[1], device=audio.device) < counts[:, None]
        embeds = embeds.masked_scatter(is_pad[..., None], audio[valid])
        embeds = torch.where(is_start[..., None], self.audio_start_embedding.to(embeds.dtype), embeds)
        embeds = torch.where(is_end[..., None], self.audio_end_embedding.to(embeds.dtype), embeds)
        return embeds, frames

    def _spans(self, input_ids: Tensor) -> int:
        """Audio spans in `(B, L)`. A start that no pad follows is a generated token, not a span."""
        if input_ids.shape[1] < 2:
            return 0
        begun = input_ids[:, :-1] == self.config.audio_start_token_id
        return int((begun & (input_ids[:, 1:] == self.config.audio_pad_token_id)).sum())

    def _check_no_spans(self, input_ids: Tensor) -> None:
        """Raise ValueError for a prompt with spans but without clips."""
        spans = self._spans(input_ids)
        if spans:
            raise ValueError(
                f"input_ids hold {spans} audio spans but there are no clips: give input_features, or leave out "
                "the spans"
            )

    @staticmethod
    def _check_spans(is_start: Tensor, is_end: Tensor, is_pad: Tensor, counts: Tensor) -> None:
        starts = is_start.flatten().nonzero().squeeze(1)
        ends = is_end.flatten().nonzero().squeeze(1)
        if len(starts) != len(counts) or len(ends) != len(counts):
            raise ValueError(
                f"input_ids hold {len(starts)} audio starts and {len(ends)} audio ends for {len(counts)} clips: "
                "write one <audio>...</audio> span for each clip"
            )
        lengths = ends - starts - 1
        if not torch.equal(lengths, counts) or int(is_pad.sum()) != int(counts.sum()):
            raise ValueError(
                f"audio spans have {lengths.tolist()} positions between their tags but the clips have "
                f"{counts.tolist()} audio tokens: make input_ids and features with the same processor call"
            )

    @hf.can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        input_features: Tensor | None = None,
        feature_lengths: Tensor | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: hf.Cache | None = None,
        position_ids: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        cache: hf.Cache | None = None,
        **kwargs: Any,
    ) -> QwenAudioCausalLMOutput:
        """One pass over a batch.

        Args:
            input_ids: `(B, L)`, each clip as `<audio>`, pads, `</audio>`.
            attention_mask: `(B, L)`, 0 at padding.
            input_features: log-mels `(N, num_mel_bins, T)` of all clips in row-major order.
            feature_lengths: mel frames `(N,)`.
            labels: `(B, L)`; -100 where there is none. Logits are then computed at labelled positions only, some
                at a time (see linear_cross_entropy.py), and no cache is made unless `use_cache` asks for one.
            inputs_embeds: `(B, L, H)` instead of `input_ids`.
            cache, past_key_values: two names of the KV cache of the tokens before.
            position_ids: `(B, L)`; counted from a two-dimensional mask if there is one, padding left out. Where they
                start again at 0, with labels and without a mask, another sequence begins that does not attend to the
                ones before (packed rows, see `qwen_audio.data.collate`).
            logits_to_keep: with no labels, how many last positions get logits (0: all), or which: `(K,)` for all rows,
                or `(B, K)` for each.
        """
        frames = None
        cache = hf.one_cache(cache, past_key_values)
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("give input_ids or inputs_embeds")
            if (
                input_features is None
                and not torch.compiler.is_compiling()
                and (cache is None or int(cache.get_seq_length()) == 0)
            ):
                self._check_no_spans(input_ids)
            inputs_embeds, frames = self._embed(input_ids, input_features, feature_lengths)
        elif input_features is not None:
            raise ValueError(
                "input_features need input_ids: with inputs_embeds the audio is already embedded"
            )
        packed = position_ids is not None and attention_mask is None and len(position_ids) == 1
        if position_ids is None and attention_mask is not None and attention_mask.ndim == 2:
            position_ids = positions_of(attention_mask, inputs_embeds.shape[1])
        if labels is not None and cache is None:
            # A loss needs no cache, and with one transformers does not look for packed rows.
            kwargs.setdefault("use_cache", False)
            if packed and hf.attention_name(self.config.get_text_config()) == row_attention.NAME:
                assert position_ids is not None
                kwargs["row_lengths"] = row_attention.row_lengths(position_ids)
        outputs = self.language_model.base_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            **hf.cache_argument(cache),
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        rest = {k: outputs.get(k) for k in (hf.CACHE, "hidden_states", "attentions")}
        head = self.get_output_embeddings()
        if labels is None:
            if isinstance(logits_to_keep, Tensor) and logits_to_keep.ndim == 2:
                hidden = hidden.take_along_dim(logits_to_keep[..., None], dim=1)
            else:
                keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
                hidden = hidden[:, keep]
            return QwenAudioCausalLMOutput(logits=head(hidden), **rest)
        targets = labels[:, 1:]
        labelled = targets != IGNORE_INDEX
        token_losses = _token_losses(head, hidden[:, :-1][labelled], targets[labelled])
        # No label at all gives 0, not NaN: a batch may hold only context.
        loss = token_losses.sum() / max(token_losses.numel(), 1)
        return QwenAudioCausalLMOutput(loss=loss, token_losses=token_losses, audio_frames=frames, **rest)

    def prepare_inputs_for_generation(  # type: ignore[override]
        self, input_ids: Tensor, *args: Any, inputs_embeds: Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Pass clips along only with the ids that hold their spans: later steps have them in the cache."""
        begin_prompt(hf.cache_of(kwargs))
        features = {k: kwargs.pop(k, None) for k in ("input_features", "feature_lengths")}
        prepare: Any = super().prepare_inputs_for_generation  # type: ignore[misc]
        inputs = prepare(input_ids, *args, inputs_embeds=inputs_embeds, **kwargs)
        ids = inputs.get("input_ids")
        if features["input_features"] is not None and ids is not None and self._spans(ids):
            inputs.update(features)
        return inputs

    def _expand_inputs_for_generation(  # type: ignore[override]
        self,
        expand_size: int = 1,
        is_encoder_decoder: bool = False,
        input_ids: Tensor | None = None,
        **model_kwargs: Any,
    ) -> tuple[Tensor | None, dict[str, Any]]:
        """Repeat the clips of a row together, as beams and several return sequences repeat whole rows."""
        features = {k: model_kwargs.pop(k, None) for k in ("input_features", "feature_lengths")}
        if expand_size > 1 and features["input_features"] is not None and input_ids is not None:
            per_row = (input_ids == self.config.audio_start_token_id).sum(1).tolist()
            rows = torch.arange(sum(per_row), device=input_ids.device).split(per_row)
            order = torch.cat([clips for clips in rows for _ in range(expand_size)])
            features = {k: v[order] for k, v in features.items()}
        expand: Any = super()._expand_inputs_for_generation  # type: ignore[misc]
        input_ids, model_kwargs = expand(expand_size, is_encoder_decoder, input_ids, **model_kwargs)
        return input_ids, {**model_kwargs, **features}


def _token_losses(head: Any, hidden: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy `(n,)` float32 of the states of labelled positions `(n, H)`.

    An output layer may offer `parts()`, the pieces of its matrix one under the other. One that is neither that nor a
    plain linear layer (quantised, with an adapter, sharded) is called as it is.
    """
    parts = None
    if hasattr(head, "parts"):
        parts = list(head.parts())
    elif type(head) is nn.Linear and type(head.weight) in (nn.Parameter, Tensor) and not _hooked(head):
        parts = [head.weight]
    if parts is None:
        return F.cross_entropy(head(hidden).float(), targets, reduction="none")
    return linear_cross_entropy(hidden, targets, parts, getattr(head, "bias", None))


def _hooked(module: nn.Module) -> bool:
    """True if a hook or a replaced `forward` changes the module's computation, so that the module must be called."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def _check_plain_logits(config: Any) -> None:
    """Refuse language models that change their logits after the head, which is called directly here."""
    for key, plain in (("logit_scale", 1), ("logits_scaling", 1), ("final_logit_softcapping", None)):
        value = getattr(config, key, plain)
        if value not in (plain, None):
            raise ValueError(
                f"the language model has {key} = {value}: it changes its logits after the output layer, which is not "
                "supported; use one without, such as Qwen or Llama"
            )

"""The next answer of a dialogue, with the keys and values of what it shares with the answer before.

A dialogue only grows, so the prompt of a turn begins with the prompt of the turn before: what was computed for that
beginning is kept and not computed again, and the clips in it are not encoded again. The answer is the one that a
run from nothing gives.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from qwen_audio.allowed import STOPS, allowed_after
from qwen_audio.sampling import Sampling
from qwen_audio.streaming import OnText
from qwen_audio.token_loop import Generation, Run, run


@dataclass(frozen=True)
class Kept:
    """What one answer leaves for the next. It is not changed by being used, so one may branch off it again.

    Attributes:
        ids: tokens that the cache holds, those of the prompt and of the answer.
        clips: a digest of each clip among them, in order.
        cache: their keys and values.
        rotary_scale: factor of the rotary base they were computed with (dynamic NTK); 1 where there is no such rule.
        reused: how many tokens the call that made this took from the one before.
    """

    ids: list[int]
    clips: list[bytes]
    cache: DynamicCache
    rotary_scale: float
    reused: int


def continue_dialogue(
    model: Any,
    processor: Any,
    ids: Sequence[int],
    mels: Sequence[Tensor],
    kept: Kept | None,
    max_new_tokens: int,
    *,
    sampling: Sampling | None = None,
    stream: OnText | None = None,
    loop_guard: bool = True,
) -> tuple[Generation, Kept]:
    """The answer to one prompt of a dialogue.

    Args:
        ids: the whole prompt, audio spans included.
        mels: log-mels `(80, T)` of all its clips, in order.
        kept: what the call before returned; None computes everything.
        max_new_tokens: the longest answer.
        sampling: how tokens are drawn; None takes the most probable one.
        stream: called with 0 and new text, see `generation.generate`.
        loop_guard: whether an answer that repeats itself is ended.

    Returns:
        The answer, which ends before `<|endoftext|>`, `<|im_end|>` or `<|im_start|>`, and what the next call can use.
    """
    tokenizer, ids = processor.tokenizer, list(ids)
    clips = [_digest(mel) for mel in mels]
    starts = [at for at, token_id in enumerate(ids) if token_id == tokenizer.audio_start_id]
    if len(starts) != len(mels):
        raise ValueError(
            f"the prompt has {len(starts)} audio spans but {len(mels)} clips: give one for each span"
        )
    if not ids or max_new_tokens < 1:
        raise ValueError(
            f"{len(ids)} tokens of prompt, {max_new_tokens} of answer: give at least one of each"
        )
    scale = rotary_scale(model, len(ids))
    reused = shared(kept, ids, clips, starts, tokenizer.audio_end_id) if kept is not None else 0
    if kept is None or kept.rotary_scale != scale or not _can_be_cut(model, kept.cache):
        reused = 0
    cache = (
        _beginning(kept.cache, reused) if kept is not None and reused else DynamicCache(config=_text(model))
    )
    inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
    new = [mel for mel, start in zip(mels, starts, strict=True) if start >= reused]
    if new:
        lengths = [mel.shape[-1] for mel in new]
        features = torch.zeros(len(new), new[0].shape[0], max(1, *lengths))
        for row, mel in enumerate(new):
            features[row, :, : lengths[row]] = mel
        inputs |= {"input_features": features, "feature_lengths": torch.tensor(lengths)}
    how = Run(
        limits=[max_new_tokens],
        allowed=allowed_after(tokenizer, "".join(STOPS), model.config.text_config.vocab_size)[None],
        sampling=[sampling],
        guarded=[loop_guard],
        stream=stream,
        cache=cache,
    )
    inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
    made = run(model, tokenizer, inputs, how)[0]
    # A loop leaves more in the cache than in the answer, a stop token is in neither.
    held = min(cache.get_seq_length(), len(ids) + len(made.ids))
    left = Kept((ids + made.ids)[:held], clips, _beginning(cache, held), scale, reused)
    return made, left


def shared(kept: Kept, ids: list[int], clips: list[bytes], starts: list[int], span_end: int) -> int:
    """How many first tokens of `ids` are those of `kept`, clips included.

    Cut back so that it does not end inside an audio span, and leaves a token to compute.
    """
    most = min(len(kept.ids), len(ids) - 1)
    same = next((at for at in range(most) if kept.ids[at] != ids[at]), most)
    for number, start in enumerate(starts):
        if start >= same:
            break
        if span_end not in ids[start:same] or kept.clips[number] != clips[number]:
            return start
    return same


def rotary_scale(model: Any, length: int) -> float:
    """Factor of the rotary base for a prompt of `length` tokens, where the text model has dynamic NTK scaling."""
    config = _text(model)
    if not getattr(config, "use_dynamic_ntk", False):
        return 1.0
    from qwen_audio.model.modeling_text import ntk_alpha

    return ntk_alpha(length, config.seq_length)


def _text(model: Any) -> Any:
    return model.config.get_text_config(decoder=True)


def _can_be_cut(model: Any, cache: DynamicCache) -> bool:
    """Whether the keys of a prefix do not depend on what follows, and are all still there."""
    rope = getattr(_text(model), "rope_parameters", None) or {}
    length_dependent = rope.get("rope_type") in ("dynamic", "longrope")
    return not length_dependent and all(type(layer) is DynamicLayer for layer in cache.layers)


def _beginning(cache: DynamicCache, length: int) -> DynamicCache:
    """A cache of the first `length` tokens that shares memory with `cache` but not its fate."""
    part = copy.copy(cache)
    part.layers = [copy.copy(layer) for layer in cache.layers]
    part.crop(length - cache.get_seq_length())
    return part


def _digest(mel: Tensor) -> bytes:
    return hashlib.blake2b(mel.detach().float().cpu().numpy().tobytes(), digest_size=16).digest()

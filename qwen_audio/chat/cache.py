"""The next answer of a dialogue, with the keys and values of what it shares with the answer before.

A dialogue only grows, so the prompt of a turn begins with the prompt of the turn before: what was computed for that
beginning is kept and not computed again, and the clips in it are not encoded again. The answer is the one that a
run from nothing gives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers import DynamicCache

from qwen_audio.format.answer_tags import STOPS
from qwen_audio.inference.allowed import allowed_after
from qwen_audio.inference.engine import Engine
from qwen_audio.inference.row_cache import length_dependent, past_of, rotary_scale
from qwen_audio.inference.sampling import Sampling
from qwen_audio.inference.token_loop import Generation, Row


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
    engine: Engine,
    ids: Sequence[int],
    mels: Sequence[Tensor],
    kept: Kept | None,
    max_new_tokens: int,
    *,
    sampling: Sampling | None = None,
    on_text: Callable[[str], None] | None = None,
    loop_guard: bool = True,
) -> tuple[Generation, Kept]:
    """The answer to one prompt of a dialogue.

    Args:
        engine: decodes the answer with its model, together with what else it has to do.
        ids: the whole prompt, audio spans included.
        mels: log-mels `(80, T)` of all its clips, in order.
        kept: what the call before returned; None computes everything.
        max_new_tokens: the longest answer.
        sampling: how tokens are drawn; None takes the most probable one.
        on_text: called in this thread with new text, whole characters only; what it raises ends the answer.
        loop_guard: whether an answer that repeats itself is ended.

    Returns:
        The answer, which ends before `<|endoftext|>`, `<|im_end|>` or `<|im_start|>`, and what the next call can use.
    """
    model, tokenizer, ids = engine.model, engine.processor.tokenizer, list(ids)
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
    if kept is None or kept.rotary_scale != scale or length_dependent(model):
        reused = 0
    row = Row(
        ids,
        max_new_tokens,
        allowed_after(tokenizer, "".join(STOPS), model.config.text_config.vocab_size),
        mels=[mel for mel, start in zip(mels, starts, strict=True) if start >= reused],
        sampling=sampling,
        guarded=loop_guard,
        past=past_of(kept.cache, 0, slice(reused)) if kept is not None and reused else None,
        keep=True,
    )
    run = engine.decode(row, on_text)
    made, cache = run.generation, run.cache
    assert made is not None and cache is not None
    held = cache.get_seq_length()
    return made, Kept((ids + made.ids)[:held], clips, cache, scale, reused)


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


def _digest(mel: Tensor) -> bytes:
    return hashlib.blake2b(mel.detach().float().cpu().numpy().tobytes(), digest_size=16).digest()

"""Log-probabilities of given continuations: languages after a prompt, whole answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qwen_audio.format import tags
from qwen_audio.format.tags import Segment
from qwen_audio.model import hf

# Answers times tokens (prompt and answer) in the KV cache at once while answers are compared.
SCORED_TOKENS = 16_384


def inputs_of(
    model: Any, processor: Any, waves: Sequence[list[np.ndarray]], rows: Sequence[list[Segment]]
) -> dict[str, Tensor]:
    """A left-padded batch on the model's device, without labels."""
    batch = processor(list(waves), list(rows), padding_side="left").to(model.device)
    return {name: tensor for name, tensor in batch.items() if name != "labels"}


def language_candidates(tokenizer: Any) -> dict[str, int]:
    """The nine languages that may be predicted, "unknown" among them, and the ids of their tags."""
    return {code: tokenizer.special_id(tags.language_tag(code)) for code in (*tags.LANGUAGES, "unknown")}


def best_language(tokenizer: Any, logits: Tensor) -> str:
    """The most probable language code by the logits (V,) after a prompt that ends before the audio-language tag."""
    candidates = language_candidates(tokenizer)
    return list(candidates)[int(logits[list(candidates.values())].argmax())]


def score_answers(
    model: Any, processor: Any, waves: list[np.ndarray], prompt: list[Segment], answers: Sequence[str]
) -> list[float]:
    """Log-probability of each answer with its end token after the prompt.

    The whole sequence counts, so an answer that is a prefix of another one is not favoured. Audio and
    prompt are read once; their KV cache is then repeated for groups of answers.
    """
    return [score for part in score_in_parts(model, processor, waves, prompt, answers) for score in part]


@torch.inference_mode()
def score_in_parts(
    model: Any, processor: Any, waves: list[np.ndarray], prompt: list[Segment], answers: Sequence[str]
) -> Iterator[list[float]]:
    """The scores of `score_answers`, some at a time; each part is computed when the iteration asks for it."""
    tokenizer = processor.tokenizer
    inputs = inputs_of(model, processor, [waves], [prompt])
    prompt_length = inputs["input_ids"].shape[1]
    encoded = [tokenizer.encode_plain(answer) for answer in answers]
    longest = max(map(len, encoded), default=0)
    group = max(1, SCORED_TOKENS // (prompt_length + longest))
    read = model(**inputs, logits_to_keep=1, use_cache=True)
    first = read.logits[0, -1].float()
    for start in range(0, len(encoded), group):
        part = encoded[start : start + group]
        yield _score_group(model, hf.cache_of(read), first, part, int(tokenizer.eos_token_id))


def _score_group(
    model: Any, prompt_cache: Any, first: Tensor, rows: list[list[int]], end: int
) -> list[float]:
    """Scores of some answers; `first` (V,) are the logits after the prompt. The prompt's cache stays as it is."""
    width = max(map(len, rows))
    # Padding is on the right, where causal attention hides it from the answer.
    ids = torch.full((len(rows), width + 1), end)
    for row, answer in enumerate(rows):
        ids[row, : len(answer)] = torch.tensor(answer, dtype=ids.dtype)
    ids = ids.to(first.device)
    logits = first.expand(len(rows), 1, -1)
    if width:
        cache = hf.cache_argument(hf.repeated(prompt_cache, len(rows)))
        after = model(input_ids=ids[:, :-1], **cache, use_cache=True).logits
        logits = torch.cat([logits, after.float()], dim=1)
    chosen = logits.log_softmax(-1).gather(2, ids[..., None])[..., 0]
    return [float(chosen[row, : len(answer) + 1].sum()) for row, answer in enumerate(rows)]

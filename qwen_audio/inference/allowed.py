"""Token ids that an answer may hold, by the tags of its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from qwen_audio.format import tags
from qwen_audio.format.answer_tags import ANSWER_TAGS, IN_ANY_TASK, IN_DIALOGUE, STOPS
from qwen_audio.format.tags import Segment


def stop_ids(tokenizer: Any) -> list[int]:
    """Ids of `STOPS`: any of them that a row is allowed ends it."""
    return [tokenizer.special_id(name) for name in STOPS]


def allowed_ids(tokenizer: Any, prompts: Sequence[Sequence[Segment]], vocabulary: int) -> Tensor:
    """(B, vocabulary) bool: the ids that each row may produce after its prompt, see `allowed_after`."""
    tagged = ["".join(segment.text for segment in prompt if segment.special) for prompt in prompts]
    return torch.stack([allowed_after(tokenizer, text, vocabulary) for text in tagged])


def allowed_after(tokenizer: Any, tagged: str, vocabulary: int) -> Tensor:
    """(vocabulary,) bool after a prompt whose special tokens are `tagged`, one after another.

    Text, the end, and the task's own tags; in a dialogue (`<|im_start|>`) the tags of every task, and so after a
    prompt that names no task by tags (format/tag_styles.py).
    """
    allowed = torch.zeros(vocabulary, dtype=torch.bool)
    allowed[: tokenizer.special_id(tags.SPECIAL_TOKENS[0])] = True
    names = {tags.END_OF_TEXT}
    if tags.IM_START in tagged:
        names |= IN_DIALOGUE
    if tags.START_OF_TRANSCRIPT not in tagged and tags.START_OF_ANALYSIS not in tagged:
        names |= IN_ANY_TASK
    for together, answers in ANSWER_TAGS.items():
        if all(tag in tagged for tag in together):
            names.update(answers)
    allowed[[tokenizer.special_id(name) for name in names]] = True
    return allowed

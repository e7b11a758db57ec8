"""Which ids an answer may hold, from the tags of its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from qwen_audio import tags
from qwen_audio.tags import Segment

_TIMES = (*(tags.time_tag(t / tags.TICKS_PER_SECOND) for t in range(tags.MAX_TICK + 1)), tags.SILENCE)
_ENTITY = (
    tags.START_OF_ENTITY_VALUE,
    tags.END_OF_ENTITY_VALUE,
    tags.START_OF_ENTITY_TYPE,
    tags.END_OF_ENTITY_TYPE,
)
_MIDI = (
    *(tags.pitch_tag(n) for n in range(tags.MIDI_VALUES)),
    *(tags.velocity_tag(n) for n in range(tags.MIDI_VALUES)),
)
# Tags that stand together in a prompt -> special tokens that its answers may hold.
ANSWER_TAGS: dict[tuple[str, ...], tuple[str, ...]] = {
    (tags.TIMESTAMPS,): (*_TIMES, tags.DELIMITER),
    (tags.QUESTION,): _TIMES,  # an answer may say when
    (tags.TRANSCRIBE, tags.DELIMITER): (tags.DELIMITER,),
    (tags.TRANSCRIBE, tags.SPEAKER_META): (tags.START_OF_ENTITY_VALUE, tags.END_OF_ENTITY_VALUE),
    (tags.AUDIO_GROUNDING,): (tags.START_OF_WORD, tags.END_OF_WORD, tags.DELIMITER),
    (tags.NOTE_ANALYSIS,): (tags.PITCH, tags.VELOCITY, tags.SONIC, tags.INSTRUMENT, *_MIDI),
    (tags.NAMED_ENTITY_RECOGNITION,): _ENTITY,
    (tags.SPEECH_UNDERSTANDING,): (*_ENTITY, tags.SCENARIO, tags.ACTION, tags.ENTITIES),
}
# What ends an answer of a dialogue, as published. An answer to a task's tags ends with the first alone.
STOPS = (tags.END_OF_TEXT, tags.IM_END, tags.IM_START)
_IN_ANY_TASK = {name for names in ANSWER_TAGS.values() for name in names}
# An answer of a dialogue may do what an answer to any task does.
_IN_DIALOGUE = _IN_ANY_TASK | set(STOPS)


def stop_ids(tokenizer: Any) -> list[int]:
    """Ids of `STOPS`: whichever of them a row is allowed ends it."""
    return [tokenizer.special_id(name) for name in STOPS]


def allowed_ids(tokenizer: Any, prompts: Sequence[Sequence[Segment]], vocabulary: int) -> Tensor:
    """(B, vocabulary) bool: the ids that each row may produce after its prompt, see `allowed_after`."""
    tagged = ["".join(segment.text for segment in prompt if segment.special) for prompt in prompts]
    return torch.stack([allowed_after(tokenizer, text, vocabulary) for text in tagged])


def allowed_after(tokenizer: Any, tagged: str, vocabulary: int) -> Tensor:
    """(vocabulary,) bool after a prompt whose special tokens are `tagged`, one after another.

    Text, the end, and what the task writes; in a dialogue (`<|im_start|>`) all that any task writes, and so after a
    prompt that names no task by tags (tag_styles.py).
    """
    allowed = torch.zeros(vocabulary, dtype=torch.bool)
    allowed[: tokenizer.special_id(tags.SPECIAL_TOKENS[0])] = True
    names = {tags.END_OF_TEXT}
    if tags.IM_START in tagged:
        names |= _IN_DIALOGUE
    if tags.START_OF_TRANSCRIPT not in tagged and tags.START_OF_ANALYSIS not in tagged:
        names |= _IN_ANY_TASK
    for together, answers in ANSWER_TAGS.items():
        if all(tag in tagged for tag in together):
            names.update(answers)
    allowed[[tokenizer.special_id(name) for name in names]] = True
    return allowed

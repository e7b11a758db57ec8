"""Processor inputs of transformers as rows of segments and the log-mels of their recordings.

Two forms: a text in which `<audio></audio>` stands for each recording, and a conversation. In a text, special tokens
are read as such, as everywhere in transformers: it is a whole prompt, and its author is trusted. In a
conversation the messages are data, and special tokens spelled in them are plain text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from qwen_audio.audio.features import audio_tokens, log_mel
from qwen_audio.audio.load import SAMPLE_RATE, load_audio
from qwen_audio.format import tags
from qwen_audio.format.chatml import SYSTEM_PROMPT, ChatError, Turn, dialogue_segments
from qwen_audio.format.messages import Recording, parse_messages
from qwen_audio.format.tags import Segment

PLACE = tags.AUDIO_START + tags.AUDIO_END  # where a recording belongs in a text
_ANSWER_BEGINS = 3  # segments: <|im_start|>, "assistant", line break


@dataclass(frozen=True)
class Row:
    """A sequence, its audio spans written out, and the log-mels (80, T) of the spans in order."""

    segments: list[Segment]
    mels: list[Tensor]

    def text(self) -> str:
        """The sequence as a text, with `<audio></audio>` for each span."""
        return "".join(segment.text for segment in self.segments).replace(tags.AUDIO_PAD, "")


def text_rows(text: str | Sequence[str], audio: Any, sampling_rate: int | None) -> list[Row]:
    """Rows from texts, and from all their recordings in order.

    audio: a recording or a list: arrays (n,), or any source of `load_audio`. sampling_rate: of arrays, 16000 by
    default; they are resampled if it is another. Raises ValueError unless there is one `<audio></audio>` for each.
    """
    texts = [text] if isinstance(text, str) else list(text)
    mels = [log_mel(_wave(source, sampling_rate)) for source in _flat(audio)]
    places = sum(one.count(PLACE) for one in texts)
    if places != len(mels):
        raise ValueError(
            f"the text has {places} places {PLACE} for {len(mels)} recordings: write one for each recording"
        )
    left = iter(mels)
    rows = []
    for one in texts:
        segments, here = [], []
        for number, piece in enumerate(one.split(PLACE)):
            if number:
                here.append(next(left))
                span = PLACE.replace("><", f">{tags.AUDIO_PAD * audio_tokens(here[-1].shape[-1])}<")
                segments.append(Segment(span, True, False))
            if any(tag in piece for tag in (tags.AUDIO_START, tags.AUDIO_END, tags.AUDIO_PAD)):
                raise ValueError(
                    f"write {PLACE} with nothing inside for a recording, and give the recording as audio"
                )
            segments += [Segment(part, special, False) for part, special in tags.split_tags(piece)]
        rows.append(Row(segments, here))
    return rows


def conversation_row(
    messages: Sequence[dict[str, Any]], *, answer_begins: bool, open_end: bool, with_audio: bool
) -> Row:
    """A row from messages of transformers or OpenAI: perhaps system, then user and assistant in turn.

    answer_begins: end with the beginning of an answer, if the last message is a user's. open_end: leave the last
    answer open, to be continued. Without `with_audio` recordings are not read, and spans have no length.
    Recordings may be named by path under `path` and `audio`; `url` takes data only, and nothing is downloaded.
    Raises ChatError.
    """
    messages = [_with_known_parts(message, with_audio) for message in messages]
    answered = len(messages) > 1 and messages[-1].get("role") == "assistant"
    if open_end and not answered:
        raise ChatError("continue_final_message needs a last message of the role assistant")
    *others, last = messages or [{}]
    dialogue = parse_messages(others if answered else messages, allow_paths=True)
    turns = dialogue.turns
    if answered:
        content = last.get("content")
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts):
            raise ChatError(f"message {len(messages)}: the content of assistant messages must be text")
        turns = [*turns[:-1], Turn(turns[-1].query, "".join(str(part["text"]) for part in parts))]
    segments = dialogue_segments(turns, system=dialogue.system or SYSTEM_PROMPT)
    if answered and open_end:
        segments = segments[:-1]  # without <|im_end|>
    elif not answered and not answer_begins:
        segments = segments[:-_ANSWER_BEGINS]
    clips = [clip for turn in turns for clip in turn.clips]
    return Row(segments, [clip.mel for clip in clips if isinstance(clip, Recording)])


def is_batch(conversation: Any) -> bool:
    """True for a list of conversations, False for one conversation."""
    return bool(conversation) and isinstance(conversation[0], (list, tuple))


def _with_known_parts(message: Any, with_audio: bool) -> Any:
    """The message with its audio in a form that `parse_messages` accepts."""
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        return message
    return message | {"content": [_known_part(part, with_audio) for part in message["content"]]}


def _known_part(part: Any, with_audio: bool) -> Any:
    if not isinstance(part, dict) or part.get("type") not in ("audio", "input_audio", "audio_url"):
        return part
    if not with_audio:
        return {"type": "audio", "audio": np.zeros(1, np.float32)}  # only its place is used
    if part["type"] == "audio" and "url" in part:
        url = part["url"]
        kind, key = ("audio_url", "url") if "://" in str(url) else ("input_audio", "data")
        return {"type": kind, kind: {key: url}}
    return part


def _wave(source: Any, sampling_rate: int | None) -> np.ndarray:
    if isinstance(source, Tensor):
        source = source.detach().cpu().numpy()
    if isinstance(source, np.ndarray):
        source = (source, sampling_rate or SAMPLE_RATE)
    return load_audio(source)


def _flat(audio: Any) -> Iterator[Any]:
    """Recordings as a flat list; (array, rate) is one recording."""
    if audio is None:
        return
    if isinstance(audio, list) or (isinstance(audio, tuple) and not np.isscalar(audio[-1])):
        for one in audio:
            yield from _flat(one)
    else:
        yield audio


__all__ = ["PLACE", "Row", "conversation_row", "is_batch", "text_rows"]

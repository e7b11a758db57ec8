"""Reading and checking of a caller's dialogue: the published list format and OpenAI-style messages.

    parse_query([{"audio": "dog.wav"}, {"text": "What is that sound?"}])
    parse_messages([{"role": "user", "content": [
        {"type": "input_audio", "input_audio": {"data": "UklGR...", "format": "wav"}},
        {"type": "text", "text": "What is that sound?"}]}])

Messages may come from a network, so by default they carry their audio as data and cannot name a file; nothing is
ever fetched from a URL. Every fault is a ChatError that names the message and the part of it.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qwen_audio.audio.decode import decode
from qwen_audio.audio.features import MAX_SECONDS, log_mel
from qwen_audio.audio.load import SAMPLE_RATE, AudioError, AudioSource, load_audio
from qwen_audio.format.chatml import ChatError, Clip, Turn

if TYPE_CHECKING:
    from torch import Tensor

MAX_BYTES = 25_000_000  # of one recording sent as data; 30 s of 48 kHz stereo in 32 bits are 11.5 million

_PART_TYPES = ("text", "input_audio", "audio_url", "audio")
_DATA_URL = re.compile(r"data:[^,]*?(;base64)?,", re.IGNORECASE)
_LONGEST_HEAD = 200  # characters before the comma of a data URL


@dataclass(frozen=True, eq=False)
class Recording(Clip):
    """A recording that was loaded: its log-mel (80, mel_frames), and either the absolute path that it came
    from or, where it came from elsewhere, its samples (n,) at 16 kHz, so that a dialogue can be saved."""

    mel: Tensor
    path: str | None
    wave: np.ndarray | None


@dataclass(frozen=True)
class Dialogue:
    """Messages in order: the system message (None: there was none), and turns, the last one unanswered."""

    system: str | None
    turns: list[Turn]


def parse_query(query: str | Sequence[dict[str, Any]], *, allow_paths: bool = True) -> Turn:
    """A user's turn from a text, or from a list of parts.

    Parts are `{"text": str}` and `{"audio": source}` as in the published list format, where a source is a
    path, a `data:` URL, bytes, a binary file object or (array, rate); or parts of OpenAI-style messages.
    """
    return Turn(_content(query, "the query", allow_paths))


def parse_messages(messages: Sequence[dict[str, Any]], *, allow_paths: bool = False) -> Dialogue:
    """A dialogue from OpenAI-style messages: perhaps a system message, then user and assistant, user last.

    Content is a string or a list of parts: `text`, `input_audio` (base64 data; the format is recognised from
    the bytes), `audio_url` with a `data:` URL, and `audio` as in transformers (bytes, (array, rate), an array
    at 16 kHz, or with `allow_paths` a path). Raises ChatError.
    """
    if isinstance(messages, (str, dict)) or not isinstance(messages, Sequence) or not messages:
        raise ChatError('messages must be a list such as [{"role": "user", "content": "Hello"}]')
    system: str | None = None
    turns: list[Turn] = []
    for number, message in enumerate(messages, start=1):
        where = f"message {number}"
        if not isinstance(message, dict) or "role" not in message or "content" not in message:
            raise ChatError(f"{where} must be an object with role and content")
        role, content = message["role"], message["content"]
        if role in ("system", "developer"):
            if number != 1:
                raise ChatError(f"{where} is a {role} message: only the first message can be one")
            system = _text_only(content, role, where)
        elif role == "user":
            turns.append(Turn(_content(content, where, allow_paths)))
        elif role == "assistant":
            if not turns or turns[-1].answer is not None:
                raise ChatError(f"{where} is an answer to nothing: put a user message before it")
            turns[-1] = Turn(turns[-1].query, _text_only(content, role, where))
        else:
            raise ChatError(f"{where} has the unknown role {role!r}: use system, user or assistant")
    if not turns or turns[-1].answer is not None:
        raise ChatError(f"message {len(messages)} is the last one and not from a user: end with a question")
    return Dialogue(system, turns)


def load_recording(source: AudioSource, *, where: str) -> Recording:
    """A recording of at most 30 s with its features; ChatError, beginning with `where`, if it cannot be used."""
    try:
        if isinstance(source, (bytes, str, os.PathLike)):
            # Only so much is decoded to learn the length: hours of silence fit into few bytes.
            name = f"audio of {len(source)} bytes" if isinstance(source, bytes) else f"'{os.fspath(source)}'"
            _check_length(decode(source, name, 0.0, MAX_SECONDS + 1).end)
        wave = load_audio(source)
        _check_length(len(wave) / SAMPLE_RATE)
    except AudioError as error:
        raise ChatError(f"{where}: {error}") from error
    path = os.path.abspath(os.fspath(source)) if isinstance(source, (str, os.PathLike)) else None
    mel = log_mel(wave)
    return Recording(mel.shape[-1], mel, path, None if path else wave)


def _check_length(seconds: float) -> None:
    if seconds > MAX_SECONDS:
        raise AudioError(
            f"the recording is over {MAX_SECONDS:.0f} s long, the most the model hears at once: cut it into pieces"
        )


def _text_only(content: Any, role: str, where: str) -> str:
    """Text of a system message or an answer, which may be empty but holds no audio."""
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts = []
    for part in parts:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ChatError(f"{where}: the content of {role} messages must be text")
        texts.append(_string(part["text"], where))
    return "".join(texts)


def _content(content: Any, where: str, allow_paths: bool) -> tuple[str | Clip, ...]:
    if isinstance(content, str):
        parts: list[str | Clip] = [_string(content, where)]
    elif isinstance(content, Sequence) and not isinstance(content, bytes):
        parts = []
        for number, part in enumerate(content, start=1):
            here = f"{where}, part {number}"
            if not isinstance(part, dict):
                raise ChatError(f"{here} is a {type(part).__name__}: give an object with text or audio")
            new = _typed_part(part, here, allow_paths) if "type" in part else _part(part, here, allow_paths)
            before = parts[-1] if parts else None
            if "type" in part and isinstance(new, Clip) and isinstance(before, str) and before.strip():
                # In messages a text before audio is a paragraph; the list format joins without a break.
                parts[-1] = before if before[-1].isspace() else before + "\n"
            parts.append(new)
    else:
        raise ChatError(
            f"{where}: the content must be a text or a list of parts, not {type(content).__name__}"
        )
    if not any(isinstance(part, Clip) or part.strip() for part in parts):
        raise ChatError(f"{where} is empty: give a text, a recording or both")
    return tuple(parts)


def _part(part: dict[str, Any], where: str, allow_paths: bool) -> str | Clip:
    """`{"text": ...}` or `{"audio": ...}`."""
    if set(part) == {"text"}:
        return _string(part["text"], f"{where}: text")
    if set(part) == {"audio"}:
        return _recording(part["audio"], where, allow_paths)
    keys = ", ".join(map(str, part)) or "nothing"
    raise ChatError(f"{where} holds {keys}: give either text or audio")


def _typed_part(part: dict[str, Any], where: str, allow_paths: bool) -> str | Clip:
    kind = part["type"]
    if kind not in _PART_TYPES:
        raise ChatError(f"{where} has the unknown type {kind!r}: use {', '.join(_PART_TYPES)}")
    key = "path" if kind == "audio" and "path" in part and "audio" not in part else kind
    if key not in part:
        raise ChatError(f"{where} has the type {kind} but no {key}: add it")
    value = part[key]
    if kind == "text":
        return _string(value, f"{where}: text")
    if kind == "audio":
        source = (value, SAMPLE_RATE) if isinstance(value, np.ndarray) else value
        return _recording(source, where, allow_paths)
    inner = "data" if kind == "input_audio" else "url"
    if isinstance(value, dict):
        if inner not in value:
            raise ChatError(f"{where}: {kind} has no {inner}: add it")
        value = value[inner]
    elif kind == "input_audio":
        raise ChatError(f"{where}: input_audio must be an object with data and format")
    value = _string(value, f"{where}: {kind}.{inner}")
    if kind == "input_audio" and not _is_data_url(value):
        return load_recording(_from_base64(value, where), where=where)
    return _recording(value, where, allow_paths=False)


def _recording(source: Any, where: str, allow_paths: bool) -> Recording:
    if isinstance(source, str) and _is_data_url(source):
        head = _DATA_URL.match(source[:_LONGEST_HEAD])
        if not head or not head[1]:
            raise ChatError(f"{where}: the data URL is not of the form data:audio/wav;base64,...: correct it")
        return load_recording(_from_base64(source[head.end() :], where), where=where)
    if isinstance(source, (str, os.PathLike)):
        if re.match(r"[a-z][a-z0-9+.-]*://", str(source), re.IGNORECASE):
            raise ChatError(f"{where}: URLs are not opened: send the recording as base64 data")
        if not allow_paths:
            raise ChatError(f"{where}: files cannot be named here: send the recording as base64 data")
    elif isinstance(source, list):
        raise ChatError(f"{where}: audio is a list: give a path, bytes or (array, rate), one for each part")
    return load_recording(source, where=where)


def _is_data_url(text: str) -> bool:
    return text[:5].lower() == "data:"


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ChatError(f"{where} must be a string, not {type(value).__name__}")
    if re.search("[\ud800-\udfff]", value):  # JSON can spell it, UTF-8 and the tokenizer cannot
        raise ChatError(f"{where} holds half of a surrogate pair: send valid Unicode")
    return value


def _from_base64(text: str, where: str) -> bytes:
    if len(text) > MAX_BYTES * 4 // 3 + 4:
        raise ChatError(
            f"{where}: the recording is over {MAX_BYTES // 1_000_000} MB: send a shorter or compressed one"
        )
    try:
        data = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ChatError(f"{where}: the audio is not base64 ({error}): encode the bytes of the file") from None
    if not data:
        raise ChatError(f"{where}: the audio is empty: encode the bytes of the file as base64")
    return data

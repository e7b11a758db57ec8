"""ChatML: a dialogue with recordings as segments of a prompt.

    <|im_start|>system\\nYou are a helpful assistant.<|im_end|>
    <|im_start|>user\\nAudio 1:<audio>...</audio>\\nwhat is that sound?<|im_end|>
    <|im_start|>assistant\\nA dog barks.<|im_end|>

Token for token the published form: role, line break and content are encoded one by one, text between two
recordings as one piece. Text of users and of the system message is data: special tokens spelled in it are
plain text. In an assistant's turn the tags that an answer may hold are tokens, such as the time tags of an
answer that says when something happens; all others, and those of ChatML above all, are plain text too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qwen_audio.audio.features import audio_tokens
from qwen_audio.format import tags
from qwen_audio.format.answer_tags import IN_ANY_TASK
from qwen_audio.format.tags import Segment

SYSTEM_PROMPT = "You are a helpful assistant."  # published default
WINDOW_TOKENS = 6144  # published: system message and kept turns stay under this, the query not counted
NUMBERINGS = ("dialogue", "turn")

_TIME = re.compile(r"<\|(\d{1,2}\.\d\d)\|>")


class ChatError(ValueError):
    """A message, query or dialogue that cannot be used; one sentence that names it and the remedy."""


@dataclass(frozen=True, eq=False)
class Clip:
    """A recording in a dialogue, known by its number of mel frames (10 ms each)."""

    mel_frames: int


@dataclass(frozen=True)
class Turn:
    """A user's texts and recordings in order, and the answer; None: there is none (yet)."""

    query: tuple[str | Clip, ...]
    answer: str | None = None

    @property
    def clips(self) -> list[Clip]:
        """The turn's recordings in order."""
        return [part for part in self.query if isinstance(part, Clip)]


@dataclass(frozen=True)
class Prompt:
    """Token ids that end where the answer begins, the recordings of their spans in order, and the number
    of turns that did not fit the window."""

    ids: list[int]
    clips: list[Clip]
    dropped: int


def dialogue_segments(
    turns: Sequence[Turn], *, system: str = SYSTEM_PROMPT, numbering: str = "dialogue"
) -> list[Segment]:
    """A whole dialogue, spans included. Labelled: each answer with its `<|im_end|>`, nothing else.

    A last turn without an answer ends the sequence where its answer begins. An earlier one is followed by an
    empty line, as in the published code. numbering: see `audio_numbers`.
    """
    segments = _message("system", _plain(system))
    numbers = audio_numbers(turns, numbering)
    for turn, number in zip(turns, numbers, strict=True):
        segments += _turn(turn, number)
    if turns and turns[-1].answer is None:
        segments += _ANSWER_BEGINS
    return segments


def build_prompt(
    tokenizer: Any,
    turns: Sequence[Turn],
    query: Turn,
    *,
    system: str = SYSTEM_PROMPT,
    window: int = WINDOW_TOKENS,
    numbering: str = "dialogue",
) -> Prompt:
    """The prompt for an answer to `query` after `turns`.

    From the newest turn back, turns are kept while the system message and the kept turns are under `window`
    tokens (the query is not counted, as published). A dropped turn drops its recordings. The others keep
    their numbers, so that an earlier answer about "Audio 2" stays true.
    """
    head = _ids(tokenizer, _message("system", _plain(system)))
    *numbers, last = audio_numbers([*turns, query], numbering)
    kept: list[list[int]] = []
    size = len(head)
    for turn, number in zip(reversed(turns), reversed(numbers), strict=True):
        ids = _ids(tokenizer, _turn(turn, number))
        if size + len(ids) >= window:
            break
        size += len(ids)
        kept.insert(0, ids)
    dropped = len(turns) - len(kept)
    tail = _ids(tokenizer, [*_turn(Turn(query.query), last), *_ANSWER_BEGINS])
    clips = [clip for turn in (*turns[dropped:], query) for clip in turn.clips]
    return Prompt([*head, *(i for ids in kept for i in ids), *tail], clips, dropped)


def audio_numbers(turns: Sequence[Turn], numbering: str) -> list[int]:
    """The number of the first recording in each turn.

    "dialogue": counted over the whole dialogue [paper]; "turn": from 1 in each turn, as the published code.
    ChatError for another name.
    """
    if numbering not in NUMBERINGS:
        raise ChatError(f"there is no numbering {numbering!r}: use {' or '.join(NUMBERINGS)}")
    numbers, following = [], 1
    for turn in turns:
        numbers.append(following)
        if numbering == "dialogue":
            following += len(turn.clips)
    return numbers


class Readable:
    """Turns an answer into text without special tokens, in pieces as they come.

    Time tags become seconds ("at <|2.33|>." -> "at 2.33."), other tags are left out; where words or numbers
    would run together a space parts them. A tag must be whole within a piece.
    """

    def __init__(self) -> None:
        self._last = ""
        self._after_tag = False

    def add(self, piece: str) -> str:
        """The readable text of the next piece, perhaps empty."""
        made = []
        for text, special in _answer_pieces(piece):
            if special:
                self._after_tag = True
                time = _TIME.fullmatch(text)
                text = time[1] if time else ""
            if text:
                if self._after_tag and self._last.isalnum() and text[0].isalnum():
                    text = " " + text
                made.append(text)
                self._last, self._after_tag = text[-1], special
        return "".join(made)


def _ids(tokenizer: Any, segments: list[Segment]) -> list[int]:
    return tokenizer.encode_segments(segments)[0]


def _tag(name: str, label: bool = False) -> Segment:
    return Segment(name, True, label)


def _plain(text: str) -> list[Segment]:
    return [Segment(text, False, False)] if text else []


_BREAK = Segment("\n", False, False)
_ANSWER_BEGINS = [_tag(tags.IM_START), *_plain("assistant"), _BREAK]


def _message(role: str, content: list[Segment], label: bool = False) -> list[Segment]:
    return [_tag(tags.IM_START), *_plain(role), _BREAK, *content, _tag(tags.IM_END, label)]


def _turn(turn: Turn, number: int) -> list[Segment]:
    """A turn with the line break before it; without an answer it ends in the break after the query."""
    segments = [_BREAK, *_message("user", _query(turn, number)), _BREAK]
    if turn.answer is not None:
        answer = [Segment(text, special, True) for text, special in _answer_pieces(turn.answer)]
        segments += _message("assistant", answer, label=True)
    return segments


def _query(turn: Turn, number: int) -> list[Segment]:
    segments: list[Segment] = []
    text = ""
    for part in turn.query:
        if isinstance(part, str):
            text += part
            continue
        span = tags.AUDIO_START + tags.AUDIO_PAD * audio_tokens(part.mel_frames) + tags.AUDIO_END
        segments += [*_plain(f"{text}Audio {number}:"), _tag(span)]
        text, number = "\n", number + 1
    return [*segments, *_plain(text)]


def _answer_pieces(answer: str) -> list[tuple[str, bool]]:
    """(piece, is a tag of answers); neighbouring plain pieces are one, as their encoding is."""
    joined: list[tuple[str, bool]] = []
    for piece, _ in tags.split_tags(answer):
        special = piece in IN_ANY_TASK
        if joined and not special and not joined[-1][1]:
            joined[-1] = (joined[-1][0] + piece, False)
        else:
            joined.append((piece, special))
    return joined

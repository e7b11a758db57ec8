"""Encoding of samples as rows of a training batch: examples of a task, dialogues, text alone.

A row has its ids and labels, its log-mels, and the target bytes of the encoder's CTC head.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from qwen_audio.audio.features import encoder_frames, log_mel, span_length
from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.dialogues import Dialogue, DialogueSample
from qwen_audio.format.chatml import SYSTEM_PROMPT, Clip, Turn, dialogue_segments
from qwen_audio.format.example import Example, Sample
from qwen_audio.format.tag_styles import TagStyle
from qwen_audio.format.tags import Segment
from qwen_audio.format.text import spoken_form
from qwen_audio.model.processing_qwen_audio import QwenAudioProcessor

# Tasks whose wanted answer is a transcript, so that the encoder's CTC head can learn from them.
TRANSCRIBED = ("asr", "word_timestamps")


@dataclass(frozen=True)
class Row:
    """One encoded sample."""

    ids: list[int]
    labels: list[int]
    mels: list[Tensor]
    ctc: bytes | None
    task: str
    seconds: float
    text_tokens: int
    transcript_too_long: bool


@dataclass(frozen=True)
class TextSample:
    """One text; it has no recordings."""

    text: str
    waves: tuple[np.ndarray, ...] = ()


# examples of a task ---------------------------------------------------------------------------------------


def encode_example(
    processor: QwenAudioProcessor, sample: Sample, style: TagStyle, *, as_question: bool
) -> Row:
    """The row of an example; `as_question` asks its question in place of the task's tags."""
    example = sample.example
    mels = [log_mel(w) for w in sample.waves]
    ids, labels = processor.encode_row(
        [m.shape[-1] for m in mels], style.render(example, as_question=as_question)
    )
    seconds = sum(len(w) for w in sample.waves) / SAMPLE_RATE
    text_tokens = len(ids) - sum(span_length(m.shape[-1]) for m in mels)
    ctc = ctc_target(example) if len(mels) == 1 else None
    too_long = ctc is not None and not _can_align(ctc, mels[0].shape[-1])
    if too_long:
        ctc = None
    return Row(ids, labels, mels, ctc, example.task, seconds, text_tokens, too_long)


def _can_align(target: bytes, mel_frames: int) -> bool:
    """True if CTC has enough frames: one a byte, and a blank between two equal ones."""
    repeats = sum(a == b for a, b in itertools.pairwise(target))
    return len(target) + repeats <= encoder_frames(mel_frames)


def ctc_target(example: Example) -> bytes | None:
    """UTF-8 bytes of the normalised transcript, or None if the task has none.

    The pitch of a note counts as a transcript: an encoder trained on transcripts alone learns to discard pitch, which
    is irrelevant to words, before it is trained on notes. So does an English keyword (others are labelled in
    translation).
    """
    if example.task == "note_pitch" or (example.task == "keyword_spotting" and example.language == "en"):
        return (example.label or "").encode() or None
    if example.task not in TRANSCRIBED:
        return None
    text = (
        " ".join(w.word for w in example.words) if example.words and example.task != "asr" else example.text
    )
    if example.language in ("zh", "ja"):
        text = text.replace(" ", "")
    return spoken_form(text).encode()


# dialogues and text ---------------------------------------------------------------------------------------


def segments_of(dialogue: Dialogue, mel_frames: list[int]) -> list[Segment]:
    """The dialogue in ChatML; `mel_frames` are the lengths of its recordings in order (10 ms each)."""
    frames = iter(mel_frames)
    turns = [
        Turn(
            tuple(Clip(next(frames)) if part.audio is not None else part.text or "" for part in turn.user),
            turn.assistant,
        )
        for turn in dialogue.turns
    ]
    return dialogue_segments(turns, system=dialogue.system or SYSTEM_PROMPT)


def encode_dialogue(processor: QwenAudioProcessor, sample: DialogueSample) -> Row:
    """The row of a dialogue; its task is "chat" or, where `meta` names a kind, "chat/KIND".

    Raises ValueError if the waves are not one for each recording.
    """
    dialogue = sample.dialogue
    if len(sample.waves) != len(dialogue.audio):
        raise ValueError(
            f"the dialogue {dialogue.id!r} has {len(dialogue.audio)} recordings and {len(sample.waves)} "
            f"waves: "
            "give one wave for each recording"
        )
    mels = [log_mel(wave) for wave in sample.waves]
    frames = [mel.shape[-1] for mel in mels]
    ids, labels = processor.encode_row([], segments_of(dialogue, frames))
    kind = dialogue.meta.get("kind")
    return Row(
        ids=ids,
        labels=labels,
        mels=mels,
        ctc=None,
        task="chat" if kind is None else f"chat/{kind}",
        seconds=sum(len(wave) for wave in sample.waves) / SAMPLE_RATE,
        text_tokens=len(ids) - sum(span_length(count) for count in frames),
        transcript_too_long=False,
    )


def encode_text(processor: QwenAudioProcessor, sample: TextSample) -> Row:
    """The row of a text and its end; special tokens spelled in it are plain text."""
    tokenizer = processor.tokenizer
    ids = [*tokenizer.encode_plain(sample.text), tokenizer.eos_token_id]
    return Row(ids, ids, [], None, "text", 0.0, len(ids), False)

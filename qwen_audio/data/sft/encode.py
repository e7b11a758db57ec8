"""A dialogue as a row of a training batch: ChatML with the loss on each answer and its `<|im_end|>`."""

from __future__ import annotations

from qwen_audio.audio import SAMPLE_RATE, log_mel, span_length
from qwen_audio.chatml import SYSTEM_PROMPT, Clip, Turn, dialogue_segments
from qwen_audio.data.collate import Row
from qwen_audio.data.sft.dialogue import Dialogue, DialogueSample
from qwen_audio.model.processing_qwen_audio import QwenAudioProcessor
from qwen_audio.tags import Segment


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

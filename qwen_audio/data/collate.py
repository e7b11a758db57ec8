"""From samples to batches: render, tokenise, label, mel, pad; and the target bytes of the CTC head."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from qwen_audio.audio import SAMPLE_RATE, encoder_frames, log_mel, span_length
from qwen_audio.data.manifest import Example, Sample
from qwen_audio.model.processing_qwen_audio import QwenAudioProcessor
from qwen_audio.tag_styles import TagStyle
from qwen_audio.text import spoken_form

# Tasks whose wanted answer is what is said, so that the encoder's CTC head can learn from them.
TRANSCRIBED = ("asr", "word_timestamps")


@dataclass(frozen=True)
class Row:
    """One encoded example."""

    ids: list[int]
    labels: list[int]
    mels: list[Tensor]
    ctc: bytes | None
    task: str
    seconds: float
    text_tokens: int
    transcript_too_long: bool


@dataclass(frozen=True)
class Batch:
    """A batch of B rows with N clips.

    Attributes:
        inputs: keyword arguments of the model's forward.
        ctc_targets: bytes + 1 of all transcripts, one after the other (0 is CTC's blank).
        ctc_lengths: number of targets of each clip `(N,)`; 0 where the clip has no transcript.
        tasks: task of each row.
        seconds: audio in the batch, padding not counted.
        skipped: examples left out since the batch before, by reason.
    """

    inputs: dict[str, Tensor]
    ctc_targets: Tensor
    ctc_lengths: Tensor
    tasks: list[str]
    seconds: float
    skipped: dict[str, int] = field(default_factory=dict)


class Collator:
    """Renders and encodes samples.

    Args:
        processor: the model's processor.
        question_share: how often an example with a question or a label is rendered as a free question.
        style: what stands between audio and answer; None is the format's own tags.
    """

    def __init__(
        self, processor: QwenAudioProcessor, question_share: float = 0.3, style: TagStyle | None = None
    ) -> None:
        self.processor = processor
        self.question_share = question_share
        self.style = style or TagStyle()

    def encode(self, sample: Sample, rng: np.random.Generator) -> Row:
        """One row; the form (tags or free question) is drawn from `rng`."""
        example = sample.example
        mels = [log_mel(w) for w in sample.waves]
        may_ask = example.question is not None or example.label is not None
        as_question = may_ask and rng.random() < self.question_share
        ids, labels = self.processor.encode_row(
            [m.shape[-1] for m in mels], self.style.render(example, as_question=as_question)
        )
        seconds = sum(len(w) for w in sample.waves) / SAMPLE_RATE
        text_tokens = len(ids) - sum(span_length(m.shape[-1]) for m in mels)
        ctc = ctc_target(example) if len(mels) == 1 else None
        too_long = ctc is not None and not _can_align(ctc, mels[0].shape[-1])
        if too_long:
            ctc = None
        return Row(ids, labels, mels, ctc, example.task, seconds, text_tokens, too_long)

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Pad rows on the right into a batch."""
        inputs = self.processor.pad_rows(
            [(r.ids, r.labels) for r in rows], [m for r in rows for m in r.mels], padding_side="right"
        )
        targets = [r.ctc or b"" for r in rows for _ in r.mels]
        return Batch(
            inputs=inputs,
            ctc_targets=torch.tensor([b + 1 for t in targets for b in t], dtype=torch.long),
            ctc_lengths=torch.tensor([len(t) for t in targets], dtype=torch.long),
            tasks=[r.task for r in rows],
            seconds=sum(r.seconds for r in rows),
        )


def _can_align(target: bytes, mel_frames: int) -> bool:
    """Whether CTC has frames enough: one a byte, and a blank between two equal ones."""
    repeats = sum(a == b for a, b in itertools.pairwise(target))
    return len(target) + repeats <= encoder_frames(mel_frames)


def ctc_target(example: Example) -> bytes | None:
    """UTF-8 bytes of the normalised transcript, or None if the task has none.

    The pitch of a note counts as one: an encoder that has only learned to spell would have dropped pitch, which says
    nothing about words, by the time the notes come. So does an English keyword (others are labelled in translation).
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

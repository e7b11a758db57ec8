"""From samples to batches: render, tokenise, label, mel, pad or pack; and the target bytes of the CTC head."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from qwen_audio.audio import SAMPLE_RATE, encoder_frames, log_mel, span_length
from qwen_audio.data.manifest import Example, Sample
from qwen_audio.data.plain_text import TextSample, encode_text
from qwen_audio.data.sft.dialogue import DialogueSample
from qwen_audio.model.processing_qwen_audio import IGNORE_INDEX, QwenAudioProcessor, pad_mels
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
        label_rows: `(n,)` row of each label, in row-major order of `labels[:, 1:] != -100`: the order in which the
            model gives its `token_losses`, in padded and in packed batches.
        seconds: audio in the batch, padding not counted.
        skipped: examples left out since the batch before, by reason.
    """

    inputs: dict[str, Tensor]
    ctc_targets: Tensor
    ctc_lengths: Tensor
    tasks: list[str]
    label_rows: Tensor
    seconds: float
    skipped: dict[str, int] = field(default_factory=dict)


class Collator:
    """Renders and encodes samples.

    Args:
        processor: the model's processor.
        question_share: how often an example with a question or a label is rendered as a free question.
        packing: join the rows of a batch to one sequence instead of padding them; see `pack_rows`.
        style: what stands between audio and answer; None is the format's own tags.
    """

    def __init__(
        self,
        processor: QwenAudioProcessor,
        question_share: float = 0.3,
        packing: bool = False,
        style: TagStyle | None = None,
    ) -> None:
        self.processor = processor
        self.question_share = question_share
        self.packing = packing
        self.style = style or TagStyle()

    def encode(self, sample: Sample | TextSample | DialogueSample, rng: np.random.Generator) -> Row:
        """One row; the form of an example (tags or free question) is drawn from `rng`, all else has one."""
        if isinstance(sample, TextSample):
            ids = encode_text(self.processor.tokenizer, sample.text)
            return Row(ids, ids, [], None, "text", 0.0, len(ids), False)
        if isinstance(sample, DialogueSample):
            from qwen_audio.data.sft.encode import encode_dialogue  # makes a Row of this module

            return encode_dialogue(self.processor, sample)
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
        """Rows padded on the right into a batch, or with `packing` joined to one sequence."""
        encoded = [(r.ids, r.labels) for r in rows]
        mels = [m for r in rows for m in r.mels]
        if self.packing:
            inputs = pack_rows(encoded) | pad_mels(mels)
        else:
            inputs = self.processor.pad_rows(encoded, mels, padding_side="right")
        # Nothing stands before a row's first token that could predict it.
        labels = torch.tensor([sum(i != IGNORE_INDEX for i in r.labels[1:]) for r in rows])
        targets = [r.ctc or b"" for r in rows for _ in r.mels]
        return Batch(
            inputs=inputs,
            ctc_targets=torch.tensor([b + 1 for t in targets for b in t], dtype=torch.long),
            ctc_lengths=torch.tensor([len(t) for t in targets], dtype=torch.long),
            tasks=[r.task for r in rows],
            label_rows=torch.arange(len(rows)).repeat_interleave(labels),
            seconds=sum(r.seconds for r in rows),
        )


def pack_rows(rows: Sequence[tuple[list[int], list[int]]]) -> dict[str, Tensor]:
    """Rows of ids and labels joined to one sequence without padding.

    The model keeps the rows apart by `position_ids`, which start again at 0 in each: transformers makes a mask of that
    where there is no `attention_mask` and no cache. A row's first token is not predicted, as it is not in a padded
    batch: in the sequence the row before stands before it.

    Returns:
        input_ids, labels, position_ids, each `(1, L)`, L the length of all rows together.
    """
    ids = [i for row, _ in rows for i in row]
    labels = [i for _, row in rows for i in [IGNORE_INDEX, *row[1:]]]
    positions = [i for row, _ in rows for i in range(len(row))]
    return {
        "input_ids": torch.tensor([ids]),
        "labels": torch.tensor([labels]),
        "position_ids": torch.tensor([positions]),
    }


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

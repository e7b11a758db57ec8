"""Batches from samples: the form of each is sampled, rows (encode.py) are padded or packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from qwen_audio.data.dialogues import DialogueSample
from qwen_audio.data.encode import Row, TextSample, encode_dialogue, encode_example, encode_text
from qwen_audio.data.manifest import Sample
from qwen_audio.format.tag_styles import TagStyle
from qwen_audio.model.processing_qwen_audio import IGNORE_INDEX, QwenAudioProcessor, pad_mels


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
    """Encodes samples and joins their rows to batches.

    Args:
        processor: the model's processor.
        question_share: how often an example with a question or a label is rendered as a free question.
        packing: join the rows of a batch to one sequence instead of padding them; see `pack_rows`.
        style: style of the prompt between audio and answer; None is the format's own tags.
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
        """One row; the form of an example (tags or free question) is sampled with `rng`, all else has one."""
        if isinstance(sample, TextSample):
            return encode_text(self.processor, sample)
        if isinstance(sample, DialogueSample):
            return encode_dialogue(self.processor, sample)
        may_ask = sample.example.question is not None or sample.example.label is not None
        as_question = may_ask and rng.random() < self.question_share
        return encode_example(self.processor, sample, self.style, as_question=as_question)

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Rows padded on the right into a batch, or with `packing` joined to one sequence."""
        encoded = [(r.ids, r.labels) for r in rows]
        mels = [m for r in rows for m in r.mels]
        if self.packing:
            inputs = pack_rows(encoded) | pad_mels(mels)
        else:
            inputs = self.processor.pad_rows(encoded, mels, padding_side="right")
        # A row's first token has no token before it that predicts it.
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
    where there is no `attention_mask` and no cache. A row's first token has no label, as in a padded
    batch: here the token before it belongs to another row.

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

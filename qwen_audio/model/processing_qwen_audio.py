"""From waves and text segments to the tensors of the model, and from ids back to text.

One row of a batch is the row's audio spans followed by its segments (see `qwen_audio.tasks`), or any
sequence of segments in which each audio is an `AUDIO` marker.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature, ProcessorMixin

from qwen_audio.audio import audio_tokens, log_mel
from qwen_audio.tasks import Segment
from qwen_audio.tokenizer import QwenAudioTokenizer

IGNORE_INDEX = -100


class QwenAudioProcessor(ProcessorMixin):
    """Makes model inputs of waves and segments. Holds the tokenizer; the mel picture needs no setting."""

    attributes = ["tokenizer"]
    tokenizer_class = "AutoTokenizer"

    def __init__(self, tokenizer: QwenAudioTokenizer, **kwargs: Any) -> None:
        super().__init__(tokenizer, **kwargs)

    def encode_row(
        self, mel_frames: Sequence[int], segments: Sequence[Segment]
    ) -> tuple[list[int], list[int]]:
        """Token ids and labels of one row: spans for clips of `mel_frames`, then the segments.

        Labels repeat the id where a segment is labelled and are -100 elsewhere.
        """
        tok = self.tokenizer
        ids: list[int] = []
        for frames in mel_frames:
            ids += [tok.audio_start_id, *[tok.audio_pad_id] * audio_tokens(frames), tok.audio_end_id]
        labels = [IGNORE_INDEX] * len(ids)
        text_ids, is_label = tok.encode_segments(list(segments))
        ids += text_ids
        labels += [i if keep else IGNORE_INDEX for i, keep in zip(text_ids, is_label, strict=True)]
        return ids, labels

    def __call__(  # type: ignore[override]
        self,
        waves: Sequence[Sequence[np.ndarray]],
        segments: Sequence[Sequence[Segment]],
        padding_side: str = "left",
    ) -> BatchFeature:
        """Tensors of a batch.

        Args:
            waves: for each row its clips, each (n,) float32 at 16 kHz and at most 30 s.
            segments: for each row what follows the audio.
            padding_side: "left" to generate, "right" to train.

        Returns:
            input_ids, attention_mask, labels `(B, L)`, input_features `(N, 80, T)`, feature_lengths `(N,)`;
            the last two are absent if no row has audio.
        """
        mels = [[log_mel(wave) for wave in row] for row in waves]
        rows = [
            self.encode_row([mel.shape[-1] for mel in row_mels], row_segments)
            for row_mels, row_segments in zip(mels, segments, strict=True)
        ]
        return BatchFeature(
            self.pad_rows(rows, [mel for row in mels for mel in row], padding_side=padding_side)
        )

    def pad_rows(
        self,
        rows: Sequence[tuple[list[int], list[int]]],
        mels: Sequence[Tensor],
        padding_side: str,
    ) -> dict[str, Tensor]:
        """Pad encoded rows and mels of a batch into tensors."""
        width = max(len(ids) for ids, _ in rows)
        shape = (len(rows), width)
        input_ids = torch.full(shape, int(self.tokenizer.pad_token_id))
        attention_mask = torch.zeros(shape, dtype=torch.long)
        labels = torch.full(shape, IGNORE_INDEX)
        for i, (ids, row_labels) in enumerate(rows):
            where = slice(width - len(ids), width) if padding_side == "left" else slice(len(ids))
            input_ids[i, where] = torch.tensor(ids)
            attention_mask[i, where] = 1
            labels[i, where] = torch.tensor(row_labels)
        batch = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
        if mels:
            lengths = [mel.shape[-1] for mel in mels]
            features = torch.zeros(len(mels), mels[0].shape[0], max(1, *lengths))
            for i, mel in enumerate(mels):
                features[i, :, : lengths[i]] = mel
            batch |= {"input_features": features, "feature_lengths": torch.tensor(lengths)}
        return batch


__all__ = ["QwenAudioProcessor"]

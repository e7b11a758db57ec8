"""The processor: from waveforms and text segments to the tensors of the model, and from ids back to text.

One row of a batch is the row's audio spans followed by its segments (see format/tasks.py). Users of transformers
pass texts and recordings, or conversations, instead: see processor_inputs.py.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature, ProcessorMixin

from qwen_audio.audio.features import audio_tokens, log_mel
from qwen_audio.format.tasks import Segment
from qwen_audio.format.tokenizer import QwenAudioTokenizer

from .processor_inputs import Row, conversation_row, is_batch, text_rows

IGNORE_INDEX = -100


class QwenAudioProcessor(ProcessorMixin):
    """Makes model inputs of waves and segments. Holds the tokenizer; the log-mel spectrogram has no settings."""

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
        waves: Sequence[Sequence[np.ndarray]] | None = None,
        segments: Sequence[Sequence[Segment]] | None = None,
        padding_side: str = "left",
        *,
        text: str | Sequence[str] | None = None,
        audio: Any = None,
        sampling_rate: int | None = None,
        padding: bool | str = True,
        return_tensors: str | None = "pt",
        images: None = None,
        videos: None = None,
        **others: Any,
    ) -> BatchFeature:
        """Tensors of a batch, from waves and segments or, as in transformers, from texts and recordings.

        Args:
            waves: for each row its clips, each (n,) float32 at 16 kHz and at most 30 s.
            segments: for each row the segments after the audio.
            padding_side: "left" to generate, "right" to train.
            text: instead of segments a prompt, or one for each row, with `<audio></audio>` for each recording.
            audio: instead of waves a recording or all recordings of all rows in order: arrays, paths, bytes.
            sampling_rate: of arrays in `audio`, 16000 by default.
            padding, return_tensors, images, videos: for transformers, which passes them. Rows of different lengths
                are always padded to the longest, and tensors are PyTorch's; other values are a ValueError.
            others: further arguments of some versions of transformers; without effect, and named in a warning.

        Returns:
            input_ids, attention_mask, labels `(B, L)`, input_features `(N, 80, T)`, feature_lengths `(N,)`;
            the last two are absent if no row has audio, the labels if there is `text`.
        """
        _warn_of(others)
        if padding not in (True, False, "longest") or return_tensors not in ("pt", None):
            raise ValueError(
                'rows are padded to the longest and made tensors of PyTorch: leave padding True, "pt"'
            )
        if images is not None or videos is not None:
            raise ValueError("the model takes audio and text: leave images and videos out")
        if (segments is None) == (text is None) or (waves is None) != (segments is None):
            raise ValueError("give waves and segments, or text with audio")
        if text is not None:
            return self._of_rows(text_rows(text, audio, sampling_rate), padding_side)
        if audio is not None or sampling_rate is not None:
            raise ValueError("audio and sampling_rate belong to text: with segments give waves at 16 kHz")
        assert waves is not None and segments is not None
        mels = [[log_mel(wave) for wave in row] for row in waves]
        rows = [
            self.encode_row([mel.shape[-1] for mel in row_mels], row_segments)
            for row_mels, row_segments in zip(mels, segments, strict=True)
        ]
        return BatchFeature(
            self.pad_rows(rows, [mel for row in mels for mel in row], padding_side=padding_side)
        )

    def apply_chat_template(  # type: ignore[override]
        self,
        conversation: Any,
        chat_template: None = None,
        *,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = False,
        return_dict: bool = False,
        return_tensors: str | None = "pt",
        processor_kwargs: dict[str, Any] | None = None,
        padding_side: str = "left",
        tools: None = None,
        documents: None = None,
        sanitize_control_tokens: bool = True,
        load_audio_from_video: bool = False,
        **others: Any,
    ) -> Any:
        """A conversation in the published form of dialogues, or a list of conversations.

        Made from messages without a template, so that special tokens spelled in them stay plain text whatever
        `sanitize_control_tokens` says. Audio parts are `{"type": "audio", "audio" or "path": ...}`, or `url`,
        `input_audio` and `audio_url` with data.

        Args:
            conversation: messages, or a list of lists of messages.
            add_generation_prompt: end with the beginning of the answer, if the last message is a user's.
            continue_final_message: leave the last message, an assistant's, open.
            tokenize: the tensors of `__call__`, or without `return_dict` the ids alone; else the text, with
                `<audio></audio>` for each recording, which is not read.
            processor_kwargs: padding_side, padding and return_tensors, as for `__call__`.
            chat_template, tools, documents, load_audio_from_video: for transformers, which passes them; the published
                dialogues have one form and no tools or documents, so anything set here is a ValueError.
            others: as for `__call__`.
        """
        _warn_of(others)
        if chat_template is not None or tools or documents or load_audio_from_video:
            raise ValueError(
                "dialogues have one form here: leave chat_template, tools, documents and video out"
            )
        more = {"padding_side": padding_side, "return_tensors": return_tensors} | (processor_kwargs or {})
        padding_side, made = more.pop("padding_side"), more.pop("return_tensors")
        if (
            made not in ("pt", "auto", None)
            or more.pop("padding", True) not in (True, False, "longest")
            or more
        ):
            raise ValueError(
                f"processor_kwargs may have padding_side, padding=True and return_tensors='pt', not {processor_kwargs}"
            )
        conversations = conversation if is_batch(conversation) else [conversation]
        rows = [
            conversation_row(
                messages,
                answer_begins=add_generation_prompt,
                open_end=continue_final_message,
                with_audio=tokenize,
            )
            for messages in conversations
        ]
        if not tokenize:
            texts = [row.text() for row in rows]
            return texts if is_batch(conversation) else texts[0]
        batch = self._of_rows(rows, padding_side)
        return batch if return_dict else batch["input_ids"]

    def _of_rows(self, rows: Sequence[Row], padding_side: str) -> BatchFeature:
        encoded = [self.encode_row([], row.segments) for row in rows]
        batch = self.pad_rows(encoded, [mel for row in rows for mel in row.mels], padding_side=padding_side)
        return BatchFeature({name: tensor for name, tensor in batch.items() if name != "labels"})

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
        return batch | pad_mels(mels)


def _warn_of(others: dict[str, Any]) -> None:
    """Warn of unknown arguments that are set: none of them changes the result."""
    names = [name for name, value in others.items() if value not in (None, False)]
    if names:
        warnings.warn(f"{', '.join(names)}: without effect on Qwen-Audio's inputs", stacklevel=3)


def pad_mels(mels: Sequence[Tensor]) -> dict[str, Tensor]:
    """Mels `(80, T)` of all clips as input_features `(N, 80, T)` and feature_lengths `(N,)`; nothing for no clips."""
    if not mels:
        return {}
    lengths = [mel.shape[-1] for mel in mels]
    features = torch.zeros(len(mels), mels[0].shape[0], max(1, *lengths))
    for i, mel in enumerate(mels):
        features[i, :, : lengths[i]] = mel
    return {"input_features": features, "feature_lengths": torch.tensor(lengths)}


__all__ = ["QwenAudioProcessor"]

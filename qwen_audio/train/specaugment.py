"""SpecAugment: masks on random stripes of time and frequency of log-mel features, in training.

D. S. Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition", 2019.
The paper masks with zero, the mean of its normalised features; here it is the mean of the clip itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class SpecAugment:
    """A policy of masks. Widths are uniform from 0 to their maximum, both ends included."""

    time_masks: int = 2
    time_width: int = 50  # frames of 10 ms
    time_share: float = 0.1  # of the clip: a time mask is never wider than this share of its frames
    freq_masks: int = 2
    freq_width: int = 15  # of 80 mel bands

    def __post_init__(self) -> None:
        for name in ("time_masks", "time_width", "freq_masks", "freq_width"):
            if getattr(self, name) < 0:
                raise ValueError(f"SpecAugment {name} is {getattr(self, name)}: it must be 0 or more.")
        if not 0.0 <= self.time_share <= 1.0:
            raise ValueError(f"SpecAugment time_share is {self.time_share}: it must lie in 0 to 1.")

    def __call__(self, mel: torch.Tensor, lengths: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """A masked copy of mel (N, 80, T); frames from lengths (N,) on are padding and stay as they are.

        Masks start anywhere within their clip; masked values become the mean of the clip's own frames before
        masking. A `generator` in the same state gives the same masks on any device. For training
        only: the caller skips it elsewhere.
        Raises ValueError if the shapes do not fit or a length exceeds T.
        """
        if mel.ndim != 3 or lengths.shape != mel.shape[:1]:
            shapes = f"{tuple(mel.shape)} and {tuple(lengths.shape)}"
            raise ValueError(f"SpecAugment takes mel (N, 80, T) and lengths (N,), not {shapes}.")
        bands, frames = mel.shape[1:]
        lengths = lengths.to(mel.device)
        if mel.shape[0] and not 0 <= int(lengths.min()) <= int(lengths.max()) <= frames:
            raise ValueError(f"SpecAugment lengths must lie in 0 to {frames}, the frames of mel.")
        widest = (lengths * self.time_share).long().clamp(max=self.time_width)
        in_time = _stripes(self.time_masks, widest, lengths, frames, generator)  # (N, T)
        all_bands = torch.full_like(lengths, bands)
        in_freq = _stripes(self.freq_masks, all_bands.clamp(max=self.freq_width), all_bands, bands, generator)
        covered = torch.arange(frames, device=mel.device) < lengths[:, None]  # (N, T)
        total = torch.where(covered[:, None], mel, 0).sum((1, 2), dtype=torch.float32)
        mean = total / (bands * lengths.clamp(min=1))  # (N,)
        masked = (in_time[:, None] | in_freq[:, :, None]) & covered[:, None]  # (N, 80, T)
        return torch.where(masked, mean[:, None, None].to(mel.dtype), mel)


def _stripes(
    count: int, widest: torch.Tensor, extent: torch.Tensor, size: int, generator: torch.Generator
) -> torch.Tensor:
    """(N, size) bool: the union of `count` stripes a row, each 0 to widest (N,) wide, inside extent (N,)."""
    random = torch.rand(2, len(extent), count, generator=generator, device=generator.device).to(extent.device)
    width = (random[0] * (widest[:, None] + 1)).long().clamp(max=widest[:, None])  # (N, count)
    room = extent[:, None] - width
    begin = (random[1] * (room + 1)).long().clamp(max=room)
    index = torch.arange(size, device=extent.device)
    inside = (index >= begin[:, :, None]) & (index < (begin + width)[:, :, None])  # (N, count, size)
    return inside.any(1)

"""Log-mel spectrograms of 16 kHz audio, and the lengths that follow from a number of samples."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from qwen_audio.audio.decode import SAMPLE_RATE, AudioError

if TYPE_CHECKING:
    import torch

N_FFT = 400  # samples in a window: 25 ms
HOP_LENGTH = 160  # samples between frames: 10 ms
N_MELS = 80
MAX_SECONDS = 30.0
MAX_SAMPLES = int(MAX_SECONDS * SAMPLE_RATE)


def log_mel(wave: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Log-mel features (80, T) float32 of a 16 kHz waveform (n,) of 1 to 480,000 samples; T is n // 160, made even.

    Periodic Hann window of 400, hop 160, centred frames, power spectrum, 80 Slaney mel bands, log10 of at
    least 1e-10, floor at maximum - 8, (x + 4) / 4: equal to what Whisper computes on the waveform padded with
    zeros to 30 s, on the frames the waveform covers. Nothing is padded to 30 s here. Two details keep that
    exact: the left edge is a reflection (of zeros, where a clip is shorter than the window), and the maximum
    includes the one or two frames after the last that still overlap samples. An odd number of frames gets one
    more: the encoder reads two at a time, and the published code shows it both. Uses the tensor's device.

    Raises AudioError for another shape, integers, no sample, more than 30 s, or values that are not finite.
    """
    import torch

    if isinstance(wave, np.ndarray):
        wave = torch.from_numpy(np.require(wave, requirements=["C", "W"]))
    if wave.ndim != 1 or not wave.is_floating_point():
        kind = f"{wave.dtype} of {tuple(wave.shape)}"
        raise AudioError(f"log_mel takes floats of shape (n,), not {kind}: use load_audio first.")
    if not 0 < len(wave) <= MAX_SAMPLES:
        raise AudioError(
            f"log_mel takes 1 to {MAX_SAMPLES} samples ({MAX_SECONDS:g} s), not {len(wave)}: cut it."
        )
    with torch.no_grad():
        window, filters = _tables(wave.device)
        # torch.fft.rfft over overlapping views: 1.4 times as fast as torch.stft, 4 times as a matrix product.
        frames = _with_edges(wave.float()).unfold(0, N_FFT, HOP_LENGTH) * window  # (T', 400)
        spectrum = torch.view_as_real(torch.fft.rfft(frames))  # (T', 201, 2)
        power = spectrum[..., 0].square() + spectrum[..., 1].square()
        mel = (filters @ power.T).clamp_(min=1e-10).log10_()  # (80, T')
        loudest = mel.max()
        if not torch.isfinite(loudest):
            raise AudioError("log_mel met NaN, infinite or absurdly large samples: load the recording again.")
        mel = mel[:, : 2 * encoder_frames(mel_frames(len(wave)))]
        return torch.maximum(mel, loudest - 8.0).add_(4.0).div_(4.0)


def mel_frames(n_samples: int) -> int:
    """Frames of 10 ms of a waveform of n_samples at 16 kHz."""
    return n_samples // HOP_LENGTH


def encoder_frames(mel_len: int) -> int:
    """Encoder states (20 ms) of mel_len frames: kernel 3, stride 2, padding 1."""
    return (mel_len - 1) // 2 + 1 if mel_len > 0 else 0


def audio_tokens(mel_len: int) -> int:
    """Vectors (40 ms) for the language model: encoder states pooled in pairs, an odd last one dropped."""
    return encoder_frames(mel_len) // 2


def span_length(mel_len: int) -> int:
    """Positions of one audio in the prompt: begin vector, audio tokens, end vector."""
    return audio_tokens(mel_len) + 2


def mel_filters() -> np.ndarray:
    """Slaney mel filterbank (80, 201) float64: rows are bands, columns the frequencies 0, 40 ... 8000 Hz.

    Triangles between neighbours of 82 points equally spaced in mel, each of area 1 (Slaney, Auditory Toolbox,
    1998: linear below 1 kHz, 200/3 Hz a mel; above it 27 mels for each factor of 6.4).
    """
    hertz = np.arange(N_FFT // 2 + 1) * SAMPLE_RATE / N_FFT
    step = np.log(6.4) / 27
    top = 15 + np.log(SAMPLE_RATE / 2 / 1000) / step
    mels = np.linspace(0, top, N_MELS + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * step))
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.minimum((hertz - low) / (centre - low), (high - hertz) / (high - centre))
    return np.maximum(0, triangles) * 2 / (high - low)


@lru_cache(maxsize=8)
def _tables(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Window (400,) and filterbank (80, 201), float32 on the device; read only, so threads may share them."""
    import torch

    # The window is made in float32, as in the published code: other rounding moves quiet bands by 1e-5.
    return torch.hann_window(N_FFT).to(device), torch.from_numpy(mel_filters()).float().to(device)


def _with_edges(wave: torch.Tensor) -> torch.Tensor:
    """The waveform as if padded to 30 s and reflected at both ends, up to the last frame with a sample."""
    n, edge = len(wave), N_FFT // 2
    frames = min((n + edge) // HOP_LENGTH + 1, MAX_SAMPLES // HOP_LENGTH)
    padded = wave.new_zeros((frames - 1) * HOP_LENGTH + N_FFT)
    padded[edge : edge + n] = wave[: len(padded) - edge]
    padded[:edge] = padded[edge + 1 : 2 * edge + 1].flip(0)
    beyond = len(padded) - edge - MAX_SAMPLES  # samples past 30 s: 40 for the last frames, else none
    if beyond > 0:
        padded[-beyond:] = padded[-2 * beyond - 1 : -beyond - 1].flip(0)
    return padded

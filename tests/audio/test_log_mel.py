"""Log-mel features and lengths equal those of the published code."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from dummies import noise
from paths import ROOT

from qwen_audio.audio import features
from qwen_audio.audio.features import log_mel
from qwen_audio.audio.load import SAMPLE_RATE, AudioError, load_audio

GOLDEN = ROOT / "tests" / "golden"


def test_lengths_equal_the_published_ones() -> None:
    for n_samples, mel, after_convolutions, tokens, span in json.loads((GOLDEN / "lengths.json").read_text())[
        "rows"
    ]:
        frames = features.mel_frames(min(n_samples, 480_000))
        assert frames == mel, n_samples
        assert features.encoder_frames(frames) == after_convolutions, n_samples
        assert features.audio_tokens(frames) == tokens, n_samples
        assert features.span_length(frames) == span, n_samples


def check_golden_mel(path: Path) -> None:
    stored = np.load(path)
    wave = stored["wav_int16"].astype(np.float32) / 32768
    mel = log_mel(wave)
    assert mel.shape == (80, (len(wave) // 160 + 1) // 2 * 2) and mel.dtype == torch.float32
    difference = np.abs(mel.numpy() - stored["mel_padded"][:, : mel.shape[1]])
    assert difference.max() < 5e-6, path  # the tolerance is 1e-4; 2.4e-7 was measured
    if path.stem.startswith("tiny"):
        assert mel.std() > 0.1


@pytest.mark.parametrize("path", sorted((GOLDEN / "mel").glob("*.npz")), ids=lambda p: p.stem)
def test_log_mel_equals_the_published_code(path: Path) -> None:
    check_golden_mel(path)


def test_log_mel_equals_the_published_code_on_every_reference(shared: Path) -> None:
    paths = [p for p in sorted((shared / "golden/mel").glob("*.npz")) if p.stem != "music_first30s"]
    assert len(paths) >= 13
    for path in paths:
        check_golden_mel(path)
    music = load_audio(shared / "audio/music.wav", duration=30.0)
    wanted = np.load(shared / "golden/mel/music_first30s.npz")["mel_padded"]
    np.testing.assert_allclose(
        log_mel(music).numpy(), wanted.astype(np.float32), atol=5e-4
    )  # stored as float16


def padded_reference(wave: np.ndarray) -> np.ndarray:
    """The definition itself, in float64: padded to 30 s, then cut to the covered frames."""
    padded = np.zeros(480_000)
    padded[: len(wave)] = wave
    framed = np.lib.stride_tricks.sliding_window_view(np.pad(padded, 200, mode="reflect"), 400)[::160][:-1]
    window = np.hanning(401)[:-1]
    # Only frames near the waveform are computed: the others are silent, and silence is the least value.
    framed = framed[: len(wave) // 160 + 4]
    power = np.abs(np.fft.rfft(framed * window)) ** 2
    logs = np.log10(np.maximum(power @ features.mel_filters().T, 1e-10))
    logs = np.maximum(logs, logs.max() - 8)
    return ((logs + 4) / 4).T[:, : (len(wave) // 160 + 1) // 2 * 2]


@pytest.mark.parametrize(
    "n",
    [1, 100, 159, 160, 161, 199, 200, 201, 202, 399, 400, 1000, 479_700, 479_839, 479_958, 479_960, 480_000],
)
def test_every_length_equals_the_padded_definition(n: int) -> None:
    wave = noise(n / SAMPLE_RATE, seed=n)
    wave[-100:] *= 5  # loudest where only frames past the last one, or the reflection, see all of it
    assert len(wave) == n
    mel = log_mel(wave)
    assert mel.shape == (80, (n // 160 + 1) // 2 * 2)
    np.testing.assert_allclose(mel.numpy(), padded_reference(wave), atol=1e-4)


def test_filters_equal_those_of_transformers() -> None:
    from transformers.audio_utils import mel_filter_bank

    theirs = mel_filter_bank(201, 80, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(features.mel_filters(), theirs.T, atol=1e-12)


def test_log_mel_is_the_same_from_every_thread_and_type() -> None:
    waves = [noise(0.3 + 0.1 * k, seed=k) for k in range(8)]
    wanted = [log_mel(wave) for wave in waves]
    features._tables.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        for alone, threaded in zip(wanted, pool.map(log_mel, waves), strict=True):
            assert torch.equal(alone, threaded)
    assert torch.equal(log_mel(torch.from_numpy(waves[0])), wanted[0])
    assert torch.equal(log_mel(waves[0].astype(np.float64)), wanted[0])
    frozen = waves[0].copy()
    frozen.flags.writeable = False
    assert torch.equal(log_mel(frozen), wanted[0])
    assert torch.equal(log_mel(np.repeat(waves[0], 2)[::2]), wanted[0])
    assert not log_mel(torch.from_numpy(waves[0]).requires_grad_()).requires_grad


def test_log_mel_refuses_what_it_cannot_hear() -> None:
    for bad, words in (
        (np.zeros(0, np.float32), "not 0"),
        (np.zeros(480_001, np.float32), "30 s"),
        (np.zeros((1, 800), np.float32), "shape"),
        (np.zeros(800, np.int16), "load_audio"),
        (np.full(800, np.nan, np.float32), "NaN"),
        (np.array([0.1] * 799 + [np.inf], np.float32), "infinite"),
    ):
        with pytest.raises(AudioError, match=words):
            log_mel(bad)

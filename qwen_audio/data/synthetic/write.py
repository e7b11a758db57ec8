"""Write synthetic examples as FLAC files and a manifest: `qwen-audio synthesize`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from qwen_audio.audio import SAMPLE_RATE
from qwen_audio.data.manifest import AudioRef, Example, write_manifest
from qwen_audio.data.sources import SourceConfig


def write_dataset(
    kind: str,
    output: str | os.PathLike[str],
    count: int,
    *,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Path:
    """Draw `count` examples and write `output/audio/NNNNN.flac` and `output/manifest.jsonl`; returns the manifest.

    Args:
        kind: "speech", "long_speech", "notes" or "sounds".
        output: a folder that does not hold a manifest yet.
        count: how many.
        seed: example i depends on the seed and i alone.
        options: keyword arguments of the generator, such as {"held_out": True} for speech.

    Raises:
        ValueError: unknown kind or option, a count below 1, or an output that already has a manifest.
    """
    if count < 1:
        raise ValueError(f"the count is {count}: give 1 or more")
    if kind in ("manifest", "joined"):
        raise ValueError(f"kind {kind!r} is not synthetic: use speech, long_speech, notes or sounds")
    source = SourceConfig(kind=kind, weight=1.0, options=dict(options or {})).build()
    manifest = Path(output) / "manifest.jsonl"
    if manifest.exists():
        raise ValueError(f"{manifest} is there already: name another folder")
    (Path(output) / "audio").mkdir(parents=True, exist_ok=True)
    examples: list[Example] = []
    for i in range(count):
        sample = source.sample(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(i,))))
        path = Path(output) / "audio" / f"{i:05d}.flac"
        (wave,) = sample.waves
        # FLAC holds 16 bits: what would be clipped is scaled down as a whole.
        soundfile.write(path, wave / max(1.0, float(np.abs(wave).max())), SAMPLE_RATE)
        audio = [AudioRef(path=str(path), duration=len(wave) / SAMPLE_RATE)]
        examples.append(sample.example.model_copy(update={"id": f"{kind}-{seed}-{i:05d}", "audio": audio}))
    write_manifest(manifest, examples)
    return manifest

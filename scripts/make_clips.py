"""Maker of the five clips of `qwen-audio demo`, sampled from the synthetic world and written into the package.

python scripts/make_clips.py
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.manifest import AudioRef, Sample, write_manifest
from qwen_audio.format.timestamps import Word
from qwen_audio.show.demo import CLIPS, MANIFEST
from qwen_audio.synthetic.music.notes import NoteGenerator
from qwen_audio.synthetic.sounds.sounds import SoundGenerator
from qwen_audio.synthetic.speech.transcribed import SpeechGenerator

MAX_CLIP_BYTES = 60_000
MAX_CLIP_SECONDS = 5.0
MIN_WORDS = 4
_SEED = 20_240_607  # the clips' own seed
_TRIES = 200


class _Generator(Protocol):
    def sample(self, rng: np.random.Generator) -> Sample: ...


def make_clips(folder: str | os.PathLike[str] = CLIPS) -> Path:
    """Sample the five clips, each under 60 KB and 5 s, and write them and their manifest; returns its path.

    Needs the extra `synth`. The same versions of it give the same clips.
    """
    speech: dict[str, Any] = {
        "tasks": {"word_timestamps": 1.0},
        "held_out": True,
        "max_seconds": MAX_CLIP_SECONDS,
    }
    generators: dict[str, _Generator] = {
        "sentence": SpeechGenerator(kinds={"sentence": 1.0}, **speech),
        "words": SpeechGenerator(kinds={"isolated": 1.0}, **speech),
        "note": NoteGenerator({"note_pitch": 1.0}),
        "sound": SoundGenerator({"sound_event": 1.0}),
        "scene": SoundGenerator({"audio_caption": 1.0}),
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    examples = []
    for name, generator in generators.items():
        path = folder / f"{name}.flac"
        sample = _write_small(generator, path)
        words = sample.example.words and [
            Word(word.word, round(word.start, 3), round(word.end, 3)) for word in sample.example.words
        ]
        update = {"id": name, "audio": [AudioRef(path=str(path))], "words": words}
        examples.append(sample.example.model_copy(update=update))
    write_manifest(folder / MANIFEST, examples)
    return folder / MANIFEST


def _write_small(generator: _Generator, path: Path) -> Sample:
    """Sample until a clip is short, small as FLAC and, if spoken, of some words."""
    for attempt in range(_TRIES):
        sample = generator.sample(np.random.default_rng([_SEED, attempt]))
        wave = sample.waves[0]
        few_words = sample.example.words is not None and len(sample.example.words) < MIN_WORDS
        if few_words or len(wave) > MAX_CLIP_SECONDS * SAMPLE_RATE:
            continue
        soundfile.write(path, wave, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        if path.stat().st_size < MAX_CLIP_BYTES:
            return sample
    path.unlink(missing_ok=True)
    raise RuntimeError(f"no clip under {MAX_CLIP_BYTES} bytes for {path.name} in {_TRIES} draws")


if __name__ == "__main__":
    print(make_clips())

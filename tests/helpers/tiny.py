"""A model of some thousand parameters that knows three clips by heart, for tests of the whole path."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

import dummies
import numpy as np
import soundfile
import torch

from qwen_audio.data.manifest import AudioRef, Example, write_manifest
from qwen_audio.format.tasks import render
from qwen_audio.format.timestamps import Word
from qwen_audio.format.tokenizer import byte_tokenizer
from qwen_audio.model.presets import build
from qwen_audio.model.processing_qwen_audio import QwenAudioProcessor

CLIPS = {
    "up": dummies.chirp(0.6, low=200, high=1500),
    "down": dummies.chirp(0.7, low=6000, high=2500),
    "hiss": dummies.noise(0.6),
}


def examples(folder: Path) -> list[Example]:
    """Write the clips as FLAC; an example of several tasks for each, and a manifest of all."""
    rows = []
    for number, (name, wave) in enumerate(CLIPS.items()):
        path = folder / f"{name}.flac"
        soundfile.write(path, wave, 16_000)
        common = {"audio": [AudioRef(path=str(path), duration=len(wave) / 16_000)], "source": "clips"}
        words = [Word("go", 0.1, 0.25), Word(name, 0.3, 0.5 + 0.01 * number)]
        language = ("en", "de", "ar")[number]  # Arabic has no tag: unknown
        asked = {"question": "Which one?", "choices": list(CLIPS)}
        rows += [
            Example(id=f"{name}-asr", task="asr", text=f"Go {name}!", language=language, **common),
            Example(
                id=f"{name}-words", task="word_timestamps", text="", words=words, language=language, **common
            ),
            Example(id=f"{name}-event", task="sound_event", text=name, label=name, **common),
            Example(id=f"{name}-qa", task="audio_qa", text=name, **asked, **common),
            Example(id=f"{name}-caption", task="audio_caption", text=f"A {name} sound.", **common),
            Example(id=f"{name}-pitch", task="note_pitch", text=str(50 + 5 * number), **common),
        ]
    write_manifest(folder / "clips.jsonl", rows)
    return rows


def save_untrained(folder: Path) -> Path:
    """A checkpoint of random weights."""
    torch.manual_seed(0)
    processor = QwenAudioProcessor(byte_tokenizer())
    build("test", processor.tokenizer).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_trained(folder: Path, rows: list[Example], steps: int = 150) -> Path:
    """A checkpoint that answers every one of `rows`, also as a question that names the choices."""
    torch.manual_seed(0)
    processor = QwenAudioProcessor(byte_tokenizer())
    model = build("test", processor.tokenizer)
    sequences = [render(row) for row in rows] + [render(row, as_question=True) for row in rows if row.choices]
    waves = [[CLIPS[row.id.split("-")[0]]] for row in rows]
    waves += [[CLIPS[row.id.split("-")[0]]] for row in rows if row.choices]
    batch = processor(waves, sequences, padding_side="right")
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    model.train()
    for _ in range(steps):
        loss = model(**batch).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    assert loss.item() < 0.05, f"the tiny model did not learn its clips: loss {loss.item():.3f}"
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@lru_cache(maxsize=1)
def trained() -> tuple[Path, list[Example]]:
    """One folder a test run with clips.jsonl, the clips and `model`, which knows them; and the examples."""
    folder = Path(tempfile.mkdtemp(prefix="qwen-audio-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rows = examples(folder)
    save_trained(folder / "model", rows)
    return folder, rows


def wave_of(name: str) -> tuple[np.ndarray, int]:
    """A clip as (array, rate)."""
    return CLIPS[name], 16_000

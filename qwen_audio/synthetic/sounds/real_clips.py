"""Recorded clips as events of synthetic scenes, each with its licence and id.

clips = RealClips("clips.jsonl")        # a manifest, or a folder with a folder of clips for each class
clips.perform(rng, "rain", 4.0)         # -> Take
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from qwen_audio.audio.load import load_audio
from qwen_audio.data.manifest import AudioRef, Example, read_manifest
from qwen_audio.format.example import SYNTHETIC_SOURCE
from qwen_audio.synthetic.sounds.acoustics import samples
from qwen_audio.synthetic.sounds.sounds import BROKEN, PAUSE
from qwen_audio.synthetic.sounds.takes import Take, cut

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac")
_MANIFEST = "manifest.jsonl"
_TRAINING = ("train", "training")
_HELD_OUT_PART = 10  # every tenth clip that has no split is kept for the held-out part


class RealClips:
    """Recorded clips as takes, by label.

    Args:
        path: a manifest, of which the `sound_event` rows are used; a folder with `manifest.jsonl`; or a folder whose
            folders are named by the class of the clips in them ("dog_barking" is read as "dog barking").
        held_out: take the clips that training never uses: those of a split other than "train", and every tenth of
            those without a split. Otherwise the rest.

    Raises ValueError where there is no such clip (and what `read_manifest` raises).
    """

    def __init__(self, path: str | os.PathLike[str], held_out: bool = False) -> None:
        self.rows: dict[str, list[Example]] = {}
        for row in _rows(Path(path)):
            if is_held_out(row) == held_out:
                self.rows.setdefault(row.label or row.text, []).append(row)
        if not self.rows:
            part = "for held-out data" if held_out else "for training"
            raise ValueError(f"{path}: no clips {part}: give rows of the task sound_event with that split")
        self.labels = sorted(self.rows)

    def perform(self, rng: np.random.Generator, label: str, longest: float) -> Take:
        """A clip of that label, cut to `longest` seconds; ValueError if its file is silent."""
        row = self.rows[label][rng.integers(len(self.rows[label]))]
        ref = row.audio[0]
        wave = load_audio(ref.path, start=ref.start, duration=ref.duration).astype(np.float64)
        pause = PAUSE if label in BROKEN else np.inf
        try:
            whole = cut(wave, pause)
            return cut(whole.wave[: samples(longest)], pause)._replace(clip=row)
        except ValueError as error:
            raise ValueError(f"{ref.path}: {error}") from error


def is_held_out(row: Example) -> bool:
    """True if a clip is kept from training: by its split, or by its id where it has none."""
    if row.split:
        return row.split.lower() not in _TRAINING
    return zlib.crc32(row.id.encode()) % _HELD_OUT_PART == 0


def _rows(path: Path) -> list[Example]:
    """The `sound_event` rows of a manifest, or of the files in a folder."""
    if not path.is_dir():
        return [row for row in read_manifest(path) if row.task == "sound_event"]
    if (path / _MANIFEST).is_file():
        return _rows(path / _MANIFEST)
    rows = []
    for file in sorted(path.glob("*/*")):
        if file.suffix.lower() in SUFFIXES:
            label = file.parent.name.replace("_", " ")
            name = file.relative_to(path).as_posix()
            audio = [AudioRef(path=str(file.resolve()))]
            rows.append(Example(id=name, task="sound_event", audio=audio, text=label, label=label))
    return rows


def attribution(clips: Iterable[Example]) -> dict[str, Any]:
    """Fields of an example that contains these clips: source, licences, and the clip of each event.

    Empty for no clips.
    """
    clips = list(clips)
    if not clips:
        return {}
    rows = [
        {
            "id": c.id,
            "label": c.label or c.text,
            "source": c.source,
            "license": c.license,
            "speaker": c.speaker,
        }
        for c in clips
    ]
    real = [{name: value for name, value in row.items() if value is not None} for row in rows]
    return {
        "source": "+".join([SYNTHETIC_SOURCE, *_known(c.source for c in clips)]),
        "license": " and ".join(_known(c.license for c in clips)) or None,
        "license_class": "+".join(_known(c.license_class for c in clips)) or None,
        "meta": {"real": real},
    }


def _known(names: Iterable[str | None]) -> list[str]:
    return sorted({name for name in names if name})

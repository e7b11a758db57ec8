"""The synthetic world as a whole: the generators of each task, and one generator of all tasks.

    WorldGenerator(["asr", "music_qa"]).sample(numpy.random.default_rng(0))   # -> Sample

Every task of the format has a row in `WORLD`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from qwen_audio.data.manifest import Sample
from qwen_audio.data.sources import Source
from qwen_audio.format.task_table import task_of
from qwen_audio.synthetic import kinds

SYNTHETIC_KINDS = (*kinds.KINDS, "world")
# Task -> the kinds of source (kinds.py) that make it, all equally likely.
WORLD: dict[str, tuple[str, ...]] = {
    "asr": ("speech",),
    "speech_translation": ("spoken",),
    "overlapped_asr": ("spoken",),
    "dialect_asr": ("spoken",),
    "word_timestamps": ("speech",),
    "emotion": ("spoken",),
    "vocal_sound": ("scenes",),
    "keyword_spotting": ("spoken",),
    "language_id": ("spoken",),
    "speaker_gender": ("spoken",),
    "speaker_age": ("spoken",),
    "dialect_id": ("spoken",),
    "speaker_diarization": ("spoken",),
    "entity_recognition": ("spoken",),
    "speech_intent": ("spoken",),
    "speaker_verification": ("spoken",),
    "audio_caption": ("scenes",),
    "sound_event": ("sounds",),
    "event_detection": ("scenes",),
    "acoustic_scene": ("scenes",),
    "audio_qa": ("scenes",),
    "music_caption": ("music",),
    "singer_id": ("music",),
    "music_emotion": ("music",),
    "music_recognition": ("music",),
    "music_qa": ("music",),
    "music_genre": ("music",),
    "note_analysis": ("notes",),
    "note_pitch": ("notes",),
    "note_velocity": ("notes",),
    "instrument": ("notes", "music"),
}
# Tasks of scenes into which recorded clips can be mixed.
MIXED = ("event_detection", "audio_caption", "audio_qa")
# Options of a kind for one task: English as often as the other languages of the format together; words have
# times in English and in Chinese (there by character).
_LANGUAGES = {"en": 7.0, "zh": 1.0, "de": 1.0, "es": 1.0, "ko": 1.0, "fr": 1.0, "ja": 1.0, "it": 1.0}
_OPTIONS: dict[str, dict[str, Any]] = {
    "asr": {"languages": _LANGUAGES},
    "word_timestamps": {"languages": {"en": 1.0, "zh": 1.0}},
}
_WEIGHTED = ("sounds", "notes")  # kinds that call the shares of their tasks `weights`


class WorldGenerator:
    """Samples examples of the given tasks, all tasks equally likely.

    Args:
        tasks: slugs of `WORLD`; None for all of it.
        held_out: sample what training never uses, as far as each generator can: other speakers, sentences, pieces
            and combinations of sounds, of instrument, pitch and dynamic level; for single sounds, other random
            numbers.
        real: recorded clips that are mixed into the scenes of `MIXED` tasks: a manifest or a folder (see
            synthetic/sounds/real_clips.py).

    Raises ValueError for an unknown task or none, and for `real` without a task of `MIXED`.
    """

    def __init__(
        self, tasks: Iterable[str] | None = None, held_out: bool = False, real: str | None = None
    ) -> None:
        self.tasks = known_tasks(tasks)
        if real is not None and not set(self.tasks) & set(MIXED):
            raise ValueError(
                f"recorded clips are mixed into {', '.join(MIXED)} only: name one of these tasks"
            )
        self._sources = {
            task: [_source(kind, task, held_out, real if task in MIXED else None) for kind in WORLD[task]]
            for task in self.tasks
        }

    def sample(self, rng: np.random.Generator) -> Sample:
        """One example with its audio; the same state of `rng` gives the same bytes in any process."""
        task = self.tasks[rng.integers(len(self.tasks))]
        number = int(rng.integers(len(WORLD[task])))
        return self._sources[task][number].sample(rng)


def known_tasks(tasks: Iterable[str] | None) -> tuple[str, ...]:
    """The tasks without repetition, all for None; ValueError for an unknown one, or for none at all."""
    names = tuple(WORLD) if tasks is None else tuple(dict.fromkeys(tasks))
    if not names:
        raise ValueError(f"no task is named: give some of {', '.join(WORLD)}")
    for name in names:
        task_of(name)
    return names


def _source(kind: str, task: str, held_out: bool, real: str | None) -> Source:
    shares = {"weights" if kind in _WEIGHTED else "tasks": {task: 1.0}}
    mixed = {} if real is None else {"real": real}
    options = {**shares, "held_out": held_out, **mixed, **_OPTIONS.get(task, {})}
    return kinds.build(kind, options)


def source_of(kind: str, options: Mapping[str, Any]) -> Source:
    """A source of one of `SYNTHETIC_KINDS`; ValueError for an unknown kind or options that it does not take."""
    if kind not in SYNTHETIC_KINDS:
        raise ValueError(f"unknown kind of source {kind!r}; use one of {', '.join(SYNTHETIC_KINDS)}")
    if kind == "world":
        return kinds.with_options(kind, WorldGenerator, options)
    return kinds.build(kind, options)

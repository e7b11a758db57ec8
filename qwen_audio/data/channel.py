"""Distortion of examples by a channel, limited to distortions that leave the task's answer true.

    distort(sample, Augment(), rng)      # -> a Sample whose meta["channel"] has the distortions of each clip

augment.py distorts a wave; this file depends on the task.  A change of speed moves pitch, voice and tempo, and a room,
noise or an equaliser changes properties that some labels describe; all times of an example are scaled with its speed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.augment import Augment
from qwen_audio.data.manifest import Example, Sample
from qwen_audio.format.task_table import TASKS
from qwen_audio.format.timestamps import Span, Word

_NOTES = ("note_pitch", "note_velocity", "note_analysis")
# Pitch, voice or tempo is the answer, or is described in it.
SPEED_MATTERS = (
    *_NOTES, "speaker_verification", "speaker_gender", "speaker_age", "emotion", "singer_id", "music_caption",
    "music_emotion", "music_genre", "music_qa",
)  # fmt: skip
# The velocity of a note determines its level and its timbre.
LEVEL_MATTERS = ("note_velocity", "note_analysis")
# Captions describe the noise and the room of a scene; a scene is recognised by its room.
_ROOM_MATTERS = ("audio_caption", "acoustic_scene")
_LEAST_SNR = 15.0  # dB, where sounds and music are the subject: a steady noise is a sound itself


def suited(augment: Augment, task: str) -> Augment:
    """The augmentation without distortions that would make a label of the task untrue."""
    if task in SPEED_MATTERS:
        augment = replace(augment, speed=0.0)
    if task in _NOTES:  # the highest keys lie above the band of a telephone
        augment = replace(augment, telephone=0.0)
    if task in LEVEL_MATTERS:
        augment = replace(augment, gain=0.0, clip=0.0, eq=0.0)
    if task in _ROOM_MATTERS:
        augment = replace(augment, room=0.0)
    if task == "audio_caption":
        augment = replace(augment, noise=0.0)
    if TASKS[task].group != "speech":
        low, high = augment.snr_range
        augment = replace(augment, snr_range=(max(low, _LEAST_SNR), max(high, _LEAST_SNR)))
    return augment


def distort(sample: Sample, augment: Augment, rng: np.random.Generator) -> Sample:
    """The sample with every clip through a channel of its own; `meta["channel"]` has the distortions of each.

    Words, spans and the times of events and notes in `meta` follow the first clip's speed.
    """
    augment = suited(augment, sample.example.task)
    if "second" in (sample.example.question or ""):  # the question or its answer names a time
        augment = replace(augment, speed=0.0)
    waves, channel = [], []
    for wave in sample.waves:
        changed, facts = augment.distort(wave, rng)
        waves.append(changed)
        channel.append(facts)
    example = moved(sample.example, channel[0].get("speed", 1.0), len(waves[0]) / SAMPLE_RATE)
    example = example.model_copy(update={"meta": {**example.meta, "channel": channel}})
    return Sample(example, waves)


def moved(example: Example, speed: float, seconds: float) -> Example:
    """The example with all its times scaled to a clip played `speed` times faster, which is then `seconds` long."""
    if speed == 1.0:
        return example

    def at(time: float) -> float:
        return min(time / speed, seconds)

    update: dict[str, Any] = {"meta": dict(example.meta)}
    if example.words is not None:
        update["words"] = [Word(w.word, at(w.start), at(w.end)) for w in example.words]
    if example.spans is not None:
        update["spans"] = [Span(s.label, at(s.start), at(s.end), s.text) for s in example.spans]
    if _timed(example.meta.get("events"), first_number=1):
        events = [[label, round(at(a), 3), round(at(b), 3)] for label, a, b in example.meta["events"]]
        update["meta"]["events"] = events
    if _timed(
        example.meta.get("notes"), first_number=0
    ):  # [start, length, pitch]; the pitch goes up with the speed
        shift = 12 * float(np.log2(speed))
        update["meta"]["notes"] = [
            [round(at(start), 3), round(length / speed, 3), round(pitch + shift, 2)]
            for start, length, pitch in example.meta["notes"]
        ]
    return example.model_copy(update=update)


def _timed(rows: Any, first_number: int) -> bool:
    """True for rows in the form of a synthetic example's `meta`: three entries, numbers from `first_number` on."""
    return isinstance(rows, list) and all(
        isinstance(row, (list, tuple))
        and len(row) == 3
        and all(isinstance(value, (int, float)) for value in row[first_number:])
        for row in rows
    )

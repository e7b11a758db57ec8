"""Shared parts of the spoken tasks: a draft of a sample, random choices, one utterance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qwen_audio.synthetic.speech import tables
from qwen_audio.synthetic.speech.transcribed import ACCENTS
from qwen_audio.synthetic.speech.voices import Clip, Identity, Manner, draw_identity, say


class Unusable(Exception):
    """The attempt gave nothing usable; the text is a key of `SpokenGenerator.dropped`."""


@dataclass
class Draft:
    """The result of a task: waves with the silence in front of each (s), and the fields of the example."""

    waves: list[tuple[np.ndarray, float]]
    fields: dict[str, Any] = field(default_factory=dict)


CODES = tuple(tables.LANGUAGE_NAMES)


def pick(rng: np.random.Generator, choices: Any) -> Any:
    """One of a sequence, each equally likely."""
    return choices[rng.integers(len(choices))]


def lead_in(rng: np.random.Generator) -> float:
    """Seconds of silence in front."""
    return float(rng.uniform(0.0, 0.4))


def any_language(rng: np.random.Generator) -> str:
    """English half of the time, else one of the other seven."""
    return "en" if rng.random() < 0.5 else pick(rng, [code for code in CODES if code != "en"])


def speak(words: list[str], language: str, accent: str, who: Identity, manner: Manner | None = None) -> Clip:
    """Words in a language and accent; Unusable("silent") if they have no sound."""
    clip = say(words, accent, who, manner, separator="" if language == "zh" else " ")
    if clip is None:
        raise Unusable("silent")
    return clip


def one(
    rng: np.random.Generator, held_out: bool, language: str, words: list[str], who: Identity | None = None
) -> tuple[np.ndarray, float, Identity]:
    """One utterance: the wave, the silence in front of it, and the speaker."""
    who = who or draw_identity(rng, held_out=held_out)
    level = Manner(level=float(rng.uniform(-14.0, -1.0)))
    clip = speak(words, language, pick(rng, ACCENTS[language]), who, level)
    return clip.wave, lead_in(rng), who

"""The kinds of synthetic source, each with the generator that makes its examples.

build("notes", {"weights": {"note_pitch": 1.0}}).sample(numpy.random.default_rng(0))   # -> Sample
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from qwen_audio.data.sources import LongSpeech, Source
from qwen_audio.synthetic.music.music import MusicGenerator
from qwen_audio.synthetic.music.notes import NoteGenerator
from qwen_audio.synthetic.sounds.scenes import SceneGenerator
from qwen_audio.synthetic.sounds.sounds import SoundGenerator
from qwen_audio.synthetic.speech.questions import SpeechQuestionGenerator
from qwen_audio.synthetic.speech.spoken import SpokenGenerator
from qwen_audio.synthetic.speech.transcribed import SpeechGenerator

_GENERATORS: dict[str, Callable[..., Source]] = {
    "speech": SpeechGenerator,
    "notes": NoteGenerator,
    "sounds": SoundGenerator,
    "scenes": SceneGenerator,
    "music": MusicGenerator,
    "speech_questions": SpeechQuestionGenerator,
    "spoken": SpokenGenerator,
}
KINDS = ("long_speech", *_GENERATORS)
_TIMED = {"word_timestamps": 1.0}


def build(kind: str, options: Mapping[str, Any]) -> Source:
    """A source of one of `KINDS`; ValueError for options that its generator does not take."""
    if kind == "long_speech":
        # One task for a whole, and only utterances whose words have times.
        return LongSpeech(build("speech", {**options, "tasks": _TIMED}))
    return with_options(kind, _GENERATORS[kind], options)


def with_options(kind: str, generator: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """A generator made with `options`; ValueError that names the kind for options that it does not take."""
    known = inspect.signature(generator).parameters
    if unknown := [option for option in options if option not in known]:
        raise ValueError(
            f"options of source {kind!r}: there is no {unknown[0]!r}, use some of {', '.join(known)}"
        )
    try:
        return generator(**options)
    except TypeError as error:
        raise ValueError(f"options of source {kind!r}: {error}") from error

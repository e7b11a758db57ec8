"""The spoken tasks beside plain transcription: one generator with exact labels.

The cue for each label is always in the audio: a translation's sentence is spoken, a dialect's phonemes differ from
those of every other dialect offered, gender and age are in pitch and formants, an identity is the same voice in
every clip, an emotion changes rate, pitch, range and effort together, and the times of turns, utterances and
keywords are those at which the samples were placed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.manifest import Example, Sample
from qwen_audio.format.example import SYNTHETIC_SOURCE
from qwen_audio.synthetic.speech import contents, espeak, speakers
from qwen_audio.synthetic.speech.draft import Draft, Unusable

# Tasks and their weights; longer and harder ones more often.
TASKS = {
    "speech_translation": 3.0,
    "overlapped_asr": 1.5,
    "dialect_asr": 1.0,
    "dialect_id": 1.0,
    "language_id": 1.0,
    "speaker_gender": 0.7,
    "speaker_age": 0.7,
    "speaker_verification": 1.0,
    "speaker_diarization": 1.5,
    "emotion": 1.0,
    "entity_recognition": 1.5,
    "speech_intent": 1.5,
    "keyword_spotting": 1.0,
}
MAX_SECONDS = 29.5
_MAKERS: dict[str, Callable[[np.random.Generator, bool], Draft]] = {
    "speech_translation": contents.translation,
    "overlapped_asr": contents.overlap,
    "dialect_asr": contents.dialect_transcript,
    "dialect_id": contents.dialect,
    "language_id": speakers.language,
    "speaker_gender": speakers.gender,
    "speaker_age": speakers.age,
    "speaker_verification": speakers.verification,
    "speaker_diarization": speakers.diarization,
    "emotion": speakers.emotion,
    "entity_recognition": contents.entities,
    "speech_intent": contents.intent,
    "keyword_spotting": contents.keyword,
}
_STREAMS = {False: 3, True: 4}  # spawn keys: training and held-out examples never share a stream
_ATTEMPTS = 40


class SpokenGenerator:
    """Generates samples of the spoken tasks; see the module's description.

    Args:
        tasks: slug -> weight, out of `TASKS` (None: all, with its weights).
        held_out: use speakers and sentences that training never has, and, in English, unseen words.

    `dropped` counts discarded attempts, by reason: "silent" (no sound), "unmatched" (espeak gave no
    time for a keyword), "alike" (a sentence that two dialects say alike), "too_long".

    Raises ValueError for an unknown task, or weights that are negative or sum to nothing.
    """

    def __init__(self, tasks: Mapping[str, float] | None = None, held_out: bool = False) -> None:
        tasks = TASKS if tasks is None else tasks
        if unknown := [name for name in tasks if name not in TASKS]:
            raise ValueError(f"unknown task {unknown[0]!r} of spoken data: use some of {', '.join(TASKS)}")
        weights = np.array(list(tasks.values()), dtype=float)
        if not (np.all(weights >= 0) and 0 < weights.sum() < np.inf):
            raise ValueError(f"the task weights are {dict(tasks)}: give numbers >= 0 with a positive sum")
        self._names = list(tasks)
        self._cumulative = np.cumsum(weights / weights.sum())
        self._held_out = held_out
        self.dropped = {"silent": 0, "unmatched": 0, "alike": 0, "too_long": 0}

    def sample(self, rng: np.random.Generator) -> Sample:
        """One sample; the same state of `rng` gives the same bytes in any process."""
        seed = np.random.SeedSequence(
            rng.integers(2**63, size=2).tolist(), spawn_key=(_STREAMS[self._held_out],)
        )
        rng = np.random.default_rng(seed)
        espeak.reset()
        place = int(np.searchsorted(self._cumulative, rng.random(), side="right"))
        task = self._names[min(place, len(self._names) - 1)]
        identity = f"spoken-{int(rng.integers(2**62)):016x}"
        for _ in range(_ATTEMPTS):
            try:
                draft = _MAKERS[task](rng, self._held_out)
            except Unusable as reason:
                self.dropped[str(reason)] += 1
                continue
            waves = [_with_edges(rng, wave, lead) for wave, lead in draft.waves]
            if any(wave.size > MAX_SECONDS * SAMPLE_RATE for wave in waves):
                self.dropped["too_long"] += 1
                continue
            fields: dict[str, Any] = {
                "id": identity,
                "task": task,
                "audio": [],
                "source": SYNTHETIC_SOURCE,
                "sampling_rate": SAMPLE_RATE,
                **draft.fields,
            }
            return Sample(Example(**fields), waves)
        raise RuntimeError(
            f"no usable {task!r} sample in {_ATTEMPTS} attempts; dropped so far: {self.dropped}"
        )


def _with_edges(rng: np.random.Generator, wave: np.ndarray, lead: float) -> np.ndarray:
    """Silence around `wave`: `lead` seconds in front, up to 0.4 s behind."""
    front, back = round(lead * SAMPLE_RATE), int(rng.uniform(0.0, 0.4) * SAMPLE_RATE)
    return np.concatenate([np.zeros(front, np.float32), wave, np.zeros(back, np.float32)])

"""Synthetic speech with exact transcripts and exact word times, for spoken training data without end.

One sample is one speaker saying one of four kinds of utterance: random words in one breath, a template
sentence, words or digits spoken one by one with gaps, or a single word.  The voice is sampled from espeak's
accents and variants, and resampling by a random factor moves pitch and formants together, so that voices vary
continuously.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import soxr

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.manifest import Example, Sample
from qwen_audio.format.example import SPEECH_SOURCE
from qwen_audio.format.timestamps import Word
from qwen_audio.synthetic.speech import espeak, splits
from qwen_audio.synthetic.speech import words as text

MAX_SPEECH_SECONDS = 8.0
# The kinds of utterance and their weights.
KINDS = {"words": 0.4, "sentence": 0.25, "isolated": 0.25, "single": 0.1}

# espeak's files of the accents of every language ("gmw/en" is British).  Those without capitals are given
# with their folder: then espeak finds them without listing all voices first, which is slower than speaking.
ACCENTS = {
    "en": (
        "en-us",
        "gmw/en",
        "en-us-nyc",
        "en-gb-x-rp",
        "en-gb-scotland",
        "en-gb-x-gbclan",
        "en-gb-x-gbcwmd",
        "gmw/en-029",
    ),
    "zh": ("sit/cmn",),
    "de": ("gmw/de",),
    "es": ("roa/es", "roa/es-419"),
    "ko": ("ko",),
    "fr": ("roa/fr", "fr-be", "fr-ch"),
    "ja": ("jpx/ja",),
    "it": ("roa/it",),
    "ar": ("sem/ar",),
}
# Variants that sound like people: no whispering, croaking or robots, and none with breath, whose noise is not
# the same every time.
# Two registers, equally likely: most variants have a low pitch.
VARIANTS = {
    "low": (
        "m1 m2 m3 m4 m5 m6 m7 m8 klatt klatt2 klatt3 klatt4 klatt5 klatt6 Alex Andy Denis Diogo Gene "
        "Gene2 Henrique Hugo Jacky Lee Marco Mario Michael Mike adam antonio benjamin boris david ed "
        "edward edward2 gustave ian iven iven2 iven3 iven4 john kaukovalta marcelo max michel miguel "
        "mike2 norbert pablo paul pedro quincy rob robert travis"
    ),
    "high": ("f1 f4 Andrea Annie anika aunty belinda grandma linda shelby steph steph2 steph3 zac"),
}
PITCH_BANDS = ((15, 32), (32, 48), (48, 64), (64, 80))  # of espeak's 0..100
_SPEED_FACTORS = (0.85, 1.2)  # resampling: above one is faster and higher
_HELD_OUT_PARTS = 6  # one voice setting in this many is held out
_STREAMS = {False: 1, True: 2}  # spawn keys: training and held-out text and voices never share a stream
_ATTEMPTS = 50


@lru_cache(maxsize=64)
def voice_settings(language: str, register: str, held_out: bool) -> tuple[tuple[str, str, int], ...]:
    """(accent, variant, pitch band) triples; those with `held_out` and those without have none in common.

    `register` is "low" or "high", see `VARIANTS`.
    """
    return tuple(
        (accent, variant, band)
        for accent in ACCENTS[language]
        for variant in VARIANTS[register].split()
        for band in range(len(PITCH_BANDS))
        if (zlib.crc32(f"{accent}+{variant}+{band}".encode()) % _HELD_OUT_PARTS == 0) == held_out
    )


class SpeechGenerator:
    """Generates spoken samples; see the module's description.

    Args:
        vocabulary_size: English words beside digits and number words (None: 2,500); other languages have 300.
            Where it is given, held-out English has no other words either.
        languages: language code -> weight.
        tasks: "asr" and "word_timestamps" -> weight; the answer's form, the audio is the same.
        kinds: kind of utterance -> weight, see `KINDS`.
        held_out: use voices and texts that training never has (see splits.py).
        max_seconds: no sample is longer.

    `dropped` counts utterances discarded so far, by reason: "unmatched" (espeak gave no time for some word
    of a word_timestamps sample), "too_long", "silent".

    Raises ValueError for an unknown name or weights that are not positive in sum.
    """

    def __init__(
        self,
        vocabulary_size: int | None = None,
        languages: Mapping[str, float] | None = None,
        *,
        tasks: Mapping[str, float] | None = None,
        kinds: Mapping[str, float] | None = None,
        held_out: bool = False,
        max_seconds: float = MAX_SPEECH_SECONDS,
    ) -> None:
        self._languages = _weights(languages or {"en": 1.0}, ACCENTS, "language")
        self._tasks = _weights(tasks or {"asr": 0.7, "word_timestamps": 0.3}, _TASKS, "task")
        self._kinds = _weights(kinds or KINDS, KINDS, "kind")
        self._size = vocabulary_size
        self._held_out = held_out
        self._max_seconds = max_seconds
        if max_seconds < 2.0:
            raise ValueError(f"max_seconds is {max_seconds}: give at least 2, or long words never fit")
        text.vocabulary("en", vocabulary_size)  # a bad size is reported here, not in a worker
        self.dropped = {"unmatched": 0, "too_long": 0, "silent": 0}

    def sample(self, rng: np.random.Generator) -> Sample:
        """One spoken sample; the same state of `rng` gives the same bytes in any process."""
        seed = np.random.SeedSequence(
            rng.integers(2**63, size=2).tolist(), spawn_key=(_STREAMS[self._held_out],)
        )
        rng = np.random.default_rng(seed)
        espeak.reset()
        language = _choose(rng, self._languages)
        task = _choose(rng, self._tasks)
        identity = f"speech-{int(rng.integers(2**62)):016x}"
        for _ in range(_ATTEMPTS):
            made = self._utterance(rng, language, task)
            if made is not None:
                break
        else:
            raise RuntimeError(
                f"no usable {language!r} utterance in {_ATTEMPTS} attempts; dropped so far: {self.dropped}"
            )
        wave, words, spoken, kind, voice, factor = made
        accent = voice.language.rpartition("/")[2]
        example = Example(
            id=identity,
            task=task,
            audio=[],
            language=language,
            text=text.join(language, spoken),
            words=words,
            speaker=f"espeak/{accent}+{voice.variant}/p{voice.pitch}/x{factor:.2f}",
            source=SPEECH_SOURCE,
            sampling_rate=SAMPLE_RATE,
            meta={"kind": kind},
        )
        return Sample(example, [wave])

    def _utterance(
        self, rng: np.random.Generator, language: str, task: str
    ) -> tuple[np.ndarray, list[Word] | None, list[str], str, espeak.Voice, float] | None:
        kind = _choose(rng, self._kinds)
        voice = self._voice(rng, language)
        factor = float(rng.uniform(*_SPEED_FACTORS))
        spoken = text.units(language, self._words(rng, language, kind))
        if kind == "isolated":
            pieces = [espeak.synthesize([word], voice) for word in spoken]
        else:
            pieces = [espeak.synthesize(spoken, voice, separator="" if language == "zh" else " ")]
        made = [piece for piece in pieces if piece is not None]
        if len(made) < len(pieces):
            self.dropped["silent"] += 1
            return None
        timed = all(piece.times is not None for piece in made)
        if task == "word_timestamps" and not timed:
            self.dropped["unmatched"] += 1
            return None
        wave, times = _assemble(rng, made, factor)
        if wave.size > self._max_seconds * SAMPLE_RATE:
            self.dropped["too_long"] += 1
            return None
        words = [Word(w, *t) for w, t in zip(spoken, times, strict=True)] if timed else None
        return wave, words, spoken, kind, voice, factor

    def _voice(self, rng: np.random.Generator, language: str) -> espeak.Voice:
        settings = voice_settings(language, "low" if rng.random() < 0.5 else "high", self._held_out)
        accent, variant, band = settings[rng.integers(len(settings))]
        return espeak.Voice(
            language=accent,
            variant=variant,
            rate=int(rng.integers(110, 240)),
            pitch=int(rng.integers(*PITCH_BANDS[band])),
            volume=60,  # some variants clip at espeak's own 100
            pitch_range=int(rng.integers(15, 75)),
            word_gap=int(rng.integers(0, 6)) if rng.random() < 0.2 else 0,
        )

    def _words(self, rng: np.random.Generator, language: str, kind: str) -> list[str]:
        size = self._size if language == "en" else None
        return splits.speech_words(rng, language, kind, size=size, held_out=self._held_out)


_TASKS = ("asr", "word_timestamps")


def _assemble(
    rng: np.random.Generator, pieces: list[espeak.Speech], factor: float
) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Pieces with silences around and between them: (n,) float32 at 16 kHz, and the times of the words in it.

    Playing `factor` times faster scales every time by 1 / factor; the silences are sampled in final seconds.
    """
    edges = rng.uniform(0.0, 0.3, size=2)
    if rng.random() < 0.1:
        edges[rng.integers(2)] = rng.uniform(0.3, 1.5)
    gaps = [edges[0], *rng.uniform(0.0, 0.4, size=len(pieces) - 1), edges[1]]
    rate = espeak.ESPEAK_RATE * factor
    parts: list[np.ndarray] = []
    times: list[tuple[float, float]] = []
    position = 0
    for piece, gap in zip(pieces, gaps, strict=False):
        silence = round(gap * rate)
        level = 10 ** (rng.uniform(-3.0, 3.0) / 20) if len(pieces) > 1 else 1.0
        parts += [np.zeros(silence, np.float32), piece.wave * np.float32(level)]
        position += silence
        times += [(position / rate + s / factor, position / rate + e / factor) for s, e in piece.times or ()]
        position += piece.wave.size
    parts.append(np.zeros(round(gaps[-1] * rate), np.float32))
    wave = soxr.resample(np.concatenate(parts), rate, SAMPLE_RATE, quality="MQ")
    peak = float(np.abs(wave).max())
    wave *= np.float32(10 ** (rng.uniform(-14.0, -1.0) / 20) / max(peak, 1e-6))
    end = wave.size / SAMPLE_RATE
    return wave, [(min(s, end), min(e, end)) for s, e in times]


def _weights(given: Mapping[str, float], known: Mapping | tuple, what: str) -> tuple[list[str], np.ndarray]:
    """Names and cumulative probabilities, after checking both."""
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ValueError(f"unknown {what} {unknown[0]!r}: use some of {', '.join(known)}")
    values = np.array(list(given.values()), dtype=float)
    if not (np.all(values >= 0) and 0 < values.sum() < np.inf):
        raise ValueError(f"the {what} weights are {dict(given)}: give numbers >= 0 with a positive sum")
    return list(given), np.cumsum(values / values.sum())


def _choose(rng: np.random.Generator, weights: tuple[list[str], np.ndarray]) -> str:
    names, cumulative = weights
    return names[min(int(np.searchsorted(cumulative, rng.random(), side="right")), len(names) - 1)]

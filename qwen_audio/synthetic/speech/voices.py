"""Speaking identities: voices that stay the same from clip to clip, and manners of speaking.

An identity fixes a voice: the espeak variant (timbre), a resampling factor (length of the vocal
tract: it moves all formants), the median pitch in Hz, a habitual rate and liveliness, and in old age a tremor.
Gender is both in the pitch (85 to 145 Hz or 175 to 255 Hz, with a gap between) and in the formants; a child is
higher in both; an old voice is slow and trembles.  A manner changes rate, pitch, range,
spectral tilt, effort and tremor of an identity for one utterance: these cues separate emotions.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soxr
from scipy.signal import lfilter

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.synthetic.speech import espeak

AGES = ("child", "adult", "senior")
GENDERS = ("male", "female")
EMOTIONS = ("neutral", "joy", "sadness", "anger", "fear", "surprise")

# Median pitch (Hz) of espeak's variants at its pitch setting 50, as measured by autocorrelation.
_VARIANTS = {
    "male": {
        "m1": 89, "m2": 98, "m3": 99, "m5": 97, "m6": 96, "m7": 100, "klatt": 97, "klatt2": 97, "klatt4": 97,
        "klatt6": 96, "Denis": 95, "Hugo": 101, "michel": 100, "Mike": 85,
    },
    "female": {
        "f1": 171, "f4": 171, "linda": 223, "belinda": 223, "steph": 179, "steph3": 179, "aunty": 176,
        "Annie": 216,
    },
}  # fmt: skip
_PITCH_STEP = 0.0109  # log of the pitch ratio for one step of espeak's pitch setting
_PITCHES = {"male": (85.0, 145.0), "female": (175.0, 255.0), "child": (285.0, 380.0)}  # Hz
_FACTORS = {"male": (0.88, 1.03), "female": (0.97, 1.12), "child": (1.22, 1.42)}
_CELLS = 4  # bands of pitch and of the factor, for the split into training and held-out identities
_HELD_OUT_PARTS = 6
# One step of distance between voices: this ratio of pitch, or of formants (logarithms).
_PITCH_UNIT, _FACTOR_UNIT = 0.12, 0.06


@dataclass(frozen=True)
class Identity:
    """One speaker; `hertz` is the median pitch of the finished sound, `factor` the resampling factor."""

    gender: str
    age: str
    variant: str
    hertz: float
    factor: float
    rate: int  # words per minute
    liveliness: int  # espeak's pitch range, 0 to 100
    tremor: float = 0.0  # Hz; none at 0

    @property
    def name(self) -> str:
        who = self.age if self.age == "child" else f"{self.age}-{self.gender}"
        return f"espeak/{who}/{self.variant}/{self.hertz:.0f}Hz/x{self.factor:.3f}/{self.rate}"


@dataclass(frozen=True)
class Manner:
    """Prosody of one utterance, relative to the habit of the identity.

    rate and pitch: factors; range: espeak's pitch range (None: the identity's); tilt: from -1 (dark, soft) to 1
    (bright, pressed); drive: amount of saturation, 0 for none; tremor: Hz of a fast tremor; rise: factor that
    the pitch reaches at the end; level: dB of the peak relative to full scale.
    """

    rate: float = 1.0
    pitch: float = 1.0
    range: int | None = None
    tilt: float = 0.0
    drive: float = 0.0
    tremor: float = 0.0
    rise: float = 1.0
    level: float = -6.0


@dataclass(frozen=True)
class Clip:
    """Speech at 16 kHz: `wave` (n,) float32 without silence around it; (start, end) seconds of every word."""

    wave: np.ndarray
    times: list[tuple[float, float]] | None


def draw_identity(
    rng: np.random.Generator, *, held_out: bool = False, gender: str | None = None, age: str = "adult"
) -> Identity:
    """A random speaker; held-out speakers and the others differ in variant, band of pitch or band of formants.

    A child's `gender` is "female" for its timbre only, and not part of its name: boys and girls sound alike.
    """
    gender = gender or GENDERS[rng.integers(2)]
    if age == "child":
        gender = "female"
    kind = "child" if age == "child" else gender
    names = list(_VARIANTS[gender])
    while True:
        variant = names[rng.integers(len(names))]
        place = rng.random(2)
        cell = f"{variant}/{kind}/{int(place[0] * _CELLS)}/{int(place[1] * _CELLS)}"
        low, high = _PITCHES[kind]
        hertz = low * (high / low) ** float(place[0])
        first, last = _FACTORS[kind]
        factor = first + (last - first) * float(place[1])
        setting = _setting(gender, variant, hertz / factor)
        split = zlib.crc32(cell.encode()) % _HELD_OUT_PARTS == 0
        if split == held_out and 8 <= setting <= 88:
            break
    slow = age == "senior"
    return Identity(
        gender=gender,
        age=age,
        variant=variant,
        hertz=hertz,
        factor=factor,
        rate=int(rng.integers(105, 130) if slow else rng.integers(160, 200)),
        liveliness=int(rng.integers(30, 60)),
        tremor=float(rng.uniform(4.5, 6.5)) if slow else 0.0,
    )


def distance(one: Identity, other: Identity) -> float:
    """Perceived distance of two voices: 1 is a pitch ratio of 1.13 or a formant ratio of 1.06."""
    pitch = math.log(one.hertz / other.hertz) / _PITCH_UNIT
    return math.hypot(pitch, math.log(one.factor / other.factor) / _FACTOR_UNIT)


def emotional(rng: np.random.Generator, emotion: str) -> Manner:
    """A manner of one of `EMOTIONS`: each has at least two cues that do not depend on the speaker.

    joy: lively and quick; sadness: slow, flat, dark; anger: quick, pressed and distorted; fear: high, quick,
    flat, trembling; surprise: slow, lively, with a steep rise at the end.
    """
    u = rng.random(4)
    match emotion:
        case "neutral":
            return Manner(rate=0.95 + 0.1 * u[0], range=int(30 + 15 * u[1]), level=-8 + 4 * u[2])
        case "joy":
            return Manner(1.15 + 0.1 * u[0], 1.2 + 0.1 * u[1], int(88 + 10 * u[2]), 0.35, level=-4 + 2 * u[3])
        case "sadness":
            return Manner(0.6 + 0.08 * u[0], 0.88 + 0.05 * u[1], int(8 * u[2]), -0.8, level=-18 + 4 * u[3])
        case "anger":
            return Manner(1.2 + 0.12 * u[0], 1.08 + 0.1 * u[1], 60, 1.0, 4 + 3 * u[2], level=-1 + u[3] / 2)
        case "fear":
            tremor = 8.0 + 2.0 * float(u[2])
            return Manner(1.3 + 0.1 * u[0], 1.4 + 0.1 * u[1], 15, -0.3, tremor=tremor, level=-12 + 4 * u[3])
        case "surprise":
            return Manner(
                0.85 + 0.08 * u[0], 1.15 + 0.1 * u[1], 75, rise=1.7 + 0.2 * u[2], level=-6 + 3 * u[3]
            )
    raise ValueError(f"unknown emotion {emotion!r}: use one of {', '.join(EMOTIONS)}")


def _setting(gender: str, variant: str, hertz: float) -> int:
    """espeak's pitch setting at which a variant has a median pitch of `hertz`."""
    return round(50 + math.log(hertz / _VARIANTS[gender][variant]) / _PITCH_STEP)


def say(
    words: Sequence[str], accent: str, who: Identity, manner: Manner | None = None, *, separator: str = " "
) -> Clip | None:
    """`words` spoken by `who` in the espeak accent `accent`; None if they have no sound.

    Times are exact to a few milliseconds (a tremor moves sound by less than that) unless the manner ends in a
    rise, which quickens the end: then there are none.
    """
    manner = manner or Manner()
    # The resampling makes speech faster too; the rate of the finished sound is the identity's.
    voice = espeak.Voice(
        language=accent,
        variant=who.variant,
        rate=int(np.clip(who.rate * manner.rate / who.factor, 80, 400)),
        pitch=int(np.clip(_setting(who.gender, who.variant, who.hertz * manner.pitch / who.factor), 0, 100)),
        pitch_range=who.liveliness if manner.range is None else manner.range,
        volume=60,
    )
    speech = espeak.synthesize(words, voice, separator=separator)
    if speech is None:
        return None
    rate = espeak.ESPEAK_RATE * who.factor
    wave, times = speech.wave, speech.times
    if who.tremor:
        wave = _tremble(wave, who.tremor / who.factor, 0.05)
    if manner.tremor:
        wave = _tremble(wave, manner.tremor / who.factor, 0.06)
    if manner.rise != 1.0:
        wave, times = _rise(wave, manner.rise), None
    wave = soxr.resample(wave, rate, SAMPLE_RATE, quality="MQ")
    wave = _effort(wave, manner)
    end = wave.size / SAMPLE_RATE
    if times is not None:
        times = [(min(s / who.factor, end), min(e / who.factor, end)) for s, e in times]
    return Clip(wave, times)


def _tremble(wave: np.ndarray, hertz: float, depth: float) -> np.ndarray:
    """Vibrate pitch (by the share `depth`) and loudness (by a quarter) of `wave` at the espeak rate."""
    time = np.arange(wave.size) / espeak.ESPEAK_RATE
    phase = 2 * np.pi * hertz * time
    # moving the read position by d sin(phase) changes the speed by up to d * 2 pi f
    offset = depth / (2 * np.pi * hertz) * espeak.ESPEAK_RATE * np.sin(phase)
    moved = np.interp(np.arange(wave.size) + offset, np.arange(wave.size), wave)
    return (moved * (1.0 - 0.25 * (1.0 + np.cos(phase)))).astype(np.float32)


def _rise(wave: np.ndarray, top: float) -> np.ndarray:
    """Raise the pitch over the last 0.6 s (or half) up to the factor `top`, by reading ever faster."""
    tail = min(round(0.6 * espeak.ESPEAK_RATE), wave.size // 2)
    start = wave.size - tail
    # speed grows linearly from 1 to top over n output samples: n (1 + top) / 2 = tail
    count = int(2 * tail / (1 + top))
    speed = np.linspace(1.0, top, count)
    position = np.concatenate([np.arange(start), start + np.cumsum(speed)])
    return np.interp(position, np.arange(wave.size), wave).astype(np.float32)


def _effort(wave: np.ndarray, manner: Manner) -> np.ndarray:
    """Apply spectral tilt, saturation and level: the effects of vocal effort."""
    if manner.tilt > 0:
        wave = lfilter([1.0, -0.85 * manner.tilt], [1.0], wave)
    elif manner.tilt < 0:
        pole = 0.85 * -manner.tilt
        wave = lfilter([1.0 - pole], [1.0, -pole], wave)
    wave = wave / max(float(np.abs(wave).max()), 1e-6)
    if manner.drive > 0:
        wave = np.tanh(manner.drive * wave) / math.tanh(manner.drive)
    return (wave * 10 ** (manner.level / 20)).astype(np.float32)


def apart(
    rng: np.random.Generator, count: int, *, held_out: bool = False, least: float = 2.0
) -> list[Identity]:
    """`count` adult speakers of whom each two are at least `least` apart in `distance`."""
    chosen: list[Identity] = []
    while len(chosen) < count:
        new = draw_identity(rng, held_out=held_out)
        if all(distance(new, other) >= least for other in chosen):
            chosen.append(new)
    return chosen


def mix(parts: Sequence[tuple[float, np.ndarray]], seconds: float) -> np.ndarray:
    """Waves added at their starts (seconds) into a clip of `seconds`; scaled down if they would clip."""
    whole = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    for start, wave in parts:
        at = round(start * SAMPLE_RATE)
        whole[at : at + wave.size] += wave[: whole.size - at]
    peak = float(np.abs(whole).max())
    return whole * np.float32(0.95 / peak) if peak > 0.95 else whole


__all__ = [
    "AGES", "EMOTIONS", "GENDERS", "Clip", "Identity", "Manner", "apart", "distance", "draw_identity",
    "emotional", "mix", "say",
]  # fmt: skip

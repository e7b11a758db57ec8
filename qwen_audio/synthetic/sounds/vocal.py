"""Procedural non-speech vocal sounds: laughter, sigh, cough, throat clearing, sneeze and sniff.

A source (a glottal tone, breath noise, a burst) through the resonances of a vocal tract of the person's size.
Each model takes a generator, a length in samples and a person, and returns (n,) float at 16 kHz, at any level.
They have the timing, the pitch and the bands of such human sounds, but are recognisable as synthetic.
Sneeze is the model of models.py, with a random pitch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.synthetic.sounds.acoustics import (
    Gain,
    band,
    curve,
    decay,
    drift,
    filtered,
    harmonic,
    noise,
    place,
    resonances,
    samples,
)
from qwen_audio.synthetic.sounds.models import sneeze

PERSONS = 500  # number of persons, each with a fixed size and voice
_PERSON_SEED = 20_231_107  # makes a person's voice depend on the number alone


class Person(NamedTuple):
    """pitch: the mean of the speaking voice, Hz; size: of the vocal tract, 1 for a woman's; rough: 0 to 1."""

    pitch: float
    size: float
    rough: float


def person(number: int) -> Person:
    """The person of that number, 0 to 499: odd ones have lower voices and longer vocal tracts."""
    rng = np.random.default_rng([_PERSON_SEED, number])
    low = number % 2 == 1
    pitch = rng.uniform(85, 140) if low else rng.uniform(170, 250)
    return Person(
        float(pitch), float(rng.uniform(1.1, 1.25) if low else rng.uniform(0.9, 1.05)), rng.random()
    )


def tract(who: Person, vowel: tuple[float, float, float], width: float = 1.0, floor: float = 0.02) -> Gain:
    """The resonances of the person's vocal tract: three formants of a vowel (Hz at size 1) and a fourth."""
    first, second, third = (f / who.size for f in vowel)
    peaks = [(first, 110, 1.0), (second, 140, 0.6), (third, 220, 0.3), (3900 / who.size, 350, 0.15)]
    return resonances([(f, w * width, a) for f, w, a in peaks], floor)


_AH, _UH, _EH = (850.0, 1350.0, 2850.0), (600.0, 1200.0, 2600.0), (600.0, 1900.0, 2700.0)


def _glottis(rng: np.random.Generator, f0: np.ndarray, breath: float, rough: float = 0.0) -> np.ndarray:
    """A voice of root mean square about 1: harmonics with jitter, every other pulse weaker where it is `rough`.

    The breath noise is strongest while the glottis is open.
    """
    n = len(f0)
    moving = f0 * (1 + (0.008 + 0.05 * rough) * drift(rng, n, 90, -1, 1))
    tone = harmonic(moving, 1.1)
    phase = np.cumsum(moving) / SAMPLE_RATE
    tone *= 1 - 0.6 * rough * (0.5 + 0.5 * np.cos(np.pi * phase))
    air = noise(rng, n, band(400, 6500, 1)) * (0.7 + 0.3 * np.cos(2 * np.pi * phase))
    return tone / max(float(np.sqrt(np.mean(tone**2))), 1e-9) + breath * air


def _laughter(rng: np.random.Generator, n: int, who: Person) -> np.ndarray:
    """One or two bouts of "ha": 4 to 6 a second, each breath then voice, falling in pitch and level."""
    track, at = np.zeros(n), rng.uniform(0, 0.1)
    vowel = tract(who, (_AH, _UH, _EH)[rng.integers(3)], 1.3)
    top, voiceless = who.pitch * rng.uniform(1.4, 2.3), rng.random() < 0.2
    while at < n / SAMPLE_RATE - 0.3:
        count, rate = int(rng.integers(4, 11)), rng.uniform(4.2, 6.0)
        for k in range(count):
            m = samples(rng.uniform(0.75, 0.95) / rate)
            gone = k / count
            f0 = (
                top
                * (1 - 0.35 * gone)
                * curve(m, (0, 0.95), (0.5, 1.12), (1, 0.85))
                * rng.uniform(0.95, 1.05)
            )
            share = rng.uniform(0.35, 0.5)  # of the call that is breath only
            voice = _glottis(rng, f0, 0.25, 0.3 * who.rough)
            voice *= curve(m, (0, 0), (share, 0.02), (share + 0.12, 1), (0.8, 0.8), (1, 0))
            air = noise(rng, m, band(500, 6000, 1)) * curve(
                m, (0, 0.2), (share, 1), (share + 0.2, 0.15), (1, 0)
            )
            call = filtered(voice * (0.0 if voiceless else 1.0) + air * (1.0 if voiceless else 0.35), vowel)
            place(track, at, call, (1 - 0.7 * gone) * rng.uniform(0.8, 1) * (0.6 if k == 0 else 1))
            at += rng.uniform(0.95, 1.05) / rate
        if rng.random() < 0.6 and at < n / SAMPLE_RATE - 0.4:  # the breath in after a bout
            m = samples(rng.uniform(0.25, 0.45))
            gasp = filtered(noise(rng, m, band(900, 5000, 1)), tract(who, _AH, 2.5, 0.2))
            place(track, at, gasp * curve(m, (0, 0), (0.6, 1), (1, 0)), 0.25)
            at += m / SAMPLE_RATE
        if rng.random() < 0.5:
            break
        at += rng.uniform(0.05, 0.25)
    return track


def _sigh(rng: np.random.Generator, n: int, who: Person) -> np.ndarray:
    """A soft breath in, then out for about a second: noise that sinks, now and then with some voice."""
    track, at = np.zeros(n), rng.uniform(0, 0.1)
    vowel = (_AH, _UH)[rng.integers(2)]
    if rng.random() < 0.6:
        m = samples(rng.uniform(0.3, 0.7))
        drawn = filtered(noise(rng, m, band(700, 6000, 1)), tract(who, _EH, 2.5, 0.25))
        place(track, at, drawn * curve(m, (0, 0), (0.7, 1), (1, 0.1)), rng.uniform(0.15, 0.4))
        at += m / SAMPLE_RATE + rng.uniform(0.0, 0.15)
    m = samples(min(rng.uniform(0.8, 1.8), max(n / SAMPLE_RATE - at, 0.5)))
    early = filtered(noise(rng, m, band(300, 5500, 1)), tract(who, vowel, 2.0, 0.12))
    late = filtered(noise(rng, m, band(150, 1800, 1)), tract(who, _UH, 2.0, 0.05))  # the mouth closes
    open_ = np.linspace(1, 0, m)
    air = open_ * early / np.abs(early).max() + (1 - open_) * late / np.abs(late).max()
    if rng.random() < 0.45:
        f0 = who.pitch * curve(m, (0, 1.25), (0.3, 1.1), (1, 0.7))
        voice = filtered(_glottis(rng, f0, 0.8, 0.2 * who.rough), tract(who, vowel))
        air += (
            rng.uniform(0.1, 0.5)
            * voice
            / np.abs(voice).max()
            * curve(m, (0, 0), (0.15, 1), (0.7, 0.4), (1, 0))
        )
    place(track, at, air * curve(m, (0, 0), (0.12, 1), (0.4, 0.7), (1, 0)) ** 1.3)
    return track


def _cough(rng: np.random.Generator, n: int, who: Person) -> np.ndarray:
    """One to four coughs: a burst as the glottis opens, a rush of air, and often a short voiced end."""
    track, at = np.zeros(n), rng.uniform(0, 0.1)
    gap, dry = rng.uniform(0.3, 0.55), rng.random()
    for k in range(int(rng.choice([1, 2, 3, 4], p=[0.3, 0.4, 0.2, 0.1]))):
        mouth = tract(who, (_AH, _UH)[rng.integers(2)], rng.uniform(1.5, 2.5), 0.12)
        m = samples(rng.uniform(0.22, 0.4))
        cough = noise(rng, m, band(250, 6500, 1)) * decay(
            m, rng.uniform(0.12, 0.2), rng.uniform(0.002, 0.008)
        )
        cough += 0.35 * noise(rng, m, band(400, 5000, 1)) * curve(m, (0, 0), (0.15, 1), (0.6, 0.5), (1, 0))
        if rng.random() < 0.7:  # the glottis closes again and sounds
            v = samples(rng.uniform(0.08, 0.16))
            f0 = who.pitch * rng.uniform(1.1, 1.8) * curve(v, (0, 1.1), (1, 0.75))
            voice = _glottis(rng, f0, 0.6, 0.5 + 0.5 * who.rough) * curve(v, (0, 0), (0.2, 1), (1, 0))
            place(cough, rng.uniform(0.1, 0.18), voice, rng.uniform(0.1, 0.5) * (1.3 - dry))
        place(track, at, filtered(cough, mouth), rng.uniform(0.7, 1) * 0.9**k)
        at += gap * rng.uniform(0.85, 1.2)
    return track


def _throat(rng: np.random.Generator, n: int, who: Person) -> np.ndarray:
    """ "Ahem": one to three rough, low, half-closed sounds; each pulse of the voice differs from the next."""
    track, at = np.zeros(n), rng.uniform(0, 0.1)
    shut = tract(who, (rng.uniform(400, 600), rng.uniform(1000, 1500), 2400), 1.8, 0.12)
    for _ in range(int(rng.choice([1, 2, 3], p=[0.35, 0.5, 0.15]))):
        m = samples(rng.uniform(0.2, 0.55))
        f0 = who.pitch * rng.uniform(0.5, 0.8) * curve(m, (0, 0.9), (0.4, 1.1), (1, 0.8))
        voice = _glottis(rng, f0, rng.uniform(0.5, 1.0), 1.0)
        flutter = 1 - 0.7 * drift(rng, m, rng.uniform(25, 45), 0, 1)  # what is in the throat rattles
        shape = curve(m, (0, 0), (0.12, 1), (0.7, 0.8), (1, 0))
        place(track, at, filtered(voice * flutter, shut, band(120, 4500, 1)) * shape, rng.uniform(0.7, 1))
        at += m / SAMPLE_RATE + rng.uniform(0.03, 0.2)
    return track


def _sniff(rng: np.random.Generator, n: int, who: Person) -> np.ndarray:
    """One to four short breaths through the nose: bright noise that swells and is cut off."""
    track, at = np.zeros(n), rng.uniform(0, 0.1)
    nose = resonances(
        [
            (rng.uniform(900, 1300) / who.size, 500, 0.5),
            (rng.uniform(2200, 3200) / who.size, 1200, 1),
            (5200, 2500, 0.7),
        ],
        0.1,
    )
    wet = rng.uniform(0, 0.6)
    for _ in range(int(rng.choice([1, 2, 3, 4], p=[0.35, 0.35, 0.2, 0.1]))):
        m = samples(rng.uniform(0.14, 0.4))
        air = noise(rng, m, nose, band(rng.uniform(700, 1200), 7500, 2))
        air *= 1 - wet * drift(rng, m, 60, 0, 1)
        place(
            track,
            at,
            air * curve(m, (0, 0.02), (rng.uniform(0.6, 0.85), 1), (1, 0)) ** 1.4,
            rng.uniform(0.6, 1),
        )
        at += m / SAMPLE_RATE + rng.uniform(0.12, 0.45)
    return track


def _sneeze(rng: np.random.Generator, n: int, who: Person) -> np.ndarray:
    return sneeze(rng, n)


VOCAL: dict[str, Callable[[np.random.Generator, int, Person], np.ndarray]] = {
    "laughter": _laughter,
    "sigh": _sigh,
    "cough": _cough,
    "throat clearing": _throat,
    "sneeze": _sneeze,
    "sniff": _sniff,
}


def anyone(rng: np.random.Generator, held_out: bool = False) -> Person:
    """A random person: every tenth one belongs to the held-out part."""
    number = int(rng.integers(PERSONS // 10)) * 10
    return person(number if held_out else number + int(rng.integers(1, 10)))


def laughing(rng: np.random.Generator, n: int) -> np.ndarray:
    """Laughter of anyone, with the signature of the event models."""
    return _laughter(rng, n, anyone(rng))


def coughing(rng: np.random.Generator, n: int) -> np.ndarray:
    """Coughs of anyone, with the signature of the event models."""
    return _cough(rng, n, anyone(rng))

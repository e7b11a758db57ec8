"""Acoustic scenes: kinds of places, each with its constant sounds, possible events and echo.

    wave, spans = visit(rng, "restaurant", place=17, seconds=8.0)

Every kind has `PLACES` places; each place has a fixed room, colour and mix of textures, as a recording
location has. Every tenth place belongs to the held-out part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.format.timestamps import Span
from qwen_audio.synthetic.sounds import textures
from qwen_audio.synthetic.sounds.acoustics import band, filtered, noise, room, samples, slope
from qwen_audio.synthetic.sounds.models import Model
from qwen_audio.synthetic.sounds.more_models import typing
from qwen_audio.synthetic.sounds.recordings import AUDIBLE, audibility
from qwen_audio.synthetic.sounds.stories import alike
from qwen_audio.synthetic.sounds.takes import perform

PLACES = 200
HELD_OUT_PART = 10
_TRIES = 10  # attempts at an event before it is left out
_PLACE_SEED = 31_2311_07919  # makes a place depend on its kind and number alone


class Kind(NamedTuple):
    """textures: with their levels in dB; events: classes that may happen; echo: shortest and longest reverberation
    time (s); wet: its level; told: caption parts, a clause in the present tense and the location."""

    textures: tuple[tuple[Model, float], ...]
    events: tuple[str, ...]
    echo: tuple[float, float]
    wet: float
    told: tuple[str, str]


_T = textures
KINDS: dict[str, Kind] = {
    "beach": Kind(((_T.surf, 0),), ("dog barking", "wind", "footsteps"), (0, 0), 0,
                  ("waves roll onto the shore", "on a beach")),
    "restaurant": Kind(((_T.babble, 0), (_T.dishes, -2)), ("laughing", "coughing", "bell ringing"), (0.4, 0.9), 0.3,
                       ("many people talk and dishes clatter", "in a restaurant")),
    "city street": Kind(((_T.traffic, 0),), ("siren", "footsteps", "dog barking", "bell ringing"), (0.2, 0.6), 0.15,
                        ("cars pass by one after another", "on a city street")),
    "car": Kind(((_T.cabin, 0),), ("rain", "coughing", "siren"), (0.05, 0.1), 0.3,
                ("an engine hums and a blinker ticks", "inside a moving car")),
    "train": Kind(((_T.compartment, 0), (_T.babble, -20)), ("coughing", "laughing", "bell ringing"), (0.1, 0.3), 0.3,
                  ("wheels clatter over the rail joints", "inside a train")),
    "subway station": Kind(((_T.platform, 0), (_T.babble, -12)), ("footsteps", "laughing"), (1.4, 2.5), 0.8,
                           ("a train roars into the station and a gong sounds", "in an echoing subway station")),
    "office": Kind(((_T.ventilation, -6), (typing, 0)), ("coughing", "door knocking", "footsteps"), (0.2, 0.5), 0.3,
                   ("someone types on a keyboard while a fan hums", "in an office")),
    "kitchen": Kind(((_T.sizzle, -3), (_T.dishes, 0)), ("clock ticking", "footsteps", "whistling"), (0.3, 0.6), 0.3,
                    ("food sizzles in a pan and dishes clink", "in a kitchen")),
    "bathroom": Kind(((_T.tap, 0),), ("whistling", "coughing", "door knocking"), (0.7, 1.2), 0.7,
                     ("water runs from a tap into a basin", "in an echoing bathroom")),
    "forest": Kind(((_T.leaves, 0),), ("footsteps", "dog barking", "wind"), (0, 0), 0,
                   ("birds sing while leaves rustle", "in a forest")),
    "farm": Kind(((_T.hens, 0),), ("rooster crowing", "dog barking", "car engine"), (0, 0), 0,
                 ("hens cluck in the yard", "on a farm")),
    "countryside at night": Kind(((_T.night, 0),), ("dog barking", "wind", "footsteps"), (0, 0), 0,
                                 ("crickets chirp without a pause", "in the country at night")),
    "campfire": Kind(((_T.camp, 0),), ("laughing", "whistling", "wind"), (0, 0), 0,
                     ("a fire crackles in the open", "at a campfire")),
    "construction site": Kind(((_T.hammering, 0),), ("chainsaw", "whistling", "car engine"), (0.2, 0.5), 0.2,
                              ("a hammer strikes steel and a drill rattles", "on a construction site")),
    "church": Kind(((_T.organ, 0),), ("bell ringing", "coughing", "footsteps"), (2.0, 4.0), 1.0,
                   ("an organ plays long chords", "in a large church")),
}  # fmt: skip
SCENES = tuple(KINDS)


def place_number(rng: np.random.Generator, held_out: bool = False) -> int:
    """One of the places of a kind, of the held-out part or of the rest."""
    number = int(rng.integers(PLACES // HELD_OUT_PART)) * HELD_OUT_PART
    return number if held_out else number + int(rng.integers(1, HELD_OUT_PART))


def visit(rng: np.random.Generator, scene: str, place: int, seconds: float) -> tuple[np.ndarray, list[Span]]:
    """A recording of `seconds` at a place: (n,) float32, peak 0.1 to 0.98, and the events that happen there.

    Textures never stop; the events, none to two, are 3 to 12 dB stronger than the textures, and each is audible and
    distinct from the other. Raises ValueError for a scene that is not one of `SCENES`.
    """
    if scene not in KINDS:
        raise ValueError(f"unknown scene {scene!r}: use one of {', '.join(SCENES)}")
    kind = KINDS[scene]
    fixed = np.random.default_rng([_PLACE_SEED, SCENES.index(scene), place])
    echo, tilt = fixed.uniform(*kind.echo) if kind.wet else 0.0, fixed.uniform(-2, 1.5)
    low, high = fixed.uniform(20, 80), fixed.uniform(4500, 12000)
    n = samples(seconds)
    wave = np.zeros(n)
    for model, level in kind.textures:
        texture = model(rng, n)
        while not texture.any():  # a sparse texture, as of clinking glasses, may by chance hold nothing
            texture = model(rng, n)
        level += fixed.uniform(-3, 3) if len(kind.textures) > 1 else 0
        wave += texture / np.sqrt(np.mean(texture**2)) * 10 ** (level / 20)
    wave /= np.sqrt(np.mean(wave**2))
    wave, spans = _with_events(rng, kind, wave)
    if echo:
        wave = room(rng, wave, echo, kind.wet)
    wave = filtered(wave, slope(tilt, 200), band(low, high, 1))
    wave /= np.abs(wave).max()
    if rng.random() < 0.5:
        wave += noise(rng, n, slope(-rng.uniform(0, 6), 60)) * 10 ** (-rng.uniform(40, 72) / 20)
    peak = np.exp(rng.uniform(np.log(0.1), np.log(0.98)))
    return (wave * (peak / np.abs(wave).max())).astype(np.float32), spans


def _with_events(rng: np.random.Generator, kind: Kind, wave: np.ndarray) -> tuple[np.ndarray, list[Span]]:
    """The texture (n,) with the events of the place, and their spans in order of start.

    An event that would be masked, or would mask another, is performed again, or left out after some tries.
    """
    stems: list[np.ndarray] = []
    spans: list[Span] = []
    for _ in range(int(rng.choice([0, 1, 2], p=[0.35, 0.45, 0.2]))):
        for _ in range(_TRIES):
            label = kind.events[rng.integers(len(kind.events))]
            if any(alike(label, span.label) for span in spans):
                continue
            performed = perform(rng, label, min(len(wave) / SAMPLE_RATE, 2.5))
            at = int(rng.integers(0, len(wave) - len(performed.wave) + 1))
            stem = np.zeros(len(wave))
            stem[at : at + len(performed.wave)] = performed.wave * 10 ** (rng.uniform(3, 12) / 20)
            if min(audibility([*stems, stem], wave)) < AUDIBLE:
                continue
            stems.append(stem)
            spans += [
                Span(label, round((at + a) / SAMPLE_RATE, 3), round((at + b) / SAMPLE_RATE, 3))
                for a, b in performed.spans
            ]
            break
    return np.sum([wave, *stems], axis=0), sorted(spans, key=lambda s: (s.start, s.label))

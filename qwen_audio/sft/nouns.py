"""Labels as phrases of a sentence: "dog barking" -> "a dog barking". An unknown label is quoted."""

from __future__ import annotations

from qwen_audio.sft.heard import a
from qwen_audio.synthetic.music.genres import FAMILIES, GENRES
from qwen_audio.synthetic.sounds.captions import WORDS

_VOCAL = {
    "cough": "a cough", "laughter": "laughter", "sigh": "a sigh", "sneeze": "a sneeze", "sniff": "a sniff",
    "throat clearing": "someone clearing their throat",
}  # fmt: skip
# Place: (with its article, inside or outside; None: neither fits).
PLACES: dict[str, tuple[str, str | None]] = {
    "beach": ("a beach", "outside"),
    "restaurant": ("a restaurant", "inside"),
    "city street": ("a city street", "outside"),
    "car": ("the inside of a car", None),
    "train": ("the inside of a train", None),
    "subway station": ("a subway station", None),
    "office": ("an office", "inside"),
    "kitchen": ("a kitchen", "inside"),
    "bathroom": ("a bathroom", "inside"),
    "forest": ("a forest", "outside"),
    "farm": ("a farm", "outside"),
    "countryside at night": ("the countryside at night", "outside"),
    "campfire": ("a campfire", "outside"),
    "construction site": ("a construction site", "outside"),
    "church": ("a church", "inside"),
}
_ADJECTIVES = {
    "neutral": "neutral", "joy": "happy", "sadness": "sad", "anger": "angry", "fear": "afraid",
    "surprise": "surprised", "disgust": "disgusted",
}  # fmt: skip
_NAMED = {"drums": "the drums", "french horn": "a French horn", "english horn": "an English horn"}
_AGES = {"child": "a child", "adult": "an adult", "senior": "an elderly person"}
# Classes of sounds by what makes them.
ANIMALS = ("dog barking", "rooster crowing", "birds singing", "crickets chirping")
VEHICLES = ("helicopter", "car engine", "train")
WEATHER = ("rain", "wind", "thunderstorm")
PEOPLE = (
    "baby crying", "sneezing", "whistling", "footsteps", "door knocking", "keyboard typing", "laughing", "coughing",
)  # fmt: skip


def event_noun(label: str) -> str:
    """A class of sounds, or a vocal sound: "a dog barking", "a cough"."""
    if label in _VOCAL:
        return _VOCAL[label]
    if label in WORDS:
        return f"{WORDS[label].subject} {WORDS[label].participle}"
    return f'the sound "{label}"'


def event_going(label: str) -> str:
    """A clause: "a dog is barking"."""
    if label in WORDS:
        return f"{WORDS[label].subject} {WORDS[label].going}"
    return f'the sound "{label}" is heard'


def place_noun(label: str) -> str:
    """A place: "a kitchen"."""
    return PLACES[label][0] if label in PLACES else f'a place of the kind "{label}"'


def feeling(label: str) -> str:
    """An emotion as an adjective: "happy"."""
    return _ADJECTIVES.get(label, f'to be of the mood "{label}"')


def age_noun(label: str) -> str:
    """An age group: "a child", "someone aged 20-30"."""
    return _AGES.get(label, f"someone aged {label}")


def genre_noun(label: str) -> str:
    """A genre: "a waltz", "jazz"."""
    return GENRES[label].noun if label in GENRES else f"{label} music"


def instrument_noun(label: str) -> str:
    """An instrument: "a flute", "the drums"."""
    if label in _NAMED:
        return _NAMED[label]
    return a(label) if label in FAMILIES else f'the instrument "{label}"'

"""Procedural sound events with labels, captions and questions: the synthetic side of the sound tasks.

    SoundGenerator().sample(numpy.random.default_rng(0))   # -> Sample

A clip is one event, or two in sequence or at once (for captions and questions), with the conditions of real
recordings: any level, the colour of microphone and room, background noise or digital silence.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.manifest import Example, Sample
from qwen_audio.format.example import SYNTHETIC_SOURCE
from qwen_audio.format.tasks import TASKS
from qwen_audio.synthetic.sounds.acoustics import band, filtered, noise, room, samples, slope, stretches
from qwen_audio.synthetic.sounds.models import ESC10, Model
from qwen_audio.synthetic.sounds.more_models import EXTRA

CLASSES: dict[str, Model] = ESC10 | EXTRA
TASK_WEIGHTS = {"sound_event": 0.45, "audio_caption": 0.25, "audio_qa": 0.30}
_ESC10_SHARE = 0.6  # of the clips: the ten classes that real data tests
_TWO_EVENTS = 0.35  # of the captions and questions

# Each class in words: subject and two verb forms; sentences are built from these.
_WORDS = {
    "dog barking": ("a dog", "is barking", "barks"),
    "rain": ("rain", "is falling", "falls"),
    "sea waves": ("waves", "are rolling onto the shore", "roll onto the shore"),
    "baby crying": ("a baby", "is crying", "cries"),
    "clock ticking": ("a clock", "is ticking", "ticks"),
    "sneezing": ("a person", "is sneezing", "sneezes"),
    "helicopter": ("a helicopter", "is flying", "flies past"),
    "chainsaw": ("a chainsaw", "is running", "runs"),
    "rooster crowing": ("a rooster", "is crowing", "crows"),
    "fire crackling": ("a fire", "is crackling", "crackles"),
    "siren": ("a siren", "is wailing", "wails"),
    "bell ringing": ("a bell", "is ringing", "rings"),
    "whistling": ("a person", "is whistling", "whistles"),
    "footsteps": ("someone", "is walking", "walks"),
    "door knocking": ("someone", "is knocking on a door", "knocks on a door"),
    "car engine": ("a car engine", "is running", "runs"),
    "wind": ("the wind", "is blowing", "blows"),
    "birds singing": ("birds", "are singing", "sing"),
    "thunderstorm": ("thunder", "is rolling", "rolls"),
    "crickets chirping": ("crickets", "are chirping", "chirp"),
    "white noise": ("white noise", "is playing", "plays"),
    "train": ("a train", "is passing", "passes"),
    "keyboard typing": ("someone", "is typing on a keyboard", "types on a keyboard"),
}
_USUAL = {"sneezing": 2}  # a sneeze is over in a moment: "A person sneezes."
# Continuous sounds; the other ones are audible over them.
_STEADY = (
    "rain",
    "sea waves",
    "helicopter",
    "chainsaw",
    "fire crackling",
    "car engine",
    "wind",
    "white noise",
    "train",
)


# Sounds that stop and start again have a span for each; all others go on from the first to the last instant.
BROKEN = (
    "dog barking", "baby crying", "sneezing", "rooster crowing", "whistling", "door knocking", "laughing", "coughing",
)  # fmt: skip
PAUSE = 0.25  # s: sounds of one class that are closer are one span
_HELD_OUT_STREAM = 7  # spawn key of the stream that training never uses


class Event(NamedTuple):
    """One event of a clip: its class, when it begins and how long it may sound, in seconds."""

    label: str
    start: float
    seconds: float


class SoundGenerator:
    """Samples clips of 1.5 to 5 s, each with one of the three sound tasks."""

    def __init__(
        self, weights: dict[str, float] | None = None, *, held_out: bool = False, yes_no: bool = True
    ) -> None:
        """`weights`: shares of the tasks of `TASK_WEIGHTS`; ValueError for any other task.

        `held_out`: another stream of random numbers. Every class is in training, and the parameters of a sound
        are sampled from continuous ranges: no sound occurs twice, so there is nothing else to hold out.
        `yes_no`: include yes-or-no questions; otherwise all ask for the name of a sound, which is learned much
        sooner.
        """
        self.yes_no = yes_no
        weights = weights or TASK_WEIGHTS
        unknown = sorted(set(weights) - set(TASK_WEIGHTS))
        if unknown or not sum(weights.values()) > 0:
            names = ", ".join(TASK_WEIGHTS)
            raise ValueError(f"the sound tasks are {names}: give them weights, not {unknown or weights}")
        self.tasks = tuple(weights)
        self.shares = np.array([weights[task] for task in self.tasks]) / sum(weights.values())
        self._held_out = held_out

    def sample(self, rng: np.random.Generator) -> Sample:
        """One clip with its annotation; the same state of `rng` gives the same bytes in any process."""
        if self._held_out:
            entropy = rng.integers(2**63, size=2).tolist()
            rng = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(_HELD_OUT_STREAM,)))
        task = self.tasks[rng.choice(len(self.tasks), p=self.shares)]
        together = False
        if task != "sound_event" and rng.random() < _TWO_EVENTS:
            events, together = _two_events(rng)
        else:
            events = [Event(_draw(rng), 0.0, float(rng.choice([rng.uniform(1.5, 5.0), 5.0])))]
        wave, spans = _record(rng, events)
        question, text, label, choices = TASKS[task].question, events[0].label, None, None
        if task == "sound_event":
            label, choices = text, _choices(rng, [text])
        elif task == "audio_caption":
            text = caption(rng, [event.label for event in events], together)
        else:
            ask = _ask if self.yes_no else _ask_name
            question, text, choices = ask(rng, [event.label for event in events], together)
            label = text
        example = Example(
            id=f"sound-{rng.integers(2**63):016x}#{task}",
            task=task,
            audio=[],
            text=text,
            label=label,
            choices=choices,
            question=question,
            source=SYNTHETIC_SOURCE,
            sampling_rate=SAMPLE_RATE,
            meta={"events": spans},
        )
        return Sample(example, [wave])


def _draw(rng: np.random.Generator, *but: str) -> str:
    """A class, not one of `but`."""
    names = [name for name in (ESC10 if rng.random() < _ESC10_SHARE else EXTRA) if name not in but]
    return names[rng.integers(len(names))]


def _two_events(rng: np.random.Generator) -> tuple[list[Event], bool]:
    """Two different events, one after the other or (True) at the same time."""
    if rng.random() < 0.3:
        below = str(rng.choice(_STEADY))
        others = [name for name in CLASSES if name not in _STEADY]
        seconds = float(rng.uniform(3, 5))
        return [Event(str(rng.choice(others)), 0.0, seconds), Event(below, 0.0, seconds)], True
    first = _draw(rng)
    lengths = rng.uniform(1.5, 2.4, 2)
    return [
        Event(first, 0.0, float(lengths[0])),
        Event(_draw(rng, first), float(lengths[0] + rng.uniform(0, 0.2)), float(lengths[1])),
    ], False


def _perform(rng: np.random.Generator, event: Event) -> np.ndarray:
    """The event at a peak of 1: (round(seconds * 16000),) float32."""
    wave = CLASSES[event.label](rng, samples(event.seconds))
    edge = min(len(wave), 160)
    wave[:edge] *= np.linspace(0, 1, edge)  # a steady sound is cut out of a longer one: no click
    wave[-edge:] *= np.linspace(1, 0, edge)
    return wave / max(float(np.abs(wave).max()), 1e-9)


def _record(rng: np.random.Generator, events: list[Event]) -> tuple[np.ndarray, list[list[Any]]]:
    """The events as a recording, (n,) float32 with a peak between 0.1 and 0.98, and the spans in which they sound.

    [class, start, end] in seconds, in order of start; within a span the event alone is within 30 dB of its peak level.
    """
    n = max(round(event.start * SAMPLE_RATE) + samples(event.seconds) for event in events)
    wave = np.zeros(n)
    spans: list[list[Any]] = []
    for k, event in enumerate(events):
        sound, at = _perform(rng, event), round(event.start * SAMPLE_RATE)
        # Under another event the second one is softer; else levels differ, but both are audible.
        level = rng.uniform(0.15, 0.45) if k and event.start == 0 else rng.uniform(0.5, 1)
        wave[at : at + len(sound)] += level * sound
        pause = PAUSE if event.label in BROKEN else np.inf
        spans += [
            [event.label, round((at + a) / SAMPLE_RATE, 3), round((at + b) / SAMPLE_RATE, 3)]
            for a, b in stretches(sound, pause)
        ]
    if rng.random() < 0.35:
        wave = room(rng, wave, rng.uniform(0.1, 0.8), rng.uniform(0.1, 0.6))
    if rng.random() < 0.6:  # the microphone: a tilt, and the ends of its band
        tilt = slope(rng.uniform(-4, 2.5), 200)
        wave = filtered(wave, tilt, band(rng.uniform(20, 120), rng.uniform(3000, 12000), 1))
    if rng.random() < 0.7:  # what resamplers and lossy codecs leave of the top of the band
        wave = filtered(wave, band(1, rng.uniform(6500, 7900), 24))
    wave /= max(float(np.abs(wave).max()), 1e-9)
    if rng.random() < 0.45:
        wave += noise(rng, n, slope(-rng.uniform(0, 6), 60)) * 10 ** (-rng.uniform(32, 72) / 20)
    peak = np.exp(rng.uniform(np.log(0.1), np.log(0.98)))
    return (wave * (peak / np.abs(wave).max())).astype(np.float32), sorted(spans, key=lambda span: span[1])


def _choices(rng: np.random.Generator, labels: list[str]) -> list[str]:
    """The classes to choose from: the ten of ESC-10, all, or a few; always with the labels."""
    kind = rng.random()
    if kind < 0.4 and all(label in ESC10 for label in labels):
        return list(ESC10)
    if kind < 0.6:
        return list(CLASSES)
    others = [name for name in CLASSES if name not in labels]
    picked = rng.choice(others, size=int(rng.integers(2, 8)), replace=False)
    return sorted([*labels, *(str(name) for name in picked)])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def caption(rng: np.random.Generator, labels: list[str], together: bool) -> str:
    """A sentence that describes one event, or two that follow one another or sound `together`."""
    going = [" ".join((_WORDS[name][0], _WORDS[name][1])) for name in labels]
    does = [" ".join((_WORDS[name][0], _WORDS[name][2])) for name in labels]
    if len(labels) == 1:
        usual = " ".join((_WORDS[labels[0]][0], _WORDS[labels[0]][_USUAL.get(labels[0], 1)]))
        others = (going[0], does[0], f"the sound of {labels[0]} is heard", f"{labels[0]} can be heard")
        return _sentence(usual if rng.random() < 0.6 else others[rng.integers(4)])
    if together:
        forms = (f"{does[0]} while {going[1]}", f"{going[0]} and {going[1]}", f"{going[0]} as {does[1]}")
        return _sentence(forms[rng.integers(3)])
    forms = (
        f"{does[0]}, then {does[1]}",
        f"{does[0]} and then {does[1]}",
        f"first {does[0]}, then {does[1]}",
    )
    return _sentence(forms[rng.integers(3)])


def _ask(rng: np.random.Generator, labels: list[str], together: bool) -> tuple[str, str, list[str]]:
    """A question about the events with its answer and the choices."""
    kind = rng.random()
    if len(labels) == 2 and not together and kind < 0.5:
        if kind < 0.3:
            which = int(rng.integers(2))
            place = ("first", "last")[which]
            return f"Which sound is heard {place}?", labels[which], _choices(rng, labels)
        a, b = labels if (yes := bool(rng.random() < 0.5)) else labels[::-1]
        return f'Is the sound "{a}" heard before the sound "{b}"?', "yes" if yes else "no", ["yes", "no"]
    if len(labels) == 1 and kind < 0.15:
        return "Which sound can be heard in this recording?", labels[0], _choices(rng, labels)
    if rng.random() < 0.5:
        name, answer = labels[rng.integers(len(labels))], "yes"
    else:
        # Noises that a thunderstorm or a steady hiss contains, or is taken for, would make "no" a guess.
        alike = {"thunderstorm": ("rain", "wind"), "rain": ("white noise", "thunderstorm")}
        absent = [c for c in CLASSES if c not in labels and not any(c in alike.get(k, ()) for k in labels)]
        share = [n for n in absent if n in ESC10] if rng.random() < _ESC10_SHARE else absent
        name, answer = share[rng.integers(len(share))], "no"
    return f'Can the sound "{name}" be heard in this recording?', answer, ["yes", "no"]


def _ask_name(rng: np.random.Generator, labels: list[str], together: bool) -> tuple[str, str, list[str]]:
    """A question whose answer is the name of an event."""
    which = int(rng.integers(len(labels)))
    if len(labels) == 1:
        question = "Which sound can be heard in this recording?"
    elif together:
        question = f'Which sound is heard beside "{labels[1 - which]}"?'
    else:
        question = f"Which sound is heard {('first', 'last')[which]}?"
    return question, labels[which], _choices(rng, labels)

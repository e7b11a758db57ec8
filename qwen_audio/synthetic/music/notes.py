"""Single General MIDI notes with exact pitch, velocity and instrument: the synthetic side of note analysis.

    NoteGenerator().sample(numpy.random.default_rng(0))   # -> Sample

The level of a clip does not depend on velocity (sample libraries are normalised), so the level is random,
and velocity shows in the timbre, as in real recordings.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.manifest import Example, Sample
from qwen_audio.format.example import SYNTHETIC_SOURCE
from qwen_audio.format.tasks import TASKS
from qwen_audio.synthetic.music.soundfont import SoundFont, load_soundfont
from qwen_audio.synthetic.speech.held_out import is_held_out

DYNAMICS = ("pianissimo", "piano", "mezzo-piano", "mezzo-forte", "forte", "fortissimo")
# First velocity of each dynamic but the first: half way between the usual 33, 49, 64, 80, 96, 112.
_DYNAMIC_STARTS = (41, 57, 72, 88, 104)
VELOCITIES = (20, 127)

# Measured on a sampled grand piano played at four dynamics: between pianissimo (velocity 33) and fortissimo
# (112) the harmonics fall 3 to 10, mostly 6, decibels per octave more steeply the softer the note.
_TILT_DB_PER_OCTAVE = 6.0 / (112 - 33)
_NEUTRAL_VELOCITY = 100  # at which the sound font's samples are taken as they are

TASK_WEIGHTS = {"note_pitch": 0.35, "note_velocity": 0.25, "instrument": 0.25, "note_analysis": 0.15}
_PIANO_SHARE = 1 / 3


class Instrument(NamedTuple):
    """An instrument: General MIDI programs, range of MIDI pitches, and semitones from pitch to key."""

    name: str
    programs: tuple[int, ...]
    low: int
    high: int
    transpose: int = 0  # the font's organ stops sound an octave below the key


# Ranges are those in which the font sounds at the pitch it is keyed to (measured by autocorrelation).
INSTRUMENTS = (
    Instrument("piano", (0, 1, 2, 3), 21, 108),
    Instrument("electric piano", (4, 5), 33, 96),
    Instrument("harpsichord", (6,), 36, 88),
    Instrument("vibraphone", (11,), 53, 89),
    Instrument("marimba", (12,), 52, 90),
    Instrument("xylophone", (13,), 65, 96),
    Instrument("organ", (16, 18), 36, 84, 12),
    Instrument("accordion", (21,), 53, 72),
    Instrument("harmonica", (22,), 60, 90),
    Instrument("acoustic guitar", (24, 25), 40, 83),
    Instrument("electric guitar", (26, 27, 29, 30), 40, 84),
    Instrument("bass guitar", (33, 34, 35), 28, 60),
    Instrument("violin", (40,), 55, 96),
    Instrument("viola", (41,), 48, 84),
    Instrument("cello", (42,), 36, 76),
    Instrument("double bass", (43,), 28, 55),
    Instrument("harp", (46,), 40, 96),
    Instrument("trumpet", (56, 59), 54, 84),
    Instrument("trombone", (57,), 40, 72),
    Instrument("tuba", (58,), 29, 58),
    Instrument("french horn", (60,), 41, 77),
    Instrument("saxophone", (64, 66), 46, 82),
    Instrument("oboe", (68,), 58, 73),
    Instrument("english horn", (69,), 52, 80),
    Instrument("bassoon", (70,), 38, 72),
    Instrument("contrabassoon", (70,), 22, 37),
    Instrument("clarinet", (71,), 52, 91),
    Instrument("bass clarinet", (71,), 36, 51),
    Instrument("piccolo", (72,), 74, 106),
    Instrument("flute", (73,), 60, 96),
    Instrument("recorder", (74,), 60, 92),
    Instrument("synth lead", (80, 81), 36, 90),
    Instrument("sitar", (104,), 48, 77),
    Instrument("banjo", (105,), 48, 84),
    Instrument("koto", (107,), 48, 84),
    Instrument("kalimba", (108,), 60, 90),
)
_DISTORTED = frozenset({29, 30})


def dynamic(velocity: int) -> str:
    """The dynamic level's name for a MIDI velocity: 33, 49, 64, 80, 96, 112 are the middles of the six."""
    return DYNAMICS[int(np.searchsorted(_DYNAMIC_STARTS, velocity, side="right"))]


def frequency(pitch: float) -> float:
    """The frequency in Hz of a MIDI pitch: 440 * 2 ** ((pitch - 69) / 12)."""
    return 440.0 * 2.0 ** ((pitch - 69) / 12)


def describe(pitch: int, velocity: int, sonic: list[str], instrument: str) -> str:
    """A note analysis as a sentence, for the question form; the tagged form is rendered from the numbers."""
    text = f"A note of {instrument}: MIDI pitch {pitch}, velocity {velocity}"
    return f"{text}; {', '.join(name.replace('_', ' ') for name in sonic)}." if sonic else f"{text}."


class NoteGenerator:
    """Samples single notes, 1 to 3 s, each with one of the four note tasks."""

    def __init__(
        self,
        weights: dict[str, float] | None = None,
        soundfont: str | None = None,
        *,
        held_out: bool = False,
    ) -> None:
        """`weights`: shares of the tasks of `TASK_WEIGHTS`; `soundfont`: a .sf2 file (None: the wheel's).

        `held_out`: only combinations of General MIDI program, pitch and dynamic level that training never has.

        Raises ValueError for a task that is not a note task and SoundFontError without a sound font.
        """
        weights = weights or TASK_WEIGHTS
        unknown = sorted(set(weights) - set(TASK_WEIGHTS))
        if unknown or not sum(weights.values()) > 0:
            names = ", ".join(TASK_WEIGHTS)
            raise ValueError(f"the note tasks are {names}: give them weights, not {unknown or weights}")
        self.tasks = tuple(weights)
        self.shares = np.array([weights[task] for task in self.tasks]) / sum(weights.values())
        self._soundfont_path = soundfont
        self._held_out = held_out

    @property
    def font(self) -> SoundFont:
        """The sound font, read once in each process, so that pickling the generator stays cheap."""
        return load_soundfont(self._soundfont_path)

    def sample(self, rng: np.random.Generator) -> Sample:
        """One note with its annotation; the same state of `rng` gives the same bytes in any process."""
        task = self.tasks[rng.choice(len(self.tasks), p=self.shares)]
        piano = rng.random() < _PIANO_SHARE
        while True:
            instrument = INSTRUMENTS[0 if piano else rng.integers(1, len(INSTRUMENTS))]
            program = int(rng.choice(instrument.programs))
            pitch = int(rng.integers(instrument.low, instrument.high + 1))
            velocity = int(rng.integers(VELOCITIES[0], VELOCITIES[1] + 1))
            if is_held_out(f"{program}/{pitch}/{dynamic(velocity)}") == self._held_out:
                break
        seconds = float(rng.uniform(1.0, 3.0))
        hold = seconds if rng.random() < 0.6 else seconds * float(rng.uniform(0.4, 0.9))
        wave = render_note(
            self.font, program, pitch, velocity, seconds=seconds, hold=hold, transpose=instrument.transpose
        )
        sonic = qualities(wave, hold, distorted=program in _DISTORTED)
        wave *= np.float32(np.exp(rng.uniform(np.log(0.2), np.log(0.95))))
        others = [other.name for other in INSTRUMENTS if other is not instrument]
        picked = rng.choice(len(others), size=int(rng.integers(3, 14)), replace=False)
        label, choices = {
            "note_pitch": (str(pitch), None),
            "note_velocity": (dynamic(velocity), list(DYNAMICS)),
            "instrument": (instrument.name, sorted([instrument.name, *(others[k] for k in picked)])),
            "note_analysis": (None, None),
        }[task]
        example = Example(
            id=f"note-{rng.integers(2**63):016x}#{task}",
            task=task,
            audio=[],
            text=label or describe(pitch, velocity, sonic, instrument.name),
            label=label,
            choices=choices,
            question=TASKS[task].question,
            source=SYNTHETIC_SOURCE,
            sampling_rate=SAMPLE_RATE,
            meta={
                "pitch": pitch,
                "velocity": velocity,
                "sonic": sonic,
                "instrument": instrument.name,
                "program": program,
            },
        )
        return Sample(example, [wave])


def render_note(
    font: SoundFont,
    program: int,
    pitch: int,
    velocity: int,
    *,
    seconds: float,
    hold: float,
    transpose: int = 0,
) -> np.ndarray:
    """A note that sounds at `pitch`, as (n,) float32 at 16 kHz with peak 1, n = round(seconds * 16000).

    It starts within 10 ms.  `velocity` sets the spectrum's tilt above the fundamental.
    """
    n, spare = round(seconds * SAMPLE_RATE), 0.25
    wave = font.render(
        program, pitch + transpose, hold=hold + spare, seconds=seconds + spare, velocity=velocity
    )
    wave = _tilt(wave, frequency(pitch), (velocity - _NEUTRAL_VELOCITY) * _TILT_DB_PER_OCTAVE)
    loud = np.abs(wave) > 0.03 * np.abs(wave).max()
    onset = int(np.argmax(loud))
    wave = wave[max(0, min(onset - 32, len(wave) - n)) :][:n]
    fade = min(n, SAMPLE_RATE // 50)  # a clip that ends while the note sounds must not end in a click
    wave[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return wave / np.abs(wave).max()


def _tilt(wave: np.ndarray, f0: float, decibels: float) -> np.ndarray:
    """Raise (or lower) the spectrum by `decibels` per octave above `f0`, at most 24 dB: (n,) float32."""
    size = 1 << (len(wave) + SAMPLE_RATE // 10).bit_length()
    octaves = np.log2(np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), f0) / f0)
    gain = 10 ** (np.clip(decibels * octaves, -36, 24) / 20)
    return np.fft.irfft(np.fft.rfft(wave, size) * gain, size)[: len(wave)].astype(np.float32)


def qualities(wave: np.ndarray, hold: float, *, distorted: bool = False) -> list[str]:
    """Names of NSynth's sonic qualities that can be measured on a note, in alphabetical order.

    bright, dark: spectral centroid above 2 kHz, below 400 Hz; percussive: the peak within 30 ms and 12 dB
    lost 0.5 s later; fast_decay: 26 dB lost in 0.5 s; long_release: still above -20 dB of its level 0.2 s
    after the key is let go (`hold` seconds); distortion: an overdriven instrument.
    """
    size = SAMPLE_RATE // 100
    frames = wave[: len(wave) // size * size].reshape(-1, size).astype(np.float64)
    level = 10 * np.log10((frames**2).mean(axis=1) + 1e-12)
    power = np.abs(np.fft.rfft(wave)) ** 2
    centroid = float((power * np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE)).sum() / power.sum())
    peak = int(level.argmax())
    lost = level[peak] - level[min(peak + 50, len(level) - 4)]
    let_go = int(hold * 100)
    found = {
        "bright": centroid > 2000,
        "dark": centroid < 400,
        "distortion": distorted,
        "fast_decay": lost > 26,
        "long_release": let_go + 20 < len(level) - 3 and level[let_go - 2] - level[let_go + 20] < 20,
        "percussive": peak <= 3 and lost > 12,
    }
    return [name for name, holds in found.items() if holds]

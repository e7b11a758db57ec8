"""Reader of SoundFont 2 files that renders single notes, in numpy.

The General MIDI sound font is the `TimGM6mb.sf2` that the pretty_midi wheel carries.  A note depends on its
arguments only: no reverb, no chorus, no synthesizer state, so every process renders the same bytes.  (symusic
renders the same font, but ignores velocity, stops dead at the note's end and leaves uninitialised
memory in its tails, so its notes neither have dynamics nor repeat.)

Record layouts and generator numbers: SoundFont Technical Specification 2.01, sections 7 and 8.  The
renderer applies the sample loop, tuning, vibrato, the volume envelope, the low-pass filter with its envelope,
and attenuation.  It ignores pan, effect sends and modulator records; the caller expresses velocity.
"""

from __future__ import annotations

import importlib.util
import os
import struct
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.signal import lfilter, resample_poly

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.packages import check_packages

# Notes are rendered at twice the output rate, so that what a transposed sample has above 8 kHz is filtered
# away instead of folding back.
_OVERSAMPLE = 2
_RATE = SAMPLE_RATE * _OVERSAMPLE
_FILTER_BLOCK = 160  # output samples (10 ms) for which the moving low-pass filter stands still
_DRUM_BANK = 128  # where General MIDI fonts keep what channel 10 plays
_NO_FILTER_HZ = 7500.0  # a cutoff above this changes nothing that 16 kHz can carry

# Generator numbers (specification, section 8.1.2) with their default amounts.
_DEFAULTS = {
    "start": (0, 0), "end": (1, 0), "loop_start": (2, 0), "loop_end": (3, 0), "start_coarse": (4, 0),
    "mod_lfo_to_pitch": (5, 0), "vib_lfo_to_pitch": (6, 0), "mod_env_to_pitch": (7, 0),
    "filter_cutoff": (8, 13500), "filter_q": (9, 0), "mod_env_to_filter": (11, 0), "end_coarse": (12, 0),
    "mod_lfo_delay": (21, -12000), "mod_lfo_freq": (22, 0), "vib_lfo_delay": (23, -12000),
    "vib_lfo_freq": (24, 0), "mod_delay": (25, -12000), "mod_attack": (26, -12000),
    "mod_hold": (27, -12000), "mod_decay": (28, -12000), "mod_sustain": (29, 0),
    "mod_release": (30, -12000), "mod_key_hold": (31, 0), "mod_key_decay": (32, 0),
    "vol_delay": (33, -12000), "vol_attack": (34, -12000), "vol_hold": (35, -12000),
    "vol_decay": (36, -12000), "vol_sustain": (37, 0), "vol_release": (38, -12000), "vol_key_hold": (39, 0),
    "vol_key_decay": (40, 0), "instrument": (41, -1), "key_range": (43, 127 << 8),
    "velocity_range": (44, 127 << 8), "loop_start_coarse": (45, 0), "attenuation": (48, 0),
    "loop_end_coarse": (50, 0), "coarse_tune": (51, 0), "fine_tune": (52, 0), "sample": (53, -1),
    "sample_modes": (54, 0), "scale_tuning": (56, 100), "root_key": (58, -1),
}  # fmt: skip
_NAMES = {number: name for name, (number, _) in _DEFAULTS.items()}
_AMOUNTS = {name: amount for name, (_, amount) in _DEFAULTS.items()}


class SoundFontError(ValueError):
    """The sound font is missing, is not a SoundFont 2 file, or has no such program."""


class _Sample(NamedTuple):
    """A sample header: positions in samples, rate in Hz, tuning correction in cents."""

    start: int
    end: int
    loop_start: int
    loop_end: int
    rate: int
    root: int
    correction: int


Zone = dict[str, int]  # generator name -> amount


def find_soundfont() -> Path:
    """The path of TimGM6mb.sf2 in the installed pretty_midi wheel (which is not imported: that is slow)."""
    check_packages("synth")
    spec = importlib.util.find_spec("pretty_midi")
    path = Path(spec.origin).with_name("TimGM6mb.sf2") if spec is not None and spec.origin else None
    if path is None or not path.is_file():
        raise SoundFontError(
            'no General MIDI sound font: install one with `pip install "open-qwen-audio[synth]"`'
        )
    return path


class SoundFont:
    """A SoundFont 2 file in memory: `render` makes one note of a General MIDI program or drum kit."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises SoundFontError when the file is not a SoundFont 2 file or is cut short."""
        data = Path(path).read_bytes()
        chunks = _chunks(data)
        names = ("smpl", "phdr", "pbag", "pgen", "inst", "ibag", "igen", "shdr")
        if data[:4] != b"RIFF" or data[8:12] != b"sfbk" or any(name not in chunks for name in names):
            raise SoundFontError(f"{path} is not a whole SoundFont 2 file: give a .sf2 file")
        self.path = Path(path)
        self.pcm = np.frombuffer(chunks["smpl"], "<i2").astype(np.float32) / 32768
        self.samples = [_Sample(*row[1:8]) for row in struct.iter_unpack("<20sIIIIIBbHH", chunks["shdr"])]
        inst = [row[1] for row in struct.iter_unpack("<20sH", chunks["inst"])]
        zones = _zones(chunks["ibag"], chunks["igen"], inst, last="sample")
        presets = list(struct.iter_unpack("<20sHHHIII", chunks["phdr"]))
        layers = _zones(chunks["pbag"], chunks["pgen"], [row[3] for row in presets], last="instrument")
        # Preset-level generators besides the instrument are offsets; this font has none.
        banks: dict[int, dict[int, list[Zone]]] = {0: {}, _DRUM_BANK: {}}
        for n, row in enumerate(presets[:-1]):
            found = [zone for layer in layers[n] for zone in zones[layer["instrument"]]]
            banks.setdefault(row[2], {})[row[1]] = found
        self.programs, self.kits = banks[0], banks[_DRUM_BANK]

    def render(
        self,
        program: int,
        key: int,
        *,
        hold: float,
        seconds: float,
        velocity: int = 100,
        drums: bool = False,
    ) -> np.ndarray:
        """One note as (n,) float32 at 16 kHz, n = round(seconds * 16000), at the font's own level.

        Args:
            program: General MIDI program, 0 to 127.
            key: MIDI pitch, 0 to 127.
            hold: seconds until the key is let go; the release follows.
            seconds: length of the result.
            velocity: 1 to 127; chooses among layers where the font has some, nothing else.
            drums: take the drum kit of that program (bank 128), where each key is a drum of its own.

        Raises SoundFontError when the program has no sample for that key.
        """
        zones = [
            zone
            for zone in (self.kits if drums else self.programs).get(program, [])
            if _within(zone["key_range"], key) and _within(zone["velocity_range"], velocity)
        ]
        if not zones:
            what = "drum kit" if drums else "program"
            raise SoundFontError(f"{what} {program} of {self.path.name} has no sample for key {key}")
        n = round(seconds * SAMPLE_RATE)
        total = np.zeros(n)
        for zone in zones:
            total += self._zone(zone, key, hold, n)
        return total.astype(np.float32)

    def _zone(self, zone: Zone, key: int, hold: float, n: int) -> np.ndarray:
        """One sample of a note, filtered and shaped: (n,) at 16 kHz."""
        time = np.arange(n * _OVERSAMPLE) / _RATE
        volume = _envelope(zone, "vol", key, hold, np.arange(n) / SAMPLE_RATE)
        modulation = _envelope(zone, "mod", key, hold, np.arange(n) / SAMPLE_RATE)
        wave = resample_poly(self._oscillate(zone, key, time, modulation), 1, _OVERSAMPLE)
        cents = zone["filter_cutoff"] + zone["mod_env_to_filter"] * modulation[::_FILTER_BLOCK]
        wave = _low_pass(wave, 8.176 * 2 ** (cents / 1200), 10 ** (zone["filter_q"] / 200))
        return wave * volume * 10 ** (-zone["attenuation"] / 200)

    def _oscillate(self, zone: Zone, key: int, time: np.ndarray, modulation: np.ndarray) -> np.ndarray:
        """The looped and transposed sample at the oversampled rate: (len(time),)."""
        sample = self.samples[zone["sample"]]
        root = zone["root_key"] if 0 <= zone["root_key"] <= 127 else sample.root
        cents = (
            (key - root) * zone["scale_tuning"]
            + zone["coarse_tune"] * 100
            + zone["fine_tune"]
            + sample.correction
            + _lfo(zone, "vib_lfo", time) * zone["vib_lfo_to_pitch"]
            + _lfo(zone, "mod_lfo", time) * zone["mod_lfo_to_pitch"]
            + np.repeat(modulation, _OVERSAMPLE) * zone["mod_env_to_pitch"]
        )
        step = 2 ** (cents / 1200) * (sample.rate / _RATE)
        position = sample.start + zone["start"] + 32768 * zone["start_coarse"] + np.cumsum(step) - step[0]
        end = sample.end + zone["end"] + 32768 * zone["end_coarse"]
        loop_start = sample.loop_start + zone["loop_start"] + 32768 * zone["loop_start_coarse"]
        loop_end = sample.loop_end + zone["loop_end"] + 32768 * zone["loop_end_coarse"]
        sounding = np.ones(len(time), dtype=bool)
        if zone["sample_modes"] & 1 and loop_end > loop_start:
            position = np.where(
                position >= loop_end, loop_start + (position - loop_start) % (loop_end - loop_start), position
            )
        else:
            sounding = position < end - 1
        return np.where(sounding, _cubic(self.pcm, np.where(sounding, position, sample.start)), 0.0)


@lru_cache(maxsize=2)
def load_soundfont(path: str | None = None) -> SoundFont:
    """The sound font at `path` (None: `find_soundfont()`), read once in each process."""
    return SoundFont(path or find_soundfont())


def _chunks(data: bytes) -> dict[str, bytes]:
    """The leaf chunks of a RIFF file by name."""
    found: dict[str, bytes] = {}

    def walk(at: int, end: int) -> None:
        while at + 8 <= end:
            name, size = data[at : at + 4].decode("latin-1"), int.from_bytes(data[at + 4 : at + 8], "little")
            if at + 8 + size > len(data):
                raise SoundFontError(f"the sound font is cut short in chunk {name!r}: get the file again")
            if name == "LIST":
                walk(at + 12, at + 8 + size)
            else:
                found[name] = data[at + 8 : at + 8 + size]
            at += 8 + size + size % 2

    walk(12, len(data))
    return found


def _zones(bags: bytes, generators: bytes, firsts: list[int], last: str) -> list[list[Zone]]:
    """The zones of every instrument (or preset); a first zone without `last` holds defaults of the others."""
    starts = [row[0] for row in struct.iter_unpack("<HH", bags)]
    rows = list(struct.iter_unpack("<Hh", generators))
    result: list[list[Zone]] = []
    for begin, end in pairwise(firsts):
        common, zones = dict(_AMOUNTS), []
        for bag in range(begin, end):
            given = {_NAMES[g]: amount for g, amount in rows[starts[bag] : starts[bag + 1]] if g in _NAMES}
            if last in given:
                zones.append(common | given)
            elif bag == begin:
                common |= given
        result.append(zones)
    return result


def _within(span: int, value: int) -> bool:
    """True if value lies in a range generator: low byte to high byte."""
    return (span & 0xFF) <= value <= (span >> 8 & 0xFF)


def _seconds(timecents: float) -> float:
    """Time of an envelope stage; -12000 (1 ms) is the specification's "instantaneous"."""
    return 2.0 ** (timecents / 1200)


def _lfo(zone: Zone, name: str, time: np.ndarray) -> np.ndarray:
    """A triangular oscillator in -1..1 that starts at zero after its delay (specification, section 9.1.6)."""
    if zone[f"{name}_to_pitch"] == 0:
        return np.zeros(1)
    phase = np.maximum(time - _seconds(zone[f"{name}_delay"]), 0) * 8.176 * 2 ** (zone[f"{name}_freq"] / 1200)
    return 1 - 4 * np.abs((phase + 0.25) % 1 - 0.5)


def _envelope(zone: Zone, kind: str, key: int, hold: float, time: np.ndarray) -> np.ndarray:
    """The volume or modulation envelope over time (seconds), in 0..1.

    Delay, attack (linear), hold, decay, sustain, release (section 8.1.2, generators 25 to 40).  The volume
    decays linearly in decibels, 100 dB per decay time; the modulation envelope linearly in value.
    """
    stage = {
        name: zone[f"{kind}_{name}"] for name in ("delay", "attack", "hold", "decay", "sustain", "release")
    }
    delay, attack = _seconds(stage["delay"]), _seconds(stage["attack"])
    held = _seconds(stage["hold"] + zone[f"{kind}_key_hold"] * (60 - key))
    decay = _seconds(stage["decay"] + zone[f"{kind}_key_decay"] * (60 - key))
    release = _seconds(stage["release"])

    def level(at: np.ndarray) -> np.ndarray:
        rise = np.clip((at - delay) / attack, 0, 1)
        fall = np.maximum(at - delay - attack - held, 0) / decay
        if kind == "vol":
            return rise * 10 ** (-np.minimum(100 * fall, min(stage["sustain"] / 10, 100)) / 20)
        return rise * np.maximum(1 - fall, max(1 - stage["sustain"] / 1000, 0))

    at_release = float(level(np.array([hold]))[0])
    gone = np.maximum(time - hold, 0) / release
    released = 10 ** (-5 * np.minimum(gone, 20)) if kind == "vol" else np.maximum(1 - gone, 0)
    return np.where(time < hold, level(time), at_release * released)


def _cubic(pcm: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Catmull-Rom interpolation of pcm at fractional positions."""
    at = position.astype(np.int64)
    x = position - at
    a, b, c, d = (pcm[np.clip(at + k, 0, len(pcm) - 1)] for k in (-1, 0, 1, 2))
    return b + 0.5 * x * (c - a + x * (2 * a - 5 * b + 4 * c - d + x * (3 * (b - c) + d - a)))


def _low_pass(wave: np.ndarray, cutoff: np.ndarray, resonance: float) -> np.ndarray:
    """A second-order low-pass whose cutoff (Hz, one value per 10 ms) moves; R. Bristow-Johnson's cookbook.

    `resonance` is the gain at the cutoff as a ratio; the specification's 0 dB is a flat (Butterworth) top.
    """
    if cutoff.min() >= _NO_FILTER_HZ:
        return wave
    out, state = np.empty_like(wave), np.zeros(2)
    omega = 2 * np.pi * np.clip(cutoff, 20, _NO_FILTER_HZ) / SAMPLE_RATE
    alpha = np.sin(omega) / (2 * resonance * np.sqrt(0.5))
    still = cutoff.max() - cutoff.min() < 1
    size = len(wave) if still else _FILTER_BLOCK
    for block in range(1 if still else len(cutoff)):
        cos, part = np.cos(omega[block]), slice(block * size, (block + 1) * size)
        b = np.array([(1 - cos) / 2, 1 - cos, (1 - cos) / 2])
        a = np.array([1 + alpha[block], -2 * cos, 1 - alpha[block]])
        out[part], state = lfilter(b / a[0], a / a[0], wave[part], zi=state)
    return out

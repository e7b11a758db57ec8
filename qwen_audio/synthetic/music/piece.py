"""Composition and rendering of a short piece by the rules of its genre; its `Plan` holds every fact about it.

plan = draw_plan(rng)                 # genre, key, metre, tempo, instruments ...: fast, no audio yet
wave, melody = perform(rng, plan, store)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.synthetic.music.genres import GENRES, MOODS, TEMPO_CLASSES, Genre, Mood, Player, player
from qwen_audio.synthetic.music.patterns import BASS_PATTERNS, CHORD_PATTERNS
from qwen_audio.synthetic.music.theory import Chord, key_name, melody, progression
from qwen_audio.synthetic.music.track import DRUMS, NOTE_SECONDS, NoteStore
from qwen_audio.synthetic.music.voice import DELIVERIES, SINGERS, Singer, sing
from qwen_audio.synthetic.sounds.acoustics import filtered, room, slope

MIN_SECONDS, MAX_SECONDS = 4.0, 11.4  # of the bars; what rings on after them adds `_TAIL` at most
_TAIL = 0.5
_STAGGERED = 0.4
_RAMPED = 0.25
_RAMP_DB = 20.0
_SUNG = 0.12
_VOICE_GAIN = 1.0
_CHORD_GAIN, _BASS_GAIN = 0.35, 0.5  # the melody is 1
_CHORD_REACH = {"power": 18, "arpeggio": 23, "sixteenths": 23}  # semitones from the lowest pitch; else 11
_DRUM_GAINS = {
    "kick": 0.8,
    "snare": 0.5,
    "rim": 0.5,
    "clap": 0.4,
    "conga": 0.3,
    "claves": 0.2,
    "cowbell": 0.3,
}
_CYMBAL_GAIN = 0.13  # of all other drums
_SOFT = 0.45  # a stroke written "o"

Notes = list[tuple[float, float, int]]  # start and length in seconds, MIDI pitch


@dataclass(frozen=True)
class Plan:
    """All facts of a piece.

    tempo: beats per minute; metre: beats in a bar; mode: "major" or "minor"; tonic: pitch class, 0 is C;
    chord_row: one chord a bar; lead: player of the melody (None: `singer` sings it); entries: the bar in which
    each of "lead", "chords", "bass", "drums" begins; dynamics: "louder" or "softer" where the level moves;
    mood: key of MOODS where the piece was written for one.  Only parts named in `entries` play.
    """

    genre: str
    tempo_class: str
    tempo: int
    metre: int
    mode: str
    tonic: int
    chord_row: tuple[Chord, ...]
    lead: Player | None
    singer: Singer | None
    chords: Player
    bass: Player | None
    entries: dict[str, int]
    dynamics: str | None = None
    mood: str | None = None

    @property
    def rules(self) -> Genre:
        return GENRES[self.genre]

    @property
    def key(self) -> str:
        return key_name(self.tonic, self.mode)

    @property
    def lead_name(self) -> str:
        return self.lead.name if self.lead else "voice"

    @property
    def performer(self) -> str:
        """The lead instrument's or the singer's name."""
        return self.singer.name if self.singer else self.lead_name

    @property
    def parts(self) -> dict[str, str]:
        """Performer of each part, in the order lead, chords, bass, drums."""
        bass = self.bass.name if self.bass else ""
        names = {"lead": self.lead_name, "chords": self.chords.name, "bass": bass, "drums": "drums"}
        return {part: names[part] for part in self.entries}

    @property
    def exchanged(self) -> Plan | None:
        """The same piece with the players of melody and chords swapped; None if one cannot play the other's part.

        With both forms equally likely, the instruments alone do not tell which of them plays the melody.
        """
        if self.lead is None:
            return None
        reach = _CHORD_REACH.get(self.rules.chord_pattern, 11)
        if self.lead.high < _chord_low(self, self.lead) + reach:
            return None
        return replace(self, lead=self.chords, chords=self.lead)

    @property
    def staggered(self) -> bool:
        return len(set(self.entries.values())) > 1

    @property
    def seconds(self) -> float:
        """Seconds from the first beat to the end of the last bar."""
        return len(self.chord_row) * self.metre * 60 / self.tempo


def _pick(rng: np.random.Generator, names: tuple[str, ...]) -> str:
    return names[rng.integers(len(names))]


def draw_plan(rng: np.random.Generator, *, mood: str | None = None, plain: bool = False) -> Plan:
    """Sample the facts of a piece.  `plain`: all parts begin together, at one level, and the melody is played."""
    feel = MOODS[mood] if mood else None
    name = _pick(rng, feel.genres if feel else tuple(GENRES))
    genre = GENRES[name]
    tempo_class = feel.tempo if feel else _pick(rng, genre.tempos)
    slowest, fastest = TEMPO_CLASSES[tempo_class]
    tempo, metre = int(rng.integers(slowest, fastest + 1)), int(rng.choice(genre.metres))
    mode = feel.mode if feel else ("major" if rng.random() < genre.major else "minor")
    tonic = int(rng.integers(12))
    bar = metre * 60 / tempo
    counts = [n for n in range(2, 13) if MIN_SECONDS <= n * bar <= MAX_SECONDS]
    even = [n for n in counts if n % 2 == 0] or counts
    bars = even[rng.integers(len(even))]
    lead: Player | None = player(_pick(rng, genre.leads))
    singer = None
    if not plain and rng.random() < _SUNG:
        lead, singer = None, SINGERS[rng.integers(len(SINGERS))]
    chords = player(_pick(rng, genre.chords))
    bass = player(_pick(rng, genre.basses)) if genre.basses else None
    drums = ["drums"] if metre in genre.drums else []
    parts = ["lead", "chords", *(["bass"] if bass else []), *drums]
    entries = dict.fromkeys(parts, 0)
    if not plain and bars >= 3 and rng.random() < _STAGGERED:
        first = parts[rng.integers(len(parts))]
        entries = {part: 0 if part == first else max(1, bars // 4) for part in parts}
    dynamics = None
    if not plain and rng.random() < _RAMPED:
        dynamics = ("louder", "softer")[rng.integers(2)]
    row = tuple(progression(rng, genre.harmony, mode, tonic, bars))
    return Plan(
        name, tempo_class, tempo, metre, mode, tonic, row, lead, singer, chords, bass, entries, dynamics, mood,
    )  # fmt: skip


def perform(rng: np.random.Generator, plan: Plan, store: NoteStore) -> tuple[np.ndarray, Notes]:
    """Render the piece as (n,) float32 at 16 kHz with a peak below 1, and its melody; n is at most 190,400."""
    n = round((plan.seconds + _TAIL) * SAMPLE_RATE)
    track = np.zeros(n, np.float32)
    line = _melody(rng, plan)
    gain = 0.8 if plan.mood in ("sad", "calm") else 1.0
    if plan.lead:
        for start, seconds, pitch in line:
            _play(track, store, plan.lead, pitch, start, seconds, gain * rng.uniform(0.8, 1.0), 0.06)
    elif plan.singer:
        track += _VOICE_GAIN * sing(rng, plan.singer, line, n, DELIVERIES.get(plan.mood or ""))
    for part, play in (("chords", _play_chords), ("bass", _play_bass), ("drums", _play_drums)):
        if part in plan.entries:
            play(rng, track, plan, store)
    mood = MOODS[plan.mood] if plan.mood else None
    return finish(rng, track, mood=mood, dynamics=plan.dynamics, seconds=plan.seconds), line


def lead_range(plan: Plan) -> range:
    """Pitches of the melody: an octave and a half in the lead's range, near its middle, higher for joy."""
    who = plan.lead or plan.singer
    assert who is not None  # a plan has one of them
    low, high = who.low, who.high
    shift = MOODS[plan.mood].shift if plan.mood else 0
    middle = min(max((low + high) // 2, 60), 76) + shift if plan.lead else (low + high) // 2 + shift // 3
    width = min(9, (high - low) // 2)
    middle = min(max(middle, low + width), high - width)
    return range(middle - width, middle + width + 1)


def seconds_of(plan: Plan, beat: float) -> float:
    """Time in seconds of a beat (0 is the first); off-beats are late where the genre swings."""
    whole = math.floor(beat)
    part, swing = beat - whole, plan.rules.swing
    part = part * 2 * swing if part < 0.5 else swing + (part - 0.5) * 2 * (1 - swing)
    return (whole + part) * 60 / plan.tempo


def _melody(rng: np.random.Generator, plan: Plan) -> Notes:
    skipped = plan.entries["lead"]
    share = MOODS[plan.mood].articulation if plan.mood else 0.92
    row = list(plan.chord_row[skipped:])
    line = melody(rng, row, plan.tonic, plan.mode, plan.metre, plan.rules.lead_style, lead_range(plan))
    notes: Notes = []
    for start, beats, pitch in line:
        begin, end = (seconds_of(plan, at + skipped * plan.metre) for at in (start, start + beats))
        notes.append((begin, share * (end - begin), pitch))
    return notes


def _play(
    track: np.ndarray, store: NoteStore, who: Player, pitch: int, start: float, seconds: float, gain: float,
    release: float,
) -> None:  # fmt: skip
    seconds = min(seconds, NOTE_SECONDS)
    store.play(
        track, who.program, pitch + who.transpose, start=start, seconds=seconds, gain=gain, release=release
    )


def _strokes(plan: Plan, start: float, beats: float, bar: int) -> list[tuple[float, float]]:
    """(start, length) in seconds of a pattern's stroke; one longer than a note lasts is struck again."""
    begin = bar * plan.metre + start
    first, end = seconds_of(plan, begin), seconds_of(plan, begin + beats)
    times = math.ceil((end - first) / NOTE_SECONDS)
    length = (end - first) / times
    return [(first + k * length, length) for k in range(times)]


def _chord_low(plan: Plan, who: Player) -> int:
    """The lowest pitch of the chords: that of the pattern, in an octave that the player has."""
    low = {"power": 40, "arpeggio": 57, "sixteenths": 57}.get(plan.rules.chord_pattern, 55)
    return low + 12 * max(0, math.ceil((who.low - low) / 12))


def _play_chords(rng: np.random.Generator, track: np.ndarray, plan: Plan, store: NoteStore) -> None:
    low = _chord_low(plan, plan.chords)
    for bar in range(plan.entries["chords"], len(plan.chord_row)):
        chord = plan.chord_row[bar]
        notes = chord.voicing(low)
        for start, beats, what in CHORD_PATTERNS[plan.rules.chord_pattern][plan.metre]:
            if what == "chord":
                pitches = notes
            elif what == "power":
                root = chord.bass(low)
                pitches = [root, root + chord.fifth]
            else:
                octave, k = divmod(int(what), len(notes))
                pitches = [notes[k] + 12 * octave]
            gain = _CHORD_GAIN * (1.4 if len(pitches) == 1 else 1 / math.sqrt(len(pitches)))
            for at, seconds in _strokes(plan, start, beats, bar):
                strength = gain * rng.uniform(0.85, 1.0)
                for pitch in pitches:
                    _play(track, store, plan.chords, pitch, at, seconds, strength, plan.rules.release)


def _play_bass(rng: np.random.Generator, track: np.ndarray, plan: Plan, store: NoteStore) -> None:
    assert plan.bass is not None
    low = max(plan.bass.low, 29)
    for bar in range(plan.entries["bass"], len(plan.chord_row)):
        chord = plan.chord_row[bar]
        steps = {"root": 0, "third": chord.third, "fifth": chord.fifth}
        for start, beats, which in BASS_PATTERNS[plan.rules.bass_pattern][plan.metre]:
            pitch = chord.bass(low) + 12 if which == "octave" else chord.bass(low, steps[str(which)])
            for at, seconds in _strokes(plan, start, beats, bar):
                _play(track, store, plan.bass, pitch, at, seconds, _BASS_GAIN * rng.uniform(0.85, 1.0), 0.06)


def _play_drums(rng: np.random.Generator, track: np.ndarray, plan: Plan, store: NoteStore) -> None:
    for bar in range(plan.entries["drums"], len(plan.chord_row)):
        for name, strokes in plan.rules.drums[plan.metre].items():
            if name == "crash" and plan.genre != "metal" and bar > plan.entries["drums"]:
                continue
            gain = _DRUM_GAINS.get(name, _CYMBAL_GAIN)
            for k, stroke in enumerate(strokes):
                if stroke == ".":
                    continue
                at = seconds_of(plan, bar * plan.metre + k / 4)
                strength = gain * rng.uniform(0.85, 1.0) * (_SOFT if stroke == "o" else 1)
                store.play(track, plan.rules.kit, DRUMS[name], start=at, seconds=0, gain=strength, drums=True)


def finish(
    rng: np.random.Generator,
    wave: np.ndarray,
    *,
    mood: Mood | None = None,
    dynamics: str | None = None,
    seconds: float = 0.0,
) -> np.ndarray:
    """Add room, level, change of level over `seconds`, and an end without a click: (n,) float32, peak below 1."""
    if rng.random() < 0.35:
        wave = room(rng, wave, rng.uniform(0.2, 0.9), rng.uniform(0.1, 0.35))
    if mood:
        wave = filtered(wave, slope(mood.tilt, 300))
        peak = rng.uniform(*mood.levels)
    else:
        peak = np.exp(rng.uniform(np.log(0.15), np.log(0.95)))
    if dynamics:
        ramp = np.minimum(np.arange(len(wave)) / (seconds * SAMPLE_RATE), 1) - 1
        ramp = ramp if dynamics == "louder" else -1 - ramp
        wave = wave * 10 ** (_RAMP_DB * ramp / 20)
    fade = round(0.1 * SAMPLE_RATE)
    wave[-fade:] *= np.linspace(1, 0, fade)
    return (wave * (peak / max(float(np.abs(wave).max()), 1e-9))).astype(np.float32)

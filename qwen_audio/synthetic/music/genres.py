"""Genres as rules: tempo, metre, mode, harmony, instruments and the patterns of accompaniment, bass and drums.

The genres differ in audible traits (rhythm, drums, instruments, harmony), not in fame: a waltz has three beats
with the bass on the first, reggae chords off the beat and a drum on the third, and so on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from qwen_audio.synthetic.music.notes import INSTRUMENTS

# Beats per minute of the three classes; between them lies a gap that no piece has.
TEMPO_CLASSES = {"slow": (52, 78), "moderate": (86, 126), "fast": (138, 190)}


@dataclass(frozen=True)
class Player:
    """An instrument in a part: name, General MIDI program, pitch range, semitones from pitch to key, family."""

    name: str
    program: int
    low: int
    high: int
    transpose: int
    family: str


# Instruments of one family could be confused when a question asks whether one of them plays.
_FAMILIES = {
    "bowed strings": "violin, viola, cello, double bass, string ensemble",
    "plucked strings": "acoustic guitar, electric guitar, bass guitar, harp, sitar, banjo, koto",
    "keyboards": "piano, electric piano, harpsichord",
    "reed organs": "organ, accordion, harmonica",
    "bars": "vibraphone, marimba, xylophone, kalimba",
    "brass": "trumpet, trombone, tuba, french horn, brass section",
    "reeds": "saxophone, oboe, english horn, bassoon, contrabassoon, clarinet, bass clarinet",
    "flutes": "piccolo, flute, recorder",
    "synthesizers": "synth lead, synthesizer, synth bass",
}
FAMILIES = {name: family for family, names in _FAMILIES.items() for name in names.split(", ")}
# Sounds of a part that are not those of the instrument alone: (name, program, low, high, transpose).
_SPECIAL = {
    "string ensemble": (48, 40, 90, 0),
    "brass section": (61, 40, 84, 0),
    "synthesizer": (81, 36, 90, 0),
    "synth bass": (38, 24, 60, 0),
    "plucked double bass": (32, 28, 60, 0),
    "overdriven electric guitar": (29, 36, 88, 0),
    "distorted electric guitar": (30, 36, 88, 0),
    "clean electric guitar": (27, 40, 84, 0),
}


def player(name: str, program: int | None = None) -> Player:
    """A player by name: an instrument of notes.py (its first program unless given) or one of `_SPECIAL`."""
    if name in _SPECIAL:
        number, low, high, transpose = _SPECIAL[name]
        plain = next((n for n in ("double bass", "electric guitar") if name.endswith(n)), name)
        return Player(plain, number, low, high, transpose, FAMILIES[plain])
    row = next(row for row in INSTRUMENTS if row.name == name)
    number = row.programs[0] if program is None else program
    return Player(name, number, row.low, row.high, row.transpose, FAMILIES[name])


@dataclass(frozen=True)
class Genre:
    """The rules of one genre.

    noun: how a caption names it; tempos: names of `TEMPO_CLASSES`; metres: beats in a bar; major: share of
    pieces in a major key; harmony: key of theory.PROGRESSIONS; leads, chords, basses: names for
    `player`, one of each is sampled; lead_style: key of theory.RHYTHMS; chord_pattern, bass_pattern: keys of
    patterns.py; kit: program of the drum kit; drums: by metre, drum -> sixteenths of a bar ("x" loud,
    "o" soft); swing: where in a beat the second eighth falls; release: seconds chords ring on.
    """

    noun: str
    tempos: tuple[str, ...]
    metres: tuple[int, ...]
    major: float
    harmony: str
    leads: tuple[str, ...]
    lead_style: str
    chords: tuple[str, ...]
    chord_pattern: str
    basses: tuple[str, ...] = ()
    bass_pattern: str = "root"
    kit: int = 0
    drums: dict[int, dict[str, str]] = field(default_factory=dict)
    swing: float = 0.5
    release: float = 0.1


_BACKBEAT = {
    "kick": "x.......x.x.....",
    "snare": "....x.......x...",
    "closed hat": "x.o.x.o.x.o.x.o.",
}
GENRES: dict[str, Genre] = {
    "classical": Genre(
        "a classical piece", ("slow", "moderate"), (3, 4), 0.6, "plain",
        ("violin", "flute", "oboe", "clarinet"), "plain", ("piano", "harpsichord"), "arpeggio",
        ("cello",), "held",
    ),
    "waltz": Genre(
        "a waltz", ("fast",), (3,), 0.6, "plain",
        ("violin", "clarinet", "flute"), "plain", ("string ensemble", "accordion"), "oompah",
        ("plucked double bass",), "one",
    ),
    "march": Genre(
        "a march", ("moderate",), (4,), 0.9, "plain",
        ("trumpet", "piccolo", "clarinet"), "plain", ("brass section", "french horn"), "oompah",
        ("tuba",), "fifths", 48,
        {4: {"snare": "x.ooxoo.x.ooxooo", "kick": "x.......x.......", "crash": "x..............."}},
    ),
    "lullaby": Genre(
        "a lullaby", ("slow",), (3, 4), 0.85, "plain",
        ("flute", "vibraphone", "recorder", "kalimba"), "long", ("harp",), "arpeggio", release=0.6,
    ),
    "jazz": Genre(
        "jazz", ("moderate", "fast"), (4,), 0.6, "seventh",
        ("saxophone", "trumpet", "vibraphone", "clarinet"), "busy", ("piano",), "charleston",
        ("plucked double bass",), "walking", 32,
        {4: {"ride": "x...x.x.x...x.x.", "pedal hat": "....x.......x..."}}, swing=0.66,
    ),
    "blues": Genre(
        "blues", ("slow", "moderate"), (4,), 0.8, "blues",
        ("harmonica", "clean electric guitar"), "plain", ("piano", "organ"), "shuffle",
        ("bass guitar",), "shuffle", 0,
        {4: {"kick": "x.......x.......", "snare": "....x.......x...", "ride": "x.x.x.x.x.x.x.x."}}, swing=0.66,
    ),
    "rock": Genre(
        "rock", ("moderate", "fast"), (4,), 0.6, "plain",
        ("organ", "overdriven electric guitar"), "plain", ("overdriven electric guitar",), "quarters",
        ("bass guitar",), "eighths", 16, {4: _BACKBEAT},
    ),
    "metal": Genre(
        "heavy metal", ("fast",), (4,), 0.0, "dark",
        ("distorted electric guitar",), "busy", ("distorted electric guitar",), "power",
        ("bass guitar",), "eighths", 16,
        {4: {"kick": "xxxxxxxxxxxxxxxx", "snare": "....x.......x...", "crash": "x.......x......."}},
    ),
    "country": Genre(
        "country music", ("moderate", "fast"), (3, 4), 0.95, "plain",
        ("banjo", "violin", "harmonica"), "busy", ("acoustic guitar",), "oompah",
        ("plucked double bass",), "fifths", 40,
        {4: {"snare": "o.o.x.o.o.o.x.o."}, 3: {"snare": "o...x.o.x.o."}},
    ),
    "disco": Genre(
        "disco", ("moderate",), (4,), 0.4, "plain",
        ("string ensemble", "trumpet", "synth lead"), "plain", ("electric piano", "clean electric guitar"),
        "stab", ("bass guitar",), "octaves", 0,
        {4: {"kick": "x...x...x...x...", "clap": "....x.......x...", "open hat": "..x...x...x...x."}},
    ),
    "electronic": Genre(
        "electronic dance music", ("moderate", "fast"), (4,), 0.2, "plain",
        ("synth lead",), "long", ("synthesizer",), "sixteenths", ("synth bass",), "offbeat", 25,
        {4: {"kick": "x...x...x...x...", "closed hat": "..x...x...x...x.", "clap": "....x.......x..."}},
    ),
    "hip hop": Genre(
        "hip hop", ("slow", "moderate"), (4,), 0.2, "plain",
        ("flute", "vibraphone", "koto"), "long", ("electric piano",), "block", ("synth bass",), "sparse", 25,
        {4: {"kick": "x..x..o...x.....", "snare": "....x.......x...", "closed hat": "xoxoxoxoxoxoxxoo"}},
        swing=0.58,
    ),
    "reggae": Genre(
        "reggae", ("slow",), (4,), 0.6, "plain",
        ("trombone", "harmonica", "saxophone"), "plain", ("organ", "clean electric guitar"), "skank",
        ("bass guitar",), "dub", 0,
        {4: {"kick": "........x.......", "rim": "........x.......", "closed hat": "x.o.x.o.x.o.x.o."}},
    ),
    "latin": Genre(
        "a bossa nova", ("moderate",), (4,), 0.5, "seventh",
        ("flute", "saxophone", "trumpet"), "plain", ("acoustic guitar",), "bossa",
        ("plucked double bass",), "fifths", 0,
        {4: {"claves": "x..x..x...x..x..", "shaker": "xoxoxoxoxoxoxoxo", "conga": "......o.......xx"}},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Mood:
    """A mood: mode, tempo class, genres that can have it, semitones the melody moves up, share of
    each note's length that sounds, spectral tilt in decibels per octave, and peak levels."""

    mode: str
    tempo: str
    genres: tuple[str, ...]
    shift: int
    articulation: float
    tilt: float
    levels: tuple[float, float]


MOODS: dict[str, Mood] = {
    "happy": Mood("major", "fast", ("country", "jazz", "waltz", "rock"), 5, 0.6, 0.5, (0.5, 0.9)),
    "sad": Mood("minor", "slow", ("classical", "lullaby", "blues"), -5, 1.0, -3.0, (0.1, 0.3)),
    "calm": Mood("major", "slow", ("classical", "lullaby", "hip hop"), 0, 1.0, -2.0, (0.1, 0.3)),
    "angry": Mood("minor", "fast", ("metal", "electronic", "rock"), -3, 0.8, 2.0, (0.8, 0.98)),
}

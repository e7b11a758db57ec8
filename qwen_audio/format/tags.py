"""The table of special tokens: their names, their order, and functions that build and read tags.

The published vocabulary has 3,522 special tokens after its 151,643 byte-pair tokens. They are made here by
rule in the published order, so that the n-th name always has the id `base vocabulary + n`. No other module
spells a tag: it imports the constant, or asks `language_tag`, `time_tag`, `pitch_tag`, `velocity_tag`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import NamedTuple

from qwen_audio.format.text import collapse_spaces


class Segment(NamedTuple):
    """A piece of a training or prompt sequence.

    text: special-token names one after another when `special`, else plain user data;
    special: True only for text that this package wrote; user data is never read as special tokens;
    label: True where the loss is computed.
    """

    text: str
    special: bool
    label: bool


END_OF_TEXT = "<|endoftext|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
AUDIO_PAD = "[[[AUDIO:modality]]]"  # stands for one audio vector inside a span
AUDIO_START = "<audio>"
AUDIO_END = "</audio>"

START_OF_TRANSCRIPT = "<|startoftranscript|>"
START_OF_ANALYSIS = "<|startofanalysis|>"

TRANSLATE = "<|translate|>"
TRANSCRIBE = "<|transcribe|>"
CAPTION = "<|caption|>"
KEYWORD = "<|keyword|>"  # the paper calls it "analysis"

UNKNOWN = "<|unknown|>"
LANGUAGES: tuple[str, ...] = ("en", "zh", "de", "es", "ko", "fr", "ja", "it")
TRADITIONAL_CHINESE = "zh_tr"

NO_TIMESTAMPS = "<|notimestamps|>"
SILENCE = "<|sil|>"
TIMESTAMPS = "<|timestamps|>"

TICKS_PER_SECOND = 100  # the grid of the time tags is 10 ms
MAX_TICK = 3000  # the last time tag is <|30.00|>

CAPTION_AUDIOCAPS = "<|caption_audiocaps|>"
CAPTION_CLOTHO = "<|caption_clotho|>"
AUDIOSET_ONTOLOGY = "<|audioset_ontology|>"
CAPTION_PLAIN = "<|caption_plain|>"
ITN = "<|itn|>"  # written form: case, punctuation, digits
WITHOUT_ITN = "<|wo_itn|>"  # spoken form
START_OF_ENTITY_VALUE = "<|startofentityvalue|>"
END_OF_ENTITY_VALUE = "<|endofentityvalue|>"
START_OF_ENTITY_TYPE = "<|startofentitytype|>"
END_OF_ENTITY_TYPE = "<|endofentitytype|>"
NAMED_ENTITY_RECOGNITION = "<|named_entity_recognition|>"
AUDIO_GROUNDING = "<|audio_grounding|>"
START_OF_WORD = "<|startofword|>"
END_OF_WORD = "<|endofword|>"
DELIMITER = "<|delim|>"
EMOTION_RECOGNITION = "<|emotion_recognition|>"
MUSIC_DESCRIPTION = "<|music_description|>"
NOTE_ANALYSIS = "<|note_analysis|>"
PITCH = "<|pitch|>"
VELOCITY = "<|velocity|>"
MIDI_VALUES = 128  # pitches and velocities run from 0 to 127
SONIC = "<|sonic|>"
INSTRUMENT = "<|instrument|>"
SPEAKER_META = "<|speaker_meta|>"
SONG_META = "<|song_meta|>"
QUESTION = "<|question|>"
ANSWER = "<|answer|>"
CHOICE = "<|choice|>"
SCENE = "<|scene|>"
EVENT = "<|event|>"
VOCAL_CLASSIFICATION = "<|vocal_classification|>"
SPEECH_UNDERSTANDING = "<|speech_understanding|>"
SCENARIO = "<|scenario|>"
ACTION = "<|action|>"
ENTITIES = "<|entities|>"
SPEECH_EDIT = "<|speech_edit|>"


def _tick_tag(tick: int) -> str:
    return f"<|{tick // TICKS_PER_SECOND}.{tick % TICKS_PER_SECOND:02d}|>"


_TIME_TAGS = tuple(_tick_tag(tick) for tick in range(MAX_TICK + 1))
_PITCH_TAGS = tuple(f"<|midi_pitch_{n}|>" for n in range(MIDI_VALUES))
_VELOCITY_TAGS = tuple(f"<|midi_velocity_{n}|>" for n in range(MIDI_VALUES))
_LANGUAGE_TAGS = {code: f"<|{code}|>" for code in (*LANGUAGES, TRADITIONAL_CHINESE)}

# fmt: off
SPECIAL_TOKENS: tuple[str, ...] = (
    END_OF_TEXT, IM_START, IM_END, *(f"<|extra_{n}|>" for n in range(205)), AUDIO_PAD,
    START_OF_TRANSCRIPT, START_OF_ANALYSIS, TRANSLATE, TRANSCRIBE, CAPTION, KEYWORD,
    UNKNOWN, *_LANGUAGE_TAGS.values(), NO_TIMESTAMPS, SILENCE, TIMESTAMPS, *_TIME_TAGS,
    CAPTION_AUDIOCAPS, CAPTION_CLOTHO, AUDIOSET_ONTOLOGY, CAPTION_PLAIN, ITN, WITHOUT_ITN,
    START_OF_ENTITY_VALUE, END_OF_ENTITY_VALUE, START_OF_ENTITY_TYPE, END_OF_ENTITY_TYPE,
    NAMED_ENTITY_RECOGNITION, AUDIO_GROUNDING, START_OF_WORD, END_OF_WORD, DELIMITER,
    EMOTION_RECOGNITION, MUSIC_DESCRIPTION, NOTE_ANALYSIS,
    PITCH, *_PITCH_TAGS, VELOCITY, *_VELOCITY_TAGS, SONIC, INSTRUMENT, SPEAKER_META, SONG_META,
    QUESTION, ANSWER, CHOICE, SCENE, EVENT, VOCAL_CLASSIFICATION,
    SPEECH_UNDERSTANDING, SCENARIO, ACTION, ENTITIES, SPEECH_EDIT, AUDIO_START, AUDIO_END,
)
# fmt: on
SPECIAL_INDEX: dict[str, int] = {name: index for index, name in enumerate(SPECIAL_TOKENS)}

_TAG_SHAPE = re.compile(r"<\|[A-Za-z0-9_.]+\|>|</?audio>|" + re.escape(AUDIO_PAD))


def language_tag(code: str | None) -> str:
    """Tag of a language code; `<|unknown|>` for None and for every language outside the published ones."""
    return _LANGUAGE_TAGS.get(code, UNKNOWN) if code else UNKNOWN


# The codes of two letters (ISO 639-1, and the older ones that corpora have).  Of three letters there are thousands.
_CODES = (
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de "
    "dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id "
    "ie ig ii ik in io is it iu iw ja ji jv jw ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li "
    "ln lo lt lu lv mg mh mi mk ml mn mo mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa "
    "pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn so sq sr ss st su sv sw ta te tg th "
    "ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
)
_TWO_LETTERS = frozenset(_CODES.split())


def check_language(code: str) -> str:
    """The code itself; ValueError for an invalid language code, such as "english" or "xx".

    A language without a tag, such as "nl", is no error: its tag is `<|unknown|>`.
    """
    if not re.fullmatch(r"[a-z]{2,3}(_[a-z]{2,4})?|unknown", code):
        raise ValueError(f'the language {code!r} is no code: give two or three letters, such as "en"')
    short = code.partition("_")[0]
    if len(short) == 2 and short not in _TWO_LETTERS:
        raise ValueError(f'the language {code!r} is no code of ISO 639: correct it, or give "unknown"')
    return code


def language_of(tag: str) -> str | None:
    """Language code of a tag ("<|de|>" -> "de"); None for `<|unknown|>` and for other tags."""
    code = tag[2:-2]
    return code if _LANGUAGE_TAGS.get(code) == tag else None


def to_tick(seconds: float) -> int:
    """Nearest point of the 10 ms grid, counted from 0; ValueError outside 0.00 to 30.00 s."""
    if not math.isfinite(seconds):
        raise ValueError(f"a time tag needs a finite number of seconds, not {seconds}")
    tick = round(seconds * TICKS_PER_SECOND)
    if not 0 <= tick <= MAX_TICK:
        limit = MAX_TICK / TICKS_PER_SECOND
        raise ValueError(f"time {seconds:.3f} s is outside 0.00 to {limit:.2f} s: cut the audio into windows")
    return tick


def time_tag(seconds: float) -> str:
    """`<|1.23|>` for 1.23 s, on the 10 ms grid; ValueError outside 0.00 to 30.00 s."""
    return _TIME_TAGS[to_tick(seconds)]


def pitch_tag(pitch: int) -> str:
    """`<|midi_pitch_60|>` for MIDI pitch 60; ValueError outside 0 to 127."""
    return _midi_tag(_PITCH_TAGS, "pitch", pitch)


def velocity_tag(velocity: int) -> str:
    """`<|midi_velocity_75|>` for MIDI velocity 75; ValueError outside 0 to 127."""
    return _midi_tag(_VELOCITY_TAGS, "velocity", velocity)


def _midi_tag(names: tuple[str, ...], kind: str, value: int) -> str:
    if not isinstance(value, int) or not 0 <= value < MIDI_VALUES:
        raise ValueError(f"MIDI {kind} {value!r} is not a whole number from 0 to {MIDI_VALUES - 1}")
    return names[value]


def split_tags(text: str) -> list[tuple[str, bool]]:
    """Cut a string into (piece, is_special) pairs without empty pieces; joined, they give the string."""
    pieces: list[tuple[str, bool]] = []
    position = 0
    for match in _TAG_SHAPE.finditer(text):
        if match.group() not in SPECIAL_INDEX:
            continue
        if match.start() > position:
            pieces.append((text[position : match.start()], False))
        pieces.append((match.group(), True))
        position = match.end()
    if position < len(text):
        pieces.append((text[position:], False))
    return pieces


_LIKE_A_TAG = re.compile(r"<\|[^<>|\s]*\|>|</?audio>|" + re.escape(AUDIO_PAD))


def check_text(text: str) -> None:
    """ValueError for an answer that could not be read back: it spells a tag, or is no valid Unicode."""
    if match := _LIKE_A_TAG.search(text):
        raise ValueError(
            f"the text {_short(text)!r} spells the tag {match.group()}, which could not be told from a tag: remove it"
        )
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError(f"the text {_short(text)!r} has half of a surrogate pair: correct its encoding")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def without_tags(text: str, problems: list[str], keep: Callable[[str], bool] = lambda tag: False) -> str:
    """The text without special tokens (each one reported in `problems`), white space collapsed."""
    pieces = []
    for piece, special in split_tags(text):
        if special and not keep(piece):
            problems.append(f"unexpected tag {piece}")
            pieces.append(" ")
        else:
            pieces.append(piece)
    return collapse_spaces("".join(pieces))

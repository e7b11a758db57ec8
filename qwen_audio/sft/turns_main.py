"""The turn that asks for the label of an example, for every task of the table.

main_turn(rng, heard, "the recording")   # -> QA("asr", "What is said in the recording?", 'It says: "hello"')
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qwen_audio.data.manifest import Example
from qwen_audio.format import tags
from qwen_audio.format.answers.speech import entities_of
from qwen_audio.format.task_table import LANGUAGE_NAMES
from qwen_audio.sft.heard import QA, Heard, at, from_to, listed, number, one, sentence
from qwen_audio.sft.nouns import age_noun, event_noun, feeling, genre_noun, instrument_noun, place_noun
from qwen_audio.sft.phrases import PHRASES
from qwen_audio.synthetic.music.theory import note_name

MOST_WORDS = 16  # timed words in one answer
_MOST_SPANS = 12
# Scenario and action of a command -> the wish of the speaker; other commands are named by their labels.
_WISHES = {
    "alarm set": "set an alarm",
    "alarm remove": "remove an alarm",
    "calendar set": "add something to the calendar",
    "calendar query": "know what the calendar says",
    "calendar remove": "remove something from the calendar",
    "weather query": "hear about the weather",
    "music play": "hear music",
    "music stop": "stop the music",
    "light on": "have the light on",
    "light off": "have the light off",
    "light color": "change the color of the light",
    "heating set": "set the heating",
    "message send": "send a message",
    "phone call": "make a phone call",
    "taxi book": "book a taxi",
    "train book": "book a train",
    "list add": "add something to a list",
    "list remove": "take something off a list",
    "food order": "order food",
    "news query": "hear the news",
    "timer set": "set a timer",
    "volume up": "have the sound louder",
    "volume down": "have the sound quieter",
    "translation query": "have something translated",
}

Slots = dict[str, str] | None


def main_turn(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """The turn of the example's own task; None where its labels do not form a sentence.

    `it` names the recording. An exact example with a free question has none: turns_sound.py and turns_music.py
    make such questions in their own words. Speaker verification needs two recordings: turns_several.py.
    """
    task = heard.task
    if task in ("audio_qa", "music_qa") and heard.exact:
        return None
    slots = _SLOTS.get(task, _label)(heard)
    if slots is None:
        return None
    phrases = PHRASES[task]
    return QA(task, one(rng, phrases.requests, it=it, **slots), one(rng, phrases.answers, **slots))


def _label(heard: Heard) -> Slots:
    return {"label": heard.example.label} if heard.example.label else None


def _text(heard: Heard) -> Slots:
    text = heard.transcript
    return {"text": text} if text else None


def _noun(name: Callable[[str], str]) -> Callable[[Heard], Slots]:
    return lambda heard: {"noun": name(heard.example.label)} if heard.example.label else None


def _translation(heard: Heard) -> Slots:
    target = LANGUAGE_NAMES.get(heard.example.target_language or "")
    return {"text": heard.example.text, "target": target} if target and heard.example.text else None


def _overlap(heard: Heard) -> Slots:
    if len(heard.spans) < 2 or not all(span.text for span in heard.spans):
        return None
    return {"list": "; ".join(f'{span.label} says: "{span.text}"' for span in heard.spans)}


def _dialect(heard: Heard) -> Slots:
    dialect = heard.example.meta.get("dialect")
    return {"text": heard.example.text, "dialect": dialect} if isinstance(dialect, str) else None


def _words(heard: Heard) -> Slots:
    if not 0 < len(heard.words) <= MOST_WORDS:
        return None
    return {"list": ", ".join(f'"{word.word}" {from_to(word.start, word.end)}' for word in heard.words)}


def _emotion(heard: Heard) -> Slots:
    return {"adjective": feeling(heard.example.label)} if heard.example.label else None


def _keyword(heard: Heard) -> Slots:
    # In a sentence any word may be the keyword; it is then asked for by its time.
    return {"word": heard.example.text} if heard.example.text and not heard.example.words else None


def _turns(heard: Heard) -> Slots:
    if not 0 < len(heard.spans) <= _MOST_SPANS:
        return None
    return {"list": ", ".join(f"{span.label} {from_to(span.start, span.end)}" for span in heard.spans)}


def _entities(heard: Heard) -> Slots:
    found = entities_of(heard.example)
    if not found:
        return {"list": "no names, places or dates"}
    return {"list": listed([f'"{value}" ({kind})' for kind, value in found])}


def wish_of(example: Example) -> str | None:
    """The wish of the speaker of a command; None for an unknown intent."""
    return _WISHES.get(example.label or "")


def _intent(heard: Heard) -> Slots:
    example = heard.example
    if not example.label:
        return None
    scenario, wish = example.meta.get("scenario"), wish_of(example)
    said = f"the speaker wants to {wish}" if wish else f'the intent is "{example.label}"'
    if not wish and scenario:
        said += f' in the scenario "{scenario}"'
    details = []
    for kind, values in (example.meta.get("slots") or {}).items():
        names = values if isinstance(values, list) else [values]
        quoted = listed([f'"{value}"' for value in names])
        details.append(f"{kind} {quoted}")
    return {"list": f"{said}. Details: {', '.join(details)}" if details else said}


def _caption(heard: Heard) -> Slots:
    text = heard.example.text.strip()
    if not text:
        return None
    return {"text": sentence(text) + ("" if text[-1] in ".!?" else ".")}


def timeline(heard: Heard) -> str:
    """Every class of sound with its times: "a dog barking from ... to ... and from ... to ..., and rain from ..."."""
    parts = [
        f"{event_noun(label)} {listed([from_to(span.start, span.end) for span in spans])}"
        for label, spans in heard.events.items()
    ]
    return "; ".join(parts)


def _detection(heard: Heard) -> Slots:
    if len(heard.spans) > _MOST_SPANS:
        return None
    return {"list": timeline(heard) or "no sound event"}


def _question(heard: Heard) -> Slots:
    example = heard.example
    if not example.question or not example.text:
        return None
    choices = f" Choose from: {', '.join(example.choices)}." if example.choices else ""
    return {"question": example.question + choices, "text": sentence(example.text)}


def _tune(heard: Heard) -> Slots:
    composer = heard.meta.get("composer")
    known = isinstance(composer, str) and not composer.lower().startswith(("trad", "unknown", "anon"))
    by = f" by {composer}" if known else ""
    return {"label": heard.example.label, "by": by} if heard.example.label else None


def describe_note(heard: Heard) -> str | None:
    """Pitch, strength, instrument and qualities of a note in a sentence; None if it has no pitch."""
    meta = heard.example.meta
    pitch, velocity = meta.get("pitch"), meta.get("velocity")
    if not isinstance(pitch, int) or not 0 <= pitch < tags.MIDI_VALUES:
        return None
    said = f"It is the note {note_name(pitch)} (MIDI pitch {pitch})"
    if instrument := meta.get("instrument"):
        said += f" of {instrument_noun(instrument)}"
    if isinstance(velocity, int):
        said += f", with velocity {velocity}"
    sonic = [name.replace("_", " ") for name in meta.get("sonic") or []]
    return f"{said}. Its sound: {listed(sonic)}." if sonic else f"{said}."


def _note(heard: Heard) -> Slots:
    text = describe_note(heard)
    return {"text": text} if text else None


def _pitch(heard: Heard) -> Slots:
    text = heard.example.text
    if not (text.isascii() and text.isdigit() and int(text) < tags.MIDI_VALUES):
        return None
    return {"text": text, "name": note_name(int(text))}


_SLOTS: dict[str, Callable[[Heard], Slots]] = {
    "asr": _text,
    "speech_translation": _translation,
    "overlapped_asr": _overlap,
    "dialect_asr": _dialect,
    "word_timestamps": _words,
    "emotion": _emotion,
    "vocal_sound": _noun(event_noun),
    "keyword_spotting": _keyword,
    "speaker_age": _noun(age_noun),
    "speaker_diarization": _turns,
    "entity_recognition": _entities,
    "speech_intent": _intent,
    "speaker_verification": lambda heard: None,
    "audio_caption": _caption,
    "sound_event": _noun(event_noun),
    "event_detection": _detection,
    "acoustic_scene": _noun(place_noun),
    "audio_qa": _question,
    "music_caption": _caption,
    "music_recognition": _tune,
    "music_qa": _question,
    "music_genre": _noun(genre_noun),
    "note_analysis": _note,
    "note_pitch": _pitch,
    "instrument": _noun(instrument_noun),
}


def duration_turn(rng: np.random.Generator, heard: Heard, it: str) -> QA:
    """Ask for the length of the recording, to a tenth of a second."""
    return QA(
        "duration",
        one(rng, "how long is {it}?|how many seconds does {it} last?|what is the length of {it}?", it=it),
        one(
            rng,
            "it lasts about {s} seconds.|about {s} seconds.|it is about {s} seconds long, and ends at {end}.",
            s=f"{heard.seconds:.1f}",
            end=at(heard.seconds),
        ),
    )


def speech_turn(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """Ask if anybody speaks, or for the words of a recording without speech."""
    if heard.has_speech is None:
        return None
    if heard.has_speech is False and rng.random() < 0.4:
        request = one(
            rng, "what is said in {it}?|please transcribe {it}.|which words are spoken in {it}?", it=it
        )
        answer = one(
            rng,
            "nobody speaks in {it}, so there is nothing to write down.|I hear no speech in {it}."
            "|no words are spoken there.",
            it=it,
        )
        return QA("no_speech", request, answer)
    request = one(
        rng, "is there any speech in {it}?|does anybody speak in {it}?|do you hear talking in {it}?", it=it
    )
    if heard.has_speech:
        count = len({span.label for span in heard.spans}) if heard.task == "speaker_diarization" else 0
        more = f" {sentence(number(count))} people take part." if count > 1 else ""
        return QA("speech_present", request, one(rng, "yes, someone speaks.|yes, I hear speech.") + more)
    return QA("no_speech", request, one(rng, "no, nobody speaks.|no, I hear no speech.|no, there is none."))


def choice_turn(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """Ask which of a few classes fits, if the example lists the classes."""
    label, choices = heard.example.label, heard.example.choices or []
    others = [choice for choice in choices if choice != label]
    if label is None or not others or heard.task in ("audio_qa", "music_qa", "speaker_verification"):
        return None
    count = min(len(others), int(rng.integers(1, 4)))
    shown = [label, *(others[k] for k in rng.choice(len(others), size=count, replace=False))]
    if heard.task in ("keyword_spotting", "music_recognition"):
        shown = [f'"{choice}"' for choice in shown]
    label, names = shown[0], listed([shown[k] for k in rng.permutation(len(shown))], "or")
    request = one(
        rng,
        "which of these fits {it}: {names}?|what fits {it} best: {names}?"
        "|what would you say of {it}: {names}?",
        it=it,
        names=names,
    )
    return QA("choice", request, one(rng, "{label}.|{label} fits best.|I would say {label}.", label=label))

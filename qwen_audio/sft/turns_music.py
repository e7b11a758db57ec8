"""Turns about music and notes: tempo, key, metre, players, suitable use; from the facts of exact pieces."""

from __future__ import annotations

import numpy as np

from qwen_audio.sft.heard import QA, Heard, listed, one, pick, sentence
from qwen_audio.sft.nouns import genre_noun, instrument_noun
from qwen_audio.sft.turns_main import describe_note
from qwen_audio.synthetic.music.genres import FAMILIES, GENRES
from qwen_audio.synthetic.music.piece import TEMPO_CLASSES

_DANCES = ("waltz", "disco", "electronic", "latin")


def _tempo_class(tempo: int) -> str | None:
    return next((name for name, (low, high) in TEMPO_CLASSES.items() if low <= tempo <= high), None)


def _names(heard: Heard) -> list[str]:
    """The instruments of a piece, the voice left out."""
    parts = heard.meta.get("parts") or {}
    return [name for name in dict.fromkeys(parts.values()) if name != "voice"]


def tempo(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """Slow, moderate or fast, and beats in a minute."""
    beats = heard.meta.get("tempo")
    name = _tempo_class(beats) if isinstance(beats, int) and "parts" in heard.meta else None
    if name is None:
        return None
    request = one(
        rng,
        "how fast is the music in {it}?|what tempo does {it} have?"
        "|would you call the tempo of {it} slow or fast?",
        it=it,
    )
    word = "at a moderate tempo" if name == "moderate" else name
    return QA(
        "tempo",
        request,
        one(
            rng,
            "it is {word}, about {n} beats a minute.|the music is {word}: some {n} beats a minute.",
            word=word,
            n=str(beats),
        ),
    )


def mode(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """Major or minor; not of music whose chords are neither."""
    key, genre = heard.meta.get("key"), heard.meta.get("genre")
    alone = len(heard.meta.get("parts") or {}) < 2
    if not isinstance(key, str) or genre not in GENRES or alone or GENRES[genre].chord_pattern == "power":
        return None
    request = one(
        rng,
        "is {it} in major or in minor?|what key is {it} in?|which mode does the piece of {it} use?",
        it=it,
    )
    return QA("key", request, one(rng, "it is in {key}.|the key is {key}.", key=key))


def metre(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """Three or four beats to the bar."""
    beats = heard.meta.get("metre")
    if beats not in (3, 4) or "drums" not in _names(heard):
        return None
    request = one(
        rng,
        "how would you count the bars of {it}, in three or in four?|what time signature does {it} have?",
        it=it,
    )
    name = {3: "three", 4: "four"}[beats]
    return QA(
        "metre",
        request,
        one(rng, "in {n}: there are {n} beats to the bar.|it counts in {n}, that is {n}-four time.", n=name),
    )


def band(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """All instruments."""
    names = _names(heard)
    if len(names) < 2:
        return None
    said = [instrument_noun(name) for name in names] + (["a singing voice"] if heard.singer else [])
    request = one(
        rng,
        "which instruments play in {it}?|who is in the band of {it}?|list the instruments of {it}, please.",
        it=it,
    )
    return QA("instruments", request, one(rng, "I hear {list}.|{list}.|there are {list}.", list=listed(said)))


def plays(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """Ask if an instrument plays; yes and no are equally likely, and an absent one is unlike those that play."""
    names = [name for name in _names(heard) if name in FAMILIES]
    if not names:
        return None
    families = {FAMILIES[name] for name in names}
    yes = rng.random() < 0.5
    name = pick(rng, names if yes else [name for name, family in FAMILIES.items() if family not in families])
    request = one(rng, "do you hear {i} in {it}?|is {i} part of {it}?", i=instrument_noun(name), it=it)
    heard_names = listed([instrument_noun(other) for other in _names(heard)])
    yes_forms, no_forms = "yes, {i} plays.|yes, there is {i}.", "no, I only hear {there}.|no, there is none."
    forms = no_forms if not yes and heard.singer is None else "no, there is none." if not yes else yes_forms
    return QA("instruments", request, one(rng, forms, i=instrument_noun(name), there=heard_names))


def drums(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """Ask if there are drums."""
    if "parts" not in heard.meta:
        return None
    request = one(rng, "does a drummer play in {it}?|is there percussion in {it}?", it=it)
    found = "drums" in _names(heard)
    return QA(
        "instruments",
        request,
        one(
            rng,
            "yes, I hear drums.|yes, there are drums."
            if found
            else "no, I hear no drums.|no, there are none.",
        ),
    )


def sung(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """Ask if anybody sings."""
    if not heard.is_music:
        return None
    request = one(rng, "is there a singer in {it}?|is {it} sung or only played?", it=it)
    return QA(
        "singing",
        request,
        one(
            rng,
            "there is a singing voice.|I hear somebody sing."
            if heard.singer
            else "nobody sings, it is only played.|I hear no singing.",
        ),
    )


def dynamics(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """Ask if it gets louder or softer."""
    change = heard.meta.get("dynamics")
    if change not in ("louder", "softer"):
        return None
    request = one(rng, "how does the loudness of {it} change?|what happens to the volume in {it}?", it=it)
    return QA("dynamics", request, one(rng, "the music gets {c}.|it gets {c} towards the end.", c=change))


def purpose(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """A suitable use of a piece, with the reason."""
    genre, beats = heard.meta.get("genre"), heard.meta.get("tempo")
    name = _tempo_class(beats) if isinstance(beats, int) else None
    if genre not in GENRES or name is None or "mood" in heard.meta:
        return None
    if rng.random() < 0.5:
        request = one(
            rng, "could one dance to {it}, and why?|would {it} do for a dance? Give the reason.", it=it
        )
        if genre in _DANCES and name != "slow":
            return QA("reasoning", request, f"Yes: it is {genre_noun(genre)}, made for dancing.")
        if genre in ("lullaby", "classical") or name == "slow":
            return QA(
                "reasoning",
                request,
                f"Hardly: it is {genre_noun(genre)}{' at a slow tempo' if name == 'slow' else ''}, more "
                f"for listening.",
            )
        return None
    request = one(
        rng,
        "would {it} help somebody to fall asleep, and why?|is {it} good music for bedtime? Give the reason.",
        it=it,
    )
    if genre == "lullaby":
        return QA("reasoning", request, "Yes, it is a lullaby.")
    if genre in ("metal", "disco", "electronic", "march", "rock") and name != "slow":
        return QA("reasoning", request, f"Hardly: {genre_noun(genre)} at this tempo keeps people awake.")
    return None


def performer(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """The performer of a known tune, and its first note."""
    name, first = heard.meta.get("performer"), heard.meta.get("first_note")
    if heard.singer is not None or not isinstance(name, str):
        return None
    if isinstance(first, str) and rng.random() < 0.3:
        request = one(
            rng, "on which note does the tune in {it} begin?|what is the first note of {it}?", it=it
        )
        return QA("first_note", request, one(rng, "it begins on {n}.|on {n}.", n=first))
    request = one(rng, "what is the tune in {it} played on?|which instrument has the melody in {it}?", it=it)
    return QA("instruments", request, one(rng, "it is played on {i}.|{i}.", i=instrument_noun(name)))


def note(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """All facts about a single note."""
    said = describe_note(heard) if heard.task in ("note_pitch", "note_velocity") and heard.exact else None
    if said is None:
        return None
    return QA(
        "note_analysis",
        one(rng, "what else can you say about the note in {it}?|describe the whole note of {it}.", it=it),
        sentence(said),
    )


TURNS = (tempo, mode, metre, band, plays, drums, sung, dynamics, purpose, performer, note)

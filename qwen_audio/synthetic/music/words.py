"""Captions of pieces and questions about them, from the facts of the plan alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from qwen_audio.synthetic.music.genres import FAMILIES, GENRES, Genre, player
from qwen_audio.synthetic.music.piece import Plan

_TEMPO_WORDS = {"slow": "slow", "moderate": "medium-tempo", "fast": "fast"}
_METRE_WORDS = {3: "three-four", 4: "four-four"}
YES_NO = ["yes", "no"]


def _pick(rng: np.random.Generator, items: list) -> object:
    return items[rng.integers(len(items))]


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def caption(rng: np.random.Generator, plan: Plan) -> str:
    """One or two sentences with genre, tempo, mode or metre, instruments and special features."""
    tempo, noun = _TEMPO_WORDS[plan.tempo_class], GENRES[plan.genre].noun
    words = (
        f"{tempo} {plan.mood} {noun.removeprefix('a ')}"
        if plan.mood
        else f"{tempo} {noun.removeprefix('a ')}"
    )
    piece = f"a {words}" if noun.startswith("a ") else words
    if plan.singer:
        lead, does = f"{_a(plan.singer.sex)} voice", "sings the melody"
    else:
        lead, does = _a(plan.lead_name), "plays the melody"
    others = list(dict.fromkeys(name for part, name in plan.parts.items() if part != "lead"))
    band = _joined([f"a second {name}" if name == plan.lead_name else name for name in others])
    forms = [f"{piece} in which {lead} {does} over {band}", f"{piece}: {lead} {does}, accompanied by {band}"]
    if "power" not in GENRES[plan.genre].chord_pattern:
        forms.append(f"{piece} in a {plan.mode} key, with {lead} over {band}")
    forms.append(f"{piece} in {_METRE_WORDS[plan.metre]} time: {lead} with {band}")
    text = _sentence(str(_pick(rng, forms)))
    if plan.staggered:
        first = next(plan.parts[part] for part, bar in plan.entries.items() if bar == 0)
        begin = "begin" if first == "drums" else "begins"
        text += f" The {first} {begin} alone."
    if plan.dynamics:
        text += f" The music gets {plan.dynamics}."
    return text


class Kind(NamedTuple):
    """A kind of question: its cases (each equally likely), a test for plans of a case, and the writer of the
    question: (rng, plan, case) -> (question, answer, choices). The words of a question say nothing about the case.

    A case is the answer itself but for two kinds: "yes violin" asks for the violin where it plays, and "exchanged"
    is a piece whose melody and chords have swapped players (`Plan.exchanged`).
    """

    cases: tuple[str, ...]
    fits: Callable[[Plan, str], bool]
    ask: Callable[[np.random.Generator, Plan, str], tuple[str, str, list[str]]]


def _fixed(
    question: str, *choices: str
) -> Callable[[np.random.Generator, Plan, str], tuple[str, str, list[str]]]:
    return lambda rng, plan, answer: (question, answer, list(choices))


def _families(plan: Plan) -> list[str]:
    return [FAMILIES.get(name, name) for name in plan.parts.values()]


def _distinct(plan: Plan) -> bool:
    return len(set(_families(plan))) == len(plan.parts)


def _present(plan: Plan, case: str) -> bool:
    """True if the instrument of the case plays ("yes"), or if nothing like it does ("no")."""
    answer, _, name = case.partition(" ")
    return name in plan.parts.values() if answer == "yes" else FAMILIES[name] not in _families(plan)


def _ask_present(rng: np.random.Generator, plan: Plan, case: str) -> tuple[str, str, list[str]]:
    answer, _, name = case.partition(" ")
    return f'Does the instrument "{name}" play?', answer, YES_NO


def _band(genre: Genre) -> set[str]:
    return {player(who).name for who in (*genre.leads, *genre.chords, *genre.basses)}


def _ask_first(rng: np.random.Generator, plan: Plan, answer: str) -> tuple[str, str, list[str]]:
    first = next(plan.parts[part] for part, bar in plan.entries.items() if bar == 0)
    return "Which instrument enters first?", first, sorted(plan.parts.values())


def _ask_lead(rng: np.random.Generator, plan: Plan, case: str) -> tuple[str, str, list[str]]:
    # The bass never has the melody, so it is no choice.
    return "Which instrument plays the melody?", plan.lead_name, sorted((plan.lead_name, plan.chords.name))


_PLAYED = sorted(set().union(*map(_band, GENRES.values())))
QUESTIONS: dict[str, Kind] = {
    "tempo": Kind(
        ("slow", "moderate", "fast"),
        lambda plan, answer: plan.tempo_class == answer,
        _fixed("Is the tempo slow, moderate or fast?", "slow", "moderate", "fast"),
    ),
    "mode": Kind(
        ("major", "minor"),
        lambda plan, answer: plan.mode == answer and GENRES[plan.genre].chord_pattern != "power",
        _fixed("Is the music in a major or a minor key?", "major", "minor"),
    ),
    "metre": Kind(
        ("3", "4"),
        lambda plan, answer: str(plan.metre) == answer,
        _fixed("How many beats does a bar of the music have?", "3", "4"),
    ),
    "present": Kind(
        tuple(f"{answer} {name}" for name in _PLAYED for answer in ("yes", "no")), _present, _ask_present
    ),
    "drums": Kind(
        ("yes", "no"),
        lambda plan, answer: ("drums" in plan.entries) == (answer == "yes"),
        _fixed("Are there drums in the music?", "yes", "no"),
    ),
    "voice": Kind(
        ("yes", "no"),
        lambda plan, answer: (plan.singer is not None) == (answer == "yes"),
        _fixed("Does someone sing?", "yes", "no"),
    ),
    "singer": Kind(
        ("male", "female"),
        lambda plan, answer: plan.singer is not None and plan.singer.sex == answer,
        _fixed("Is the singing voice male or female?", "male", "female"),
    ),
    "first": Kind(
        ("",),
        lambda plan, answer: plan.staggered and _distinct(plan) and plan.singer is None,
        _ask_first,
    ),
    "lead": Kind(
        ("written", "exchanged"), lambda plan, case: _distinct(plan) and plan.exchanged is not None, _ask_lead
    ),
    "chords": Kind(
        ("2", "3", "4"),
        lambda plan, answer: not plan.staggered and str(len(set(plan.chord_row))) == answer,
        _fixed("How many different chords are played?", "2", "3", "4"),
    ),
    "dynamics": Kind(
        ("louder", "softer"),
        lambda plan, answer: plan.dynamics == answer,
        _fixed("Does the music get louder or softer?", "louder", "softer"),
    ),
}

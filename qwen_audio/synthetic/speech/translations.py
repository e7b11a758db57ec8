"""Sentences in six languages at once, for training speech translation.

A frame of translation_frames.py is a sentence with slots in English, German, Chinese, Spanish, French and Italian;
its slots are filled by rows of translation_words.py, so that the six sentences mean the same.  A few rules (articles,
cases, gender of adjectives, elision) make each of them grammatical.  One sentence in six is held out, by its
English words: training never contains it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

import numpy as np

from qwen_audio.synthetic.speech import translation_words
from qwen_audio.synthetic.speech.held_out import is_held_out
from qwen_audio.synthetic.speech.translation_frames import ENTITY_TYPES, FRAMES, TABLES

LANGUAGES = translation_words.LANGUAGES
# The directions of CoVoST 2 that the published evaluation reports, as (audio, text).
DIRECTIONS = (
    ("en", "de"),
    ("en", "zh"),
    ("de", "en"),
    ("zh", "en"),
    ("es", "en"),
    ("fr", "en"),
    ("it", "en"),
)

# Names of the forms of a verb, in the order of its columns.
_VERB_FORMS = {
    "en": ("", "past"),
    "de": ("", "part"),
    "zh": ("",),
    "es": ("past", "fut"),
    "fr": ("part", "fut"),
    "it": ("part", "fut"),
}
_SLOT = re.compile(r"\{(\w)(?:\.(\w+))?\}")


@dataclass(frozen=True)
class Sentence:
    """The same sentence in every language, as it is written; the entities in it, as (type, value) in order."""

    texts: dict[str, str]
    entities: dict[str, list[tuple[str, str]]]


@lru_cache(maxsize=64)
def _rows(table: str) -> tuple[tuple[str, ...], ...]:
    module: ModuleType = translation_words
    return tuple(
        tuple(cell.strip() for cell in line.split("|"))
        for line in getattr(module, table).strip().splitlines()
    )


@lru_cache(maxsize=1)
def _frames() -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(frame.splitlines()) for frame in FRAMES.strip().split("\n\n"))


def _vowel(word: str) -> bool:
    return word[0].lower() in "aeiouéèêàâîôûœh"  # no noun here has an aspirated h


def thing(language: str, row: tuple[str, ...], determiner: str, case: str = "") -> str:
    """A noun of THINGS with "a", "this" or "my" in front; `case` "acc" matters in German only."""
    cell = row[LANGUAGES.index(language)]
    if language == "en":
        if determiner == "a":
            return ("an " if _vowel(cell) else "a ") + cell
        return f"{determiner} {cell}"
    gender, noun = cell.split(" ", 1)
    match language:
        case "zh":
            return (
                "我的" + noun if determiner == "my" else ("一" if determiner == "a" else "这") + gender + noun
            )
        case "de":
            stem = {"a": "ein", "this": "dies", "my": "mein"}[determiner]
            ending = {"f": "e", "n": "es" if determiner == "this" else ""}.get(gender)
            if ending is None:
                ending = "en" if case == "acc" else "er" if determiner == "this" else ""
            return f"{stem}{ending} {noun}"
        case "es":
            forms = {"a": ("un", "una"), "this": ("este", "esta"), "my": ("mi", "mi")}
        case "fr":
            forms = {"a": ("un", "une"), "this": ("ce", "cette"), "my": ("mon", "ma")}
            if _vowel(noun):
                forms |= {"this": ("cet", "cette"), "my": ("mon", "mon")}
        case _:
            forms = {"a": ("un", "una"), "this": ("questo ", "questa "), "my": ("il mio", "la mia")}
            if re.match(r"s[^aeiou]|z|gn|ps", noun):
                forms["a"] = ("uno", "una")
            if _vowel(noun):
                forms |= {"a": ("un", "un'"), "this": ("quest'", "quest'")}
    form = forms[determiner][gender == "f"].strip()
    return f"{form}{'' if form.endswith(chr(39)) else ' '}{noun}"


def _agreeing(cell: str, gender: str) -> str:
    masculine, _, feminine = cell.partition("/")
    return feminine if feminine and gender == "f" else masculine


def _filler(slot: str, row: tuple[str, ...], determiner: str, genders: dict) -> Callable[[str, str], str]:
    """The text of a slot in a language, in a named form."""

    def fill(language: str, form: str) -> str:
        if slot in "OXI":
            return thing(language, row, determiner, form)
        cell = row[LANGUAGES.index(language)]
        if slot == "V":
            return cell.split()[_VERB_FORMS[language].index(form)]
        if form in ("S", "X"):
            return _agreeing(cell, genders[form][language])
        return cell.removeprefix("在") if form == "bare" else cell

    return fill


def draw(rng: np.random.Generator, *, held_out: bool = False) -> Sentence:
    """A random sentence; those with `held_out` and those without have none in common."""
    while True:
        sentence = _draw(rng)
        if is_held_out(sentence.texts["en"]) == held_out:
            return sentence


def _draw(rng: np.random.Generator) -> Sentence:
    frames = _frames()
    frame = frames[rng.integers(len(frames))]
    slots = sorted({match[1] for match in _SLOT.finditer(frame[0])})
    rows: dict[str, tuple[str, ...]] = {}
    named: dict[str, str] = {}
    genders: dict[str, dict[str, str]] = {}
    fillers: dict[str, Callable[[str, str], str]] = {}
    for slot in slots:
        determiner = ("a", "this", "my")[rng.integers(3)]
        if slot == "S":
            named[slot] = "NAMES" if rng.random() < 0.25 else "PEOPLE"
            table = named[slot]
        else:
            table = "THINGS" if slot in "OXI" else TABLES[slot]
        entries = _rows(table)
        row = entries[rng.integers(len(entries))]
        # nobody meets or gives anything to himself: the Chinese column has no prepositions and no cases
        while slot == "S" and row[2] in {other[2] for other in rows.values()}:
            row = entries[rng.integers(len(entries))]
        rows[slot] = row
        if slot == "X":
            determiner = ("this", "my")[rng.integers(2)]
            genders["X"] = {code: cell[0] for code, cell in zip(LANGUAGES, row, strict=True)}
        if slot == "S":
            genders["S"] = dict.fromkeys(LANGUAGES, row[6])
        fillers[slot] = _filler(slot, row, "a" if slot == "I" else determiner, genders)
    texts: dict[str, str] = {}
    entities: dict[str, list[tuple[str, str]]] = {}
    for language, template in zip(LANGUAGES, frame, strict=True):
        texts[language], entities[language] = _say(language, template, fillers, named)
    return Sentence(texts, entities)


def _say(
    language: str, template: str, fillers: dict, named: dict[str, str]
) -> tuple[str, list[tuple[str, str]]]:
    found: list[tuple[str, str]] = []

    def put(match: re.Match) -> str:
        value = fillers[match[1]](language, match[2] or "")
        kind = ENTITY_TYPES.get(match[1])
        if named.get(match[1]) == "NAMES":
            kind = "person"
        if kind:
            found.append((kind, value))
        return value

    text = _SLOT.sub(put, template)
    # German puts "kalt" behind the place, Chinese closes "too" with a particle
    if language == "de" and template.startswith("heute"):
        text = re.sub(r"ist es (kalt|heiß) (in \w+)", r"ist es \2 \1", text)
    if language == "zh" and "太" in text:
        text += "了"
    if text[-1] not in "?？":
        text += "。" if language == "zh" else "."
    first = next(i for i, c in enumerate(text) if c.isalpha())
    return text[:first] + text[first].upper() + text[first + 1 :], found

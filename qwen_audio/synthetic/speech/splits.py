"""Split of the texts of plain speech: held-out texts never occur in training, and some of their words are new.

A text of several words is split by its letters.  A single word cannot be split so (training needs every word
of its vocabulary), so a held-out single word is one that training does not have at all, and not a digit.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

from qwen_audio.synthetic.speech import commands, tables, translation_frames, translation_words
from qwen_audio.synthetic.speech import words as text
from qwen_audio.synthetic.speech.held_out import is_held_out

UNSEEN_WORDS = {"en": 1500}  # number of words after the usual vocabulary that only held-out texts have
_OTHER_UNSEEN_WORDS = 150
_UNSEEN_SHARE = 0.25  # of the random words of a held-out text


@lru_cache(maxsize=1)
def _tables() -> str:
    """All tables and templates of spoken texts, in lower case, without the names of slots."""
    found: list[str] = []

    def collect(value: object) -> None:
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict):
            for part in value.values():
                collect(part)
        elif isinstance(value, list | tuple | frozenset):
            for part in value:
                collect(part)

    for listed in (
        translation_frames.SPOKEN_TABLES,
        translation_words.SPOKEN_TABLES,
        commands.SPOKEN_TABLES,
        tables.SPOKEN_TABLES,
        text.SPOKEN_TABLES,
    ):
        collect(listed)
    # what is put together: the templates have "{noun}s"; French numbers
    for dialect in tables.DIALECTS["fr"]:
        found += [tables.french_number(number, dialect) for number in range(70, 100)]
    found += [f"{noun}s" for noun in text._FILLERS["noun"].split()]
    return re.sub(r"\{[\w:]*\}", " ", "\n".join(found)).lower()


@lru_cache(maxsize=16)
def unseen_words(language: str) -> tuple[str, ...]:
    """The words that follow the usual vocabulary of `language` in frequency and occur in no table or template."""
    count = UNSEEN_WORDS.get(language, _OTHER_UNSEEN_WORDS)
    spoken = _tables()
    # a Chinese sentence has no blanks: a word is anywhere in it
    said = spoken if language == "zh" else frozenset(re.findall(r"[^\W\d_]+", spoken))
    known = text.vocabulary(language)
    spare = 150 if language == "en" else 50
    size = len(known) - len(text.vocabulary(language, 0))
    later = text.vocabulary(language, size + count + spare)[len(known) :]
    return tuple(word for word in later if word not in said)[:count]


def with_unseen(rng: np.random.Generator, language: str, words: list[str]) -> list[str]:
    """Random words of which one in four is replaced by an unseen word; a single one always."""
    unseen = unseen_words(language)
    picks, coins = rng.integers(len(unseen), size=len(words)), rng.random(len(words))
    share = _UNSEEN_SHARE if len(words) > 1 else 1.0
    return [unseen[i] if coin < share else w for w, i, coin in zip(words, picks, coins, strict=True)]


@lru_cache(maxsize=16)
def _sets(language: str) -> tuple[frozenset[str], frozenset[str]]:
    """The vocabulary and the unseen words."""
    return frozenset(text.vocabulary(language)), frozenset(unseen_words(language))


def belongs(language: str, words: list[str], held_out: bool) -> bool:
    """True if a text belongs to the given split: held out or training."""
    known, unseen = _sets(language)
    if not unseen.isdisjoint(words):
        return held_out
    joined = text.join(language, words)
    # a Chinese sentence is one piece, and two pieces may be a word of the vocabulary
    single = joined in known if language == "zh" else len(words) == 1
    return not held_out if single else is_held_out(joined) == held_out


def speech_words(
    rng: np.random.Generator, language: str, kind: str, *, size: int | None = None, held_out: bool = False
) -> list[str]:
    """The words of one utterance of a kind of `transcribed.KINDS`.

    `size`: words of the vocabulary (None: the usual number).  Where it is given, held-out texts have no other words
    either, and single words are not split.
    """
    while True:
        words, random = _draw(rng, language, kind, size)
        if held_out and random and size is None:
            words = with_unseen(rng, language, words)
        if (len(words) == 1 and size is not None) or belongs(language, words, held_out):
            return words


def random_utterance(rng: np.random.Generator, language: str, *, held_out: bool = False) -> list[str]:
    """Three to nine random words of the language, split in the same way."""
    while True:
        words = text.random_words(rng, language, int(rng.integers(3, 10)))
        if held_out:
            words = with_unseen(rng, language, words)
        if belongs(language, words, held_out):
            return words


def _draw(rng: np.random.Generator, language: str, kind: str, size: int | None) -> tuple[list[str], bool]:
    """Words of an utterance, and True if they are random words of the vocabulary."""
    digits = rng.random()
    match kind:
        case "words":
            count = int(rng.integers(1, 13))
            if digits < 0.12:
                return text.random_digits(rng, language, min(count, 8)), False
        case "sentence":
            return text.sentence(rng, language, size), False
        case "isolated":
            if digits < 0.5:
                return text.random_digits(rng, language, int(rng.integers(1, 9))), False
            count = int(rng.integers(1, 6))
        case _:
            if digits < 0.35:
                return text.random_digits(rng, language, 1), False
            count = 1
    return text.random_words(rng, language, count, size), True

"""Texts of the spoken tasks: whole sentences of eight languages, dialects, keywords.

Six languages come from the parallel grammar, Japanese (in kana) and Korean from a grammar of their own;
a part of the utterances are random words.  Words are returned in spoken form: lower case, no punctuation.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

from qwen_audio.format.text import spoken_form
from qwen_audio.synthetic.speech import espeak, splits, translations
from qwen_audio.synthetic.speech import words as text
from qwen_audio.synthetic.speech.held_out import is_held_out
from qwen_audio.synthetic.speech.tables import (
    CLAUSES,
    FRENCH_STARTS,
    FRENCH_THINGS,
    KEYWORDS,
    NEAR_KEYWORDS,
    french_number,
)

_MARKS = re.compile(r"[\sˈˌː]")  # stress, length and what parts words
_SPELLED = 4  # a keyword of so many letters is not spelled inside another word either


def sentence(rng: np.random.Generator, language: str, *, held_out: bool = False) -> list[str]:
    """The units of a random sentence (characters in Chinese); held-out sentences are never in training."""
    if language in translations.LANGUAGES:
        written = translations.draw(rng, held_out=held_out).texts[language]
        return text.units(language, spoken_form(written).split())
    while True:
        parts = [choices.split("|") for choices in CLAUSES[language]]
        words = " ".join(choices[rng.integers(len(choices))] for choices in parts).split()
        if is_held_out(" ".join(words)) == held_out:
            return words


def utterance(rng: np.random.Generator, language: str, *, held_out: bool = False) -> list[str]:
    """A sentence, or (one time in four) three to nine random words of the language.

    Of the random words of held-out utterances one in four is outside the vocabulary of training.
    """
    if rng.random() < 0.75:
        return sentence(rng, language, held_out=held_out)
    return text.units(language, splits.random_utterance(rng, language, held_out=held_out))


def dialect_utterance(
    rng: np.random.Generator, language: str, dialect: str, *, held_out: bool = False
) -> list[str]:
    """An utterance in a dialect: any sentence, but in French two numbers whose names identify the dialect.

    No single number separates all three: 70 to 79 and 90 to 99 set France apart, 80 to 89 Switzerland.
    """
    if language != "fr":
        return sentence(rng, language, held_out=held_out)
    while True:
        numbers = [int(rng.integers(80, 90)), int(rng.choice([70, 90]) + rng.integers(10))]
        if rng.random() < 0.5:
            numbers.reverse()
        start = FRENCH_STARTS[rng.integers(len(FRENCH_STARTS))]
        first, second = rng.permutation(len(FRENCH_THINGS))[:2]
        said = [french_number(number, dialect) for number in numbers]
        written = f"{start} {said[0]} {FRENCH_THINGS[first]} et {said[1]} {FRENCH_THINGS[second]}"
        if is_held_out(written) == held_out:
            return spoken_form(written).split()


def _sounds(said: str, accent: str) -> str:
    return _MARKS.sub("", espeak.phonemes(said, accent))


@lru_cache(maxsize=16)
def _keyword_sounds(accent: str) -> dict[str, str]:
    return {word: _sounds(word, accent) for word in KEYWORDS}


@lru_cache(maxsize=65536)
def holds_keyword(word: str, accent: str) -> bool:
    """True if a word is, sounds like or contains a keyword, in spelling or in an espeak accent."""
    if word in KEYWORDS or word in NEAR_KEYWORDS:
        return True
    if any(len(keyword) >= _SPELLED and keyword in word for keyword in KEYWORDS):
        return True
    heard = _sounds(word, accent)
    return any(sound in heard for sound in _keyword_sounds(accent).values())


def unlabelled_keyword(words: list[str], spots: list[int], accent: str) -> str | None:
    """A keyword that sounds in `words` more often than at `spots`, for example across two words; or None."""
    heard, known = _sounds(" ".join(words), accent), _keyword_sounds(accent)
    for keyword, sound in known.items():
        # "forward" has a "four" of its own
        if heard.count(sound) > sum(known[words[spot]].count(sound) for spot in spots):
            return keyword
    return None


def keyword_utterance(
    rng: np.random.Generator, accent: str = "en-us", *, held_out: bool = False
) -> tuple[list[str], list[int]]:
    """English words with one to three different keywords among other words, and the positions of the keywords.

    No other keyword sounds in `accent`, inside a word or across two.  The other words are split as those of
    random utterances are.
    """
    while True:
        count = int(rng.integers(1, 4))
        spots = sorted(rng.permutation(count + int(rng.integers(2, 6)))[:count].tolist())
        chosen = iter([KEYWORDS[i] for i in rng.permutation(len(KEYWORDS))[:count]])
        words: list[str] = []
        while len(words) <= spots[-1] or rng.random() < 0.5:
            if len(words) in spots:
                words.append(next(chosen))
                continue
            drawn = text.random_words(rng, "en", 2)
            if held_out:
                drawn = splits.with_unseen(rng, "en", drawn)
            if not holds_keyword(drawn[0], accent):
                words.append(drawn[0])
        if splits.belongs("en", words, held_out) and unlabelled_keyword(words, spots, accent) is None:
            return words, spots

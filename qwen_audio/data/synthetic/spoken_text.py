"""What the speakers of the spoken tasks say: whole sentences of eight languages, dialects, keywords.

Six languages come from the parallel grammar, Japanese (in kana) and Korean from a grammar of their own;
a part of the utterances are random words.  Words are returned as they are heard: lower case, no punctuation.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

from qwen_audio.data.synthetic import espeak, parallel, text, utterances
from qwen_audio.data.synthetic.held_out import is_held_out
from qwen_audio.text import spoken_form

LANGUAGE_NAMES = {
    "en": "English",
    "zh": "Chinese",
    "de": "German",
    "es": "Spanish",
    "ko": "Korean",
    "fr": "French",
    "ja": "Japanese",
    "it": "Italian",
}

# Name of a dialect -> espeak's file. Each has sounds, or in French number words, that the others do not have.
DIALECTS = {
    "en": {
        "American English": "en-us",
        "New York English": "en-us-nyc",
        "British English": "en-gb-x-rp",
        "Scottish English": "en-gb-scotland",
        "Lancashire English": "en-gb-x-gbclan",
        "West Midlands English": "en-gb-x-gbcwmd",
        "Caribbean English": "gmw/en-029",
    },
    "es": {"European Spanish": "roa/es", "Latin American Spanish": "roa/es-419"},
    "fr": {"French of France": "roa/fr", "Belgian French": "fr-be", "Swiss French": "fr-ch"},
    "zh": {"Mandarin": "sit/cmn", "Cantonese": "sit/yue"},
}

_KEYWORDS = (
    "yes no up down left right on off stop go zero one two three four five six seven eight nine bed bird cat "
    "dog happy house tree wow forward backward follow learn visual"
)
KEYWORDS = tuple(_KEYWORDS.split())

# Words that sound like a keyword in some accent, where their phonemes do not tell.
_NEAR_KEYWORDS = (
    "know won to too for fore ate write of wright read ford none knows nose own oh owe eye bad bet but boat"
)
_NEAR = tuple(_NEAR_KEYWORDS.split())
_MARKS = re.compile(r"[\sˈˌː]")  # stress, length and what parts words
_SPELLED = 4  # a keyword of so many letters is not spelled inside another word either

# Subjects, times, places, and objects with their verbs; any combination is a sentence.
_CLAUSES = {
    "ja": (
        "わたし は|ともだち は|せんせい は|いもうと は|おとうさん は|おかあさん は|かれ は|かのじょ は|こども は",
        "きょう|あした|まいにち|いま|ときどき",
        "うち で|がっこう で|こうえん で|えき で|みせ で|としょかん で|まち で",
        "りんご を たべます|みず を のみます|ほん を よみます|てがみ を かきます|おんがく を ききます|"
        "えいが を みます|くるま を あらいます|にほんご を べんきょうします|はな を かいます|"
        "しゃしん を とります|うた を うたいます|ごはん を つくります|いぬ と あそびます|でんわ を かけます",
    ),
    "ko": (
        "저는|친구는|선생님은|동생은|어머니는|아버지는|우리는|그녀는|아이는",
        "오늘|내일|매일|지금|가끔",
        "집에서|학교에서|공원에서|시장에서|회사에서|도서관에서|역에서",
        "사과를 먹어요|물을 마셔요|책을 읽어요|편지를 써요|음악을 들어요|영화를 봐요|한국어를 공부해요|"
        "꽃을 사요|사진을 찍어요|노래를 불러요|요리를 해요|커피를 마셔요|전화를 해요|그림을 그려요",
    ),
}


def sentence(rng: np.random.Generator, language: str, *, held_out: bool = False) -> list[str]:
    """The units of a random sentence (characters in Chinese); held-out sentences are never in training."""
    if language in parallel.LANGUAGES:
        written = parallel.draw(rng, held_out=held_out).texts[language]
        return text.units(language, spoken_form(written).split())
    while True:
        parts = [choices.split("|") for choices in _CLAUSES[language]]
        words = " ".join(choices[rng.integers(len(choices))] for choices in parts).split()
        if is_held_out(" ".join(words)) == held_out:
            return words


def utterance(rng: np.random.Generator, language: str, *, held_out: bool = False) -> list[str]:
    """A sentence, or (one time in four) three to nine random words of the language.

    Of the random words of held-out utterances one in four is outside the vocabulary of training.
    """
    if rng.random() < 0.75:
        return sentence(rng, language, held_out=held_out)
    return text.units(language, utterances.random_utterance(rng, language, held_out=held_out))


_ONES = ("un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf")
_TEENS = ("dix", "onze", "douze", "treize", "quatorze", "quinze", "seize", "dix-sept", "dix-huit", "dix-neuf")
_FRENCH_THINGS = ("pages", "livres", "euros", "maisons", "voitures", "tables", "chevaux", "billets", "pommes")
_FRENCH_STARTS = ("il y a", "nous avons", "elle a vu", "je voudrais", "ils ont vendu", "on a compté")


def french_number(value: int, dialect: str) -> str:
    """A number from 70 to 99 as it is said in "French of France", "Belgian French" or "Swiss French"."""
    if not 70 <= value <= 99:
        raise ValueError(f"{value} is said alike everywhere: give a number from 70 to 99")
    tens, ones = divmod(value, 10)
    if dialect == "French of France" and tens != 8:
        base, rest = ("soixante", value - 70) if tens == 7 else ("quatre-vingt", value - 90)
        return f"{base}{' et ' if value == 71 else '-'}{_TEENS[rest]}"
    swiss = dialect == "Swiss French"
    base = {7: "septante", 8: "huitante" if swiss else "quatre-vingt", 9: "nonante"}[tens]
    if ones == 0:
        return base + ("s" if base == "quatre-vingt" else "")
    return f"{base}{' et ' if ones == 1 and base != 'quatre-vingt' else '-'}{_ONES[ones - 1]}"


def dialect_utterance(
    rng: np.random.Generator, language: str, dialect: str, *, held_out: bool = False
) -> list[str]:
    """What a speaker of a dialect says: any sentence, but in French two numbers whose names tell the dialect.

    No single number tells all three apart: 70 to 79 and 90 to 99 set France apart, 80 to 89 Switzerland.
    """
    if language != "fr":
        return sentence(rng, language, held_out=held_out)
    while True:
        numbers = [int(rng.integers(80, 90)), int(rng.choice([70, 90]) + rng.integers(10))]
        if rng.random() < 0.5:
            numbers.reverse()
        start = _FRENCH_STARTS[rng.integers(len(_FRENCH_STARTS))]
        first, second = rng.permutation(len(_FRENCH_THINGS))[:2]
        said = [french_number(number, dialect) for number in numbers]
        written = f"{start} {said[0]} {_FRENCH_THINGS[first]} et {said[1]} {_FRENCH_THINGS[second]}"
        if is_held_out(written) == held_out:
            return spoken_form(written).split()


def _sounds(said: str, accent: str) -> str:
    return _MARKS.sub("", espeak.phonemes(said, accent))


@lru_cache(maxsize=16)
def _keyword_sounds(accent: str) -> dict[str, str]:
    return {word: _sounds(word, accent) for word in KEYWORDS}


@lru_cache(maxsize=65536)
def holds_keyword(word: str, accent: str) -> bool:
    """Whether a word is a keyword, sounds like one, or has one in it, in spelling or in an espeak accent."""
    if word in KEYWORDS or word in _NEAR:
        return True
    if any(len(keyword) >= _SPELLED and keyword in word for keyword in KEYWORDS):
        return True
    heard = _sounds(word, accent)
    return any(sound in heard for sound in _keyword_sounds(accent).values())


def unlabelled_keyword(words: list[str], spots: list[int], accent: str) -> str | None:
    """A keyword that is heard in `words` more often than those at `spots` have it: across two words, say."""
    heard, known = _sounds(" ".join(words), accent), _keyword_sounds(accent)
    for keyword, sound in known.items():
        # "forward" has a "four" of its own
        if heard.count(sound) > sum(known[words[spot]].count(sound) for spot in spots):
            return keyword
    return None


def keyword_utterance(
    rng: np.random.Generator, accent: str = "en-us", *, held_out: bool = False
) -> tuple[list[str], list[int]]:
    """English words with one to three different keywords among other words, and where the keywords stand.

    No other keyword is heard in `accent`, inside a word or across two.  The other words are split as those of
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
                drawn = utterances.with_unseen(rng, "en", drawn)
            if not holds_keyword(drawn[0], accent):
                words.append(drawn[0])
        if utterances.belongs("en", words, held_out) and unlabelled_keyword(words, spots, accent) is None:
            return words, spots

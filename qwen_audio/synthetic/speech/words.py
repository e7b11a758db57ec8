"""Texts of the synthetic speakers: frequent words of nine languages, digits, and short template sentences.

The words come from the frequency lists of `wordfreq` (its word lists only: no tokenizer is needed).  Order
and content are the same in every process; every random choice comes from the caller's generator.
A Japanese word is written in kana, because espeak spells kanji out.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

from qwen_audio.packages import check_packages

ENGLISH_WORDS = 2500  # default vocabulary sizes, digits and number words not counted
OTHER_WORDS = 300

# Characters of a word; at least two of them where one alone would be a bare letter or a particle.
_PATTERNS = {
    "en": r"[a-z]{2,}|a|i",
    "zh": r"[\u4e00-\u9fff]{1,2}",
    "de": r"[a-zäöüß]{2,}",
    "es": r"[a-záéíóúüñ]{2,}|a|y|o|e",
    "ko": r"[\uac00-\ud7a3]{2,}",
    "fr": r"[a-zàâçéèêëîïôûùüÿœ]{2,}|a|à|y",
    "ja": r"[ぁ-ん]+[ぁ-んー]+|[ァ-ヶ][ァ-ヶー]+",
    "it": r"[a-zàèéìòù]{2,}|a|e|è|o|i",
    "ar": r"[\u0621-\u064a]{2,}",
}
LANGUAGES = tuple(_PATTERNS)

DIGITS = {
    "en": "zero one two three four five six seven eight nine",
    "zh": "零 一 二 三 四 五 六 七 八 九",
    "de": "null eins zwei drei vier fünf sechs sieben acht neun",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve",
    "ko": "영 일 이 삼 사 오 육 칠 팔 구",
    "fr": "zéro un deux trois quatre cinq six sept huit neuf",
    "ja": "ゼロ いち に さん よん ご ろく なな はち きゅう",
    "it": "zero uno due tre quattro cinque sei sette otto nove",
    "ar": "صفر واحد اثنان ثلاثة أربعة خمسة ستة سبعة ثمانية تسعة",
}
_NUMBERS = (
    "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty "
    "fifty sixty seventy eighty ninety hundred thousand million"
)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Excluded: vulgar words, abbreviations that have no settled reading, fragments of other words,
# second spellings of a word.
_SKIP = {
    "en": _set(
        "shit fuck fucking fucked fucks sex sexy sexual sexually ass asses asshole bitch bitches dick "
        "pussy porn nude naked whore slut rape raped bastard crap damn hell bullshit boobs tits cum cock "
        "suck sucks piss pissed gay nazi nazis mr mrs ms dr st jr vs tv pm bbc dc http https www com org "
        "ll mm ii iii iv vi ve re de la al el et un em eu ca co da ed ad im uk usa us ex ya etc inc non "
        "pre lol los san via don didn doesn isn wasn couldn wouldn ain aren haven hasn dont cant thats "
        "whats gonna wanna gotta ok id est ltd nfl nba fbi cia ceo ufc nhl mlb espn cnn nbc "
        "programme centre labour"
    ),
    "zh": _set("性"),
    "de": _set("the of ne de online bzw usw scheiße"),
    "es": _set("the of mierda puta sexo"),
    "ko": _set("섹스 출장"),
    "fr": _set("the of ci qu ca merde sexe"),
    "ja": _set("セックス おっぱい エロ クソ マジ つけ"),
    "it": _set("the of de cazzo merda sesso"),
}

# Slots of the templates: {x} takes a random entry of _FILLERS["x"], {digits} 1..5 digit words.
_FILLERS = {
    "adj": "small big old new red green blue quiet loud happy tired bright dark heavy cold warm strange "
    "clean empty",
    "noun": "cat dog car house river window table garden train letter bird teacher doctor child woman man "
    "king road phone kitchen piano guitar ship market bridge forest book mountain camera church "
    "station",
    "verb": "found saw liked opened followed bought painted watched heard lost took wanted needed "
    "remembered moved",
    "base": "find open close paint watch buy move clean carry sell bring keep",
    "place": "home school work town church london paris china america germany africa berlin italy spain "
    "japan",
    "time": "today tomorrow tonight yesterday now later soon again monday tuesday wednesday thursday "
    "friday saturday sunday morning",
    "name": "john mary peter anna david sarah tom lucy james emma paul kate george alice henry jack",
    "number": "two three four five six seven eight nine ten twelve fifteen twenty thirty fifty",
    "food": "bread milk water coffee tea rice fish cheese soup sugar apples meat",
    "feel": "happy sad angry tired ready sorry sure late early fine",
}
_TEMPLATES = """the {adj} {noun} {verb} the {noun}
i {verb} a {adj} {noun} {time}
{name} {verb} the {noun} near {place}
please {base} the {adj} {noun}
can you {base} the {noun} for me
we need {number} more {noun}s and some {food}
my {noun} is very {adj}
{name} and {name} are {feel} {time}
where is the {adj} {noun}
who {verb} the {noun} {time}
call {name} at {number} {number}
the number is {digits}
my phone number is {digits}
there are {number} {noun}s in the {noun}
i am {feel} because the {noun} is {adj}
turn the {adj} light on {time}
turn off the music in the {noun}
play a song for {name}
set an alarm for {number} thirty
what is the weather like in {place}
he said that the {noun} was too {adj}
she never {verb} the {noun} with {name}
do not {base} that {noun}
it was a {adj} day and the {noun} was {adj}
they will {base} the {noun} {time}
how much is the {food}
{name} would like some {food} and {food}
the train to {place} leaves at {number}
add {food} to the list
is {name} {feel} or {feel}
you should {base} it before {number} o clock
this {noun} has {number} {adj} {noun}s
i think we {verb} the wrong {noun}
let us go to {place} {time}
nobody {verb} the {noun} but {name}
page {number} of the {adj} book""".splitlines()

# Other languages: sentences of frequent words with one slot that takes a digit word or a word of the list.
_FOREIGN = {
    "zh": [
        "我喜欢{w}",
        "这是{w}",
        "他们有{d}个{w}",
        "你知道{w}吗",
        "我们今天去{w}",
        "请说{d}{d}{d}",
        "她在{w}工作",
    ],
    "de": ["ich habe {d} {w}", "das ist {w}", "wir gehen heute nach {w}", "die nummer ist {d} {d} {d}"],
    "es": [
        "tengo {d} {w}",
        "esto es {w}",
        "dónde está la {w}",
        "ella quiere {w}",
        "el número es {d} {d} {d}",
    ],
    "ko": ["우리 오늘 {w}", "그리고 {w} 함께", "번호 는 {d} {d} {d}", "정말 {w} 감사", "지금 {w} 있습니다"],
    "fr": [
        "je veux {d} {w}",
        "nous avons {w}",
        "où est le {w}",
        "elle a vu {w}",
        "le numéro est {d} {d} {d}",
    ],
    "ja": [
        "これ は {w} です",
        "わたし は {w} が すき です",
        "ばんごう は {d} {d} {d} です",
        "{w} は どこ です か",
    ],
    "it": ["ho {d} {w}", "questo è {w}", "oggi andiamo a {w}", "dove è la {w}", "il numero è {d} {d} {d}"],
    "ar": ["هذا {w}", "في {w} اليوم", "عندي {d} {w}", "الرقم {d} {d} {d}", "أين {w}"],
}
# Tables whose words occur beside the vocabulary, so that they are not taken as unseen words (splits.py).
SPOKEN_TABLES = (DIGITS, _FILLERS, _TEMPLATES, _FOREIGN)
_SLOT = re.compile(r"\{(\w+)\}")


@lru_cache(maxsize=32)
def vocabulary(language: str, size: int | None = None) -> tuple[str, ...]:
    """Digit words (and English number words), then the `size` most frequent other words of `language`.

    `size` None means 2,500 for English and 300 for the other languages.  Raises ValueError for a language
    outside `LANGUAGES`, a size below zero, or one that the frequency list cannot fill.
    """
    if language not in _PATTERNS:
        raise ValueError(f"no word list for the language {language!r}: use one of {', '.join(LANGUAGES)}")
    if size is None:
        size = ENGLISH_WORDS if language == "en" else OTHER_WORDS
    if size < 0:
        raise ValueError(f"a vocabulary cannot have {size} words: give zero or more")
    check_packages("synth")
    from wordfreq import top_n_list

    first = DIGITS[language].split() + (_NUMBERS.split() if language == "en" else [])
    pattern = re.compile(_PATTERNS[language])
    skip = _SKIP.get(language, frozenset()) | frozenset(first)
    words: list[str] = []
    for word in top_n_list(language, 5000 + 3 * size):
        if len(words) == size:
            break
        if word in skip or not pattern.fullmatch(word):
            continue
        # a stem cut off before its ending cannot be spoken
        if language == "ja" and word[-1] in "っッ":
            continue
        words.append(word)
    if len(words) < size:
        raise ValueError(f"only {len(words)} words of {language!r} are available: ask for no more than that")
    return (*first, *words)


def units(language: str, words: list[str]) -> list[str]:
    """The units that get time stamps: characters in Chinese, the words themselves elsewhere."""
    return [c for word in words for c in word] if language == "zh" else words


def join(language: str, words: list[str]) -> str:
    """The transcript of spoken words: without blanks in Chinese and Japanese."""
    return ("" if language in ("zh", "ja") else " ").join(words)


def random_words(rng: np.random.Generator, language: str, count: int, size: int | None = None) -> list[str]:
    """`count` words of the vocabulary: half of the draws uniform, half favouring frequent words."""
    words = vocabulary(language, size)
    draws = rng.random((2, count))
    # log-uniform rank (shifted by 20 so that no single word dominates) where the first draw is below one half
    ranks = 20.0 * ((len(words) + 20) / 20.0) ** draws[1] - 20.0
    picks = np.where(draws[0] < 0.5, ranks, draws[1] * len(words)).astype(int)
    return [words[min(i, len(words) - 1)] for i in picks]


def random_digits(rng: np.random.Generator, language: str, count: int) -> list[str]:
    """`count` digit words, each digit equally likely."""
    digits = DIGITS[language].split()
    return [digits[i] for i in rng.integers(10, size=count)]


def sentence(rng: np.random.Generator, language: str, size: int | None = None) -> list[str]:
    """The words of a random template sentence of `language`, lower case, no punctuation."""
    if language != "en":
        templates = _FOREIGN[language]
        template = templates[rng.integers(len(templates))]
        return _SLOT.sub(lambda slot: _foreign_filler(rng, language, slot[1], size), template).split()
    template = _TEMPLATES[rng.integers(len(_TEMPLATES))]
    return _SLOT.sub(lambda slot: _filler(rng, slot[1]), template).split()


def _filler(rng: np.random.Generator, slot: str) -> str:
    if slot == "digits":
        return " ".join(random_digits(rng, "en", int(rng.integers(1, 6))))
    entries = _FILLERS[slot].split()
    return entries[rng.integers(len(entries))]


def _foreign_filler(rng: np.random.Generator, language: str, slot: str, size: int | None) -> str:
    return random_digits(rng, language, 1)[0] if slot == "d" else random_words(rng, language, 1, size)[0]

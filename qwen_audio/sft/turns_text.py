"""Text-only instructions, made by rules, so that fine-tuning keeps these skills: sums, spelling, order, words.

    text_turns(rng)   # -> [QA("arithmetic", "What is 7 times 8?", "7 times 8 is 56."), ...]

Every answer is computed or stands in a table here; sentences to translate come from the parallel texts of the
synthetic world.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np

from qwen_audio.format.task_table import LANGUAGE_NAMES
from qwen_audio.sft.heard import QA, a, listed, number, one, pick, sentence
from qwen_audio.synthetic.speech.translations import LANGUAGES, draw

_WORDS = (
    "apple", "bridge", "candle", "dolphin", "engine", "forest", "guitar", "harbour", "island", "jacket",
    "kettle", "lantern", "market", "notebook", "orchard", "piano", "quarter", "river", "saddle", "teacher",
    "umbrella", "valley", "window", "yellow", "zebra", "mirror", "pepper", "butter", "summer", "coffee",
    "balloon", "committee",
)  # fmt: skip
_OPPOSITES = (
    "hot cold|early late|loud quiet|open closed|full empty|fast slow|high low|heavy light|near far|wet dry"
    "|rough smooth|"
    "begin end|buy sell|win lose|first last|always never|question answer|arrive leave|strong weak"
    "|deep shallow"
)  # fmt: skip
_DEFINITIONS = {
    "decibel": "a unit of the level of sound on a logarithmic scale",
    "echo": "a sound that comes back from a surface so late that it is heard as a second one",
    "tempo": "the speed of a piece of music, often given in beats per minute",
    "octave": "the distance between two notes of which one has twice the frequency of the other",
    "transcript": "the words of a recording, written down",
    "accent": "a way of pronouncing a language that shows where a speaker comes from",
    "chord": "several notes that sound together",
    "rhythm": "the pattern of long and short sounds and of stresses in time",
    "syllable": "a part of a word that holds one vowel sound",
    "harbour": "a sheltered place at the coast where ships can lie",
    "orchard": "a piece of land on which fruit trees are grown",
    "thermometer": "an instrument that measures temperature",
    "bakery": "a place where bread and cakes are made or sold",
    "dictionary": "a book or list that explains words or gives them in another language",
    "glacier": "a large mass of ice that moves slowly over land",
    "microphone": "a device that turns sound into an electric signal",
    "percussion": "instruments that sound when they are struck, shaken or scraped",
    "melody": "a row of notes that is heard as one tune",
    "silence": "the absence of sound",
    "frequency": "how often something happens in a given time; that of a sound is counted in hertz",
}  # fmt: skip
_CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Germany": "Berlin", "Japan": "Tokyo",
    "Austria": "Vienna", "Portugal": "Lisbon", "Greece": "Athens", "Egypt": "Cairo", "Kenya": "Nairobi",
    "Canada": "Ottawa", "Norway": "Oslo", "Sweden": "Stockholm", "Poland": "Warsaw", "Ireland": "Dublin",
    "Peru": "Lima", "South Korea": "Seoul", "China": "Beijing",
}  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_UNITS = (
    ("kilometres", "metres", 1000), ("minutes", "seconds", 60), ("hours", "minutes", 60), ("kilograms", "grams", 1000),
    ("days", "hours", 24), ("metres", "centimetres", 100), ("weeks", "days", 7), ("litres", "millilitres", 1000),
    ("seconds", "milliseconds", 1000),
)  # fmt: skip
_ROMAN = ((100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))


def _arithmetic(rng: np.random.Generator) -> QA:
    x, y = int(rng.integers(2, 100)), int(rng.integers(2, 100))
    kind = rng.integers(4)
    if kind == 0:
        task, value = f"{x} plus {y}", x + y
    elif kind == 1:
        x, y = max(x, y), min(x, y)
        task, value = f"{x} minus {y}", x - y
    elif kind == 2:
        x, y = x % 13 + 2, y % 13 + 2
        task, value = f"{x} times {y}", x * y
    else:
        y = y % 11 + 2
        task, value = f"{x * y} divided by {y}", x
    return QA(
        "arithmetic",
        one(rng, "what is {t}?|please work out {t}.|how much is {t}?", t=task),
        f"{task} is {value}.",
    )


def _word_problem(rng: np.random.Generator) -> QA:
    what, count, price = (
        pick(rng, ("tickets", "books", "cups", "pens", "apples")),
        int(rng.integers(2, 13)),
        int(rng.integers(2, 20)),
    )
    request = (
        f"One of these {what} costs {price} dollars. What do {number(count)} {what} cost? Show the reasoning."
    )
    return QA(
        "arithmetic",
        request,
        f"{sentence(number(count))} {what} at {price} dollars each are {count} times {price}, that is "
        f"{count * price} dollars.",
    )


def _spelling(rng: np.random.Generator) -> QA:
    word = pick(rng, _WORDS)
    kind = rng.integers(4)
    if kind == 0:
        return QA(
            "spelling",
            one(rng, 'how do you spell "{w}"?|spell the word "{w}", please.', w=word),
            f"It is spelled {'-'.join(word)}.",
        )
    if kind == 1:
        return QA("spelling", f'Write the word "{word}" backwards.', word[::-1])
    if kind == 2:
        return QA(
            "spelling",
            f'How many letters does the word "{word}" have?',
            f"It has {number(len(word))} letters.",
        )
    letter = pick(rng, sorted(set(word)))
    count = word.count(letter)
    times = "once" if count == 1 else "twice" if count == 2 else f"{number(count)} times"
    return QA("spelling", f'How often does the letter "{letter}" occur in "{word}"?', f"It occurs {times}.")


def _sorting(rng: np.random.Generator) -> QA:
    if rng.random() < 0.5:
        words = [_WORDS[k] for k in rng.choice(len(_WORDS), size=int(rng.integers(3, 6)), replace=False)]
        request = one(
            rng, "put these words in alphabetical order: {l}.|sort alphabetically: {l}.", l=", ".join(words)
        )
        return QA("sorting", request, ", ".join(sorted(words)))
    numbers = [int(n) for n in rng.choice(200, size=int(rng.integers(3, 7)), replace=False)]
    rising = bool(rng.random() < 0.5)
    order = "from small to large" if rising else "from large to small"
    request = f"Sort these numbers {order}: {', '.join(map(str, numbers))}."
    return QA("sorting", request, ", ".join(map(str, sorted(numbers, reverse=not rising))))


def _opposite(rng: np.random.Generator) -> QA:
    pair = pick(rng, _OPPOSITES.split("|")).split()
    x, y = pair if rng.random() < 0.5 else pair[::-1]
    return QA(
        "words",
        one(rng, 'what is the opposite of "{x}"?|give me a word that means the opposite of "{x}".', x=x),
        f'The opposite of "{x}" is "{y}".',
    )


def _definition(rng: np.random.Generator) -> QA:
    word = pick(rng, tuple(_DEFINITIONS))
    meaning = _DEFINITIONS[word]
    request = one(
        rng, 'what does "{w}" mean?|please explain the word "{w}" in a sentence.|define "{w}".', w=word
    )
    if rng.random() < 0.25:
        return QA(
            "definition",
            f"Which word means: {meaning}?",
            f"That is {a(word) if word not in ('silence', 'percussion') else word}.",
        )
    return QA("definition", request, one(rng, '"{w}" means {m}.|it means {m}.', w=word, m=meaning))


def _capital(rng: np.random.Generator) -> QA:
    country = pick(rng, tuple(_CAPITALS))
    if rng.random() < 0.3:
        return QA(
            "facts",
            f"Of which country is {_CAPITALS[country]} the capital?",
            f"{_CAPITALS[country]} is the capital of {country}.",
        )
    return QA(
        "facts",
        one(rng, "what is the capital of {c}?|name the capital of {c}.", c=country),
        f"The capital of {country} is {_CAPITALS[country]}.",
    )


def _calendar(rng: np.random.Generator) -> QA:
    if rng.random() < 0.5:
        day, after = int(rng.integers(7)), int(rng.integers(2, 12))
        request = f"Today is {_DAYS[day]}. Which day of the week is it in {number(after)} days?"
        return QA("calendar", request, f"In {number(after)} days it is {_DAYS[(day + after) % 7]}.")
    start = date(2001, 1, 1) + timedelta(days=int(rng.integers(9000)))
    after = int(rng.integers(2, 60))
    end = start + timedelta(days=after)
    return QA(
        "calendar",
        f"Which date is {after} days after {start.isoformat()}?",
        f"{after} days after {start.isoformat()} is {end.isoformat()}.",
    )


def _units(rng: np.random.Generator) -> QA:
    large, small, factor = pick(rng, _UNITS)
    count = int(rng.integers(2, 30))
    return QA(
        "units",
        one(rng, "how many {s} are {n} {l}?|convert {n} {l} to {s}.", s=small, l=large, n=str(count)),
        f"{count} {large} are {count * factor} {small}.",
    )


def _roman(rng: np.random.Generator) -> QA:
    value = rest = int(rng.integers(1, 200))
    letters = ""
    for size, letter in _ROMAN:
        letters += letter * (rest // size)
        rest %= size
    if rng.random() < 0.5:
        return QA("numbers", f"Write {value} in Roman numerals.", f"{value} is {letters} in Roman numerals.")
    return QA("numbers", f"Which number is {letters}?", f"{letters} is {value}.")


def _translation(rng: np.random.Generator, held_out: bool = False) -> QA:
    texts = draw(rng, held_out=held_out).texts
    source, target = "en", pick(rng, [code for code in LANGUAGES if code != "en"])
    if rng.random() < 0.5:
        source, target = target, source
    request = one(
        rng,
        'what is "{t}" in {l}?|please translate into {l}: {t}|how does one say "{t}" in {l}?',
        t=texts[source],
        l=LANGUAGE_NAMES[target],
    )
    return QA("translation", request, texts[target])


def _format(rng: np.random.Generator) -> QA:
    words = [_WORDS[k] for k in rng.choice(len(_WORDS), size=3, replace=False)]
    if rng.random() < 0.5:
        return QA(
            "format",
            f"Write {listed(words)} as a numbered list.",
            "\n".join(f"{n}. {word}" for n, word in enumerate(words, 1)),
        )
    quoted = ", ".join(f'"{word}"' for word in words)
    return QA(
        "format", f"Give me a JSON array with the words {listed(words)}, and nothing else.", f"[{quoted}]"
    )


def _missing(rng: np.random.Generator) -> QA:
    request = pick(rng, ("What is said in the "
                         "recording?", "Who is speaking here?", "Which instrument is this?",
                         "Can you transcribe my "
                         "recording?", "How loud is it?", "What is that sound?"))  # fmt: skip
    return QA("missing_audio", request, one(rng, "I have not received a recording yet. Please send it, "
                                                 "and I will listen."
                                            "|there is no recording in our talk so far. Please add "
                                            "one."))  # fmt: skip


_MAKERS: tuple[tuple[Callable[[np.random.Generator], QA], float], ...] = (
    (_arithmetic, 3), (_word_problem, 1), (_spelling, 3), (_sorting, 2), (_opposite, 1), (_definition, 2),
    (_capital, 1), (_calendar, 1), (_units, 1), (_roman, 1), (_translation, 3), (_format, 1), (_missing, 1),
)  # fmt: skip
_SHARES = np.array([share for _, share in _MAKERS]) / sum(share for _, share in _MAKERS)


def text_turns(rng: np.random.Generator, held_out: bool = False) -> list[QA]:
    """One to three turns of text alone; `held_out` sentences to translate are never those of training."""
    count = int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1]))
    chosen = rng.choice(len(_MAKERS), size=count, replace=False, p=_SHARES)
    makers = [_MAKERS[k][0] for k in chosen]
    return [make(rng) if make is not _translation else _translation(rng, held_out) for make in makers]

"""Questions about spoken words and their times, on synthetic speech: `audio_qa` beside transcription.

    SpeechQuestionGenerator().sample(numpy.random.default_rng(0))   # -> Sample

The paper asks whether word times help question answering (Table 5); that needs questions whose answers lie in the
words and in their times. The kind of question is in `meta["kind"]`: those of `CONTENT_KINDS` need the words and their
order alone, those of `TIME_KINDS` need times. Distortions that move time (a change of speed) would make the
answers of the latter wrong: give the source `augment_share: 0`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from qwen_audio.data.manifest import Sample
from qwen_audio.format.timestamps import Word
from qwen_audio.synthetic.speech import words as text
from qwen_audio.synthetic.speech.transcribed import MAX_SPEECH_SECONDS, SpeechGenerator

CONTENT_KINDS = ("count", "place", "next", "presence", "order")
TIME_KINDS = ("second", "at")
QUESTION_KINDS = (*CONTENT_KINDS, *TIME_KINDS)
_PLACES = ("first", "second", "third", "fourth")
_YES_NO = ["yes", "no"]
_SURE = 0.1  # seconds between a word's start and the border of the second that is the answer
_ATTEMPTS = 50


class _Asked(NamedTuple):
    question: str
    answer: str
    choices: list[str] | None = None


class SpeechQuestionGenerator:
    """Samples spoken words (`SpeechGenerator`) with a question about them.

    Args:
        questions: kind of question -> weight, see QUESTION_KINDS (None: all alike).
        vocabulary_size, kinds, held_out, max_seconds: as in `SpeechGenerator`.

    Raises ValueError for an unknown kind or weights that are not positive in sum.
    """

    def __init__(
        self,
        questions: Mapping[str, float] | None = None,
        *,
        vocabulary_size: int | None = None,
        kinds: Mapping[str, float] | None = None,
        held_out: bool = False,
        max_seconds: float = MAX_SPEECH_SECONDS,
    ) -> None:
        questions = dict.fromkeys(QUESTION_KINDS, 1.0) if questions is None else questions
        if unknown := [name for name in questions if name not in QUESTION_KINDS]:
            raise ValueError(
                f"unknown kind of question {unknown[0]!r}: use some of {', '.join(QUESTION_KINDS)}"
            )
        weights = np.array(list(questions.values()), dtype=float)
        if not (np.all(weights >= 0) and 0 < weights.sum() < np.inf):
            raise ValueError(
                f"the weights of questions are {dict(questions)}: give numbers >= 0 with a positive sum"
            )
        self._names, self._p = list(questions), weights / weights.sum()
        self._vocabulary = text.vocabulary("en", vocabulary_size)
        self._speech = SpeechGenerator(
            vocabulary_size,
            tasks={"word_timestamps": 1.0},
            kinds=kinds,
            held_out=held_out,
            max_seconds=max_seconds,
        )

    def sample(self, rng: np.random.Generator) -> Sample:
        """One recording with a question; the same state of `rng` gives the same bytes in any process."""
        name = self._names[rng.choice(len(self._names), p=self._p)]
        for _ in range(_ATTEMPTS):
            spoken = self._speech.sample(rng)
            asked = _MAKERS[name](rng, spoken.example.words or [], self._vocabulary)
            if asked is not None:
                break
        else:
            raise RuntimeError(
                f"no utterance in {_ATTEMPTS} allows a question of kind {name!r}: change `kinds`"
            )
        update = {
            "task": "audio_qa",
            "question": asked.question,
            "text": asked.answer,
            "label": asked.answer,
            "choices": asked.choices,
            "words": None,
            "meta": {
                "kind": name,
                "words": [
                    [word.word, round(word.start, 3), round(word.end, 3)]
                    for word in spoken.example.words or []
                ],
            },
        }
        return Sample(spoken.example.model_copy(update=update), spoken.waves)


def _once(words: Sequence[Word]) -> list[int]:
    """Indices of the words that occur only once."""
    said = [word.word for word in words]
    return [i for i, word in enumerate(said) if said.count(word) == 1]


def _count(rng: np.random.Generator, words: Sequence[Word], known: Sequence[str]) -> _Asked:
    return _Asked("How many words are spoken?", str(len(words)))


def _place(rng: np.random.Generator, words: Sequence[Word], known: Sequence[str]) -> _Asked | None:
    if len(words) < 2:
        return None
    places = [*_PLACES[: len(words)], "last"]
    place = places[rng.integers(len(places))]
    answer = words[-1 if place == "last" else _PLACES.index(place)].word
    return _Asked(f"Which word is spoken {place}?", answer)


def _next(rng: np.random.Generator, words: Sequence[Word], known: Sequence[str]) -> _Asked | None:
    places = [i for i in _once(words) if i + 1 < len(words)]
    if not places:
        return None
    i = places[rng.integers(len(places))]
    return _Asked(f'Which word is spoken right after "{words[i].word}"?', words[i + 1].word)


def _presence(rng: np.random.Generator, words: Sequence[Word], known: Sequence[str]) -> _Asked:
    said = [word.word for word in words]
    if rng.random() < 0.5:
        return _Asked(f'Is the word "{said[rng.integers(len(said))]}" spoken?', "yes", _YES_NO)
    absent = [word for word in known if word not in said]
    return _Asked(f'Is the word "{absent[rng.integers(len(absent))]}" spoken?', "no", _YES_NO)


def _order(rng: np.random.Generator, words: Sequence[Word], known: Sequence[str]) -> _Asked | None:
    places = _once(words)
    if len(places) < 2:
        return None
    first, second = sorted(rng.choice(places, size=2, replace=False).tolist())
    yes = bool(rng.random() < 0.5)
    a, b = (first, second) if yes else (second, first)
    question = f'Is the word "{words[a].word}" spoken before the word "{words[b].word}"?'
    return _Asked(question, "yes" if yes else "no", _YES_NO)


def _second(rng: np.random.Generator, words: Sequence[Word], known: Sequence[str]) -> _Asked | None:
    """Whole seconds from the start of the recording to that of the word, where rounding leaves no doubt."""
    places = [i for i in _once(words) if _SURE < words[i].start % 1 < 1 - _SURE]
    if not places:
        return None
    word = words[places[int(rng.integers(len(places)))]]
    return _Asked(f'In which second does the word "{word.word}" begin?', str(int(word.start)))


def _at(rng: np.random.Generator, words: Sequence[Word], known: Sequence[str]) -> _Asked | None:
    if len(words) < 2:
        return None
    word = words[int(rng.integers(len(words)))]
    return _Asked(f"Which word is spoken at {(word.start + word.end) / 2:.1f} seconds?", word.word)


_MAKERS: dict[str, Callable[[np.random.Generator, Sequence[Word], Sequence[str]], _Asked | None]] = {
    "count": _count,
    "place": _place,
    "next": _next,
    "presence": _presence,
    "order": _order,
    "second": _second,
    "at": _at,
}

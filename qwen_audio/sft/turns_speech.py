"""Turns about speech besides its task: words and their times, cuts for an edit, voices, turns of speakers, replies."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np

from qwen_audio.format.task_table import LANGUAGE_NAMES
from qwen_audio.format.timestamps import Word
from qwen_audio.sft.heard import QA, SPACED, Heard, at, from_to, listed, number, one, pick, sentence
from qwen_audio.sft.nouns import age_noun, feeling
from qwen_audio.sft.phrases import PHRASES
from qwen_audio.sft.turns_main import wish_of

# Words for questions about absent words.
_OTHERS = (
    "window", "river", "seven", "garden", "money", "yellow", "doctor", "summer", "coffee", "mountain", "letter",
    "bridge", "never", "kitchen", "market", "tomorrow", "silver", "winter", "paper", "station", "orange", "forest",
)  # fmt: skip
_REPLIES = {
    "sadness": "kindly and ask what happened",
    "anger": "calmly and ask what went wrong",
    "fear": "in a reassuring way and offer help",
    "joy": "cheerfully and share the good mood",
    "surprise": "by asking what was so unexpected",
    "neutral": "plainly and to the point",
    "disgust": "calmly and ask what was so unpleasant",
}
_LONGEST_SPELLED = 14
_PAUSE = 0.3  # s: a pause is one from here on
_MARGIN = 1.4  # least ratio of the longest (or largest) to the next


def _split(heard: Heard) -> list[str]:
    """The words of the transcript without punctuation, where spaces separate them."""
    if heard.example.language not in SPACED or not heard.transcript:
        return []
    words = [re.sub(r"^\W+|\W+$", "", word) for word in heard.transcript.split()]
    return [word for word in words if word]


def _absent(rng: np.random.Generator, heard: Heard) -> str | None:
    """A word that is not said; only where the transcript is English and whole."""
    said = {word.lower() for word in _split(heard)}
    if not said or heard.example.language != "en":
        return None
    return pick(rng, [word for word in _OTHERS if not any(word in other or other in word for other in said)])


def _once(rng: np.random.Generator, words: list[Word]) -> int | None:
    """Index of a word that is said once."""
    lower = [word.word.lower() for word in words]
    places = [k for k, word in enumerate(lower) if lower.count(word) == 1]
    return pick(rng, places) if places else None


def transcript(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """The transcript."""
    if not heard.transcript:
        return None
    phrases = PHRASES["asr"]
    return QA("asr", one(rng, phrases.requests, it=it), one(rng, phrases.answers, text=heard.transcript))


def language(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """The language that is spoken."""
    name = LANGUAGE_NAMES.get(heard.example.language or "")
    if not heard.is_speech or not name or heard.task == "dialect_id":
        return None
    phrases = PHRASES["language_id"]
    return QA("language_id", one(rng, phrases.requests, it=it), one(rng, phrases.answers, label=name))


def voice(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """Age group or sex of the speaker."""
    age, sex = heard.voice
    known = [("speaker_age", {"noun": age_noun(age)})] if age else []
    known += [("speaker_gender", {"label": sex})] if sex else []
    if not known:
        return None
    task, slots = pick(rng, known)
    return QA(task, one(rng, PHRASES[task].requests, it=it), one(rng, PHRASES[task].answers, **slots))


def word_count(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """The number of words."""
    count = len(_split(heard))
    if not 1 <= count <= 12:
        return None
    request = one(rng, "how many words are said in {it}?|count the words in {it}, please.", it=it)
    words = "one word" if count == 1 else f"{number(count)} words"
    return QA("words", request, one(rng, "{words}.|I count {words}.|there {be} {words}.", words=words,
                                    be="is" if count == 1 else "are"))  # fmt: skip


def word_place(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """The first or the last word."""
    words = _split(heard)
    if len(words) < 2:
        return None
    place, word = pick(rng, [("first", words[0]), ("last", words[-1])])
    request = one(rng, "what is the {p} word in {it}?|with which word does the speech in {it} {v}?"
                       "|which word comes {p} in {it}?",
                  it=it, p=place, v="begin" if place == "first" else "end")  # fmt: skip
    return QA("words", request, one(rng, 'the {p} word is "{w}".|it is "{w}".|"{w}".', p=place, w=word))


def word_said(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """Ask if a word is said."""
    absent = _absent(rng, heard)
    if absent is None:
        return None
    said = rng.random() < 0.5
    word = pick(rng, _split(heard)) if said else absent
    request = one(
        rng, 'is the word "{w}" said in {it}?|does the speaker of {it} use the word "{w}"?', w=word, it=it
    )
    yes, no = 'yes, "{w}" is said.|yes, I hear "{w}".', 'no, "{w}" is not said.|no, that word does not occur.'
    return QA("words", request, one(rng, yes if said else no, w=word))


def spelled(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """A word letter by letter."""
    words = [word for word in _split(heard) if word.isalpha() and 3 <= len(word) <= _LONGEST_SPELLED]
    if not words:
        return None
    word = pick(rng, words)
    request = one(
        rng,
        'how do you spell the word "{w}" from {it}?|please spell "{w}", which is said in {it}.',
        w=word,
        it=it,
    )
    return QA("spelling", request, one(rng, "it is spelled {s}.|you spell it {s}.", s="-".join(word)))


def word_time(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """The time of a word, or that it is not said."""
    words = heard.words or (heard.example.words or [] if heard.task == "keyword_spotting" else [])
    place = _once(rng, words)
    if place is None:
        return None
    ask = ('when is the word "{w}" spoken in {it}?|find the start and the end of the word "{w}" in {it}.'
           '|at what time do I hear "{w}" in {it}?|where in {it} does the speaker say "{w}"?')  # fmt: skip
    absent = _absent(rng, heard)
    if absent is not None and rng.random() < 0.15:
        answer = one(
            rng,
            'the word "{w}" is not spoken in {it}.|I do not hear the word "{w}" in {it}.',
            w=absent,
            it=it,
        )
        return QA("refusal", one(rng, ask, w=absent, it=it), answer)
    word = words[place]
    times = {"w": word.word, "s": at(word.start), "e": at(word.end)}
    answer = one(
        rng,
        'the word "{w}" is spoken from {s} to {e} seconds.|from {s} to {e}.'
        '|"{w}" begins at {s} and ends at {e} seconds.',
        **times,
    )
    return QA("grounding", one(rng, ask, w=word.word, it=it), answer)


def word_at(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """The word that is said at a time, which is the middle of its span."""
    words = [word for word in heard.words if word.end - word.start > 0.1]
    if len(words) < 2:
        return None
    word = pick(rng, words)
    request = f"Which word is spoken in {it} at {(word.start + word.end) / 2:.2f} seconds?"
    return QA("grounding", request, one(rng, 'at that time "{w}" is spoken.|it is "{w}", {t}.', w=word.word,
                                        t=from_to(word.start, word.end)))  # fmt: skip


def pause(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """The longest pause between two words."""
    gaps = sorted(((b.start - a.end, a, b) for a, b in pairwise(heard.words)), key=lambda gap: -gap[0])
    if len(gaps) < 2 or gaps[0][0] < max(_PAUSE, _MARGIN * gaps[1][0]):
        return None
    _, before, after = gaps[0]
    request = one(
        rng, "where is the longest pause in {it}?|when does the speaker of {it} pause longest?", it=it
    )
    times = from_to(before.end, after.start)
    return QA("grounding", request, one(rng, 'the longest pause is {t}, between "{a}" and "{b}".', t=times,
                                        a=before.word, b=after.word))  # fmt: skip


def cut_word(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """A cut list that removes a word, or the answer that there is nothing to cut."""
    words = heard.words
    place = _once(rng, words)
    if place is None or len(words) < 2:
        return None
    ask = 'remove the word "{w}" from {it}.|please cut "{w}" out of {it}.|edit {it} so that "{w}" is gone.'
    absent = _absent(rng, heard)
    if absent is not None and rng.random() < 0.15:
        answer = one(
            rng, 'the word "{w}" is not spoken in {it}, so there is nothing to cut.', w=absent, it=it
        )
        return QA("refusal", one(rng, ask, w=absent, it=it), answer)
    word, gap = words[place], " " if heard.example.language not in ("zh", "ja") else ""
    rest = gap.join(other.word for k, other in enumerate(words) if k != place)
    answer = one(rng, 'cut {t}. The rest says: "{rest}"|cut list: {t}. What remains is: "{rest}"',
                 t=from_to(word.start, word.end), rest=rest)  # fmt: skip
    return QA("edit", one(rng, ask, w=word.word, it=it), answer)


def keep_words(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """A cut list that leaves the first or last words, or that removes the silence at the ends."""
    words = heard.words
    if len(words) < 3:
        return None
    if rng.random() < 0.4:
        cuts = [from_to(start, end) for start, end in ((0.0, words[0].start), (words[-1].end, heard.seconds))
                if end - start >= 0.05]  # fmt: skip
        if not cuts:
            return None
        request = one(rng, "trim the silence at both ends of {it}.|cut {it} down to the speech.", it=it)
        return QA("edit", request, f"Cut {listed(cuts)}.")
    count = int(rng.integers(1, len(words)))
    first = rng.random() < 0.5
    kept = words[:count] if first else words[-count:]
    which = f"{'first' if first else 'last'} {'word' if count == 1 else f'{number(count)} words'}"
    request = one(rng, "keep only the {which} of {it}.|shorten {it} to the {which}.", which=which, it=it)
    gap = " " if heard.example.language not in ("zh", "ja") else ""
    text = gap.join(word.word for word in kept)
    return QA("edit", request, f'Keep {from_to(kept[0].start, kept[-1].end)}, which says: "{text}"')


def speakers(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """The number of speakers, the first one, the one who talks most, or the first words of one."""
    if heard.task != "speaker_diarization" or len(heard.spans) < 2:
        return None
    names = list(dict.fromkeys(span.label for span in heard.spans))
    kind = rng.integers(4)
    if kind == 0:
        request = one(rng, "how many people talk in {it}?|how many different voices are in {it}?", it=it)
        return QA(
            "speakers",
            request,
            one(rng, "{n} people talk.|I hear {n} different voices.|{n}.", n=number(len(names))),
        )
    if kind == 1:
        request = one(
            rng, "who talks last in {it}, if speaker 1 begins?|speaker 1 begins in {it}. Who ends?", it=it
        )
        last = max(heard.spans, key=lambda span: span.end)
        return QA(
            "speakers", request, f"{sentence(last.label)} has the last word, {from_to(last.start, last.end)}."
        )
    if kind == 2:
        totals = sorted(
            (sum(s.end - s.start for s in heard.spans if s.label == name), name) for name in names
        )
        if len(names) < 2 or totals[-1][0] < _MARGIN * totals[-2][0]:
            return None
        request = one(rng, "who talks most in {it}?|which speaker has most of the time in {it}?", it=it)
        return QA("speakers", request, f"{sentence(totals[-1][1])}, with {totals[-1][0]:.1f} seconds.")
    name = pick(rng, names)
    first = next(span for span in heard.spans if span.label == name)
    if not first.text:
        return None
    request = one(
        rng, "what does {s} say first in {it}?|in {it}, what are the first words of {s}?", s=name, it=it
    )
    return QA("speakers", request, f'{from_to(first.start, first.end).capitalize()}: "{first.text}"')


def reply(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """A fitting reaction to a voice or a command, with the reason."""
    example = heard.example
    if heard.task == "emotion" and example.label in _REPLIES:
        request = one(
            rng,
            "how should one answer the speaker of {it}?|how would you react to the person in {it}, and why?",
            it=it,
        )
        return QA(
            "reasoning",
            request,
            f"The speaker sounds {feeling(example.label)}, so I would answer {_REPLIES[example.label]}.",
        )
    if heard.task == "speech_intent" and (wish := wish_of(example)):
        request = one(
            rng,
            "which request should be carried out after {it}, and how do you know?"
            "|what would you do after {it}, and why?",
            it=it,
        )
        said = f' The words are: "{heard.transcript}"' if heard.transcript else ""
        return QA("reasoning", request, f"The speaker wants to {wish}, so that is what should be done.{said}")
    return None


TURNS = (
    transcript, language, voice, word_count, word_place, word_said, spelled, word_time, word_at, pause, cut_word,
    keep_words, speakers, reply,
)  # fmt: skip

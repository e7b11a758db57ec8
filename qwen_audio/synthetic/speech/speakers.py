"""The spoken tasks about the speaker: language, gender, age, identity, turns, emotion.

Every function takes (rng, held_out) and returns a `Draft`, or raises `Unusable` with the reason as its text.
"""

from __future__ import annotations

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.format.timestamps import Span
from qwen_audio.synthetic.speech import sentences, tables
from qwen_audio.synthetic.speech import words as text
from qwen_audio.synthetic.speech.draft import CODES, Draft, any_language, lead_in, one, pick, speak
from qwen_audio.synthetic.speech.transcribed import ACCENTS
from qwen_audio.synthetic.speech.voices import (
    AGES,
    EMOTIONS,
    GENDERS,
    Identity,
    Manner,
    apart,
    distance,
    draw_identity,
    emotional,
    mix,
)


def language(rng: np.random.Generator, held_out: bool) -> Draft:
    """An utterance in one of the eight languages, each equally likely."""
    code = pick(rng, CODES)
    words = sentences.utterance(rng, code, held_out=held_out)
    wave, lead, who = one(rng, held_out, code, words)
    name = tables.LANGUAGE_NAMES[code]
    fields = {
        "language": code,
        "text": name,
        "label": name,
        "choices": list(tables.LANGUAGE_NAMES.values()),
        "speaker": who.name,
        "meta": {"transcript": text.join(code, words)},
    }
    return Draft([(wave, lead)], fields)


def _of_speaker(rng: np.random.Generator, held_out: bool, who: Identity, label: str, choices: tuple) -> Draft:
    code = any_language(rng)
    words = sentences.utterance(rng, code, held_out=held_out)
    wave, lead, _ = one(rng, held_out, code, words, who)
    fields = {"language": code, "text": label, "label": label, "choices": list(choices), "speaker": who.name}
    return Draft([(wave, lead)], fields | {"meta": {"transcript": text.join(code, words)}})


def gender(rng: np.random.Generator, held_out: bool) -> Draft:
    """An adult voice, male or female."""
    name = pick(rng, GENDERS)
    return _of_speaker(rng, held_out, draw_identity(rng, held_out=held_out, gender=name), name, GENDERS)


def age(rng: np.random.Generator, held_out: bool) -> Draft:
    """A child, an adult or a senior."""
    name = pick(rng, AGES)
    return _of_speaker(rng, held_out, draw_identity(rng, held_out=held_out, age=name), name, AGES)


def verification(rng: np.random.Generator, held_out: bool) -> Draft:
    """Two clips with different words: of one speaker, or of two, who half of the time have the same gender."""
    code = any_language(rng)
    one = draw_identity(rng, held_out=held_out)
    same = rng.random() < 0.5
    other = one
    alike = rng.random() < 0.5
    while not same and (other is one or distance(one, other) < 2.0):
        other = draw_identity(rng, held_out=held_out, gender=one.gender if alike else None)
    accent = pick(rng, ACCENTS[code])
    waves: list[tuple[np.ndarray, float]] = []
    for who in (one, other):
        words = sentences.utterance(rng, code, held_out=held_out)
        level = Manner(rate=float(rng.uniform(0.95, 1.05)), level=float(rng.uniform(-14.0, -1.0)))
        waves.append((speak(words, code, accent, who, level).wave, lead_in(rng)))
    answer = "yes" if same else "no"
    fields = {
        "language": code,
        "text": answer,
        "label": answer,
        "choices": ["yes", "no"],
        "speaker": one.name,
        "speaker2": other.name,
    }
    return Draft(waves, fields)


def diarization(rng: np.random.Generator, held_out: bool) -> Draft:
    """A dialogue of two or three speakers in turns, with pauses between them and now and then an overlap."""
    code = any_language(rng)
    people = apart(rng, 3 if rng.random() < 0.4 else 2, held_out=held_out)
    accents = [pick(rng, ACCENTS[code]) for _ in people]
    lead, wanted = lead_in(rng), float(rng.uniform(6.0, 20.0))
    parts: list[tuple[float, np.ndarray]] = []
    spans: list[Span] = []
    numbers: dict[int, str] = {}
    end, last = 0.0, -1
    while end < wanted or len(numbers) < 2:
        turn = int(rng.integers(len(people)))
        if turn == last:
            continue
        words = sentences.utterance(rng, code, held_out=held_out)
        level = Manner(level=float(rng.uniform(-9.0, -5.0)))
        wave = speak(words, code, accents[turn], people[turn], level).wave
        gap = -float(rng.uniform(0.2, 0.4)) if rng.random() < 0.15 else float(rng.uniform(0.15, 0.8))
        start = max(0.0, end + gap) if parts else 0.0
        end = start + wave.size / SAMPLE_RATE
        parts.append((start, wave))
        name = numbers.setdefault(turn, f"speaker {len(numbers) + 1}")
        spans.append(Span(name, lead + start, lead + end, text.join(code, words)))
        last = turn
    end = max(at + wave.size / SAMPLE_RATE for at, wave in parts)
    turns = ", ".join(f"{span.label} from {span.start:.2f} to {span.end:.2f}" for span in spans)
    fields = {"language": code, "text": turns, "spans": spans}
    return Draft([(mix(parts, end), lead)], fields)


def emotion(rng: np.random.Generator, held_out: bool) -> Draft:
    """A sentence with the prosody of an emotion; its words are neutral."""
    name = pick(rng, EMOTIONS)
    code = any_language(rng)
    words = sentences.sentence(rng, code, held_out=held_out)
    who = draw_identity(rng, held_out=held_out)
    clip = speak(words, code, pick(rng, ACCENTS[code]), who, emotional(rng, name))
    fields = {
        "language": code,
        "text": name,
        "label": name,
        "choices": list(EMOTIONS),
        "speaker": who.name,
        "meta": {"transcript": text.join(code, words)},
    }
    return Draft([(clip.wave, lead_in(rng))], fields)

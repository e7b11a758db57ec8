"""The spoken tasks about content: translation, overlap, dialects, entities, intents, keywords.

Every function takes (rng, held_out) and returns a `Draft`, or raises `Unusable` with the reason as its text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.format.text import spoken_form
from qwen_audio.format.timestamps import Span, Word
from qwen_audio.synthetic.speech import commands, espeak, sentences, tables, translations
from qwen_audio.synthetic.speech import words as text
from qwen_audio.synthetic.speech.draft import Draft, Unusable, any_language, lead_in, one, pick, speak
from qwen_audio.synthetic.speech.transcribed import ACCENTS
from qwen_audio.synthetic.speech.voices import Manner, apart, draw_identity, mix


def translation(rng: np.random.Generator, held_out: bool) -> Draft:
    """A sentence of the parallel grammar, spoken in one language, its text in another."""
    source, target = pick(rng, translations.DIRECTIONS)
    texts = translations.draw(rng, held_out=held_out).texts
    words = text.units(source, spoken_form(texts[source]).split())
    wave, lead, who = one(rng, held_out, source, words)
    fields = {
        "language": source,
        "target_language": target,
        "text": texts[target],
        "speaker": who.name,
        "meta": {"transcript": texts[source]},
    }
    return Draft([(wave, lead)], fields)


def overlap(rng: np.random.Generator, held_out: bool) -> Draft:
    """Two or three speakers; each starts while the one before is speaking."""
    language = any_language(rng)
    people = apart(rng, 3 if rng.random() < 0.2 else 2, held_out=held_out)
    lead = lead_in(rng)
    parts: list[tuple[float, np.ndarray]] = []
    spans: list[Span] = []
    start = 0.0
    for number, who in enumerate(people, start=1):
        words = sentences.utterance(rng, language, held_out=held_out)
        level = Manner(level=float(rng.uniform(-9.0, -6.0)))
        wave = speak(words, language, pick(rng, ACCENTS[language]), who, level).wave
        seconds = wave.size / SAMPLE_RATE
        parts.append((start, wave))
        said = text.join(language, words)
        spans.append(Span(f"speaker {number}", lead + start, lead + start + seconds, said))
        # far enough behind for the order of starts to be audible
        start += float(np.clip(rng.uniform(0.2, 0.7) * seconds, 0.3, max(0.3, seconds - 0.3)))
    end = max(at + wave.size / SAMPLE_RATE for at, wave in parts)
    joined = " | ".join(span.text or "" for span in spans)
    fields = {"language": language, "text": joined, "spans": spans, "speaker": people[0].name}
    return Draft([(mix(parts, end), lead)], fields)


def _dialect(rng: np.random.Generator, held_out: bool) -> tuple[Draft, str, str, list[str]]:
    language = pick(rng, ("en", "en", "es", "fr", "zh"))
    known = tables.DIALECTS[language]
    name = pick(rng, list(known))
    words = sentences.dialect_utterance(rng, language, name, held_out=held_out)
    said = text.join(language, words)
    # French dialects differ in their words; elsewhere the phonemes have to differ from all other dialects.
    if language != "fr":
        heard = {other: espeak.phonemes(said, accent) for other, accent in known.items()}
        if list(heard.values()).count(heard[name]) > 1:
            raise Unusable("alike")
    who = draw_identity(rng, held_out=held_out)
    clip = speak(words, language, known[name], who, Manner(level=float(rng.uniform(-14.0, -1.0))))
    fields = {"language": language, "speaker": who.name}
    return Draft([(clip.wave, lead_in(rng))], fields), name, said, list(known)


def dialect(rng: np.random.Generator, held_out: bool) -> Draft:
    """A sentence in a dialect; the choices are the dialects of its language."""
    draft, name, said, known = _dialect(rng, held_out)
    draft.fields |= {"text": name, "label": name, "choices": known, "meta": {"transcript": said}}
    return draft


def dialect_transcript(rng: np.random.Generator, held_out: bool) -> Draft:
    """The same with the transcript as the answer."""
    draft, name, said, _ = _dialect(rng, held_out)
    draft.fields |= {"text": said, "meta": {"dialect": name}}
    return draft


def entities(rng: np.random.Generator, held_out: bool) -> Draft:
    """A sentence with named entities: English templates, or a parallel sentence that has some."""
    if rng.random() < 0.6:
        language = "en"
        said, found = commands.entity_sentence(rng, held_out=held_out)
    else:
        language = pick(rng, translations.LANGUAGES)
        drawn = translations.draw(rng, held_out=held_out)
        said = spoken_form(drawn.texts[language])
        found = [(kind, spoken_form(value)) for kind, value in drawn.entities[language]]
    wave, lead, who = one(rng, held_out, language, text.units(language, said.split()))
    listed = [{"type": kind, "value": value} for kind, value in found]
    fields = {"language": language, "text": said, "speaker": who.name, "meta": {"entities": listed}}
    return Draft([(wave, lead)], fields)


def intent(rng: np.random.Generator, held_out: bool) -> Draft:
    """An English command with its intent ("alarm set": scenario and action) and its slots."""
    drawn = commands.command(rng, held_out=held_out)
    wave, lead, who = one(rng, held_out, "en", drawn.text.split())
    name = f"{drawn.scenario} {drawn.action}"
    answer = json.dumps({"intent": name, "slots": drawn.slots}, ensure_ascii=False)
    fields = {
        "language": "en",
        "text": answer,
        "label": name,
        "speaker": who.name,
        "meta": {"scenario": drawn.scenario, "slots": drawn.slots, "transcript": drawn.text},
    }
    return Draft([(wave, lead)], fields)


def keyword(rng: np.random.Generator, held_out: bool) -> Draft:
    """A single keyword (in other languages than English a digit), or keywords with times among other words.

    The choices give the words that are asked for; single keywords and those among other words use the same list.
    """
    who = draw_identity(rng, held_out=held_out)
    if rng.random() < 0.5:
        language = any_language(rng)
        known = list(tables.KEYWORDS) if language == "en" else text.DIGITS[language].split()
        word = pick(rng, known)
        wave, lead, who = one(rng, held_out, language, [word], who)
        fields = {"language": language, "text": word, "label": word, "speaker": who.name}
        fields["choices"] = _ten(rng, known, [word])
        return Draft([(wave, lead)], fields)
    accent = pick(rng, ACCENTS["en"])
    words, spots = sentences.keyword_utterance(rng, accent, held_out=held_out)
    level = Manner(level=float(rng.uniform(-14.0, -1.0)))
    clip = speak(words, "en", accent, who, level)
    if clip.times is None:
        raise Unusable("unmatched")
    lead = lead_in(rng)
    timed = [Word(words[i], lead + clip.times[i][0], lead + clip.times[i][1]) for i in spots]
    fields = {
        "language": "en",
        "text": ", ".join(word.word for word in timed),
        "words": timed,
        "question": "Which of these keywords are spoken, in order?",
        "choices": _ten(rng, tables.KEYWORDS, [word.word for word in timed]),
        "speaker": who.name,
        "meta": {"transcript": " ".join(words)},
    }
    return Draft([(clip.wave, lead)], fields)


def _ten(rng: np.random.Generator, known: Sequence[str], spoken: list[str]) -> list[str]:
    """Ten words to choose from, sorted: those that are spoken and others of `known`."""
    others = [known[i] for i in rng.permutation(len(known)) if known[i] not in spoken]
    return sorted([*spoken, *others][:10])

"""What is said in the spoken tasks: grammar, translations, dialects, entities, commands, and their splits."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="the synth extra is not installed")
pytest.importorskip("wordfreq", reason="the synth extra is not installed")

from qwen_audio.data.manifest import Sample
from qwen_audio.format.answers.speech import entities_of
from qwen_audio.format.tasks import example_prompt
from qwen_audio.format.text import spoken_form
from qwen_audio.synthetic.speech import (
    commands,
    espeak,
    mandarin,
    sentences,
    splits,
    tables,
    translation_words,
    translations,
)
from qwen_audio.synthetic.speech import words as text
from qwen_audio.synthetic.speech.spoken import SpokenGenerator

RATE = 16000


def draw(task: str, count: int) -> list[Sample]:
    generator = SpokenGenerator({task: 1.0})
    rng = np.random.default_rng(0)
    return [generator.sample(rng) for _ in range(count)]


# translation ---------------------------------------------------------------------------------------------


def test_articles_and_agreement() -> None:
    rows = {row[0]: row for row in translations._rows("THINGS")}

    def say(language: str, thing: str, determiner: str, case: str = "") -> str:
        return translations.thing(language, rows[thing], determiner, case)

    assert say("en", "umbrella", "a") == "an umbrella"
    assert say("de", "table", "a", "acc") == "einen Tisch"
    assert say("de", "table", "this") == "dieser Tisch"
    assert say("de", "lamp", "my", "acc") == "meine Lampe"
    assert say("de", "book", "this", "acc") == "dieses Buch"
    assert say("zh", "car", "this") == "这辆车"
    assert say("zh", "car", "my") == "我的车"
    assert say("es", "key", "this") == "esta llave"
    assert say("fr", "computer", "this") == "cet ordinateur"
    assert say("fr", "car", "my") == "ma voiture"
    assert say("it", "mirror", "a") == "uno specchio"
    assert say("it", "umbrella", "this") == "quest'ombrello"
    assert say("it", "key", "my") == "la mia chiave"


def test_tables_have_six_columns_and_frames_the_same_slots() -> None:
    others = ("LANGUAGES", "SPOKEN_TABLES")
    for name in (name for name in vars(translation_words) if name.isupper() and name not in others):
        wide = 7 if name in ("PEOPLE", "NAMES") else 6
        rows = translations._rows(name)
        assert {len(row) for row in rows} == {wide}, name
        assert all(cell for row in rows for cell in row), name
        assert len({row[0] for row in rows}) == len(rows), name
    for frame in translations._frames():
        assert len(frame) == 6
        slots = [{m[1] for m in translations._SLOT.finditer(cell)} for cell in frame]
        assert all(found == slots[0] for found in slots), frame[0]


def test_translations_are_many_unambiguous_and_split() -> None:
    rng = np.random.default_rng(0)
    train = [translations.draw(rng).texts for _ in range(2000)]
    held_out = [translations.draw(rng, held_out=True).texts for _ in range(200)]
    for source, target in translations.DIRECTIONS:
        pairs = {(texts[source], texts[target]) for texts in train}
        assert len(pairs) > 1200
        assert len({spoken_form(said) for said, _ in pairs}) == len(pairs)  # one translation for a sentence
    for language in translations.LANGUAGES:
        assert not {t[language] for t in train} & {t[language] for t in held_out}
        for texts in train[:300]:
            assert re.fullmatch(r"[^{}|]+[.。?？]", texts[language])
            assert texts[language].lstrip("¿")[0] == texts[language].lstrip("¿")[0].upper()


def test_translation_samples_speak_the_source_in_all_directions() -> None:
    samples = draw("speech_translation", 60)
    seen = {(s.example.language, s.example.target_language) for s in samples}
    assert seen == set(translations.DIRECTIONS)
    for sample in samples:
        said = sample.example.meta["transcript"]
        # about 12 characters a second in alphabets, 5 in Chinese
        seconds = sample.waves[0].size / RATE
        per_second = len(said) / seconds
        assert (1.5 if sample.example.language == "zh" else 5) < per_second < 30


# dialects, entities, intents -----------------------------------------------------------------------------


def test_french_numbers() -> None:
    france, belgium, swiss = tables.DIALECTS["fr"]
    assert tables.french_number(71, france) == "soixante et onze"
    assert tables.french_number(80, belgium) == "quatre-vingts"
    assert tables.french_number(81, france) == "quatre-vingt-un"
    assert tables.french_number(81, swiss) == "huitante et un"
    assert tables.french_number(92, belgium) == "nonante-deux"
    assert tables.french_number(97, france) == "quatre-vingt-dix-sept"
    with pytest.raises(ValueError, match="70 to 99"):
        tables.french_number(60, swiss)


def test_every_dialect_is_offered_and_differs_in_its_phonemes() -> None:
    samples = draw("dialect_id", 120)
    assert {s.example.label for s in samples} == {
        name for names in tables.DIALECTS.values() for name in names
    }
    for example in (s.example for s in samples[:40]):
        if example.language == "fr":
            numbers = set(example.meta["transcript"].split())
            if example.label == "Swiss French":
                assert numbers & {"huitante"} and numbers & {"septante", "nonante"}
            elif example.label == "Belgian French":
                assert numbers & {"quatre"} and numbers & {"septante", "nonante"}
            else:
                assert not numbers & {"huitante", "septante", "nonante"}
            continue
        known = tables.DIALECTS[example.language]
        heard = [espeak.phonemes(example.meta["transcript"], accent) for accent in known.values()]
        assert heard.count(heard[list(known).index(example.label)]) == 1


def test_entities_are_in_the_transcript_in_order() -> None:
    samples = draw("entity_recognition", 60)
    found = [entity for s in samples for entity in entities_of(s.example)]
    kinds = {"person", "organization", "location", "date", "time", "money", "number"}
    assert {kind for kind, _ in found} == kinds
    assert len({s.example.language for s in samples}) >= 5
    for example in (s.example for s in samples):
        at = 0
        for _, value in entities_of(example):
            at = example.text.index(value, at) + len(value)


def test_slots_are_in_the_command() -> None:
    assert len(set(commands.intents())) == 24
    rng = np.random.default_rng(0)
    train = [commands.command(rng) for _ in range(400)]
    assert {f"{c.scenario} {c.action}" for c in train} == set(commands.intents())
    for command in train:
        values = [v for slot in command.slots.values() for v in ([slot] if isinstance(slot, str) else slot)]
        assert all(f" {value} " in f" {command.text} " for value in values)
    held_out = [commands.command(rng, held_out=True) for _ in range(600)]
    assert not {c.text for c in held_out} & {c.text for c in train}
    assert {f"{c.scenario} {c.action}" for c in held_out} == set(commands.intents())
    # what has no slot is one text, said over and over
    assert all(c.slots for c in train)


def test_an_intent_is_named_with_its_scenario() -> None:
    for example in (s.example for s in draw("speech_intent", 30)):
        assert example.label in commands.intents()
        assert json.loads(example.text) == {"intent": example.label, "slots": example.meta["slots"]}


def test_entity_sentences_are_english() -> None:
    rng = np.random.default_rng(0)
    made = [commands.entity_sentence(rng) for _ in range(1500)]
    for said, found in made:
        assert "the the" not in said
        if "will speak" in said:
            assert not re.search(r"yesterday|\blast\b", said)
        if re.search(r" met in |i saw ", said):
            assert not re.search(r"tomorrow|tonight|\bnext\b", said)
        assert not any(value.startswith(("the ", "on ")) for kind, value in found if kind == "organization")
    values = {value for _, found in made for kind, value in found if kind == "organization"}
    assert {"united nations", "google"} <= values


# keywords ------------------------------------------------------------------------------------------------


def test_no_keyword_is_heard_that_is_not_labelled() -> None:
    for word in ["seventeen", "someone", "yesterday", "update", "ago", "once", "eighteen", "birds", "no"]:
        assert sentences.holds_keyword(word, "en-us"), word
    for word in ["table", "garden", "music", "river"]:
        assert not sentences.holds_keyword(word, "en-us"), word
    assert sentences.unlabelled_keyword(["will", "earn"], [], "en-us") == "learn"
    assert sentences.unlabelled_keyword(["move", "forward"], [1], "en-us") is None
    rng = np.random.default_rng(0)
    accent = "gmw/en"
    sounds = {w: re.sub(r"[ˈˌː ]", "", espeak.phonemes(w, accent)) for w in tables.KEYWORDS}
    for _ in range(60):
        words, spots = sentences.keyword_utterance(rng, accent)
        others = [word for place, word in enumerate(words) if place not in spots]
        heard = [re.sub(r"[ˈˌː ]", "", espeak.phonemes(word, accent)) for word in others]
        assert not [(word, k) for word in heard for k, sound in sounds.items() if sound in word]


def test_keyword_utterances_are_split_and_offer_the_keywords() -> None:
    rng = np.random.default_rng(0)
    train = {" ".join(sentences.keyword_utterance(rng)[0]) for _ in range(1500)}
    held_out = {" ".join(sentences.keyword_utterance(rng, held_out=True)[0]) for _ in range(150)}
    assert not train & held_out
    timed = [s.example for s in draw("keyword_spotting", 30) if s.example.words]
    assert len(timed) > 5
    for example in timed:
        assert example.choices and len(example.choices) == 10
        assert {word.word for word in example.words or ()} <= set(example.choices)
        asked = "".join(piece.text for piece in example_prompt(example, as_question=True))
        assert f"Choose from: {', '.join(example.choices)}." in asked


def test_french_sentences_that_tell_a_dialect_are_split() -> None:
    rng = np.random.default_rng(0)
    for name in tables.DIALECTS["fr"]:
        train, held_out = (
            {" ".join(sentences.dialect_utterance(rng, "fr", name, held_out=held)) for _ in range(count)}
            for held, count in ((False, 3000), (True, 300))
        )
        assert not train & held_out


@pytest.mark.parametrize("language", ["en", "de", "ja"])
def test_held_out_texts_have_unseen_words(language: str) -> None:
    unseen = set(splits.unseen_words(language))
    rng = np.random.default_rng(0)
    said = {
        held: {w for _ in range(400) for w in sentences.utterance(rng, language, held_out=held)}
        for held in (False, True)
    }
    assert len(said[True] & unseen) > 30
    assert not said[False] & unseen


# Chinese by character ------------------------------------------------------------------------------------


def test_syllables_are_parted_or_given_up() -> None:
    market = [(0, "s."), (10, "i."), (30, "ts.h"), (40, "ˈɑ"), (50, "ŋ"), (60, "")]
    assert mandarin.syllable_starts(market, 2) == [0, 30]
    assert mandarin.syllable_starts(market, 3) is None
    assert mandarin.syllable_starts([(0, "th"), (5, "iɛ"), (9, "n"), (12, "ɑ")], 2) is None
    assert mandarin.syllable_starts([(0, "th"), (5, "iɛ"), (9, "n"), (12, "m"), (15, "ɑ")], 2) == [0, 12]


def test_hidden_word_events_are_found_again_by_syllable() -> None:
    rng = np.random.default_rng(0)
    errors, timed = [], 0
    for _ in range(40):
        words = text.units("zh", text.random_words(rng, "zh", 4))
        engine = espeak._current()
        engine.set_voice(espeak.Voice("sit/cmn", "m3", volume=60))
        samples, events = engine.speak("".join(words))
        active = espeak._active_frames(samples.astype(np.float32) / 32768)
        starts = espeak._match(words, events, 0)
        for k in range(1, len(starts) - 1):
            if None in starts[k - 1 : k + 2]:
                continue
            hidden = [*starts[:k], None, *starts[k + 1 :]]
            mandarin.part_compounds(hidden, engine.sounds, samples.size, active, espeak._FRAME)
            if hidden[k] is not None:
                errors.append(abs(hidden[k] - starts[k]) / espeak.ESPEAK_RATE)
        speech = espeak.synthesize(words, espeak.Voice("sit/cmn", "m3", volume=60), separator="")
        timed += speech is not None and speech.times is not None
    assert len(errors) > 40
    assert max(errors) < 0.015
    assert timed >= 38


def test_compounds_have_times_by_character() -> None:
    words = list("老师昨天在市场买了一本书")
    speech = espeak.synthesize(words, espeak.Voice("sit/cmn", "f1", volume=60), separator="")
    assert speech is not None and speech.times is not None
    assert len(speech.times) == len(words)
    assert all(0.08 < end - start < 0.5 for start, end in speech.times)

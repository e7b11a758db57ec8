"""The recogniser pocketsphinx as a system under test, on the clips inside the package."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import qwen_audio
from qwen_audio.audio.load import load_audio
from qwen_audio.data.manifest import AudioRef, Example, read_manifest
from qwen_audio.eval.systems.base import Item
from qwen_audio.eval.systems.pocketsphinx_peer import PocketsphinxAligner, PocketsphinxRecognizer
from qwen_audio.format import tasks

CLIPS = Path(qwen_audio.__file__).parent / "demo_clips"

pytestmark = pytest.mark.skipif(find_spec("pocketsphinx") is None, reason="pocketsphinx is not installed")


def item(name: str, task: str, **fields: object) -> Item:
    wave = load_audio(CLIPS / f"{name}.flac")
    text = str(fields.pop("text", "x"))
    example = Example(id=name, task=task, audio=[AudioRef(path=f"{name}.flac")], text=text, **fields)
    return Item(example, [wave], [])


def digits() -> Example:
    return next(row for row in read_manifest(CLIPS / "clips.jsonl") if row.id == "words")


@pytest.fixture(scope="module")
def recognizer() -> PocketsphinxRecognizer:
    return PocketsphinxRecognizer()


def test_a_clip_is_heard_the_same_after_any_other(recognizer: PocketsphinxRecognizer) -> None:
    clips = [item(name, "asr", language="en") for name in ("sentence", "words", "note")]
    clips = [replace(clip, waves=[clip.waves[0][:24_000]]) for clip in clips]
    forward = recognizer.answer(clips)
    assert forward == recognizer.answer(clips[::-1])[::-1]
    assert all(reply.error is None and "<" not in reply.raw for reply in forward)
    assert len(forward[0].raw.split()) >= 2  # it hears words
    assert recognizer.facts()["given_transcript"] is False


def test_word_times_are_those_of_the_transcript(recognizer: PocketsphinxRecognizer) -> None:
    wanted = digits()
    asked = item("words", "word_timestamps", words=wanted.words, language="en")
    (plain,) = recognizer.answer([item("words", "asr")])
    (timed,) = recognizer.answer([asked])
    parsed = tasks.parse("word_timestamps", timed.raw)
    assert [word.word for word in parsed.words] == plain.raw.split() and not parsed.problems
    assert all(0 <= word.start < word.end <= len(asked.waves[0]) / 16_000 for word in parsed.words)


def test_what_it_cannot_hear_is_an_error(recognizer: PocketsphinxRecognizer) -> None:
    assert recognizer.supports("asr") and not recognizer.supports("audio_caption")
    german = item("words", "asr", language="de")
    two = Item(german.example.model_copy(update={"language": "en"}), german.waves * 2, [])
    silence = Item(item("words", "asr").example, [np.zeros(8000, np.float32)], [])
    first, second, third = recognizer.answer([german, two, silence])
    assert first.error is not None and "English alone" in first.error
    assert second.error is not None and "one recording, not 2" in second.error
    assert third.error is None


def test_the_aligner_gives_the_words_it_was_given_near_their_times() -> None:
    aligner = PocketsphinxAligner()
    assert aligner.facts()["given_transcript"] and not aligner.supports("asr")
    wanted = digits()
    asked = item("words", "word_timestamps", words=wanted.words, language="en")
    (reply,) = aligner.answer([asked])
    found = tasks.parse("word_timestamps", reply.raw).words
    truth = wanted.words or []
    assert [word.word for word in found] == [word.word.lower() for word in truth]
    shifts = [abs(a.start - b.start) + abs(a.end - b.end) for a, b in zip(found, truth, strict=True)]
    assert np.median(shifts) / 2 < 0.15
    strange = item("words", "word_timestamps", words=[["xyzzyq", 0.1, 0.5], ["one", 0.5, 0.9]])
    (lacking,) = aligner.answer([strange])
    assert lacking.error == "the dictionary lacks xyzzyq" and aligner.unknown == 1
    assert aligner.answer([asked]) == [reply]  # and the search goes on as before
    nothing = item("words", "word_timestamps", words=[])
    assert aligner.answer([nothing])[0].raw == ""

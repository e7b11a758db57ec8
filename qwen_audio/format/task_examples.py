"""One example of every task, as a manifest has them (without the audio); docs/format.md shows their sequences."""

from __future__ import annotations

from typing import Any

from qwen_audio.format.example import Example


def example(task: str, text: str = "", **fields: Any) -> Example:
    """An example without audio."""
    return Example.model_validate({"id": "x", "task": task, "audio": [], "text": text, **fields})


def _labelled(task: str, label: str, **fields: Any) -> Example:
    return example(task, label, label=label, **fields)


_ROWS = (
    example("asr", "Hello, world!", language="en"),
    example("speech_translation", "Hallo, Welt!", language="en", target_language="de"),
    example(
        "overlapped_asr",
        "Good morning! | Where is it?",
        language="en",
        spans=[
            ["speaker 1", 0.5, 1.9, "Good morning!"],
            ["speaker 2", 1.2, 2.75, "Where is it?"],
        ],
    ),
    example("dialect_asr", "It's a fine day.", language="en", meta={"dialect": "Scottish"}),
    example(
        "word_timestamps", "hello world", language="en", words=[["hello", 0.54, 0.86], ["world", 0.86, 1.17]]
    ),
    _labelled("emotion", "joy", language="en"),
    _labelled("vocal_sound", "cough"),
    _labelled("keyword_spotting", "seven", language="en"),
    _labelled("language_id", "German", language="de"),
    _labelled("speaker_gender", "female", language="en"),
    _labelled("speaker_age", "adult", language="en"),
    _labelled("dialect_id", "Scottish", language="en"),
    example(
        "speaker_diarization",
        "",
        language="en",
        spans=[["speaker 1", 0.0, 2.1], ["speaker 2", 1.85, 4.2], ["speaker 1", 4.5, 6.0]],
    ),
    example(
        "entity_recognition",
        "Anna flew to Rome.",
        language="en",
        meta={"entities": [{"type": "person", "value": "Anna"}, {"type": "place", "value": "Rome"}]},
    ),
    example(
        "speech_intent",
        '{"intent": "coffee order", "slots": {"size": "large"}}',
        label="coffee order",
        language="en",
        meta={"scenario": "coffee", "slots": {"size": "large"}},
    ),
    _labelled("speaker_verification", "yes", language="en"),
    example("audio_caption", "A dog barks."),
    _labelled("sound_event", "rain"),
    example("event_detection", "", spans=[["rain", 0.0, 10.0], ["thunder", 3.2, 5.75]]),
    _labelled("acoustic_scene", "beach"),
    example("audio_qa", "yes", question="Is it raining?", choices=["yes", "no"]),
    example("music_caption", "A slow waltz."),
    _labelled("singer_id", "singer 3"),
    _labelled("music_emotion", "sad"),
    _labelled("music_recognition", "Ode to Joy"),
    example("music_qa", "a violin", question="What plays the melody?", choices=["a violin", "a flute"]),
    _labelled("music_genre", "jazz"),
    example(
        "note_analysis",
        "MIDI pitch 60, velocity 75, bright and percussive, a guitar",
        meta={"pitch": 60, "velocity": 75, "sonic": ["bright", "percussive"], "instrument": "guitar"},
    ),
    _labelled("note_pitch", "60"),
    _labelled("note_velocity", "forte"),
    _labelled("instrument", "cello"),
)
EXAMPLES: dict[str, Example] = {row.task: row for row in _ROWS}

"""One example of each task, those that docs/format.md shows, and their sequences as strings."""

from __future__ import annotations

from qwen_audio import tags
from qwen_audio.data.manifest import Example
from qwen_audio.tasks import Segment, example_prompt, render


def example(task: str, text: str = "", **fields: object) -> Example:
    return Example.model_validate({"id": "x", "task": task, "audio": [], "text": text, **fields})


EXAMPLES = {
    "asr": example("asr", "Hello, world!", language="en"),
    "speech_translation": example("speech_translation", "Hallo, Welt!", language="en", target_language="de"),
    "word_timestamps": example(
        "word_timestamps", "hello world", language="en", words=[["hello", 0.54, 0.86], ["world", 0.86, 1.17]]
    ),
    "emotion": example("emotion", "joy", label="joy", language="en"),
    "vocal_sound": example("vocal_sound", "cough", label="cough"),
    "keyword_spotting": example("keyword_spotting", "seven", label="seven", language="en"),
    "language_id": example("language_id", "German", label="German", language="de"),
    "speaker_gender": example("speaker_gender", "female", label="female", language="en"),
    "speaker_age": example("speaker_age", "20-30", label="20-30", language="en"),
    "speech_intent": example(
        "speech_intent",
        '{"intent": "order", "slots": {"size": "large"}}',
        label="order",
        language="en",
        meta={"scenario": "coffee", "slots": {"size": "large"}},
    ),
    "speaker_verification": example("speaker_verification", "yes", label="yes", language="en"),
    "audio_caption": example("audio_caption", "A dog barks."),
    "sound_event": example("sound_event", "rain", label="rain"),
    "acoustic_scene": example("acoustic_scene", "beach", label="beach"),
    "audio_qa": example("audio_qa", "yes", question="Is it raining?", choices=["yes", "no"]),
    "music_caption": example("music_caption", "A slow waltz."),
    "music_genre": example("music_genre", "jazz", label="jazz"),
    "note_analysis": example(
        "note_analysis",
        "A guitar.",
        meta={"pitch": 60, "velocity": 75, "sonic": ["bright", "percussive"], "instrument": "guitar"},
    ),
    "note_pitch": example("note_pitch", "60", label="60"),
    "note_velocity": example("note_velocity", "forte", label="forte"),
    "instrument": example("instrument", "cello", label="cello"),
}


def joined(segments: list[Segment]) -> str:
    return "".join(segment.text for segment in segments)


def answer_of(item: Example) -> str:
    """The answer without prompt and `<|endoftext|>`: what a model generates."""
    return joined(render(item)).removeprefix(joined(example_prompt(item))).removesuffix(tags.END_OF_TEXT)

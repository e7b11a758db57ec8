"""Special tokens that answers may hold, by the tags of their prompts, and those that end an answer."""

from __future__ import annotations

from qwen_audio.format import tags

_TIMES = (*(tags.time_tag(t / tags.TICKS_PER_SECOND) for t in range(tags.MAX_TICK + 1)), tags.SILENCE)
_ENTITY = (
    tags.START_OF_ENTITY_VALUE,
    tags.END_OF_ENTITY_VALUE,
    tags.START_OF_ENTITY_TYPE,
    tags.END_OF_ENTITY_TYPE,
)
_MIDI = (
    *(tags.pitch_tag(n) for n in range(tags.MIDI_VALUES)),
    *(tags.velocity_tag(n) for n in range(tags.MIDI_VALUES)),
)
# Tags that stand together in a prompt -> special tokens that its answers may hold.
ANSWER_TAGS: dict[tuple[str, ...], tuple[str, ...]] = {
    (tags.TIMESTAMPS,): (*_TIMES, tags.DELIMITER),
    (tags.QUESTION,): _TIMES,  # an answer may name times
    (tags.TRANSCRIBE, tags.DELIMITER): (tags.DELIMITER,),
    (tags.TRANSCRIBE, tags.SPEAKER_META): (tags.START_OF_ENTITY_VALUE, tags.END_OF_ENTITY_VALUE),
    (tags.AUDIO_GROUNDING,): (tags.START_OF_WORD, tags.END_OF_WORD, tags.DELIMITER),
    (tags.NOTE_ANALYSIS,): (tags.PITCH, tags.VELOCITY, tags.SONIC, tags.INSTRUMENT, *_MIDI),
    (tags.NAMED_ENTITY_RECOGNITION,): _ENTITY,
    (tags.SPEECH_UNDERSTANDING,): (*_ENTITY, tags.SCENARIO, tags.ACTION, tags.ENTITIES),
}
# Tokens that end an answer of a dialogue, as published. An answer to a task's tags ends with the first alone.
STOPS = (tags.END_OF_TEXT, tags.IM_END, tags.IM_START)
IN_ANY_TASK = {name for names in ANSWER_TAGS.values() for name in names}
# An answer of a dialogue may hold the tags of every task.
IN_DIALOGUE = IN_ANY_TASK | set(STOPS)

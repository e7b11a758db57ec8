"""What systems that know nothing of this project's tags are asked, and their answers as `tasks.parse` reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from qwen_audio.data.manifest import Example
from qwen_audio.format import tags, tasks
from qwen_audio.format.timestamps import Word, render_words

# Kinds of answers that are plain text, or one number. A record of several parts (word times, events, turns, slots ...)
# has a written form of its own here, which no other model can know.
_PLAIN_BODIES = ("transcript", "text", "answer", "label", "keyword", "pitch")
ALONE = "Give the answer alone, without explanation."


def in_plain_text(task: str) -> bool:
    """Whether an answer to the task can be plain text."""
    return tasks.task_of(task).body in _PLAIN_BODIES


def question_of(example: Example) -> str:
    """The question of the example, else of its task, with the choices; and that the answer alone is wanted."""
    asked = tasks.example_prompt(example, as_question=True)
    return "".join([*(segment.text for segment in asked if not segment.special), " ", ALONE])


def raw_answer(task: str, text: str) -> str:
    """An answer in plain text as the task wants it: the first number in it as a pitch, all else as it is."""
    if tasks.task_of(task).body != "pitch":
        return text.strip()
    number = re.search(r"(?<![\d.])\d{1,3}(?![\d.]*\d)", text)
    if number is None or int(number[0]) >= tags.MIDI_VALUES:
        return text.strip()
    return tags.pitch_tag(int(number[0]))


def raw_words(words: Iterable[Word], seconds: float) -> tuple[str, tuple[str, ...]]:
    """Words in the tags of word times, and what had to be repaired for that.

    Words without text are left out; the others are put in order of start, cut to the recording (`seconds`) and to
    the end of the word before.
    """
    end = min(seconds, tags.MAX_TICK / tags.TICKS_PER_SECOND)
    kept: list[Word] = []
    last, moved = 0.0, 0
    for word in sorted(words, key=lambda word: word.start):
        text = tags.without_tags(word.word, [])
        if not text:
            continue
        start = min(max(word.start, last), end)
        stop = min(max(word.end, start), end)
        moved += max(abs(start - word.start), abs(stop - word.end)) > 1.5 / tags.TICKS_PER_SECOND
        kept.append(Word(text, start, stop))
        last = stop
    raw = "".join(segment.text for segment in render_words(kept))
    return raw, (f"the times of {moved} words were cut",) if moved else ()

"""Sequences of the multi-task format: prompts, training sequences, and the parser of generated strings.

After the audio span(s) a sequence is: transcription tag, audio language, task tag, text language, time-stamp
tag, output instruction, answer, `<|endoftext|>`; or, for a question: transcription tag, audio language,
`<|question|>`, the question, `<|answer|>`, the answer, `<|endoftext|>`. task_table.py says which tags.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from qwen_audio.format import tags
from qwen_audio.format.answers import BODIES, Parsed
from qwen_audio.format.example import Example
from qwen_audio.format.tags import Segment
from qwen_audio.format.task_table import (
    ENGLISH,
    LANGUAGE_NAMES,
    SPOKEN,
    SPOKEN_OR_ENGLISH,
    TASKS,
    Task,
    task_of,
)
from qwen_audio.format.text import collapse_spaces
from qwen_audio.format.timestamps import Span, Word

__all__ = [
    "SPOKEN",
    "TASKS",
    "Parsed",
    "Segment",
    "Span",
    "Task",
    "Word",
    "answer",
    "example_prompt",
    "parse",
    "prompt",
    "prompt_text",
    "render",
    "task_of",
]


def _audio_language(task: Task, language: str | None) -> str | None:
    """Tag of the audio language; None where the model has to predict it."""
    if task.audio_language == SPOKEN:
        return tags.language_tag(language) if language else None
    if task.audio_language == SPOKEN_OR_ENGLISH:
        return tags.language_tag(language) if language else ENGLISH
    return task.audio_language


def _text_language(task: Task, audio_tag: str, target_language: str | None) -> str:
    if task.text_language == "audio":
        return audio_tag
    if task.text_language == "target":
        if tags.language_tag(target_language) == tags.UNKNOWN:
            known = ", ".join((*tags.LANGUAGES, tags.TRADITIONAL_CHINESE))
            raise ValueError(
                f"target language {target_language!r} of {task.slug} has no tag: use one of {known}"
            )
        return tags.language_tag(target_language)
    return task.text_language


def _form(task: Task, instruction: str | None) -> str:
    name = instruction or next(iter(task.forms), "")
    if instruction and instruction not in task.forms:
        known = ", ".join(task.forms) or "none"
        raise ValueError(f"task {task.slug!r} has no output instruction {instruction!r}; known: {known}")
    return name


def _merge(pieces: Sequence[str]) -> list[Segment]:
    """Unlabelled segments of tags and plain words; neighbouring tags share one segment."""
    segments: list[Segment] = []
    for piece in pieces:
        special = piece in tags.SPECIAL_INDEX
        if special and segments and segments[-1].special:
            segments[-1] = Segment(segments[-1].text + piece, True, False)
        else:
            segments.append(Segment(piece, special, False))
    return segments


def prompt(
    task: str,
    *,
    language: str | None = None,
    target_language: str | None = None,
    question: str | None = None,
    choices: Sequence[str] | None = None,
    instruction: str | None = None,
) -> list[Segment]:
    """Inference prompt after the audio span(s), none of it labelled.

    language: code of the speech ("en"), used where the task's row does not fix the tag. If it is needed and
    None, the prompt stops after the transcription tag, for the model to predict it; "unknown", or any
    language without a tag, gives `<|unknown|>`. target_language: of a translation. question, choices: used by
    question tasks only; the choices are appended as "Choose from: a, b, c.". instruction: name of one of the
    task's forms, the first one if None.
    Raises ValueError for an unknown task or form, for an invalid language code, and for a translation without a
    usable target language.
    """
    row = task_of(task)
    form = _form(row, instruction)
    for code in filter(None, (language, target_language)):
        tags.check_language(code)
    audio_tag = _audio_language(row, language)
    if audio_tag is None:
        return _merge((row.start,))
    if row.task_tag == tags.QUESTION:
        text = collapse_spaces(question or row.question)
        if choices:
            text += f" Choose from: {', '.join(collapse_spaces(choice) for choice in choices)}."
        head = _merge((row.start, audio_tag, row.task_tag))
        return [*head, Segment(text, False, False), Segment(tags.ANSWER, True, False)]
    text_tag = _text_language(row, audio_tag, target_language)
    return _merge((row.start, audio_tag, row.task_tag, text_tag, *row.forms[form]))


def prompt_text(
    task: str,
    *,
    language: str | None = None,
    target_language: str | None = None,
    question: str | None = None,
    choices: Sequence[str] | None = None,
    instruction: str | None = None,
) -> str:
    """`prompt` as one string; the nine published forms equal the published prompts to the character."""
    segments = prompt(
        task,
        language=language,
        target_language=target_language,
        question=question,
        choices=choices,
        instruction=instruction,
    )
    return "".join(segment.text for segment in segments)


def _example_form(task: Task, example: Example) -> str | None:
    if "times" in task.forms and example.words:
        return "times"
    return example.meta.get("instruction")


def example_prompt(example: Example, *, as_question: bool = False) -> list[Segment]:
    """The prompt that `render` puts before an example's answer; speech without a language is `<|unknown|>`.

    as_question: ask the example's question (or the task's) with the choices, instead of the task's tags.
    """
    row = task_of(example.task)
    if as_question or row.task_tag == tags.QUESTION:
        choices = example.choices if as_question else None
        slug = row.slug if row.task_tag == tags.QUESTION else "audio_qa"
        return prompt(slug, question=_question(row, example), choices=choices)
    language = example.language
    if row.audio_language == SPOKEN and not language:
        language = "unknown"
    instruction = _example_form(row, example)
    return prompt(
        row.slug, language=language, target_language=example.target_language, instruction=instruction
    )


def _question(row: Task, example: Example) -> str:
    """The question of the example, else of its task; a translation is asked for by its language."""
    question = example.question or row.question
    if row.text_language == "target" and question == row.question:
        tag = _text_language(row, "", example.target_language)
        question = f"{question.rstrip('.')} into {LANGUAGE_NAMES[tags.language_of(tag) or '']}."
    return question


def render(example: Example, *, as_question: bool = False) -> list[Segment]:
    """Whole training sequence after the audio span(s), ending in `<|endoftext|>`.

    Labelled: the answer, `<|endoftext|>`, and the audio-language tag where it is true of the
    example (a prompt that fixes `<|en|>` for a barking dog, or `<|unknown|>` for speech whose language is the
    question, would teach a wrong language). Raises ValueError where the example lacks what the task needs.
    """
    row = task_of(example.task)
    head, *rest = example_prompt(example, as_question=as_question)
    pieces = [piece for piece, _ in tags.split_tags(head.text)]
    annotated = bool(example.language) or row.audio_language != SPOKEN
    true_tag = annotated and pieces[1] == tags.language_tag(example.language)
    start, following = Segment(pieces[0], True, False), "".join(pieces[2:])
    segments = [start, Segment(pieces[1], True, true_tag), Segment(following, True, False), *rest]
    return [*segments, *answer(example, as_question=as_question)]


def answer(example: Example, *, as_question: bool = False) -> list[Segment]:
    """The labelled end of a training sequence: the answer and `<|endoftext|>`; raises as `render` does."""
    row = task_of(example.task)
    if as_question:
        body = BODIES[row.body].ask(example)
    else:
        body = BODIES[row.body].render(example, _form(row, _example_form(row, example)))
    return [*body, Segment(tags.END_OF_TEXT, True, True)]


def _any(*names: str) -> str:
    return f"(?:{'|'.join(re.escape(name) for name in names)})"


_END = re.compile(_any(tags.END_OF_TEXT, tags.IM_END))
_LANGUAGE = _any(*map(tags.language_tag, (*tags.LANGUAGES, tags.TRADITIONAL_CHINESE, None)))
_TASK = _any(tags.TRANSCRIBE, tags.TRANSLATE, tags.CAPTION, tags.KEYWORD)
_HEADER = re.compile(
    f"(?:{tags.AUDIO_START}.*?{tags.AUDIO_END})*{_any(tags.START_OF_TRANSCRIPT, tags.START_OF_ANALYSIS)}?"
    f"(?P<language>{_LANGUAGE})?(?P<rest>{_TASK}{_LANGUAGE}{_any(tags.TIMESTAMPS, tags.NO_TIMESTAMPS)})?",
    re.S,
)


def parse(task: str, text: str, choices: Sequence[str] | None = None) -> Parsed:
    """Read a generated string, with or without the prompt in front; never raises for any `text`.

    Unreadable and repaired parts are reported in `problems`; with `choices`, so is a class, an event or a
    keyword that is none of them (case does not count). Everything from the first `<|endoftext|>` or `<|im_end|>` on
    is left out. ValueError for an unknown task.
    """
    row = task_of(task)
    text = _END.split(text, maxsplit=1)[0].strip()
    header = _HEADER.match(text)
    assert header is not None  # every part is optional
    language = tags.language_of(header.group("language") or "")
    body, rest = text[header.end() :], header.group("rest")
    strange = False
    if row.task_tag == tags.QUESTION and not rest:
        if body.startswith(tags.QUESTION):
            body = body.partition(tags.ANSWER)[2]
    elif rest:
        after = _after_form(row, rest, body)
        strange = after is None
        body = body if after is None else after
    parsed = BODIES[row.body].parse(body)
    if strange:
        parsed.problems.insert(0, f"the tags in front are not those of {task}: {rest}")
    parsed.language = language
    if choices:
        known = {choice.casefold() for choice in choices}
        for name in dict.fromkeys(_named(row, parsed)):
            # several choices may be the answer to a question, with commas between them
            if name and name.casefold() not in known and not known.issuperset(name.casefold().split(", ")):
                parsed.problems.append(f"{name!r} is not one of the choices")
    return parsed


def _named(row: Task, parsed: Parsed) -> list[str]:
    """The classes that an answer names."""
    match row.body:
        case "events":
            return [span.label for span in parsed.spans]
        case "keyword":
            return parsed.fields["keywords"]
        case "label" | "answer":
            return [parsed.label or ""]
    return []


def _after_form(row: Task, head: str, body: str) -> str | None:
    """The text after the tags of one of the task's forms; `head` is task, text language and times."""
    for form in row.forms.values():  # at most one of them matches
        tail = "".join(form[1:])
        if head.startswith(row.task_tag) and head.endswith(form[0]) and body.startswith(tail):
            return body[len(tail) :]
    return None

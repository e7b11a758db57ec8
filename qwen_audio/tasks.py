"""The tasks as rows of data: which tags ask for a task, how its answer is written, how it is scored.

After the audio span(s) a sequence is: transcription tag, audio language, task tag, text language, time-stamp tag,
output instruction, answer, `<|endoftext|>`; or, for a question, transcription tag, audio language, `<|question|>`,
the question, `<|answer|>`, the answer, `<|endoftext|>`. `TASKS` is the only place that decides a form; prompts,
training sequences, the parser and docs/format.md follow it. No two tasks share a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qwen_audio import tags
from qwen_audio.answers import BODIES, Parsed
from qwen_audio.tags import Segment
from qwen_audio.text import collapse_spaces
from qwen_audio.timestamps import Word

if TYPE_CHECKING:
    from qwen_audio.data.manifest import Example

__all__ = ["TASKS", "Parsed", "Segment", "Task", "Word", "example_prompt", "parse", "prompt", "prompt_text", "render"]

# Values of Task.audio_language, apart from a fixed tag.
SPOKEN = "spoken"  # the language of the speech; unknown to the caller: the prompt stops and the model predicts it
SPOKEN_OR_ENGLISH = "spoken, else en"  # the published prompts of these tasks say <|en|>


@dataclass(frozen=True)
class Task:
    """One row of the table.

    abbreviation, title, group: as in Table 1 of the paper; metric: name of the main score; question: what to ask
    when the task is put as a free question; start: transcription tag; audio_language: SPOKEN, SPOKEN_OR_ENGLISH or
    a fixed tag; task_tag; text_language: "audio", "target" or a fixed tag; forms: name -> what follows the text
    language (tags, or plain words), the first one being the default; body: key of `answers.BODIES`.
    """

    slug: str
    abbreviation: str
    title: str
    group: str
    metric: str
    question: str
    start: str
    audio_language: str
    task_tag: str
    text_language: str
    forms: dict[str, tuple[str, ...]]
    body: str

    @property
    def tags(self) -> tuple[str, ...]:
        """Special tokens of the default form, in order, languages left out."""
        form = next(iter(self.forms.values()), ())
        closing = (tags.ANSWER,) if self.task_tag == tags.QUESTION else ()
        return (self.start, self.task_tag, *(item for item in form if item in tags.SPECIAL_INDEX), *closing)


_EN = tags.language_tag("en")


def _named(kind: str) -> tuple[str, ...]:
    """Speaker and song facts share one instruction tag, so the kind of fact is named."""
    return (tags.START_OF_ENTITY_TYPE, kind, tags.END_OF_ENTITY_TYPE)


def _transcript(slug: str, abbreviation: str, title: str, metric: str, question: str, **row: object) -> Task:
    row = {"text_language": "audio", "task_tag": tags.TRANSCRIBE, "body": "transcript"} | row
    start, speech = tags.START_OF_TRANSCRIPT, "speech"
    return Task(slug, abbreviation, title, speech, metric, question, start, SPOKEN, **row)  # type: ignore[arg-type]


def _analysis(
    slug: str, abbreviation: str, title: str, group: str, metric: str, question: str, language: str,
    instruction: tuple[str, ...], body: str = "label", *, task_tag: str = tags.KEYWORD,
    forms: dict[str, tuple[str, ...]] | None = None,
) -> Task:  # fmt: skip
    forms = forms or {"default": (tags.NO_TIMESTAMPS, *instruction)}
    start = tags.START_OF_ANALYSIS
    return Task(slug, abbreviation, title, group, metric, question, start, language, task_tag, _EN, forms, body)


def _question(slug: str, abbreviation: str, title: str, group: str, question: str) -> Task:
    # The published prompt says <|en|> whatever is heard; so does training, for a caller who only has a question.
    row = (slug, abbreviation, title, group, "accuracy", question, tags.START_OF_ANALYSIS, _EN, tags.QUESTION)
    return Task(*row, "", {}, "answer")


_OFF, _ON = tags.NO_TIMESTAMPS, tags.TIMESTAMPS
_SPEAKER, _SONG = tags.SPEAKER_META, tags.SONG_META
_CAPTION_FORMS = {
    "plain": (_OFF, tags.CAPTION_PLAIN),
    "clotho": (_OFF, tags.CAPTION_CLOTHO),
    "audiocaps": (_OFF, tags.CAPTION_AUDIOCAPS),
}
_KEYWORD_FORMS = {"default": (_OFF, tags.AUDIO_GROUNDING), "times": (_ON, tags.AUDIO_GROUNDING)}

# fmt: off
_ROWS = (
    _transcript("asr", "ASR", "automatic speech recognition", "wer", "Transcribe the speech.",
                forms={"wo_itn": (_OFF, tags.WITHOUT_ITN), "itn": (_OFF, tags.ITN)}),
    _transcript("speech_translation", "S2TT", "speech-to-text translation", "bleu", "Translate the speech.",
                task_tag=tags.TRANSLATE, text_language="target", forms={"itn": (_OFF, tags.ITN)}, body="text"),
    _transcript("word_timestamps", "SRWT", "speech recognition with word-level time stamps", "aas",
                "Transcribe the speech with a start and end time for every word.",
                forms={"default": (_ON, tags.time_tag(0.0))}, body="words"),
    _analysis("emotion", "ER", "emotion recognition", "speech", "accuracy",
              "What is the emotion of the speaker?", SPOKEN_OR_ENGLISH, (tags.EMOTION_RECOGNITION,)),
    _analysis("vocal_sound", "VSC", "vocal sound classification", "speech", "accuracy",
              "Which vocal sound is heard?", SPOKEN_OR_ENGLISH, (tags.VOCAL_CLASSIFICATION,)),
    _analysis("keyword_spotting", "KS", "keyword spotting", "speech", "accuracy",
              "Which keyword is spoken?", SPOKEN, (), "keyword", forms=_KEYWORD_FORMS),
    # The language is the answer, so it must not stand in the prompt.
    _analysis("language_id", "LID", "spoken language identification", "speech", "accuracy",
              "Which language is spoken?", tags.UNKNOWN, (_SPEAKER, *_named("language"))),
    _analysis("speaker_gender", "SGC", "speaker gender classification", "speech", "accuracy",
              "Is the speaker male or female?", SPOKEN, (_SPEAKER, *_named("gender"))),
    _analysis("speaker_age", "SAP", "speaker age prediction", "speech", "accuracy",
              "Estimate the age range of the speaker.", SPOKEN, (_SPEAKER, *_named("age"))),
    _analysis("speech_intent", "IC, SF", "intent classification and slot filling", "speech", "accuracy",
              "Extract the intent and the slots of the spoken command as JSON.", SPOKEN,
              (tags.SPEECH_UNDERSTANDING,), "intent"),
    _question("speaker_verification", "SV", "speaker verification", "speech",
              "Are the two recordings spoken by the same person?"),
    _analysis("audio_caption", "AAC", "automatic audio captioning", "sound", "cider",
              "Describe the audio in one sentence.", tags.UNKNOWN, (), "text",
              task_tag=tags.CAPTION, forms=_CAPTION_FORMS),
    _analysis("sound_event", "SEC", "sound event classification", "sound", "accuracy",
              "Which sound event is heard?", tags.UNKNOWN, (tags.EVENT,)),
    _analysis("acoustic_scene", "ASC", "acoustic scene classification", "sound", "accuracy",
              "Where was this recorded?", tags.UNKNOWN, (tags.SCENE,)),
    _question("audio_qa", "AQA", "audio question answering", "sound", "What is heard in the audio?"),
    _analysis("music_caption", "MC", "music captioning", "music", "cider",
              "Describe the music.", tags.UNKNOWN, (tags.MUSIC_DESCRIPTION,), "text", task_tag=tags.CAPTION),
    _analysis("music_genre", "MGR", "music genre recognition", "music", "accuracy",
              "Which genre is this music?", tags.UNKNOWN, (_SONG, *_named("genre"))),
    _analysis("note_analysis", "MNA", "music note analysis", "music", "accuracy",
              "What are the pitch, the velocity, the qualities and the instrument of the note?", tags.UNKNOWN,
              (tags.NOTE_ANALYSIS,), "note"),
    # A note analysis begins with <|pitch|> too; the delimiter says that nothing follows the pitch.
    _analysis("note_pitch", "MNA", "pitch of a note", "music", "accuracy",
              "What is the MIDI pitch of the note?", tags.UNKNOWN,
              (tags.NOTE_ANALYSIS, tags.DELIMITER, tags.PITCH), "pitch"),
    _analysis("note_velocity", "MNA", "dynamic level of a note", "music", "accuracy",
              "What is the dynamic level of the note?", tags.UNKNOWN, (tags.NOTE_ANALYSIS, tags.VELOCITY)),
    _analysis("instrument", "MIC", "music instrument classification", "music", "accuracy",
              "Which instrument is playing?", tags.UNKNOWN, (tags.NOTE_ANALYSIS, tags.INSTRUMENT)),
)
# fmt: on
TASKS: dict[str, Task] = {row.slug: row for row in _ROWS}


def task_of(slug: str) -> Task:
    """The row of a slug; ValueError that names the known ones."""
    if slug not in TASKS:
        raise ValueError(f"unknown task {slug!r}: use one of {', '.join(TASKS)}")
    return TASKS[slug]


def _audio_language(task: Task, language: str | None) -> str | None:
    """Tag of the audio language; None where the model has to predict it."""
    if task.audio_language == SPOKEN:
        return tags.language_tag(language) if language else None
    if task.audio_language == SPOKEN_OR_ENGLISH:
        return tags.language_tag(language) if language else _EN
    return task.audio_language


def _text_language(task: Task, audio_tag: str, target_language: str | None) -> str:
    if task.text_language == "audio":
        return audio_tag
    if task.text_language == "target":
        if tags.language_tag(target_language) == tags.UNKNOWN:
            known = ", ".join((*tags.LANGUAGES, tags.TRADITIONAL_CHINESE))
            raise ValueError(f"target language {target_language!r} of {task.slug} has no tag: use one of {known}")
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

    language: code of the speech ("en"); None or a task whose row fixes the tag: see docs/format.md. Where the
    language of speech is needed and not given, the prompt stops after the transcription tag, for the model to
    predict it; `language="unknown"` (or any language without a tag) stands for `<|unknown|>`.
    target_language: of a translation. question, choices: used by question tasks only; the choices are appended as
    "Choose from: a, b, c.". instruction: name of one of the task's forms, the default one if None.
    Raises ValueError for an unknown task or form, and for a translation without a usable target language.
    """
    row = task_of(task)
    form = _form(row, instruction)
    audio_tag = _audio_language(row, language)
    if row.task_tag == tags.QUESTION:
        text = collapse_spaces(question or row.question)
        if choices:
            text += f" Choose from: {', '.join(collapse_spaces(choice) for choice in choices)}."
        head = _merge((row.start, audio_tag or _EN, row.task_tag))
        return [*head, Segment(text, False, False), Segment(tags.ANSWER, True, False)]
    if audio_tag is None:
        return _merge((row.start,))
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
    """`prompt` as one string; for the nine published forms, the published evaluation prompts to the character."""
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
    if task.slug == "keyword_spotting":
        return "times" if example.words else "default"
    return example.meta.get("instruction")


def example_prompt(example: Example, *, as_question: bool = False) -> list[Segment]:
    """The prompt that `render` puts before the answer of an example; speech without a language is `<|unknown|>`.

    as_question: ask the example's question (or the task's), choices appended, instead of using the task's tags.
    """
    row = task_of(example.task)
    if as_question or row.task_tag == tags.QUESTION:
        choices = example.choices if as_question else None
        slug = row.slug if row.task_tag == tags.QUESTION else "audio_qa"
        return prompt(slug, question=example.question or row.question, choices=choices)
    language = example.language
    if row.audio_language == SPOKEN and not language:
        language = "unknown"
    instruction = _example_form(row, example)
    return prompt(row.slug, language=language, target_language=example.target_language, instruction=instruction)


def render(example: Example, *, as_question: bool = False) -> list[Segment]:
    """Whole training sequence after the audio span(s), ending in `<|endoftext|>`.

    Labelled: the answer, `<|endoftext|>`, and the audio-language tag where it tells the truth about the example
    (a prompt that fixes `<|en|>` for a barking dog, or `<|unknown|>` for speech whose language is the question,
    would teach the model a wrong language). Raises ValueError where the example lacks what the task needs.
    """
    row = task_of(example.task)
    head, *rest = example_prompt(example, as_question=as_question)
    pieces = [piece for piece, _ in tags.split_tags(head.text)]
    true_tag = pieces[1] == tags.language_tag(example.language)
    start, following = Segment(pieces[0], True, False), "".join(pieces[2:])
    segments = [start, Segment(pieces[1], True, true_tag), Segment(following, True, False), *rest]
    if as_question and row.body == "words":  # times are part of the answer; the tags are all it needs
        segments.append(Segment(tags.time_tag(0.0), True, True))
        segments += BODIES["words"].render(example, "default")
    elif as_question:
        segments += BODIES["answer"].render(example, "default")
    else:
        segments += BODIES[row.body].render(example, _form(row, _example_form(row, example)))
    return [*segments, Segment(tags.END_OF_TEXT, True, True)]


_HEADER = re.compile(
    "(?:<audio>.*?</audio>)*(?:<\\|startoftranscript\\|>|<\\|startofanalysis\\|>)?"
    f"(?P<language>{'|'.join(re.escape(tags.language_tag(c)) for c in (*tags.LANGUAGES, 'zh_tr', None))})?"
    "(?P<rest>(?:<\\|(?:transcribe|translate|caption|keyword)\\|>)?(?:<\\|\\w+\\|>)?<\\|(?:no)?timestamps\\|>)?",
    re.S,
)


def parse(task: str, text: str) -> Parsed:
    """Read a generated string, with or without the prompt in front; never raises for any `text`.

    Everything from the first `<|endoftext|>` or `<|im_end|>` on is left out. ValueError only for an unknown task.
    """
    row = task_of(task)
    text = re.split(re.escape(tags.END_OF_TEXT) + "|" + re.escape(tags.IM_END), text, maxsplit=1)[0].strip()
    header = _HEADER.match(text)
    assert header is not None  # every part is optional
    language = tags.language_of(header.group("language") or "")
    body = text[header.end() :]
    if row.task_tag == tags.QUESTION:
        if body.startswith(tags.QUESTION):
            body = body.partition(tags.ANSWER)[2]
    elif header.group("rest"):
        endings = {"".join(form[1:]) for form in row.forms.values()}
        body = next((body.removeprefix(ending) for ending in sorted(endings) if body.startswith(ending)), body)
    parsed = BODIES[row.body].parse(body)
    parsed.language = language
    return parsed

"""The table of tasks: the tags of each prompt, the form of its answer, its metric.

`TASKS` is the only place that decides a form. Prompts, training sequences and the parser (tasks.py) follow
it, and a test compares docs/format.md with it. No two tasks share a prompt. Where the published release has no
form for a task, the row is built from published special tokens, so that a published checkpoint can read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qwen_audio.format import tags

# Values of Task.audio_language, apart from a fixed tag.
SPOKEN = "spoken"  # the language of the speech; where the caller does not know it, the model predicts it
SPOKEN_OR_ENGLISH = "spoken, else en"  # the published prompts of these tasks say <|en|>

Forms = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Task:
    """One row of the table.

    abbreviation, title, group: as in Table 1 of the paper; metric: name of the main score; question: the
    wording of the task as a free question; start: transcription tag; audio_language: SPOKEN,
    SPOKEN_OR_ENGLISH or a fixed tag; task_tag; text_language: "audio", "target" or a fixed tag; forms: by
    name, the segments after the text language (tags, or plain words), the first one being the default; body:
    key of `answers.BODIES`.
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
    forms: Forms
    body: str

    @property
    def tags(self) -> tuple[str, ...]:
        """Special tokens of the default form, in order, languages left out."""
        form = next(iter(self.forms.values()), ())
        closing = (tags.ANSWER,) if self.task_tag == tags.QUESTION else ()
        return (self.start, self.task_tag, *(item for item in form if item in tags.SPECIAL_INDEX), *closing)


ENGLISH = tags.language_tag("en")
# As questions say them.
LANGUAGE_NAMES = {
    "en": "English", "zh": "Chinese", "de": "German", "es": "Spanish", "ko": "Korean", "fr": "French",
    "ja": "Japanese", "it": "Italian", "zh_tr": "traditional Chinese",
}  # fmt: skip


def _named(kind: str) -> tuple[str, ...]:
    """Speaker and song facts share one instruction tag, so the kind of fact is named."""
    return (tags.START_OF_ENTITY_TYPE, kind, tags.END_OF_ENTITY_TYPE)


def _transcript(
    slug: str, abbreviation: str, title: str, metric: str, question: str, forms: Forms,
    body: str = "transcript", *, task_tag: str = tags.TRANSCRIBE, text_language: str = "audio",
) -> Task:  # fmt: skip
    row = (slug, abbreviation, title, "speech", metric, question, tags.START_OF_TRANSCRIPT, SPOKEN)
    return Task(*row, task_tag, text_language, forms, body)


def _analysis(
    slug: str, abbreviation: str, title: str, group: str, metric: str, question: str, language: str,
    instruction: tuple[str, ...], body: str = "label", *, task_tag: str = tags.KEYWORD,
    forms: Forms | None = None,
) -> Task:  # fmt: skip
    forms = forms or {"default": (tags.NO_TIMESTAMPS, *instruction)}
    row = (slug, abbreviation, title, group, metric, question, tags.START_OF_ANALYSIS, language)
    return Task(*row, task_tag, ENGLISH, forms, body)


def _question(slug: str, abbreviation: str, title: str, group: str, question: str) -> Task:
    # The published prompt says <|en|> for any audio; so does training, as a caller may not know the language.
    asked = (tags.START_OF_ANALYSIS, ENGLISH, tags.QUESTION)
    return Task(slug, abbreviation, title, group, "accuracy", question, *asked, "", {}, "answer")


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
                {"wo_itn": (_OFF, tags.WITHOUT_ITN), "itn": (_OFF, tags.ITN)}),
    _transcript("speech_translation", "S2TT", "speech-to-text translation", "bleu", "Translate the speech.",
                {"itn": (_OFF, tags.ITN)}, "text", task_tag=tags.TRANSLATE, text_language="target"),
    # The delimiter in the prompt says that more than one transcript is wanted.
    _transcript("overlapped_asr", "OSR", "overlapped speech recognition", "wer",
                "Transcribe each of the speakers who talk at the same time.",
                {"wo_itn": (_OFF, tags.DELIMITER, tags.WITHOUT_ITN), "itn": (_OFF, tags.DELIMITER, tags.ITN)},
                "overlap"),
    _transcript("dialect_asr", "Dialect ASR", "dialect speech recognition", "wer",
                "Transcribe the speech, which is in a dialect.",
                {"default": (_OFF, _SPEAKER, *_named("dialect"))}, "dialect"),
    _transcript("word_timestamps", "SRWT", "speech recognition with word-level time stamps", "aas",
                "Transcribe the speech with a start and end time for every word.",
                {"default": (_ON, tags.time_tag(0.0))}, "words"),
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
              "Is the speaker a child, an adult or a senior?", SPOKEN, (_SPEAKER, *_named("age"))),
    _analysis("dialect_id", "DID", "dialect identification", "speech", "accuracy",
              "Which dialect is spoken?", SPOKEN, (_SPEAKER, *_named("dialect"))),
    _analysis("speaker_diarization", "SD", "speaker diarization", "speech", "der",
              "Who speaks when?", SPOKEN, (), "turns", forms={"default": (_ON, _SPEAKER)}),
    _analysis("entity_recognition", "SER", "speech entity recognition", "speech", "entity_f1",
              "Which named entities are mentioned?", SPOKEN, (tags.NAMED_ENTITY_RECOGNITION,), "entities"),
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
    _analysis("event_detection", "SED", "sound event detection", "sound", "event_f1",
              "Which sound events are heard, and from when to when?", tags.UNKNOWN, (), "events",
              forms={"default": (_ON, tags.EVENT)}),
    _analysis("acoustic_scene", "ASC", "acoustic scene classification", "sound", "accuracy",
              "Where was this recorded?", tags.UNKNOWN, (tags.SCENE,)),
    _question("audio_qa", "AQA", "audio question answering", "sound", "What is heard in the audio?"),
    _analysis("music_caption", "MC", "music captioning", "music", "cider",
              "Describe the music.", tags.UNKNOWN, (tags.MUSIC_DESCRIPTION,), "text", task_tag=tags.CAPTION),
    _analysis("singer_id", "SID", "singer identification", "music", "accuracy",
              "Who is singing?", tags.UNKNOWN, (_SONG, *_named("singer"))),
    # A speaker of an unknown language may be asked for the emotion too; the song tag parts the two.
    _analysis("music_emotion", "SMER", "singer and music emotion recognition", "music", "accuracy",
              "What is the emotion of the music?", tags.UNKNOWN, (_SONG, tags.EMOTION_RECOGNITION)),
    _analysis("music_recognition", "MR", "music recognition", "music", "accuracy",
              "What is the title of this music?", tags.UNKNOWN, (_SONG, *_named("title"))),
    _question("music_qa", "MQA", "music question answering", "music", "What is heard in the music?"),
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

"""Wordings of requests and answers in a dialogue, for each row of the task table.

Templates are separated by "|". `{it}` is the recording ("the recording", "Audio 2"); the other slots are filled by
turns_main.py from the labels. No request is worded as the task table or the synthetic world words its questions:
those are kept for evaluation, and a test compares them.
"""

from __future__ import annotations

from typing import NamedTuple


class Phrases(NamedTuple):
    """Templates of requests and of answers."""

    requests: str
    answers: str


# fmt: off
PHRASES: dict[str, Phrases] = {
    "asr": Phrases(
        "what is said in {it}?|please write down the words of {it}.|could you transcribe {it} for me?"
        "|I need the speech of {it} as text.|type out what you hear in {it}, please."
        "|which words are spoken in {it}?"
        "|what does the person in {it} say?",
        'the speaker says: "{text}"|it says: "{text}"|this is what is said: "{text}"|"{text}"'),
    "speech_translation": Phrases(
        "what does the speech in {it} mean in {target}?|please put what is said in {it} into {target}."
        "|I do not understand {it}. What would it be in {target}?"
        "|say in {target} what the speaker of {it} says."
        "|could you turn the speech of {it} into {target}?"
        "|how would one say the content of {it} in {target}?",
        'in {target} it means: "{text}"|"{text}"|the speaker says, in {target}: "{text}"'),
    "overlapped_asr": Phrases(
        "people talk over each other in {it}. What does each of them say?"
        "|please separate the voices of {it} and write "
        "down both.|can you untangle who says what in {it}?|what do the speakers of {it} say at once?"
        "|write down the speech in {it}, one speaker at a time."
        "|I cannot follow {it}, they all talk at once. Can you?",
        "{list}."),
    "dialect_asr": Phrases(
        "what is said in {it}, and with which accent?|write down {it} and name the accent."
        "|please transcribe {it}, and tell "
        "me the variety of the language.|what does the speaker of {it} say, and where does the accent belong?"
        "|I need the words of {it} and the accent.|which accent is this in {it}, and what are the words?",
        'the speaker says "{text}" in {dialect}.|"{text}", spoken in {dialect}.'
        '|it is {dialect}, and the words are: "{text}"'),
    "word_timestamps": Phrases(
        "give me each word of {it} with its times.|when is each word of {it} spoken?"
        "|please align the words of {it} with time."
        "|I want to make subtitles for {it}. Which words come when?"
        "|list the words of {it}, with start and end."
        "|could you time the words in {it}?",
        "{list}.|here are the words: {list}.|the words come as follows: {list}."),
    "emotion": Phrases(
        "how does the speaker in {it} feel?|what mood is the person in {it} in?"
        "|does the voice in {it} carry a feeling, and which?"
        "|please describe the feeling in the voice of {it}.|what emotion do you hear in {it}?"
        "|how would you describe the tone of "
        "voice in {it}?",
        "the speaker sounds {adjective}.|the voice sounds {adjective}.|to me the speaker seems {adjective}."),
    "vocal_sound": Phrases(
        "what sound does the person in {it} make?|a person makes a noise in {it}. What is it?"
        "|which sound comes from a mouth or "
        "nose in {it}?|please name the human sound in {it}.|what is the person in {it} doing?"
        "|what human noise is in {it}?",
        "that is {noun}.|I hear {noun}.|it is {noun}."),
    "keyword_spotting": Phrases(
        "which single word do you hear in {it}?|what is the word in {it}?"
        "|someone says one word in {it}. Which?"
        "|please name the word spoken in {it}.|which command word does {it} hold?"
        "|what word was that in {it}?",
        'the word is "{word}".|I hear the word "{word}".|"{word}".'),
    "language_id": Phrases(
        "what language is that in {it}?|in which language does the person in {it} talk?"
        "|please name the language of {it}."
        "|I do not recognise the language of {it}. Do you?|tell me the language of the speech in {it}."
        "|which tongue does the speaker of {it} use?",
        "it is {label}.|the speaker talks in {label}.|the speech is in {label}."),
    "speaker_gender": Phrases(
        "do you hear a male or a female voice in {it}?"
        "|is the voice in {it} that of a man or boy, or of a woman or girl?"
        "|what sex would you guess from the voice in {it}?|tell me if {it} has a female or a male voice."
        "|does a male or a female person talk in {it}?"
        "|how would you class the voice in {it}, male or female?",
        "it is a {label} voice.|the voice is {label}.|I hear a {label} voice.|it sounds {label} to me."),
    "speaker_age": Phrases(
        "how old does the speaker in {it} sound?|what age would you guess for the voice in {it}?"
        "|is the voice in {it} young or old?"
        "|please guess the age of whoever talks in {it}.|to which age group does the voice in {it} belong?"
        "|how old may the person in {it} be?",
        "the speaker sounds like {noun}.|it sounds like the voice of {noun}.|I would say it is {noun}."),
    "dialect_id": Phrases(
        "what accent does the speaker in {it} have?|where might the speaker in {it} come from?"
        "|please name the accent in {it}."
        "|can you place the accent of {it}?|which variety of the language is heard in {it}?"
        "|how would you call the way of "
        "speaking in {it}?",
        "it is {label}.|the speaker talks in {label}.|that sounds like {label}."),
    "speaker_diarization": Phrases(
        "when does each speaker in {it} talk?|please list the turns of the speakers in {it}."
        "|who has the word at which time in {it}?"
        "|split {it} by speaker, with times.|I need the turns of the talk in {it}, with start and end."
        "|how do the speakers in {it} take turns?",
        "{list}.|these are the turns: {list}."),
    "entity_recognition": Phrases(
        "which names, places, dates or amounts does {it} contain?|list the names and places in {it}, please."
        "|who or what is named in {it}?|pick out the names and dates of {it}."
        "|find the people, places and organisations in {it}."
        "|are there any names in {it}?",
        "{list}.|I find {list}."),
    "speech_intent": Phrases(
        "what does the speaker of {it} want?|this is a voice command in {it}. What should be done?"
        "|what is asked of the assistant "
        "in {it}?|please read the command in {it} and give its details.|what is the wish behind {it}?"
        "|a device hears {it}. What should it do?",
        "{list}."),
    "speaker_verification": Phrases(
        "is it the same speaker in {it} and {other}?|do {it} and {other} come from one and the same voice?"
        "|compare the voices of "
        "{it} and {other}: one person or two?|did one person record {it} and {other}?"
        "|are the speakers of {it} and {other} "
        "the same?|please tell me if {it} and {other} share their speaker.",
        "{verdict}"),
    "audio_caption": Phrases(
        "what is going on in {it}?|sum up {it} in a sentence.|what do you hear in {it}?"
        "|please describe what happens in {it}."
        "|how would you caption {it}?|tell me in short what {it} is about.",
        "{text}"),
    "sound_event": Phrases(
        "what makes the sound in {it}?|what do you hear in {it}?|please name the sound in {it}."
        "|can you tell what this is in {it}?"
        "|what could have made the noise in {it}?|identify the sound of {it}, please.",
        "I hear {noun}.|that is {noun}.|it is the sound of {noun}."),
    "event_detection": Phrases(
        "which sounds occur in {it}, and when?|list the sounds of {it} with their times."
        "|give me a timeline of {it}."
        "|what can be heard at which time in {it}?|please mark every sound in {it} with start and end."
        "|what happens when in {it}?",
        "{list}.|I hear {list}."),
    "acoustic_scene": Phrases(
        "what kind of place is {it} from?|where do you think {it} was made?"
        "|what are the surroundings in {it}?"
        "|guess the place of {it}, please.|which place does {it} sound like?|where could one hear {it}?",
        "it sounds like {noun}.|I think this is {noun}.|this seems to be {noun}."),
    "audio_qa": Phrases(
        "{question}|listen to {it}: {question}|a question about {it}: {question}",
        "{text}|the answer is: {text}."),
    "music_caption": Phrases(
        "what kind of piece is {it}?|please describe the piece in {it}."
        "|sum up the music of {it} in a sentence."
        "|tell me about the music in {it}.|how would you put the music of {it} into words?"
        "|what do you hear in the piece of {it}?",
        "{text}"),
    "singer_id": Phrases(
        "which of the singers is this in {it}?|whose voice is singing in {it}?"
        "|do you recognise the singer of {it}?"
        "|please name the singer in {it}.|who performs the song in {it}?|tell me who sings in {it}.",
        "{label} is singing.|this is {label}.|the singer is {label}."),
    "music_emotion": Phrases(
        "what mood does the music of {it} have?|how does the music in {it} feel?"
        "|please name the mood of {it}."
        "|which feeling does the piece in {it} express?|is the music in {it} happy, sad, or something else?"
        "|how would you describe the mood in {it}?",
        "it is {label}.|the music sounds {label}.|its mood is {label}."),
    "music_recognition": Phrases(
        "do you know this tune in {it}?|which piece is played in {it}?|please name the tune of {it}."
        "|I know the melody in {it}, but what "
        "is it called?|what melody is this in {it}?|can you name the piece in {it}?",
        'it is "{label}"{by}.|this is "{label}"{by}.|that is the tune of "{label}"{by}.'),
    "music_qa": Phrases(
        "{question}|listen to {it}: {question}|a question about {it}: {question}",
        "{text}|the answer is: {text}."),
    "music_genre": Phrases(
        "what style of music is {it}?|how would you class the music in {it}?|please name the genre of {it}."
        "|to which genre does {it} belong?|what sort of music do you hear in {it}?"
        "|in which section of a record shop would {it} be?",
        "it is {noun}.|this is {noun}.|I would call it {noun}."),
    "note_analysis": Phrases(
        "describe the note in {it}.|tell me all about the note in {it}."
        "|what can you say about the tone in {it}?"
        "|please analyse the note of {it}.|which note is played in {it}, how loud, and on what?"
        "|what note is this in {it}?",
        "{text}"),
    "note_pitch": Phrases(
        "how high is the note in {it}, as a MIDI number?|please give the pitch of {it} as MIDI."
        "|which MIDI note is {it}?"
        "|at which key number is the tone in {it}?|what MIDI number does the note in {it} have?"
        "|name the pitch of {it}.",
        "it is MIDI pitch {text}, the note {name}.|MIDI pitch {text}, which is {name}."
        "|the pitch is {text} in MIDI ({name})."),
    "note_velocity": Phrases(
        "how strongly is the note in {it} played?|which dynamic marking would fit {it}?"
        "|is the note in {it} played loudly or softly?"
        "|please give the dynamics of {it}.|how much force is behind the note in {it}?"
        "|what marking from pianissimo to fortissimo "
        "suits {it}?",
        "it is played {label}.|the note is {label}.|{label} would fit."),
    "instrument": Phrases(
        "what instrument do you hear in {it}?|on what is {it} played?|please name the instrument in {it}."
        "|which instrument makes the "
        "sound in {it}?|what is being played in {it}?|can you tell the instrument of {it}?",
        "it is {noun}.|I hear {noun}.|that is {noun}."),
}
# fmt: on

"""Turns about several recordings: the longer, louder or higher one, shared classes, the one with a given sound.

Each function takes the recordings with their names ("Audio 1", ...) and returns a turn, or None where the labels do
not decide it or the difference is too small to hear.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from qwen_audio.format.task_table import LANGUAGE_NAMES
from qwen_audio.sft.heard import QA, Heard, a, listed, number, one, pick, sentence
from qwen_audio.sft.nouns import event_noun, genre_noun, instrument_noun, place_noun
from qwen_audio.sft.phrases import PHRASES
from qwen_audio.synthetic.music.theory import note_name
from qwen_audio.synthetic.sounds.stories import alike

Named = Sequence[tuple[str, Heard]]

LONGER = 1.2  # ratio of lengths
LOUDER = 4.0  # dB
HIGHER = 2  # semitones
FASTER = 1.2  # ratio of tempos


def _shown(rng: np.random.Generator, named: Named, last: str = "or") -> str:
    return listed([named[k][0] for k in rng.permutation(len(named))], last)


def _ranked(named: Named, values: Sequence[float]) -> list[tuple[float, str]]:
    return sorted(zip(values, (name for name, _ in named), strict=True), reverse=True)


def summary(heard: Heard) -> str | None:
    """Description of a recording in a few words, for a list of several."""
    if heard.transcript:
        return f'someone who says "{heard.transcript}"'
    if heard.events:
        return listed([event_noun(label) for label in heard.events])
    label = heard.example.label
    if heard.task == "sound_event" and label:
        return event_noun(label)
    if heard.task == "acoustic_scene" and label:
        return f"the surroundings of {place_noun(label)}"
    if heard.task == "music_recognition" and label:
        return f'the tune of "{label}"'
    if heard.task == "instrument" and label:
        return instrument_noun(label)
    if heard.task == "music_genre" and label:
        return genre_noun(label)
    if heard.task == "vocal_sound" and label:
        return event_noun(label)
    return None


def each(rng: np.random.Generator, named: Named) -> QA | None:
    """The content of each recording."""
    said = [(name, summary(heard)) for name, heard in named]
    if any(text is None for _, text in said):
        return None
    request = one(rng, "what is in each of {them}?|tell me what I hear in {them}."
                       "|describe {them}, one after the other.",
                  them=listed([name for name, _ in named]))  # fmt: skip
    return QA("each", request, ". ".join(f"{name}: {text}" for name, text in said) + ".")


def longer(rng: np.random.Generator, named: Named) -> QA | None:
    """Ask which recording is longest."""
    order = _ranked(named, [heard.seconds for _, heard in named])
    if order[0][0] < LONGER * order[1][0]:
        return None
    most, than = ("longer", "the other") if len(named) == 2 else ("longest", "the others")
    request = one(
        rng,
        "which is {most}, {shown}?|which of these recordings lasts {most}: {shown}?",
        most=most,
        shown=_shown(rng, named),
    )
    lengths = listed([f"{name} {'lasts ' if k == 0 else ''}about {heard.seconds:.1f} seconds"
                      for k, (name, heard) in enumerate(named)])  # fmt: skip
    return QA("longer", request, one(rng, "{best} is {most}.|{best}: {lengths}."
                                          "|{best} lasts longer than {than}.",
                                     best=order[0][1], most=most, than=than, lengths=lengths))  # fmt: skip


def louder(rng: np.random.Generator, named: Named) -> QA | None:
    """Ask which recording is loudest, as measured on the waveforms."""
    order = _ranked(named, [heard.level for _, heard in named])
    if order[0][0] < order[1][0] + LOUDER:
        return None
    most = "louder" if len(named) == 2 else "loudest"
    request = one(
        rng,
        "which recording is {most}, {shown}?|what sounds {most}: {shown}?",
        most=most,
        shown=_shown(rng, named),
    )
    return QA("louder", request, one(rng, "{best} is {most}.|{best}.", best=order[0][1], most=most))


def higher(rng: np.random.Generator, named: Named) -> QA | None:
    """Ask which note is highest, and by how much."""
    pitches = [heard.meta.get("pitch") if "program" in heard.meta else None for _, heard in named]
    known = [pitch for pitch in pitches if isinstance(pitch, int)]
    if len(known) < len(named):
        return None
    order = _ranked(named, known)
    if order[0][0] < order[1][0] + HIGHER:
        return None
    most = "higher" if len(named) == 2 else "highest"
    request = one(rng, "which note is {most}, the one of {shown}?"
                       "|compare the notes of {shown}: which is {most}?", most=most,
                  shown=_shown(rng, named, "or" if len(named) < 3 else "and"))  # fmt: skip
    names = listed([f"{name} has {note_name(pitch)}" for (name, _), pitch in zip(named, known, strict=True)])
    answer = f"The note of {order[0][1]} is {most}: {names}."
    if len(named) == 2 and rng.random() < 0.5:
        answer = f"{order[0][1]}, by {number(int(order[0][0] - order[1][0]))} semitones."
    return QA("higher", request, answer)


def faster(rng: np.random.Generator, named: Named) -> QA | None:
    """Ask which piece is fastest."""
    tempos = [heard.meta.get("tempo") if "parts" in heard.meta else None for _, heard in named]
    known = [float(tempo) for tempo in tempos if isinstance(tempo, int)]
    if len(known) < len(named):
        return None
    order = _ranked(named, known)
    if order[0][0] < FASTER * order[1][0]:
        return None
    most = "faster" if len(named) == 2 else "fastest"
    request = one(
        rng,
        "which piece is {most}, {shown}?|which has the {most} tempo: {shown}?",
        most=most,
        shown=_shown(rng, named),
    )
    return QA("faster", request, f"{order[0][1]}, with about {order[0][0]:.0f} beats a minute.")


def same_speaker(rng: np.random.Generator, named: Named) -> QA | None:
    """Ask if the two clips of a verification example are of one speaker."""
    if len(named) != 2 or any(heard.task != "speaker_verification" for _, heard in named):
        return None
    (it, first), (other, second) = named
    if first.example is not second.example or first.example.label not in ("yes", "no"):
        return None
    request = one(rng, PHRASES["speaker_verification"].requests, it=it, other=other)
    yes = "yes, it is the same voice.|yes, one person speaks in both.|yes, I hear one and the same speaker."
    no = "no, these are two people.|no, the voices differ.|no, I hear two different speakers."
    return QA("same_speaker", request, one(rng, yes if first.example.label == "yes" else no))


# Task: (noun for the comparison, wording of a label).
_SHARED: dict[str, tuple[str, Callable[[str], str]]] = {
    "sound_event": ("sound", event_noun), "acoustic_scene": ("kind of place", place_noun),
    "music_genre": ("genre", genre_noun),
    "instrument": ("instrument", instrument_noun), "emotion": ("emotion of the speaker", str),
    "vocal_sound": ("vocal sound", event_noun),
    "language_id": ("language", str), "dialect_id": ("accent", str), "music_emotion": ("mood", str),
    "speaker_gender": ("sex of the speaker", str), "music_recognition": ("tune", '"{}"'.format),
}  # fmt: skip


def same_label(rng: np.random.Generator, named: Named) -> QA | None:
    """Ask if two recordings share a class of their task: the same event, language, genre, instrument ..."""
    task = named[0][1].task
    labels = [heard.example.label for _, heard in named]
    if (
        len(named) != 2
        or task not in _SHARED
        or any(heard.task != task for _, heard in named)
        or None in labels
    ):
        return None
    what, say = _SHARED[task]
    if labels[0] != labels[1] and task == "sound_event" and alike(str(labels[0]), str(labels[1])):
        return None
    request = one(rng, "do {them} have the same {what}?|is the {what} in {them} the same?"
                       "|compare {them}: is the {what} the same?",
                  them=listed([name for name, _ in named]), what=what)  # fmt: skip
    if labels[0] == labels[1]:
        return QA("same", request, f"Yes: {say(str(labels[0]))} in both.")
    first, second = (f"{say(str(label))} in {name}" for label, (name, _) in zip(labels, named, strict=True))
    return QA("same", request, f"No: {first}, {second}.")


def same_language(rng: np.random.Generator, named: Named) -> QA | None:
    """Ask which languages are spoken."""
    names = [
        LANGUAGE_NAMES.get(heard.example.language or "") if heard.is_speech else None for _, heard in named
    ]
    known = [name for name in names if name]
    if len(known) < len(named):
        return None
    request = one(
        rng,
        "do the speakers of {them} use one language?|which languages do I hear in {them}?",
        them=listed([name for name, _ in named]),
    )
    if len(set(known)) == 1:
        return QA("same", request, f"It is {known[0]} in {'both' if len(named) == 2 else 'all of them'}.")
    return QA(
        "same",
        request,
        listed([f"{language} in {name}" for language, (name, _) in zip(known, named, strict=True)]) + ".",
    )


def _domain(heard: Heard) -> str | None:
    if heard.is_speech:
        return "speech"
    if not heard.exact:
        return None
    return "music" if heard.is_music else "other sounds" if heard.has_speech is False else None


def which_has(rng: np.random.Generator, named: Named) -> QA | None:
    """Ask which recording is speech or music, if all differ."""
    domains = [_domain(heard) for _, heard in named]
    if None in domains or len(set(domains)) < len(domains):
        return None
    domain = pick(rng, [name for name in domains if name != "other sounds"])
    answer = named[domains.index(domain)][0]
    request = one(rng, "which of {them} has {d} in it?|where do I hear {d}: "
                       "{shown}?", them=listed([name for name, _ in named]),
                  d=domain, shown=_shown(rng, named))  # fmt: skip
    return QA("which", request, one(rng, "{x}.|it is {x}.|{x} has {d} in it.", x=answer, d=domain))


def which_event(rng: np.random.Generator, named: Named) -> QA | None:
    """Ask which recording has a sound that only one of them, or none, has."""
    if any(not heard.exact or not heard.events for _, heard in named):
        return None
    k = int(rng.integers(len(named)))
    own = [
        label
        for label in named[k][1].events
        if not any(
            alike(label, other) for j, (_, heard) in enumerate(named) if j != k for other in heard.events
        )
    ]
    if not own:
        return None
    noun = event_noun(pick(rng, own))
    request = one(
        rng,
        "in which recording do I hear {noun}?|where do I hear {noun}: {shown}?",
        noun=noun,
        shown=_shown(rng, named),
    )
    return QA(
        "which", request, one(rng, "in {x}.|it is in {x}.|{x} has {noun} in it.", x=named[k][0], noun=noun)
    )


def joined(rng: np.random.Generator, named: Named) -> QA | None:
    """The content of the recordings played one after the other: lengths added up, contents in order."""
    if any(summary(heard) is None for _, heard in named):
        return None
    total = sum(heard.seconds for _, heard in named)
    request = one(rng, "what would I hear if {them} were joined, and for how long?"
                       "|if I put {them} in a row, what comes out?",
                  them=listed([name for name, _ in named]))  # fmt: skip
    parts = [str(summary(heard)) for _, heard in named]
    return QA(
        "reasoning",
        request,
        f"{sentence(a('recording'))} of about {total:.1f} seconds: first {', then '.join(parts)}.",
    )


ALWAYS = (longer, louder, which_has, same_language, joined)
TURNS = (
    each, longer, louder, higher, faster, same_speaker, same_label, same_language, which_has, which_event, joined,
)  # fmt: skip

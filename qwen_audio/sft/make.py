"""Maker of dialogues from annotated recordings: the synthetic world on the fly, or manifests.

    ChatWorld().sample(numpy.random.default_rng(0))   # -> DialogueSample

A dialogue has one of the shapes of `SHAPES`: one request, a talk about one recording, one turn of a wanted kind
(times, cuts, reasons, stories, absent sounds), several recordings, or text alone. All answers follow from labels.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from qwen_audio.audio.features import MAX_SECONDS
from qwen_audio.audio.load import SAMPLE_RATE, load_audio
from qwen_audio.data.dialogues import UNSET, Dialogue, DialogueSample, Part, Turn
from qwen_audio.data.manifest import AudioRef, Example, Sample, read_manifest
from qwen_audio.format.example import SYNTHETIC_SOURCE
from qwen_audio.sft import turns_music, turns_several, turns_sound, turns_speech
from qwen_audio.sft.heard import QA, Heard, pick
from qwen_audio.sft.turns_main import choice_turn, duration_turn, main_turn, speech_turn
from qwen_audio.sft.turns_text import text_turns
from qwen_audio.synthetic.world import WorldGenerator, known_tasks

# Shape -> share; "text" is separate, as `text_share`.
SHAPES = {
    "single": 0.28, "talk": 0.28, "several": 0.22, "grounding": 0.07, "edit": 0.05, "reasoning": 0.04, "story": 0.02,
    "refusal": 0.04,
}  # fmt: skip
TEXT_SHARE = 0.15
_KINDS = {"refusal": ("refusal", "no_speech")}  # kinds of turns of a shape; else the one of its name
_MORE = (
    *turns_speech.TURNS, *turns_sound.TURNS, *turns_music.TURNS, duration_turn, speech_turn, choice_turn,
)  # fmt: skip
_NAMES = ("the recording", "this recording", "the clip", "this clip", "the audio", "Audio 1")
_SYSTEMS = (
    "You are a helpful assistant that listens to recordings.",
    "You are an assistant for audio. Answer briefly and truthfully.",
    "You answer questions about sound, speech and music.",
)
_SYSTEM_SHARE = 0.1  # of dialogues with another system message than the default
_TEXT_FIRST = 0.1  # of turns in which the request stands before the recording
_GREETED = 0.08
_TRIES = 200


class Recordings(Protocol):
    """A supply of annotated recordings: `tasks` with `shares` (they add up to 1), and one recording of a task."""

    tasks: Sequence[str]
    shares: np.ndarray

    def draw(self, rng: np.random.Generator, task: str) -> Sample: ...


class WorldRecordings:
    """The synthetic world: the given tasks (None: all), all equally likely."""

    def __init__(self, tasks: Iterable[str] | None = None, held_out: bool = False) -> None:
        self.tasks: Sequence[str] = known_tasks(tasks)
        self.shares = np.full(len(self.tasks), 1 / len(self.tasks))
        self._generators = {task: WorldGenerator([task], held_out) for task in self.tasks}

    def draw(self, rng: np.random.Generator, task: str) -> Sample:
        """One example with its audio, whose references are not set."""
        return self._generators[task].sample(rng)


class ManifestRecordings:
    """Rows of manifests of annotated examples; the share of a task grows with the square root of its rows."""

    def __init__(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        self._rows: dict[str, list[Example]] = defaultdict(list)
        for path in paths:
            for example in read_manifest(path):
                self._rows[example.task].append(example)
        self.tasks: Sequence[str] = tuple(self._rows)
        sizes = np.sqrt([len(rows) for rows in self._rows.values()])
        self.shares = sizes / sizes.sum()

    def draw(self, rng: np.random.Generator, task: str) -> Sample:
        """One row with its audio read."""
        example = pick(rng, self._rows[task])
        return Sample(
            example, [load_audio(ref.path, start=ref.start, duration=ref.duration) for ref in example.audio]
        )


class DialogueMaker:
    """Makes dialogues from recordings.

    Args:
        recordings: the supply.
        text_share: share of the dialogues without a recording, 0 to 1.
        max_seconds: most audio in one dialogue.
        held_out: use sentences to translate that training never has.
    """

    def __init__(
        self,
        recordings: Recordings,
        text_share: float = TEXT_SHARE,
        max_seconds: float = MAX_SECONDS,
        held_out: bool = False,
    ) -> None:
        if not 0 <= text_share <= 1:
            raise ValueError(f"text_share is {text_share:g}: give a number from 0 to 1")
        if not max_seconds > 0:
            raise ValueError(f"max_seconds is {max_seconds:g}: give a number above 0")
        self.recordings = recordings
        self.text_share = text_share
        self.max_seconds = max_seconds
        self.held_out = held_out

    def sample(self, rng: np.random.Generator) -> DialogueSample:
        """One dialogue; the same state of `rng` gives the same bytes in any process.

        Raises ValueError if no dialogue can be made from the recordings.
        """
        if rng.random() < self.text_share:
            made = text_turns(rng, self.held_out)
            turns = [Turn(user=[Part(text=qa.request)], assistant=qa.answer) for qa in made]
            return self._dialogue(rng, "text", turns, made, [])
        shape = str(rng.choice(tuple(SHAPES), p=list(SHAPES.values())))
        for attempt in range(_TRIES):
            # A shape that cannot be made, such as a cut list from a manifest without times, becomes a single request.
            found = self._try(rng, shape if attempt < _TRIES // 4 else "single")
            if found is not None:
                return found
        raise ValueError(
            f"no dialogue could be made of {', '.join(self.recordings.tasks)} in {_TRIES} draws: "
            f"give recordings with more labels, or shorter than {self.max_seconds:g} s"
        )

    def _try(self, rng: np.random.Generator, shape: str) -> DialogueSample | None:
        if shape == "several":
            return self._several(rng)
        heard = self._heard(rng)
        if heard[0].task == "speaker_verification":
            return self._about(rng, "several", heard)
        (one,) = heard
        if one.seconds > self.max_seconds:
            return None
        it = pick(rng, _NAMES)
        if shape == "single":
            first = main_turn(rng, one, it) or _some(rng, one, it)
            made = [first] if first else []
        elif shape == "talk":
            made = self._talk(rng, one, it)
        else:
            qa = _some(rng, one, it, _KINDS.get(shape, (shape,)))
            made = [qa] if qa else []
        if not made:
            return None
        turns = [_turn(rng, qa.request, [one] if k == 0 else [], qa.answer) for k, qa in enumerate(made)]
        return self._dialogue(rng, shape, turns, made, heard)

    def _heard(self, rng: np.random.Generator, task: str | None = None) -> list[Heard]:
        """The clips of one example: two for a speaker verification, one otherwise."""
        task = task or str(rng.choice(self.recordings.tasks, p=self.recordings.shares))
        sample = self.recordings.draw(rng, task)
        count = len(sample.waves) if task == "speaker_verification" else 1
        return [Heard(sample.example, wave, k) for k, wave in enumerate(sample.waves[:count])]

    def _talk(self, rng: np.random.Generator, heard: Heard, it: str) -> list[QA]:
        """Two to four turns of different kinds about one recording; none if the labels do not give that many."""
        wanted = int(rng.integers(2, 5))
        main = main_turn(rng, heard, it) if rng.random() < 0.75 else None
        made = [main] if main else []
        for k in rng.permutation(len(_MORE)):
            if len(made) == wanted:
                break
            qa = _MORE[k](rng, heard, it)
            if qa and qa.kind not in [other.kind for other in made]:
                made.append(qa)
        if len(made) > 1 and rng.random() < 0.1:
            made.append(QA("thanks", pick(rng, ("Thank you!", "Thanks, that helps.", "Great, thanks.")),
                           pick(rng, ("You are welcome.", "Gladly. Just ask if there is "
                                                          "more.", "You are welcome!"))))  # fmt: skip
        return made if len(made) > 1 else []

    def _several(self, rng: np.random.Generator) -> DialogueSample | None:
        heard = self._heard(rng)
        if heard[0].task != "speaker_verification":
            same = heard[0].task if rng.random() < 0.6 else None
            while len(heard) < (3 if rng.random() < 0.2 else 2):
                more = self._heard(rng, same)
                if more[0].task == "speaker_verification":
                    return None
                heard += more
        return self._about(rng, "several", heard)

    def _about(self, rng: np.random.Generator, shape: str, heard: list[Heard]) -> DialogueSample | None:
        """Turns about several recordings, given at once or one after the other."""
        if sum(one.seconds for one in heard) > self.max_seconds or len(heard) < 2:
            return None
        named = [(f"Audio {k}", one) for k, one in enumerate(heard, start=1)]
        wanted = int(rng.integers(1, 4))
        found: list[QA] = []
        turns: list[Turn] = []
        if heard[0].task == "speaker_verification":
            order: list[Any] = [turns_several.same_speaker]
        else:
            order = [turns_several.TURNS[k] for k in rng.permutation(len(turns_several.TURNS))]
            if rng.random() < 0.6:  # else turns that fit any recordings crowd out specific ones
                order.sort(key=lambda make: make in turns_several.ALWAYS)
        for make in order:
            qa = make(rng, named)
            if qa and qa.kind not in [other.kind for other in found] and len(found) < wanted:
                found.append(qa)
        if not found:
            return None
        made = list(found)
        rest = heard
        first = main_turn(rng, heard[0], pick(rng, _NAMES)) or _some(rng, heard[0], pick(rng, _NAMES))
        if first and rng.random() < 0.35:
            turns.append(_turn(rng, first.request, heard[:1], first.answer))
            made.insert(0, first)
            rest = heard[1:]
        for k, qa in enumerate(found):
            turns.append(_turn(rng, qa.request, rest if k == 0 else [], qa.answer))
        if rng.random() < 0.3:
            name, one = named[int(rng.integers(len(named)))]
            qa = _some(rng, one, name)
            if qa:
                turns.append(_turn(rng, qa.request, [], qa.answer))
                made.append(qa)
        return self._dialogue(rng, shape, turns, made, heard)

    def _dialogue(
        self, rng: np.random.Generator, shape: str, turns: list[Turn], made: list[QA], heard: list[Heard]
    ) -> DialogueSample:
        if rng.random() < _GREETED:
            text = next(part for part in turns[0].user if part.text is not None)
            text.text = f"{pick(rng, ('Hello!', 'Hi!', 'Good morning.'))} {text.text}"
        licenses = sorted({one.example.license for one in heard if one.example.license})
        sources = sorted({one.example.source for one in heard if one.example.source}) or [SYNTHETIC_SOURCE]
        dialogue = Dialogue(
            id="made",
            system=pick(rng, _SYSTEMS) if rng.random() < _SYSTEM_SHARE else None,
            turns=turns,
            source="; ".join(sources),
            license="; ".join(licenses) or None,
            meta={"kind": shape, "turns": [qa.kind for qa in made], "tasks": [one.task for one in heard]},
        )
        return DialogueSample(dialogue, [one.wave for one in heard])


def _some(rng: np.random.Generator, heard: Heard, it: str, kinds: Sequence[str] | None = None) -> QA | None:
    """A turn other than the main one, of the given kinds (None: of any)."""
    for k in rng.permutation(len(_MORE)):
        qa = _MORE[k](rng, heard, it)
        if qa is not None and (kinds is None or qa.kind in kinds):
            return qa
    return None


def _turn(rng: np.random.Generator, request: str, heard: Sequence[Heard], answer: str) -> Turn:
    parts = [Part(audio=_reference(one)) for one in heard]
    if parts and rng.random() < _TEXT_FIRST:
        return Turn(user=[Part(text=request + "\n"), *parts], assistant=answer)
    return Turn(user=[*parts, Part(text=request)], assistant=answer)


def _reference(heard: Heard) -> AudioRef:
    if heard.example.audio:
        ref = heard.example.audio[heard.clip]
        return AudioRef(path=ref.path, start=ref.start, duration=len(heard.wave) / SAMPLE_RATE)
    return AudioRef(path=UNSET, duration=len(heard.wave) / SAMPLE_RATE)


class ChatWorld:
    """The source of kind `chat_world`: dialogues made on the fly.

    Args:
        tasks: slugs of the tasks whose examples appear; None for all.
        manifests: manifests of annotated examples; None for the synthetic world.
        held_out: sample what training never uses, as far as the world can.
        text_share, max_seconds: see `DialogueMaker`.
    """

    def __init__(
        self,
        tasks: Iterable[str] | None = None,
        manifests: Sequence[str] | None = None,
        held_out: bool = False,
        text_share: float = TEXT_SHARE,
        max_seconds: float = MAX_SECONDS,
    ) -> None:
        if manifests is not None and (tasks is not None or held_out):
            raise ValueError(
                "tasks and held_out belong to the synthetic world: leave them out with manifests"
            )
        recordings: Recordings = (
            WorldRecordings(tasks, held_out) if manifests is None else ManifestRecordings(manifests)
        )
        self.maker = DialogueMaker(recordings, text_share, max_seconds, held_out)

    def sample(self, rng: np.random.Generator) -> DialogueSample:
        """One dialogue with its audio."""
        return self.maker.sample(rng)

"""Short pieces, known melodies and songs with exact labels: the synthetic side of the music tasks.

    MusicGenerator().sample(numpy.random.default_rng(0))   # -> Sample, 4 to 12 s

Genre, mood, key, metre, tempo, chords and instruments of a piece are sampled first (piece.py), and the
notes follow from them; melodies in the public domain are played and sung in any key; the singing voices are
eight synthetic singers.  The melody's notes are in the example's `meta["notes"]`: [start, length, MIDI pitch] each.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.manifest import Example, Sample
from qwen_audio.format.example import SYNTHETIC_SOURCE
from qwen_audio.format.tasks import TASKS
from qwen_audio.synthetic.music.genres import FAMILIES, GENRES, MOODS, Player, player
from qwen_audio.synthetic.music.melodies import TUNES, Tune, excerpt
from qwen_audio.synthetic.music.notes import INSTRUMENTS
from qwen_audio.synthetic.music.piece import MAX_SECONDS, Notes, Plan, draw_plan, finish, perform
from qwen_audio.synthetic.music.soundfont import load_soundfont
from qwen_audio.synthetic.music.theory import KEY_NAMES
from qwen_audio.synthetic.music.track import NOTE_SECONDS, NoteStore
from qwen_audio.synthetic.music.voice import SINGERS, Singer, sing
from qwen_audio.synthetic.music.words import QUESTIONS, caption

TASK_WEIGHTS = {
    "music_genre": 0.14,
    "music_caption": 0.18,
    "music_emotion": 0.14,
    "music_recognition": 0.16,
    "music_qa": 0.2,
    "instrument": 0.1,
    "singer_id": 0.08,
}
_HELD_OUT_PARTS = 6  # one combination in this many is held out
_STREAMS = {False: 3, True: 4}  # spawn keys: training and held-out pieces never share a stream
_ATTEMPTS = 20_000
_SUNG_TUNES, _SUNG_MOODS = 0.25, 0.4
_LEAST_NOTES = 8  # of a melody that is to be recognised
_TAIL = 0.5


@lru_cache(maxsize=2)
def _store(soundfont: str | None) -> NoteStore:
    """The notes rendered so far in this process."""
    return NoteStore(load_soundfont(soundfont))


def is_held_out(*facts: object) -> bool:
    """True if a combination of facts (such as title, key and instrument) is kept for held-out sets."""
    return zlib.crc32("|".join(map(str, facts)).encode()) % _HELD_OUT_PARTS == 0


class MusicGenerator:
    """Samples pieces, melodies and songs, each with one of the tasks of `TASK_WEIGHTS`.

    Args:
        tasks: task -> weight.
        held_out: sample from combinations that training never uses: of genre, key and lead instrument for
            pieces; of title, key and instrument (or singer) for melodies.
        soundfont: a .sf2 file (None: the wheel's).

    Raises ValueError for a task that is not one of these, or weights without a positive sum.
    """

    def __init__(
        self, tasks: dict[str, float] | None = None, held_out: bool = False, soundfont: str | None = None
    ) -> None:
        weights = tasks or TASK_WEIGHTS
        unknown = sorted(set(weights) - set(TASK_WEIGHTS))
        shares = np.array(list(weights.values()), dtype=float)
        if unknown or not (np.all(shares >= 0) and 0 < shares.sum() < np.inf):
            names = ", ".join(TASK_WEIGHTS)
            raise ValueError(f"the music tasks are {names}: give them weights, not {unknown or weights}")
        self.tasks, self.shares = tuple(weights), shares / shares.sum()
        self.held_out = held_out
        self._soundfont = soundfont

    @property
    def store(self) -> NoteStore:
        return _store(self._soundfont)

    def sample(self, rng: np.random.Generator) -> Sample:
        """One clip with its annotation; the same state of `rng` gives the same bytes in any process."""
        seed = np.random.SeedSequence(
            rng.integers(2**63, size=2).tolist(), spawn_key=(_STREAMS[self.held_out],)
        )
        rng = np.random.default_rng(seed)
        task = self.tasks[rng.choice(len(self.tasks), p=self.shares)]
        make: dict[str, Callable[[np.random.Generator], tuple[np.ndarray, dict[str, Any]]]] = {
            "music_genre": self._genre,
            "music_caption": self._caption,
            "music_emotion": self._emotion,
            "music_recognition": self._recognition,
            "music_qa": self._question,
            "instrument": self._instrument,
            "singer_id": self._singer,
        }
        wave, facts = make[task](rng)
        facts.setdefault("question", TASKS[task].question)
        example = Example(
            id=f"music-{int(rng.integers(2**62)):016x}#{task}",
            task=task,
            audio=[],
            source=SYNTHETIC_SOURCE,
            sampling_rate=SAMPLE_RATE,
            **facts,
        )
        return Sample(example, [wave])

    def _plan(
        self,
        rng: np.random.Generator,
        wanted: Callable[[Plan], bool] = lambda plan: True,
        *,
        mood: str | None = None,
        plain: bool = False,
        alone: Player | Singer | None = None,
        exchanged: bool | None = None,
    ) -> Plan:
        """Sample a plan of the wanted split (training or held out) for which `wanted` is true.

        alone: the only performer; exchanged: True if melody and chords have swapped players. If it is not None, the
        piece and its exchanged form belong to the same split, so that neither is more likely.
        """
        for _ in range(_ATTEMPTS):
            plan = draw_plan(rng, mood=mood, plain=plain)
            if isinstance(alone, Singer):
                plan = replace(plan, lead=None, singer=alone, entries={"lead": 0})
            elif alone:
                plan = replace(plan, lead=alone, singer=None, entries={"lead": 0})
            performers = {plan.performer}
            if exchanged is not None:
                if (other := plan.exchanged) is None:
                    continue
                performers.add(other.performer)
                plan = other if exchanged else plan
            sides = {is_held_out(plan.genre, plan.key, name) for name in performers}
            if sides == {self.held_out} and wanted(plan):
                return plan
        raise RuntimeError(f"no piece of the kind that was asked for in {_ATTEMPTS} attempts")

    def _perform(self, rng: np.random.Generator, plan: Plan) -> tuple[np.ndarray, dict[str, Any]]:
        wave, line = perform(rng, plan, self.store)
        meta = {
            "genre": plan.genre,
            "mood": plan.mood,
            "key": plan.key,
            "tempo": plan.tempo,
            "metre": plan.metre,
            "chords": [chord.name(plan.tonic, plan.mode) for chord in plan.chord_row],
            "parts": plan.parts,
            "entries": plan.entries,
            "dynamics": plan.dynamics,
            "singer": plan.singer.name if plan.singer else None,
            "notes": _rounded(line),
        }
        return wave, {"meta": {name: value for name, value in meta.items() if value is not None}}

    def _genre(self, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, Any]]:
        plan = self._plan(rng, plain=True)
        wave, facts = self._perform(rng, plan)
        return wave, facts | _label(rng, plan.genre, list(GENRES))

    def _caption(self, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, Any]]:
        mood = str(rng.choice(list(MOODS))) if rng.random() < 0.3 else None
        plan = self._plan(rng, mood=mood)
        wave, facts = self._perform(rng, plan)
        return wave, facts | {"text": caption(rng, plan)}

    def _emotion(self, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, Any]]:
        # A singer sings alone: the emotion of the singer is that of the music, whichever is asked for.
        mood = str(rng.choice(list(MOODS)))
        singer = SINGERS[rng.integers(len(SINGERS))] if rng.random() < _SUNG_MOODS else None
        wave, facts = self._perform(rng, self._plan(rng, mood=mood, plain=True, alone=singer))
        if singer:
            facts["question"] = "What is the emotion of the singer?"
        return wave, facts | {"label": mood, "text": mood, "choices": sorted(MOODS)}

    def _question(self, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, Any]]:
        name = str(rng.choice(list(QUESTIONS)))
        kind = QUESTIONS[name]
        case = kind.cases[rng.integers(len(kind.cases))]
        exchanged = case == "exchanged" if name == "lead" else None
        plan = self._plan(rng, lambda plan: kind.fits(plan, case), exchanged=exchanged)
        question, answer, choices = kind.ask(rng, plan, case)
        wave, facts = self._perform(rng, plan)
        return wave, facts | {"question": question, "text": answer, "label": answer, "choices": choices}

    def _instrument(self, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, Any]]:
        """A solo piece by any instrument; with several, only a question (`music_qa`) can say which one is meant."""
        names = [row.name for row in INSTRUMENTS]
        row = INSTRUMENTS[rng.integers(len(INSTRUMENTS))]
        lead = player(row.name, int(rng.choice(row.programs)))
        plan = self._plan(rng, plain=True, alone=lead)
        playing = {FAMILIES[name] for name in plan.parts.values() if name in FAMILIES}
        others = [name for name in names if FAMILIES[name] not in playing]
        wave, facts = self._perform(rng, plan)
        return wave, facts | _label(rng, plan.lead_name, others)

    def _recognition(self, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, Any]]:
        who: Player | Singer
        sung = rng.random() < _SUNG_TUNES
        for _ in range(_ATTEMPTS):
            tune = TUNES[rng.integers(len(TUNES))]
            if sung:
                who = SINGERS[rng.integers(len(SINGERS))]
            else:
                row = INSTRUMENTS[rng.integers(len(INSTRUMENTS))]
                who = player(row.name, int(rng.choice(row.programs)))
            shift = _shift(rng, tune, who.low, who.high)
            if shift is not None and is_held_out(tune.title, shift % 12, who.name) == self.held_out:
                break
        else:
            raise RuntimeError(f"no melody that anyone can play in {_ATTEMPTS} attempts")
        wave, facts = self._tune(rng, tune, who, shift)
        facts["meta"]["composer"] = tune.composer
        return wave, facts | _label(rng, tune.title, [t.title for t in TUNES])

    def _singer(self, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, Any]]:
        for _ in range(_ATTEMPTS):
            singer = SINGERS[rng.integers(len(SINGERS))]
            tune = TUNES[rng.integers(len(TUNES))]
            shift = _shift(rng, tune, singer.low, singer.high)
            if shift is not None and is_held_out(tune.title, shift % 12, singer.name) == self.held_out:
                break
        else:
            raise RuntimeError(f"no melody that anyone can sing in {_ATTEMPTS} attempts")
        wave, facts = self._tune(rng, tune, singer, shift)
        return wave, facts | {
            "label": singer.name,
            "text": singer.name,
            "choices": [s.name for s in SINGERS],
            "speaker": singer.name,
        }

    def _tune(
        self, rng: np.random.Generator, tune: Tune, who: Player | Singer, shift: int
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The beginning of a melody, played or sung alone."""
        tempo = rng.uniform(*tune.tempos)
        lead_in = rng.uniform(0.05, 0.4)
        whole = excerpt(tune, 60 / tempo, shift, MAX_SECONDS - lead_in)
        least = sum(whole[min(_LEAST_NOTES, len(whole)) - 1][:2])
        until = max(rng.uniform(4.0, MAX_SECONDS), least)
        notes = [
            (start + lead_in, seconds, pitch) for start, seconds, pitch in whole if start + seconds <= until
        ]
        end = max(notes[-1][0] + notes[-1][1], 4.0 - _TAIL)
        n = round((end + _TAIL) * SAMPLE_RATE)
        if isinstance(who, Singer):
            track = sing(rng, who, notes, n)
        else:
            track = np.zeros(n, np.float32)
            share = rng.uniform(0.75, 1.0)
            for start, seconds, pitch in notes:
                self.store.play(
                    track, who.program, pitch + who.transpose, start=start,
                    seconds=min(share * seconds, NOTE_SECONDS), gain=rng.uniform(0.8, 1.0),
                )  # fmt: skip
        first = tune.pitches[0] + shift
        meta = {"tune": tune.title, "performer": who.name, "tempo": round(tempo), "notes": _rounded(notes)}
        return finish(rng, track), {"meta": meta | {"first_note": KEY_NAMES[first % 12]}}


def _rounded(notes: Notes) -> list[list[float]]:
    return [[round(start, 3), round(seconds, 3), pitch] for start, seconds, pitch in notes]


def _shift(rng: np.random.Generator, tune: Tune, low: int, high: int) -> int | None:
    """Semitones that bring the tune into a range; within an octave of how it is written where possible."""
    fits = [s for s in range(-36, 37) if min(tune.pitches) + s >= low and max(tune.pitches) + s <= high]
    near = [s for s in fits if abs(s) <= 6] or fits
    return near[rng.integers(len(near))] if near else None


def _label(rng: np.random.Generator, label: str, names: list[str]) -> dict[str, Any]:
    """Fields for label, text and choices; the choices are all names or a few, always with the label."""
    others = [name for name in names if name != label]
    if rng.random() < 0.6:
        picked = rng.choice(len(others), size=int(rng.integers(3, min(13, len(others)))), replace=False)
        others = [others[k] for k in picked]
    return {"label": label, "text": label, "choices": sorted([label, *others])}

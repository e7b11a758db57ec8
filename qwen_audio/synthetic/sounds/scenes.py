"""Sound scenes with exact labels: events with their times, places, captions, questions, vocal sounds.

    SceneGenerator().sample(numpy.random.default_rng(0))   # -> Sample

Five tasks: `event_detection`, `audio_caption` (in the styles of Clotho and AudioCaps, and plain), `audio_qa`
(presence, count, order, choice), `acoustic_scene` and `vocal_sound`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.manifest import Example, Sample
from qwen_audio.format.example import SYNTHETIC_SOURCE
from qwen_audio.format.tasks import TASKS
from qwen_audio.format.timestamps import Span
from qwen_audio.synthetic.sounds.captions import STYLES, caption, place_caption
from qwen_audio.synthetic.sounds.places import SCENES, place_number, visit
from qwen_audio.synthetic.sounds.questions import Asked, ask, holds
from qwen_audio.synthetic.sounds.real_clips import RealClips, attribution
from qwen_audio.synthetic.sounds.recordings import record, stems_of
from qwen_audio.synthetic.sounds.stories import Story, Teller
from qwen_audio.synthetic.sounds.takes import cut
from qwen_audio.synthetic.sounds.vocal import VOCAL, anyone

TASK_WEIGHTS = {
    "event_detection": 0.25,
    "audio_caption": 0.25,
    "audio_qa": 0.25,
    "acoustic_scene": 0.15,
    "vocal_sound": 0.10,
}
# Shapes of stories, by task; a question chooses its own (questions.py).
_SHAPES = {
    "event_detection": {"free": 0.7, "single": 0.1, "sequence": 0.1, "over": 0.1},
    "audio_caption": {"single": 0.25, "count": 0.15, "sequence": 0.3, "over": 0.3},
}
_PLACE_CAPTIONS = 0.15  # of the captions tell of a place
_RETELLINGS = 20  # attempts at an outline before another question is sampled
_VOCAL_SECONDS = (1.5, 4.0)


class SceneGenerator:
    """Samples clips of 0.5 to 11 s, each with one of the tasks of `TASK_WEIGHTS`."""

    def __init__(
        self,
        tasks: dict[str, float] | None = None,
        held_out: bool = False,
        real: str | None = None,
        real_share: float = 0.5,
    ) -> None:
        """
        Args:
            tasks: shares of the tasks; None for those of `TASK_WEIGHTS`.
            held_out: sample what training never uses: other combinations of classes in a clip, other places, and
                other persons. (The classes are the same, and a clip of one class differs by its performance only.)
            real: recorded clips that are mixed in as events: a manifest, or a folder (see `RealClips`). An example
                that contains one has its source, its licence and, in `meta["real"]`, its id.
            real_share: share of the events that are such clips, 0 to 1.

        Raises:
            ValueError: an unknown task, no weight above 0, a share outside 0 to 1, no such clips.
        """
        tasks = tasks or TASK_WEIGHTS
        unknown = sorted(set(tasks) - set(TASK_WEIGHTS))
        if unknown or not sum(tasks.values()) > 0 or min(tasks.values()) < 0:
            names = ", ".join(TASK_WEIGHTS)
            raise ValueError(
                f"the tasks of sound scenes are {names}: give them weights, not {unknown or tasks}"
            )
        if not 0 <= real_share <= 1:
            raise ValueError(f"real_share is {real_share}: give a number from 0 to 1")
        self.tasks = tuple(tasks)
        self.shares = np.array([tasks[task] for task in self.tasks]) / sum(tasks.values())
        self.held_out = held_out
        self.teller = Teller(held_out, RealClips(real, held_out) if real else None, real_share)

    def sample(self, rng: np.random.Generator) -> Sample:
        """One clip with its annotation; the same state of `rng` gives the same bytes in any process."""
        task = self.tasks[rng.choice(len(self.tasks), p=self.shares)]
        if task == "vocal_sound":
            return self._vocal(rng)
        if task == "acoustic_scene" or (task == "audio_caption" and rng.random() < _PLACE_CAPTIONS):
            return self._place(rng, task)
        if task == "audio_qa":
            asked, story, stems = self._asked(rng)
            wave, conditions = record(rng, stems)
            meta: dict[str, Any] = {"shape": story.shape, **conditions, "kind": asked.kind}
            fields = {"question": asked.question, "label": asked.answer, "choices": asked.choices}
            return _example(rng, task, wave, asked.answer, story, meta, **fields)
        shapes = _SHAPES[task]
        shape = tuple(shapes)[rng.choice(len(shapes), p=list(shapes.values()))]
        story, stems = self._story(rng, shape)
        wave, conditions = record(rng, stems)
        meta = {"shape": shape, **conditions}
        if task == "event_detection":
            return _example(rng, task, wave, "", story, meta, spans=story.spans)
        style = STYLES[rng.integers(len(STYLES))]
        meta["instruction"] = style
        return _example(rng, task, wave, caption(rng, story, style, conditions), story, meta)

    def _story(self, rng: np.random.Generator, shape: str) -> tuple[Story, list[np.ndarray]]:
        """A story all of whose events are audible, and its parts alone; one with a masked event is sampled again."""
        while True:
            story = self.teller.tell(rng, shape)
            if stems := stems_of(story):
                return story, stems

    def _asked(self, rng: np.random.Generator) -> tuple[Asked, Story, list[np.ndarray]]:
        """A question and a story that answers it; a question without a fully audible story is replaced."""
        while True:
            asked, outline = ask(rng, self.teller)
            for _ in range(_RETELLINGS):
                story = self.teller.tell(rng, outline.shape, outline)
                if holds(story, outline) and (stems := stems_of(story)):
                    return asked, story, stems

    def _place(self, rng: np.random.Generator, task: str) -> Sample:
        scene, place = SCENES[rng.integers(len(SCENES))], place_number(rng, self.held_out)
        wave, spans = visit(rng, scene, place, rng.uniform(4.0, 10.0))
        meta: dict[str, Any] = {"scene": scene, "place": place}
        if task == "acoustic_scene":
            return _example(rng, task, wave, scene, spans, meta, label=scene, choices=sorted(SCENES))
        style = STYLES[rng.integers(len(STYLES))]
        meta["instruction"] = style
        return _example(rng, task, wave, place_caption(rng, scene, spans, style), spans, meta)

    def _vocal(self, rng: np.random.Generator) -> Sample:
        label = tuple(VOCAL)[rng.integers(len(VOCAL))]
        who = anyone(rng, self.held_out)
        performed = cut(VOCAL[label](rng, round(rng.uniform(*_VOCAL_SECONDS) * SAMPLE_RATE), who), 0.25)
        before, after = (round(rng.uniform(0.0, 0.6) * SAMPLE_RATE) for _ in range(2))
        wave, conditions = record(rng, [np.concatenate([np.zeros(before), performed.wave, np.zeros(after)])])
        spans = [
            Span(label, round((before + a) / SAMPLE_RATE, 3), round((before + b) / SAMPLE_RATE, 3))
            for a, b in performed.spans
        ]
        meta: dict[str, Any] = {"pitch": round(who.pitch, 1), **conditions}
        return _example(rng, "vocal_sound", wave, label, spans, meta, label=label, choices=sorted(VOCAL))


def _example(
    rng: np.random.Generator,
    task: str,
    wave: np.ndarray,
    text: str,
    told: Story | list[Span],
    meta: dict[str, Any],
    **fields: Any,
) -> Sample:
    """The sample; the events go into its meta, whatever the task, so that every answer can be checked."""
    events, clips = (told.spans, told.clips) if isinstance(told, Story) else (told, [])
    fields = {"question": TASKS[task].question, "source": SYNTHETIC_SOURCE, **attribution(clips), **fields}
    example = Example(
        id=f"scene-{rng.integers(2**63):016x}#{task}",
        task=task,
        audio=[],
        text=text,
        sampling_rate=SAMPLE_RATE,
        meta={
            **meta,
            "events": [[span.label, span.start, span.end] for span in events],
            **fields.pop("meta", {}),
        },
        **fields,
    )
    return Sample(example, [wave])

"""Questions about stories, with answers that the story decides: yes or no, how many, which first, choose.

ask(rng, story)   # -> Asked("order", "Which sound is heard first?", "rain", ["dog barking", "rain"])
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qwen_audio.data.synthetic.scene_captions import counted, words_of
from qwen_audio.data.synthetic.sound_stories import BEHIND, MOST_COUNTED, Story, alike
from qwen_audio.data.synthetic.sound_takes import EVENTS

NUMBERS = ("one", "two", "three", "four", "five")
_YES_NO = ["yes", "no"]
_LONGER = 1.6  # a sound lasts longer than another from this ratio on


class Asked(NamedTuple):
    """kind: "presence", "count", "order", "choice"; question, answer, and the choices with the answer among them."""

    kind: str
    question: str
    answer: str
    choices: list[str]


def _absent(rng: np.random.Generator, story: Story, count: int) -> list[str]:
    """Classes that are not in the story and are not taken for one that is."""
    names = [name for name in EVENTS if not any(alike(name, label) for label in story.labels)]
    return [names[k] for k in rng.choice(len(names), size=min(count, len(names)), replace=False)]


def _mixed(rng: np.random.Generator, names: list[str]) -> list[str]:
    return [names[k] for k in rng.permutation(len(names))]


def _presence(rng: np.random.Generator, story: Story) -> Asked:
    yes = bool(rng.random() < 0.5)
    label = story.labels[rng.integers(len(story.labels))] if yes else _absent(rng, story, 1)[0]
    w = words_of(label)
    forms = (
        f'Can the sound "{label}" be heard?',
        f'Is "{label}" among the sounds of this recording?',
        f"Can {w.subject} be heard {w.participle}?",
    )
    return Asked("presence", forms[rng.integers(3)], "yes" if yes else "no", _YES_NO)


def _count(rng: np.random.Generator, story: Story) -> Asked | None:
    parts = [part for part in story.parts if counted(story, part)]
    if not parts:
        if story.shape == "free" or len(story.labels) < 2:
            return None
        answer = NUMBERS[len(story.labels) - 1]
        return Asked("count", "How many different sounds are heard?", answer, list(NUMBERS))
    part = parts[rng.integers(len(parts))]
    w, count = words_of(part.label, counted=True), len(part.take.spans)
    if rng.random() < 0.25:
        question = f"Can {w.subject} be heard {w.participle} more than once?"
        return Asked("count", question, "yes" if count > 1 else "no", _YES_NO)
    forms = (
        f"How many times can {w.subject} be heard {w.participle}?",
        f'How often does the sound "{part.label}" occur?',
    )
    return Asked("count", forms[rng.integers(2)], NUMBERS[count - 1], list(NUMBERS[:MOST_COUNTED]))


def _order(rng: np.random.Generator, story: Story) -> Asked | None:
    if story.shape != "sequence":
        return None
    labels, kind = story.labels, rng.random()
    if kind < 0.3:
        return Asked("order", "Which sound is heard first?", labels[0], _mixed(rng, labels))
    if kind < 0.6:
        return Asked("order", "Which sound is heard last?", labels[-1], _mixed(rng, labels))
    k = int(rng.integers(len(labels) - 1))
    if kind < 0.75:
        question = f'Which sound comes right after "{labels[k]}"?'
        return Asked("order", question, labels[k + 1], _mixed(rng, [*labels, *_absent(rng, story, 1)]))
    a, b = labels[k : k + 2] if (yes := bool(rng.random() < 0.5)) else labels[k : k + 2][::-1]
    return Asked("order", f'Is "{a}" heard before "{b}"?', "yes" if yes else "no", _YES_NO)


def _choice(rng: np.random.Generator, story: Story) -> Asked:
    behind = next((part.label for part in story.parts if part.behind), None)
    if behind is not None and rng.random() < 0.6:
        others = [name for name in _absent(rng, story, len(EVENTS)) if name in BEHIND][:2]
        front = [label for label in story.labels if label != behind]
        return Asked(
            "choice", "Which sound goes on in the background?", behind, _mixed(rng, [behind, *front, *others])
        )
    if story.shape == "sequence" and rng.random() < 0.4:
        lengths = sorted(((part.spans[-1].end - part.spans[0].start), part.label) for part in story.parts)
        if lengths[-1][0] > _LONGER * lengths[-2][0]:
            return Asked("choice", "Which sound lasts longest?", lengths[-1][1], _mixed(rng, story.labels))
    label = story.labels[rng.integers(len(story.labels))]
    choices = _mixed(rng, [label, *_absent(rng, story, int(rng.integers(2, 6)))])
    listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
    return Asked("choice", f"Which of these sounds is heard: {listed}?", label, choices)


def ask(rng: np.random.Generator, story: Story) -> Asked:
    """A question that the story can answer; half of them are of the kind that the story was told for."""
    asked = {"presence": _presence(rng, story), "count": _count(rng, story), "order": _order(rng, story)}
    asked["choice"] = _choice(rng, story)
    meant = asked.get({"sequence": "order", "count": "count"}.get(story.shape, ""))
    if meant and rng.random() < 0.5:
        return meant
    fitting = [one for one in asked.values() if one]
    return fitting[rng.integers(len(fitting))]

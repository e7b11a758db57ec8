"""Questions about stories, with answers determined by the story: yes or no, how many, which first, choose.

    asked, outline = ask(rng, Teller())
    asked     # -> Asked("order", "Which sound is heard first?", "rain", ["dog barking", "rain"])

The question is sampled before the story, so that its words do not predict the answer: every answer that is offered
is right equally often, whatever classes the question names. Where a class has to be absent, several outlines are
sampled alike, each gives a class, and only then one of the outlines is chosen to be told.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count as count_up
from typing import NamedTuple

import numpy as np

from qwen_audio.synthetic.sounds.captions import words_of
from qwen_audio.synthetic.sounds.stories import Outline, Story, Teller, alike, most_counted
from qwen_audio.synthetic.sounds.takes import UNITS

NUMBERS = ("one", "two", "three", "four", "five")
_RECORDED_TRIES = 100  # attempts at outlines before recorded classes are left out
_YES_NO = ["yes", "no"]
_LONGER = 1.6  # a sound lasts longer than another from this ratio on
# Shapes of the stories of which a class is asked for.
_SHAPES = {"single": 0.15, "count": 0.15, "sequence": 0.4, "over": 0.3}
# Sounds that last exactly as long as they are let: which one is longest does not depend on the class.
_ANY_LENGTH = (
    "rain", "sea waves", "helicopter", "chainsaw", "fire crackling", "siren", "car engine", "wind", "thunderstorm",
    "crickets chirping", "white noise", "train",
)  # fmt: skip


class Asked(NamedTuple):
    """kind: "presence", "count", "order", "choice"; question, answer, and the choices with the answer among them."""

    kind: str
    question: str
    answer: str
    choices: list[str]


def _one(rng: np.random.Generator, items: list[str] | tuple[str, ...]) -> str:
    return items[rng.integers(len(items))]


def _mixed(rng: np.random.Generator, names: list[str]) -> list[str]:
    return [names[k] for k in rng.permutation(len(names))]


def _any(rng: np.random.Generator, teller: Teller, recorded: bool) -> tuple[Outline, str]:
    """An outline and one of its classes."""
    shape = tuple(_SHAPES)[rng.choice(len(_SHAPES), p=list(_SHAPES.values()))]
    outline = teller.outline(rng, shape, recorded=recorded)
    return outline, _one(rng, outline.labels)


def _behind(rng: np.random.Generator, teller: Teller, recorded: bool) -> tuple[Outline, str]:
    """An outline with a continuous background sound, and that sound."""
    outline = teller.outline(rng, "over", recorded=recorded)
    return outline, outline.labels[-1]


def _apart(
    rng: np.random.Generator,
    teller: Teller,
    count: int,
    draw: Callable[[np.random.Generator, Teller, bool], tuple[Outline, str]],
) -> list[tuple[Outline, str]]:
    """`count` outlines with a class of each that is not, and is not taken for, one of the other outlines.

    If the recorded clips cover few classes only, all outlines are sampled without recorded clips after some tries.
    """
    for attempt in count_up():
        drawn = [draw(rng, teller, attempt < _RECORDED_TRIES) for _ in range(count)]
        if not any(
            alike(name, label)
            for k, (_, name) in enumerate(drawn)
            for j, (outline, _) in enumerate(drawn)
            if j != k
            for label in outline.labels
        ):
            return drawn
    raise AssertionError("unreachable: the procedural classes can be told apart")


def _presence(rng: np.random.Generator, teller: Teller) -> tuple[Asked, Outline]:
    (told, label), (other, _) = _apart(rng, teller, 2, _any)
    yes = bool(rng.random() < 0.5)
    w = words_of(label)
    forms = (
        f'Can the sound "{label}" be heard?',
        f'Is "{label}" among the sounds of this recording?',
        f"Can {w.subject} be heard {w.participle}?",
    )
    return Asked("presence", _one(rng, forms), "yes" if yes else "no", _YES_NO), told if yes else other


def _count(rng: np.random.Generator, teller: Teller) -> tuple[Asked, Outline]:
    kind = rng.random()
    if kind < 0.3:
        number = int(rng.integers(1, 4))
        shape = "single" if number == 1 else _one(rng, ("sequence", "over"))
        question = "How many different sounds are heard?"
        choices = list(NUMBERS[:3])
        return Asked("count", question, NUMBERS[number - 1], choices), teller.outline(rng, shape, number)
    if kind < 0.5:
        label, yes = _one(rng, tuple(UNITS)), bool(rng.random() < 0.5)
        count = int(rng.integers(2, most_counted(label, "count") + 1)) if yes else 1
        w = words_of(label, counted=True)
        question = f"Can {w.subject} be heard {w.participle} more than once?"
        return Asked("count", question, "yes" if yes else "no", _YES_NO), Outline("count", (label,), count)
    outline = teller.outline(rng, "count" if rng.random() < 0.7 else "over")
    while not outline.times:
        outline = teller.outline(rng, "over", recorded=False)
    label = outline.labels[0]
    w, most = words_of(label, counted=True), most_counted(label, outline.shape)
    forms = (
        f"How many times can {w.subject} be heard {w.participle}?",
        f'How often does the sound "{label}" occur?',
    )
    return Asked("count", _one(rng, forms), NUMBERS[outline.times - 1], list(NUMBERS[:most])), outline


def _order(rng: np.random.Generator, teller: Teller) -> tuple[Asked, Outline]:
    kind = rng.random()
    # After one of three either of the others may come.
    outline = teller.outline(rng, "sequence", 3 if 0.6 <= kind < 0.75 else None)
    labels = list(outline.labels)
    if kind < 0.3:
        return Asked("order", "Which sound is heard first?", labels[0], _mixed(rng, labels)), outline
    if kind < 0.6:
        return Asked("order", "Which sound is heard last?", labels[-1], _mixed(rng, labels)), outline
    k = int(rng.integers(len(labels) - 1))
    if kind < 0.75:
        question = f'Which sound comes right after "{labels[k]}"?'
        others = [label for label in labels if label != labels[k]]
        return Asked("order", question, labels[k + 1], _mixed(rng, others)), outline
    a, b = labels[k : k + 2] if (yes := bool(rng.random() < 0.5)) else labels[k : k + 2][::-1]
    return Asked("order", f'Is "{a}" heard before "{b}"?', "yes" if yes else "no", _YES_NO), outline


def _choice(rng: np.random.Generator, teller: Teller) -> tuple[Asked, Outline]:
    kind = rng.random()
    if kind < 0.25:
        outline = teller.outline(rng, "sequence", recorded=False)
        while not set(outline.labels) <= set(_ANY_LENGTH):
            outline = teller.outline(rng, "sequence", recorded=False)
        outline = outline._replace(longest=int(rng.integers(len(outline.labels))))
        labels = list(outline.labels)
        question = "Which sound lasts longest?"
        return Asked("choice", question, labels[outline.longest], _mixed(rng, labels)), outline
    behind = kind < 0.5
    drawn = _apart(rng, teller, 3 if behind else int(rng.integers(3, 6)), _behind if behind else _any)
    # All were sampled alike, so any of them may be the one that is told.
    outline, label = drawn[rng.integers(len(drawn))]
    choices = _mixed(rng, [name for _, name in drawn])
    if behind:
        return Asked("choice", "Which sound goes on in the background?", label, choices), outline
    listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
    return Asked("choice", f"Which of these sounds is heard: {listed}?", label, choices), outline


_KINDS = {"presence": _presence, "count": _count, "order": _order, "choice": _choice}


def ask(rng: np.random.Generator, teller: Teller) -> tuple[Asked, Outline]:
    """A question of one of the four kinds, each equally likely, and the outline of a story that answers it."""
    return _KINDS[_one(rng, tuple(_KINDS))](rng, teller)


def holds(story: Story, outline: Outline) -> bool:
    """True if the story matches its outline: its classes, their counts, and the one that is clearly longest."""
    if sorted(story.labels) != sorted(outline.labels):
        return False
    if outline.times:
        return [len(part.take.spans) for part in story.parts if part.countable] == [outline.times]
    if outline.longest >= 0:
        lengths = {part.label: part.spans[-1].end - part.spans[0].start for part in story.parts}
        longest = lengths.pop(outline.labels[outline.longest])
        return longest > _LONGER * max(lengths.values())
    return True

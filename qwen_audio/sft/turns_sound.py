"""Turns about sounds and places: present and absent sounds, times, order, cuts, reasons, stories."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from qwen_audio.sft.heard import QA, Heard, at, from_to, listed, number, one, pick, sentence
from qwen_audio.sft.nouns import ANIMALS, PEOPLE, PLACES, VEHICLES, WEATHER, event_going, event_noun
from qwen_audio.sft.turns_main import timeline
from qwen_audio.synthetic.sounds.stories import alike
from qwen_audio.synthetic.sounds.takes import EVENTS

_ENDINGS = ("And there it ends.", "Then the recording stops.", "What comes next, we are left to guess.")
_APART = 0.5  # s: an event that begins so much earlier clearly comes first
_MARGIN = 1.5  # the longest sound lasts so many times as long as the next
_MOST_SPANS = 5  # times of one class in one answer
# Category, its classes, and classes that may or may not count as it: with one of those there is no question.
_KINDS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("an animal", ANIMALS, ()),
    ("a vehicle or an aircraft", VEHICLES, ("siren", "chainsaw", "bell ringing")),
    ("wind, rain or thunder", WEATHER, ("sea waves", "white noise")),
    ("a person", PEOPLE, ("siren", "chainsaw", "bell ringing", *VEHICLES)),
)


def _absent(rng: np.random.Generator, heard: Heard) -> str | None:
    """An absent class that is not confused with a present one; only if the labels are complete."""
    if not heard.exact or not heard.events:
        return None
    return pick(rng, [name for name in EVENTS if not any(alike(name, label) for label in heard.events)])


def _times(heard: Heard, label: str) -> str:
    return listed([from_to(span.start, span.end) for span in heard.events[label]])


def present(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """Ask if a sound is present; yes and no are equally likely."""
    absent = _absent(rng, heard)
    if absent is None:
        return None
    yes = rng.random() < 0.5
    label = pick(rng, list(heard.events)) if yes else absent
    request = one(rng, "do you hear {noun} in {it}?|does {it} have {noun} in it?"
                       "|tell me if I can hear {noun} in {it}.",
                  noun=event_noun(label), it=it)  # fmt: skip
    if yes:
        return QA(
            "present",
            request,
            one(rng, "yes, I hear {noun}.|yes, {going}.", noun=event_noun(label), going=event_going(label)),
        )
    there = listed([event_noun(name) for name in heard.events])
    return QA(
        "present",
        request,
        one(rng, "no, I do not.|no, I only hear {there}.|no, nothing but {there}.", there=there),
    )


def when(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """The times of a sound, or that it is absent."""
    labels = [label for label, spans in heard.events.items() if len(spans) <= _MOST_SPANS]
    if not labels:
        return None
    ask = (
        "when do I hear {noun} in {it}?|at what time does {it} have {noun} in it?"
        "|find {noun} in {it} and give the times."
    )
    absent = _absent(rng, heard)
    if absent is not None and rng.random() < 0.2:
        answer = one(rng, "there is no such sound in {it}.|I do not hear {noun} in {it}."
                          "|{it} does not have {noun} in it.",
                     noun=event_noun(absent), it=it)  # fmt: skip
        return QA("refusal", one(rng, ask, noun=event_noun(absent), it=it), answer)
    label = pick(rng, labels)
    answer = one(rng, "{times}.|I hear it {times}.|{noun} is heard {times} "
                      "seconds.", times=_times(heard, label),
                 noun=event_noun(label))  # fmt: skip
    if label in ("footsteps",):  # "someone walking is heard" is no English
        answer = sentence(f"{_times(heard, label)}.")
    return QA("grounding", one(rng, ask, noun=event_noun(label), it=it), answer)


def order(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """Ask which of two sounds begins first, or for the order of all."""
    starts = [(spans[0].start, label) for label, spans in heard.events.items()]
    if len(starts) < 2 or any(b[0] - a[0] < _APART for a, b in pairwise(starts)):
        return None
    names = [event_noun(label) for _, label in starts]
    if rng.random() < 0.5:
        request = one(
            rng,
            "in which order do the sounds of {it} begin?|which sound of {it} comes when, in order?",
            it=it,
        )
        return QA("order", request, f"First {names[0]}, then {', then '.join(names[1:])}.")
    k = int(rng.integers(len(names) - 1))
    shown = listed([names[i] for i in rng.permutation([k, k + 1])], "or")
    request = one(
        rng,
        "what begins earlier in {it}: {shown}?|what do I hear sooner in {it}, {shown}?",
        it=it,
        shown=shown,
    )
    early, late = starts[k][0], starts[k + 1][0]
    return QA(
        "order", request, f"{sentence(names[k])}: it begins at {at(early)}, the other one at {at(late)}."
    )


def how_many(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """Ask for the number of kinds of sounds."""
    count = len(heard.events)
    if not heard.exact or not count:
        return None
    request = one(
        rng, "how many kinds of sounds does {it} have?|how many different things make a sound in {it}?", it=it
    )
    names = listed([event_noun(label) for label in heard.events])
    return QA("count", request, f"{sentence(number(count))}: {names}.")


def longest(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """Ask which sound lasts longest in total."""
    totals = sorted((sum(s.end - s.start for s in spans), label) for label, spans in heard.events.items())
    if len(totals) < 2 or totals[-1][0] < _MARGIN * totals[-2][0]:
        return None
    request = one(
        rng, "which sound takes up most of {it}?|what do I hear for the longest time in {it}?", it=it
    )
    return QA(
        "length",
        request,
        f"{sentence(event_noun(totals[-1][1]))}, for about {totals[-1][0]:.1f} seconds in all.",
    )


def cut(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """A cut list that removes a sound, or that keeps only the sound."""
    labels = [label for label, spans in heard.events.items() if len(spans) <= _MOST_SPANS]
    if not labels:
        return None
    ask = "cut {noun} out of {it}.|please remove {noun} from {it}.|edit {it} so that {noun} is gone."
    absent = _absent(rng, heard)
    if absent is not None and rng.random() < 0.2:
        answer = one(
            rng, "I do not hear {noun} in {it}, so there is nothing to cut.", noun=event_noun(absent), it=it
        )
        return QA("refusal", one(rng, ask, noun=event_noun(absent), it=it), answer)
    label = pick(rng, labels)
    spans = heard.events[label]
    if rng.random() < 0.3:
        request = one(
            rng,
            "keep only the part of {it} with {noun}.|shorten {it} to {noun}.",
            noun=event_noun(label),
            it=it,
        )
        return QA("edit", request, f"Keep {from_to(spans[0].start, spans[-1].end)}, and cut the rest.")
    others = [
        name
        for name, rows in heard.events.items()
        if name != label and any(a.start < b.end and b.start < a.end for a in rows for b in spans)
    ]
    answer = f"Cut {_times(heard, label)}."
    if others:
        answer += f" Part of another sound goes with it: {listed([event_noun(name) for name in others])}."
    return QA("edit", one(rng, ask, noun=event_noun(label), it=it), answer)


def sort_of(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """Ask if an animal, a vehicle, the weather or a person is audible; the answer names the cue."""
    if not heard.exact or not heard.events:
        return None
    kind, labels, unsure = pick(rng, _KINDS)
    if any(label in unsure for label in heard.events):
        return None
    found = [event_noun(label) for label in heard.events if label in labels]
    request = one(
        rng,
        "can you hear {kind} in {it}, and how do you know?|is {kind} to be heard in {it}? Give the reason.",
        kind=kind,
        it=it,
    )
    if found:
        return QA(
            "reasoning",
            request,
            one(rng, "yes, because I hear {found}.|yes: I hear {found}.", found=listed(found)),
        )
    there = listed([event_noun(label) for label in heard.events])
    return QA(
        "reasoning",
        request,
        one(rng, "no, all I hear is {there}.|no: I hear {there}, and nothing else.", there=there),
    )


def umbrella(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """Ask if one should take an umbrella."""
    if (
        not heard.exact
        or not heard.events
        or any(alike("rain", label) and label != "rain" for label in heard.events)
    ):
        return None
    request = one(
        rng, "should I take an umbrella where {it} was made?|going by {it}, do I need an umbrella?", it=it
    )
    if "rain" in heard.events:
        return QA("reasoning", request, "Yes, I hear rain falling, so an umbrella would help.")
    return QA("reasoning", request, "I hear no rain, so the recording gives no reason to take one.")


def inside(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """Ask if a place is inside or outside."""
    noun, side = PLACES.get(heard.example.label or "", ("", None))
    if heard.task != "acoustic_scene" or side is None:
        return None
    request = one(
        rng,
        "was {it} made indoors or outdoors, and why?"
        "|is the place of {it} inside or outside? Give the reason.",
        it=it,
    )
    return QA(
        "reasoning",
        request,
        f"It sounds like {noun}, so {it} was probably made {side.replace('side', 'doors')}.",
    )


def story(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """A few sentences in which the sounds occur in their order, and no other sound does."""
    if not heard.exact or len(heard.events) < 2:
        return None
    clauses = [event_going(label) for label in heard.events]
    request = one(rng, "tell me a short story that goes with {it}."
                       "|make up a little story from the sounds of {it}.|write a few "
                  "sentences of a story around {it}.", it=it)  # fmt: skip
    opening = pick(rng, ("Nobody knows yet what this day will bring.", "Imagine that you close your eyes.",
                         "Our story takes only a few "
                         "seconds.", "Once, somewhere, somebody left a microphone on."))  # fmt: skip
    # Sounds that begin together are not told as one after the other.
    told = f"{opening} {sentence(clauses[0])}."
    starts = [spans[0].start for spans in heard.events.values()]
    for k in range(1, len(clauses)):
        link = "Then" if starts[k] - starts[k - 1] >= _APART else "At the same time"
        told += f" {link} {clauses[k]}."
    return QA(
        "story",
        request,
        f"{told} {pick(rng, _ENDINGS)}",
    )


def all_times(rng: np.random.Generator, heard: Heard, it: str) -> QA | None:
    """Everything with its times, as lines of a table."""
    if not heard.events or len(heard.spans) > 8 or heard.task == "event_detection":
        return None
    return QA(
        "grounding",
        one(rng, "give me the times of all sounds in {it}.|make a timeline of {it}.", it=it),
        sentence(timeline(heard)) + ".",
    )


TURNS = (present, when, order, how_many, longest, cut, sort_of, umbrella, inside, story, all_times)

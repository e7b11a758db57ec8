"""Questions about sound scenes: the spans answer them, and their words alone do not."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np
import pytest

from qwen_audio.synthetic.sounds.captions import words_of
from qwen_audio.synthetic.sounds.questions import NUMBERS, Asked, ask, holds
from qwen_audio.synthetic.sounds.scenes import SceneGenerator
from qwen_audio.synthetic.sounds.stories import Outline, Story, Teller, alike
from qwen_audio.synthetic.sounds.takes import EVENTS


def test_answers_are_those_of_the_spans() -> None:
    kinds: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    generator, rng = SceneGenerator({"audio_qa": 1.0}), np.random.default_rng(0)
    for _ in range(200):
        sample = generator.sample(rng)
        example = sample.example
        question, answer, events = example.question, example.text, example.meta["events"]
        labels = list(dict.fromkeys(label for label, _, _ in events))
        quoted = question.split('"')[1::2]
        named = [
            label
            for label in EVENTS
            if f"Can {words_of(label).subject} be heard {words_of(label).participle}" in question
        ]
        named += [label for label in ("door knocking",) if "someone be heard knocking " in question]
        named += [label for label in ("door knocking",) if "someone be heard knocking?" in question]
        counts = Counter(label for label, _, _ in events)
        kinds[example.meta["kind"]] += 1
        assert answer in example.choices and len(set(example.choices)) == len(example.choices)
        if example.choices == ["yes", "no"]:
            verdicts[answer] += 1
        match example.meta["kind"]:
            case "count" if "different" in question:
                assert NUMBERS.index(answer) + 1 == len(labels)
            case "count" if "more than once" in question:
                assert (counts[named[0]] > 1) == (answer == "yes")
            case "count":
                counted = quoted or [
                    label for label in labels if words_of(label, True).participle in question
                ]
                assert NUMBERS.index(answer) + 1 == counts[counted[0]]
            case "order" if "first" in question or "last?" in question:
                assert answer == labels[0 if "first" in question else -1]
            case "order" if "right after" in question:
                assert answer == labels[labels.index(quoted[0]) + 1]
            case "order":
                assert (labels.index(quoted[0]) < labels.index(quoted[1])) == (answer == "yes")
            case "presence":
                assert ((quoted or named)[0] in labels) == (answer == "yes")
            case "choice":
                assert answer in labels
                if "these" in question:
                    assert [name for name in example.choices if name in labels] == [answer]
                    assert all(name in question for name in example.choices)
                elif "longest" in question:
                    assert answer == max(events, key=lambda e: e[2] - e[1])[0]
                else:
                    assert events[0] == [answer, 0.0, events[0][2]]
                    assert [name for name in example.choices if name in labels] == [answer]
    assert set(kinds) == {"presence", "count", "order", "choice"} and min(kinds.values()) >= 25
    assert 0.35 < verdicts["yes"] / verdicts.total() < 0.7


def asked(count: int, held_out: bool = False) -> list[tuple[Asked, Outline]]:
    teller, rng = Teller(held_out), np.random.default_rng(1)
    return [ask(rng, teller) for _ in range(count)]


def kind_of(question: str) -> str:
    """The question without the classes that it names."""
    question = re.sub(r"heard: .*", "heard: ...", re.sub(r'"[^"]+"', '"..."', question))
    return re.sub(r"an (?!the).* be heard .*?(?= more than once|\?)", "an ... be heard", question)


def test_the_words_of_a_question_do_not_give_its_answer_away() -> None:
    """A reader who has seen the answers to half of the questions guesses the other half as often as chance has it."""
    groups: defaultdict[str, list[Asked]] = defaultdict(list)
    for one, _ in asked(3000):
        groups[kind_of(one.question)].append(one)
    for name, rows in groups.items():
        assert all({a.answer for a in rows} >= set(one.choices) for one in rows if len(rows) > 150), name
        right: Counter[tuple[str, bool]] = Counter()
        half = len(rows) // 2
        for one in rows[:half]:
            for choice in one.choices:
                right[_seen(one, choice), choice == one.answer] += 1
        guessed = []
        for one in rows[half:]:
            shares = {
                c: (right[_seen(one, c), True] + 1)
                / (right[_seen(one, c), True] + right[_seen(one, c), False] + 3)
                for c in one.choices
            }
            guessed.append(max(one.choices, key=shares.__getitem__) == one.answer)
        chance = np.mean([1 / len(one.choices) for one in rows[half:]])
        assert np.mean(guessed) < chance + 2.5 * np.sqrt(0.25 / len(guessed)), name


def _seen(one: Asked, choice: str) -> str:
    """What a guess goes by: the choice and, where the choices are always the same, what the question names."""
    same = one.choices[0] in ("yes", "no", *NUMBERS)
    return f"{one.question} {choice}" if same else choice


@pytest.mark.parametrize("held_out", [False, True])
def test_a_question_names_nothing_that_could_be_meant(held_out: bool) -> None:
    for one, outline in asked(80 if held_out else 300, held_out):
        named = one.question.split('"')[1::2] if one.kind == "presence" else []
        if "these" in one.question or "background" in one.question:
            named = [choice for choice in one.choices if choice != one.answer]
        elif one.answer == "yes":
            named = []
        assert not any(alike(name, label) for name in named for label in outline.labels)


def test_a_story_that_came_out_otherwise_is_told_anew() -> None:
    rng, teller = np.random.default_rng(0), Teller()
    outline = Outline("count", ("dog barking",), 3)
    story = teller.tell(rng, "count", outline)
    assert holds(story, outline) and not holds(story, outline._replace(times=2))
    assert not holds(story, Outline("single", ("rain",)))
    longest = Outline("sequence", ("rain", "siren"), longest=1)
    story = next(s for s in (teller.tell(rng, "sequence", longest) for _ in range(20)) if holds(s, longest))
    assert isinstance(story, Story) and not holds(story, longest._replace(longest=0))

"""Questions about spoken words: the answers hold against the words and times they were made from."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="needs the synth extra")

from qwen_audio.synthetic.speech.questions import QUESTION_KINDS, SpeechQuestionGenerator

PLACES = {"first": 0, "second": 1, "third": 2, "fourth": 3, "last": -1}


def holds(kind, question, answer, words):
    """Whether the answer is right, worked out from the question's text."""
    said = [word for word, _, _ in words]
    quoted = re.findall('"([^"]+)"', question)
    match kind:
        case "count":
            return answer == str(len(said))
        case "place":
            return answer == said[PLACES[re.search(r"spoken (\w+)\?", question)[1]]]
        case "next":
            return said.count(quoted[0]) == 1 and answer == said[said.index(quoted[0]) + 1]
        case "presence":
            return answer == ("yes" if quoted[0] in said else "no")
        case "order":
            a, b = map(said.index, quoted)
            return answer == ("yes" if a < b else "no")
        case "second":
            return int(answer) == int(words[said.index(quoted[0])][1])
        case "at":
            at = float(re.search(r"at ([\d.]+) seconds", question)[1])
            return any(w == answer and start - 0.051 <= at <= end + 0.051 for w, start, end in words)


@pytest.mark.parametrize("kind", QUESTION_KINDS)
def test_the_answers_are_true(kind):
    generator = SpeechQuestionGenerator({kind: 1}, vocabulary_size=20)
    answers = set()
    for seed in range(25):
        sample = generator.sample(np.random.default_rng(seed))
        example = sample.example
        assert example.task == "audio_qa" and example.meta["kind"] == kind and example.words is None
        assert holds(kind, example.question, example.text, example.meta["words"]), (
            example.question,
            example.meta,
        )
        assert len(sample.waves) == 1 and example.meta["words"][-1][2] <= len(sample.waves[0]) / 16_000 + 1e-3
        answers.add(example.text)
    assert len(answers) > 1


def test_the_same_seed_gives_the_same_bytes_and_held_out_others():
    one, two, held = (
        SpeechQuestionGenerator(held_out=h).sample(np.random.default_rng(3)) for h in (False, False, True)
    )
    assert one.example == two.example and np.array_equal(one.waves[0], two.waves[0])
    assert held.example.speaker != one.example.speaker


def test_bad_kinds_are_named():
    with pytest.raises(ValueError, match="unknown kind of question 'why'"):
        SpeechQuestionGenerator({"why": 1})
    with pytest.raises(ValueError, match="positive sum"):
        SpeechQuestionGenerator({"count": 0})

"""Instructions and answers of models read as edits."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_audio.editing.instructions import (
    KINDS,
    Instruction,
    InstructionError,
    Target,
    read_answer,
    read_instruction,
)


def word(text, which=None):
    return Target("words", text, which)


def between(*sides):
    return Target("pauses", "between", sides=sides)


@pytest.mark.parametrize(
    ("text", "kind", "targets"),
    [
        ('remove the word "seven"', "remove", [word("seven")]),
        ("Please remove the word seven.", "remove", [word("seven")]),
        ("could you cut out the word seven from this recording?", "remove", [word("seven")]),
        ("cut 'seven' out of it", "remove", [word("seven")]),
        ('delete the phrase "one and two"', "remove", [word("one and two")]),
        ('remove the words "one" and "two"', "remove", [word("one"), word("two")]),
        ("remove the words one, two and three", "remove", [word("one"), word("two"), word("three")]),
        ('bleep every "seven"', "bleep", [word("seven")]),
        ('bleep out the second "seven"', "bleep", [word("seven", 2)]),
        ('mute the last word "no"', "mute", [word("no", -1)]),
        ("silence the sound of a dog", "mute", [Target("sound", "dog")]),
        ("remove all barking sounds", "remove", [Target("sound", "barking")]),
        ("remove seven", "remove", [Target("any", "seven")]),
        ("keep only the first three words", "keep", [Target("position", which=1, count=3)]),
        ("cut it down to the last 2 words", "keep", [Target("position", which=-1, count=2)]),
        ("keep the second word", "keep", [Target("position", which=2)]),
        ("remove the last word", "remove", [Target("position", which=-1)]),
        ("remove the silences", "remove", [Target("pauses")]),
        ("trim the silence at both ends of it", "remove", [Target("pauses", "ends")]),
        ("remove the silence at the start and at the end", "remove", [Target("pauses", "ends")]),
        ("remove the leading and trailing silence", "remove", [Target("pauses", "ends")]),
        ("remove the silence at the beginning of the recording", "remove", [Target("pauses", "start")]),
        ("remove the silence at the end and the word x", "remove", [Target("pauses", "end"), word("x")]),
        ("mute the pauses between the words", "mute", [Target("pauses", "inner")]),
        ("remove the pause between four and eight", "remove", [between(word("four"), word("eight"))]),
        (
            'remove the pause between the words "a b" and nine and the word one',
            "remove",
            [between(word("a b"), word("nine")), word("one")],
        ),
        (
            "find the pause between the first and second words",
            "find",
            [between(Target("position", which=1), Target("position", which=2))],
        ),
        ("remove from 1.2 to 3.45 seconds", "remove", [Target("time", start=1.2, end=3.45)]),
        (
            "remove between 1 and 2 and between 2.2 and 2.4",
            "remove",
            [Target("time", start=1, end=2), Target("time", start=2.2, end=2.4)],
        ),
        ("keep the first 2 seconds", "keep", [Target("time", end=2)]),
        ("mute the last 2.5s of the recording", "mute", [Target("time", start=-2.5, end=math.inf)]),
        ("cut the first second", "remove", [Target("time", end=1)]),
        ("cut the first half second", "remove", [Target("time", end=0.5)]),
        (
            "remove the first and last two seconds",
            "remove",
            [Target("time", end=2), Target("time", start=-2, end=math.inf)],
        ),
        (
            "remove the second and third words",
            "remove",
            [Target("position", which=2), Target("position", which=3)],
        ),
        (
            "mute the first, the second and the last word and the word nine",
            "mute",
            [
                Target("position", which=1),
                Target("position", which=2),
                Target("position", which=-1),
                word("nine"),
            ],
        ),
        (
            "keep the first and last two words",
            "keep",
            [Target("position", which=1, count=2), Target("position", which=-1, count=2)],
        ),
        (
            "mute the first two and last three words",
            "mute",
            [Target("position", which=1, count=2), Target("position", which=-1, count=3)],
        ),
        (
            "remove the second and the third seven",
            "remove",
            [Target("any", "seven", 2), Target("any", "seven", 3)],
        ),
        ("mute the first one and last one", "mute", [Target("any", "one", 1), Target("any", "one", -1)]),
        ('bleep the first and third "no"', "bleep", [word("no", 1), word("no", 3)]),
        ("bleep all words", "bleep", [Target("position")]),
        ("mute every word", "mute", [Target("position")]),
        ("remove all the words", "remove", [Target("position")]),
        ("remove the words find and show", "remove", [word("find"), word("show")]),
        ('remove the words "cut" and "keep it"', "remove", [word("cut"), word("keep it")]),
        (
            "find the sound of a keyboard and drop of water",
            "find",
            [Target("sound", "keyboard"), Target("sound", "drop of water")],
        ),
        ("keep 0:30 to 1:05.5", "keep", [Target("time", start=30, end=65.5)]),
        ("mute between 1 and 2", "mute", [Target("time", start=1, end=2)]),
        ('swap the words "one" and "three"', "swap", [word("one"), word("three")]),
        (
            "swap the first word and the last word",
            "swap",
            [Target("position", which=1), Target("position", which=-1)],
        ),
        ("find the word X", "find", [word("X")]),
        ('where is the word "hello" spoken?', "find", [word("hello")]),
        ("When do you hear the dog?", "find", [Target("any", "dog")]),
        ("bleep \u201cBob\u201d", "bleep", [word("Bob")]),
    ],
)
def test_what_is_asked_for(text, kind, targets):
    assert read_instruction(text) == Instruction(kind, tuple(targets))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("paint it blue", "does not begin with what to do"),
        ("", "does not begin with what to do"),
        ("remove", "does not say what to remove"),
        ("swap the word one", "needs two things"),
        ("remove from 3 to 2", "earlier time first"),
        ("remove the first 0 seconds", "more than 0"),
        ("remove the word nine and bleep the word zero", "one instruction does one thing"),
        ("remove the word nine, then please mute zero", "one instruction does one thing"),
        ("Remove the word nine. Bleep the word zero.", "one instruction does one thing"),
        ("remove the word", "names nothing"),
        ('remove the word ""', "names nothing"),
        ("remove the pause between the sound of a dog and nine", "is no word"),
    ],
)
def test_what_cannot_be_read_is_said(text, says):
    with pytest.raises(InstructionError, match=says):
        read_instruction(text)


@given(
    st.text(max_size=60) | st.text(alphabet='remove the wordkp"and 12.,:', max_size=40).map("remove ".__add__)
)
def test_any_text_is_read_or_refused(text):
    try:
        read = read_instruction(text)
    except InstructionError:
        return
    assert read.kind in KINDS and read.targets
    assert read_answer(text, text) is None or read_answer(text, text).targets


def spans(*pairs):
    return tuple(Target("time", start=a, end=b, exact=False) for a, b in pairs)


@pytest.mark.parametrize(
    ("request_", "answer", "expected"),
    [
        ("remove the dog", "Cut from <|4.69|> to <|7.40|>.", Instruction("remove", spans((4.69, 7.40)))),
        ("remove the dog", "Cut from 4.69 to 7.40.", Instruction("remove", spans((4.69, 7.40)))),
        (
            'cut "x" out of it',
            'Cut list: from 0.20 to 0.90. What remains is: "from 1 to 2"',
            Instruction("remove", spans((0.2, 0.9))),
        ),
        (
            "keep only the first word",
            'Keep from 0.00 to 0.50, which says: "a"',
            Instruction("keep", spans((0, 0.5))),
        ),
        ("bleep the word seven", "Cut from 1.00 to 1.50.", Instruction("bleep", spans((1, 1.5)))),
        ("mute the word seven", "From 1.00 to 1.50.", Instruction("mute", spans((1, 1.5)))),
        (
            "swap one and two",
            "From 1.00 to 1.50 and from 2.00 to 2.50.",
            Instruction("swap", spans((1, 1.5), (2, 2.5))),
        ),
        ("remove the word x", 'The word "x" is not spoken in it, so there is nothing to cut.', None),
        ("when is the word seven spoken?", "From 1.00 to 1.50.", None),
        ("what is this?", "A dog from 1.00 to 1.50.", None),
    ],
)
def test_an_answer_of_a_model_is_an_edit(request_, answer, expected):
    assert read_answer(request_, answer) == expected


def test_every_edit_of_the_fine_tuning_data_is_read():
    """What chat models are taught to answer, the tool can carry out."""
    pytest.importorskip("espeakng_loader", reason="the synthetic world needs the extra synth")
    from qwen_audio.sft.heard import Heard
    from qwen_audio.sft.turns_speech import cut_word, keep_words
    from qwen_audio.synthetic.speech.transcribed import SpeechGenerator

    generator = SpeechGenerator(tasks={"word_timestamps": 1.0})
    kinds = set()
    for number in range(12):
        rng = np.random.default_rng(number)
        sample = generator.sample(rng)
        heard = Heard(sample.example, sample.waves[0])
        for make in (cut_word, keep_words):
            turn = make(rng, heard, "this recording")
            if turn is None or turn.kind != "edit":
                continue
            read = read_answer(turn.request, turn.answer)
            assert read is not None, turn
            kinds.add(read.kind)
            assert all(0 <= t.start < t.end <= heard.seconds + 0.01 for t in read.targets)
    assert kinds == {"remove", "keep"}


@pytest.mark.parametrize("text", ["bleep the words, four and nine", "bleep the words: four, nine"])
def test_words_that_are_named_are_not_all_words(text):
    assert [target.text for target in read_instruction(text).targets] == ["four", "nine"]


@pytest.mark.parametrize("text", ["bleep the words and", 'remove ""', "keep the first 0 words"])
def test_what_names_nothing_is_refused(text):
    with pytest.raises(InstructionError, match=r"names nothing|no words") as caught:
        read_instruction(text)
    assert "\x00" not in str(caught.value)


def test_a_second_is_a_unit_or_a_place():
    targets = read_instruction("remove the first second and the last second").targets
    assert [target.kind for target in targets] == ["time", "time"]
    both = read_instruction("remove the word four and silence between eight and one")
    assert [target.kind for target in both.targets] == ["words", "pauses"]

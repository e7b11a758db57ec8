"""Word times: what is written is read back, and any string is read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_audio.format import tags
from qwen_audio.format.timestamps import Word, parse_words, render_words

steady = settings(deadline=None, derandomize=True)  # a busy machine is no failure


def text_of(words: list[Word]) -> str:
    return "".join(segment.text for segment in render_words(words))


@st.composite
def word_lists(draw: st.DrawFn) -> list[Word]:
    """Ordered words on the grid; some abut, some have no length."""
    letters = st.characters(exclude_categories=["Z", "C"], exclude_characters="<>|")
    names = draw(st.lists(st.text(letters, min_size=1, max_size=6), max_size=8))
    ticks = sorted(draw(st.lists(st.integers(0, 3000), min_size=2 * len(names), max_size=2 * len(names))))
    words = [Word(n, a / 100, b / 100) for n, a, b in zip(names, ticks[::2], ticks[1::2], strict=True)]
    if len(words) > 1 and draw(st.booleans()):
        words[0] = Word(words[0].word, words[0].start, words[1].start)
    return words


def test_the_written_form() -> None:
    words = [Word("mian", 0.54, 0.86), Word("tiao", 0.86, 1.17)]
    assert text_of(words) == "<|sil|><|0.54|>mian<|0.86|>tiao<|1.17|>"
    words = [Word("a", 0.0, 0.3), Word("b", 0.5, 0.7)]
    assert text_of(words) == "a<|0.30|><|sil|><|0.50|>b<|0.70|>"
    assert render_words([]) == []


def test_words_are_user_data_and_times_are_special() -> None:
    segments = render_words([Word("<en>", 0.1, 0.2)])
    assert [(s.text, s.special) for s in segments] == [
        ("<|sil|><|0.10|>", True),
        ("<en>", False),
        ("<|0.20|>", True),
    ]
    assert all(segment.label for segment in segments)
    assert not any(segment.label for segment in render_words([Word("a", 0, 1)], label=False))
    with pytest.raises(ValueError, match=r"spells the tag <\|en\|>"):
        render_words([Word("<|en|>", 0.1, 0.2)])


@steady
@given(word_lists())
def test_round_trip(words: list[Word]) -> None:
    parsed = parse_words(text_of(words))
    assert parsed.words == words
    assert parsed.repairs == []
    assert parse_words("<|0.00|>" + text_of(words)).words == words


@steady
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=20))
def test_rounding_moves_no_boundary_by_more_than_10_ms(pairs: list[tuple[float, float]]) -> None:
    words, clock = [], 0.0
    for gap, length in pairs:
        start = clock + (gap if gap > 0.2 else 0.0)
        clock = start + length
        if clock <= 30:
            words.append(Word("w", start, clock))
    parsed = parse_words(text_of(words))
    assert len(parsed.words) == len(words)
    assert parsed.repairs == []
    for read, meant in zip(parsed.words, words, strict=True):
        assert abs(read.start - meant.start) <= 0.0101
        assert abs(read.end - meant.end) <= 0.0101


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([Word(" ", 0, 1)], "empty"),
        ([Word("a", 1, 0.5)], "before it starts"),
        ([Word("a", 0, 1), Word("b", 0.5, 2)], "sort the words"),
        ([Word("a", 0, 31)], "outside 0.00 to 30.00"),
        ([Word("a", -1, 1)], "outside 0.00 to 30.00"),
        ([Word("a", 0, float("nan"))], "finite"),
    ],
)
def test_words_that_cannot_be_written(words: list[Word], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render_words(words)


@pytest.mark.parametrize(
    ("text", "words", "repair"),
    [
        # The published example, with and without the first time, and the corpus form without silence tags.
        (
            "<|0.00|><|sil|><|0.54|>面<|0.86|>条<|1.17|><|sil|><|2.01|>",
            [("面", 54, 86), ("条", 86, 117)],
            None,
        ),
        ("<|sil|><|0.54|>面<|0.86|>条<|1.17|>", [("面", 54, 86), ("条", 86, 117)], None),
        ("<|0.15|>two<|0.55|> <|0.76|>three<|1.26|>", [("two", 15, 55), ("three", 76, 126)], None),
        ("", [], None),
        ("<|0.00|>two words<|0.50|>", [("two words", 0, 50)], None),
        ("<|0.20|>a<|29.00|>b<|0.60|>c<|0.80|>", [("a", 20, 40), ("b", 40, 60), ("c", 60, 80)], "29.00"),
        ("<|0.20|>a<|40.00|>b<|0.60|>", [("a", 20, 40), ("b", 40, 60)], "beyond"),
        ("<|0.20|>a<|0.40|>bc", [("a", 20, 40), ("bc", 40, 40)], "no end time for 'bc'"),
        ("<|0.20|>a<|en|><|0.40|>", [("a", 20, 40)], "unexpected tag <|en|>"),
        ("<|0.20|>a<|sil|>b<|0.50|>", [("a", 20, 30), ("b", 40, 50)], "no time between"),
        ("<|0.20|>a<|oops|>b<|0.50|>", None, "no time between"),
        ("hello", [("hello", 0, 0)], "no end time"),
    ],
)
def test_repairs(text: str, words: list[tuple[str, int, int]] | None, repair: str | None) -> None:
    parsed = parse_words(text)
    if words is not None:
        assert parsed.words == [Word(name, start / 100, end / 100) for name, start, end in words]
    assert any(repair in line for line in parsed.repairs) if repair else parsed.repairs == []


PIECES = ["a", "bb ", " ", "<|sil|>", "<|en|>", "<|x|>", "<|", "|>", "<|99.99|>", "<|0.5|>", "<|1e5.0|>"]


@steady
@given(
    st.text()
    | st.lists(st.sampled_from(PIECES) | st.integers(0, 3000).map(lambda t: tags.time_tag(t / 100))).map(
        "".join
    )
)
def test_any_string_is_read_into_ordered_words(text: str) -> None:
    words = parse_words(text).words
    assert all(word.word.strip() == word.word != "" for word in words)
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert not times or (times[0] >= 0 and times[-1] <= 30)


@steady
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=30))
def test_no_word_is_lost_to_repairs(ticks: list[int]) -> None:
    text = "".join(f"w{i}{tags.time_tag(tick / 100)}" for i, tick in enumerate(ticks))
    parsed = parse_words(text)
    assert [word.word for word in parsed.words] == [f"w{i}" for i in range(len(ticks))]
    kept = [word.end for word, tick in zip(parsed.words, ticks, strict=True) if word.end == tick / 100]
    assert len(parsed.repairs) >= len(ticks) - len(kept)
    assert (parsed.repairs == []) == (ticks == sorted(ticks))

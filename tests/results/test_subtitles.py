"""Subtitles and TextGrids: times over an hour, and grids that another program's reader gives back."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_audio.format.timestamps import Word
from qwen_audio.results.passages import Passage
from qwen_audio.results.results import Transcription, format_results
from qwen_audio.results.subtitles import to_textgrid, without_gaps

WORDS = [Word("one", 3723.5, 3724.0), Word('"two"', 3724.1, 3724.6)]
LONG = Transcription(
    'one "two" zwei',
    "en",
    [*WORDS, Word("zwei", 4000.0, 4000.5)],
    [],
    [
        Passage(3723.4, 3724.7, "en", 'one "two"', WORDS),
        Passage(4000.0, 4000.5, "de", "zwei", [Word("zwei", 4000.0, 4000.5)]),
    ],
    7200.25,
)


def test_times_over_an_hour():
    assert format_results([("a", LONG)], "srt").splitlines()[:3] == [
        "1",
        "01:02:03,500 --> 01:02:04,600",
        'one "two"',
    ]
    assert "01:06:40.000 --> 01:06:40.500\nzwei" in format_results([("a", LONG)], "vtt")


def read_textgrid(text):
    """The tiers of a TextGrid in long form: {name: [(start, end, label)]}."""
    tiers = {}
    for block in re.split(r"item \[\d+\]:", text)[1:]:
        name = re.search(r'name = "(.*)"', block)[1]
        found = re.findall(r'xmin = (\S+)\s+xmax = (\S+)\s+text = "((?:[^"]|"")*)"', block)
        assert len(found) == int(re.search(r"intervals: size = (\d+)", block)[1])
        tiers[name] = [(float(a), float(b), label.replace('""', '"')) for a, b, label in found]
    assert len(tiers) == int(re.search(r"^size = (\d+)", text, re.M)[1])
    return tiers


def test_a_textgrid_reads_back():
    tiers = read_textgrid(LONG.to_textgrid())
    assert list(tiers) == ["segments", "language", "words"]
    for tier in tiers.values():
        assert tier[0][0] == 0 and tier[-1][1] == 7200.25
        assert all(a[1] == b[0] for a, b in pairwise(tier))
    assert [row for row in tiers["words"] if row[2]] == [(w.start, w.end, w.word) for w in LONG.words]
    assert [row[2] for row in tiers["language"] if row[2]] == ["en", "de"]
    assert list(read_textgrid(Transcription("", "unknown", None, [], [], 3.0).to_textgrid())) == [
        "segments",
        "language",
    ]


def test_another_reader_takes_the_textgrid(tmp_path):
    textgrid = pytest.importorskip("praatio.textgrid", reason="praatio, which reads TextGrids, is not there")
    path = tmp_path / "a.TextGrid"
    path.write_text(LONG.to_textgrid(), encoding="utf-8")
    words = textgrid.openTextgrid(str(path), includeEmptyIntervals=False).getTier("words").entries
    assert [(w.start, w.end, w.label) for w in words] == [(w.start, w.end, w.word) for w in LONG.words]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=12))
def test_intervals_fill_the_recording_and_lose_no_word(steps):
    marked, at = [], 0
    for number, (gap, length) in enumerate(steps):
        marked.append(((at + gap) / 1000, (at + gap + length) / 1000, f"w{number}"))
        at += gap + length
    end = at / 1000 + 0.5
    found = without_gaps(marked, end)
    assert found[0][0] == 0 and found[-1][1] == end
    assert all(a[1] == b[0] for a, b in pairwise(found))
    assert all(b - a > 0.0005 for a, b, _ in found)
    assert " ".join(text for *_, text in found if text) == " ".join(text for *_, text in marked)
    assert to_textgrid([], end).count("intervals [1]:") == 2

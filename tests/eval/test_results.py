"""Results as text, JSON and subtitles, and the picture of a recording."""

import json

import numpy as np
import pytest

from qwen_audio.format.timestamps import Word
from qwen_audio.results import passages, results, subtitles
from qwen_audio.results.results import Answer, Classification, Transcription

WORDS = [Word("one", 0.1, 0.5), Word("two", 0.6, 1.0), Word("three", 2.5, 3.0)]


def test_subtitles_break_at_pauses_and_carry_times():
    srt = Transcription("one two three", "en", WORDS).to_srt()
    assert srt == "1\n00:00:00,100 --> 00:00:01,000\none two\n\n2\n00:00:02,500 --> 00:00:03,000\nthree\n"


def test_subtitle_lines_are_short_and_lose_no_word():
    words = [Word(f"word{i}", 0.3 * i, 0.3 * i + 0.3) for i in range(60)]
    lines = results.group_words(words)
    assert [word for line in lines for word in line] == words
    assert all(len(" ".join(w.word for w in line)) <= subtitles.SRT_LINE_CHARACTERS for line in lines)
    assert all(line[-1].end - line[0].start <= subtitles.SRT_LINE_SECONDS for line in lines)
    assert [len(line) for line in results.group_words([Word("x" * 99, 0, 1)])] == [1]
    assert results.group_words([]) == []


def test_chinese_words_are_joined_without_spaces():
    words = [Word("面", 0.5, 0.8), Word("条", 0.8, 1.1)]
    assert "面条" in Transcription("面条", "zh", words).to_srt()
    assert passages.join_words(words, "zh") == "面条" and passages.join_words(WORDS, "en") == "one two three"


def test_subtitles_need_word_times():
    with pytest.raises(ValueError, match="word_timestamps=True"):
        Transcription("one", "en").to_srt()


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "00:00:00,000"), (62.3456, "00:01:02,346"), (3599.9999, "01:00:00,000")]
)
def test_subtitle_times(seconds, expected):
    assert results.srt_time(seconds) == expected


def test_text_names_the_inputs_only_when_there_are_several():
    answers = [("a.wav", Answer("yes")), ("b.wav", Answer("no"))]
    assert results.format_results(answers[:1], "text") == "yes\n"
    assert results.format_results(answers, "text") == "a.wav: yes\nb.wav: no\n"
    assert (
        results.format_results([("a.wav", Transcription("x", "en", WORDS[:1]))], "text")
        == "0.10\t0.50\tone\n"
    )


def test_classification_as_text_begins_with_the_likeliest_label():
    text = results.format_results([("a", Classification("dog", {"cat": 0.25, "dog": 0.75}))], "text")
    assert text == "0.750\tdog\n0.250\tcat\n"


def test_json_keeps_every_script_and_all_fields():
    one = json.loads(
        results.format_results([("a.wav", Transcription("面", "zh", WORDS, ["repaired"]))], "json")
    )
    assert one["text"] == "面" and one["language"] == "zh" and one["problems"] == ["repaired"]
    assert one["words"][2] == {"word": "three", "start": 2.5, "end": 3.0}
    both = json.loads(results.format_results([("a", Answer("x")), ("b", Answer("y"))], "json"))
    assert [row["input"] for row in both] == ["a", "b"]


@pytest.mark.parametrize(
    ("pairs", "style", "message"),
    [
        ([("a", Answer("x"))], "srt", "only a transcription"),
        ([("a", Transcription("x", "en", WORDS))] * 2, "srt", "one recording"),
        ([("a", Answer("x"))], "xml", "unknown format 'xml'"),
    ],
)
def test_formats_that_do_not_fit_are_refused(pairs, style, message):
    with pytest.raises(ValueError, match=message):
        results.format_results(pairs, style)


def test_picture_is_a_png_and_shows_the_words(tmp_path):
    from qwen_audio.show.draw import draw_mel

    wave = (0.1 * np.random.default_rng(0).standard_normal(48_000)).astype(np.float32)
    plain, drawn = tmp_path / "new" / "plain.png", tmp_path / "drawn.png"
    draw_mel(wave, plain, title="costs $5 and $6")
    draw_mel(wave, drawn, words=WORDS, true_words=WORDS)
    assert plain.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert drawn.read_bytes() != plain.read_bytes() and drawn.stat().st_size > 5_000

"""The special-token table equals the published one, and the tag functions keep to it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT

from qwen_audio.format import tags

steady = settings(deadline=None, derandomize=True)  # a busy machine is no failure

GOLDEN = ROOT / "tests" / "golden" / "tokenizer"


def test_names_and_order_are_the_published_ones() -> None:
    published = json.loads((GOLDEN / "special_tokens.json").read_text())
    assert {name: 151_643 + index for index, name in enumerate(tags.SPECIAL_TOKENS)} == published
    assert len(tags.SPECIAL_TOKENS) == 3522
    assert tags.SPECIAL_INDEX[tags.AUDIO_PAD] == 151_851 - 151_643


def test_every_name_is_found_in_running_text() -> None:
    for name in tags.SPECIAL_TOKENS:
        assert tags.split_tags(f"a {name}b") == [("a ", False), (name, True), ("b", False)]
    everything = "".join(tags.SPECIAL_TOKENS)
    assert tags.split_tags(everything) == [(name, True) for name in tags.SPECIAL_TOKENS]


@steady
@given(st.text(alphabet="<|>en0.5audio/[]: é") | st.text())
def test_split_loses_nothing(text: str) -> None:
    pieces = tags.split_tags(text)
    assert "".join(piece for piece, _ in pieces) == text
    assert all(piece and (not special or piece in tags.SPECIAL_INDEX) for piece, special in pieces)


def test_languages() -> None:
    assert [tags.language_tag(code) for code in ("en", "zh_tr")] == ["<|en|>", "<|zh_tr|>"]
    for code in (None, "", "ar", "EN", "unknown", "transcribe"):
        assert tags.language_tag(code) == tags.UNKNOWN
    for code in (*tags.LANGUAGES, tags.TRADITIONAL_CHINESE):
        assert tags.language_of(tags.language_tag(code)) == code
    for tag in (tags.UNKNOWN, tags.TRANSCRIBE, "", "en"):
        assert tags.language_of(tag) is None


@steady
@given(st.integers(0, tags.MAX_TICK), st.floats(-0.0049, 0.0049))
def test_times_round_to_the_nearest_10_ms(tick: int, shift: float) -> None:
    seconds = tick / 100 + shift
    if 0 <= round(seconds * 100) <= tags.MAX_TICK:
        assert float(tags.time_tag(seconds)[2:-2]) == pytest.approx(tick / 100, abs=1e-9)
    assert tags.time_tag(tick / 100) in tags.SPECIAL_INDEX


@pytest.mark.parametrize("seconds", [-0.01, 30.01, float("nan"), float("inf")])
def test_times_outside_the_window_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"30\.00|finite"):
        tags.time_tag(seconds)


def test_midi_tags() -> None:
    assert tags.pitch_tag(0) == "<|midi_pitch_0|>"
    assert tags.velocity_tag(127) == "<|midi_velocity_127|>"
    for bad in (-1, 128, 60.0, "60", None):
        with pytest.raises(ValueError, match="0 to 127"):
            tags.pitch_tag(bad)  # type: ignore[arg-type]

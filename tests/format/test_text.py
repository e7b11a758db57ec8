"""The spoken form of transcripts."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_audio.format.text import collapse_spaces, spoken_form

steady = settings(deadline=None, derandomize=True)  # a busy machine is no failure


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Providence had delivered him.", "providence had delivered him"),
        ("Don't — you’re “late”, aren't you?", "don't you're late aren't you"),
        ("a well-known 'fact'; 3.14 or 1,000 at 12:30!", "a well known fact 3.14 or 1,000 at 12:30"),
        ("Hello,world", "hello world"),
        ("今天天气真好，我们去公园玩吧。", "今天天气真好我们去公园玩吧"),
        ("こんにちは、世界。", "こんにちは世界"),
        ("今天, hello。", "今天 hello"),
        ("¿Qué tal?  ¡Bien!\n", "qué tal bien"),
        ("안녕하세요, 세계!", "안녕하세요 세계"),
        ("cafe\u0301", "café"),
        ("مرحبا؟", "مرحبا"),
        ("...", ""),
    ],
)
def test_spoken_form(written: str, spoken: str) -> None:
    assert spoken_form(written) == spoken


@steady
@given(st.text())
def test_spoken_form_is_a_fixed_point_and_nfc(text: str) -> None:
    once = spoken_form(text)
    assert spoken_form(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == collapse_spaces(once)


@steady
@given(st.text(alphabet="ab,.'-3 か、\u3099\u0301’面。"))
def test_spoken_form_is_a_fixed_point_around_marks(text: str) -> None:
    once = spoken_form(text)
    assert spoken_form(once) == once

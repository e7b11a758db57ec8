"""What is done to transcripts before words are compared: three normalisations, each named in the signature.

spoken: `text.spoken_form`, what `<|wo_itn|>` promises: the default here. published: that of the published Qwen-Audio
scripts, where punctuation counts. whisper: that of Whisper's evaluation (Radford et al. 2022, appendix C), as
most tables of speech recognition have it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from qwen_audio.format.answers.speech import BETWEEN_TRANSCRIPTS
from qwen_audio.format.text import spoken_form

# Languages written without spaces: their error rate is counted in characters, as in the published evaluation.
CHARACTER_LANGUAGES = frozenset({"zh", "zh_tr", "ja"})

_TAG = re.compile(r"<\|.*?\|>")
_WHITE = re.compile(r"\s+")
_BEFORE_MARK = re.compile(r" ([!,.?;:])")

Normalizer = Callable[[str, str | None], str]


def strip_tags(text: str, language: str | None) -> str:
    """The published clean-up (`remove_sp` there): tags become spaces, white space is collapsed, a space
    before one of `!,.?;:` goes; in languages counted by character all white space goes."""
    text = _WHITE.sub(" ", _TAG.sub(" ", text))
    text = _BEFORE_MARK.sub(r"\1", text).lstrip(" ")
    return _WHITE.sub("", text) if language in CHARACTER_LANGUAGES else text


def published_normalizer(text: str, language: str | None) -> str:
    """Text as the published scoring sees it: `strip_tags`, then lower case; punctuation stays."""
    return strip_tags(text, language).lower()


def spoken_normalizer(text: str, language: str | None) -> str:
    """Lower case without punctuation; overlapping transcripts are one text."""
    return spoken_form(text.replace(BETWEEN_TRANSCRIPTS, " "))


def whisper_normalizer(text: str, language: str | None) -> str:
    """Whisper's English normaliser for English (contractions, numbers, spelling), its basic one for the rest.

    The basic one takes away what is in brackets, marks, symbols and punctuation; it also parts the letters of languages
    counted by character.
    """
    return _whisper_of("en" if language == "en" else "", language in CHARACTER_LANGUAGES)(text)


@functools.cache
def _whisper_of(language: str, split_letters: bool) -> Callable[[str], str]:
    # `transformers` has the same rules, but without their table of spellings.
    from whisper_normalizer.basic import BasicTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer

    return EnglishTextNormalizer() if language == "en" else BasicTextNormalizer(split_letters=split_letters)

"""The published figures as data: Tables 3, 4 and 5 of the paper (arXiv 2311.07919), and the best found since.

A value is in the unit of `Score.value`: error rates, accuracies, CIDEr, SPICE, SPIDEr and mean average precision as
ratios, BLEU in points of 100, shifts of word times in seconds, speed in seconds of audio a second. The paper's AAS is
taken to be that of the released script, a sum of the shifts of start and end for each token (`aas_per_token`): the
paper does not say, and per time stamp it is half of that. A figure of another source was made by that source's own
protocol (prompts, normalisation, how an answer is matched), which `note` states as far as it is known; it shows where
the field stands and is no comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SINCE = "best since"
OURS = "Qwen-Audio"
WITHOUT_SRWT = "Qwen-Audio without SRWT"
# Test sets that figures are quoted for and that are none of `benchmarks.BENCHMARKS`.
ELSEWHERE = ("srwt-forced-alignment", "open-asr-leaderboard")


@dataclass(frozen=True)
class PublishedFigure:
    """One figure.

    benchmark: name in `benchmarks.BENCHMARKS` (or `ELSEWHERE`); measure: name in `measures.MEASURES`, or another where
    no measure of ours is the same; value: in the unit of `Score.value`; table: "Table 3", "Table 4", "Table 5" of the
    paper, or `SINCE`; note: how it was made, where that differs from the paper.
    """

    benchmark: str
    measure: str
    system: str
    value: float
    table: str
    note: str = ""


def figures(benchmark: str, measure: str | None = None) -> list[PublishedFigure]:
    """The figures of a benchmark, and of one measure of it; those of the paper first, in its order."""
    return [one for one in FIGURES if one.benchmark == benchmark and measure in (None, one.measure)]


def _row(
    table: str,
    system: str,
    benchmarks: Sequence[str],
    measures: Sequence[str] | str,
    values: str,
    *,
    scale: float = 1.0,
    note: str = "",
) -> Iterator[PublishedFigure]:
    """The figures of one line of a table; values: as printed, "-" where there is none; scale: their unit."""
    names = [measures] * len(benchmarks) if isinstance(measures, str) else list(measures)
    for benchmark, measure, printed in zip(benchmarks, names, values.split(), strict=True):
        if printed != "-":
            # Rounded so that 1.8 % is 0.018, and not the nearest product of the two.
            yield PublishedFigure(benchmark, measure, system, round(float(printed) * scale, 6), table, note)


_LIBRI = tuple(f"librispeech-{split}" for split in ("dev-clean", "dev-other", "test-clean", "test-other"))
_AISHELL1 = ("aishell1-dev", "aishell1-test")
_AISHELL2 = ("aishell2-test-mic", "aishell2-test-ios", "aishell2-test-android")
_COVOST = tuple(f"covost2-{pair}" for pair in ("en-de", "de-en", "en-zh", "zh-en"))
_TO_ENGLISH = tuple(f"covost2-{pair}" for pair in ("es-en", "fr-en", "it-en"))
_WER, _PERCENT, _MS = "wer_published", 0.01, 0.001
_CAPTION, _CAPTION_MEASURES = ("clotho-evaluation",) * 3, ("cider", "spice", "spider")
_AQA, _AQA_MEASURES = ("clothoaqa-test",) * 2, ("accuracy", "accuracy_binary")
_MUSIC, _MUSIC_MEASURES = ("nsynth-test",) * 2, ("note_qualities_map", "note_instrument")
_GIVEN = "the transcript is given, only its times are found"


def _table3() -> Iterator[PublishedFigure]:
    for system, values in (
        ("SpeechT5", "2.1 5.5 2.4 5.8"), ("SpeechNet", "- - 30.7 -"), ("SLM-FT", "- - 2.6 5.0"),
        ("SALMONN", "- - 2.1 4.9"), (OURS, "1.8 4.0 2.0 4.2"),
    ):  # fmt: skip
        yield from _row("Table 3", system, _LIBRI, _WER, values, scale=_PERCENT)
    for system, values in (
        ("MMSpeech-base", "2.0 2.1"), ("MMSpeech-large", "1.6 1.9"), ("Paraformer-large", "- 2.0"), (OURS, "1.2 1.3"),
    ):  # fmt: skip
        yield from _row("Table 3", system, _AISHELL1, _WER, values, scale=_PERCENT)
    for system, values in (
        ("MMSpeech-base", "4.5 3.9 4.0"), ("Paraformer-large", "- 2.9 -"), (OURS, "3.3 3.1 3.3"),
    ):  # fmt: skip
        yield from _row("Table 3", system, _AISHELL2, _WER, values, scale=_PERCENT)
    for system, values in (
        ("SALMONN", "18.6 - 33.1 -"), ("SpeechLLaMA", "- 27.1 - 12.3"), ("BLSP", "14.1 - - -"),
        (OURS, "25.1 33.9 41.5 15.7"),
    ):  # fmt: skip
        yield from _row("Table 3", system, _COVOST, "bleu", values)
    for system, values in (("SpeechLLaMA", "27.9 25.2 25.9"), (OURS, "39.7 38.5 36.0")):
        yield from _row("Table 3", system, _TO_ENGLISH, "bleu", values)
    for system, values in (("Pengi", "0.416 0.126 0.271"), (OURS, "0.441 0.136 0.288")):
        yield from _row("Table 3", system, _CAPTION, _CAPTION_MEASURES, values)
    for system, values, note in (
        ("Force-aligner", "60.3", _GIVEN), ("Paraformer-large-TP", "65.3", ""), (OURS, "51.5", ""),
    ):  # fmt: skip
        yield from _row(
            "Table 3", system, ("srwt-industrial",), "aas_per_token", values, scale=_MS, note=note
        )
    for benchmark, systems in (
        ("cochlscene-test", (("CochlScene baseline", "0.669"), (OURS, "0.795"))),
        ("tut2017-evaluation", (("Pengi", "0.353"), (OURS, "0.649"))),
        ("meld-test", (("WavLM-large", "0.542"), (OURS, "0.557"))),
        ("vocalsound-test", (("CLAP", "0.4945"), ("Pengi", "0.6035"), (OURS, "0.9289"))),
    ):
        for system, values in systems:
            yield from _row("Table 3", system, (benchmark,), "accuracy", values)
    for system, values in (
        ("ClothoAQA baseline", "0.542 0.627"),
        ("Pengi", "- 0.645"),
        (OURS, "0.579 0.749"),
    ):
        yield from _row("Table 3", system, _AQA, _AQA_MEASURES, values)
    for system, values in (("Pengi", "0.3860 0.5007"), (OURS, "0.4742 0.7882")):
        yield from _row("Table 3", system, _MUSIC, _MUSIC_MEASURES, values)


def _tables_4_and_5() -> Iterator[PublishedFigure]:
    for system, values in (
        (WITHOUT_SRWT, "1.93 4.18 2.22 4.21 1.54 1.71"), (OURS, "1.79 4.00 2.04 4.19 1.22 1.29"),
    ):  # fmt: skip
        yield from _row("Table 4", system, (*_LIBRI, *_AISHELL1), _WER, values, scale=_PERCENT)
    for system, values in ((WITHOUT_SRWT, "0.5648 0.7418 0.7027"), (OURS, "0.5795 0.7491 0.7211")):
        yield from _row("Table 5", system, (*_AQA, "musicavqa-test"), (*_AQA_MEASURES, "accuracy"), values)


_WHISPER = "text normalisation of its own, usually Whisper's"
_CHARACTERS = "error rate of characters after text normalisation of its own"
_OPTIONS = "the classes were offered in the prompt"
_JUDGED = "the classes were offered in the prompt, and a language model judged the answers"
_PROMPTED = "instruction prompts of its own, and BLEU with settings of its own"
_CAPTIONED = "instruction prompts of its own"
_MATCHED = "instruction prompts of its own; how an answer is matched is not that of the paper"


def _since() -> Iterator[PublishedFigure]:
    for system, values in (
        ("Qwen2-Audio", "1.3 3.4 - -"), ("Qwen3.5-Omni-Plus", "- - 1.11 2.23"), ("Step-Audio 2", "- - 1.17 2.42"),
        ("Qwen3-Omni-30B", "- - 1.22 2.48"), ("Kimi-Audio", "- - 1.28 2.42"),
    ):  # fmt: skip
        yield from _row(SINCE, system, _LIBRI, _WER, values, scale=_PERCENT, note=_WHISPER)
    for system, benchmarks, values in (
        ("Kimi-Audio", _AISHELL1, "- 0.60"), ("Step-Audio 2", _AISHELL1, "- 0.63"),
        ("Step-Audio 2", _AISHELL2, "- 2.10 -"), ("Qwen3-Omni", _AISHELL2, "2.57 2.72 2.70"),
    ):  # fmt: skip
        yield from _row(SINCE, system, benchmarks, _WER, values, scale=_PERCENT, note=_CHARACTERS)
    for system, values in (
        ("Qwen2.5-Omni", "30.2 - - -"), ("MinMo", "- 39.9 - -"), ("MiniCPM-o 4.5", "- - 49.9 -"),
        ("Step-Audio 2", "- - - 29.51"),
    ):  # fmt: skip
        yield from _row(SINCE, system, _COVOST, "bleu", values, note=_PROMPTED)
    yield from _row(SINCE, "Qwen2-Audio", _TO_ENGLISH, "bleu", "40.0 38.5 36.3", note=_PROMPTED)
    yield from _row(SINCE, "Audio Flamingo 3", _CAPTION, _CAPTION_MEASURES, "0.50 - -", note=_CAPTIONED)
    yield from _row(
        SINCE, "SLAM-AAC", _CAPTION, _CAPTION_MEASURES, "0.515 0.148 0.332", note="a captioning model"
    )
    sets = ("srwt-aishell1-test", "srwt-librispeech-test-clean")
    note = "alignments, part of the corpus and convention of its own"
    yield from _row(SINCE, "MOSS-Audio-8B", sets, "aas", "35.8 131.6", scale=_MS, note=note)
    note = f"{_GIVEN}; per slot, not per token; from its best to its worst set"
    aligned = ("srwt-forced-alignment",) * 2
    yield from _row(SINCE, "Qwen3-ForcedAligner", aligned, "aas", "27.8 37.5", scale=_MS, note=note)
    for system, benchmark, measure, value, note in (
        ("Audio Flamingo 3", "cochlscene-test", "accuracy", "93.2", _OPTIONS),
        ("Kimi-Audio", "tut2017-evaluation", "accuracy", "65.25", _JUDGED),
        ("MiniCPM-o 4.5", "meld-test", "accuracy", "60.2", _MATCHED),
        ("Audio Flamingo 3", "clothoaqa-test", "accuracy_unanimous", "91.1", "only questions with three equal answers"),
        ("Audio Flamingo 3", "clothoaqa-test", "accuracy_non_binary", "56.2",
         "only questions that are not of yes or no, right if any of the three answers is met"),
        ("Kimi-Audio", "vocalsound-test", "accuracy", "94.85", _JUDGED),
        ("Audio Flamingo Next", "nsynth-test", "note_instrument", "81.7", _OPTIONS),
        ("Audio Flamingo 3", "musicavqa-test", "accuracy", "76.7", _MATCHED),
    ):  # fmt: skip
        yield from _row(SINCE, system, (benchmark,), measure, value, scale=_PERCENT, note=note)
    for system, value in (
        ("canary-qwen-2.5b", "418"), ("granite-3.3-8b", "145"), ("whisper-large-v2", "144"),
        ("Voxtral-Small-24B", "54"),
    ):  # fmt: skip
        yield from _row(
            SINCE,
            system,
            ("open-asr-leaderboard",),
            "rtfx",
            value,
            note="one GPU, as the leaderboard gives it",
        )


FIGURES: tuple[PublishedFigure, ...] = (*_table3(), *_tables_4_and_5(), *_since())

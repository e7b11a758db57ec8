"""Metrics against stored outputs of the published scoring, and against cases worked out by hand."""

import json
import math

import pytest
from paths import ROOT

from qwen_audio.eval.metrics import normalize, word_times
from qwen_audio.eval.metrics import text as metrics
from qwen_audio.eval.metrics.translation import bleu
from qwen_audio.eval.metrics.word_times import TimedToken

pytestmark = pytest.mark.versions

GOLDEN = json.loads((ROOT / "tests" / "golden" / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", GOLDEN["remove_sp"], ids=lambda case: repr(case["text"][:20]))
def test_clean_up_of_tags_equals_the_published_one(case):
    assert normalize.strip_tags(case["text"], case["language"]) == case["out"]


@pytest.mark.parametrize("name", GOLDEN["compute_wer"])
def test_error_rate_equals_the_published_one(name):
    case = GOLDEN["compute_wer"][name]
    score = metrics.error_rate(case["refs"], case["hyps"], case["language"])
    # the published code crashes when the first reference is empty; its word then is an insertion: 1 / 2
    expected = 0.5 if name == "empty_first_ref" else case["wer"]
    assert score.value == pytest.approx(expected, abs=1e-9)
    assert score.metric == ("cer" if case["language"] == "zh" else "wer")
    assert score.interval[0] <= score.value <= score.interval[1]


def timed(tokens, spans):
    return [TimedToken(token, *span) for token, span in zip(tokens.split("\t"), spans, strict=True)]


@pytest.mark.parametrize("name", GOLDEN["srwt"])
def test_shift_of_word_times_equals_the_published_one(name):
    case = GOLDEN["srwt"][name]
    references = [timed(*row) for row in case["parsed_refs"]]
    readable = iter(case["parsed_hyps"])  # those with times; an output without any failed
    hypotheses = [timed(*next(readable)) if "<|" in text else None for text in case["hyps"]]
    per_token = word_times.alignment_shift(references, hypotheses, per_timestamp=False)
    per_stamp = word_times.alignment_shift(references, hypotheses)
    if name == "no_overlap":  # the published code divides by zero
        assert math.isnan(per_token.value) and per_token.to_dict()["value"] is None
    elif (
        name == "one_pattern_error"
    ):  # the published code misaligns; here only the unreadable output is unmatched
        assert per_token.value == pytest.approx(0.1)
        assert per_token.failures == 1 and per_token.details["matched_share"] == pytest.approx(1 / 3)
    else:
        assert per_token.value == pytest.approx(case["aas_seconds"], abs=1e-9)
        assert per_stamp.value == pytest.approx(case["aas_seconds"] / 2, abs=1e-9)
        assert per_token.details["matched_tokens"] == case["matched_tokens"]


@pytest.mark.parametrize(("name", "expected"), [("evaluate_aqa", 0.625), ("evaluate_emotion", 0.4)])
def test_accuracy_equals_the_published_one(name, expected):
    pairs = GOLDEN[name]["pairs_gt_response"]
    score = metrics.accuracy([p[0] for p in pairs], [p[1] for p in pairs])
    assert score.value == pytest.approx(expected) and score.n == len(pairs)


def test_pitch_accuracy_beside_the_published_chroma():
    case = GOLDEN["evaluate_note_analysis"]
    score = metrics.pitch_accuracy([60, 72, 35, 61, 80], [60, 60, 47, None, None])
    assert score.details["exact"] == case["pitch_top1"]
    assert score.details["chroma"] == case["pitch_chroma_true"]
    assert score.details["chroma_published"] == case["pitch_chroma_official"]
    assert score.failures == 2 and score.value == pytest.approx(0.2)
    assert metrics.pitch_accuracy([60, 60, 60], [61, 59, 62]).value == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", GOLDEN["evaluate_st"])
def test_bleu_equals_the_published_one(name):
    if "_ja_" in name:
        pytest.importorskip("MeCab", reason="MeCab is not installed")
    case = GOLDEN["evaluate_st"][name]
    language = name.split("_")[-2]
    pairs = case["pairs_gt_response"]
    score = bleu([p[0] for p in pairs], [p[1] for p in pairs], language)
    assert score.value == pytest.approx(case["bleu"], abs=1e-6)


def test_failed_outputs_stay_in_the_denominator():
    rate = metrics.error_rate(["a b", "c d"], ["a b", None])
    assert rate.value == 0.5 and rate.failures == 1 and rate.details["deletions"] == 0.5
    assert metrics.accuracy(["x", "y"], ["x", None]).value == 0.5
    words = [TimedToken("a", 0.0, 1.0)]
    shift = word_times.alignment_shift([words, words], [words, None])
    assert shift.value == 0.0 and shift.details["matched_share"] == 0.5 and shift.failures == 1


def test_languages_can_be_mixed_in_one_score():
    score = metrics.error_rate(["你好吗", "one two"], ["你好", "one two"], ["zh", "en"])
    assert score.metric == "mer" and score.value == pytest.approx(1 / 5)


def test_lenient_accuracy_forgives_case_articles_and_punctuation():
    references, outputs = ["dog barking", "Yes", "rain"], ["A dog, barking.", "yes", "train"]
    assert metrics.accuracy(references, outputs).value == 0.0
    assert metrics.accuracy(references, outputs, lenient=True).value == pytest.approx(2 / 3)


def test_majority_baseline_is_the_share_of_the_commonest_answer():
    assert metrics.majority_baseline(["a", "b", "a ", "c"]) == 0.5
    assert math.isnan(metrics.majority_baseline([]))


def test_interval_is_reproducible_and_narrows_with_more_examples():
    few = metrics.accuracy(["a"] * 10, ["a", "b"] * 5)
    many = metrics.accuracy(["a"] * 1000, ["a", "b"] * 500)
    assert few.interval == metrics.accuracy(["a"] * 10, ["a", "b"] * 5).interval
    assert few.interval[1] - few.interval[0] > 5 * (many.interval[1] - many.interval[0])


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="2 references but 1 hypotheses"):
        metrics.accuracy(["a", "b"], ["a"])


def test_score_carries_what_is_needed_to_read_it():
    row = metrics.error_rate(["a b c"], ["a x c"]).to_dict()
    assert row["signature"].startswith("wer|level:corpus|norm:published")
    assert row["n"] == 1 and row["value"] == pytest.approx(1 / 3) and row["higher_is_better"] is False
    assert str(metrics.error_rate(["a b c"], ["a x c"])) == "33.3 %"

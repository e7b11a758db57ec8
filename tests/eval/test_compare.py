"""Paired tests: of a difference that is there, of one that is not, of scores of every make."""

from __future__ import annotations

import numpy as np
import pytest

from qwen_audio.eval.metrics import text as metrics
from qwen_audio.eval.metrics.compare import compare
from qwen_audio.eval.metrics.score import Score, bootstrap_interval
from qwen_audio.eval.metrics.translation import bleu
from qwen_audio.eval.metrics.verification import equal_error_rate

RNG = np.random.default_rng(0)


def _accuracy(hits):
    return metrics.accuracy(["x"] * len(hits), ["x" if hit else "y" for hit in hits])


def test_a_large_difference_is_found_and_none_is_not():
    good, bad = RNG.random(200) < 0.8, RNG.random(200) < 0.5
    result = compare(_accuracy(good), _accuracy(bad))
    assert result.difference == pytest.approx(good.mean() - bad.mean()) and result.n == 200
    assert 0 < result.interval[0] < result.difference < result.interval[1] and result.p_value < 0.005
    same = compare(_accuracy(good), _accuracy(good))
    assert same.difference == 0 and same.interval == (0, 0) and same.p_value == 1
    back = compare(_accuracy(bad), _accuracy(good))
    assert back.difference == -result.difference and back.p_value == pytest.approx(result.p_value, abs=0.01)


def test_the_p_value_is_that_of_all_swaps():
    # Five examples, one system right in all, the other in none: of 32 swaps two are as extreme.
    result = compare(_accuracy([1] * 5), _accuracy([0] * 5), rounds=4000)
    assert result.p_value == pytest.approx(2 / 32, abs=0.015)


def test_pairing_makes_a_small_difference_visible():
    base = RNG.random(400) < 0.5
    better = base.copy()
    better[np.flatnonzero(~base)[:12]] = True
    one, other = _accuracy(better), _accuracy(base)
    assert one.interval[0] < other.interval[1]  # the intervals of the two overlap
    result = compare(one, other)
    assert result.interval[0] > 0 and result.p_value < 0.01


def test_systems_with_a_common_bias_have_uniform_p_values():
    rng = np.random.default_rng(1)
    values = [
        compare(_accuracy(rng.random(40) < 0.6), _accuracy(rng.random(40) < 0.6), rounds=99).p_value
        for _ in range(200)
    ]
    assert np.mean(np.array(values) <= 0.05) <= 0.09 and np.mean(np.array(values) <= 0.5) == pytest.approx(
        0.45, abs=0.15
    )


def test_examples_are_paired_by_their_ids():
    first, second = _accuracy([1, 1, 0, 1]), _accuracy([1, 0, 0])
    result = compare(first, second, ["a", "b", "c", "d"], ["c", "a", "b"])
    assert result.n == 3 and result.difference == pytest.approx(2 / 3 - 1 / 3)
    with pytest.raises(ValueError, match="4 examples and 3: give the ids"):
        compare(first, second)
    with pytest.raises(ValueError, match="no example in common"):
        compare(first, second, ["a", "b", "c", "d"], ["x", "y", "z"])
    with pytest.raises(ValueError, match="an id occurs twice"):
        compare(first, second, ["a", "a", "c", "d"], ["x", "y", "z"])
    with pytest.raises(ValueError, match="3 ids for 4 scored examples"):
        compare(first, second, ["a", "b", "c"], ["x", "y", "z"])


def test_unlike_scores_are_not_compared():
    with pytest.raises(ValueError, match="are not one measure"):
        compare(_accuracy([1]), metrics.error_rate(["a"], ["a"]))
    read = Score("accuracy", 1.0, 1, 0, _accuracy([1]).signature, (1.0, 1.0))
    with pytest.raises(ValueError, match="read from a file"):
        compare(read, _accuracy([1]))


def test_scores_that_are_no_ratio_are_compared_too():
    wanted = [f"this is sentence number {n} of the test" for n in range(30)]
    worse = [text.replace("sentence", "phrase").replace("test", "set") for text in wanted]
    result = compare(bleu(wanted, wanted, "en"), bleu(wanted, worse, "en"))
    assert result.difference > 20 and result.p_value < 0.005 and result.interval[0] > 0
    targets = [n % 2 == 0 for n in range(60)]
    sharp = [float(target) + 0.1 * n / 60 for n, target in enumerate(targets)]
    blunt = [1000 * value for value in RNG.random(60)]  # on another scale
    rates = compare(equal_error_rate(targets, sharp), equal_error_rate(targets, blunt))
    assert rates.difference < -0.3 and rates.p_value < 0.005


def test_a_part_of_a_score_is_the_score_of_the_part():
    hits = RNG.random(50) < 0.5
    rows = np.flatnonzero(np.arange(50) % 3 == 0)
    value, interval = _accuracy(hits).part(rows)
    alone = _accuracy(hits[rows])
    assert value == alone.value and interval == alone.interval
    texts, outputs = ["a b c d", "e f g h", "i j k l"], ["a b c d", "e f x h", "i"]
    value, interval = bleu(texts, outputs, "en").part(np.array([0, 1]))
    assert value == pytest.approx(bleu(texts[:2], outputs[:2], "en").value)
    assert interval == bleu(texts[:2], outputs[:2], "en").interval


def test_an_interval_in_pieces_is_the_interval_at_once(monkeypatch):
    top, bottom = RNG.random(100), RNG.random(100)
    whole = bootstrap_interval(top, bottom)
    monkeypatch.setattr("qwen_audio.eval.metrics.score._DRAWN_AT_ONCE", 1700)
    assert bootstrap_interval(top, bottom) == whole

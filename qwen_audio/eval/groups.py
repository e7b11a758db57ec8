"""The scores of one benchmark, with what always giving the commonest answer would score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from qwen_audio.eval.benchmarks import Benchmark
from qwen_audio.eval.metrics import measures
from qwen_audio.eval.metrics.score import Score
from qwen_audio.eval.predictions import Prediction


@dataclass(frozen=True)
class Group:
    """Scores of one benchmark, the main one first.

    baselines: metric -> value of always giving the commonest answer; missing: measure -> why it was left out;
    n, failures: of examples, and of those without an answer.
    """

    benchmark: Benchmark
    scores: list[Score]
    baselines: dict[str, float]
    missing: dict[str, str] = field(default_factory=dict)
    n: int = 0
    failures: int = 0

    @property
    def source(self) -> str:
        """Source of its examples."""
        return self.benchmark.source

    @property
    def task(self) -> str:
        """Slug of its task."""
        return self.benchmark.task


def score_benchmark(benchmark: Benchmark, predictions: Sequence[Prediction]) -> Group:
    """The scores that a benchmark asks for, else those of its task; raises as `measures.measure` does."""
    names = benchmark.measures or measures.default_measures(benchmark.task)
    missing: dict[str, str] = {}
    scores = measures.measure(names, predictions, missing)
    rows = [(score.metric, measures.MEASURES[score.measure].baseline) for score in scores]
    baselines = {metric: baseline(predictions) for metric, baseline in rows if baseline is not None}
    failures = sum(prediction.parsed is None for prediction in predictions)
    return Group(benchmark, scores, baselines, missing, len(predictions), failures)

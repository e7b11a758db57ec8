"""What a report says, as data: everything is computed here once, and the three files only write it down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qwen_audio.eval.benchmarks import Benchmark
from qwen_audio.eval.groups import Group, score_benchmark
from qwen_audio.eval.metrics.compare import Comparison, compare
from qwen_audio.eval.metrics.score import Score
from qwen_audio.eval.predictions import Prediction
from qwen_audio.eval.report.confusion import Confusion, confusion
from qwen_audio.eval.report.subsets import Part, parts
from qwen_audio.eval.report.worst import worst
from qwen_audio.eval.run_folder import Run
from qwen_audio.eval.table import LISTED, told
from qwen_audio.format import tasks

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Scored:
    """One run's answers to a benchmark, and what follows from them."""

    predictions: list[Prediction]
    group: Group
    parts: list[Part]
    confusion: Confusion | None

    @property
    def main(self) -> Score:
        """The score that stands for the benchmark."""
        return self.group.scores[0]


@dataclass(frozen=True)
class Entry:
    """A benchmark: `by_run` has the runs that answered it by their place; `worst`: rows of the first of them."""

    benchmark: Benchmark
    by_run: dict[int, Scored]
    worst: list[int]

    @property
    def first(self) -> Scored:
        """Of the first run that answered it."""
        return next(iter(self.by_run.values()))

    @property
    def group(self) -> str:
        """speech, sound or music."""
        return tasks.task_of(self.benchmark.task).group


# Shifts of word times are of words that were found: systems that find other words cannot be compared by them.
COMPARABLE_SHARES = 0.05


@dataclass(frozen=True)
class Paired:
    """Run `b` beside run `a` on the examples of a benchmark that both answered; `reason` where that cannot be told."""

    benchmark: Benchmark
    a: int
    b: int
    score: Score
    comparison: Comparison | None
    reason: str = ""

    @property
    def verdict(self) -> str:
        """Which run is better: said only if the interval of the difference leaves out 0 and p is below 0.05."""
        if self.comparison is None:
            return self.reason
        low, high = self.comparison.interval
        if not (low > 0 or high < 0) or not self.comparison.p_value < 0.05:
            return "no clear difference"
        return f"{LETTERS[self.b if (low > 0) == self.score.higher_is_better else self.a]} is better"


@dataclass(frozen=True)
class Contents:
    """A whole report; `unscored`: for each run, why benchmarks have no score at all."""

    runs: list[Run]
    names: list[str]
    entries: list[Entry]
    paired: list[Paired]
    unscored: list[list[str]]

    def runs_of(self, entry: Entry) -> list[tuple[int, Scored]]:
        """The runs that answered a benchmark, by place."""
        return list(entry.by_run.items())


def collect(runs: Sequence[Run], groups: Sequence[Sequence[Group]] | None = None) -> Contents:
    """All that a report says, with the scores in `groups` (of each run, in the order of its results), else scored here.

    Raises ValueError for no run, more than `LETTERS`, or no run with a result.
    """
    if not runs or len(runs) > len(LETTERS):
        raise ValueError(f"{len(runs)} runs were given: a report shows 1 to {len(LETTERS)}")
    entries: dict[str, Entry] = {}
    unscored: list[list[str]] = [[] for _ in runs]
    for place, run in enumerate(runs):
        answered = [result for result in run.results if result.predictions]
        own = (
            [score_benchmark(r.benchmark, r.predictions) for r in answered]
            if groups is None
            else groups[place]
        )
        for result, group in zip(answered, own, strict=True):
            if not group.scores:
                unscored[place] += [f"{result.benchmark.title}: {why}" for why in group.missing.values()]
                continue
            known = entries.get(result.benchmark.name)
            scored = _scored(group, result.predictions)
            if known is None:
                chosen = worst(scored.main, scored.predictions)
                known = entries[result.benchmark.name] = Entry(result.benchmark, {}, chosen)
            elif known.benchmark.task != result.benchmark.task:
                raise ValueError(
                    f"{run.folder}: {result.benchmark.name} is a {result.benchmark.task} test here and a "
                    f"{known.benchmark.task} test in another run: make a report of each"
                )
            known.by_run[place] = scored
    if not entries:
        raise ValueError("no run has a result to report: wait until one benchmark is whole")
    paired = [
        _paired(entry, a, b)
        for entry in entries.values()
        for a in entry.by_run
        for b in entry.by_run
        if a < b
    ]
    pairs = [pair for pair in paired if pair]
    return Contents(list(runs), _names(runs), list(entries.values()), pairs, unscored)


def _scored(group: Group, predictions: list[Prediction]) -> Scored:
    found = parts(group.scores[0], predictions)
    return Scored(predictions, group, found, confusion(group.task, predictions))


def _names(runs: Sequence[Run]) -> list[str]:
    """Names of the systems; a name that occurs again has the folder of its run with it."""
    plain = [str((run.facts.get("system") or {}).get("name") or run.folder.name) for run in runs]
    return [
        f"{name} ({run.folder.name})" if plain.count(name) > 1 else name
        for name, run in zip(plain, runs, strict=True)
    ]


def _paired(entry: Entry, a: int, b: int) -> Paired | None:
    """None where the two share no example."""
    one, two = entry.by_run[a], entry.by_run[b]
    ids = [[p.example.id for p in scored.predictions] for scored in (one, two)]
    if not set(ids[0]) & set(ids[1]):
        return None
    shares = [scored.main.details.get("matched_share") for scored in (one, two)]
    if None not in shares and abs(shares[0] - shares[1]) > COMPARABLE_SHARES:  # type: ignore[operator]
        told = " and ".join(scored.main.remark for scored in (one, two))
        return Paired(entry.benchmark, a, b, one.main, None, f"not comparable: {told}")
    try:
        found, reason = compare(two.main, one.main, ids[1], ids[0]), ""
    except ValueError as error:
        found, reason = None, str(error)
    return Paired(entry.benchmark, a, b, one.main, found, reason)


def shown_facts(run: Run) -> list[tuple[str, Any]]:
    """What the head of a report says of a run, beside its counts."""
    system = dict(run.facts.get("system") or {})
    system.pop("name", None)
    if run.facts.get("version") == system.get("version"):
        system.pop("version", None)
    else:
        system = {"system version" if name == "version" else name: value for name, value in system.items()}
    shown = ("version", "batch_size", "processes", "limit", "swap_audio", "wall_seconds")
    rows = [*system.items(), *((name, run.facts[name]) for name in shown if run.facts.get(name) is not None)]
    return [(name.replace("_", " "), value) for name, value in rows]


def notes(contents: Contents, place: int) -> list[str]:
    """What a reader must know before comparing: parts of sets, controls, leaks, what was left out."""
    run = contents.runs[place]
    found = [f"Not scored: {why}" for why in contents.unscored[place]]
    if run.facts.get("swap_audio"):
        found.append("A control: every example was asked with another example's audio.")
    if run.facts.get("limit") is not None:
        found.append(f"At most {run.facts['limit']} examples of each benchmark were asked.")
    for result in run.results:
        have, whole = len(result.predictions), result.benchmark.count
        if whole is not None and have != whole:
            found.append(f"{result.benchmark.title}: {have} of {whole} examples of the published set.")
    manifests, leaks = run.facts.get("train_manifests") or [], run.facts.get("leaks") or []
    if not manifests:
        found.append("Whether test examples were trained on was not checked: no training manifest was named.")
    elif not leaks:
        found.append(f"No test example was found in {len(manifests)} training manifest(s).")
    what = "left out" if run.facts.get("leaks_are") == "drop" else "still counted"
    if leaks:
        found.append(f"{len(leaks)} test examples are in the training data; they are {what}.")
    found += [f"Leak: {told(leak)}" for leak in leaks[:LISTED]]
    if len(leaks) > LISTED:
        found.append(f"{len(leaks) - LISTED} more leaks are in run.json.")
    found += [f"Left out: {name}: {plain(why)}" for name, why in (run.facts.get("skipped") or {}).items()]
    return found


def plain(value: Any) -> str:
    """A value of run.json in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {plain(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return str(value)


def counts(run: Run) -> dict[str, float]:
    """Examples, failures and hours of audio of a run."""
    predictions = [p for result in run.results for p in result.predictions]
    heard = run.facts.get("audio_seconds")
    seconds = heard if heard is not None else sum(p.seconds for p in predictions)
    return {
        "benchmarks": len(run.results),
        "examples": len(predictions),
        "failures": sum(p.parsed is None for p in predictions),
        "audio_hours": seconds / 3600,
    }

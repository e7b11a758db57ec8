"""The paper's experiments in miniature: Tables 4 and 5 (with and without the SRWT task), and the claim about tags.

    export WARMSTART=out/tiny/warmstart CORPUS=../shared/corpus
    python experiments/tables.py run out/tables            # train and evaluate all; finished runs are skipped
    python experiments/tables.py evaluate out/tables       # evaluate runs that have no scores yet
    python experiments/tables.py table out/tables          # print Markdown

Four configurations, the same steps and the same start, seed by seed (docs/experiments.md says what they show):
A the format's tags with SRWT; B without SRWT; C an id for each data set instead of tags; D nothing instead of tags.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

import qwen_audio
from qwen_audio.data.manifest import Example, read_manifest, write_manifest
from qwen_audio.eval.choose import by_source
from qwen_audio.eval.evaluate import Report, evaluate
from qwen_audio.eval.metrics.text import accuracy
from qwen_audio.format.example import SPEECH_SOURCE, SYNTHETIC_SOURCE
from qwen_audio.format.tag_styles import DATASETS_FILE, TagStyle, read_dataset_ids
from qwen_audio.synthetic.speech.questions import CONTENT_KINDS, TIME_KINDS
from qwen_audio.synthetic.write import write_dataset
from qwen_audio.train.checkpoint import checkpoints
from qwen_audio.train.config import TrainConfig, load_config
from qwen_audio.train.main import run as train
from qwen_audio.train.sources import SourceConfig

BASE = Path(__file__).with_name("base.yaml")
SRWT = "word_timestamps"
EVALUATION_SEED = 99
BATCH_SIZE = 16
SCORES = "scores"  # the evaluation, in the folder of the training run
_TIME = re.compile(r"<\|\d+\.\d\d\|>")


class Configuration(NamedTuple):
    """What a run has of its own."""

    title: str
    tag_style: str
    srwt: bool


CONFIGURATIONS = {
    "A": Configuration("tags, SRWT", "hierarchical", True),
    "B": Configuration("tags, no SRWT", "hierarchical", False),
    "C": Configuration("data set ids, SRWT", "dataset", True),
    "D": Configuration("no tags, SRWT", "none", True),
}
# Pairs whose difference is printed: Tables 4 and 5, and the claim about tags.
PAIRS = (("A", "B"), ("A", "C"), ("A", "D"))


class Metric(NamedTuple):
    """One row of the table: a score of one source and task; `kinds`: of these kinds of question only.

    The metric "form" is the share of answers of the form that was asked for: with time tags for SRWT, else without.
    """

    title: str
    source: str
    task: str
    metric: str
    kinds: tuple[str, ...] = ()


METRICS = (
    Metric("WER, synthetic words", SPEECH_SOURCE, "asr", "wer"),
    Metric("WER, real digit strings", "fsdd_seq", "asr", "wer"),
    Metric("WER, real single digits", "fsdd", "asr", "wer"),
    Metric("AQA, words", SPEECH_SOURCE, "audio_qa", "accuracy", CONTENT_KINDS),
    Metric("AQA, times of words", SPEECH_SOURCE, "audio_qa", "accuracy", TIME_KINDS),
    Metric("AQA, real digit strings", "fsdd_seq", "audio_qa", "accuracy"),
    Metric("AQA, sounds", SYNTHETIC_SOURCE, "audio_qa", "accuracy"),
    Metric("sound events", SYNTHETIC_SOURCE, "sound_event", "accuracy"),
    Metric("real sound events", "esc10", "sound_event", "accuracy"),
    Metric("real keywords", "fsdd", "keyword_spotting", "accuracy"),
    Metric("asked for words: no times in the answer", SPEECH_SOURCE, "asr", "form"),
    Metric("asked for times: times in the answer", SPEECH_SOURCE, SRWT, "form"),
    Metric("shift of word times (AAS)", SPEECH_SOURCE, SRWT, "aas"),
    Metric("WER of words with times", SPEECH_SOURCE, SRWT, "wer"),
    Metric("WER of words with times, real", "fsdd_seq", SRWT, "wer"),
)
# What is made for the evaluation: kind of source, options, how many. Speech is of voices that training never has.
_HEARD: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("speech", {"tasks": {"asr": 1}, "held_out": True}, 300),
    ("speech", {"tasks": {SRWT: 1}, "held_out": True}, 150),
    ("speech_questions", {"held_out": True}, 400),
    ("sounds", {"weights": {"sound_event": 1}}, 120),
    ("sounds", {"weights": {"audio_qa": 1}}, 200),
)


def configuration(base: TrainConfig, name: str, seed: int, folder: Path) -> TrainConfig:
    """The base with what configuration `name` changes; its output is `folder/NAME-SEED`."""
    chosen = CONFIGURATIONS[name]
    sources = base.sources if chosen.srwt else [s for s in map(without_srwt, base.sources) if s is not None]
    output = str(folder / f"{name}-{seed}")
    return replace(base, output=output, seed=seed, tag_style=chosen.tag_style, sources=sources)


def without_srwt(source: SourceConfig) -> SourceConfig | None:
    """The source with no SRWT example, its other tasks as they are; None if it has no other task."""
    if source.kind == "manifest":
        rows = read_manifest(source.path or "")
        tasks = {row.task for row in rows}
        return replace(source, weights={**source.weights, SRWT: 0.0}) if SRWT in tasks else source
    tasks = source.options.get("tasks", {})
    if SRWT not in tasks:
        return source
    rest = {task: weight for task, weight in tasks.items() if task != SRWT}
    return replace(source, options={**source.options, "tasks": rest}) if rest else None


def evaluation_manifest(base: TrainConfig, folder: Path) -> Path:
    """`folder/evaluation/all.jsonl`, made if it is not there: held-out synthetic data and the test rows of the corpus.

    Synthetic speech is made with the vocabulary and the kinds of utterance of the training sources.
    """
    manifest = folder / "evaluation" / "all.jsonl"
    if manifest.exists():
        return manifest
    rows: list[Example] = []
    for number, (kind, options, count) in enumerate(_HEARD):
        trained = next(source.options for source in base.sources if source.kind == kind)
        made = folder / "evaluation" / f"{kind}-{number}"
        options = {**trained, **options}
        rows += read_manifest(
            write_dataset(kind, made, count, seed=EVALUATION_SEED + number, options=options)
        )
    wanted = {(metric.source, metric.task) for metric in METRICS}
    for source in base.sources:
        if source.kind == "manifest":
            test = Path(source.path or "").with_name("test.jsonl")
            rows += [row for row in read_manifest(test) if (row.source, row.task) in wanted]
    write_manifest(manifest, rows)
    return manifest


def finished(config: TrainConfig) -> Path | None:
    """The last checkpoint of a run that has done its steps."""
    done = checkpoints(Path(config.output))
    return done[-1] if done and done[-1].name == f"step-{config.steps:06d}" else None


def score(config: TrainConfig, model: Path, manifest: Path, srwt: bool) -> Report:
    """Evaluate one run with prompts of its tag style, into the folder "scores" in its own.

    `srwt`: ask for word times too.
    """
    output = Path(config.output)
    table = read_dataset_ids(output / DATASETS_FILE) if config.tag_style == "dataset" else None
    style = TagStyle(config.tag_style, table)
    loaded = qwen_audio.load(model, device="cpu")
    # Word times without training would run on to the limits of length.
    asked = sorted({metric.task for metric in METRICS if srwt or metric.task != SRWT})
    chosen = by_source(read_manifest(manifest))
    return evaluate(
        loaded, chosen, output / SCORES, only_tasks=asked, batch_size=BATCH_SIZE, prompt=style.prompt
    )


def evaluated(output: Path) -> bool:
    """Whether the evaluation of a training run is finished: `audio_seconds` is written last."""
    facts = output / SCORES / "run.json"
    return facts.exists() and "audio_seconds" in json.loads(facts.read_text())


def runs(
    base: TrainConfig, folder: Path, names: Sequence[str], seeds: Sequence[int]
) -> Iterator[tuple[str, TrainConfig]]:
    """All runs, seed by seed, so that every finished seed is a whole comparison."""
    for seed in seeds:
        for name in names:
            yield name, configuration(base, name, seed, folder)


# the table --------------------------------------------------------------------------------


class Result(NamedTuple):
    """A score of one run as it is printed, and the 95 % interval of its examples."""

    value: float
    low: float
    high: float
    majority: float | None


_NONE = Result(float("nan"), float("nan"), float("nan"), None)


def results(output: Path, questions: dict[str, str]) -> dict[str, Result]:
    """Metric -> result of an evaluated run.

    Args:
        output: the training run's folder.
        questions: id -> kind of question, of the synthetic questions about speech.
    """
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    lines: list[dict[str, Any]] = []
    for name in json.loads((output / SCORES / "run.json").read_text())["benchmarks"]:
        folder = output / SCORES / name
        benchmark = json.loads((folder / "benchmark.json").read_text())
        groups[benchmark["source"], benchmark["task"]] = json.loads((folder / "scores.json").read_text())
        lines += [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    found: dict[str, Result] = {}
    for metric in METRICS:
        if metric.kinds:
            found[metric.title] = _of_kinds(lines, questions, metric.kinds)
            continue
        if metric.metric == "form":
            made = [line for line in lines if (line["source"], line["task"]) == (metric.source, metric.task)]
            if made:
                found[metric.title] = _of_form(made, metric.task == SRWT)
            continue
        group = groups.get((metric.source, metric.task))
        if group is None:  # a task that the run was not trained on
            continue
        one = next(s for s in group["scores"] if s["metric"] == metric.metric)
        scale = 1000 if one["unit"] == "seconds" else 100
        value, low, high = (
            float("nan") if x is None else scale * x for x in (one["value"], *one["interval_95"])
        )
        majority = group["baselines"].get(metric.metric)
        found[metric.title] = Result(value, low, high, None if majority is None else 100 * majority)
    return found


def _of_kinds(lines: list[dict[str, Any]], questions: dict[str, str], kinds: Sequence[str]) -> Result:
    """Accuracy in percent over some kinds of question; the majority is of the commonest answer of each kind."""
    chosen = [line for line in lines if questions.get(line["id"]) in kinds]
    made = accuracy([line["reference"] for line in chosen], [line["hypothesis"] for line in chosen])
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for line in chosen:
        answers[questions[line["id"]]][line["reference"]] += 1
    majority = sum(c.most_common(1)[0][1] for c in answers.values()) / len(chosen)
    return Result(100 * made.value, 100 * made.interval[0], 100 * made.interval[1], 100 * majority)


def _of_form(lines: list[dict[str, Any]], times: bool) -> Result:
    """Share in percent of the answers that have time tags, or have none."""
    right = ["yes" if bool(_TIME.search(line["raw"])) == times else "no" for line in lines]
    made = accuracy(["yes"] * len(right), right)
    return Result(100 * made.value, 100 * made.interval[0], 100 * made.interval[1], None)


def table(folder: Path, seeds: Sequence[int] | None = None) -> str:
    """Markdown: means over seeds with minimum and maximum, and differences of runs of one seed.

    A column counts all seeds that it has, and says how many; a difference counts those that both sides have. "One run
    ±" is half the 95 % bootstrap interval over the examples, of the first run.
    ValueError if no run has scores.
    """
    kinds = {
        row.id: row.meta["kind"]
        for row in read_manifest(folder / "evaluation" / "all.jsonl", check_files=False)
        if row.source == SPEECH_SOURCE and row.task == "audio_qa"
    }
    found: dict[str, dict[int, dict[str, Result]]] = {name: {} for name in CONFIGURATIONS}
    for output in sorted(folder.glob("*-*")):
        name, _, seed = output.name.partition("-")
        if not (name in found and seed.isdecimal() and (seeds is None or int(seed) in seeds)):
            continue
        if evaluated(output):
            found[name][int(seed)] = results(output, kinds)
    first = next((one for by_seed in found.values() for one in by_seed.values()), None)
    if first is None:
        raise ValueError(f"{folder}: no run has scores: make some with the verb run")
    both = {(a, b): sorted(found[a].keys() & found[b].keys()) for a, b in PAIRS}
    heads = [f"{name}: {c.title} ({len(found[name])})" for name, c in CONFIGURATIONS.items()]
    heads += [f"{a} - {b} ({len(common)})" for (a, b), common in both.items()]
    lines = [
        f"| mean [lowest, highest] (seeds) | constant answer | one run ± | {' | '.join(heads)} |",
        "|" + "---|" * (len(heads) + 3),
    ]
    for metric in METRICS:
        one = first.get(metric.title, _NONE)
        cells = [
            metric.title + (", ms" if metric.metric == "aas" else ", %"),
            "" if one.majority is None else f"{one.majority:.0f}",
            f"{(one.high - one.low) / 2:.1f}",
        ]
        trained = {name: c.srwt or metric.task != SRWT for name, c in CONFIGURATIONS.items()}
        for name, by_seed in found.items():
            values = [one[metric.title].value for one in by_seed.values()] if trained[name] else []
            cells.append(_spread(values) if trained[name] else "not trained")
        for (a, b), common in both.items():
            steps = [
                found[a][seed][metric.title].value - found[b][seed][metric.title].value for seed in common
            ]
            cells.append(_spread(steps, "+") if trained[a] and trained[b] else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: Sequence[float], sign: str = "") -> str:
    if not values:
        return ""
    mean = sum(values) / len(values)
    return f"{mean:{sign}.1f} [{min(values):{sign}.1f}, {max(values):{sign}.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description="The paper's experiments in miniature.")
    parser.add_argument("verb", choices=("run", "evaluate", "table"))
    parser.add_argument("folder", type=Path, help="where the runs lie")
    parser.add_argument(
        "--only", default=",".join(CONFIGURATIONS), help="configurations, separated by commas"
    )
    parser.add_argument("--seeds", default="1,2,3", help="seeds, separated by commas")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="replaces a key of the base"
    )
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    if options.verb == "table":
        print(table(options.folder, seeds))
        return
    os.environ.setdefault("OUT", str(options.folder))
    base = load_config(BASE, options.set)
    if base.threads:
        torch.set_num_threads(base.threads)
    manifest = evaluation_manifest(base, options.folder)
    for name, config in runs(base, options.folder, options.only.split(","), seeds):
        began = time.monotonic()
        model = finished(config) or (train(config) if options.verb == "run" else None)
        trained = time.monotonic()
        if model is None:
            print(f"{config.output}: not finished", flush=True)
        elif not evaluated(Path(config.output)):
            score(config, model, manifest, CONFIGURATIONS[name].srwt)
            seconds = f"trained {trained - began:.0f} s, evaluated {time.monotonic() - trained:.0f} s"
            print(f"{config.output}: {seconds}", flush=True)


if __name__ == "__main__":
    main()

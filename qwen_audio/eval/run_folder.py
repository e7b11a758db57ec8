"""A run on the disk: what was evaluated, how, and every answer; written so that a killed run can go on.

    run = load_run("runs/test")
    for result in run.results:
        print(result.benchmark.title, len(result.predictions))

OUT/run.json                        facts of the run
OUT/NAME/benchmark.json             the benchmark
OUT/NAME/examples.jsonl             its examples, a manifest
OUT/NAME/predictions.part-K.jsonl   answers as they come, while the run goes on
OUT/NAME/predictions.jsonl          all answers in the order of the examples
OUT/NAME/scores.json                their scores

All but the parts are whole or absent. Every process of every session writes a part of its own, so what a killed one
left, half a line at its end included, disturbs nobody.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qwen_audio.data.manifest import Example, read_manifest, write_manifest
from qwen_audio.eval.benchmarks import Benchmark
from qwen_audio.eval.predictions import Prediction
from qwen_audio.files import lock, write_whole

_PART = re.compile(r"predictions\.part-([0-9]+)\.jsonl")


@dataclass(frozen=True)
class Result:
    """A benchmark and what a system made of its examples, in their order."""

    benchmark: Benchmark
    predictions: list[Prediction]


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, the facts of run.json, and the results in the order in which they were asked for."""

    folder: Path
    facts: dict[str, Any]
    results: list[Result]

    @property
    def name(self) -> str:
        """What was tried."""
        return str(self.facts["system"]["name"])


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Read a run back; ValueError for a folder that holds none, an unfinished one, or files that do not agree."""
    folder = Path(folder)
    try:
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        results = [load_result(folder / name) for name in facts["benchmarks"]]
    except FileNotFoundError as error:
        missing = Path(str(error.filename))
        what = "is no run" if missing.name == "run.json" else "holds a run that is not finished"
        raise ValueError(
            f"{folder} {what} ({missing} is missing): make it with qwen-audio evaluate --output {folder}"
        ) from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} holds a run that cannot be read ({error}): make it again") from None
    return Run(folder, facts, results)


def load_result(folder: Path) -> Result:
    """One benchmark of a run; raises as `load_run`, or FileNotFoundError if it is not finished."""
    plain = json.loads((folder / "benchmark.json").read_text(encoding="utf-8"))
    benchmark = Benchmark(**{**plain, "measures": tuple(plain["measures"])})
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    examples = read_manifest(folder / "examples.jsonl", check_files=False)
    if [row["id"] for row in rows] != [example.id for example in examples]:
        raise ValueError(
            f"{folder}: predictions.jsonl is not of examples.jsonl: remove the run, make it again"
        )
    return Result(benchmark, [Prediction.from_dict(e, row) for e, row in zip(examples, rows, strict=True)])


# what a run is of ---------------------------------------------------------------------------------------


def check_same(folder: Path, facts: Mapping[str, Any]) -> None:
    """ValueError if the folder holds a run of another system, other examples or other settings."""
    path = folder / "run.json"
    if not path.exists():
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        differing = _difference(before, facts)
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        differing = "a run.json that cannot be read"
    if differing:
        raise ValueError(
            f"{folder} holds another run, with {differing}: name another folder with --output, or remove this one"
        )


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first thing in which two runs differ; the system's name is only how it was called."""
    old, new = dict(before["system"]), dict(now["system"])
    for name in [*old, *(name for name in new if name not in old)]:
        if name != "name" and old.get(name) != new.get(name):
            return f"{name} {old.get(name)!r} and not {new.get(name)!r} of the system"
    if before["benchmarks"] != now["benchmarks"]:
        return f"the benchmarks {', '.join(before['benchmarks'])} and not {', '.join(now['benchmarks'])}"
    for name in ("limit", "swap_audio"):
        if before[name] != now[name]:
            return f"{name} {before[name]!r} and not {now[name]!r}"
    for name, digest in now["examples"].items():
        if before["examples"].get(name) != digest:
            return f"other examples or prompts of {name}"
    return None


# files --------------------------------------------------------------------------------------------------


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other runs out of the folder; ValueError while one is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / ".running"
    with mark.open("ab") as handle:
        if not lock(handle):
            raise ValueError(f"another run is writing into {folder}: wait for it, or name another folder")
        try:
            yield
        finally:
            mark.unlink()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """An object as a JSON file for people too."""
    write_whole(path, json.dumps(content, ensure_ascii=False, indent=2) + "\n")


def write_benchmark(folder: Path, benchmark: Benchmark, examples: Sequence[Example]) -> None:
    """The files that say what is asked; the examples of a run that goes on are left as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "benchmark.json", asdict(benchmark))
    if not (folder / "examples.jsonl").exists():
        write_manifest(folder / "examples.jsonl", examples)


def read_parts(folder: Path, examples: Sequence[Example]) -> dict[str, dict[str, Any]]:
    """What has been answered so far, by id. An example that failed may have been tried again: the answer counts.

    A line without its end, or that cannot be read, is of a process that was killed, and is left out.
    """
    wanted = {example.id for example in examples}
    found: dict[str, dict[str, Any]] = {}
    for part in sorted(_parts(folder), key=lambda path: _number(path)):
        for line in part.read_bytes().split(b"\n")[:-1]:
            try:
                row = json.loads(line)
                identity, failed = row["id"], row.get("error") is not None
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
            if identity in wanted and (identity not in found or not failed):
                found[identity] = row
    return found


def reopen_failed(folder: Path) -> None:
    """Make finished predictions a part again if some of them failed, so that these are tried again."""
    path = folder / "predictions.jsonl"
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    if any(json.loads(line).get("error") is not None for line in lines):
        path.rename(part_file(folder, next_part([folder])))


def next_part(folders: Sequence[Path]) -> int:
    """A number that no part in these folders has yet."""
    return 1 + max((_number(part) for folder in folders for part in _parts(folder)), default=-1)


def part_file(folder: Path, number: int) -> Path:
    """Where process `number` writes its answers."""
    return folder / f"predictions.part-{number}.jsonl"


def part_line(prediction: Prediction, took: float) -> str:
    """A line of a part: that of predictions.jsonl, and the seconds that it took."""
    return json.dumps({**prediction.to_dict(), "took": round(took, 4)}, ensure_ascii=False) + "\n"


def write_predictions(folder: Path, predictions: Sequence[Prediction]) -> None:
    """predictions.jsonl, after which the parts are not needed."""
    lines = (json.dumps(prediction.to_dict(), ensure_ascii=False) + "\n" for prediction in predictions)
    write_whole(folder / "predictions.jsonl", "".join(lines))
    for part in _parts(folder):
        part.unlink()


def _parts(folder: Path) -> list[Path]:
    return [path for path in folder.glob("predictions.part-*.jsonl") if _PART.fullmatch(path.name)]


def _number(part: Path) -> int:
    match = _PART.fullmatch(part.name)
    assert match is not None
    return int(match[1])

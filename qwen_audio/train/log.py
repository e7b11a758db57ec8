"""Log of a training run: a JSON line every few steps, optionally TensorBoard, and a progress bar on the screen."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from qwen_audio.files import write_whole
from qwen_audio.packages import check_packages
from qwen_audio.train.parallel import World


def print_freeze_map(parts: list[tuple[str, int, int]], path: Path | None) -> None:
    """Print the trained and frozen parameters of each part; write the same to a file."""
    table = Table("part", "trained", "frozen")
    for column in table.columns[1:]:
        column.justify = "right"
    for part, trained, frozen in parts:
        table.add_row(part, f"{trained:,}" if trained else "-", f"{frozen:,}" if frozen else "-")
    table.add_section()
    table.add_row("all", f"{sum(t for _, t, _ in parts):,}", f"{sum(f for _, _, f in parts):,}")
    Console(stderr=True).print(table)
    if path is not None:
        with open(path, "w", encoding="utf-8") as file:
            Console(file=file, width=100).print(table)


class Log:
    """Means over `every` steps, one JSON line each: loss, loss by task, rate, gradient norm, throughput.

    Sums are taken over all processes when a line is due; the first process writes.

    Args:
        folder: of the run; `log.jsonl` and, if asked, TensorBoard's files go there.
        every: steps between lines.
        step: current step of the run: lines of later steps, from a run that was killed, are dropped.
        tensorboard: also write for TensorBoard.
        world: the processes of the run.
    """

    def __init__(self, folder: Path, every: int, step: int, tensorboard: bool, world: World) -> None:
        self.path = folder / "log.jsonl"
        self.every = every
        self.world = world
        self.board: Any = None
        if world.first:
            self._drop_after(step)
            if tensorboard:
                check_packages("train", "tensorboard")
                from torch.utils.tensorboard import SummaryWriter

                self.board = SummaryWriter(folder / "tensorboard", purge_step=step + 1)
        self._reset()

    def _drop_after(self, step: int) -> None:
        if not self.path.is_file():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] > step:
                    break
            except (json.JSONDecodeError, KeyError, TypeError):
                break  # the line that a killed run was writing
            kept.append(line + "\n")
        write_whole(self.path, "".join(kept))

    def _reset(self) -> None:
        self.by_task: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.norm = self.seconds = 0.0
        self.steps = self.bad = 0
        self.skipped: Counter[str] = Counter()
        self.since = time.monotonic()

    def add_batch(
        self, by_task: Mapping[str, tuple[float, int]], seconds: float, skipped: Mapping[str, int]
    ) -> None:
        """Count one batch of this process."""
        for task, (total, n) in by_task.items():
            self.by_task[task][0] += total
            self.by_task[task][1] += n
        self.seconds += seconds
        self.skipped.update(skipped)

    def add_step(self, step: int, lr: float, norm: float, bad: bool) -> dict[str, Any] | None:
        """Count one step of all processes; returns the line written, if one is due."""
        self.steps += 1
        self.bad += bad
        self.norm += 0.0 if bad else norm
        self.learning_rate = lr
        return self.flush(step) if self.steps >= self.every else None

    def flush(self, step: int) -> dict[str, Any] | None:
        """Write the line of the steps since the last one, if there are any. Every process calls it together."""
        if not self.steps:
            return None
        by_task, skipped, seconds = self._of_all()
        tasks = {k: round(s / n, 4) for k, (s, n) in sorted(by_task.items()) if n}
        text = [v for k, v in by_task.items() if k != "ctc"]
        tokens = sum(n for _, n in text)
        line = {
            "step": step,
            "loss": round(sum(s for s, _ in text) / tokens, 4) if tokens else tasks.get("ctc", 0.0),
            "losses": tasks,
            "learning_rate": self.learning_rate,
            "gradient_norm": round(self.norm / max(self.steps - self.bad, 1), 4),
            "audio_s_per_s": round(seconds / (time.monotonic() - self.since), 2),
            "skipped": dict(skipped),
        }
        if self.bad:
            line["bad_steps"] = self.bad
        self.write(line)
        self._reset()
        return line

    def _of_all(self) -> tuple[dict[str, list[float]], Counter[str], float]:
        by_task: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        skipped: Counter[str] = Counter()
        seconds = 0.0
        for tasks, skips, heard in self.world.gather((dict(self.by_task), self.skipped, self.seconds)):
            for task, (total, n) in tasks.items():
                by_task[task][0] += total
                by_task[task][1] += n
            skipped.update(skips)
            seconds += heard
        return by_task, skipped, seconds

    def write(self, line: dict[str, Any]) -> None:
        """Add a line; its numbers go to TensorBoard under their names."""
        if not self.world.first:
            return
        with open(self.path, "a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")
        if self.board is not None:
            for name, value in _numbers(line):
                self.board.add_scalar(name, value, line["step"])
            self.board.flush()

    def close(self) -> None:
        """Close TensorBoard's files."""
        if self.board is not None:
            self.board.close()


def _numbers(line: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for key, value in line.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and key != "step":
            found.append((prefix + key, value))
    return found


class Bar:
    """A progress bar of the run; only the first process shows one."""

    def __init__(self, title: str, world: World) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
        self.progress = Progress(
            *columns, TimeElapsedColumn(), TimeRemainingColumn(), disable=not world.first
        )
        self.task = self.progress.add_task(title, total=1.0, note="")
        self.skipped = 0

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def show(self, done: float, line: dict[str, Any] | None = None) -> None:
        """Move the bar to `done` (0 to 1); beside it the figures of a line of the log."""
        if line is None:
            self.progress.update(self.task, completed=done)
            return
        self.skipped += sum(line["skipped"].values())
        note = f"step {line['step']} loss {line['loss']:.3f} {line['audio_s_per_s']:.0f} audio s/s"
        self.progress.update(
            self.task, completed=done, note=note + (f", {self.skipped} skipped" if self.skipped else "")
        )

"""Several processes that answer: each opens the system for itself and takes every P-th batch."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from qwen_audio.eval.answering import Batch, answer_batches
from qwen_audio.eval.systems import Opening


class Workers:
    """Started processes, each with the system open.

    Use it as a context; the processes end with it. name, facts: of the system, as every process found them.
    """

    def __init__(self, opening: Opening, count: int, tasks: Sequence[str]) -> None:
        """Start `count` processes; `tasks` are those of which `supports` is asked.

        Raises ValueError for what is wrong with the system, ChildProcessError if a process ends early.
        """
        # Spawned processes start clean: a fork would copy the locks of whatever threads run here.
        context = multiprocessing.get_context("spawn")
        threads = max(1, torch.get_num_threads() // count)
        self._ends: list[Connection] = []
        self._processes: list[Any] = []
        for number in range(count):
            here, there = context.Pipe()
            arguments = (_device(opening, number), there, list(tasks), threads)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            there.close()  # so that the end of the process is the end of the pipe
            self._ends.append(here)
            self._processes.append(process)
        try:
            found = [self._expect(number, "ready") for number in range(count)]
        except BaseException:
            self.close()
            raise
        self.name, self._facts, self._supported = found[0]
        for number, (_, facts, _) in enumerate(found):
            if facts != self._facts:
                self.close()
                raise ValueError(f"process {number} has another system, {facts} and not {self._facts}")

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def facts(self) -> dict[str, Any]:
        """Facts of the system."""
        return dict(self._facts)

    def supports(self, task: str) -> bool:
        """Whether the system can answer a task."""
        return bool(self._supported[task])

    def answer_batches(self, batches: Sequence[Batch], part: int, progress: Callable[[int], None]) -> None:
        """Answer all batches into the part files from number `part` on, one for each process.

        What the others answer is kept when one ends early; then ChildProcessError says so at the end.
        """
        count = len(self._ends)
        running = dict(zip(self._ends, range(count), strict=True))
        complaints: list[str] = []
        for end, number in list(running.items()):
            try:
                end.send((list(batches[number::count]), part + number))
            except OSError:
                complaints.append(self._ended(number))
                del running[end]
        while running:
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                number = running[ready]
                try:
                    kind, content = ready.recv()
                except (EOFError, OSError):
                    kind, content = "failed", self._ended(number)
                if kind == "answered":
                    progress(content)
                    continue
                del running[ready]
                if kind == "failed":
                    complaints.append(content)
        if complaints:
            raise ChildProcessError(
                f"{'; '.join(complaints)}: the run is not finished, the same command goes on where it stopped"
            )

    def close(self) -> None:
        """End all processes."""
        for end in self._ends:
            end.close()
        for process in self._processes:
            process.terminate()
            process.join()

    def _expect(self, number: int, wanted: str) -> Any:
        try:
            kind, content = self._ends[number].recv()
        except (EOFError, OSError):
            raise ChildProcessError(f"{self._ended(number)} before it was ready") from None
        if kind != wanted:
            raise ValueError(content)
        return content

    def _ended(self, number: int) -> str:
        self._processes[number].join()
        code = self._processes[number].exitcode
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"process {number} of {len(self._processes)} {how}"


def _device(opening: Opening, number: int) -> Opening:
    """The same on one GPU for each process, in turn, if there are several and none is named."""
    gpus = torch.cuda.device_count() if opening.kind in ("ours", "transformers") else 0
    if gpus > 1 and opening.device in (None, "cuda"):
        return opening._replace(device=f"cuda:{number % gpus}")
    return opening


def _work(opening: Opening, end: Connection, tasks: list[str], threads: int) -> None:
    """What a process does: open the system, say what it is, answer what it is given."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        system = opening.open()
        end.send(("ready", (system.name, system.facts(), {task: system.supports(task) for task in tasks})))
    except (ValueError, OSError, ModuleNotFoundError) as error:
        end.send(("refused", str(error)))
        return
    try:
        batches, part = end.recv()
        answer_batches(system, batches, part, lambda count: end.send(("answered", count)))
        end.send(("done", None))
    except EOFError:  # nothing is asked
        return
    except (ValueError, OSError) as error:  # a server that cannot be used, a full disk
        end.send(("failed", str(error)))


def _end_with_parent() -> None:
    """A run that was killed leaves nobody behind who writes on."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)

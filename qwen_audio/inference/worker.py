"""The thread that owns a model: it takes jobs from a queue, first come first served, and decodes them together."""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from qwen_audio.inference.job import EngineBusy, EngineClosed, Job
from qwen_audio.inference.token_loop import Row, Run, TokenLoop, positions_held, positions_read

# Positions that are read in one pass, one row at least: a bound on memory, and on the pause of the running rows.
READ_AT_ONCE = 16_384


@dataclass(frozen=True)
class Limits:
    """Largest numbers of rows decoded at once, of positions allocated, and of jobs in the queue."""

    rows: int
    positions: int
    queue: int


class Worker:
    """Runs jobs in a thread of its own, which begins with the first of them."""

    def __init__(self, model: Any, tokenizer: Any, limits: Limits) -> None:
        self.limits = limits
        self.loop = TokenLoop(model, tokenizer)
        self._model, self._tokenizer = model, tokenizer
        self._changed = threading.Condition()
        self._queue: deque[Job] = deque()
        self._running: dict[Run, Job] = {}
        self._joining: list[Job] = []
        self._closed = False
        self._process = os.getpid()
        self._thread: threading.Thread | None = None

    @property
    def is_here(self) -> bool:
        """True if the worker was made in this process: a fork has no copy of its thread."""
        return self._process == os.getpid()

    @property
    def waiting(self) -> int:
        """Number of jobs in the queue."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Number of rows that are decoded now."""
        return len(self._running)

    def put(self, job: Job, wait: bool) -> None:
        """Add a job to the queue; if it is full, wait for a place or raise EngineBusy. EngineClosed after `close`."""
        if self.is_its_thread():
            raise RuntimeError("this would wait for itself: do not ask the model inside on_text")
        if not self.is_here:
            raise RuntimeError("the engine belongs to the process that forked this one: make another one")
        with self._changed:
            while not self._closed and len(self._queue) >= self.limits.queue:
                if not wait:
                    raise EngineBusy(f"{len(self._queue)} requests are waiting already: try again later")
                self._changed.wait()
            if self._closed:
                raise EngineClosed("the engine is closed: make another one")
            self._queue.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="qwen-audio-engine", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread; jobs that are not done fail with EngineClosed."""
        if not self.is_here:
            return  # its lock may have been held when the process was forked
        with self._changed:
            self._closed = True
            thread = self._thread
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def wake(self) -> None:
        """Wake the thread after a cancellation: the job leaves the queue, or at its next token the loop."""
        with self._changed:
            if any(job.done for job in self._queue):
                self._queue = deque(job for job in self._queue if not job.done)
            self._changed.notify_all()

    def is_its_thread(self) -> bool:
        """True if the caller is this worker's thread."""
        return self._thread is threading.current_thread()

    def fits_alone(self, row: Row) -> bool:
        """True if a row fits within the limits when it is alone."""
        return positions_held([row]) + positions_read([row]) <= self.limits.positions

    def _work(self) -> None:
        device = self._model.device
        # A thread begins with the first GPU as its current one, whichever the caller has chosen.
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            while self._safe_turn():
                pass

    def _safe_turn(self) -> bool:
        """Run a turn; an error outside any single row or call fails all jobs under way, so that no caller waits for
        ever."""
        try:
            return self._turn()
        except Exception as error:
            self._fail([*self._running.values(), *self._joining], error)
            return True

    def _turn(self) -> bool:
        """Admit jobs that fit, then decode one token of every row.

        It is a method, so that no local name keeps a job alive while the thread waits.
        """
        with self._changed:
            while not self._closed and not self._running and not self._queue:
                self._changed.wait()
            if self._closed:
                left = [*self._running.values(), *self._queue]
                self._running.clear()
                self._queue.clear()
            else:
                left = None
        if left is not None:
            self.loop = self._fresh_loop()
            for job in left:
                job.end(error=EngineClosed("the engine was closed before the answer was there"))
            return False
        self._drop_cancelled()
        with self._changed:
            rows = self._admit()
            self._changed.notify_all()
        if len(rows) == 1 and rows[0][1] is None:
            rows[0][0].finish(None)
        else:
            self._join([(job, row) for job, row in rows if row is not None])
        self._joining = []
        self._step()
        return True

    def _admit(self) -> list[tuple[Job, Row | None]]:
        """The jobs whose turn it is: one call, or rows in the order of the queue while there is room.

        Jobs come with their rows, as a job that is cancelled meanwhile loses its row.

        A row that does not fit yet keeps its place and nothing overtakes it: rows that run end at their limits, so
        its turn comes.
        """
        rows: list[Row] = []
        running = [run.row for run in self._running]
        while self._queue:
            row = self._queue[0].row
            if row is None:
                if not rows:
                    self._joining.append(self._queue.popleft())
                    return [(self._joining[0], None)]
                break
            if len(running) + len(rows) >= self.limits.rows:
                break
            if rows and positions_read([*rows, row]) > READ_AT_ONCE:
                break
            if not self._fits(running, [*rows, row]):
                break
            self._joining.append(self._queue.popleft())
            rows.append(row)
        return list(zip(self._joining, rows, strict=True))

    def _fits(self, running: list[Row], new: list[Row]) -> bool:
        held, read = positions_held([*running, *new]), positions_read(new)
        if held + read > self.limits.positions:
            return False
        if self.loop.allocated + read > self.limits.positions:
            self.loop.trim()  # the rows that have left may have been longer or more numerous
        return max(held, self.loop.allocated) + read <= self.limits.positions

    def _join(self, rows: list[tuple[Job, Row]]) -> None:
        rows = [(job, row) for job, row in rows if not job.done]
        if not rows:
            return
        try:
            runs = self.loop.join([row for _, row in rows])
        except Exception as error:
            if self.loop.broken:
                self._fail([*self._running.values(), *(job for job, _ in rows)], error)
            elif len(rows) == 1:
                rows[0][0].end(error=error)
            else:  # reading each alone finds the one at fault
                for one in rows:
                    self._join([one])
            return
        for (job, _), run in zip(rows, runs, strict=True):
            if run.finished:
                job.finish(run)
            else:
                self._running[run] = job

    def _step(self) -> None:
        if not self._running:
            return
        try:
            done = self.loop.step()
        except Exception as error:
            self._fail(list(self._running.values()), error)
            return
        for run in done:
            self._running.pop(run).finish(run)

    def _fail(self, jobs: list[Job], error: Exception) -> None:
        """End jobs with an error and begin a new loop; jobs in the queue are kept."""
        self._running.clear()
        self._joining = []
        self.loop = self._fresh_loop()
        for job in jobs:
            job.end(error=error)

    def _drop_cancelled(self) -> None:
        gone = [run for run, job in self._running.items() if job.done]
        if gone:
            self.loop.leave(gone)
            for run in gone:
                del self._running[run]

    def _fresh_loop(self) -> TokenLoop:
        loop = TokenLoop(self._model, self._tokenizer)
        loop.peak_rows, loop.peak_positions = self.loop.peak_rows, self.loop.peak_positions
        return loop

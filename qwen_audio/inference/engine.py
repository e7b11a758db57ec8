"""The engine: requests of any kind, from any thread, decoded together on one model.

    with Engine(model, processor) as engine:
        job = engine.submit(Request("audio_caption", [wave]))
        for piece in job:
            print(piece, end="")
        print(job.result().parsed.text)

Requests join what is running between two tokens and leave when they are answered (token_loop.py). An answer does not
depend on what else the engine does.
"""

from __future__ import annotations

import os
import queue
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import torch

from qwen_audio.inference.job import EngineBusy, EngineClosed, Job
from qwen_audio.inference.request import Output, Prepared, Request
from qwen_audio.inference.row_cache import SLACK, length_dependent
from qwen_audio.inference.token_loop import Row, Run
from qwen_audio.inference.worker import Limits, Worker

__all__ = ["Engine", "EngineBusy", "EngineClosed", "Job"]

MAX_ROWS = 16
QUEUE_LIMIT = 64
# Shares of the memory that is there which keys and values may take.
GPU_SHARE = 0.5
CPU_SHARE = 0.25

Result = TypeVar("Result")


class Engine:
    """Decodes many requests at once.

    Args:
        model, processor: as in `QwenAudio`.
        max_rows: how many are decoded at once.
        max_positions: for how many positions (tokens, padding included) keys and values may be held; None takes as
            many as fit into half of the free memory of the GPU, or a quarter of the machine's memory, and no more
            than `max_rows` of the model's longest sequences can need.
        queue_limit: how many may wait.

    Calls are safe from any thread, but not from `on_text`, which runs in the engine's own.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        max_rows: int = MAX_ROWS,
        max_positions: int | None = None,
        queue_limit: int = QUEUE_LIMIT,
    ) -> None:
        for name, value in (
            ("max_rows", max_rows),
            ("max_positions", max_positions),
            ("queue_limit", queue_limit),
        ):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: give 1 or more")
        if length_dependent(model):
            max_rows = 1  # transformers turns all rows by the longest
        self.model, self.processor = model, processor
        positions = max_positions or default_positions(model, max_rows)
        self._worker = Worker(model, processor.tokenizer, Limits(max_rows, positions, queue_limit))
        # The thread knows the worker only: an engine that nobody holds any more ends, and so does one at exit.
        self._end = weakref.finalize(self, self._worker.close)

    @property
    def limits(self) -> Limits:
        """What it was made with."""
        return self._worker.limits

    @property
    def is_here(self) -> bool:
        """Whether it works in this process: a fork needs another one."""
        return self._worker.is_here

    @property
    def running(self) -> int:
        """Rows that are decoded now."""
        return self._worker.running

    @property
    def waiting(self) -> int:
        """Jobs that wait for their turn."""
        return self._worker.waiting

    @property
    def peak_rows(self) -> int:
        """The most rows that were decoded at once."""
        return self._worker.loop.peak_rows

    @property
    def peak_positions(self) -> int:
        """The most positions that memory was held for at once."""
        return self._worker.loop.peak_positions

    def submit(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Job[Output]:
        """Put a request in the queue.

        Args:
            on_text: called in the engine's thread with each new piece of the answer; it should be quick, for all rows
                wait. An exception that it raises ends this job, with that exception.

        Raises:
            EngineBusy: the queue is full.
            EngineClosed: after `close`.
            ValueError: the request cannot be used, or is larger than the engine could ever hold.
        """
        return self._submit(request, on_text, wait=False)

    def run(self, requests: Iterable[Request], at_once: int | None = None) -> list[Output]:
        """The outputs of many requests, in their order; see `stream_outputs`."""
        outputs = dict(self.stream_outputs(requests, at_once))
        return [outputs[number] for number in range(len(outputs))]

    def stream_outputs(
        self, requests: Iterable[Request], at_once: int | None = None
    ) -> Iterator[tuple[int, Output]]:
        """Numbers and outputs of any number of requests as they finish.

        Requests are drawn from `requests` as there is room, so that a generator of them never has more than
        `at_once` in memory (default: twice `max_rows`). What a request raises is raised here, and the others are
        cancelled; so they are when the iteration is left early.
        """
        window = 2 * self.limits.rows if at_once is None else at_once
        if window < 1:
            raise ValueError(f"at_once is {window}: give 1 or more")
        finished: queue.SimpleQueue[int] = queue.SimpleQueue()
        with_engine: dict[int, Job[Output]] = {}
        source, drained = enumerate(requests), False
        try:
            while True:
                if not drained and len(with_engine) < window and finished.empty():
                    number, request = next(source, (-1, None))
                    if request is None:
                        drained = True
                        continue
                    job = with_engine[number] = self._submit(request, None, wait=True, pieces=False)
                    job.when_done(lambda number=number: finished.put(number))  # type: ignore[misc]
                elif with_engine:
                    number = finished.get()
                    yield number, with_engine.pop(number).result()
                else:
                    return
        finally:
            for job in with_engine.values():
                job.cancel()

    def decode(self, row: Row, on_text: Callable[[str], None] | None = None) -> Run:
        """Decode a row that is no request (a turn of a dialogue), and wait for it.

        `on_text` gets new text in the caller's thread; what it raises ends the row.
        """
        job: Job[Run] = Job(_Owner(self), lambda run: run)
        job.row = replace(row, on_text=job.text) if on_text is not None else row
        self._put(job, wait=True)
        try:
            if on_text is not None:
                for piece in job:
                    on_text(piece)
            return job.result()
        finally:
            job.cancel()

    def call(self, function: Callable[[], Result]) -> Result:
        """The result of a function that uses the model, run in the engine's thread between two tokens."""
        job: Job[Result] = Job(_Owner(self), lambda _: function())
        self._worker.put(job, wait=True)
        try:
            return job.result()
        finally:
            job.cancel()

    def close(self) -> None:
        """End. Jobs that are not done fail with EngineClosed."""
        self._end()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _submit(
        self, request: Request, on_text: Callable[[str], None] | None, *, wait: bool, pieces: bool = True
    ) -> Job[Output]:
        job: Job[Output] = Job(_Owner(self), lambda run: prepared.output(_generation(run)), on_text)
        prepared = Prepared(self.model, self.processor, request, job.text if pieces else None)
        job.row = prepared.row
        self._put(job, wait)
        return job

    def _put(self, job: Job, wait: bool) -> None:
        assert job.row is not None
        if not self._worker.fits_alone(job.row):
            raise ValueError(
                f"a prompt of {len(job.row.ids)} tokens with {job.row.limit} for the answer needs more than the "
                f"{self.limits.positions} positions of the engine: shorten it, or give the engine more"
            )
        self._worker.put(job, wait)


class _Owner:
    """What a job knows of its engine; keeps it alive until the job is done."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def wake(self) -> None:
        self._engine._worker.wake()

    def is_its_thread(self) -> bool:
        return self._engine._worker.is_its_thread()


def position_bytes(model: Any) -> int:
    """Bytes of the keys and values of one position."""
    config = model.config.get_text_config(decoder=True)
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    # The embeddings' type: a quantised model has others in its matrices, but computes in this one.
    size = model.get_input_embeddings().weight.element_size()
    return int(config.num_hidden_layers * 2 * groups * width * size)


def default_positions(model: Any, max_rows: int) -> int:
    """How many positions an engine may hold if nobody says: a share of memory, and no more than can be of use."""
    device = model.device
    if device.type == "cuda":
        memory = GPU_SHARE * torch.cuda.mem_get_info(device)[0]
    elif hasattr(os, "sysconf"):
        memory = CPU_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        memory = 2.0**31
    longest = model.config.get_text_config(decoder=True).max_position_embeddings + SLACK
    return max(1, min(int(memory / position_bytes(model)), 2 * max_rows * longest))


def _generation(run: Run) -> Any:
    assert run.generation is not None
    return run.generation

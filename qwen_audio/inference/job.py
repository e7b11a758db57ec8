"""Handle of an answer in progress: its result, its text as it comes, and its cancellation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import Any, Generic, TypeVar

from qwen_audio.inference.token_loop import Row, Run

Result = TypeVar("Result")


class EngineBusy(RuntimeError):
    """The queue is full: try again later."""


class EngineClosed(RuntimeError):
    """The engine is closed: it takes no more jobs and finishes none."""


class Job(Generic[Result]):
    """A request or a call in an engine. Iterate over it for the pieces of the answer's text as they come.

    Args:
        owner: kept alive until the job is done.
        make: the result of a finished row; called in the engine's thread.
        on_text: called with each piece in the engine's thread; an exception that it raises ends the job.
    """

    def __init__(
        self,
        owner: Any,
        make: Callable[[Any], Result],
        on_text: Callable[[str], None] | None = None,
    ) -> None:
        self.row: Row | None = None  # None: `make` is a call for the engine's thread, without a row
        self._owner = owner
        self._make: Callable[[Any], Result] | None = make
        self._on_text = on_text
        self._changed = threading.Condition()
        self._pieces: list[str] = []
        self._done = False
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[], None]] = []

    @property
    def done(self) -> bool:
        """True if there is a result or an error, or the job was cancelled."""
        return self._done

    @property
    def cancelled(self) -> bool:
        """True if the job was cancelled before it was done."""
        return isinstance(self._error, CancelledError)

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the result.

        Raises:
            TimeoutError: it is not there after `timeout` seconds; the job goes on.
            CancelledError: the job was cancelled.
            Exception: the one that made the job fail.
        """
        self._not_from_the_engine()
        with self._changed:
            if not self._changed.wait_for(lambda: self._done, timeout):
                raise TimeoutError(
                    f"the answer is not there after {timeout} s: wait longer, or cancel the job"
                )
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def __iter__(self) -> Iterator[str]:
        """Pieces of text as they come, from the first; joined they are the answer. Raises as `result` does."""
        self._not_from_the_engine()
        at = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda at=at: self._done or len(self._pieces) > at)  # type: ignore[misc]
                new, done = self._pieces[at:], self._done
            yield from new
            at += len(new)
            if done and at == len(self._pieces):
                self.result()
                return

    def cancel(self) -> bool:
        """Cancel the job: the engine drops it before its next token. False if it was done already."""
        return self.end(error=CancelledError("the job was cancelled"))

    def when_done(self, callback: Callable[[], None]) -> None:
        """Call something once, when the job is done, in the thread where that happens; at once if it is done already.

        It must be quick and raise nothing.
        """
        with self._changed:
            if not self._done:
                self._callbacks.append(callback)
                return
        callback()

    # for the engine

    def text(self, piece: str) -> None:
        """Add a piece of the answer's text."""
        with self._changed:
            self._pieces.append(piece)
            self._changed.notify_all()
            on_text = self._on_text  # none once it was cancelled
        if on_text is not None:
            on_text(piece)

    def finish(self, run: Run | None) -> None:
        """Make the result of a finished row, or run the call."""
        make = self._make
        if self._done or make is None:
            return
        if run is not None and run.error is not None:
            self.end(error=run.error)
            return
        try:
            self.end(result=make(run))
        except BaseException as error:  # raised in the waiting thread; the engine's thread goes on
            self.end(error=error)

    def end(self, result: Result | None = None, error: BaseException | None = None) -> bool:
        """Set the result or the error; only the first call counts, and True says that it was this one."""
        with self._changed:
            if self._done:
                return False
            self._result, self._error, self._done = result, error, True
            callbacks, self._callbacks = self._callbacks, []
            owner, self._owner = self._owner, None
            self.row = self._make = self._on_text = None  # these hold recordings
            self._changed.notify_all()
        if owner is not None:
            owner.wake()
        for callback in callbacks:
            callback()
        return True

    def _not_from_the_engine(self) -> None:
        owner = self._owner
        if owner is not None and owner.is_its_thread():
            raise RuntimeError("this would wait for itself: do not wait for an answer inside on_text")

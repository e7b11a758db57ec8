"""Ctrl-C as the end of a live recording, instead of the end of the program.

    with CtrlC() as ctrl_c:
        for block in open_blocks(Pipe(sys.stdin.buffer, ctrl_c)): ...   # ends soon after Ctrl-C

No exception is raised: it could lose the piece that is being transcribed, and libraries that read through a callback
swallow it.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from types import FrameType
from typing import Any, BinaryIO

WAIT = 0.2  # seconds after which a reader that gets nothing looks whether Ctrl-C was pressed
# Ctrl-C in a terminal reaches the program before the pipe too: what it still writes comes within this many seconds,
# and what had no reader yet is as much as a pipe holds.
LAST_SECONDS = 0.5
LAST_BYTES = 1 << 16


class CtrlC:
    """While it is entered, the first Ctrl-C only sets `pressed`, and a second ends the process with exit code 130.

    Does nothing where the process ignores Ctrl-C, and outside the main thread, which alone can handle it.
    """

    def __init__(self) -> None:
        self.pressed = False
        self._before: Any = None

    def __enter__(self) -> CtrlC:
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if before != signal.SIG_IGN:
                self._before = before
                signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _press(self, number: int, frame: FrameType | None) -> None:
        if self.pressed:
            os._exit(130)  # an exception would wait for the engine, and may be swallowed
        self.pressed = True


class Pipe:
    """A forward-only pipe that ends soon after Ctrl-C, once the data already under way has come."""

    def __init__(self, handle: BinaryIO, ctrl_c: CtrlC) -> None:
        self.name = getattr(handle, "name", None)
        self._handle, self._ctrl_c = handle, ctrl_c
        # Only the bytes already there: a reader that fills its buffer would delay a live source.
        self._read = getattr(handle, "read1", handle.read)
        self._left = LAST_BYTES
        self._until: float | None = None  # when the last bytes must have come

    def seekable(self) -> bool:
        """False."""
        return False

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, as soon as there are any; none at the end."""
        if size == 0:
            return bytes(self._read(0))
        while not self._ctrl_c.pressed:
            if self._ready(WAIT):
                return bytes(self._read(size))
        if self._until is None:
            self._until = time.monotonic() + LAST_SECONDS
        if not self._left or not self._ready(max(0.0, self._until - time.monotonic())):
            return b""
        data = bytes(self._read(self._left if size < 0 else min(size, self._left)))
        self._left -= len(data)
        return data

    def _ready(self, seconds: float) -> bool:
        """Wait at most `seconds` for data; True if a read would then not block."""
        try:
            return bool(select.select([self._handle], [], [], seconds)[0])
        except (OSError, ValueError):  # not a pipe of the system, or Windows: all that can be done is to read
            return not self._ctrl_c.pressed

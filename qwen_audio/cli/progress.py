"""Progress of a long transcription on the terminal."""

from __future__ import annotations

import sys
import time

BAR = 20  # characters of the bar
LINES_EVERY = 5.0  # seconds between two lines of progress where lines cannot be overwritten


class _OpenLine:
    """One changing line on stderr."""

    def __init__(self, shown: bool) -> None:
        self.shown = shown

    def show(self, text: str) -> None:
        import shutil

        sys.stderr.write(f"\r\x1b[K{_end_of(text, shutil.get_terminal_size().columns - 1)}")
        sys.stderr.flush()

    def clear(self) -> None:
        if self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _end_of(text: str, columns: int) -> str:
    """The end of the text that fits in `columns`: Chinese characters take two, combining marks none."""
    import unicodedata

    start, room = len(text), columns
    for at in reversed(range(len(text))):
        if unicodedata.category(text[at]) in ("Mn", "Me", "Cf"):
            continue  # it comes with the character before it
        room -= 2 if unicodedata.east_asian_width(text[at]) in "WF" else 1
        if room < 0:
            break
        start = at
    return text[start:]


class Progress:
    """Position in a recording, speed and time left, on stderr."""

    def __init__(self, name: str, seconds: float | None, shown: bool) -> None:
        """seconds: length of the recording, None if unknown."""
        self.name, self.seconds, self.shown = name, seconds, shown
        self._line = _OpenLine(shown and sys.stderr.isatty())
        self._began = self._told = time.monotonic()
        self._known = 0.0  # seconds of the recording that an earlier run had done

    def update(self, done: float, known: bool) -> None:
        """`done` seconds of the recording are transcribed; known: the last of them by an earlier run."""
        now = time.monotonic()
        if known:
            self._known, self._began = done, now
        spent = now - self._began
        if self._line.shown:
            self._line.show(self.line(done, spent))
        elif self.shown and now - self._told >= LINES_EVERY:
            self._told = now
            print(self.line(done, spent), file=sys.stderr, flush=True)

    def line(self, done: float, spent: float) -> str:
        """`a.wav: [##--------] 0:36:00 of 3:00:00, 8.1 times real time, 0:17:47 left` after `spent` seconds."""
        new = done - self._known
        speed = new / max(spent, 1e-3) if new > 0 else None
        pace = "" if speed is None else f", {speed:.1f} times real time"
        if self.seconds is None:
            return f"{self.name}: {_hours(done)}{pace}"
        share = min(1.0, done / max(self.seconds, 1e-3))
        full = round(share * BAR)
        bar = "#" * full + "-" * (BAR - full)
        left = "" if speed is None else f", {_hours(max(0.0, self.seconds - done) / max(speed, 1e-3))} left"
        return f"{self.name}: [{bar}] {_hours(done)} of {_hours(self.seconds)}{pace}{left}"

    def end(self) -> None:
        """The recording is done."""
        self._line.clear()


def _hours(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"

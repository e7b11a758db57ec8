"""Journal of a job: finished windows are written to disk at once, so that a killed job continues from there.

The file has one JSON object a line: first the job (recording, model, options), then each window with its
transcription, in the order of completion, and at the end how the recording ended. A line cut short by a kill is
dropped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qwen_audio.files import lock

EDGE = 1 << 20  # bytes at both ends of a file that are hashed: hours of sound are not read for it


def fingerprint(path: str | Path) -> dict[str, Any]:
    """Size, modification time and a hash of the first and last MiB of a file, which show whether it has changed."""
    about = os.stat(path)
    total = hashlib.sha256()
    with open(path, "rb") as file:
        total.update(file.read(EDGE))
        file.seek(max(0, about.st_size - EDGE))
        total.update(file.read(EDGE))
    return {"size": about.st_size, "mtime_ns": about.st_mtime_ns, "sha256_of_ends": total.hexdigest()}


class Journal:
    """The finished windows of one job; `rows` by number, `end` when the whole recording is done.

    restarted: whether the file was of another job and was started over.
    """

    def __init__(self, path: Path, job: dict[str, Any]) -> None:
        """Read the journal of an earlier run of the same job, or begin a file.

        Raises:
            ValueError: another process is writing it, or the file is none of this kind.
        """
        self.path = path
        self.rows: dict[int, dict[str, Any]] = {}
        self.end: dict[str, Any] | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a+b")  # noqa: SIM115 (open as long as the job runs)
        if not lock(self._file):
            self._file.close()
            raise ValueError(f"{path} is being written by another run: wait for it, or name another output")
        self._file.seek(0)
        content = self._file.read()
        header, whole = self._read(content)
        if content and header is None and not _own(content):
            self._file.close()
            raise ValueError(f"{path} is in the way: move it, or name another output")
        # Through JSON and back, so that tuples and numbers compare as they are written.
        job = json.loads(json.dumps({"job": job}))
        self.restarted = header is not None and header != job
        if header == job:
            self._file.truncate(whole)
        else:
            self.rows, self.end = {}, None
            self._file.truncate(0)
            self._write([job])

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write finished windows; each row has its `number`."""
        self._write(rows)
        self.rows |= {row["number"]: row for row in rows}

    def finish(self, end: dict[str, Any]) -> None:
        """Write how the recording ended."""
        self._write([{"end": end}])
        self.end = end

    def close(self) -> None:
        """Close the file, which stays."""
        self._file.close()

    def remove(self) -> None:
        """Delete the journal: the output is written, and nothing is left to continue."""
        self.path.unlink(missing_ok=True)
        self._file.close()

    def _read(self, content: bytes) -> tuple[dict[str, Any] | None, int]:
        """The first line, and the number of bytes in whole lines; the other lines go to `rows` and `end`."""
        header: dict[str, Any] | None = None
        whole = 0
        for line in content.splitlines(keepends=True):
            try:
                row = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n") or not isinstance(row, dict):
                break
            if header is None:
                if "job" not in row:
                    break
                header = row
            elif "number" in row:
                self.rows[row["number"]] = row
            elif "end" in row:
                self.end = row["end"]
            whole += len(line)
        return header, whole

    def _write(self, rows: Sequence[dict[str, Any]]) -> None:
        self._file.write(b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows))
        self._file.flush()
        os.fsync(self._file.fileno())


def _own(content: bytes) -> bool:
    """True if a file without a whole first line is the beginning of a journal."""
    return b'{"job": '.startswith(content[:8]) or content.startswith(b'{"job": ')

"""Atomic writing of files and folders: written under another name, renamed when everything is on the disk.

An unfinished file is NAME.XXXXXXXX.part, with a random part, so that two writers do not collide. An unfinished folder
is NAME.partial and holds a mark file that its writer keeps locked. The kernel releases the lock when that process
ends, however it ends: so the remains of a killed run can be removed, while a folder that another run is writing, or
that this module did not make, is refused.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: an unfinished folder is removed without a check of its lock
    fcntl = None  # type: ignore[assignment]

MARK = ".qwen-audio-unfinished"


@contextmanager
def whole_file(path: str | os.PathLike[str], *, parents: bool = False) -> Iterator[IO[bytes]]:
    """A file to write bytes into, which takes the name `path` when the block ends without an error.

    parents: make the folders that lead to it, too.

    Raises:
        OSError: it cannot be written; the error names `path`.
    """
    target = Path(path)
    partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    try:
        if parents:
            target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        if error.filename not in (None, str(partial), str(target), str(target.parent)):
            raise  # the error is of another file that the block used
        raise OSError(error.errno, error.strerror, str(target)) from None
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], content: str | bytes, *, parents: bool = False) -> None:
    """Write a file of text (UTF-8) or bytes, as `whole_file`."""
    with whole_file(path, parents=parents) as file:
        file.write(content.encode() if isinstance(content, str) else content)


class NewFolder:
    """A folder to write into at `path`, which `finish` turns into `target` and `abandon` removes."""

    def __init__(self, target: Path, needed_bytes: int = 0) -> None:
        """Make the unfinished folder.

        Raises:
            ValueError: `target` exists, something else has the name of the unfinished folder, or the disk has no
                room for `needed_bytes`.
        """
        if os.path.lexists(target):
            raise ValueError(f"{target} exists already: name a new folder, nothing is overwritten")
        target.parent.mkdir(parents=True, exist_ok=True)
        self.target = target
        self.path = unfinished_name(target)
        if os.path.lexists(self.path):
            clear_unfinished(self.path)
        free = shutil.disk_usage(target.parent).free
        if free < needed_bytes:
            raise ValueError(
                f"{target} needs {needed_bytes / 1e9:.1f} GB and its disk has {free / 1e9:.1f} GB free: make room"
            )
        self.path.mkdir()
        self._mark = (self.path / MARK).open("wb")
        lock(self._mark)

    def finish(self) -> None:
        """Bring everything to the disk, readable by all, and give the folder its name."""
        for file in self.path.rglob("*"):
            # Closing the mark anywhere in this process would release its lock.
            if file.is_file() and file.name != MARK:
                file.chmod(0o644)  # safetensors writes files that only their owner can read
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
            elif file.is_dir():
                _sync_folder(file)
        _sync_folder(self.path)
        self.path.rename(self.target)
        # After the rename: a run killed between the two leaves a whole folder, not one that nothing may remove.
        (self.target / MARK).unlink()
        self._mark.close()
        _sync_folder(self.target.parent)

    def abandon(self) -> None:
        """Remove the unfinished folder, ignoring errors of the file system."""
        with suppress(OSError):
            _remove(self.path)
        self._mark.close()


@contextmanager
def new_folder(target: Path, needed_bytes: int = 0) -> Iterator[Path]:
    """A folder to write into, which becomes `target` if all goes well and vanishes if not.

    Raises:
        ValueError: as `NewFolder`.
    """
    folder = NewFolder(target, needed_bytes)
    try:
        yield folder.path
        folder.finish()
    except BaseException:
        folder.abandon()
        raise


def is_unfinished(folder: Path) -> bool:
    """True if this module began `folder`, or if it is empty, so that nothing can be lost."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    return (folder / MARK).is_file() or not any(folder.iterdir())


def clear_unfinished(folder: Path) -> None:
    """Remove an unfinished folder that a killed run left.

    Raises:
        ValueError: it is not an unfinished folder, or a running process is writing it.
    """
    if not is_unfinished(folder):
        raise ValueError(f"{folder} is in the way: move it, or name another folder")
    mark = folder / MARK
    if not mark.is_file():
        folder.rmdir()
        return
    with mark.open("r+b") as handle:
        if not lock(handle):
            raise ValueError(f"{folder} is being written by another run: wait for it, or name another folder")
        _remove(folder)


def discard(folder: Path) -> None:
    """Remove a finished folder; a run killed meanwhile leaves an unfinished folder, never half a finished one."""
    (folder / MARK).touch()
    unfinished = unfinished_name(folder)
    folder.rename(unfinished)
    _remove(unfinished)


def unfinished_name(target: Path) -> Path:
    """Path under which `target` is written until it is complete."""
    return target.with_name(target.name + ".partial")


def _remove(folder: Path) -> None:
    # The mark goes last: until then the rest is recognised as a folder that this module made.
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != MARK:
            entry.unlink()
    (folder / MARK).unlink(missing_ok=True)
    folder.rmdir()


def lock(handle: IO[bytes]) -> bool:
    """Lock a file for this process until it is closed; False if another process has it."""
    if fcntl is None:
        return True
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Anything else means a file system without locks, where nothing can be known.
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

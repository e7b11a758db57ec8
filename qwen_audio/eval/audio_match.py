"""Whether two clips are the same recording: by their samples, and by a fingerprint that survives lossy copies.

`digest` is a hash of the samples at 16 kHz rounded to 16 bits: the same for another lossless container, another path,
or a window that holds the same samples.

The fingerprint is that of Haitsma and Kalker ("A Highly Robust Audio Fingerprinting System", 2002): for every 25 ms
32 bits, each the sign of the change, from one frame to the next, of the difference of energy between two neighbouring
bands of 300 to 2000 Hz. Two clips match where, over at least 0.75 s that are not silent, at most 20 % of the bits
differ at some shift. That finds lossy, resampled, louder, shorter or shifted copies; not a copy at another speed, under
loud noise, or with less than 0.75 s of sound.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE, load_audio

FRAME, HOP = 4096, 400  # samples: 256 ms, 25 ms
BANDS = 33
FRAMES_PER_SECOND = SAMPLE_RATE / HOP
SHORTEST = round(0.75 * FRAMES_PER_SECOND)  # frames with sound that must be compared
MOST_DIFFERENT = 0.20  # of the bits
_QUIET = 1e-4  # of the loudest frame's energy: below, the bits are noise
_CHECKED = 32  # shifts looked at for one clip, those with most equal frames first
_KIND = 1  # of the rows of the cache: raise it when digest or fingerprint change


@dataclass(frozen=True)
class Clip:
    """digest: 16 bytes; seconds; prints: (frames,) uint32, 0 where it is quiet."""

    digest: bytes
    seconds: float
    prints: np.ndarray


def clip_of(wave: np.ndarray) -> Clip:
    """Digest and fingerprint of (n,) float32 at 16 kHz."""
    whole = np.clip(np.rint(wave * 32768.0), -32768, 32767).astype("<i2")
    return Clip(
        hashlib.blake2b(whole.tobytes(), digest_size=16).digest(), len(wave) / SAMPLE_RATE, prints_of(wave)
    )


def prints_of(wave: np.ndarray) -> np.ndarray:
    """(frames,) uint32 of (n,) float32 at 16 kHz: 0 for silence, nothing for a clip shorter than two frames."""
    if len(wave) < FRAME + HOP:
        return np.zeros(0, np.uint32)
    window, edges = _tables()
    frames = np.lib.stride_tricks.sliding_window_view(wave, FRAME)[::HOP]
    energies = np.empty((len(frames), BANDS))
    for start in range(0, len(frames), 256):  # a block at a time, so that long recordings need little memory
        power = np.abs(np.fft.rfft(frames[start : start + 256] * window, axis=1)) ** 2
        energies[start : start + 256] = np.add.reduceat(power, edges, axis=1)[:, :BANDS]
    between = energies[:, :-1] - energies[:, 1:]
    bits = between[1:] > between[:-1]  # (frames - 1, 32)
    packed = np.packbits(bits, axis=1).view(">u4")[:, 0].astype(np.uint32)
    total = energies.sum(axis=1)
    quiet = np.minimum(total[1:], total[:-1]) <= max(_QUIET * total.max(), 1e-9)
    packed[quiet] = 0
    return packed


@lru_cache(maxsize=1)
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """Hann window (4096,) float32, and the first bin of each of the bands, with the end of the last."""
    hertz = np.geomspace(300.0, 2000.0, BANDS + 1)
    return np.hanning(FRAME).astype(np.float32), np.rint(hertz * FRAME / SAMPLE_RATE).astype(int)


class Prints:
    """The fingerprints of a set of clips, in which the clips like another one are found."""

    def __init__(self, prints: Sequence[np.ndarray]) -> None:
        self._prints = list(prints)
        usable = [k for k, p in enumerate(self._prints) if np.count_nonzero(p) >= SHORTEST]
        values = np.concatenate([self._prints[k] for k in usable] or [np.zeros(0, np.uint32)])
        owners = np.repeat(np.array(usable, np.int64), [len(self._prints[k]) for k in usable])
        places = np.concatenate([np.arange(len(self._prints[k])) for k in usable] or [np.zeros(0, np.int64)])
        known = values != 0
        order = np.argsort(values[known], kind="stable")
        self._values, self._owners = values[known][order], owners[known][order]
        self._places = places[known][order]

    def like(self, prints: np.ndarray) -> dict[int, tuple[float, float]]:
        """For each clip that matches: the share of bits that differ, and the seconds compared."""
        if np.count_nonzero(prints) < SHORTEST or not len(self._values):
            return {}
        mine = np.flatnonzero(prints)
        first = np.searchsorted(self._values, prints[mine], "left")
        count = np.searchsorted(self._values, prints[mine], "right") - first
        if not count.any():
            return {}
        rows = np.repeat(first - np.r_[0, np.cumsum(count)[:-1]], count) + np.arange(count.sum())
        shift = self._places[rows] - np.repeat(mine, count)
        pairs, hits = np.unique(np.stack([self._owners[rows], shift]), axis=1, return_counts=True)
        found: dict[int, tuple[float, float]] = {}
        for at in np.argsort(-hits, kind="stable")[:_CHECKED]:
            owner = int(pairs[0, at])
            share, frames = _difference(self._prints[owner], prints, int(pairs[1, at]))
            if frames >= SHORTEST and share <= min(MOST_DIFFERENT, found.get(owner, (1.0, 0.0))[0]):
                found[owner] = (share, frames / FRAMES_PER_SECOND)
        return found


def _difference(left: np.ndarray, right: np.ndarray, shift: int) -> tuple[float, int]:
    """Share of bits that differ where `right` is moved by `shift` frames, and the frames compared: sound in both."""
    a = left[max(shift, 0) : shift + len(right)]
    b = right[max(-shift, 0) :][: len(a)]
    a = a[: len(b)]
    heard = (a != 0) & (b != 0)
    frames = int(np.count_nonzero(heard))
    return float(np.bitwise_count(a[heard] ^ b[heard]).sum()) / max(32 * frames, 1), frames


class ClipCache:
    """Clips of windows of files, kept in an SQLite file by path, size and time of change (None: in memory).

    A row is some 200 bytes and 160 for every second of sound. Raises ValueError for a file that is no such cache.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = path
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            self._base = sqlite3.connect(":memory:" if path is None else os.fspath(path), timeout=60)
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS clips (key TEXT PRIMARY KEY, digest BLOB, seconds REAL, prints BLOB)"
            )
        except sqlite3.Error as error:
            raise ValueError(f"{path} is no cache of clips ({error}): give another path") from None
        self._new = 0
        self.read = 0  # clips that were decoded

    def clip(self, path: str, start: float = 0.0, duration: float | None = None) -> Clip:
        """The clip of a window; AudioError where it cannot be read."""
        key = None
        if self._path is not None:
            try:
                state = os.stat(path)
                key = (
                    f"{_KIND}|{os.path.abspath(path)}|{state.st_size}|{state.st_mtime_ns}|{start}|{duration}"
                )
            except OSError:
                pass  # load_audio says what is wrong
            row = self._base.execute(
                "SELECT digest, seconds, prints FROM clips WHERE key = ?", (key,)
            ).fetchone()
            if row is not None:
                return Clip(row[0], row[1], np.frombuffer(row[2], "<u4"))
        clip = clip_of(load_audio(path, start=start, duration=duration))
        self.read += 1
        if key is not None:
            prints = clip.prints.astype("<u4").tobytes()
            self._base.execute(
                "INSERT OR REPLACE INTO clips VALUES (?, ?, ?, ?)", (key, clip.digest, clip.seconds, prints)
            )
            self._new += 1
            if self._new % 1000 == 0:
                self._base.commit()
        return clip

    def close(self) -> None:
        """Write what is new."""
        self._base.commit()
        self._base.close()

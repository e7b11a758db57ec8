"""Changes of the samples: stretches removed, kept, muted, bleeped or swapped, without clicks.

Every boundary is moved to a zero crossing nearby, and joined parts are cross-faded over 5 ms around the joint, so an
edited recording is as long as its parts together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

FADE_SECONDS = 0.005  # of a cross-fade, half of it on each side of a joint
CROSSING_SECONDS = 0.005  # how far a boundary may move to a zero crossing
BLEEP_HERTZ = 1000.0
BLEEP_LEVEL = 0.7  # of the level (root mean square) of the recording's loud parts
KINDS = ("remove", "mute", "bleep", "swap")


@dataclass(frozen=True)
class Edit:
    """One change of the stretch from `start` to `end` (seconds of the original recording).

    Attributes:
        kind: "remove", "mute", "bleep" or "swap".
        what: the word or the sound in it; "" where only times were named.
        other_start, other_end: for "swap" the stretch that changes places with it, which is later.
        at: second of the edited recording where the joint, the muted part or the first moved part is.
    """

    kind: str
    start: float
    end: float
    what: str = ""
    other_start: float | None = None
    other_end: float | None = None
    at: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data; times in seconds to 0.1 ms; fields that do not apply are left out."""
        row = {name: value for name, value in asdict(self).items() if value not in (None, "")}
        return {name: round(v, 4) if isinstance(v, float) else v for name, v in row.items()}


def apply_edits(samples: np.ndarray, rate: int, edits: Sequence[Edit]) -> tuple[np.ndarray, list[Edit]]:
    """The edited recording, and the edits as they were done: in order, overlapping ones joined, at zero crossings.

    Args:
        samples: (channels, n) float; it is not changed.
        rate: Hz.

    Raises:
        ValueError: an unknown kind, times outside the recording, nothing left, several swaps, a swap of stretches that
            overlap or together with other edits.
    """
    if samples.ndim != 2 or not samples.shape[1]:
        raise ValueError(f"samples must be (channels, n) with at least one sample, not {samples.shape}")
    length = samples.shape[1] / rate
    for edit in edits:
        if edit.kind not in KINDS:
            raise ValueError(f"there is no edit {edit.kind!r}: use {', '.join(KINDS)}")
        ends = [(edit.start, edit.end)]
        if edit.kind == "swap":
            ends.append((edit.other_start or 0.0, edit.other_end or 0.0))
        for start, end in ends:
            if not 0 <= start < end or start >= length:
                raise ValueError(
                    f"{start:.2f} to {end:.2f} s is no part of a recording of {length:.2f} s: correct the times"
                )
    middle = samples.mean(axis=0)
    swaps = [edit for edit in edits if edit.kind == "swap"]
    if swaps:
        if len(edits) > 1:
            raise ValueError("a swap cannot be mixed with other edits: do one after the other")
        return _swap(samples, middle, rate, swaps[0])
    return _in_place_and_removed(samples, middle, rate, edits)


def _in_place_and_removed(
    samples: np.ndarray, middle: np.ndarray, rate: int, edits: Sequence[Edit]
) -> tuple[np.ndarray, list[Edit]]:
    out = samples.astype(np.float32, copy=True)
    removed = _merged([e for e in edits if e.kind == "remove"], middle, rate)
    covered = [
        e for kind in ("mute", "bleep") for e in _merged([e for e in edits if e.kind == kind], middle, rate)
    ]
    for edit in covered:
        first, last = round(edit.start * rate), round(edit.end * rate)
        gain = _envelope(last - first, rate)
        out[:, first:last] *= 1 - gain
        if edit.kind == "bleep":
            time = np.arange(last - first) / rate
            out[:, first:last] += (
                _bleep_level(middle, rate) * gain * np.sin(2 * np.pi * BLEEP_HERTZ * time)
            ).astype(np.float32)
    pieces, at = [], 0
    for edit in removed:
        first, last = round(edit.start * rate), round(edit.end * rate)
        if first > at:
            pieces.append((at, first))
        at = last
    if at < out.shape[1]:
        pieces.append((at, out.shape[1]))
    if not pieces:
        raise ValueError("the edit would leave nothing of the recording: name less")
    done = [replace(edit, at=_new_time(edit.start, removed)) for edit in [*removed, *covered]]
    return _join(out, pieces, rate), sorted(done, key=lambda edit: edit.start)


def _swap(samples: np.ndarray, middle: np.ndarray, rate: int, edit: Edit) -> tuple[np.ndarray, list[Edit]]:
    spans = [(edit.start, edit.end), (edit.other_start or 0.0, edit.other_end or 0.0)]
    (a0, a1), (b0, b1) = sorted(
        (_crossing(middle, rate, start), _crossing(middle, rate, end)) for start, end in spans
    )
    if a1 > b0:
        raise ValueError("the two stretches overlap: name two that do not")
    pieces = [(0, a0), (b0, b1), (a1, b0), (a0, a1), (b1, samples.shape[1])]
    done = replace(
        edit, start=a0 / rate, end=a1 / rate, other_start=b0 / rate, other_end=b1 / rate, at=a0 / rate
    )
    joined = _join(samples.astype(np.float32), [(s, e) for s, e in pieces if e > s], rate)
    return joined, [done]


def _merged(edits: Sequence[Edit], middle: np.ndarray, rate: int) -> list[Edit]:
    """Edits of one kind at zero crossings, in order; those that touch become one."""
    merged: list[Edit] = []
    for edit in sorted(edits, key=lambda e: e.start):
        start, end = (_crossing(middle, rate, t) / rate for t in (edit.start, edit.end))
        if merged and start <= merged[-1].end:
            last = merged[-1]
            names = [name for name in (last.what, edit.what) if name]
            merged[-1] = replace(last, end=max(end, last.end), what=" ".join(names))
        elif end > start:
            merged.append(replace(edit, start=start, end=end))
    return merged


def _crossing(wave: np.ndarray, rate: int, second: float) -> int:
    """The sample nearest to `second` at which the wave (n,) rises through zero, at most 5 ms off.

    Where there is none, the sample of least magnitude; the ends of the recording stay its ends.
    """
    at, reach = round(second * rate), max(1, round(CROSSING_SECONDS * rate))
    if at <= 0 or at >= len(wave):
        return min(max(at, 0), len(wave))
    low, high = max(1, at - reach), min(len(wave), at + reach + 1)
    here = wave[low - 1 : high]
    rising = np.flatnonzero((here[:-1] < 0) & (here[1:] >= 0)) + low
    if len(rising):
        return int(rising[np.abs(rising - at).argmin()])
    magnitude = np.abs(wave[low:high])
    quiet = np.flatnonzero(magnitude == magnitude.min()) + low
    return int(quiet[np.abs(quiet - at).argmin()])


def _join(samples: np.ndarray, pieces: Sequence[tuple[int, int]], rate: int) -> np.ndarray:
    """(channels, total) of the pieces [first, last) one after another, cross-faded around each joint.

    A cross-fade uses a few samples beyond both sides of the cut, so that no sample of a piece is lost.
    """
    channels, length = samples.shape
    total = sum(last - first for first, last in pieces)
    out = np.zeros((channels, total), np.float32)
    half = round(FADE_SECONDS * rate / 2)
    at = 0
    for number, (first, last) in enumerate(pieces):
        size = last - first
        begin = min(half, first) if number else 0
        end = min(half, length - last) if number + 1 < len(pieces) else 0
        gain = np.ones(begin + size + end, np.float32)
        if number:
            fade = min(begin + half, begin + size)
            gain[:fade] *= np.linspace(0, 1, fade, dtype=np.float32)
        if number + 1 < len(pieces):
            fade = min(end + half, end + size)
            gain[len(gain) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
        source = samples[:, first - begin : last + end] * gain
        low, high = at - begin, at + size + end
        source = source[:, max(0, -low) : source.shape[1] - max(0, high - total)]
        out[:, max(0, low) : min(total, high)] += source
        at += size
    return out


def _envelope(length: int, rate: int) -> np.ndarray:
    """(length,) float32: 0 at both ends, 1 between, with ramps of 5 ms."""
    ramp = min(round(FADE_SECONDS * rate), length // 2)
    envelope = np.ones(length, np.float32)
    if ramp:
        envelope[:ramp] = np.linspace(0, 1, ramp, endpoint=False)
        envelope[length - ramp :] = envelope[:ramp][::-1]
    return envelope


def _bleep_level(wave: np.ndarray, rate: int) -> float:
    """Amplitude of the tone: by the level of the loudest tenth of the recording, in steps of 20 ms."""
    step = max(1, rate // 50)
    blocks = wave[: len(wave) // step * step].reshape(-1, step)
    if not len(blocks):
        return 0.1
    levels = np.sqrt((blocks**2).mean(axis=1))
    loud = float(np.quantile(levels, 0.9)) or 0.1
    return min(BLEEP_LEVEL * loud * float(np.sqrt(2)), 0.9)


def _new_time(second: float, removed: Sequence[Edit]) -> float:
    """Time in the edited recording of a moment of the original."""
    return second - sum(min(edit.end, second) - edit.start for edit in removed if edit.start < second)

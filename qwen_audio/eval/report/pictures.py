"""The pictures of the page, as SVG elements whose colours are classes, so that they follow the page's scheme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from qwen_audio.eval.metrics.score import Score
from qwen_audio.eval.report.html import Child, el

_BAR_WIDTH, _BAR_HEIGHT = 120.0, 18.0
_RADIUS = 150.0
_CENTRE = 190.0
_PER_SECOND = 110.0  # units of width for a second of audio: a word of a quarter of a second can be read
_NARROWEST, _WIDEST = 320.0, 2400.0
_LANE, _WAVE = 22.0, 56.0
_LETTER = 6.6  # width of a letter, to know which words fit


def svg(width: float, height: float, label: str, *children: Child, class_: str | None = None) -> Element:
    """A picture with a text for those who cannot see it."""
    return el(
        "svg", *children, viewBox=f"0 0 {width:g} {height:g}", width=width, height=height, role="img",
        aria_label=label, class_=class_,
    )  # fmt: skip


def interval_bar(score: Score, full: float, run: int = 0, baseline: float | None = None) -> Element:
    """A value and its interval on a line from 0 to `full`; a tick is the baseline; beyond the end, an arrow head."""

    def at(value: float) -> float:
        return 4 + (_BAR_WIDTH - 8) * min(max(value / full, 0.0), 1.0) if full else 4.0

    middle, low, high = _BAR_HEIGHT / 2, *score.interval
    parts: list[Child] = [el("line", x1=4, x2=_BAR_WIDTH - 4, y1=middle, y2=middle, class_="track")]
    label = f"{score}, 95 % interval {score.at(low)} to {score.at(high)}"
    if baseline is not None and baseline == baseline:
        parts.append(
            el("line", x1=at(baseline), x2=at(baseline), y1=3, y2=_BAR_HEIGHT - 3, class_="baseline")
        )
        label += f", constant answer {score.at(baseline)}"
    if low == low and high == high:
        parts.append(el("line", x1=at(low), x2=at(high), y1=middle, y2=middle, class_=f"range r{run % 6}"))
    if score.value > full:
        x = _BAR_WIDTH - 1
        parts.append(
            el(
                "path",
                d=f"M{x - 7} {middle - 4.5}L{x} {middle}L{x - 7} {middle + 4.5}Z",
                class_=f"dot r{run % 6}",
            )
        )
    elif score.value == score.value:
        parts.append(el("circle", cx=at(score.value), cy=middle, r=4, class_=f"dot r{run % 6}"))
    return svg(_BAR_WIDTH, _BAR_HEIGHT, label, parts, class_="bar")


def difference_bar(difference: float, interval: tuple[float, float], full: float, label: str) -> Element:
    """A difference and its interval around 0; the line ends at `full` on both sides."""

    def at(value: float) -> float:
        return (
            _BAR_WIDTH / 2 + (_BAR_WIDTH / 2 - 4) * min(max(value / full, -1.0), 1.0)
            if full
            else _BAR_WIDTH / 2
        )

    middle = _BAR_HEIGHT / 2
    parts: list[Child] = [
        el("line", x1=4, x2=_BAR_WIDTH - 4, y1=middle, y2=middle, class_="track"),
        el("line", x1=_BAR_WIDTH / 2, x2=_BAR_WIDTH / 2, y1=2, y2=_BAR_HEIGHT - 2, class_="baseline"),
    ]
    if not math.isnan(difference):
        if not any(math.isnan(bound) for bound in interval):
            parts.append(
                el("line", x1=at(interval[0]), x2=at(interval[1]), y1=middle, y2=middle, class_="range r0")
            )
        parts.append(el("circle", cx=at(difference), cy=middle, r=4, class_="dot r0"))
    return svg(_BAR_WIDTH, _BAR_HEIGHT, label, parts, class_="bar")


class Ring(NamedTuple):
    """One system on the radar: a share of the way to the rim for each axis, None where it has no figure."""

    name: str
    shares: Sequence[float | None]
    class_: str


def radar(rings: Sequence[Ring], axes: int, label: str) -> Element:
    """Axes numbered clockwise from the top; the rim is 1, the thin circles are quarters. At least three axes."""

    def point(axis: int, share: float) -> tuple[float, float]:
        angle = 2 * math.pi * axis / axes
        reach = _RADIUS * min(max(share, 0.0), 1.0)
        return _CENTRE + reach * math.sin(angle), _CENTRE - reach * math.cos(angle)

    size = 2 * _CENTRE
    parts: list[Child] = [
        el(
            "circle",
            cx=_CENTRE,
            cy=_CENTRE,
            r=_RADIUS * quarter / 4,
            class_="rim" if quarter == 4 else "grid",
        )
        for quarter in (4, 1, 2, 3)  # the rim is filled, so it lies below the others
    ]
    for axis in range(axes):
        x, y = point(axis, 1.0)
        parts.append(el("line", x1=_CENTRE, y1=_CENTRE, x2=x, y2=y, class_="grid"))
        far = (_RADIUS + 18) / _RADIUS
        tx, ty = _CENTRE + (x - _CENTRE) * far, _CENTRE + (y - _CENTRE) * far
        parts.append(
            el(
                "text",
                str(axis + 1),
                x=tx,
                y=ty,
                class_="axis",
                text_anchor="middle",
                dominant_baseline="central",
            )
        )
    for ring in rings:
        points = [None if share is None else point(axis, share) for axis, share in enumerate(ring.shares)]
        whole = all(p is not None for p in points)
        for piece in [points] if whole else _stretches(points):
            d = (
                "M"
                + "L".join(f"{p[0]:.1f} {p[1]:.1f}" for p in piece if p is not None)
                + ("Z" if whole else "")
            )
            parts.append(el("path", d=d, class_=f"ring {ring.class_}{'' if whole else ' open'}"))
        parts += [
            el("circle", cx=p[0], cy=p[1], r=3, class_=f"dot {ring.class_}") for p in points if p is not None
        ]
    return svg(size, size, label, parts, class_="radar")


def _stretches(points: Sequence[tuple[float, float] | None]) -> list[list[tuple[float, float] | None]]:
    """Runs of neighbouring axes that have a point, going round the top."""
    start = next(i for i, p in enumerate(points) if p is None)
    found: list[list[tuple[float, float] | None]] = []
    fresh = True
    for p in (*points[start:], *points[:start]):
        if p is None:
            fresh = True
        elif fresh:
            found.append([p])
            fresh = False
        else:
            found[-1].append(p)
    return [piece for piece in found if len(piece) > 1]


class Lane(NamedTuple):
    """What is said or heard when, on one line: (text, start, end), in seconds."""

    name: str
    spans: Sequence[tuple[str, float, float]]
    class_: str


def timeline(shape: np.ndarray, seconds: float, lanes: Sequence[Lane], label: str) -> Element:
    """The outline of a wave, (columns, 2) from -1 to 1, and lanes of words or events below it, on one axis of time."""
    width = min(max(_NARROWEST, _PER_SECOND * seconds), _WIDEST)

    def at(time: float) -> float:
        return width * min(max(time / seconds, 0.0), 1.0)

    height = _WAVE + _LANE * len(lanes) + 16
    half = _WAVE / 2
    xs = (np.arange(len(shape)) + 0.5) * width / len(shape)
    upper = [
        f"{x:.1f} {half - half * 0.95 * max(high, 0.02):.1f}" for x, (_, high) in zip(xs, shape, strict=True)
    ]
    lower = [
        f"{x:.1f} {half - half * 0.95 * min(low, -0.02):.1f}" for x, (low, _) in zip(xs, shape, strict=True)
    ]
    parts: list[Child] = [el("path", d="M" + "L".join(upper + lower[::-1]) + "Z", class_="wave")]
    for number, lane in enumerate(lanes):
        y = _WAVE + _LANE * number
        for text, start, end in lane.spans:
            x, wide = at(start), max(at(end) - at(start), 1.0)
            fits = max(int((wide - 4) / _LETTER), 0)
            written = text if len(text) <= fits else text[: fits - 1] + "…" if fits > 2 else ""
            parts.append(
                el(
                    "g",
                    el("title", f"{text}: {start:.2f} to {end:.2f} s ({lane.name})"),
                    el("rect", x=x, y=y + 1, width=wide, height=_LANE - 3, rx=2),
                    el(
                        "text",
                        written,
                        x=x + wide / 2,
                        y=y + _LANE / 2,
                        text_anchor="middle",
                        dominant_baseline="central",
                    ),
                    class_=f"span {lane.class_}",
                    data_start=f"{start:.3f}",
                    data_end=f"{end:.3f}",
                )
            )
    step = next(step for step in (0.2, 0.5, 1, 2, 5, 10) if width * step / seconds >= 44 or step == 10)
    ticks = [step * k for k in range(int(seconds / step) + 1)]
    for time in ticks:
        anchor = "start" if time == 0 else "end" if at(time) > width - 14 else "middle"
        parts.append(
            el(
                "text",
                f"{time:g}" + (" s" if time == 0 else ""),
                x=at(time),
                y=height - 3,
                class_="tick",
                text_anchor=anchor,
            )
        )
    parts.append(el("line", x1=0, x2=0, y1=0, y2=height - 14, class_="playhead"))
    picture = svg(width, height, label, parts, class_="timeline")
    picture.set("data-seconds", f"{seconds:.3f}")
    return picture

"""Pictures of recordings as PNG files: log-mel with word times; waveform, log-mel and labels of an example."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from qwen_audio.audio.features import HOP_LENGTH, log_mel
from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.format.timestamps import Span, Word
from qwen_audio.show.glyphs import drawable, families

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEIGHT_INCHES = 3.6
_DPI = 110


def draw_mel(
    wave: np.ndarray,
    path: str | os.PathLike[str],
    *,
    words: Sequence[Word] | None = None,
    true_words: Sequence[Word] | None = None,
    title: str | None = None,
) -> None:
    """Write a PNG: time in seconds to the right, mel band upwards, brighter is louder.

    Args:
        wave: (n,) float32 samples at 16 kHz, at most 30 s.
        path: where to write; its folder is made when missing.
        words: words drawn in white over the picture, each between two lines at its start and end.
        true_words: the annotated words, drawn in a strip below, to compare by eye.
        title: a line or two above the picture.

    Raises:
        AudioError: audio that has no log-mel (see `audio.log_mel`).
    """
    # Figure, not pyplot: no global state and no display is needed.
    from matplotlib.figure import Figure

    mel = log_mel(wave)
    picture = np.asarray(mel)
    seconds = len(wave) / SAMPLE_RATE
    bands = picture.shape[0]
    strip = 0.16 * bands if true_words is not None else 0.0
    figure = Figure(
        figsize=(min(max(5.0, 2.2 * seconds), 24.0), _HEIGHT_INCHES), dpi=_DPI, layout="constrained"
    )
    axes = figure.add_subplot()
    drawn_seconds = picture.shape[1] * HOP_LENGTH / SAMPLE_RATE
    axes.imshow(
        picture,
        origin="lower",
        aspect="auto",
        cmap="magma",
        extent=(0.0, drawn_seconds, 0.0, bands),
        vmin=-1.5,
    )
    for word in words or ():
        _draw_word(axes, word, 0.0, bands, 0.9 * bands, color="white")
    for word in true_words or ():
        _draw_word(axes, word, -strip, 0.0, -0.5 * strip, color="black")
    axes.set_xlim(0.0, max(seconds, 0.01))
    axes.set_ylim(-strip, bands)
    axes.set_yticks([0, bands // 2, bands])
    axes.set_xlabel("seconds" + (" (below the picture: annotated words)" if true_words is not None else ""))
    axes.set_ylabel("mel band")
    if title:
        axes.set_title(drawable(title), fontsize=9, loc="left")
    save(figure, path)


def draw_example(
    waves: Sequence[np.ndarray],
    path: str | os.PathLike[str],
    *,
    spans: Sequence[Span] = (),
    title: str | None = None,
) -> None:
    """Write a PNG: waveform and log-mel of every clip, one under the other, and labels on the first one's time.

    Args:
        waves: (n,) float32 samples at 16 kHz of each clip, at most 30 s; at least one clip.
        path: where to write; its folder is made when missing.
        spans: labelled spans; each label has a line of its own, with the text of a span in its bar.
        title: a line or two above the picture.

    Raises:
        AudioError: audio that has no log-mel (see `audio.log_mel`).
    """
    from matplotlib.figure import Figure

    lanes = list(dict.fromkeys(span.label for span in spans))
    heights = [1.0, 2.2] * len(waves)
    if lanes:
        heights.insert(2, 0.35 * len(lanes) + 0.2)
    seconds = max(len(wave) for wave in waves) / SAMPLE_RATE
    figure = Figure(
        figsize=(min(max(6.0, 1.4 * seconds), 24.0), 1.1 + sum(heights)), dpi=_DPI, layout="constrained"
    )
    rows = list(figure.subplots(len(heights), sharex=True, height_ratios=heights))
    rows[-1].set_xlabel("seconds")
    if title:
        rows[0].set_title(drawable(title), fontsize=9, loc="left")
    strip = rows.pop(2) if lanes else None
    for number, wave in enumerate(waves):
        upper, lower = rows[2 * number : 2 * number + 2]
        upper.plot(np.arange(len(wave)) / SAMPLE_RATE, wave, linewidth=0.4, color="#334455")
        upper.set_ylabel("waveform" if len(waves) == 1 else f"clip {number + 1}")
        picture = np.asarray(log_mel(wave))
        extent = (0.0, picture.shape[1] * HOP_LENGTH / SAMPLE_RATE, 0.0, picture.shape[0])
        lower.imshow(picture, origin="lower", aspect="auto", cmap="magma", extent=extent, vmin=-1.5)
        lower.set_ylabel("mel band")
        lower.set_xlim(0.0, max(seconds, 0.01))
    if strip is not None:
        for span in spans:
            lane = len(lanes) - 1 - lanes.index(span.label)
            strip.barh(
                lane, span.end - span.start, left=span.start, height=0.8, color="#bbd6ee", edgecolor="k"
            )
            middle = (span.start + span.end) / 2
            strip.text(
                middle, lane, drawable(span.text or ""), ha="center", va="center", fontsize=7, clip_on=True
            )
        strip.set_yticks(range(len(lanes)), [drawable(lane) for lane in reversed(lanes)], fontsize=8)
        strip.set_ylim(-0.6, len(lanes) - 0.4)
    save(figure, path)


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG; the folder is made when missing."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_fontfamily(families())
    path = os.fspath(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, format="png")


def _draw_word(axes, word: Word, bottom: float, top: float, middle: float, *, color: str) -> None:  # type: ignore[no-untyped-def]
    from matplotlib.patheffects import withStroke

    axes.vlines([word.start, word.end], bottom, top, colors=color, linewidth=0.8, alpha=0.8)
    axes.text(
        (word.start + word.end) / 2,
        middle,
        drawable(word.word),
        color=color,
        ha="center",
        va="center",
        fontsize=8,
        clip_on=True,
        # white words lie on bright bands too
        path_effects=[withStroke(linewidth=2, foreground="black")] if color == "white" else None,
    )

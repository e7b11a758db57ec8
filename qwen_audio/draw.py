"""A picture of a recording: its log-mel, with word times drawn on it, as a PNG file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from qwen_audio.timestamps import Word

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

    from qwen_audio.audio import HOP_LENGTH, SAMPLE_RATE, log_mel

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
        # A title is data: a dollar sign in it must not start a formula.
        axes.set_title(title.replace("$", r"\$"), fontsize=9, loc="left")
    path = os.fspath(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    figure.savefig(path, format="png")


def _draw_word(axes, word: Word, bottom: float, top: float, middle: float, *, color: str) -> None:  # type: ignore[no-untyped-def]
    from matplotlib.patheffects import withStroke

    axes.vlines([word.start, word.end], bottom, top, colors=color, linewidth=0.8, alpha=0.8)
    axes.text(
        (word.start + word.end) / 2,
        middle,
        word.word.replace("$", r"\$"),
        color=color,
        ha="center",
        va="center",
        fontsize=8,
        clip_on=True,
        # white words lie on bright bands too
        path_effects=[withStroke(linewidth=2, foreground="black")] if color == "white" else None,
    )

"""Picture of the synthetic world: an example of every task, with log-mel and labels on the time axis.

python scripts/contact_sheet.py docs/world.png
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from qwen_audio.audio.features import HOP_LENGTH, log_mel
from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.manifest import Example
from qwen_audio.show.draw import save
from qwen_audio.show.example import spans_of
from qwen_audio.show.glyphs import drawable
from qwen_audio.synthetic.world import WORLD, WorldGenerator

COLUMNS = 4
_FIRST_SEED = 3  # its examples are all in scripts that any font has
COLOURS = 96  # of the file: log-mel pictures need no more, and it is a third of the size
_LONGEST_ANSWER, _LONGEST_LABEL = 62, 16  # characters
_MOST_LANES = 4


def answer_of(example: Example) -> str:
    """The wanted answer in a line, not too long."""
    spans = ", ".join(f"{span.label} {span.start:.1f}-{span.end:.1f} s" for span in example.spans or [])
    text = spans if example.task in ("event_detection", "speaker_diarization") else example.text
    if example.question and example.task in ("audio_qa", "music_qa", "speaker_verification"):
        text = f"{example.question} {text}"
    return text if len(text) <= _LONGEST_ANSWER else text[: _LONGEST_ANSWER - 3] + "..."


def draw_one(axes: Axes, example: Example, wave: np.ndarray) -> None:
    """The log-mel of the first clip, and above it a line for each label."""
    picture = np.asarray(log_mel(wave))
    seconds = picture.shape[1] * HOP_LENGTH / SAMPLE_RATE
    axes.imshow(picture, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, 80), vmin=-1.5)
    lanes: dict[str, int] = {}
    for span in spans_of(example):
        lane = lanes.setdefault(span.label, len(lanes) % _MOST_LANES)
        height = 86 + 17 * lane
        (line,) = axes.plot([span.start, span.end], [height, height], linewidth=2.5, solid_capstyle="butt")
        label = drawable((span.text or span.label)[:_LONGEST_LABEL])
        # A label that begins late is written towards the left, so that it stays inside the picture.
        late = span.start > 0.7 * seconds
        at, side = (min(span.end, seconds), "right") if late else (span.start, "left")
        axes.text(at, height + 3, label, fontsize=5.5, ha=side, color=line.get_color(), clip_on=True)
    axes.set_xlim(0, seconds)
    axes.set_ylim(0, 86 + 17 * min(len(lanes), _MOST_LANES) if lanes else 80)
    axes.set_yticks([])
    axes.tick_params(axis="x", labelsize=6)
    axes.set_title(f"{example.task}\n{drawable(answer_of(example))}", fontsize=7, loc="left")


def main(path: str) -> None:
    """Draw all tasks, four in a row."""
    rows = -(-len(WORLD) // COLUMNS)
    figure = Figure(figsize=(4.2 * COLUMNS, 2.1 * rows), dpi=80, layout="constrained")
    places = list(figure.subplots(rows, COLUMNS).flat)
    for seed, (axes, task) in enumerate(zip(places, WORLD, strict=False), start=_FIRST_SEED):
        sample = WorldGenerator([task]).sample(np.random.default_rng(seed))
        draw_one(axes, sample.example, sample.waves[0])
    for axes in places[len(WORLD) :]:
        axes.set_axis_off()
    save(figure, path)
    picture = Image.open(io.BytesIO(Path(path).read_bytes())).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])

"""One picture of the synthetic world: an example of each of a dozen tasks, log-mel and labels on the time axis.

python scripts/contact_sheet.py docs/world.png
"""

from __future__ import annotations

import sys

import numpy as np
from matplotlib.figure import Figure

from qwen_audio.audio import HOP_LENGTH, SAMPLE_RATE, log_mel
from qwen_audio.data.synthetic.world import WorldGenerator
from qwen_audio.draw import save
from qwen_audio.show import spans_of

TASKS = (
    ("word_timestamps", 8), ("overlapped_asr", 5), ("speaker_diarization", 6), ("keyword_spotting", 2),
    ("emotion", 4), ("vocal_sound", 2), ("event_detection", 3), ("acoustic_scene", 2),
    ("note_analysis", 2), ("music_genre", 4), ("music_recognition", 2), ("singer_id", 3),
)  # fmt: skip


def main(path: str) -> None:
    """Draw four rows of three pictures."""
    figure = Figure(figsize=(15, 11), dpi=64, layout="constrained")
    for axes, (task, seed) in zip(figure.subplots(4, 3).flat, TASKS, strict=True):
        sample = WorldGenerator([task]).sample(np.random.default_rng(seed))
        wave = sample.waves[0]
        picture = np.asarray(log_mel(wave))
        seconds = picture.shape[1] * HOP_LENGTH / SAMPLE_RATE
        axes.imshow(
            picture, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, 80), vmin=-1.5
        )
        lanes: dict[str, int] = {}
        for span in spans_of(sample.example):
            lane = lanes.setdefault(span.label, len(lanes))
            height = 84 + 8 * lane
            axes.plot([span.start, span.end], [height, height], linewidth=3, solid_capstyle="butt")
            axes.text(span.start, height + 2, (span.text or span.label)[:24], fontsize=6)
        axes.set_ylim(0, 84 + 8 * max(len(lanes), 1))
        axes.set_yticks([])
        text = sample.example.text
        axes.set_title(
            f"{task}: {text if len(text) <= 48 else text[:45] + '...'}".replace("$", ""),
            fontsize=8,
            loc="left",
        )
    save(figure, path)


if __name__ == "__main__":
    main(sys.argv[1])

"""The demo on the bundled clips: question, reference, answer, and a picture of each.

    qwen-audio demo

The clips are samples of the synthetic world with a seed of their own; the spoken ones use voices and
sentences that training never uses. They are made by

    python scripts/make_clips.py
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qwen_audio.data.manifest import Example, read_manifest
from qwen_audio.eval.metrics.word_times import matched_pairs
from qwen_audio.format.tasks import example_prompt, task_of
from qwen_audio.format.timestamps import Word
from qwen_audio.show.draw import draw_mel

if TYPE_CHECKING:
    from qwen_audio.api import Output, QwenAudio

CLIPS = Path(__file__).parents[1] / "demo_clips"
MANIFEST = "clips.jsonl"


def run_demo(
    model: QwenAudio, output: str | os.PathLike[str], clips: str | os.PathLike[str] = CLIPS
) -> list[Path]:
    """Answer every clip, print question, reference and answer, and write one PNG a clip; returns their paths.

    Raises FileNotFoundError when there are no clips, ManifestError or AudioError when they are broken.
    """
    # Late: it brings transformers, which takes seconds to import; the clips are of use without.
    from qwen_audio.api import Request, load_window

    manifest = Path(clips) / MANIFEST
    if not manifest.is_file():
        raise FileNotFoundError(
            f"{manifest} is missing: install the package again, or in its folder run python scripts/make_clips.py"
        )
    examples = read_manifest(manifest)
    started = time.monotonic()
    waves = [
        [load_window(ref.path, start=ref.start, duration=ref.duration) for ref in e.audio] for e in examples
    ]
    requests = [
        Request(example.task, clip, prompt=example_prompt(example))
        for example, clip in zip(examples, waves, strict=True)
    ]
    outputs = model.run(requests)
    seconds = time.monotonic() - started
    pictures = []
    for number, (example, clip, made) in enumerate(zip(examples, waves, outputs, strict=True), start=1):
        question = example.question or task_of(example.task).question
        truth, answer = _truth(example), _answer(example, made)
        name = Path(example.audio[0].path).name
        picture = Path(output) / f"{number}_{example.task}.png"
        timed = example.words is not None
        draw_mel(
            clip[0],
            picture,
            words=made.parsed.words if timed else None,
            true_words=example.words,
            title=f"{name}: {question}\ntruth: {truth}\nmodel: {answer}",
        )
        pictures.append(picture)
        print(f"\n[{number}] {name}, {sum(map(len, clip)) / 16_000:.1f} s: {question}")
        print(f"    truth: {truth}\n    model: {answer}")
        if example.words is not None:
            _print_words(example.words, made.parsed.words)
        for problem in made.problems:
            print(f"    note: {problem}")
        print(f"    picture: {picture}")
    print(f"\n{len(examples)} clips answered in {seconds:.1f} s by the model {model.name}")
    return pictures


def _truth(example: Example) -> str:
    return " ".join(word.word for word in example.words) if example.words else example.label or example.text


def _answer(example: Example, made: Output) -> str:
    answer = made.parsed.text if example.words is not None else made.parsed.label or made.parsed.text
    return answer or "(nothing)"


def _print_words(truth: Sequence[Word], found: Sequence[Word]) -> None:
    """The words that agree, with their true times and the model's."""
    pairs = matched_pairs([word.word for word in truth], [word.word for word in found])
    print(f"    {len(pairs)} of {len(truth)} words agree; start and end in seconds, truth and model:")
    for i, j in pairs:
        true, made = truth[i], found[j]
        times = f"{true.start:5.2f} {true.end:5.2f}   {made.start:5.2f} {made.end:5.2f}"
        print(f"      {true.word:<16} {times}")

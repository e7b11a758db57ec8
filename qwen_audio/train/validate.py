"""Validation during training: answers and scores of a manifest, with the metrics of `qwen-audio evaluate`."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch

from qwen_audio.api import QwenAudio
from qwen_audio.data.manifest import Example, read_manifest
from qwen_audio.eval.answering import Ask, answer
from qwen_audio.eval.choose import by_source
from qwen_audio.eval.evaluate import score_predictions
from qwen_audio.eval.predictions import Prediction
from qwen_audio.eval.systems.ours import Ours
from qwen_audio.format.tags import Segment
from qwen_audio.model import hf
from qwen_audio.train.parallel import World, whole
from qwen_audio.train.stages import TrainingModule

BATCH = 8


def validation_examples(manifest: str | None, count: int) -> list[Example]:
    """At most `count` examples of each source and task, sampled with a fixed seed; [] without a manifest."""
    if manifest is None:
        return []
    examples = list(read_manifest(manifest))
    random.Random(0).shuffle(examples)
    chosen = [example for one in by_source(examples) for example in one.examples[:count]]
    return sorted(chosen, key=lambda e: (e.task, sum(a.duration or 0.0 for a in e.audio)))


def validate(
    module: TrainingModule,
    processor: Any,
    examples: Sequence[Example],
    prompt: Callable[[Example], list[Segment]],
    world: World,
) -> dict[str, dict[str, float]]:
    """Scores by "source/task" and metric; each process answers its share, all of them get the scores.

    `prompt` makes the prompt of an example.
    """
    model: Any = module.model
    own = range(world.rank, len(examples), world.size)
    predictions: dict[int, Prediction] = {}
    training, attention = module.training, hf.attention_name(model.config)
    module.eval()
    model.set_attn_implementation("sdpa")
    try:
        with torch.no_grad(), whole(module):
            asked = Ours(QwenAudio(model, processor))
            for begin in range(0, len(own), BATCH):
                rows = list(own[begin : begin + BATCH])
                batch = [Ask(examples[row], examples[row].audio, prompt(examples[row])) for row in rows]
                answers = answer(asked, batch)
                predictions.update(zip(rows, answers, strict=True))
    finally:
        module.train(training)
        model.set_attn_implementation(attention)
    everyone = {row: p for part in world.gather(predictions) for row, p in part.items()}
    groups = score_predictions([everyone[row] for row in range(len(examples))])
    return {
        f"{group.source}/{group.task}": {s.metric: s.value for s in group.scores if s.value == s.value}
        for group in groups
    }

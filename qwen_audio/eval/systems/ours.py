"""A model of this project as a system under test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qwen_audio
from qwen_audio.api import QwenAudio, Request
from qwen_audio.eval.systems.base import Item, Reply
from qwen_audio.format.tasks import TASKS
from qwen_audio.inference.scoring import score_answers

# What speaker verification is asked: how much the model believes in each is its score.
_SAME = ("yes", "no")


class Ours:
    """A loaded model: greedy answers, with the guard against repetition.

    For speaker verification a reply has the log-probabilities of "yes" and "no", each with the end of text.
    """

    def __init__(self, model: QwenAudio) -> None:
        self.model = model
        self.name = model.name

    def facts(self) -> dict[str, Any]:
        """The weights' digest among them, for which all weights are read once."""
        network = self.model.model
        return {
            "kind": "ours",
            "weights": self.model.digest(),
            "dtype": str(network.dtype).removeprefix("torch."),
            "device": network.device.type,
            "decoding": "greedy",
            "loop_guard": True,
            "version": qwen_audio.__version__,
        }

    def supports(self, task: str) -> bool:
        """Every task of the format."""
        return task in TASKS

    def answer(self, items: Sequence[Item]) -> list[Reply]:
        """Replies in the order of the items, computed in one batch."""
        requests = [
            Request(
                item.example.task,
                item.waves,
                choices=item.example.choices,
                prompt=item.prompt,
                max_new_tokens=item.max_new_tokens,
            )
            for item in items
        ]
        outputs = self.model.run(requests, batch_size=max(len(requests), 1))
        return [
            Reply(output.raw, tuple(output.problems), self._scores(item))
            for item, output in zip(items, outputs, strict=True)
        ]

    def _scores(self, item: Item) -> dict[str, float] | None:
        if item.example.task != "speaker_verification":
            return None
        made = score_answers(self.model.model, self.model.processor, item.waves, item.prompt, _SAME)
        return dict(zip(_SAME, made, strict=True))

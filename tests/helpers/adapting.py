"""What the tests of other libraries around the model share: inputs, greedy settings, skipping without a package."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import tiny
import torch

from qwen_audio.format import tasks
from qwen_audio.model import QwenAudioProcessor

# Short, so that the long-context rules apply; no answer here crosses 20, 40, 80 tokens: past such a step a run without
# cache takes another rotary base, as in the published code, and one with a cache keeps the prompt's.
PUBLISHED = {"seq_length": 20}
GREEDY: dict[str, Any] = {
    "max_new_tokens": 6,
    "do_sample": False,
    "eos_token_id": None,
    "pad_token_id": 0,
}


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [package for package in packages if find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def inputs_of(processor: QwenAudioProcessor, *rows: list[str]) -> dict[str, torch.Tensor]:
    """Rows of clips with questions of different lengths."""
    prompts = [tasks.prompt("audio_qa", question="Which " * (3 * n + 1)) for n in range(len(rows))]
    batch = processor([[tiny.CLIPS[name] for name in row] for row in rows], prompts)
    return {name: tensor for name, tensor in batch.items() if name != "labels"}


@torch.no_grad()
def logits(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    return model(**inputs).logits

"""The examples that docs/format.md shows, and sequences as strings."""

from __future__ import annotations

from qwen_audio.data.manifest import Example
from qwen_audio.format import tags
from qwen_audio.format.task_examples import EXAMPLES, example
from qwen_audio.format.tasks import Segment, example_prompt, render

__all__ = ["EXAMPLES", "answer_of", "example", "joined"]


def joined(segments: list[Segment]) -> str:
    return "".join(segment.text for segment in segments)


def answer_of(item: Example) -> str:
    """The answer without prompt and `<|endoftext|>`: what a model generates."""
    return joined(render(item)).removeprefix(joined(example_prompt(item))).removesuffix(tags.END_OF_TEXT)

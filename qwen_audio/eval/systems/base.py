"""What a system under test is: something that answers items, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from qwen_audio.data.manifest import Example
from qwen_audio.format.tags import Segment


@dataclass(frozen=True)
class Item:
    """One example: its recordings ((n,) float32, 16 kHz each), the prompt in tags, the bound on the answer."""

    example: Example
    waves: list[np.ndarray]
    prompt: list[Segment]
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class Reply:
    """What a system says to an item.

    raw: the answer, in the form of the task (tags for word times and records, plain text for all else), which
    `tasks.parse` reads; problems: what was odd about it; scores: by answer, how much the system believes in it;
    error: why there is no answer (then nothing else counts).
    """

    raw: str = ""
    problems: tuple[str, ...] = ()
    scores: dict[str, float] | None = None
    error: str | None = None


class System(Protocol):
    """A system under test. Its answers must not depend on how items are batched."""

    name: str

    def facts(self) -> dict[str, Any]:
        """What a score must say of the system: kind, weights or address, decoding. A run goes on only with the same."""
        ...

    def supports(self, task: str) -> bool:
        """Whether it can answer a task at all; what it cannot is left out and named in the report."""
        ...

    def answer(self, items: Sequence[Item]) -> list[Reply]:
        """Replies in the order of the items, all of one task."""
        ...

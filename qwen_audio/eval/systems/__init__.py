"""Systems under test: this project's models and, through small adapters, others."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from qwen_audio.eval.systems.base import Item, Reply, System

__all__ = ["KINDS", "Item", "Opening", "Reply", "System", "open_system"]

# Kind -> module, class, what its --model is ("" takes none), whether it takes a device.
KINDS: dict[str, tuple[str, str, str, bool]] = {
    "ours": ("ours", "Ours", "a checkpoint directory", True),
    "transformers": ("transformers_models", "TransformersSystem", "the folder of a model", True),
    "openai": ("openai_api", "OpenAISystem", "an address and a model as ADDRESS#MODEL", False),
    "pocketsphinx": ("pocketsphinx_peer", "PocketsphinxRecognizer", "", False),
    "pocketsphinx-align": ("pocketsphinx_peer", "PocketsphinxAligner", "", False),
}


class Opening(NamedTuple):
    """How a system is opened: each process of a run opens its own."""

    kind: str = "ours"
    model: str | None = None
    device: str | None = None

    def open(self) -> System:
        """The system, see `open_system`."""
        return open_system(*self)


def open_system(kind: str = "ours", model: str | None = None, device: str | None = None) -> System:
    """A system of a kind; its packages are imported only now.

    model: of "ours" a checkpoint directory (None: the embedded model), of the others as `KINDS` says. device: of those
    that run here; None takes a GPU if there is one. Raises ValueError for an unknown kind, or a model or a device that
    does not go with it, and whatever the system itself raises.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of system {kind!r}: use one of {', '.join(KINDS)}")
    module, name, needed, on_device = KINDS[kind]
    if model is not None and not needed:
        raise ValueError(f"--system {kind} has a model of its own: leave --model out")
    if device is not None and not on_device:
        raise ValueError(f"--system {kind} does not run on a device of this machine: leave --device out")
    if kind == "ours":
        from qwen_audio.api import load  # late, as the packages of the others
        from qwen_audio.eval.systems.ours import Ours

        return Ours(load(model, device=device))
    if needed and model is None:
        raise ValueError(f"--system {kind} needs --model: {needed}")
    made: Any = getattr(import_module(f"{__name__}.{module}"), name)
    arguments = ([model] if needed else []) + ([device] if on_device else [])
    system: System = made(*arguments)
    return system

"""Qwen-Audio: one model that takes speech, sound or music with text and answers in text.

    import qwen_audio
    model = qwen_audio.load()
    print(model.transcribe("speech.wav").text)

Importing the package is cheap: PyTorch and transformers are imported when a name that needs them is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qwen_audio.api import QwenAudio, load
    from qwen_audio.audio.load import AudioError, load_audio
    from qwen_audio.chat.chat import Chat
    from qwen_audio.format.timestamps import Word
    from qwen_audio.inference.request import Output, Request
    from qwen_audio.inference.sampling import Sampling
    from qwen_audio.results.results import Answer, Classification, Transcription

__version__ = "0.1.0"

_HOME = {
    "load": "qwen_audio.api",
    "QwenAudio": "qwen_audio.api",
    "load_audio": "qwen_audio.audio.load",
    "AudioError": "qwen_audio.audio.load",
    "Answer": "qwen_audio.results.results",
    "Classification": "qwen_audio.results.results",
    "Transcription": "qwen_audio.results.results",
    "Word": "qwen_audio.format.timestamps",
    "Request": "qwen_audio.inference.request",
    "Output": "qwen_audio.inference.request",
    "Sampling": "qwen_audio.inference.sampling",
    "Chat": "qwen_audio.chat.chat",
}

__all__ = [
    "Answer",
    "AudioError",
    "Chat",
    "Classification",
    "Output",
    "QwenAudio",
    "Request",
    "Sampling",
    "Transcription",
    "Word",
    "__version__",
    "load",
    "load_audio",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'qwen_audio' has no attribute {name!r}")
    try:
        module = import_module(_HOME[name])
    except ImportError as error:
        from qwen_audio.packages import PackageError, explain  # only when something is wrong

        fault = error if isinstance(error, PackageError) else explain(error)
        if fault is None:
            raise
        raise fault from None
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)

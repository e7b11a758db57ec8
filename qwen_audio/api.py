"""The Python API: `load()`, then `transcribe`, `ask`, `caption`, `classify`, `chat` or `run`.

model = qwen_audio.load()
result = model.transcribe("speech.wav", word_timestamps=True)
print(result.text, result.language, result.words)
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from qwen_audio.audio.features import MAX_SECONDS
from qwen_audio.audio.load import SAMPLE_RATE, AudioError, AudioSource, load_audio
from qwen_audio.audio.stream import open_blocks
from qwen_audio.chat.chat import Chat
from qwen_audio.format import tasks
from qwen_audio.format.chatml import SYSTEM_PROMPT, WINDOW_TOKENS
from qwen_audio.inference.engine import Engine
from qwen_audio.inference.request import Output, Request
from qwen_audio.inference.sampling import CHAT, Sampling
from qwen_audio.inference.scoring import score_in_parts
from qwen_audio.model.loading import EMBEDDED, load_checkpoint
from qwen_audio.packages import check_packages
from qwen_audio.results.passages import Passage
from qwen_audio.results.results import Answer, Classification, Transcription
from qwen_audio.transcribe.recording import Options, transcribe_all, transcribe_blocks

__all__ = ["Output", "QwenAudio", "Request", "load", "load_window"]

HELD = 0.1  # seconds that `classify` keeps the engine for itself before others have their turn
_MAKING = threading.RLock()  # while an engine is made


class QwenAudio:
    """A loaded model. Audio is a path, bytes, a binary file object or (array, rate); at most 30 s long, except for
    `transcribe`."""

    def __init__(self, model: Any, processor: Any, folder: Path | None = None) -> None:
        from transformers import GenerationConfig

        self.model = model
        self.processor = processor
        self.folder = folder
        # transformers would fill every setting that a call of `model.generate` leaves open from the checkpoint's
        # generation_config.json (suppressed tokens, time limits ...): here only the arguments of the call count.
        model.generation_config = GenerationConfig()
        self._engine: Engine | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engine": None}  # a copy, or another process, makes its own

    @property
    def engine(self) -> Engine:
        """The engine that decodes all answers of this model, also those of several threads; see docs/generation.md."""
        with _MAKING:
            if self._engine is None or not self._engine.is_here:
                self._engine = Engine(self.model, self.processor)
            return self._engine

    @property
    def name(self) -> str:
        """ "embedded", or the checkpoint's directory."""
        return "embedded" if self.folder in (None, EMBEDDED) else str(self.folder)

    def digest(self) -> str:
        """The first 16 digits of the SHA-256 of all weights, by which a score identifies them."""
        total = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            total.update(name.encode())
            plain = tensor.dequantize() if hasattr(tensor, "__tensor_flatten__") else tensor
            total.update(plain.detach().float().cpu().numpy().tobytes())
        return total.hexdigest()[:16]

    def transcribe(
        self,
        audio: AudioSource,
        language: str | None = None,
        word_timestamps: bool = False,
        *,
        detect: str = "speech",
        batch_size: int = 8,
        max_new_tokens: int | None = None,
        loop_guard: bool = True,
    ) -> Transcription:
        """Transcribe a recording of any length, read piece by piece: memory grows with the transcript alone.

        The recording is cut at its pauses, and each piece is transcribed by itself, `batch_size` of them at a time.
        language: code of the spoken language ("en"); None lets the model predict it for every piece. With
        `word_timestamps` the result also has each word's start and end in seconds. detect: "speech" transcribes only
        where there is speech, so that silence, noise and most music give no text; "sound" takes whatever is not
        silent, for songs. `max_new_tokens` and `loop_guard` change the bounds on the answer of a piece, see `Request`.

        A recording of which only a part can be read gives the text of that part, and a sentence in `problems`. Raises
        AudioError for audio that cannot be read at all.
        """
        options = Options(language, word_timestamps, detect, max_new_tokens, loop_guard, batch_size)
        return transcribe_all(self.engine, open_blocks(_single(audio)), options)

    def transcribe_stream(
        self,
        audio: AudioSource | Iterable[np.ndarray],
        language: str | None = None,
        word_timestamps: bool = False,
        *,
        detect: str = "speech",
        max_new_tokens: int | None = None,
        loop_guard: bool = True,
    ) -> Iterator[Passage]:
        """Passages of a recording, each as soon as it has ended; arguments as in `transcribe`.

        audio may also be an iterable of blocks (n,) of floats at 16 kHz, such as a live source gives.
        """
        options = Options(language, word_timestamps, detect, max_new_tokens, loop_guard, batch_size=1)
        if isinstance(audio, str | os.PathLike | bytes | bytearray | memoryview | tuple) or hasattr(
            audio, "read"
        ):
            blocks: Iterable[np.ndarray] = open_blocks(cast(AudioSource, audio))
        else:
            blocks = _checked_blocks(cast("Iterable[np.ndarray]", audio))
        return transcribe_blocks(self.engine, blocks, options, ahead=0)

    def ask(
        self,
        audio: AudioSource | list[AudioSource],
        question: str,
        *,
        max_new_tokens: int | None = None,
        loop_guard: bool = True,
    ) -> Answer:
        """Answer a question about one recording or several. ValueError for an empty question.

        `max_new_tokens` and `loop_guard` change the bounds on the answer, see `Request`.
        """
        if not isinstance(question, str) or not question.strip():
            raise ValueError("the question is empty: write what you want to know about the audio")
        request = Request(
            "audio_qa",
            self._waves(audio),
            question=question,
            max_new_tokens=max_new_tokens,
            loop_guard=loop_guard,
        )
        return self._answer(request)

    def caption(self, audio: AudioSource) -> Answer:
        """One sentence that describes the recording."""
        return self._answer(Request("audio_caption", self._one(audio)))

    def classify(
        self, audio: AudioSource | list[AudioSource], labels: Sequence[str], question: str | None = None
    ) -> Classification:
        """Choose the label that answers `question` ("Which sound event is heard?" by default).

        Each label is scored by the log-probability of its whole text with the end token; the scores are these
        as probabilities among the labels. ValueError for fewer than two labels, empty or repeated ones.
        """
        if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
            raise ValueError(f"labels must be a list of words or phrases, not {labels!r}")
        if question is not None and not question.strip():
            raise ValueError("the question is empty: write one, or leave it out")
        names = [" ".join(label.split()) for label in labels]
        if len(set(names)) < 2 or len(set(names)) != len(names) or not all(names):
            raise ValueError(f"labels must be two or more different words or phrases, not {list(labels)}")
        question = question or tasks.TASKS["sound_event"].question
        prompt = tasks.prompt("audio_qa", question=question, choices=names)
        waves = self._waves(audio)
        parts = score_in_parts(self.model, self.processor, waves, prompt, names)

        def some() -> tuple[list[float], float]:
            began, made = time.monotonic(), []
            for part in parts:
                made += part
                if time.monotonic() - began >= HELD:
                    break
            return made, time.monotonic() - began

        scored: list[float] = []
        while len(scored) < len(names):
            made, seconds = self.engine.call(some)
            scored += made
            if self.engine.running:  # others get as much time as this took
                time.sleep(seconds)
        scores = np.array(scored)
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        return Classification(
            names[int(scores.argmax())], {n: float(p) for n, p in zip(names, shares, strict=True)}
        )

    def chat(
        self,
        *,
        system: str = SYSTEM_PROMPT,
        numbering: str = "dialogue",
        window: int = WINDOW_TOKENS,
        sampling: Sampling | None = CHAT,
        loop_guard: bool = True,
    ) -> Chat:
        """A new dialogue with this model, which must have been tuned on dialogues; see `chat.Chat`."""
        return Chat(
            self.model,
            self.processor,
            system=system,
            numbering=numbering,
            window=window,
            sampling=sampling,
            loop_guard=loop_guard,
            engine=self.engine,
        )

    def run(self, requests: Iterable[Request], batch_size: int = 8) -> list[Output]:
        """Answer many requests, at most `batch_size` of them at once; outputs in the given order.

        An output does not depend on the other requests. Requests may come from a generator: one is taken from it
        when there is room.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: give 1 or more")
        return self.engine.run(requests, at_once=batch_size)

    def _answer(self, request: Request) -> Answer:
        output = self.run([request])[0]
        return Answer(output.parsed.text, output.problems)

    def _one(self, audio: AudioSource) -> list[np.ndarray]:
        return self._waves(_single(audio))

    def _waves(self, audio: AudioSource | list[AudioSource]) -> list[np.ndarray]:
        sources = audio if isinstance(audio, list) else [audio]
        if not sources:
            raise ValueError("there is no audio: give at least one recording")
        return [load_window(source) for source in sources]


def _single(audio: AudioSource) -> AudioSource:
    if isinstance(audio, list):
        raise ValueError(f"this takes one recording, not a list of {len(audio)}: call it for each")
    return audio


def _checked_blocks(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for block in blocks:
        wave = np.asarray(block)
        if wave.ndim != 1 or wave.dtype.kind != "f" or not np.isfinite(wave).all():
            raise AudioError(
                f"a block is {wave.dtype} of shape {wave.shape}: give finite floats of shape (n,) at 16 kHz"
            )
        yield wave.astype(np.float32, copy=False)


def load_window(source: AudioSource, *, start: float = 0.0, duration: float | None = None) -> np.ndarray:
    """A recording of at most 30 s, as `load_audio` gives it; AudioError for a longer one."""
    wave = load_audio(source, start=start, duration=duration)
    seconds = len(wave) / SAMPLE_RATE
    if len(wave) > MAX_SECONDS * SAMPLE_RATE:
        name = os.fspath(source) if isinstance(source, str | os.PathLike) else "the audio"
        raise AudioError(
            f"{name} is {seconds:.1f} s long, but the model hears at most {MAX_SECONDS:.0f} s at once: "
            "cut it into pieces, for example with qwen_audio.load_audio(path, start=0, duration=30)"
        )
    return wave


def load(
    model: str | Path | None = None,
    *,
    device: str | None = None,
    dtype: Any = None,
    quantization: str | None = None,
) -> QwenAudio:
    """Load a checkpoint directory, or the model inside the package if `model` is None. No network is used.

    device: "cpu", "cuda" ...; None takes the GPU when there is one. dtype: a torch dtype or its name; None is
    float32 on a CPU and bfloat16 on a GPU. quantization: "int8" or "nf4" for the language model's matrices, see
    model/quantization.py. Raises FileNotFoundError, CheckpointError, or ValueError for a device or a quantization
    that cannot be used.
    """
    check_packages()
    import torch

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)  # a device can be well named and still not be there
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"the device {device!r} cannot be used here ({str(error).splitlines()[0]}): use cpu"
        ) from None
    if dtype is None:
        dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
    folder = EMBEDDED if model is None else Path(model)
    return QwenAudio(*load_checkpoint(folder, device, dtype, quantization), folder=folder)

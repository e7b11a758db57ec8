"""The model as a Python object: `load()`, then `transcribe`, `ask`, `caption`, `classify`, or `run`.

model = qwen_audio.load()
result = model.transcribe("speech.wav", word_timestamps=True)
print(result.text, result.language, result.words)
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from qwen_audio import tasks
from qwen_audio.answers import BODIES
from qwen_audio.audio import MAX_SECONDS, SAMPLE_RATE, AudioError, AudioSource, load_audio
from qwen_audio.chat import Chat
from qwen_audio.chatml import SYSTEM_PROMPT, WINDOW_TOKENS
from qwen_audio.generation import CHAT, Sampling, generate, predict_languages, score_answers
from qwen_audio.loading import EMBEDDED, load_checkpoint
from qwen_audio.long_audio.blocks import open_blocks
from qwen_audio.long_audio.job import Options, transcribe_all, transcribe_blocks
from qwen_audio.results import Answer, Classification, Passage, Transcription
from qwen_audio.tags import Segment
from qwen_audio.tasks import Parsed

# Upper bounds of an answer's length. Speech: fast speech is 25 characters a second, up to 2 tokens each in a
# vocabulary of bytes, and word times add a few tokens. All else is a sentence or a short record.
SPEECH_TOKENS_PER_SECOND = 60
SPEECH_EXTRA_TOKENS = 40
ANSWER_TOKENS = 256

_EARLY_ENDS = {
    "length": "the answer reached its length limit and was ended there",
    "loop": "the answer repeated itself and was ended there",
}


@dataclass(frozen=True)
class Request:
    """One thing to do in a batch: a task on one or more recordings ((n,) float32, 16 kHz, at most 30 s each).

    The next fields go into the task's prompt, see `tasks.prompt`; language None on a speech task is
    predicted. `prompt` replaces them all. `max_new_tokens` replaces the bound on the answer's length, which for speech
    comes from the duration; without `loop_guard` an answer may repeat itself until then.
    """

    task: str
    waves: list[np.ndarray]
    language: str | None = None
    target_language: str | None = None
    question: str | None = None
    choices: list[str] | None = None
    instruction: str | None = None
    prompt: list[Segment] | None = None
    max_new_tokens: int | None = None
    loop_guard: bool = True


@dataclass(frozen=True)
class Output:
    """What came out for a request: the generated string, the same as data, the language (None: no speech)."""

    raw: str
    parsed: Parsed
    language: str | None
    problems: list[str] = field(default_factory=list)


class QwenAudio:
    """A loaded model. Audio is a path, bytes, a binary file object or (array, rate); at most 30 s long, but for
    `transcribe`."""

    def __init__(self, model: Any, processor: Any, folder: Path | None = None) -> None:
        from transformers import GenerationConfig

        self.model = model
        self.processor = processor
        self.folder = folder
        # transformers would fill every setting that a call leaves open from the checkpoint's generation_config.json
        # (suppressed tokens, time limits ...): here what the calls say holds, and nothing else.
        model.generation_config = GenerationConfig()

    @property
    def name(self) -> str:
        """ "embedded", or the checkpoint's directory."""
        return "embedded" if self.folder in (None, EMBEDDED) else str(self.folder)

    def digest(self) -> str:
        """The first 16 digits of the SHA-256 of all weights, by which a score names what was scored."""
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
        """What is said in a recording of any length, in memory that does not grow with it.

        The recording is cut at its pauses, and each piece is transcribed by itself, `batch_size` of them at a time.
        language: code of the spoken language ("en"); None lets the model predict it for every piece. With
        `word_timestamps` the result also has each word's start and end in seconds. detect: "speech" transcribes only
        where there is speech, so that silence, noise and most music give no text; "sound" takes whatever is not
        silent, for songs. `max_new_tokens` and `loop_guard` lift what bounds the answer of a piece, see `Request`.

        A recording of which only a part can be read gives the text of that part, and a sentence in `problems`. Raises
        AudioError for audio that cannot be read at all.
        """
        options = Options(language, word_timestamps, detect, max_new_tokens, loop_guard, batch_size)
        return transcribe_all(self, open_blocks(_single(audio)), options)

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
        """Each piece of what is said as soon as it has ended; arguments as in `transcribe`.

        audio may also be an iterable of blocks (n,) of floats at 16 kHz, which comes from wherever sound is made.
        """
        options = Options(language, word_timestamps, detect, max_new_tokens, loop_guard, batch_size=1)
        if isinstance(audio, str | os.PathLike | bytes | bytearray | memoryview | tuple) or hasattr(
            audio, "read"
        ):
            blocks: Iterable[np.ndarray] = open_blocks(cast(AudioSource, audio))
        else:
            blocks = _checked_blocks(cast("Iterable[np.ndarray]", audio))
        return transcribe_blocks(self, blocks, options, ahead=0)

    def ask(
        self,
        audio: AudioSource | list[AudioSource],
        question: str,
        *,
        max_new_tokens: int | None = None,
        loop_guard: bool = True,
    ) -> Answer:
        """Answer a question about one recording or several. ValueError for an empty question.

        `max_new_tokens` and `loop_guard` lift what bounds the answer, see `Request`.
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
        """Which of `labels` answers `question` ("Which sound event is heard?" by default).

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
        scores = np.array(score_answers(self.model, self.processor, self._waves(audio), prompt, names))
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
        """A new dialogue with this model, which must be one that was tuned on dialogues; see `chat.Chat`."""
        return Chat(
            self.model,
            self.processor,
            system=system,
            numbering=numbering,
            window=window,
            sampling=sampling,
            loop_guard=loop_guard,
        )

    def run(self, requests: Sequence[Request], batch_size: int = 8) -> list[Output]:
        """Do many things in batches, in the given order; an output does not depend on its batch."""
        return [output for batch in _batches(requests, batch_size) for output in self._run_batch(batch)]

    def generate_segments(
        self,
        waves: list[list[np.ndarray]],
        prompts: list[list[Segment]],
        max_new_tokens: int | Sequence[int],
    ) -> list[str]:
        """Generated strings, special tokens included, of one batch of prompts; see `generation.generate`."""
        made = generate(self.model, self.processor, waves, prompts, max_new_tokens)
        return [one.text for one in made]

    def _run_batch(self, requests: Sequence[Request]) -> list[Output]:
        languages = self._languages(requests)
        prompts = [_prompt(r, language) for r, language in zip(requests, languages, strict=True)]
        limits = [_token_limit(request) for request in requests]
        made = generate(
            self.model,
            self.processor,
            [request.waves for request in requests],
            prompts,
            limits,
            loop_guard=[request.loop_guard for request in requests],
        )
        outputs = []
        for request, language, generation in zip(requests, languages, made, strict=True):
            parsed = tasks.parse(request.task, generation.text, request.choices)
            early = [_EARLY_ENDS[generation.ended_by]] if generation.ended_by != "end" else []
            outputs.append(Output(generation.text, parsed, language, [*parsed.problems, *early]))
        return outputs

    def _languages(self, requests: Sequence[Request]) -> list[str | None]:
        """The language of each request: as given, or predicted where the prompt needs it."""
        languages = [request.language for request in requests]
        rows = [
            row
            for row, request in enumerate(requests)
            if request.prompt is None
            and request.language is None
            and tasks.task_of(request.task).audio_language == tasks.SPOKEN
        ]
        if rows:
            found = predict_languages(
                self.model,
                self.processor,
                [requests[row].waves for row in rows],
                [_prompt(requests[row], None) for row in rows],
            )
            for row, language in zip(rows, found, strict=True):
                languages[row] = language
        return languages

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
    """A recording that the model hears at once, as `load_audio` gives it; AudioError if it is over 30 s."""
    wave = load_audio(source, start=start, duration=duration)
    seconds = len(wave) / SAMPLE_RATE
    if len(wave) > MAX_SECONDS * SAMPLE_RATE:
        name = os.fspath(source) if isinstance(source, str | os.PathLike) else "the audio"
        raise AudioError(
            f"{name} is {seconds:.1f} s long, but the model hears at most {MAX_SECONDS:.0f} s at once: "
            "cut it into pieces, for example with qwen_audio.load_audio(path, start=0, duration=30)"
        )
    return wave


def _batches(requests: Sequence[Request], size: int) -> Iterator[Sequence[Request]]:
    if size < 1:
        raise ValueError(f"batch_size is {size}: give 1 or more")
    for start in range(0, len(requests), size):
        yield requests[start : start + size]


def _prompt(request: Request, language: str | None) -> list[Segment]:
    if request.prompt is not None:
        return request.prompt
    return tasks.prompt(
        request.task,
        language=language,
        target_language=request.target_language,
        question=request.question,
        choices=request.choices,
        instruction=request.instruction,
    )


def _token_limit(request: Request) -> int:
    if request.max_new_tokens is not None:
        return request.max_new_tokens
    if not BODIES[tasks.task_of(request.task).body].grows:
        return ANSWER_TOKENS
    seconds = sum(len(wave) for wave in request.waves) / SAMPLE_RATE
    return SPEECH_EXTRA_TOKENS + int(SPEECH_TOKENS_PER_SECOND * seconds)


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
    quantization.py. Raises FileNotFoundError, CheckpointError, or ValueError for a device or a quantization that
    cannot be used.
    """
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

"""Editing of a recording by an instruction: find the parts it names, change the samples, report the edits.

    done = edit(model, "talk.wav", 'remove the word "seven"')
    done.save("talk.edited.wav")

The recording keeps its rate and its channels; the model gets a copy at 16 kHz.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from qwen_audio.audio.load import SAMPLE_RATE, AudioError, AudioSource, load_audio
from qwen_audio.editing.cuts import Edit, apply_edits
from qwen_audio.editing.ground import Finder
from qwen_audio.editing.instructions import Instruction, InstructionError, Target, read_instruction
from qwen_audio.files import whole_file
from qwen_audio.format.timestamps import Span

if TYPE_CHECKING:
    from qwen_audio.api import QwenAudio

# Endings that can be written, with libsndfile's names for them.
FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3"}
_DEEP = ("FLOAT", "DOUBLE", "PCM_24", "PCM_32")  # sample formats of more than 16 bits
# Sample formats that can be kept; an mp3 inside a wav, which libsndfile can write, is not meant by .wav.
_KEPT = (*_DEEP, "PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW")


@dataclass(frozen=True)
class Edited:
    """An edited recording.

    Attributes:
        samples: (channels, n) float32.
        rate: Hz.
        edits: the edits made, in order, with exact times.
        problems: oddities of the transcript that the edit used, and samples that `save` could not write unchanged.
        subtype: libsndfile's name of the sample format of the original ("PCM_24"); "" if unknown.
    """

    samples: np.ndarray
    rate: int
    edits: list[Edit]
    problems: list[str] = field(default_factory=list)
    subtype: str = ""

    @property
    def wave(self) -> tuple[np.ndarray, int]:
        """(mono samples, rate), which `transcribe` and the others take."""
        return self.samples.mean(axis=0), self.rate

    @property
    def text(self) -> str:
        """One line for each edit."""
        lines = []
        for done in self.edits:
            line = f"{done.kind}\t{done.start:.3f}\t{done.end:.3f}\t{done.what}"
            if done.other_start is not None:
                line += f"\twith {done.other_start:.3f} {done.other_end:.3f}"
            lines.append(line.rstrip())
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the list of edits, the length before rounding."""
        data: dict[str, Any] = {
            "edits": [done.to_dict() for done in self.edits],
            "seconds": round(self.samples.shape[1] / self.rate, 4),
        }
        return data | ({"problems": self.problems} if self.problems else {})

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the recording; the extension gives the format (wav, flac, ogg, mp3). It appears whole or not at all.

        It uses the sample format of the original where the file format has it. Samples beyond full scale are kept in a
        wav, as floats; flac clips them, which adds a sentence to `problems`.

        Raises ValueError for another extension, or a rate or a number of channels that the format does not have.
        """
        target = Path(path)
        style = writable_format(target)
        peak = float(np.abs(self.samples).max(initial=0.0))
        subtype = _subtype(style, self.subtype, loud=peak > 1)
        try:
            with whole_file(target, parents=True) as file:
                soundfile.write(file, self.samples.T, self.rate, format=style, subtype=subtype)
        except (soundfile.LibsndfileError, ValueError) as error:
            channels = len(self.samples)
            raise ValueError(
                f"{target} cannot be written with {self.rate} Hz and {channels} channel{'s' * (channels > 1)} "
                f"({getattr(error, 'error_string', error)}): let its name end in .wav"
            ) from None
        if peak > 1 and subtype.startswith(("PCM", "ULAW", "ALAW")):
            problem = f"{target.name} is clipped: its peak is {peak:.2f} of full scale; a .wav would keep it"
            if problem not in self.problems:
                self.problems.append(problem)
        return target


def _subtype(style: str, original: str, loud: bool) -> str:
    """Sample format in a file format: as in the original, else the finest one if the original has over 16 bits.

    loud: samples exceed full scale.
    """
    if loud and style == "WAV" and original not in ("FLOAT", "DOUBLE"):
        return "FLOAT"
    if original in _KEPT and soundfile.check_format(style, original):
        return original
    if original in _DEEP and soundfile.check_format(style, "PCM_24"):
        return "PCM_24"
    return soundfile.default_subtype(style)


def writable_format(path: Path) -> str:
    """libsndfile's name of the format of a file's extension; ValueError for one that cannot be written."""
    style = FORMATS.get(path.suffix.lower())
    if style is None:
        raise ValueError(f"{path} cannot be written: let its name end in {', '.join(FORMATS)}")
    return style


def edit(
    model: QwenAudio, audio: AudioSource, instruction: str | Instruction, language: str | None = None
) -> Edited:
    """A recording changed as an instruction says: remove, keep, mute, bleep or swap words, sounds or times.

    Boundaries that the model found are moved to the quietest moment nearby, then to a zero crossing. All
    occurrences are meant unless one is named (`the second "seven"`).

    Raises InstructionError for an instruction that cannot be read, names parts not found, or would leave nothing;
    AudioError for the audio.
    """
    asked = read_instruction(instruction) if isinstance(instruction, str) else instruction
    if asked.kind == "find":
        raise InstructionError("this only finds: begin with remove, keep, mute, bleep or swap")
    samples, rate = read_sound(audio)
    finder = Finder(model, _for_model(samples, rate), language)
    edits = plan(finder, asked)
    try:
        changed, done = apply_edits(samples, rate, edits)
    except ValueError as error:
        raise InstructionError(str(error)) from None
    return Edited(changed, rate, done, list(finder.problems), _written_as(audio))


def plan(finder: Finder, asked: Instruction) -> list[Edit]:
    """The edits that an instruction means in a recording; InstructionError for parts that are not there."""
    groups = [[_place(finder, target, span) for span in finder.spans(target)] for target in asked.targets]
    spans = [span for group in groups for span in group]
    if asked.kind == "swap":
        for target, group in zip(asked.targets, groups, strict=True):
            if len(group) != 1:
                raise InstructionError(
                    f"{target} is there {len(group)} times: say which, for example the first {target}"
                )
        first, second = sorted(spans, key=lambda span: span.start)
        name = f"{first.label} and {second.label}" if first.label or second.label else ""
        return [Edit("swap", first.start, first.end, name, second.start, second.end)]
    if asked.kind == "keep":
        return _all_but(finder, spans)
    return [Edit(asked.kind, span.start, span.end, span.label) for span in spans]


def _place(finder: Finder, target: Target, span: Span) -> Span:
    """The span to edit: times from a person stay; times from the model are moved to a quiet place."""
    meant = target.kind == "pauses" or (target.kind == "time" and target.exact)
    return span if meant else finder.widen(span)


def _all_but(finder: Finder, spans: list[Span]) -> list[Edit]:
    """Removals of everything outside the spans; words between two kept ones go, a pause between them stays."""
    edits, at = [], 0.0
    for span in sorted(spans, key=lambda s: s.start):
        between = [w.word for w in finder.words_between(at, span.start)]
        if span.start > at and (between or at == 0.0):
            edits.append(Edit("remove", at, span.start, " ".join(between)))
        at = max(at, span.end)
    if at < finder.seconds:
        edits.append(
            Edit(
                "remove",
                at,
                finder.seconds,
                " ".join(w.word for w in finder.words_between(at, finder.seconds)),
            )
        )
    return edits


def read_sound(audio: AudioSource) -> tuple[np.ndarray, int]:
    """(channels, n) float32 and rate of a recording; a file that libsndfile cannot read comes as mono at 16 kHz.

    Raises AudioError as `load_audio`, for a damaged file too.
    """
    if isinstance(audio, tuple):
        wave = load_audio(audio)
        array = np.asarray(audio[0])
        plain = array.ndim == 1 and array.dtype.kind == "f"
        return (array[None].astype(np.float32), int(audio[1])) if plain else (wave[None], SAMPLE_RATE)
    if not isinstance(audio, str | os.PathLike):
        return load_audio(audio)[None], SAMPLE_RATE
    mono = load_audio(audio)  # it reports the error of a file
    try:
        samples, rate = soundfile.read(audio, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        return mono[None], SAMPLE_RATE
    if abs(len(samples) / rate - len(mono) / SAMPLE_RATE) > 0.01:
        raise AudioError(f"'{audio}' is a chain of several streams: convert it to wav first.")
    return np.ascontiguousarray(samples.T), rate


def _written_as(audio: AudioSource) -> str:
    """libsndfile's name of the sample format of a file; "" if it is not a file that libsndfile reads."""
    if not isinstance(audio, str | os.PathLike):
        return ""
    try:
        return str(soundfile.info(os.fspath(audio)).subtype)
    except soundfile.LibsndfileError:
        return ""


def _for_model(samples: np.ndarray, rate: int) -> np.ndarray:
    return load_audio((samples.mean(axis=0), rate))

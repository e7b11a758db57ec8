"""Speech from espeak-ng, through ctypes: waveform and the true start time of every word.

The shared library and its data come from the `espeakng-loader` wheel.  The library is loaded on first use
in each process and works synchronously (it starts no thread), so forked and spawned workers are safe.
espeak does not report word ends: a word ends where the next one starts, or where its energy ends before a
pause.
"""

from __future__ import annotations

import _ctypes
import ctypes
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from qwen_audio.packages import check_packages
from qwen_audio.synthetic.speech.mandarin import part_compounds

ESPEAK_RATE = 22050  # the rate espeak-ng synthesises at, samples per second

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: espeak_Synth returns when everything is spoken
# espeakINITIALIZE_DONT_EXIT (report a failure instead of leaving the process), _PHONEME_EVENTS, _PHONEME_IPA
_OPTIONS = 0x8000 | 0x1 | 0x2
_UTF8 = 1  # espeakCHARS_UTF8
_IPA = 2  # phoneme mode of espeak_TextToPhonemes
_EVENT_END, _EVENT_WORD, _EVENT_PHONEME = 0, 1, 7
_PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "pitch_range": 4, "word_gap": 7}
# An embedded command before the text: an echo of 1/256 of the sound.  It replaces the much louder echo of
# some voices, which would hide where words end, and cannot be set to nothing.
_NO_ECHO = "\x011H "
_FRAME = ESPEAK_RATE // 200  # 5 ms frames for energy
_SILENCE_DB = -42.0  # below the loudest frame by this much is silence
_PAUSE = 12  # frames without energy at the end of a word that make a pause; the closure of a stop is shorter


class EspeakError(ValueError):
    """espeak-ng could not serve a request (unknown voice, missing library, failed synthesis)."""


@dataclass(frozen=True)
class Voice:
    """Voice settings. `language` and `variant` name files of the espeak data; the rest are espeak's own scales.

    rate: words per minute (80..450); pitch and pitch_range: 0..100 (50 is the voice's own); volume: 0..200;
    word_gap: extra pause between words in units of 10 ms (espeak scales it with the rate).
    """

    language: str = "en-us"
    variant: str = ""
    rate: int = 175
    pitch: int = 50
    pitch_range: int = 50
    volume: int = 100
    word_gap: int = 0


@dataclass(frozen=True)
class Speech:
    """Trimmed speech: `wave` (n,) float32 in -1..1 at `ESPEAK_RATE`, and (start, end) seconds of every word.

    `times` is None where espeak gave no event for some word: it speaks a few frequent pairs ("of the") as one
    word, and then the boundary inside is unknown. Chinese compounds are split by syllable.
    """

    wave: np.ndarray
    times: list[tuple[float, float]] | None


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class _Engine:
    """The library of this process: one voice at a time, guarded by a lock."""

    def __init__(self) -> None:
        check_packages("synth")
        import espeakng_loader

        self.lib = ctypes.CDLL(espeakng_loader.get_library_path())
        data = os.fsencode(espeakng_loader.get_data_path())
        if self.lib.espeak_Initialize(_SYNCHRONOUS, 0, data, _OPTIONS) != ESPEAK_RATE:
            raise EspeakError(
                f"espeak-ng could not start with the data in {data!r}; reinstall espeakng-loader"
            )
        self.lib.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self.chunks: list[bytes] = []
        self.events: list[tuple[int, int]] = []
        self.sounds: list[tuple[int, str]] = []
        self.callback = _CALLBACK(self._receive)  # kept: the library holds only a bare pointer to it
        self.lib.espeak_SetSynthCallback(self.callback)
        self.voice: Voice | None = None  # the one that is set

    def _receive(self, wave, count, events) -> int:  # type: ignore[no-untyped-def]
        if wave and count > 0:
            self.chunks.append(ctypes.string_at(wave, 2 * count))
        index = 0
        while events[index].type != _EVENT_END:
            if events[index].type == _EVENT_WORD:
                self.events.append((events[index].text_position - 1, events[index].sample))
            elif events[index].type == _EVENT_PHONEME:
                self.sounds.append((events[index].sample, events[index].id.string.decode(errors="ignore")))
            index += 1
        return 0

    def set_voice(self, voice: Voice) -> None:
        if voice == self.voice:
            return
        self.voice = None
        name = voice.language + (f"+{voice.variant}" if voice.variant else "")
        if self.lib.espeak_SetVoiceByName(name.encode()) != 0:
            raise EspeakError(
                f"espeak-ng has no voice {name!r}; use a language file of espeak and one of `variants()`"
            )
        for parameter, number in _PARAMETERS.items():  # after the voice: choosing a voice resets them
            self.lib.espeak_SetParameter(number, getattr(voice, parameter), 0)
        self.voice = voice

    def speak(self, text: str) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """int16 samples (n,) and the word events (position in `text` counted in characters, sample)."""
        self.chunks.clear()
        self.events.clear()
        self.sounds.clear()
        data = (_NO_ECHO + text).encode()
        status = self.lib.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, 0, 0, _UTF8, None, None)
        if status != 0:
            raise EspeakError(f"espeak-ng could not speak {text!r} (status {status})")
        # the first word begins with the command, at a position before the text
        events = [(max(position - len(_NO_ECHO), 0), sample) for position, sample in self.events]
        return np.frombuffer(b"".join(self.chunks), dtype=np.int16), events

    def phonemes(self, text: str) -> str:
        """The phonemes of `text` in the voice that is set, in espeak's IPA."""
        data = ctypes.c_char_p(text.encode())
        pieces: list[str] = []
        while data.value is not None:  # one clause at a time; espeak moves the pointer on, to null at the end
            pieces.append(self.lib.espeak_TextToPhonemes(ctypes.byref(data), _UTF8, _IPA).decode())
        return " ".join(pieces)

    def close(self) -> None:
        self.lib.espeak_Terminate()
        _ctypes.dlclose(self.lib._handle)


_lock = threading.Lock()
_engine: _Engine | None = None


def _after_fork() -> None:
    """A forked child has its own copy of the library's memory; the lock may have been held in the parent."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def _current() -> _Engine:
    """The engine of this process, loaded on first use (call with the lock held)."""
    global _engine
    if _engine is None:
        _engine = _Engine()
    return _engine


def reset() -> None:
    """Reset the state of espeak-ng: the speech that follows is the same, sample by sample, in any process.

    espeak-ng carries the phase of its pitch flutter and of its noise from one utterance to the next, and has
    no call that rewinds them, so the library is unloaded and loaded again (about a millisecond).
    """
    global _engine
    with _lock:
        if _engine is not None:
            _engine.close()
        _engine = None


def variants() -> list[str]:
    """Names of the voice variants (the `!v` folder of the espeak data), sorted."""
    import espeakng_loader

    return sorted(os.listdir(os.path.join(espeakng_loader.get_data_path(), "voices", "!v")))


def phonemes(text: str, language: str) -> str:
    """Pronunciation of `text`, in IPA, in an espeak language or accent.

    Raises EspeakError for an unknown language.
    """
    with _lock:
        engine = _current()
        engine.set_voice(Voice(language))
        return engine.phonemes(text)


def synthesize(words: Sequence[str], voice: Voice, *, separator: str = " ") -> Speech | None:
    """Speak `words` continuously.

    Args:
        words: what to say, in order; a word may carry trailing punctuation, which makes a pause.
        voice: how to say it.
        separator: what stands between the words in the text: "" for Chinese, which is spoken by character.

    Returns:
        Speech without leading and trailing silence, or None when the words have no sound at all.

    Raises:
        EspeakError: for no words, an unknown voice, or a failure of the library.
    """
    if not words:
        raise EspeakError("there is nothing to speak: give at least one word")
    with _lock:
        engine = _current()
        engine.set_voice(voice)
        samples, events = engine.speak(separator.join(words))
        sounds = list(engine.sounds)
    wave = samples.astype(np.float32) / 32768.0
    active = _active_frames(wave)
    loud = np.flatnonzero(active)
    if loud.size == 0:
        return None
    first, last = int(loud[0]), int(loud[-1]) + 1
    trimmed = wave[first * _FRAME : last * _FRAME]
    starts = _match(words, events, len(separator))
    if not separator:
        part_compounds(starts, sounds, samples.size, active, _FRAME)
    known = [start for start in starts if start is not None]
    if len(known) < len(words) or any(later <= earlier for earlier, later in pairwise(known)):
        return Speech(trimmed, None)
    return Speech(trimmed, _word_times(known, active, first, last))


def _match(words: Sequence[str], events: list[tuple[int, int]], gap: int) -> list[int | None]:
    """The first sample of every word, found by its position in the text; None for one without an event."""
    at = dict(reversed(events))  # the first event of a position counts
    starts: list[int | None] = []
    position = 0
    for word in words:
        starts.append(at.get(position))
        position += len(word) + gap
    return starts


def _active_frames(wave: np.ndarray) -> np.ndarray:
    """Mask of the whole 5 ms frames of `wave` (n,) that are louder than silence: (n // _FRAME,) bool."""
    frames = wave[: wave.size // _FRAME * _FRAME].reshape(-1, _FRAME)
    energy = np.einsum("ij,ij->i", frames, frames)
    return energy > max(float(energy.max(initial=0.0)) * 10 ** (_SILENCE_DB / 10), 1e-9)


def _word_times(
    starts: list[int], active: np.ndarray, first: int, last: int
) -> list[tuple[float, float]] | None:
    """(start, end) in seconds from frame `first` for words that start at samples `starts`.

    Speech runs from frame `first` to `last`.  A word ends where the next one starts, unless its energy ends
    `_PAUSE` frames or more earlier: then there is a pause, and both its borders are those of the energy.
    None when a word has no energy of its own.
    """
    bounds = [min(max(round(start / _FRAME), first), last) for start in starts] + [last]
    times: list[tuple[float, float]] = []
    for index, start in enumerate(bounds[:-1]):
        own = np.flatnonzero(active[start : bounds[index + 1]])
        if own.size == 0:
            return None
        # exact event times inside continuous speech, frame borders next to silence
        begin = max(starts[index] / _FRAME, float(first)) if index else float(first)
        paused = index > 0 and times[-1][1] < bounds[index] - _PAUSE
        if paused:
            begin = float(start + own[0])
        end = float(start + own[-1] + 1)
        if index + 1 < len(starts) and bounds[index + 1] - end < _PAUSE:
            end = starts[index + 1] / _FRAME
        times.append((begin, end))
    step = _FRAME / ESPEAK_RATE
    return [((begin - first) * step, (end - first) * step) for begin, end in times]

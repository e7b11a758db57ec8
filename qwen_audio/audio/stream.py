"""Reading of any recording as a stream of 16 kHz mono pieces, in memory that does not grow with the length.

    blocks = open_blocks("lecture.m4a")
    for block in blocks:  # (n,) float32, some tenths of a second to a second
        ...
    print(blocks.seconds, blocks.defect)

The pieces, joined, equal the result of `load_audio` for the whole recording, and the same sources are refused, with
one difference: of a damaged or truncated recording all readable samples are given, and `defect` says what is missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import numpy as np
import soundfile

from qwen_audio.audio.decode import (
    CONTAINERS,
    DECLARING,
    MAX_RATE,
    MIN_RATE,
    SAMPLE_RATE,
    TOLERANCE,
    UNKNOWN_SIZE,
    UNREAD,
    AudioError,
    Reader,
    check_rate,
    frame_samples,
    hidden_seconds,
    ogg_cut,
    open_container,
    open_source,
    shortfall,
    to_float,
    to_mono,
)
from qwen_audio.audio.load import AudioSource, from_array, readable_source, source_name

FRAMES = 1 << 15  # frames per read of libsndfile: under a second
CAREFUL = 1024  # frames per read where the damage begins
BLOCK_SECONDS = 0.5  # pieces are joined to at least this, except from a pipe
# A pipe cannot be read again, so ffmpeg reads there the formats that libsndfile reads of a file.
PIPED = CONTAINERS + ",wav,w64,aiff,au,caf"

Piece = tuple[np.ndarray, int]  # (n,) float32 mono, and its rate


class Blocks:
    """The pieces of one recording, to be iterated once.

    name: its name in messages. announced: its length in seconds by its header, None if unknown; a guess where the
    container does not say. seconds: length given so far. defect: after the end, why there should be more.
    """

    def __init__(self, source: AudioSource, *, raw_rate: int | None = None) -> None:
        """Open a recording: any source of `load_audio`, or an object to read bytes from that cannot be rewound.

        raw_rate: the bytes are samples without a header: 16 bits, little-endian, one channel, at this rate.

        Raises:
            AudioError: as `load_audio`, unless part of the recording can be read.
        """
        self.name = source_name(source)
        self.announced: float | None = None
        self.defect: str | None = None
        self.seconds = 0.0
        self._read = 0.0  # seconds read of the recording, before resampling
        self._pieces, self._live = self._open(source, raw_rate)
        self._first: Piece | None = next(
            self._pieces, None
        )  # so that a recording without sound fails at once
        if self._first is None:
            if self.defect:
                raise AudioError(f"{self.name} {self.defect}: copy it again.")
            raise AudioError(f"{self.name} holds no samples: record or export it again.")

    def __iter__(self) -> Iterator[np.ndarray]:
        import soxr

        if self._first is None:
            raise ValueError(f"{self.name} was read already: open it again")
        rate = self._first[1]
        resample = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        waiting: list[np.ndarray] = []
        for wave in self._waves():
            waiting.append(wave if resample is None else resample.resample_chunk(wave))
            if self._live or sum(map(len, waiting)) >= BLOCK_SECONDS * SAMPLE_RATE:
                yield from self._given(waiting)
                waiting = []
        if resample is not None:
            waiting.append(resample.resample_chunk(np.zeros(0, np.float32), last=True))
        yield from self._given(waiting)

    def _given(self, parts: list[np.ndarray]) -> Iterator[np.ndarray]:
        block = np.ascontiguousarray(np.concatenate(parts) if parts else np.zeros(0), dtype=np.float32)
        if len(block):
            self.seconds += len(block) / SAMPLE_RATE
            yield block

    def _waves(self) -> Iterator[np.ndarray]:
        """The pieces at the rate of the recording, up to the first sample that is not finite."""
        piece, self._first = self._first, None
        given = 0
        while piece is not None:
            wave, rate = piece
            finite = np.isfinite(wave)
            if not finite.all():
                good = int(np.argmin(finite))
                second = (given + good) / rate
                if not given + good:
                    raise AudioError(f"{self.name} has NaN or infinite samples from 0.000 s on: repair it.")
                self.defect = f"has NaN or infinite samples from {second:.3f} s on: repair it"
                yield wave[:good]
                return
            yield wave
            given += len(wave)
            piece = next(self._pieces, None)

    # where the pieces come from

    def _open(self, source: AudioSource, raw_rate: int | None) -> tuple[Iterator[Piece], bool]:
        if raw_rate is not None and not MIN_RATE <= raw_rate <= MAX_RATE:
            raise AudioError(f"the rate {raw_rate} Hz is not one of sound: give {MIN_RATE} to {MAX_RATE} Hz.")
        if isinstance(source, tuple):
            wave, rate = from_array(source, self.name)
            self.announced = len(wave) / rate
            return ((wave[at : at + rate], rate) for at in range(0, len(wave), rate)), False
        handle, piped = _handle(source, self.name)
        if raw_rate is not None:
            return self._raw(handle, raw_rate), piped
        if piped:
            return self._pipe(handle), True
        return self._file(handle), False

    def _raw(self, handle: BinaryIO, rate: int) -> Iterator[Piece]:
        size = max(2, rate // 10 * 2)
        left = b""
        read = getattr(handle, "read1", handle.read)  # the bytes at hand, without waiting for a whole block
        while data := read(size):
            data = left + data
            whole = len(data) // 2 * 2
            left = data[whole:]
            if whole:
                yield to_float(np.frombuffer(data[:whole], dtype="<i2")), rate
        if left:
            self.defect = "ends in the middle of a sample of 16 bits"

    def _pipe(self, handle: BinaryIO) -> Iterator[Piece]:
        reader = _OnlyRead(handle)
        try:
            yield from self._ffmpeg(reader, PIPED)
        finally:
            if reader.interrupt is not None:
                raise reader.interrupt

    def _file(self, handle: BinaryIO) -> Iterator[Piece]:
        """The pieces by libsndfile; by ffmpeg where it does not know the format, or for the part it could not read."""
        with handle:
            unread = False
            read = 0
            if known := _opened(handle):
                for piece in self._sndfile(handle, known):
                    read += len(piece[0])
                    yield piece
                self._read = read / known.samplerate
                unread = known.format in ("MP3", "OGG", "FLAC") and self._leftover > UNREAD
                if not self.defect and not unread:
                    return
            handle.seek(0)
            first, announced = self.defect, self.announced
            before = self._read
            try:
                yield from self._ffmpeg(handle, CONTAINERS, skip=read, rate=known.samplerate if known else 0)
            except AudioError:
                if not known:
                    raise
            if known and not (
                self.defect is None
                and self._read > before + TOLERANCE
                and self._read > (announced or 0.0) - TOLERANCE
            ):
                self.defect, self.announced = first, announced

    _leftover = 0  # bytes of the file that libsndfile did not read

    def _sndfile(self, handle: BinaryIO, file: Reader) -> Iterator[Piece]:
        rate, total, done, whole = check_rate(file.samplerate, self.name), file.frames, 0, True
        self.announced = total / rate
        with file:
            try:
                while done < total:
                    block = file.read(min(FRAMES, total - done), dtype="float32", always_2d=True)
                    if not len(block):
                        break
                    done += len(block)
                    yield to_mono(block), rate
            except soundfile.LibsndfileError:
                whole = False
            position = handle.tell()
            log, kind = file.extra_info, file.format
        if not whole:  # again, in small steps, up to the damage
            handle.seek(0)
            for wave in _beyond(handle, done):
                done += len(wave)
                yield wave, rate
        self._leftover = handle.seek(0, os.SEEK_END) - position
        if done < total - TOLERANCE * rate or not whole:
            self.defect = shortfall(done / rate, total / rate)
            return
        hidden = hidden_seconds(log, total / rate)
        if hidden <= total / rate + TOLERANCE and kind == "OGG" and ogg_cut(handle):
            hidden = float("inf")
        if hidden > total / rate + TOLERANCE:
            self.defect = shortfall(total / rate, hidden)
            self.announced = hidden if hidden < float("inf") else None

    def _ffmpeg(self, handle: Any, containers: str, skip: int = 0, rate: int = 0) -> Iterator[Piece]:
        """The first sound track after its first `skip` samples, which were given at `rate` already."""
        import av

        container = open_container(handle, self.name, containers)
        self.defect = None
        count, reached, failed = 0, 0.0, ""
        with container:
            stream = container.streams.audio[0]
            declared = self._declared(container)
            try:
                for packet in container.demux():
                    if packet.pts is not None:
                        reached = max(
                            reached, float((packet.pts + (packet.duration or 0)) * packet.time_base)
                        )
                    if packet.stream.index != stream.index:
                        continue
                    for frame in packet.decode():
                        rate = rate or check_rate(frame.sample_rate, self.name)
                        if frame.sample_rate != rate:
                            message = (
                                f"changes its sample rate at {count / rate:.2f} s: convert it to wav first"
                            )
                            if not count:
                                raise AudioError(f"{self.name} {message}.")
                            self.defect = message
                            return
                        block = frame_samples(frame)
                        if count + block.shape[1] > skip:
                            yield to_mono(to_float(block[:, max(0, skip - count) :]).T), rate
                        count += block.shape[1]
                        self._read = count / rate
            except (av.FFmpegError, EOFError):
                failed = "damaged"
            if not rate:
                advice = "copy or convert it again"
                if isinstance(handle, _OnlyRead):
                    advice = "some files are read from their end, not from a pipe: save it and name the file"
                raise AudioError(f"{self.name} has a sound track but none of it can be decoded: {advice}.")
            if failed or (declared is not None and reached < declared - 0.1):
                self.defect = shortfall(count / rate, float("inf") if declared is None else declared)

    def _declared(self, container: Any) -> float | None:
        """Seconds that the container states (not guesses); `announced` takes a guess as well."""
        if not container.duration:
            return None
        seconds = float(container.duration) / 1e6
        kind = container.format.name.split(",")[0]
        if kind in ("wav", "w64", "aiff", "au", "caf"):  # a pipe: its writer may not have known the length
            size = seconds * (container.streams.audio[0].codec_context.bit_rate or 0) / 8
            if not 0 < size < UNKNOWN_SIZE:
                return None
            self.announced = seconds
            return seconds
        self.announced = seconds
        return seconds if kind in DECLARING else None


def open_blocks(source: AudioSource, *, raw_rate: int | None = None) -> Blocks:
    """The recording as a stream of pieces; see `Blocks`."""
    return Blocks(source, raw_rate=raw_rate)


class _OnlyRead:
    """An object to read from that offers nothing else, so that ffmpeg does not try to seek in a pipe."""

    def __init__(self, handle: BinaryIO) -> None:
        # Returns the bytes at hand: a reader that waits for a full buffer would delay a live source.
        self._read = getattr(handle, "read1", handle.read)
        self.interrupt: KeyboardInterrupt | None = None

    def read(self, size: int = -1) -> bytes:
        """Read for PyAV, which would swallow an exception such as Ctrl-C: it is kept, and the pipe ends."""
        try:
            return b"" if self.interrupt else bytes(self._read(size))
        except KeyboardInterrupt as error:
            self.interrupt = error
            return b""


def _handle(source: object, name: str) -> tuple[BinaryIO, bool]:
    """An object to read bytes from, and whether it can only be read forward."""
    if hasattr(source, "read"):
        stream = cast(BinaryIO, source)
        seekable = getattr(stream, "seekable", None)
        if seekable is not None and not seekable():
            if not isinstance(stream.read(0), bytes):
                raise AudioError(f"{name} was opened as text: open it with mode 'rb'.")
            return stream, True
    return open_source(readable_source(source, name), name), False


def _opened(handle: BinaryIO) -> Reader | None:
    """libsndfile's reader of a file, None if it does not know the format."""
    try:
        # A descriptor spares a Python call per block read; in-memory files have none.
        file = Reader(handle.fileno() if hasattr(handle, "name") else handle, closefd=False)
    except soundfile.LibsndfileError:
        return None
    if file.frames > 1 << 40:  # a flac written to a pipe states no length; ffmpeg can do without
        file.close()
        return None
    return file


def _beyond(handle: BinaryIO, done: int) -> Iterator[np.ndarray]:
    """The samples readable after `done` frames, in small steps up to the damage."""
    file = _opened(handle)
    if file is None:
        return
    with file:
        try:
            while done > 0:
                done -= len(file.read(min(CAREFUL, done), dtype="float32", always_2d=True)) or done
            while len(block := file.read(CAREFUL, dtype="float32", always_2d=True)):
                yield to_mono(block)
        except soundfile.LibsndfileError:
            return

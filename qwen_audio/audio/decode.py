"""Decoding of any audio container to samples: float32, mono, at the rate of the file.

libsndfile (soundfile) reads wav, flac, mp3, ogg and their kin; the ffmpeg inside PyAV reads the rest
(m4a, webm, the sound of an mp4, aac ...). Only local, regular files and bytes are read: ffmpeg is handed
an open file object and a list of plain containers, so playlists, URLs and its protocols are out of reach.
Neither library reports every truncated file, so the announced length is compared with the length read.
"""

from __future__ import annotations

import io
import os
import re
import stat
from dataclasses import dataclass
from math import gcd
from typing import Any, BinaryIO, cast

import numpy as np
import soundfile

SAMPLE_RATE = 16_000  # Hz, the model's input
MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz; outside lies a rate in kHz or a swapped argument
TOLERANCE = 0.01  # seconds a header may be wrong by before a file counts as truncated (one mel frame)
MARGIN = 0.05  # seconds read around a window, for the resampling filter
LEAD = 2  # seconds decoded ahead of a window of an mp3
CHUNK = 1 << 22  # frames per read: a length announced by a damaged header is never allocated at once
UNKNOWN_SIZE = 0x7FFF_F000  # a chunk of this size or more was written to a pipe: its length is unknown
UNREAD = 4096  # bytes that may follow the last sample (tags); more may be a second, chained stream

# Plain containers. Left out on purpose: lists of other files (hls, dash, concat, sdp), pictures, raw
# samples, and wav, aiff and caf, whose truncation ffmpeg hides and which libsndfile reads.
CONTAINERS = "mov,mp4,m4a,matroska,webm,ogg,mp3,aac,flac,asf,avi,flv,mpegts,mpeg,amr,ac3,eac3,ape,wv,tta,dts"
DECLARING = ("mov", "matroska", "flac", "asf")  # write a duration; others have it guessed from a bit rate

FileSource = str | os.PathLike[str] | bytes  # bytes: the content of a file


class AudioError(ValueError):
    """A recording that cannot be used. The message names the source and the remedy."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Samples `wave` (n,) float32 mono at `rate` Hz; wave[0] is sample number `first` of the recording."""

    wave: np.ndarray
    rate: int
    first: int
    announced: float  # seconds of the recording by its header; inf when it does not say
    defect: str | None = None  # why the recording ends before it should, if it does
    unread: bool = False  # bytes remain that may be a second stream

    @property
    def end(self) -> float:
        """Second of the recording at which `wave` ends."""
        return (self.first + len(self.wave)) / self.rate


def source_range(rate: int, start: float, duration: float | None) -> tuple[int, int | None]:
    """Samples [first, last) of a `rate` Hz recording needed for a window at 16 kHz; last None: to the end.

    `first` lies on a sample of both rates, so that the resampled window is on the same grid as the
    resampled recording; MARGIN on both sides covers the resampling filter.
    """
    divisor = gcd(rate, SAMPLE_RATE)
    steps = int(max(0.0, start - MARGIN) * rate) // (rate // divisor)
    last = None if duration is None else int((start + duration + MARGIN) * rate) + 1
    return steps * (rate // divisor), last


def decode(source: FileSource, name: str, start: float, duration: float | None) -> Decoded:
    """Samples around the window [start, start + duration) of a file or of the bytes of one.

    Raises AudioError if there is nothing to decode. A recording that ends early is returned with `defect`
    set: the caller knows whether the window lies within the part that could be read.
    """
    with open_source(source, name) as handle:
        found = _decode_sndfile(handle, name, start, duration)
        if found is not None and found.defect is None and not found.unread:
            return found
        handle.seek(0)
        other = _decode_ffmpeg(handle, name, start, duration, required=found is None)
    if found is None:
        assert other is not None
        return other
    # A second opinion for damaged and chained files: only a longer, undamaged reading replaces the first.
    longer = other is not None and other.defect is None and other.end > found.end + TOLERANCE
    return other if other is not None and longer and other.end > found.announced - TOLERANCE else found


def to_float(samples: np.ndarray) -> np.ndarray:
    """float32: integers scaled by their range to [-1, 1) (unsigned: around the middle), floats as is."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    half = -float(np.iinfo(samples.dtype).min) or (float(np.iinfo(samples.dtype).max) + 1) / 2
    offset = half if samples.dtype.kind == "u" else 0.0
    return ((samples.astype(np.float64) - offset) / half).astype(np.float32)


def open_source(source: FileSource, name: str) -> BinaryIO:
    if isinstance(source, bytes):
        if not source:
            raise AudioError(f"{name} is empty (0 bytes): pass the bytes of an audio file.")
        return io.BytesIO(source)
    if re.match(r"[a-z][a-z0-9+.-]+://|data:", os.fspath(source), re.IGNORECASE):
        raise AudioError(f"{name} is a URL and only local files are opened: download it first.")
    try:
        mode = os.stat(source).st_mode
        # Opened by number, so that the handle carries no name from which ffmpeg could derive others.
        regular = stat.S_ISREG(mode)
        number = os.open(source, os.O_RDONLY | getattr(os, "O_BINARY", 0)) if regular else -1
    except FileNotFoundError:
        raise AudioError(f"{name} does not exist: check the path.") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{name} cannot be opened ({reason}): check the path and permissions.") from error
    if stat.S_ISDIR(mode):
        raise AudioError(f"{name} is a directory: name one audio file.")
    if not regular:
        raise AudioError(f"{name} is not a regular file: save the sound to a file or pass its bytes.")
    handle = io.FileIO(number, "rb")
    if os.fstat(number).st_size == 0:
        handle.close()
        raise AudioError(f"{name} is empty (0 bytes): record or copy it again.")
    return cast(BinaryIO, handle)


def check_rate(rate: int, name: str) -> int:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(f"{name} has a rate of {rate} Hz: convert it to {MIN_RATE} to {MAX_RATE} Hz.")
    return rate


def to_mono(samples: np.ndarray) -> np.ndarray:
    """(n, channels) -> (n,): the mean of the channels."""
    return samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)


class Reader(soundfile.SoundFile):
    """Sequential reader. soundfile seeks after every read, at which the mp3 and opus decoders lose their state."""

    def seekable(self) -> bool:
        return False


def _decode_sndfile(handle: BinaryIO, name: str, start: float, duration: float | None) -> Decoded | None:
    """The window by libsndfile, or None when it does not know the format."""
    # A descriptor spares a Python call per block read; in-memory files have none.
    opened = handle if isinstance(handle, io.BytesIO) else handle.fileno()
    try:
        file = Reader(opened, closefd=False)
    except soundfile.LibsndfileError:
        return None
    with file:
        if file.frames > 1 << 40:  # a flac written to a pipe states no length; ffmpeg can do without
            return None
        rate, total = check_rate(file.samplerate, name), file.frames
        first, last = source_range(rate, start, duration)
        first, last = min(first, total), min(total if last is None else last, total)
        wave, complete = _read_frames(file, first, last, CHUNK)
        position = handle.tell()
        kind, log = file.format, file.extra_info
    if not complete:
        handle.seek(0)
        with Reader(opened, closefd=False) as file:  # again, in small steps, up to the damage
            wave, _ = _read_frames(file, first, last, 1024)
    announced, defect = total / rate, None
    if not complete or len(wave) < last - first - TOLERANCE * rate:
        defect = shortfall((first + len(wave)) / rate, announced)
    elif last == total > 0:
        hidden = hidden_seconds(log, announced)
        if hidden <= announced + TOLERANCE and kind == "OGG" and ogg_cut(handle):
            hidden = float("inf")
        if hidden > announced + TOLERANCE:
            defect, announced = shortfall(announced, hidden), hidden
    unread = (
        last == total and kind in ("MP3", "OGG", "FLAC") and handle.seek(0, os.SEEK_END) - position > UNREAD
    )
    return Decoded(wave, rate, first, announced, defect, unread)


def _read_frames(file: Reader, first: int, last: int, chunk: int) -> tuple[np.ndarray, bool]:
    """Samples [first, last) as mono and True, or those before a decoding error and False."""
    # libsndfile lands beside the mark in some ogg files, and an mp3 frame builds on those before it.
    lead = {"OGG": first, "MP3": min(first, LEAD * file.samplerate)}.get(file.format, 0)
    at, parts, complete = first - lead, [np.zeros(0, np.float32)], True
    try:
        if at:
            file.seek(at)
        while at < last:
            block = file.read(min(chunk, last - at), dtype="float32", always_2d=True)
            if not len(block):
                break
            if at + len(block) > first:
                parts.append(to_mono(block[max(0, first - at) :]))
            at += len(block)
    except soundfile.LibsndfileError:
        complete = False
    return (parts[1] if len(parts) == 2 else np.concatenate(parts)), complete


def hidden_seconds(log: str, readable: float) -> float:
    """Seconds announced by the header of a wav, w64, rf64, aiff or au file.

    libsndfile shortens its frame count to the size of the file without an error; only its log shows that.
    """
    frames = re.search(r"frame count (\d+) does not match value from 'ds64' chunk of (\d+)", log)
    if frames:
        return readable * int(frames[2]) / max(1, int(frames[1]))
    length = re.search(r"^Length : (\d+)", log)
    data = re.search(r"^ *(?:data|SSND|Data Size) *: (\d+)(?: \(should be (\d+)\))?$", log, re.MULTILINE)
    if not length or not data or int(data[1]) >= UNKNOWN_SIZE:
        return readable
    held = int(data[2] or length[1])
    return readable * int(data[1]) / held if int(data[1]) > held > 0 else readable


def ogg_cut(handle: BinaryIO) -> bool:
    """True if the last page of an ogg file is incomplete (RFC 3533: ogg states no total length)."""
    size = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, size - 65_307))  # the largest page
    tail = handle.read()
    at = tail.rfind(b"OggS")
    if at < 0 or at + 27 > len(tail):
        return True
    table = tail[at + 27 : at + 27 + tail[at + 26]]
    return at + 27 + tail[at + 26] + sum(table) > len(tail)


def shortfall(readable: float, announced: float) -> str:
    total = "a longer recording" if announced == float("inf") else f"the announced {announced:.2f} s"
    return f"is truncated or damaged: only {readable:.2f} s of {total} can be read"


def _decode_ffmpeg(
    handle: BinaryIO, name: str, start: float, duration: float | None, *, required: bool
) -> Decoded | None:
    """The window by ffmpeg, from the first sound track. Decoded from the beginning: seeking is not exact."""
    try:
        container = open_container(handle, name)
    except AudioError:
        if required:
            raise
        return None
    with container:
        return _read_packets(container, name, start, duration)


def open_container(handle: Any, name: str, containers: str = CONTAINERS) -> Any:
    """PyAV's container of an object with `read`, of one of the named formats; AudioError if it has no sound."""
    import av

    try:
        safe = {"format_whitelist": containers, "protocol_whitelist": ""}
        container = av.open(handle, options=safe, metadata_errors="ignore")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise AudioError(
            f"{name} is not a readable audio file (or its header is cut off): "
            "convert it to wav, flac, mp3, ogg, m4a or webm, or copy it again."
        ) from error
    if not container.streams.audio:
        container.close()
        raise AudioError(f"{name} has no sound track: pass a file with audio in it.")
    return container


def frame_samples(frame: Any) -> np.ndarray:
    """(channels, n) of a frame of PyAV's, in the type of its codec."""
    block: np.ndarray = frame.to_ndarray()
    return block if frame.format.is_planar else block.reshape(-1, frame.layout.nb_channels).T


def _read_packets(container: Any, name: str, start: float, duration: float | None) -> Decoded:
    import av

    stream = container.streams.audio[0]
    rate = first = count = 0
    last: int | None = None
    reached, failed = 0.0, False  # reached: end in seconds of the latest packet of any track
    parts = [np.zeros(0, np.float32)]
    try:
        for packet in container.demux():
            if packet.pts is not None:
                reached = max(reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index != stream.index:
                continue
            for frame in packet.decode():
                if not rate:
                    rate = check_rate(frame.sample_rate, name)
                    first, last = source_range(rate, start, duration)
                elif frame.sample_rate != rate:
                    raise AudioError(f"{name} changes its sample rate midway: convert it to wav first.")
                block = frame_samples(frame)
                if count + block.shape[1] > first:
                    parts.append(to_mono(to_float(block[:, max(0, first - count) :]).T))
                count += block.shape[1]
            if last is not None and count >= last:
                break
    except (av.FFmpegError, EOFError):
        failed = True
    if not rate:
        raise AudioError(f"{name} has a sound track but none of it can be decoded: copy or convert it again.")
    whole = last is None or count < last
    declared = container.duration and container.format.name.split(",")[0] in DECLARING
    announced = container.duration / 1e6 if declared else float("inf")
    defect = None
    if failed or (whole and declared and reached < announced - 0.1):  # codecs round to whole packets
        defect = shortfall(count / rate, announced)
    wave = np.concatenate(parts)
    wave = wave if last is None else wave[: max(0, last - first)]
    return Decoded(wave, rate, min(first, count), announced, defect)

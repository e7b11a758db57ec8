"""Recordings as a stream of pieces: equal to the whole, from files and pipes, damaged or not, in bounded memory."""

import contextlib
import io
import os
import threading
import tracemalloc

import dummies
import numpy as np
import pytest
import soundfile

from qwen_audio.audio.load import AudioError, load_audio
from qwen_audio.audio.stream import open_blocks

pytestmark = pytest.mark.versions

KINDS = [*dummies.SNDFILE, *dummies.FFMPEG]


def joined(source, **how):
    blocks = open_blocks(source, **how)
    return np.concatenate(list(blocks)), blocks


def piped(data):
    """A pipe that another thread fills."""
    read, write = os.pipe()

    def fill():
        with contextlib.suppress(BrokenPipeError), os.fdopen(write, "wb") as end:
            end.write(data)  # a reader that has refused the rest closes the pipe

    threading.Thread(target=fill, daemon=True).start()
    return os.fdopen(read, "rb")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_the_pieces_are_the_whole(tmp_path, kind, rate):
    data = dummies.encode(dummies.chirp(3.3, rate), rate, kind)
    path = tmp_path / f"clip.{kind}"
    path.write_bytes(data)
    whole = load_audio(data)
    for source in (path, data, io.BytesIO(data)):
        wave, blocks = joined(source)
        assert wave.dtype == np.float32 and len(wave) == len(whole) and np.abs(wave - whole).max() < 1e-4
        assert blocks.defect is None and blocks.seconds == pytest.approx(len(whole) / 16_000)
        assert blocks.announced == pytest.approx(3.3, abs=0.15)


@pytest.mark.parametrize("kind", ["wav", "flac", "webm", "aiff", "aac"])
def test_a_pipe_gives_what_the_file_gives(kind):
    data = dummies.encode(dummies.chirp(2.0, 44_100), 44_100, kind)
    wave, blocks = joined(piped(data))
    assert blocks.defect is None
    assert len(wave) == len(load_audio(data)) and np.abs(wave - load_audio(data)).max() < 1e-4


def test_samples_without_a_header(tmp_path):
    wave = dummies.chirp(1.5, 8_000)
    samples = (wave * 32767).astype("<i2").tobytes()
    expected = load_audio((np.frombuffer(samples, "<i2"), 8_000))
    found, blocks = joined(piped(samples), raw_rate=8_000)
    assert np.abs(found - expected).max() < 1e-6 and blocks.defect is None
    assert "middle of a sample" in joined(piped(samples + b"x"), raw_rate=8_000)[1].defect
    with pytest.raises(AudioError, match="16 Hz is not one of sound"):
        open_blocks(piped(samples), raw_rate=16)


def test_arrays_come_in_pieces_too():
    wave = dummies.chirp(4.0, 22_050)
    assert np.abs(joined((wave, 22_050))[0] - load_audio((wave, 22_050))).max() < 1e-4
    assert len(list(open_blocks((dummies.chirp(4.0), 16_000)))) == 4


def test_a_recording_is_read_once():
    blocks = open_blocks((dummies.chirp(), 16_000))
    assert list(blocks)
    with pytest.raises(ValueError, match="read already"):
        list(blocks)


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "ogg", "aiff", "rf64", "mkv"])
def test_of_a_truncated_file_the_beginning_comes_and_the_rest_is_told(kind):
    data = dummies.encode(dummies.noise(6.0), 16_000, kind)
    cut = data[: len(data) * 2 // 3]
    with pytest.raises(AudioError):
        load_audio(cut)
    wave, blocks = joined(cut)
    assert 2.0 < len(wave) / 16_000 < 5.0
    assert "truncated or damaged: only" in blocks.defect
    whole = load_audio(data)[: len(wave) - 4000]
    assert np.abs(wave[: len(whole)] - whole).max() < 1e-4


def test_a_file_that_a_pipe_cannot_give_is_refused():
    with pytest.raises(AudioError, match="not from a pipe: save it and name the file"):
        open_blocks(piped(dummies.encode(dummies.noise(60.0), 16_000, "m4a")))


def test_a_truncated_pipe_is_told():
    data = dummies.encode(dummies.noise(6.0), 16_000, "flac")
    assert "truncated" in joined(piped(data[: len(data) // 2]))[1].defect


def test_ctrl_c_while_a_pipe_is_read_is_raised_and_not_swallowed():
    class Interrupted(io.BytesIO):
        def seekable(self):
            return False

        def read1(self, size=-1):
            if self.tell() > 50_000:
                raise KeyboardInterrupt
            return super().read1(min(size, 16_384))

    heard = []
    with pytest.raises(KeyboardInterrupt):
        heard.extend(open_blocks(Interrupted(dummies.encode(dummies.noise(6.0), 16_000, "wav"))))
    assert sum(map(len, heard)) > 20_000


def test_a_sample_that_is_no_number_ends_the_recording():
    wave = dummies.noise(2.0)
    wave[20_000:20_010] = np.nan
    found, blocks = joined(dummies.encode(wave, 16_000, "wav_float"))
    assert len(found) == 20_000 and blocks.defect.startswith("has NaN or infinite samples from 1.250 s on")
    with pytest.raises(AudioError, match=r"from 0\.000 s on"):
        list(open_blocks((np.full(100, np.nan, np.float32), 16_000)))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.wav", "does not exist"),
        ("https://example.org/a.wav", "is a URL"),
        (b"", "empty"),
        (b"no sound at all " * 100, "not a readable audio file"),
        (dummies.encode(np.zeros(0, np.float32), 16_000, "wav"), "holds no samples"),
        (io.StringIO("text"), "opened as text"),
        ((np.zeros((2, 2, 2)), 16_000), "has shape"),
        (7, "cannot be a int"),
    ],
)
def test_what_cannot_be_read_is_refused_at_once(source, message):
    with pytest.raises(AudioError, match=message):
        open_blocks(source)


def test_memory_does_not_grow_with_the_length(tmp_path):
    def peak(seconds):
        path = tmp_path / f"{seconds}.wav"
        with soundfile.SoundFile(path, "w", 44_100, 2, "PCM_16") as file:
            for _ in range(seconds // 10):
                file.write(np.zeros((441_000, 2), np.float32))
        tracemalloc.start()
        total = sum(len(block) for block in open_blocks(path))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total == seconds * 16_000
        return top

    short, long = peak(20), peak(200)
    assert long < 1.5 * short and long < 16_000 * 200 * 4 / 4  # a quarter of what the samples need


def test_a_file_of_several_gigabytes_is_read_from_its_beginning(tmp_path):
    path = tmp_path / "large.wav"
    with soundfile.SoundFile(path, "w", 48_000, 2, "PCM_16", format="RF64") as file:
        file.write(np.full((48_000, 2), 0.25, np.float32))
    size = 5 << 30
    data = bytearray(path.read_bytes())
    ds64 = (
        data.index(b"ds64") + 8
    )  # sizes of the file and of its samples, and the count of frames (EBU Tech 3306)
    start = data.index(b"data") + 8
    numbers = (size - 8, size - start, (size - start) // 4)
    data[ds64 : ds64 + 24] = b"".join(number.to_bytes(8, "little") for number in numbers)
    data[:4] = b"RF64"
    data[4:8] = data[start - 4 : start] = b"\xff" * 4
    path.write_bytes(data)
    os.truncate(path, size)  # the rest takes no room on the disk
    blocks = open_blocks(path)
    assert blocks.announced == pytest.approx((size - start) / 4 / 48_000, rel=1e-6)
    iterator = iter(blocks)
    assert np.abs(next(iterator)[1000:4000] - 0.25).max() < 1e-3
    assert sum(len(next(iterator)) for _ in range(20)) > 10 * 8_000

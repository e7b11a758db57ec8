"""Every kind of recording opens, and every broken one gives one clear sentence."""

from __future__ import annotations

import io
import json
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from dummies import FFMPEG, SNDFILE, chirp, encode, film_without_sound, noise

from qwen_audio.audio import decode
from qwen_audio.audio.load import SAMPLE_RATE, AudioError, load_audio

pytestmark = pytest.mark.versions

LOSSY = {"mp3", "ogg", "opus", "m4a", "mp4", "webm", "aac"}


def match(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest correlation of two waveforms over shifts of at most 70 ms (codecs delay)."""
    n, most = len(wanted) // 2, 1100
    part = wanted[n - 2000 : n + 2000]
    shifts = [found[n - 2000 + s : n + 2000 + s] for s in range(-most, most)]
    return max(float(np.corrcoef(part, shifted)[0, 1]) for shifted in shifts)


def complaint(source: object, **window: float) -> str:
    """The message of the AudioError that loading must raise: one line, one sentence."""
    with pytest.raises(AudioError) as caught:
        load_audio(source, **window)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 250
    return text


# --- what opens -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", [*SNDFILE, *FFMPEG])
def test_every_container_opens_from_path_and_bytes(container: str, tmp_path: Path) -> None:
    wave = chirp(1.5)
    data = encode(wave, SAMPLE_RATE, container)
    path = tmp_path / f"声音 {container}.bin"  # the content decides, not the name
    path.write_bytes(data)
    loaded = load_audio(path)
    assert loaded.dtype == np.float32 and loaded.ndim == 1 and loaded.flags.c_contiguous
    assert abs(len(loaded) - len(wave)) <= (2100 if container in LOSSY else 0)
    assert match(loaded, wave) > 0.98
    np.testing.assert_array_equal(load_audio(data), loaded)
    np.testing.assert_array_equal(load_audio(str(path)), loaded)
    np.testing.assert_array_equal(load_audio(io.BytesIO(data)), loaded)
    with open(path, "rb") as handle:
        np.testing.assert_array_equal(load_audio(handle), loaded)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 24000, 44100, 48000, 96000, 192000])
def test_sample_rates_are_resampled(rate: int) -> None:
    loaded = load_audio(encode(chirp(1.0, rate), rate, "wav_float"))
    assert abs(len(loaded) - SAMPLE_RATE) <= 1
    wanted = chirp(1.0)
    n = min(len(loaded), len(wanted))
    np.testing.assert_allclose(loaded[800 : n - 800], wanted[800 : n - 800], atol=2e-3)


def test_channels_are_averaged() -> None:
    tracks = np.stack([noise(0.5, seed=k) for k in range(8)], axis=1)
    np.testing.assert_allclose(
        load_audio(encode(tracks, SAMPLE_RATE, "wav_float")), tracks.mean(1), atol=1e-6
    )


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("container", ["flac", "mp3", "ogg", "opus", "m4a", "webm"])
def test_a_window_is_the_same_part_of_the_whole(container: str, rate: int) -> None:
    if container == "opus" and rate == 44100:
        rate = 24000  # opus has no 44.1 kHz
    data = encode(chirp(5.0, rate), rate, container)
    whole = load_audio(data)
    for start in (0.03, 1.703, 4.3):
        part, begin = load_audio(data, start=start, duration=0.5), round(start * SAMPLE_RATE)
        assert len(part) == 8000
        np.testing.assert_allclose(part, whole[begin : begin + 8000], atol=2e-5)
    np.testing.assert_allclose(load_audio(data, start=3.5), whole[56000:], atol=2e-5)


@pytest.mark.parametrize("container", ["wav", "flac", "mp3", "ogg", "opus"])
def test_reading_in_pieces_changes_nothing(container: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(chirp(2.0), SAMPLE_RATE, container)
    whole = load_audio(data)
    monkeypatch.setattr(decode, "CHUNK", 5000)
    np.testing.assert_allclose(load_audio(data), whole, atol=1e-5)


def test_a_window_may_pass_the_end_by_rounding_only() -> None:
    data = encode(chirp(1.0), SAMPLE_RATE, "wav")
    assert len(load_audio(data, start=0.5, duration=0.55)) == 8000
    assert "1.00 s long" in complaint(data, start=0.5, duration=0.7)
    assert "1.00 s long" in complaint(data, start=1.0)
    assert "start is -0.5" in complaint(data, start=-0.5)
    assert "duration is 0" in complaint(data, duration=0)
    assert "start is nan" in complaint(data, start=float("nan"))


def test_long_recordings_are_not_cut() -> None:
    assert len(load_audio((noise(65), SAMPLE_RATE))) == 65 * SAMPLE_RATE


def test_chained_streams_are_read_to_the_end() -> None:
    first, second = encode(chirp(3.0), SAMPLE_RATE, "mp3"), encode(noise(3.0), SAMPLE_RATE, "mp3")
    assert len(load_audio(first + second)) >= 6.0 * SAMPLE_RATE


def test_damage_in_the_middle_is_an_error_and_its_surroundings_load() -> None:
    data = bytearray(encode(noise(4.0), SAMPLE_RATE, "flac"))
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    found = re.search(r"only (\d\.\d+) s of the announced 4.00 s", complaint(bytes(data)))
    assert found and 1.5 < float(found[1]) < 2.1
    assert len(load_audio(bytes(data), duration=1.0)) == SAMPLE_RATE
    assert len(load_audio(bytes(data), start=3.0)) == SAMPLE_RATE


def test_a_flac_without_a_length_is_read() -> None:
    data = bytearray(encode(chirp(1.0), SAMPLE_RATE, "flac"))
    data[8 + 13] &= 0xF0  # the 36-bit sample count of the header: zero means unknown
    data[8 + 14 : 8 + 18] = bytes(4)
    assert len(load_audio(bytes(data))) == SAMPLE_RATE


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_written_to_a_pipe_is_read(size: int) -> None:
    data = encode(chirp(1.0), SAMPLE_RATE, "wav")
    at = data.index(b"data") + 4
    assert len(load_audio(data[:at] + struct.pack("<I", size) + data[at + 4 :])) == SAMPLE_RATE


# --- arrays -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.uint16])
def test_integers_are_scaled_by_their_type(dtype: type) -> None:
    limits = np.iinfo(dtype)
    middle = 0 if limits.min < 0 else (limits.max + 1) // 2
    samples = np.array([limits.min, middle, limits.max], dtype=dtype)
    np.testing.assert_allclose(load_audio((samples, SAMPLE_RATE)), [-1, 0, 1], atol=0.01)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_taken_as_they_are(dtype: type) -> None:
    samples = np.array([0.5, -1.5, 0.25], dtype=dtype)
    loaded = load_audio((samples, SAMPLE_RATE))
    np.testing.assert_array_equal(loaded, np.array([0.5, -1.5, 0.25], np.float32))


def test_the_channel_axis_of_an_array() -> None:
    tracks = np.stack([noise(0.1, seed=k) for k in range(2)])
    mean = tracks.mean(0)
    np.testing.assert_allclose(load_audio((tracks, SAMPLE_RATE)), mean, atol=1e-7)
    np.testing.assert_allclose(load_audio((tracks.T, SAMPLE_RATE)), mean, atol=1e-7)
    np.testing.assert_array_equal(load_audio((tracks[:1], SAMPLE_RATE)), tracks[0])
    np.testing.assert_array_equal(load_audio((tracks[:1, :5].T, SAMPLE_RATE)), tracks[0, :5])
    for shape in ((2, 5), (40, 50), (16, 16)):
        assert "channel axis" in complaint((np.zeros(shape, np.float32), SAMPLE_RATE))
    for shape in ((2, 3, 4), ()):
        assert "shape" in complaint((np.zeros(shape, np.float32), SAMPLE_RATE))


def test_wrong_arrays() -> None:
    wave = noise(0.1)
    assert "no samples" in complaint((wave[:0], SAMPLE_RATE))
    assert "no samples" in complaint((np.zeros((2, 0), np.float32), SAMPLE_RATE))
    assert "int64" in complaint((np.zeros(100, np.int64), SAMPLE_RATE))
    assert "complex" in complaint((np.zeros(100, complex), SAMPLE_RATE))
    assert "32768" in complaint((wave * 32768, SAMPLE_RATE))
    for rate in (0, -16000, 16.0, 44100.5, float("nan"), "x", None):
        assert "rate" in complaint((wave, rate))
    assert "pair" in complaint((wave, SAMPLE_RATE, 3))
    assert "pair" in complaint((SAMPLE_RATE, wave))
    assert "less than one sample" in complaint((wave[:1], 192_000))
    for value in (np.nan, np.inf, -np.inf):
        broken = wave.copy()
        broken[800:803] = value
        text = complaint((broken, SAMPLE_RATE))
        assert "3 NaN or infinite" in text and "0.050 s" in text
    assert "int" in complaint(7) and "NoneType" in complaint(None)


# --- what does not open -----------------------------------------------------------------------------------


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    missing = tmp_path / "missing.wav"
    assert str(missing) in complaint(missing) and "does not exist" in complaint(str(missing))
    assert "directory" in complaint(tmp_path)
    empty = tmp_path / "empty.wav"
    empty.touch()
    assert "0 bytes" in complaint(empty) and str(empty) in complaint(empty)
    assert "empty" in complaint(b"") and "rewind" in complaint(io.BytesIO())
    assert "'rb'" in complaint(io.StringIO("text"))
    assert "cannot be opened" in complaint("null\0character.wav")
    os.mkfifo(tmp_path / "pipe")
    assert "regular file" in complaint(tmp_path / "pipe")
    random = np.random.default_rng(1).bytes(20_000)
    for number, data in enumerate(
        (b"no audio here\n" * 99, bytes(5000), random, b"\x89PNG\r\n\x1a\n" + random)
    ):
        path = tmp_path / f"{number}.wav"
        path.write_bytes(data)
        assert "not a readable audio file" in complaint(path) and str(path) in complaint(path)
    for name in ("a.raw", "a.wav", "a.mp3"):  # a name must not change how content is read
        path = tmp_path / name
        path.write_bytes(encode(chirp(0.2), SAMPLE_RATE, "flac"))
        assert len(load_audio(path)) == 3200
    assert "no sound track" in complaint(film_without_sound())
    assert "no samples" in complaint(encode(np.zeros(0, np.float32), SAMPLE_RATE, "wav"))


def test_files_with_nan() -> None:
    wave = noise(0.5)
    wave[4000] = np.nan
    assert "1 NaN or infinite samples from 0.250 s" in complaint(encode(wave, SAMPLE_RATE, "wav_float"))


def test_no_urls_playlists_or_protocols(tmp_path: Path) -> None:
    target = tmp_path / "target.wav"
    target.write_bytes(encode(chirp(1.0), SAMPLE_RATE, "wav"))
    for url in (
        "http://127.0.0.1:9/a.wav",
        f"file://{target}",
        "HTTPS://x/y.mp3",
        "data:audio/wav;base64,AA",
    ):
        assert "URL" in complaint(url)
    for protocol in (
        f"concat:{target}",
        f"subfile,,start,0,end,0,,:{target}",
        f"file:{target}",
        "-",
        "pipe:0",
    ):
        assert "does not exist" in complaint(protocol)
    concat = f"ffconcat version 1.0\nfile '{target.name}'\n".encode()
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n".encode()
    description = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n"
    for data, suffix in ((concat, "ffconcat"), (playlist, "m3u8"), (description, "sdp"), (playlist, "wav")):
        path = tmp_path / f"list.{suffix}"
        path.write_bytes(data)
        assert "not a readable audio file" in complaint(path)
        assert "not a readable audio file" in complaint(data)


@pytest.mark.parametrize(
    "container", ["wav", "wav_float", "w64", "rf64", "aiff", "au", "flac", "mp3", "mkv", "webm"]
)
def test_truncated_files_say_how_much_is_left(container: str, tmp_path: Path) -> None:
    data = encode(noise(4.0), SAMPLE_RATE, container)
    path = tmp_path / "cut.bin"
    path.write_bytes(data[: len(data) * 6 // 10])
    text = complaint(path)
    found = re.search(r"only (\d+\.\d+) s of the announced (\d+\.\d+) s", text)
    assert found, text
    assert 2.0 < float(found[1]) < 2.8 and abs(float(found[2]) - 4.0) < 0.06
    assert "only" in complaint(data[: len(data) * 6 // 10])
    assert len(load_audio(path, start=0.5, duration=1.0)) == SAMPLE_RATE  # what is left can be asked for
    assert "only" in complaint(path, start=0.5, duration=3.0)
    assert complaint(data[: len(data) // 200]).startswith("audio of ")


@pytest.mark.parametrize("container", ["ogg", "opus", "aac"])
def test_truncated_files_that_announce_no_length(container: str) -> None:
    data = encode(noise(4.0), SAMPLE_RATE, container)
    text = complaint(data[: len(data) * 6 // 10])
    assert "only" in text and "truncated" in text


@pytest.mark.parametrize("container", ["m4a", "mp4", "mov"])
def test_truncated_files_without_their_index(container: str) -> None:
    data = encode(noise(4.0), SAMPLE_RATE, container)
    assert "cut off" in complaint(data[: len(data) * 6 // 10])


def test_reference_recordings_load_with_the_published_lengths(shared: Path) -> None:
    for name, facts in json.loads((shared / "golden/mel/decoded_pcm.json").read_text()).items():
        wave = load_audio(shared / "audio" / name)
        assert len(wave) == facts["samples_16k"], name
        assert abs(np.abs(wave).mean() - facts["abs_mean"]) < 0.01 * facts["abs_mean"], name

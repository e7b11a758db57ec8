"""Leaks of test examples into training data, planted and absent, on recordings made here."""

from __future__ import annotations

import os
from pathlib import Path

import dummies
import numpy as np
import pytest
import soundfile
import soxr
from paths import ROOT

from qwen_audio.audio.load import AudioError
from qwen_audio.data.manifest import AudioRef, Example, ManifestError, read_manifest, write_manifest
from qwen_audio.eval.audio_match import ClipCache, clip_of
from qwen_audio.eval.leaks import drop, find_leaks, said, summary

SENTENCE = "the quick brown fox jumps over the lazy dog today"


def voice(seed: int, seconds: float = 3.0) -> np.ndarray:
    """Something like speech: harmonics whose pitch and loudness wander, with pauses; 16 bits."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * 16_000)) / 16_000
    knots = np.linspace(0, seconds, int(6 * seconds))
    pitch = np.interp(time, knots, rng.uniform(90, 300, knots.size))
    phase = 2 * np.pi * np.cumsum(pitch) / 16_000
    parts = [
        np.interp(time, knots, rng.uniform(0, 1, knots.size) ** 3) * np.sin(n * phase) for n in range(1, 12)
    ]
    wave = np.sum(parts, axis=0) + 0.02 * rng.standard_normal(time.size)
    return (np.round(wave / np.abs(wave).max() * 20_000) / 32768).astype(np.float32)


def save(path: Path, wave: np.ndarray, rate: int = 16_000, subtype: str | None = "PCM_16") -> Path:
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, wave, rate, subtype=subtype)
    return path


def row(name: str, path: Path, **fields: object) -> Example:
    audio = [AudioRef(path=str(path), start=fields.pop("start", 0.0), duration=fields.pop("duration", None))]
    return Example(id=name, audio=audio, **{"task": "sound_event", "text": "voice", "source": "s", **fields})


@pytest.fixture
def test_set(tmp_path: Path) -> list[Example]:
    """Five recordings; the rows before them share nothing with any training row."""
    return [row(f"t{k}", save(tmp_path / "test" / f"{k}.wav", voice(k))) for k in range(5)]


def train(folder: Path, *rows: Example) -> Path:
    write_manifest(folder / "train.jsonl", [row("other", save(folder / "other.wav", voice(99))), *rows])
    return folder / "train.jsonl"


def kinds(leaks: object) -> list[tuple[str, str]]:
    return [(leak.id, leak.kind) for leak in leaks]


def test_nothing_is_found_where_nothing_is(tmp_path: Path, test_set: list[Example]) -> None:
    rows = [row(f"r{k}", save(tmp_path / f"{k}.wav", voice(100 + k))) for k in range(10)]
    assert find_leaks(test_set, [train(tmp_path, *rows)]) == []
    assert drop(test_set, []) == test_set and summary(test_set, []) == []


def test_an_id_counts_within_its_source(tmp_path: Path, test_set: list[Example]) -> None:
    path = save(tmp_path / "a.wav", voice(50))
    manifest = train(tmp_path, row("t1", path), row("t2", path, source="another"), row("t9", path))
    (leak,) = find_leaks(test_set, [manifest])
    assert (leak.id, leak.kind, leak.line, leak.other_id, leak.rows) == ("t1", "id", 2, "t1", 1)
    assert leak.manifest == str(manifest)


COPIES = {
    "another path": lambda wave, to: save(to.with_suffix(".wav"), wave),
    "flac": lambda wave, to: save(to.with_suffix(".flac"), wave),
    "24 bits": lambda wave, to: save(to.with_suffix(".wav"), wave, subtype="PCM_24"),
    "mp3": lambda wave, to: save(to.with_suffix(".mp3"), wave, subtype=None),
    "ogg": lambda wave, to: save(to.with_suffix(".ogg"), wave, subtype=None),
    "8 kHz": lambda wave, to: save(to.with_suffix(".wav"), soxr.resample(wave, 16_000, 8000), 8000),
    "44.1 kHz": lambda wave, to: save(to.with_suffix(".wav"), soxr.resample(wave, 16_000, 44_100), 44_100),
    "quieter": lambda wave, to: save(to.with_suffix(".wav"), 0.2 * wave),
    "cut": lambda wave, to: save(to.with_suffix(".wav"), wave[9_000:-7_000]),
    "inside another": lambda wave, to: save(to.with_suffix(".wav"), np.r_[voice(70), wave, voice(71)]),
}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_of_a_recording_are_found(kind: str, tmp_path: Path, test_set: list[Example]) -> None:
    copy = COPIES[kind](voice(3), tmp_path / "copy")
    (leak,) = find_leaks(test_set, [train(tmp_path, row("r", copy))])
    assert (leak.id, leak.kind, leak.other_id) == ("t3", "audio", "r")
    assert (leak.how == "the same samples") == (kind in ("another path", "flac", "24 bits"))
    assert drop(test_set, [leak]) == [one for one in test_set if one.id != "t3"]
    assert drop(test_set, [leak], kinds=("id",)) == test_set


def test_short_clips_are_found_by_their_samples_alone(tmp_path: Path) -> None:
    short = voice(3, 0.5)
    asked = [row("short", save(tmp_path / "test" / "a.wav", short))]
    same = row("same", save(tmp_path / "a.flac", short))
    assert kinds(find_leaks(asked, [train(tmp_path, same)])) == [("short", "audio")]
    lossy = row("lossy", save(tmp_path / "a.mp3", short, subtype=None))
    assert find_leaks(asked, [train(tmp_path, lossy)]) == []  # what the page on leaks says is not found


def test_windows_of_one_file(tmp_path: Path) -> None:
    long = save(tmp_path / "long.wav", voice(1, 12.0))
    os.link(long, tmp_path / "link.wav")
    asked = [row("w", long, start=4.0, duration=3.0)]
    for start, duration, found in (
        (0.0, 4.2, 0),
        (0.0, 4.6, 1),
        (7.0, 3.0, 0),
        (5.0, 0.4, 1),
        (0.0, None, 1),
    ):
        for name in ("long.wav", "link.wav"):
            window = row("r", tmp_path / name, start=start, duration=duration)
            assert len(find_leaks(asked, [train(tmp_path, window)])) == found, (start, duration)
    same = row("r", save(tmp_path / "cut.wav", voice(1, 12.0)[64_000:112_000]))
    (leak,) = find_leaks(asked, [train(tmp_path, same)])
    assert leak.how == "the same samples"


def test_long_transcripts_are_compared_as_they_are_spoken(tmp_path: Path) -> None:
    path = save(tmp_path / "a.wav", voice(1))
    speech = {"task": "asr", "language": "en"}
    asked = [
        row("long", path, text=SENTENCE, **speech),
        row("short", path, text="the quick brown fox", **speech),
        row("chinese", path, text="今天天气很好我们去公园散步吧大家都很高兴", task="asr", language="zh"),
        row("caption", path, text=SENTENCE, task="audio_caption"),
    ]
    written = "The quick brown fox jumps over the lazy dog, today!"
    other = save(tmp_path / "b.wav", voice(2))
    rows = [
        row("r1", other, text=written, **speech),
        row("r2", other, text="the quick brown fox", **speech),
        row("r3", other, text="今天天气很好，我们去公园散步吧，大家都很高兴。", task="asr", language="zh"),
        row("r4", other, text=SENTENCE, task="audio_caption"),
        row("r5", other, text=SENTENCE, **speech),
    ]
    leaks = find_leaks(asked, [train(tmp_path, *rows)])
    assert kinds(leaks) == [("long", "transcript"), ("chinese", "transcript")]
    assert leaks[0].other_id == "r1" and leaks[0].rows == 2
    assert find_leaks(asked, [tmp_path / "train.jsonl"], kinds=("id", "audio")) == []
    words = [[word, 0.1 * k, 0.1 * k + 0.1] for k, word in enumerate(SENTENCE.split())]
    assert said(row("w", path, task="word_timestamps", words=words, language="en")) == SENTENCE


def test_the_summary_and_the_cache(tmp_path: Path, test_set: list[Example]) -> None:
    save(tmp_path / "copy.flac", voice(2))
    twice = [row("r1", tmp_path / "copy.flac"), row("r2", tmp_path / "copy.flac")]
    manifest, cache = train(tmp_path, *twice), tmp_path / "deep" / "clips.sqlite"
    seen: list[tuple[int, int]] = []
    leaks = find_leaks(test_set, [manifest], cache=cache, progress=lambda *at: seen.append(at))
    assert [leak.rows for leak in leaks] == [2] and seen[-1][0] == seen[-1][1] == manifest.stat().st_size
    (line,) = summary(test_set, leaks)
    assert {key: line[key] for key in ("source", "task", "kind", "n", "leaked", "share")} == {
        "source": "s", "task": "sound_event", "kind": "audio", "n": 5, "leaked": 1, "share": 0.2,
    }  # fmt: skip
    assert line["first"] == f"t2: the same samples as r1, {manifest} line 2"
    kept = ClipCache(cache)
    for example in test_set:
        clip = kept.clip(example.audio[0].path)
        fresh = clip_of(soundfile.read(example.audio[0].path, dtype="float32")[0])
        assert clip.digest == fresh.digest and np.array_equal(clip.prints, fresh.prints)
    assert kept.read == 0
    save(Path(test_set[0].audio[0].path), voice(60, 2.0))  # another size: computed anew
    assert kept.clip(test_set[0].audio[0].path).seconds == 2.0 and kept.read == 1
    kept.close()
    assert find_leaks(test_set, [manifest], cache=cache) == leaks


def test_what_cannot_be_read_is_not_clean(tmp_path: Path, test_set: list[Example]) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"nothing")
    manifest = train(tmp_path, row("r", broken), row("t1", Path(test_set[0].audio[0].path), source="x"))
    with pytest.raises(AudioError, match=r"train\.jsonl line 2: .*cannot be found clean"):
        find_leaks(test_set, [manifest])
    unread: list[str] = []
    assert kinds(find_leaks(test_set, [manifest], unread=unread)) == [("t0", "audio")]
    assert len(unread) == 1 and "line 2" in unread[0]
    manifest.write_text("{}\n")
    with pytest.raises(ManifestError, match="line 1"):
        find_leaks(test_set, [manifest])
    with pytest.raises(ManifestError, match="cannot be read"):
        find_leaks(test_set, [tmp_path / "none.jsonl"])
    with pytest.raises(ValueError, match="unknown kind of leak 'sound'"):
        find_leaks(test_set, [manifest], kinds=("sound",))
    with pytest.raises(ValueError, match="is no cache of clips"):
        find_leaks(test_set, [manifest], cache=broken)


def test_silence_and_noise_are_like_nothing_else(tmp_path: Path) -> None:
    noise = [row(f"n{k}", save(tmp_path / f"n{k}.wav", 0.5 * dummies.noise(3.0, seed=k))) for k in range(4)]
    quiet = row("q", save(tmp_path / "q.wav", np.zeros(48_000, np.float32)))
    hiss = [
        row(f"h{k}", save(tmp_path / f"h{k}.wav", 0.5 * dummies.noise(3.0, seed=9 + k))) for k in range(4)
    ]
    silent = row("z", save(tmp_path / "z.wav", np.zeros(40_000, np.float32)))
    assert find_leaks([*noise, quiet], [train(tmp_path, *hiss, silent)]) == []


def test_the_shared_recordings_have_the_leaks_that_are_known(tmp_path: Path) -> None:
    """Takes of one recording in both splits, whose waveforms correlate by 0.99 and more."""
    corpus = ROOT.parent / "shared" / "corpus"
    if not (corpus / "test.jsonl").is_file():
        pytest.skip("the shared recordings are not here")
    asked, rows = (
        [one for one in read_manifest(corpus / f"{split}.jsonl") if one.source in ("wakeword", "audio_cmn")]
        for split in ("test", "train")
    )
    write_manifest(tmp_path / "train.jsonl", rows)
    leaks = find_leaks(asked, [tmp_path / "train.jsonl"])
    assert {(leak.id.split("#")[0], leak.kind) for leak in leaks} == {
        ("wake-computer-1cc8fb09-3467-4cfe-abb1-ca030642bc3b", "audio"),
        ("wake-jarvis-21a559f4-403f-4153-b41c-d66151a6a029", "audio"),
    }

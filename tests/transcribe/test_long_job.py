"""Recordings of any length to text: order and times, what is noted on the way, and jobs that are killed."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import dummies
import numpy as np
import pytest
import soundfile
import tiny

import qwen_audio
from qwen_audio.audio.load import AudioError, load_audio
from qwen_audio.audio.stream import open_blocks
from qwen_audio.format.timestamps import Word
from qwen_audio.results.passages import Passage
from qwen_audio.show.demo import CLIPS
from qwen_audio.transcribe.journal import Journal
from qwen_audio.transcribe.live import Live
from qwen_audio.transcribe.recording import Options, transcribe_all, transcribe_blocks, whole_of

RATE = 16_000
ORDER = ["up", "hiss", "down", "up", "up", "down", "hiss", "down", "up", "hiss"]
SOUND = Options(detect="sound", batch_size=2, word_timestamps=True)


@pytest.fixture(scope="module")
def model():
    return qwen_audio.load(tiny.trained()[0] / "model", device="cpu")


@pytest.fixture(scope="module")
def recording():
    """Clips that the tiny model knows, with silences: the sound, and where each clip begins in seconds."""
    parts, starts = [], []
    for number, name in enumerate(ORDER):
        parts.append(np.zeros(round(RATE * (0.7 + 0.13 * number)), np.float32))
        starts.append(sum(map(len, parts)) / RATE)
        parts.append(tiny.CLIPS[name])
    return np.concatenate([*parts, np.zeros(RATE, np.float32)]), starts


def alone(window_seconds=0.2):
    """What the tiny model says to each clip with its silent surroundings."""
    pad = np.zeros(round(window_seconds * RATE), np.float32)
    return {name: np.concatenate([pad, clip, pad]) for name, clip in tiny.CLIPS.items()}


def test_passages_come_in_order_with_their_times(model, recording):
    wave, starts = recording
    result = model.transcribe((wave, RATE), word_timestamps=True, detect="sound", batch_size=3)
    assert len(result.segments) == len(ORDER) and result.duration == pytest.approx(len(wave) / RATE, abs=1e-3)
    for segment, name, start in zip(result.segments, ORDER, starts, strict=True):
        assert segment.start == pytest.approx(start, abs=0.02)
        assert segment.end == pytest.approx(start + len(tiny.CLIPS[name]) / RATE, abs=0.02)
        expected = model.transcribe((alone()[name], RATE), word_timestamps=True, detect="sound")
        assert segment.text == expected.text and segment.language == expected.language
        shift = start - 0.2
        for word, other in zip(segment.words, expected.words, strict=True):
            assert word.start == pytest.approx(other.start + shift, abs=0.02)
    assert result.words == [word for segment in result.segments for word in segment.words]
    assert all(a.end <= b.start for a, b in zip(result.words, result.words[1:], strict=False))
    assert result.text == " ".join(segment.text for segment in result.segments)


def test_the_same_whatever_the_batch_and_as_a_stream(model, recording):
    wave, _ = recording
    options = {"word_timestamps": True, "detect": "sound"}
    whole = model.transcribe((wave, RATE), batch_size=8, **options).segments
    assert model.transcribe((wave, RATE), batch_size=1, **options).segments == whole
    blocks = (wave[at : at + 3_000] for at in range(0, len(wave), 3_000))
    assert list(model.transcribe_stream(blocks, **options)) == whole
    assert list(model.transcribe_stream((wave, RATE), **options)) == whole


def test_a_stream_gives_each_passage_as_soon_as_it_has_ended(model, recording):
    wave, starts = recording
    given = 0

    def blocks():
        nonlocal given
        for at in range(0, len(wave), 1_600):
            given = at + 1_600
            yield wave[at : at + 1_600]

    first = next(model.transcribe_stream(blocks(), detect="sound"))
    assert first.start == pytest.approx(starts[0], abs=0.02) and given / RATE < first.end + 1.2


@pytest.mark.parametrize("block", [np.zeros((2, 2)), np.zeros(5, np.int16), np.array([np.nan])])
def test_blocks_must_be_sound(model, block):
    with pytest.raises(AudioError, match="give finite floats of shape"):
        list(model.transcribe_stream([block]))


def test_what_is_no_speech_gives_no_text(model):
    for wave in (np.zeros(RATE * 3, np.float32), dummies.noise(3.0), dummies.chirp(3.0)):
        result = model.transcribe((wave, RATE), word_timestamps=True)
        assert (result.text, result.words, result.segments, result.language) == ("", [], [], "unknown")
        assert result.to_srt() == "" and result.problems == []


def test_of_a_damaged_recording_the_rest_is_transcribed_and_the_damage_told(model, recording):
    data = dummies.encode(recording[0], RATE, "flac")
    result = model.transcribe(data[: len(data) * 3 // 5], detect="sound")
    assert result.segments and "truncated or damaged" in result.problems[-1]


def test_several_languages_are_told_by_segment():
    passages = [
        Passage(0, 1, "en", "one"),
        Passage(2, 5, "de", "zwei"),
        Passage(6, 7, "zh", "三", None, ["odd"]),
    ]
    result = whole_of(passages, False)
    assert result.language == "de" and result.text == "one zwei 三"
    assert result.to_lines() == "[en] one\n[de] zwei\n[zh] 三\n"
    assert result.problems == ["6.00 s to 7.00 s: odd"]


def test_a_chinese_recording_is_joined_without_spaces():
    words = [Word("一", 0.0, 0.5)]
    assert whole_of([Passage(0, 1, "zh", "一", words), Passage(2, 3, "zh", "二", [])], True).text == "一二"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"language": "xx"}, "no tag"),
        ({"detect": "voice"}, "use speech or sound"),
        ({"batch_size": 0}, "1 or more"),
    ],
)
def test_wrong_options_are_one_sentence(model, wrong, message):
    with pytest.raises(ValueError, match=message):
        model.transcribe(tiny.wave_of("up"), **wrong)


# what is noted on the way


def test_a_job_goes_on_from_wherever_its_journal_was_cut(model, recording, tmp_path):
    path = tmp_path / "out.json.part"
    source = recording[0], RATE

    def run(stop_after=None):
        journal = Journal(path, {"job": 1})
        known = set(journal.rows)
        try:
            if stop_after is not None:
                passages = transcribe_blocks(
                    model.engine, open_blocks(source), SOUND, ahead=1, journal=journal
                )
                for _ in range(stop_after):
                    next(passages)
                return known
            return transcribe_all(model.engine, open_blocks(source), SOUND, journal=journal)
        finally:
            journal.close()

    uninterrupted = run()
    content = path.read_bytes()
    assert run() == uninterrupted and path.read_bytes() == content  # all is known
    for size in (0, 3, 40, len(content) // 3, len(content) // 2, len(content) - 5):
        path.write_bytes(content[:size])
        assert run() == uninterrupted
        assert set(path.read_bytes().splitlines()) == set(content.splitlines())
    path.unlink()
    run(stop_after=3)
    assert len(run(stop_after=5)) >= 3  # and was interrupted again
    assert run() == uninterrupted


def test_another_job_begins_anew(tmp_path):
    path = tmp_path / "a.part"
    first = Journal(path, {"options": [1]})
    first.add([{"number": 0}])
    first.close()
    again = Journal(path, {"options": [1]})
    assert list(again.rows) == [0] and not again.restarted
    again.close()
    other = Journal(path, {"options": [2]})
    assert other.rows == {} and other.restarted
    other.remove()
    assert not path.exists()


def test_a_file_that_is_no_journal_is_left_alone(tmp_path):
    path = tmp_path / "a.part"
    path.write_text("a letter\n")
    with pytest.raises(ValueError, match="is in the way"):
        Journal(path, {})
    assert path.read_text() == "a letter\n"


def test_two_runs_do_not_write_the_same_journal(tmp_path):
    path = tmp_path / "a.part"
    journal = Journal(path, {})
    code = "import pathlib, sys; from qwen_audio.transcribe.journal import Journal; "
    code += "Journal(pathlib.Path(sys.argv[1]), {})"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert "being written by another run" in done.stderr
    journal.close()


def test_killed_twice_it_gives_the_same_bytes(recording, tmp_path):
    source, target = tmp_path / "a.flac", tmp_path / "a.json"
    soundfile.write(source, np.concatenate([recording[0]] * 12), RATE)
    command = [
        sys.executable,
        "-m",
        "qwen_audio",
        "transcribe",
        str(source),
        "--words",
        "--format",
        "json",
    ]
    command += ["--output", str(target), "--batch-size", "1", "--detect", "sound"]
    command += ["--model", str(tiny.trained()[0] / "model"), "--device", "cpu"]
    subprocess.run(command, check=True)
    uninterrupted = target.read_bytes()
    assert len(json.loads(uninterrupted)["segments"]) == 12 * len(ORDER)
    target.unlink()
    journal = target.with_name("a.json.part")
    assert not journal.exists()
    seen = 0
    for _ in range(2):
        process = subprocess.Popen(command)
        while process.poll() is None and (
            not journal.exists() or journal.read_bytes().count(b"\n") < seen + 8
        ):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL and not target.exists()
        now = journal.read_bytes().count(b"\n")
        assert now > seen
        seen = now
    assert os.listdir(tmp_path).count("a.json") == 0
    subprocess.run(command, check=True)
    assert target.read_bytes() == uninterrupted and not journal.exists()


# while it is being said


def test_partial_results_grow_into_the_final_one():
    model = qwen_audio.load(device="cpu")
    clip = load_audio(CLIPS / "sentence.flac")
    wave = np.concatenate([np.zeros(RATE, np.float32), clip, np.zeros(2 * RATE, np.float32)])
    live = Live(model.engine, dataclasses.replace(SOUND, detect="speech"), refresh=0.5)
    partials, finals = [], []
    for at in range(0, len(wave), 1_600):
        finals += live.feed(wave[at : at + 1_600])
        partial = live.partial()
        if partial is not None and partial.text not in partials:
            partials.append(partial.text)
        if finals:
            assert partial is None or not partials
            break
    finals += live.finish()
    assert len(partials) >= 2 and len(partials[0]) < len(partials[-1])
    assert [one.text for one in finals] == [
        one.text for one in model.transcribe((wave, RATE), None, True).segments
    ]

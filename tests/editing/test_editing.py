"""Editing: the samples, the list of edits, and recordings that really lose the word."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from dummies import chirp
from hypothesis import given, settings
from hypothesis import strategies as st

import qwen_audio
from qwen_audio.api import load
from qwen_audio.cli.main import main
from qwen_audio.editing import Edit, Edited, InstructionError, apply_edits, edit, ground
from qwen_audio.editing.cuts import BLEEP_HERTZ, FADE_SECONDS
from qwen_audio.editing.ground import snap_to_quiet
from qwen_audio.format.timestamps import Span, Word

RATE = 16_000
WORDS = Path(qwen_audio.__file__).parent / "demo_clips" / "words.flac"


@pytest.fixture(scope="module")
def model():
    return load(device="cpu")


@pytest.fixture(scope="module")
def padded(model, tmp_path_factory):
    """The words between silences of a second, and what is heard of it."""
    samples, rate = soundfile.read(WORDS, dtype="float32")
    path = tmp_path_factory.mktemp("padded") / "padded.wav"
    soundfile.write(path, np.pad(samples, rate), rate)
    return path, model.transcribe(path, word_timestamps=True).words


def noise(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, (1, round(seconds * RATE))).astype(np.float32)


def far_from(joint, length):
    """Which samples lie outside the cross-fade at a joint (seconds)."""
    at = np.arange(length) / RATE
    return np.abs(at - joint) > FADE_SECONDS


def test_a_removed_part_is_gone_and_the_rest_is_untouched():
    samples = np.stack([chirp(2.0, RATE), -chirp(2.0, RATE)])
    out, (done,) = apply_edits(samples, RATE, [Edit("remove", 0.5, 1.25, "x")])
    assert abs(done.start - 0.5) <= 0.0051 and abs(done.end - 1.25) <= 0.0051 and done.what == "x"
    first, last = round(done.start * RATE), round(done.end * RATE)
    assert out.shape == (2, samples.shape[1] - (last - first)) and done.at == pytest.approx(done.start)
    rest = np.delete(samples, np.s_[first:last], axis=1)
    same = far_from(done.at, out.shape[1])
    assert np.array_equal(out[:, same], rest[:, same])


def test_a_joint_does_not_click():
    """Neighbouring samples of the edited sweep differ no more than those of the sweep; after a hard cut they do."""
    samples = chirp(2.0, RATE, 100, 120)[None] + 0
    for start, end in ((0.5003, 1.2511), (0.3, 1.9), (0.71, 0.75)):
        out, (done,) = apply_edits(samples, RATE, [Edit("remove", start, end)])
        assert np.abs(np.diff(out)).max() <= 1.35 * np.abs(np.diff(samples)).max()
        for second in (done.start, done.end):
            assert abs(samples[0, round(second * RATE)]) < 0.03  # a zero crossing


def test_mute_and_bleep_keep_the_length():
    samples = noise(2)
    out, (done,) = apply_edits(samples, RATE, [Edit("mute", 0.5, 1.0)])
    inner = out[0, round((done.start + FADE_SECONDS) * RATE) : round((done.end - FADE_SECONDS) * RATE)]
    assert out.shape == samples.shape and not inner.any()
    out, (done,) = apply_edits(samples, RATE, [Edit("bleep", 0.5, 1.0)])
    inner = out[0, round((done.start + 0.01) * RATE) : round((done.end - 0.01) * RATE)]
    spectrum = np.abs(np.fft.rfft(inner * np.hanning(len(inner))))
    assert abs(spectrum.argmax() * RATE / len(inner) - BLEEP_HERTZ) < 5
    assert 0.02 < np.abs(inner).max() < 0.5
    outside = np.r_[0 : round((done.start - 0.001) * RATE), round((done.end + 0.001) * RATE) : out.shape[1]]
    assert np.array_equal(out[:, outside], samples[:, outside])


def test_a_swap_changes_the_order_and_loses_nothing():
    samples = noise(3)
    out, (done,) = apply_edits(samples, RATE, [Edit("swap", 0.5, 1.0, "", 1.8, 2.6)])
    assert out.shape == samples.shape
    a0, a1, b0, b1 = (round(t * RATE) for t in (done.start, done.end, done.other_start, done.other_end))
    order = np.concatenate(
        [samples[0, :a0], samples[0, b0:b1], samples[0, a1:b0], samples[0, a0:a1], samples[0, b1:]]
    )
    joints = np.cumsum([a0, b1 - b0, b0 - a1, a1 - a0]) / RATE
    same = np.all([far_from(joint, out.shape[1]) for joint in joints], axis=0)
    assert np.array_equal(out[0, same], order[same])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1.9), st.floats(0.001, 1.0)), min_size=1, max_size=6), st.booleans())
def test_lengths_add_up_for_any_cuts(pairs, mute):
    samples = noise(2, seed=1)
    edits = [
        Edit("mute" if mute and n % 2 else "remove", s, min(s + d, 2.0)) for n, (s, d) in enumerate(pairs)
    ]
    try:
        out, done = apply_edits(samples, RATE, edits)
    except ValueError as error:
        assert "nothing" in str(error)
        return
    gone = sum(round(e.end * RATE) - round(e.start * RATE) for e in done if e.kind == "remove")
    assert out.shape[1] == samples.shape[1] - gone
    assert np.isfinite(out).all() and np.abs(out).max() <= 2 * np.abs(samples).max()
    removed = [e for e in done if e.kind == "remove"]
    assert all(a.end < b.start for a, b in pairwise(removed))
    assert all(0 <= e.at <= out.shape[1] / RATE + 1e-6 for e in done)


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        ([Edit("paint", 0, 1)], "no edit 'paint'"),
        ([Edit("mute", 1, 0.5)], "no part of a recording"),
        ([Edit("mute", 5, 6)], "no part of a recording"),
        ([Edit("remove", 0, 2)], "nothing of the recording"),
        ([Edit("swap", 0, 1, "", 0.5, 1.5)], "overlap"),
        ([Edit("swap", 0, 0.5, "", 1, 1.5), Edit("mute", 0, 1)], "one after the other"),
    ],
)
def test_what_cannot_be_done_is_said(edits, says):
    with pytest.raises(ValueError, match=says):
        apply_edits(noise(2), RATE, edits)


def test_boundaries_move_to_silence_but_not_into_neighbours():
    wave = noise(2)[0]
    wave[round(0.9 * RATE) : round(0.98 * RATE)] = 0  # the pause before the word
    start, end = snap_to_quiet(wave, Span("x", 1.0, 1.4), [Word("y", 1.4, 1.6)])
    assert 0.9 <= start <= 0.98 and 1.34 - 1e-6 <= end <= 1.5


def test_a_word_is_found_removed_and_no_longer_heard(model, tmp_path):
    heard = [word.word for word in model.transcribe(WORDS, word_timestamps=True).words]
    word = next(name for name in heard if heard.count(name) == 1)
    found = ground(model, WORDS, f'find the word "{word}"')
    assert [span.label for span in found.spans] == [word]
    done = edit(model, WORDS, f'remove the word "{word}"')
    assert [e.what for e in done.edits] == [word]
    assert (
        done.edits[0].start <= found.spans[0].start + 0.07 and done.edits[0].end >= found.spans[0].end - 0.07
    )
    after = [w.word for w in model.transcribe(done.wave, word_timestamps=True).words]
    assert after == [name for name in heard if name != word]
    samples, rate = soundfile.read(done.save(tmp_path / "a.flac"))
    assert rate == done.rate and len(samples) == done.samples.shape[1]


def test_words_can_be_kept_and_swapped(model):
    heard = [word.word for word in model.transcribe(WORDS, word_timestamps=True).words]
    kept = edit(model, WORDS, "keep only the last two words")
    assert [w.word for w in model.transcribe(kept.wave, word_timestamps=True).words] == heard[-2:]
    swapped = edit(model, WORDS, "swap the first word and the last word")
    after = [w.word for w in model.transcribe(swapped.wave, word_timestamps=True).words]
    assert after == [heard[-1], *heard[1:-1], heard[0]]


@pytest.mark.parametrize(
    ("asked", "gaps"),
    [
        ("the silence at both ends", [(-1, 0), (6, 7)]),
        ("the silence at the start", [(-1, 0)]),
        ("the silence at the end", [(6, 7)]),
        ("the pause between the first four and the second four", [(0, 1)]),
        ("the pause between one and zero", [(3, 4)]),
        ("the pause between zero and one", [(3, 4)]),
        ("the pauses between the words", [(0, 1)]),
    ],
)
def test_the_pause_that_is_named_is_cut_and_no_other(model, padded, asked, gaps):
    """Of "four four eight one zero nine five" between silences of a second."""
    path, words = padded
    edges = [0.0, *words, soundfile.info(path).duration]
    ends = [(edges[a + 1].end if a >= 0 else 0.0, edges[b + 1]) for a, b in gaps]
    expected = [(a, b if isinstance(b, float) else b.start) for a, b in ends]
    done = edit(model, path, f"remove {asked}").edits
    assert [(e.start, e.end) for e in done] == [pytest.approx(pair, abs=0.0051) for pair in expected]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("the pause between four and eight", "no pause of 0.1 s or more between"),
        ("the pause between four and nine", 'not next to each other: "four four'),
        ("the silence at the end", "no pause of 0.1 s or more at the end"),
    ],
)
def test_a_pause_that_is_not_there_is_said(model, asked, says):
    with pytest.raises(InstructionError, match=says):
        edit(model, WORDS, f"remove {asked}")


def test_every_word_and_the_last_seconds_are_found(model):
    heard = [word.word for word in model.transcribe(WORDS, word_timestamps=True).words]
    assert [span.label for span in ground(model, WORDS, "find all words").spans] == heard
    picked = ground(model, WORDS, "find the second and third words").spans
    assert [span.label for span in picked] == heard[1:3]
    length = soundfile.info(WORDS).duration
    (done,) = edit(model, WORDS, "mute the last 0.5 seconds").edits
    assert (done.start, done.end) == (pytest.approx(length - 0.5, abs=0.0051), pytest.approx(length))
    (span,) = ground(model, WORDS, "find the last minute").spans
    assert (span.start, span.end) == (0, pytest.approx(length))


def test_rate_and_channels_stay(model, tmp_path):
    samples, rate = soundfile.read(WORDS)
    import soxr

    stereo = np.stack([soxr.resample(samples, rate, 44_100)] * 2, axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, 44_100)
    done = edit(model, tmp_path / "stereo.wav", "mute from 1.0 to 1.5")
    assert done.rate == 44_100 and done.samples.shape == stereo.T.shape
    assert not done.samples[:, round(1.1 * 44_100) : round(1.4 * 44_100)].any()


@pytest.mark.parametrize(
    ("subtype", "ending", "expected"),
    [
        ("PCM_24", ".wav", "PCM_24"),
        ("PCM_24", ".flac", "PCM_24"),
        ("FLOAT", ".wav", "FLOAT"),
        ("FLOAT", ".flac", "PCM_24"),
        ("PCM_16", ".flac", "PCM_16"),
        ("PCM_U8", ".flac", "PCM_16"),
        ("PCM_24", ".ogg", "VORBIS"),
    ],
)
def test_the_depth_of_the_samples_stays(model, tmp_path, subtype, ending, expected):
    samples = chirp(2.0, RATE) + 2.0**-20
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype=subtype)
    before, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    done = edit(model, tmp_path / "a.wav", "mute from 1.0 to 1.5")
    path = done.save(tmp_path / ("b" + ending))
    assert soundfile.info(path).subtype == expected and not done.problems
    after, _ = soundfile.read(path, dtype="float32")
    if ending != ".ogg":
        error = 2.0**-23 if expected == "PCM_24" else 0
        assert np.abs(after[: RATE - 200] - before[: RATE - 200]).max() <= error


def test_a_compressed_file_becomes_plain_samples(model, tmp_path):
    """libsndfile would also write an mp3 into a wav."""
    soundfile.write(tmp_path / "a.mp3", 0.5 * chirp(2.0, RATE), RATE)
    path = edit(model, tmp_path / "a.mp3", "mute from 1.0 to 1.5").save(tmp_path / "b.wav")
    assert soundfile.info(path).subtype == "PCM_16"


def test_what_passes_full_scale_is_kept_or_said(model, tmp_path):
    loud = 1.5 * chirp(2.0, RATE) / np.abs(chirp(2.0, RATE)).max()
    soundfile.write(tmp_path / "a.wav", loud, RATE, subtype="FLOAT")
    done = edit(model, tmp_path / "a.wav", "mute from 1.0 to 1.5")
    for edited in (done, edit(model, (loud.astype(np.float32), RATE), "mute from 1.0 to 1.5")):
        after, _ = soundfile.read(edited.save(tmp_path / "b.wav"))
        assert np.abs(after).max() == pytest.approx(1.5, abs=0.01) and not edited.problems
    done.save(tmp_path / "b.flac")
    done.save(tmp_path / "b.flac")
    assert done.problems == ["b.flac is clipped: its peak is 1.50 of full scale; a .wav would keep it"]
    assert done.to_dict()["problems"] == done.problems


def test_a_format_that_cannot_hold_it_is_said_and_nothing_is_left(tmp_path):
    for rate, channels in ((96_000, 1), (RATE, 6)):
        done = Edited(np.tile(noise(0.5), (channels, 1)), rate, [])
        with pytest.raises(
            ValueError, match=f"a.mp3 cannot be written with {rate} Hz and {channels} channel"
        ):
            done.save(tmp_path / "a.mp3")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("instruction", "says"),
    [
        ("remove the word banana", "'banana' is not heard; what is: \""),
        ("find the word four", "only finds"),
        ("remove the tenth word", "only .* words are heard"),
        ("remove the sound of a dog", "too small to find sounds; name the times, or a larger --model"),
        ("remove from 100 to 101", "after the end of the recording"),
    ],
)
def test_what_is_not_there_is_said(model, instruction, says):
    with pytest.raises(InstructionError, match=says):
        edit(model, WORDS, instruction)


def test_the_command_line(tmp_path, capsys):
    copy = tmp_path / "talk.flac"
    copy.write_bytes(WORDS.read_bytes())
    main_(["ground", str(copy), "find the first word", "--format", "json"])
    span = json.loads(capsys.readouterr().out)["spans"][0]
    main_(["edit", str(copy), "bleep the first word", "--list", str(tmp_path / "list.json")])
    assert (tmp_path / "talk.edited.wav").is_file() and "bleep" in capsys.readouterr().out
    listed = json.loads((tmp_path / "list.json").read_text())["edits"]
    assert listed[0]["what"] == span["label"] and listed[0]["kind"] == "bleep"
    assert copy.read_bytes() == WORDS.read_bytes()
    for arguments, says in (
        (["bleep the first word"], "exists already"),
        (["bleep the first word", "--output", str(copy)], "exists already"),
        (["bleep the first word", "--output", str(tmp_path / "a.xyz")], "end in .wav"),
        (["make it nice"], "does not begin with what to do"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["edit", str(copy), *arguments])
        assert ended.value.code == 2 and says in capsys.readouterr().err


def test_the_list_is_never_written_over_a_recording(tmp_path, capsys):
    """By its own name, a link, or the name of what is about to be written."""
    copy, link, new = tmp_path / "talk.flac", tmp_path / "link.json", tmp_path / "new.flac"
    copy.write_bytes(WORDS.read_bytes())
    link.symlink_to(copy)
    same = tmp_path / "folder" / ".." / "new.flac"
    (tmp_path / "folder").mkdir()
    for listed, says in ((copy, "is the recording"), (link, "is the recording"), (new, "is the edited recording"),
                         (same, "is the edited recording"), (tmp_path, "is a folder")):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            main(["edit", str(copy), "bleep from 1 to 2", "--output", str(new), "--list", str(listed)])
        assert ended.value.code == 2 and says in capsys.readouterr().err
        assert copy.read_bytes() == WORDS.read_bytes() and not new.exists()


def main_(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code in (0, None)

"""The training stream: its content depends on the seed alone, it resumes anywhere, and it loses nothing silently."""

import itertools

import dummies
import numpy as np
import pytest
import soundfile
import torch

from qwen_audio.data.augment import Augment
from qwen_audio.data.collate import Collator
from qwen_audio.data.encode import ctc_target
from qwen_audio.data.manifest import AudioRef, Example, Sample
from qwen_audio.data.mixture import ChunkDataset, Mixture, StreamState, stream
from qwen_audio.data.sources import JoinedWords, LongSpeech, ManifestSource
from qwen_audio.format.timestamps import Word
from qwen_audio.format.tokenizer import byte_tokenizer
from qwen_audio.model.processing_qwen_audio import IGNORE_INDEX, QwenAudioProcessor
from qwen_audio.train.sources import SourceConfig


class Beeps:
    """A source that needs no files: a tone and how long it is."""

    def __init__(self, longest: float = 1.0) -> None:
        self.longest = longest

    def sample(self, rng: np.random.Generator) -> Sample:
        seconds = round(float(rng.uniform(0.1, self.longest)), 2)
        example = Example(id="b", task="asr", audio=[], language="en", text=f"beep {seconds}", source="beeps")
        return Sample(example, [dummies.chirp(seconds)])


@pytest.fixture(scope="module")
def collator():
    return Collator(QwenAudioProcessor(byte_tokenizer()), question_share=0.5)


def dataset(collator, source=None, seed=7, **kwargs):
    mixture = Mixture([(source or Beeps(), 1.0)], seed=seed, augment=Augment())
    return ChunkDataset(
        mixture, collator, **{"batch_seconds": 3.0, "max_seconds": 2.0, "chunk_size": 12, **kwargs}
    )


def take(data, n, state=None, workers=0):
    batches = itertools.islice(stream(data, {0: state or StreamState()}, workers), n)
    return [(batch[0], after[0]) for batch, after in batches]


def same(a, b):
    return a.tasks == b.tasks and all(torch.equal(a.inputs[k], b.inputs[k]) for k in a.inputs)


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_batches(collator, workers):
    data = dataset(collator)
    alone, helped = take(data, 8), take(data, 8, workers=workers)
    assert all(same(a[0], b[0]) and a[1] == b[1] for a, b in zip(alone, helped, strict=True))
    assert alone[-1][1].chunk > 0, "the test should cross a chunk"


def test_the_stream_resumes_at_the_very_next_batch(collator):
    data = dataset(collator)
    whole = take(data, 9)
    for k in (1, 4, 7):
        rest = take(data, 9 - k, state=whole[k - 1][1])
        assert all(same(a[0], b[0]) for a, b in zip(whole[k:], rest, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_slot_gives_the_same_whoever_reads_it(collator, workers):
    data = dataset(collator)
    begin = {slot: StreamState() for slot in range(3)}
    together = list(itertools.islice(stream(data, begin, workers, slots=3), 6))
    for own in ((0, 2), (1,)):
        apart = list(itertools.islice(stream(data, {s: begin[s] for s in own}, workers, slots=3), 6))
        for (all_batches, all_states), (batches, states) in zip(together, apart, strict=True):
            assert set(batches) == set(own)
            assert all(same(batches[s], all_batches[s]) and states[s] == all_states[s] for s in own)
    batches, after = together[2]
    resumed = list(itertools.islice(stream(data, after, workers, slots=3), 3))
    assert all(same(a[s], b[s]) for (a, _), (b, _) in zip(together[3:], resumed, strict=True) for s in a)
    assert not same(batches[0], batches[1]), "slots should not repeat each other"


def test_chunks_are_made_where_batches_are_needed(collator):
    """Slots whose chunks hold few batches get their next chunk sooner: none piles up in memory."""
    made = []

    class Uneven:
        def __getitem__(self, chunk):
            made.append(chunk)
            return [f"{chunk}.{b}" for b in range(1 if chunk % 2 else 6)]

    taken = list(itertools.islice(stream(Uneven(), {0: StreamState(), 1: StreamState()}, 0, slots=2), 60))
    for slot, size in ((0, 6), (1, 1)):
        wanted = [f"{2 * k + slot}.{b}" for k in range(60) for b in range(size)][:60]
        assert [batches[slot] for batches, _ in taken] == wanted
    waiting = sum(1 if chunk % 2 else 6 for chunk in made) - 2 * 60
    assert waiting <= 12


def test_another_seed_is_another_stream(collator):
    assert not same(take(dataset(collator), 1)[0][0], take(dataset(collator, seed=8), 1)[0][0])


def test_batches_hold_no_more_padded_audio_than_asked(collator):
    for batch, _ in take(dataset(collator), 12):
        frames = batch.inputs["input_features"].shape
        assert frames[0] * frames[2] / 100 <= 3.0 or frames[0] == 1


def test_what_is_too_long_is_skipped_and_counted(collator):
    data = dataset(collator, source=Beeps(longest=4.0))
    batches = data[0]
    skipped = sum(n for b in batches for n in b.skipped.values())
    assert skipped > 0
    assert skipped + sum(len(b.tasks) for b in batches) == 12
    assert any("longer than 2 s (beeps/asr)" in reason for b in batches for reason in b.skipped)


def test_a_file_that_went_bad_is_skipped_and_counted(collator, tmp_path):
    path = tmp_path / "bad.wav"
    path.write_bytes(b"RIFF no longer audio")
    rows = [
        Example(id="x", task="asr", text="a", language="en", audio=[AudioRef(path=str(path))], source="s")
    ]
    good = tmp_path / "good.wav"
    soundfile.write(good, dummies.chirp(0.3), 16_000)
    rows.append(rows[0].model_copy(update={"audio": [AudioRef(path=str(good))]}))
    batches = dataset(collator, source=ManifestSource(rows))[0]
    skipped = {reason: n for b in batches for reason, n in b.skipped.items()}
    assert sum(skipped.values()) + sum(len(b.tasks) for b in batches) == 12
    assert any("bad.wav" in reason for reason in skipped)


def test_labels_cover_the_answer_and_its_end_only(collator):
    example = Example(id="1", task="asr", audio=[], language="en", text="Hello, you!")
    row = collator.encode(Sample(example, [dummies.chirp(0.5)]), np.random.default_rng(0))
    tok = collator.processor.tokenizer
    assert tok.decode([i for i in row.labels if i != IGNORE_INDEX]) == "<|en|>hello you<|endoftext|>"
    assert all(label in (IGNORE_INDEX, i) for i, label in zip(row.ids, row.labels, strict=True))
    assert row.ctc == b"hello you"


def test_ctc_targets_are_the_transcript_or_nothing():
    timed = Example(
        id="1",
        task="word_timestamps",
        audio=[],
        text="x",
        words=[Word("Yes", 0.1, 0.2), Word("no", 0.3, 0.4)],
    )
    assert ctc_target(timed) == b"yes no"
    assert ctc_target(Example(id="1", task="audio_caption", audio=[], text="A dog.")) is None
    note = Example(id="1", task="note_pitch", audio=[], text="60", label="60")
    assert ctc_target(note) == b"60"
    spotted = Example(id="1", task="keyword_spotting", audio=[], text="six", label="six", language="en")
    assert ctc_target(spotted) == b"six"
    assert ctc_target(spotted.model_copy(update={"language": "ar"})) is None  # labelled in translation


def test_words_of_one_speaker_are_joined_with_exact_times(tmp_path):
    rows = []
    for speaker, word in (("a", "one"), ("a", "two"), ("b", "three")):
        path = tmp_path / f"{word}.wav"
        soundfile.write(path, np.full(8000, 0.5, np.float32), 16_000)
        rows.append(
            Example(
                id=word,
                task="asr",
                text=word,
                speaker=speaker,
                language="en",
                audio=[AudioRef(path=str(path))],
            )
        )
    source = JoinedWords(rows, max_words=5)
    for seed in range(20):
        sample = source.sample(np.random.default_rng(seed))
        spoken = {w.word for w in sample.example.words}
        assert spoken <= {"one", "two"} or spoken == {"three"}
        assert sample.example.text == " ".join(w.word for w in sample.example.words)
        loud = np.abs(sample.waves[0]) > 0.25
        inside = np.zeros(len(loud), bool)
        for w in sample.example.words:
            inside[round(w.start * 16_000) : round(w.end * 16_000)] = True
        assert (loud == inside).all()


def test_long_speech_keeps_every_word_at_its_place():
    class Bang:
        def sample(self, rng):
            wave = np.zeros(16_000, np.float32)
            wave[4000:8000] = 0.5
            example = Example(
                id="b", task="word_timestamps", audio=[], text="bang", words=[Word("bang", 0.25, 0.5)]
            )
            return Sample(example, [wave])

    sample = LongSpeech(Bang(), (10.0, 28.0)).sample(np.random.default_rng(0))
    assert 8 < len(sample.waves[0]) / 16_000 < 28
    assert sample.example.text == " ".join(["bang"] * len(sample.example.words))
    for w in sample.example.words:
        assert (sample.waves[0][round(w.start * 16_000) : round(w.end * 16_000)] == 0.5).all()


def test_each_source_is_distorted_as_often_as_it_says():
    class Named:
        def __init__(self, name):
            self.name = name

        def sample(self, rng):
            example = Example(id=self.name, task="asr", audio=[], text="x")
            return Sample(example, [dummies.chirp(0.2)])

    mixture = Mixture(
        [(Named("clean"), 1.0), (Named("noisy"), 1.0)], seed=0, augment=Augment(), augment_share=[0.0, 1.0]
    )
    plain = dummies.chirp(0.2)
    touched = {"clean": 0, "noisy": 0}
    for i in range(60):
        sample, _ = mixture.sample(i)
        wave = sample.waves[0]
        touched[sample.example.id] += not (len(wave) == len(plain) and bool((wave == plain).all()))
    assert touched["clean"] == 0 and touched["noisy"] > 15


def test_pitch_is_not_moved_where_it_is_the_answer():
    class Note:
        def sample(self, rng):
            example = Example(id="n", task="note_pitch", audio=[], text="60", label="60")
            return Sample(example, [dummies.chirp(1.0)])

    mixture = Mixture([(Note(), 1.0)], seed=0, augment=Augment(speed=1.0))
    assert all(len(mixture.sample(i)[0].waves[0]) == 16_000 for i in range(10))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SourceConfig("films", 1.0), "unknown kind"),
        (SourceConfig("manifest", 1.0), "needs `path`"),
        (SourceConfig("speech", 1.0, options={"loudness": 3}), "loudness"),
    ],
)
def test_a_wrong_source_is_named(config, message):
    with pytest.raises(ValueError, match=message):
        config.build()


def test_group_weights_that_match_nothing_are_an_error():
    rows = [Example(id="1", task="asr", audio=[], text="a", source="s")]
    with pytest.raises(ValueError, match="s/asx"):
        ManifestSource(rows, {"s/asx": 2.0})


def test_a_transcript_that_cannot_be_aligned_is_counted(collator):
    class Fast:
        def sample(self, rng):
            example = Example(id="f", task="asr", audio=[], language="en", text="far too much text for this")
            return Sample(example, [dummies.chirp(0.2)])

    batches = dataset(collator, source=Fast(), chunk_size=4)[0]
    assert sum(n for b in batches for r, n in b.skipped.items() if "transcript too long" in r) == 4
    assert all(not b.ctc_lengths.any() for b in batches)


def test_joined_words_respect_offsets(tmp_path):
    path = tmp_path / "a.wav"
    wave = np.zeros(32_000, np.float32)
    wave[8000:14_400] = 0.5
    soundfile.write(path, wave, 16_000)
    ref = AudioRef(path=str(path), start=0.5, duration=0.4)
    row = Example(id="a", task="asr", text="one", speaker="s", language="en", audio=[ref])
    sample = JoinedWords([row], max_words=1).sample(np.random.default_rng(1))
    (word,) = sample.example.words
    assert word.end - word.start == pytest.approx(0.4, abs=1e-3)


def test_long_speech_stays_in_one_language():
    class Babel:
        def sample(self, rng):
            language = ("en", "zh")[rng.integers(2)]
            words = [Word(language, 0.1, 0.9)]
            example = Example(
                id="b", task="word_timestamps", audio=[], text=language, words=words, language=language
            )
            return Sample(example, [dummies.chirp(1.0)])

    for seed in range(5):
        example = LongSpeech(Babel()).sample(np.random.default_rng(seed)).example
        assert set(example.text.split()) == {example.language}

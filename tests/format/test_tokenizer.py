"""The tokenizer equals the published one where that can be compared, and never confuses data with tags."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT
from transformers import AutoTokenizer

from qwen_audio.format import tags
from qwen_audio.format.tasks import Segment, prompt
from qwen_audio.format.tokenizer import QwenAudioTokenizer, byte_tokenizer, from_tiktoken, train_bpe_tokenizer

pytestmark = pytest.mark.versions

steady = settings(deadline=None, derandomize=True)  # a busy machine is no failure
BYTES = byte_tokenizer()
SENTENCES = ["the cat sat on the mat", "the dog sat on the log", "那只猫坐在垫子上", "two three four"] * 20


@pytest.fixture(scope="session")
def published(shared: Path) -> QwenAudioTokenizer:
    return from_tiktoken(shared / "qwen.tiktoken")


@pytest.fixture(scope="session")
def trained() -> QwenAudioTokenizer:
    return train_bpe_tokenizer(SENTENCES, 256 + 3522 + 40)


# the published vocabulary ----------------------------------------------------------------


def test_golden_strings(published: QwenAudioTokenizer, shared: Path) -> None:
    rows = json.loads((shared / "golden" / "tokenizer" / "strings.json").read_text())
    for row in rows:
        assert published.encode(row["text"]) == row["ids"]
        assert published.encode_plain(row["text"]) == row["ids_no_special"]
        assert published.decode(row["ids"]) == row["decoded"]
        assert published.decode(row["ids"], skip_special_tokens=True) == row["decoded_skip_special"]
    assert len(rows) == 67


def test_golden_ids_of_specials(published: QwenAudioTokenizer) -> None:
    golden = json.loads((ROOT / "tests" / "golden/tokenizer/special_tokens.json").read_text())
    assert {name: published.special_id(name) for name in tags.SPECIAL_TOKENS} == golden
    assert published.convert_tokens_to_ids(list(golden)) == list(golden.values())
    assert len(published) == 155_165
    assert (published.audio_start_id, published.audio_end_id, published.audio_pad_id) == (
        155163,
        155164,
        151851,
    )
    assert (published.eos_token_id, published.pad_token_id) == (151643, 151643)
    assert (published.im_start_id, published.im_end_id) == (151644, 151645)


def test_golden_batch(published: QwenAudioTokenizer, shared: Path) -> None:
    """The three prompts that the published code batched, with the audio spans put in by hand."""
    batch = json.loads((shared / "golden" / "tokenizer" / "conversations.json").read_text())["batch"]
    ours = [
        prompt("asr", language="en"),
        prompt("audio_caption", instruction="clotho"),
        prompt("audio_qa", question="Is it raining?"),
    ]
    rows = []
    for (length,), segments in zip(batch["audio_span_tokens"], ours, strict=True):
        span = tags.AUDIO_START + tags.AUDIO_PAD * (length - 2) + tags.AUDIO_END
        rows.append(published.encode_segments([Segment(span, True, False), *segments])[0])
    padded = published.pad({"input_ids": rows})
    assert padded["input_ids"] == batch["input_ids"]
    assert padded["attention_mask"] == batch["attention_mask"]


def test_golden_partial_utf8(published: QwenAudioTokenizer, shared: Path) -> None:
    cases = json.loads((shared / "golden" / "tokenizer" / "conversations.json").read_text())["partial_utf8"]
    assert [published.decode(case["ids"]) for case in cases] == [case["decoded"] for case in cases]
    ids = published.encode_plain("👩‍👧 हिन्दी 𝄞")
    for end in range(len(ids)):
        raw = b"".join(_bytes_of(published, i) for i in ids[:end])
        assert published.decode(ids[:end]) == raw.decode("utf-8", errors="replace")


def _bytes_of(tokenizer: QwenAudioTokenizer, token_id: int) -> bytes:
    spelled = tokenizer.convert_ids_to_tokens(token_id)
    table = {BYTES.convert_ids_to_tokens(byte): byte for byte in range(256)}
    return bytes(table[char] for char in spelled)


def test_every_rank_keeps_its_id_and_random_text_equals_tiktoken(
    published: QwenAudioTokenizer, shared: Path
) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    lines = (shared / "qwen.tiktoken").read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    reference = tiktoken.Encoding("reference", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    rng = random.Random(0)
    pools = [
        "abcdefghijklmnopqrstuvwxyz      '.,",
        "".join(map(chr, range(0x4E00, 0x9000, 7))) + "，。 a",
        "".join(map(chr, range(0x400, 0x460))) + "".join(map(chr, range(0xAC00, 0xD000, 31))) + " \n\t1",
        "".join(map(chr, range(0x20, 0x250))) + "😀👩\u200d\r\n",
    ]
    words = [token.decode() for token in rng.sample(list(ranks), 3000) if _is_utf8(token)]
    for number in range(400):
        text = "".join(rng.choices(pools[number % 4] if number % 2 else words, k=rng.randint(1, 120)))
        ids = published.encode_plain(text)
        normal = published.backend_tokenizer.normalizer.normalize_str(text)
        assert ids == reference.encode_ordinary(normal)
        assert published.decode(ids) == normal
    for token, rank in rng.sample(list(ranks.items()), 500):
        assert _bytes_of(published, rank) == token


def _is_utf8(token: bytes) -> bool:
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True


# all tokenizers ----------------------------------------------------------------


def test_byte_ids_are_the_bytes() -> None:
    assert len(BYTES) == 3778
    every = bytes(range(256))
    assert [_bytes_of(BYTES, byte) for byte in range(256)] == [every[i : i + 1] for i in range(256)]
    assert BYTES.encode_plain("hé\x00 \n") == list("hé\x00 \n".encode())
    assert BYTES.special_id("<|endoftext|>") == BYTES.eos_token_id == 256
    assert BYTES.audio_end_id == 3777


def test_trained_merges_shorten_the_text(trained: QwenAudioTokenizer) -> None:
    text = SENTENCES[0]
    assert len(trained) == 256 + 3522 + 40
    assert len(trained.encode_plain(text)) < len(text) * 0.7
    assert trained.special_id("<|endoftext|>") == 256 + 40
    assert [trained.convert_tokens_to_ids(name) for name in tags.SPECIAL_TOKENS] == list(range(296, 3818))
    again = train_bpe_tokenizer(SENTENCES, 256 + 3522 + 40)
    assert again.backend_tokenizer.to_str() == trained.backend_tokenizer.to_str()
    with pytest.raises(ValueError, match="vocab_size 3000 is too small"):
        train_bpe_tokenizer(SENTENCES, 3000)


def test_a_small_corpus_gives_a_smaller_vocabulary_with_contiguous_specials() -> None:
    small = train_bpe_tokenizer(["ab"], 4000)
    assert len(small) < 4000
    assert small.audio_end_id == len(small) - 1


spelled = st.lists(st.sampled_from([*tags.SPECIAL_TOKENS[:4], "<|en|>", "<audio>", "a", " ", "é"])).map(
    "".join
)


@steady
@given(st.text() | spelled)
def test_plain_text_never_gives_a_special_id(text: str) -> None:
    ids = BYTES.encode_plain(text)
    assert all(token_id < 256 for token_id in ids)
    assert BYTES.decode(ids) == BYTES.backend_tokenizer.normalizer.normalize_str(text)


@steady
@given(st.lists(st.tuples(st.text(max_size=5) | spelled, st.booleans())))
def test_segments_keep_their_kind_and_label(pieces: list[tuple[str, bool]]) -> None:
    segments = [Segment(text, False, label) for text, label in pieces]
    tagged = [piece for s in segments for piece in (Segment("<|en|><|0.50|>", True, not s.label), s)]
    ids, is_label = BYTES.encode_segments(tagged)
    wanted_ids, wanted_label = [], []
    for segment in segments:
        plain = BYTES.encode_plain(segment.text)
        wanted_ids += [BYTES.special_id("<|en|>"), BYTES.special_id("<|0.50|>"), *plain]
        wanted_label += [not segment.label] * 2 + [segment.label] * len(plain)
    assert ids == wanted_ids
    assert is_label == wanted_label


def test_special_segments_hold_special_tokens_only() -> None:
    with pytest.raises(ValueError, match="'hello' in a special segment"):
        BYTES.encode_segments([Segment("<|en|>hello", True, False)])
    with pytest.raises(ValueError, match="is not a special token"):
        BYTES.special_id("<|30.01|>")


def test_ids_without_a_token_are_an_error() -> None:
    for ids in ([1, 3778], [-1], 3778, [[1], [9999]]):
        with pytest.raises(ValueError, match="outside the vocabulary of 3778"):
            BYTES.decode(ids)


def test_decode_accepts_tensors_and_batches() -> None:
    torch = pytest.importorskip("torch")
    ids = BYTES.encode_plain("hé")
    assert BYTES.decode(torch.tensor(ids)) == "hé"
    assert BYTES.batch_decode([ids, ids[:2]]) == ["hé", "h\ufffd"]
    assert BYTES.decode(ids[0]) == "h"


@pytest.mark.parametrize("name", ["bytes", "trained"])
def test_saved_and_loaded(name: str, trained: QwenAudioTokenizer, tmp_path: Path) -> None:
    before = BYTES if name == "bytes" else trained
    before.save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").is_file()
    segments = [*prompt("word_timestamps", language="zh"), Segment("the <|en|> 猫", False, True)]
    for after in (
        QwenAudioTokenizer.from_pretrained(tmp_path),
        QwenAudioTokenizer(tokenizer_file=str(tmp_path / "tokenizer.json")),
        pickle.loads(pickle.dumps(before)),
        copy.deepcopy(before),
    ):
        assert after.encode_segments(segments) == before.encode_segments(segments)
        assert (after.eos_token_id, after.pad_token_id) == (before.eos_token_id, before.eos_token_id)
        assert (after.padding_side, len(after)) == ("left", len(before))


def test_auto_tokenizer(tmp_path: Path) -> None:
    from qwen_audio.model import QwenAudioConfig

    AutoTokenizer.register(QwenAudioConfig, QwenAudioTokenizer, exist_ok=True)
    BYTES.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(loaded, QwenAudioTokenizer)
    assert loaded.encode_plain("<|en|>") == BYTES.encode_plain("<|en|>")


def test_a_foreign_tokenizer_is_refused() -> None:
    from tokenizers import Tokenizer, models

    foreign = QwenAudioTokenizer(tokenizer_object=Tokenizer(models.BPE(vocab={"a": 0}, merges=[])))
    with pytest.raises(ValueError, match=r"where .* was due"):
        foreign.special_id("<|en|>")


def test_threads_share_one_tokenizer() -> None:
    """Plain and special encoding at once: no switch of the shared object is touched."""
    segments = [Segment("<|en|>", True, False), Segment("<|en|>", False, True)]
    wanted = BYTES.encode_segments(segments)

    def work(number: int) -> bool:
        if number % 2:
            return BYTES.encode("<|en|>") == [BYTES.special_id("<|en|>")]
        return BYTES.encode_segments(segments) == wanted

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(400)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello world\n", "line 1: not `base64 rank`"),
        (b"AA==\n", "line 1: not `base64 rank`"),
        (b"AA== 0\nAQ== 2\n", "line 2: rank 2 where 1 was due"),
        (b"", "0 ranks do not even cover"),
    ],
)
def test_broken_vocabulary_files(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "v.tiktoken"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        from_tiktoken(path)

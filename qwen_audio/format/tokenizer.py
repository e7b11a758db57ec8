"""The tokenizer: byte-level BPE, with the published special tokens after the base vocabulary.

Three ways to get one: from the published tiktoken file, trained on texts, or 256 bytes with no merges for
tiny models. All three split, normalise (NFC) and number the special tokens in the same way. Special tokens
are only read from segments that say so; user data that spells one is encoded as plain text.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from qwen_audio.format import tags
from qwen_audio.format.tags import Segment

# The published split into pieces, which merges never cross.
_SPLIT = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",  # English contractions
        r"[^\r\n\p{L}\p{N}]?\p{L}+",  # a word with one mark or space before it
        r"\p{N}",  # single digits
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",  # marks
        r"\s*[\r\n]+|\s+(?!\S)|\s+",  # white space
    )
)
_BYTES = 256


class QwenAudioTokenizer(PreTrainedTokenizerFast):
    """A transformers tokenizer with the published special tokens; pads on the left, as generation needs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("eos_token", tags.END_OF_TEXT)
        kwargs.setdefault("pad_token", tags.END_OF_TEXT)
        kwargs.setdefault("padding_side", "left")
        kwargs["clean_up_tokenization_spaces"] = False
        super().__init__(*args, **kwargs)

    @classmethod
    def convert_to_native_format(cls, trust_remote_code: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Keep `tokenizer_file` for `__init__`.

        The base method would rebuild any subclass that has an `__init__` from vocabulary and merges alone,
        without the split, the normaliser and the byte-level decoder of tokenizer.json.
        """
        return kwargs

    @cached_property
    def _plain(self) -> Tokenizer:
        """The same model without special tokens.

        A tokenizer of its own (it shares the vocabulary), because ignoring special tokens is a switch of the
        main one, over which two threads would fight.
        """
        main = self.backend_tokenizer
        plain = Tokenizer(main.model)
        plain.normalizer, plain.pre_tokenizer = main.normalizer, main.pre_tokenizer
        return plain

    @cached_property
    def _special_ids(self) -> dict[str, int]:
        base = self.backend_tokenizer.get_vocab_size(with_added_tokens=False)
        for name, index in tags.SPECIAL_INDEX.items():
            token_id = self.backend_tokenizer.token_to_id(name)
            if token_id != base + index:
                raise ValueError(
                    f"special token {name} has id {token_id} where {base + index} was due: "
                    "load a tokenizer that this class saved"
                )
        return {name: base + index for name, index in tags.SPECIAL_INDEX.items()}

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_plain", "_special_ids"):
            state.pop(name, None)
        return state

    def special_id(self, name: str) -> int:
        """Id of a special token; ValueError if there is no such token."""
        token_id = self._special_ids.get(name)
        if token_id is None:
            raise ValueError(f"{name!r} is not a special token: see qwen_audio.format.tags.SPECIAL_TOKENS")
        return token_id

    @property
    def audio_start_id(self) -> int:
        """Id of `<audio>`."""
        return self.special_id(tags.AUDIO_START)

    @property
    def audio_end_id(self) -> int:
        """Id of `</audio>`."""
        return self.special_id(tags.AUDIO_END)

    @property
    def audio_pad_id(self) -> int:
        """Id that stands for one audio vector inside a span."""
        return self.special_id(tags.AUDIO_PAD)

    @property
    def im_start_id(self) -> int:
        """Id of `<|im_start|>`."""
        return self.special_id(tags.IM_START)

    @property
    def im_end_id(self) -> int:
        """Id of `<|im_end|>`."""
        return self.special_id(tags.IM_END)

    def encode_plain(self, text: str) -> list[int]:
        """Ids of user data; special tokens spelled inside it are plain text."""
        return self._plain.encode(text, add_special_tokens=False).ids

    def encode_segments(self, segments: Sequence[Segment]) -> tuple[list[int], list[bool]]:
        """Ids of a sequence and, for each id, whether the loss is computed on it.

        Raises ValueError if a special segment holds anything but special tokens.
        """
        ids: list[int] = []
        is_label: list[bool] = []
        special_ids = self._special_ids
        for text, special, label in segments:
            if not special:
                new = self.encode_plain(text)
            elif text in special_ids:
                new = [special_ids[text]]
            else:
                new = [self._special_or_error(piece, found) for piece, found in tags.split_tags(text)]
            ids += new
            is_label += [label] * len(new)
        return ids, is_label

    def _special_or_error(self, piece: str, found: bool) -> int:
        if not found:
            raise ValueError(f"{piece!r} in a special segment is no special token: use a plain segment")
        return self._special_ids[piece]

    def decode(self, token_ids: Any, skip_special_tokens: bool = False, **kwargs: Any) -> Any:
        """Text of ids; incomplete UTF-8 becomes U+FFFD. ValueError for an id beyond the last special token,
        which exists in the rows of a published model and must never be produced."""
        self._check(token_ids, len(self))  # counted once: it takes a third of a millisecond
        return super().decode(token_ids, skip_special_tokens=skip_special_tokens, **kwargs)

    def _check(self, token_ids: Any, size: int) -> None:
        ids = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
        flat: Iterable[Any] = [ids] if isinstance(ids, int) else ids
        for item in flat:
            if isinstance(item, (list, tuple)) or hasattr(item, "tolist"):
                self._check(item, size)
            elif not 0 <= item < size:
                raise ValueError(f"id {item} is outside the vocabulary of {size} tokens")


def _byte_alphabet() -> list[str]:
    """The character that byte-level BPE writes for each of the 256 bytes.

    Printable bytes stand for themselves, the others are numbered from U+0100 (the GPT-2 convention).
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(_BYTES)]


def _backend(vocab: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    # ignore_merges: a piece that is in the vocabulary as a whole is taken as it is, as tiktoken does.
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _finish(tokenizer: Tokenizer) -> QwenAudioTokenizer:
    added = [AddedToken(name, normalized=False, special=True) for name in tags.SPECIAL_TOKENS]
    tokenizer.add_special_tokens(added)
    return QwenAudioTokenizer(tokenizer_object=tokenizer)


def byte_tokenizer() -> QwenAudioTokenizer:
    """256 bytes in order and the special tokens: 3,778 tokens, for tiny models."""
    return _finish(_backend({char: byte for byte, char in enumerate(_byte_alphabet())}, []))


def train_bpe_tokenizer(texts: Iterable[str], vocab_size: int) -> QwenAudioTokenizer:
    """Byte-pair tokenizer learned from texts; `vocab_size` counts the special tokens too.

    Raises ValueError if vocab_size leaves no room for the bytes and the special tokens.
    """
    smallest = _BYTES + len(tags.SPECIAL_TOKENS)
    if vocab_size < smallest:
        raise ValueError(f"vocab_size {vocab_size} is too small: bytes and special tokens are {smallest}")
    alphabet = _byte_alphabet()
    tokenizer = _backend({char: byte for byte, char in enumerate(alphabet)}, [])
    size = vocab_size - len(tags.SPECIAL_TOKENS)
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return _finish(tokenizer)


def from_tiktoken(path: str | os.PathLike[str]) -> QwenAudioTokenizer:
    """The published tokenizer from its tiktoken file (`base64 rank` a line); takes a few seconds.

    tiktoken merges by the rank of the result; a BPE model lists pairs. The pair of a token is found by
    running the same merging with only the lower ranks, which leaves the two parts that it is made from.
    Raises ValueError for a file that is not such a table.
    """
    ranks = dict(_read_ranks(Path(path)))
    alphabet = _byte_alphabet()
    spelled = {token: "".join(alphabet[byte] for byte in token) for token in ranks}
    merges = [(spelled[left], spelled[right]) for left, right in _pairs(ranks)]
    return _finish(_backend({spelled[token]: rank for token, rank in ranks.items()}, merges))


def _read_ranks(path: Path) -> Iterator[tuple[bytes, int]]:
    expected = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                token, rank = line.split()
                pair = base64.b64decode(token, validate=True), int(rank)
            except (ValueError, binascii.Error) as error:
                raise ValueError(f"{path}, line {number}: not `base64 rank`: give a tiktoken file") from error
            if pair[1] != expected:
                raise ValueError(f"{path}, line {number}: rank {pair[1]} where {expected} was due")
            expected += 1
            yield pair
    if expected < _BYTES:
        raise ValueError(
            f"{path}: {expected} ranks do not even cover the {_BYTES} bytes: give a tiktoken file"
        )


def _pairs(ranks: dict[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """The two parts of every token of more than one byte, in the order of ranks."""
    for token, rank in ranks.items():
        if len(token) == 1:
            continue
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            best, where = rank, -1
            for index in range(len(parts) - 1):
                found = ranks.get(parts[index] + parts[index + 1], rank)
                if found < best:
                    best, where = found, index
            if where < 0:
                break  # never reached by merging; taken only as a whole piece
            parts[where : where + 2] = [parts[where] + parts[where + 1]]
        if len(parts) == 2:
            yield parts[0], parts[1]

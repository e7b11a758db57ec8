"""Conversion of other models' vocabularies: their base tokens, then all special tokens of `qwen_audio.format.tags`.

Supported are byte-level BPE tokenizers: a tiktoken file (Qwen-7B) or a tokenizer.json (Qwen2, Qwen2.5, Qwen3, Llama-3).
Special tokens of the other model that we do not have are left out, those of the same name keep their embedding.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer
from torch import Tensor

from qwen_audio.format import tags
from qwen_audio.format.tokenizer import QwenAudioTokenizer, byte_tokenizer, from_tiktoken
from qwen_audio.model.loading import CheckpointError

_KNOWN_IN_QWEN = 208  # Qwen-7B's own special tokens are the first of ours
# New rows get the mean of the trained ones plus noise of this share of their deviation, so that they can diverge.
_NEW_ROW_NOISE = 0.01


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer of ours, the size of its base vocabulary, and ids that special tokens had in the other model."""

    tokenizer: QwenAudioTokenizer
    base: int
    old_ids: dict[str, int]


def find_tokenizer(folder: Path, given: Path | None) -> Path | None:
    """The tokenizer file given, or that of a model's directory, or None."""
    if given is not None:
        if not given.is_file():
            raise FileNotFoundError(f"{given} is not a file: give a tokenizer.json or a .tiktoken file")
        return given
    found = [folder / "tokenizer.json", *sorted(folder.glob("*.tiktoken"))]
    return next((path for path in found if path.is_file()), None)


def tokenizer_file(folder: Path, given: Path | None) -> Path:
    """The file that `find_tokenizer` gives; CheckpointError if there is none."""
    path = find_tokenizer(folder, given)
    if path is None:
        has = " (tokenizer.model is a sentencepiece one, which is not supported)"
        raise CheckpointError(
            f"{folder} has no tokenizer.json and no .tiktoken file"
            f"{has if (folder / 'tokenizer.model').is_file() else ''}: give one with --tokenizer"
        )
    return path


def read_vocabulary(path: Path) -> Vocabulary:
    """Our tokenizer over the base vocabulary of a .tiktoken file or a tokenizer.json.

    Raises:
        CheckpointError: the tokenizer is not a byte-level BPE, or its base vocabulary is not usable.
    """
    if path.suffix != ".json":
        tokenizer = from_tiktoken(path)
        base = len(tokenizer) - len(tags.SPECIAL_TOKENS)
        return Vocabulary(
            tokenizer, base, {name: base + n for n, name in enumerate(tags.SPECIAL_TOKENS[:_KNOWN_IN_QWEN])}
        )
    try:
        source = Tokenizer.from_file(str(path))
    except Exception as error:  # the tokenizers library raises bare Exception for a broken file
        raise CheckpointError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    data = json.loads(source.to_str())
    _check_kind(path, data)
    base = source.get_vocab_size(with_added_tokens=False)
    backend = Tokenizer(source.model)
    backend.normalizer, backend.pre_tokenizer = source.normalizer, source.pre_tokenizer
    backend.decoder = source.decoder
    backend.add_special_tokens(
        [AddedToken(name, normalized=False, special=True) for name in tags.SPECIAL_TOKENS]
    )
    ours = QwenAudioTokenizer(tokenizer_object=backend)
    return Vocabulary(ours, base, {token["content"]: token["id"] for token in data["added_tokens"]})


def _check_kind(path: Path, data: dict[str, Any]) -> None:
    model, names = data["model"], json.dumps([data["pre_tokenizer"], data["decoder"]])
    if model["type"] != "BPE" or model.get("byte_fallback") or names.count('"ByteLevel"') < 2:
        raise CheckpointError(
            f"{path} is not a byte-level BPE (a sentencepiece one, as Llama-2's, is not supported): "
            "use a Qwen, Qwen2, Qwen2.5, Qwen3 or Llama-3 style model"
        )
    if (data["normalizer"] or {"type": "NFC"})["type"] != "NFC":
        raise CheckpointError(
            f"{path}: its normaliser {data['normalizer']['type']} changes the text: not supported"
        )
    vocab = model["vocab"]
    if sorted(vocab.values()) != list(range(len(vocab))):
        raise CheckpointError(f"{path}: the ids of its base vocabulary have gaps: not supported")
    taken = [name for name in tags.SPECIAL_TOKENS if name in vocab]
    if taken:
        raise CheckpointError(
            f"{path}: its base vocabulary holds {taken[0]}, which must come after it: not supported"
        )


def write_tiktoken(tokenizer: QwenAudioTokenizer, path: Path) -> None:
    """The base vocabulary as a tiktoken file of the published kind.

    Raises:
        CheckpointError: the published tokenizer would not give the same ids with it.
    """
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    split = json.loads(byte_tokenizer().backend_tokenizer.to_str())
    same = all(data[key] == split[key] for key in ("normalizer", "pre_tokenizer"))
    if same:
        byte_of = {char: bytes([n]) for n, char in enumerate(split["model"]["vocab"])}
        ranked = sorted(data["model"]["vocab"].items(), key=lambda item: item[1])
        with path.open("wb") as file:
            for text, rank in ranked:
                file.write(base64.b64encode(b"".join(byte_of[c] for c in text)) + b" %d\n" % rank)
        again = json.loads(from_tiktoken(path).backend_tokenizer.to_str())["model"]
        same = all(again[key] == data["model"][key] for key in ("vocab", "merges"))
    if not same:
        raise CheckpointError(
            "the published code cannot split text as tokenizer.json does: this model cannot be converted"
        )


def extended(source: Tensor, base: int, special_rows: list[int | None], seed: int) -> Tensor:
    """Embedding (or output) rows `(base + special tokens, H)` for our vocabulary.

    The base rows are copied. A special token with a row in `special_rows` gets that one; any other gets the mean
    of the base rows, so that the old tokens keep their probabilities nearly as they were, plus a little noise.
    """
    rows = torch.empty(base + len(special_rows), source.shape[1], dtype=source.dtype)
    rows[:base] = source[:base]
    total, squares = (torch.zeros(source.shape[1], dtype=torch.float64) for _ in range(2))
    for chunk in source[:base].split(8192):
        total += chunk.double().sum(0)
        squares += chunk.double().square().sum(0)
    mean = total / base
    deviation = (squares / base - mean.square()).clamp(min=0).sqrt()
    generator = torch.Generator().manual_seed(seed)
    for n, row in enumerate(special_rows):
        noise = torch.randn(source.shape[1], generator=generator, dtype=torch.float64)
        new = mean + _NEW_ROW_NOISE * deviation * noise if row is None else source[row]
        rows[base + n] = new.to(source.dtype)
    return rows

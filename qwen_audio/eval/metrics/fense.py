"""FENSE: how near a caption is to the references in meaning, and whether it is a sentence.

Zhou et al. (ICASSP 2022): the mean cosine between the sentence embeddings of the caption and of each reference; nine
tenths are taken off where a second model finds the caption not fluent. Both models lie in one folder, named by the
environment variable QWEN_AUDIO_FENSE:

    sentences/   the sentence model (paraphrase-TinyBERT-L6-v2 in the paper) as transformers saves it
    fluency/     the detector: encoder and classifier in `model.safetensors`, config.json, tokenizer

Only safetensors are read. `convert_detector` makes the second one from the checkpoint that was published.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from qwen_audio.eval.metrics.captions import check_references
from qwen_audio.eval.metrics.missing import MeasureMissing
from qwen_audio.eval.metrics.score import Score, check_lengths, count_failures, of_ratio

FOLDER = "QWEN_AUDIO_FENSE"
PENALTY = 0.9
THRESHOLD = 0.9  # of the probability of an error
BATCH = 32
_LONGEST = {"sentences": 128, "fluency": 64}  # tokens, as published
_MARKS = re.compile(r"[^\w\s]")


def fense(references: Sequence[Sequence[str]], hypotheses: Sequence[str | None]) -> Score:
    """Mean FENSE of the captions, -1 to 1; a failed example has 0.

    `details`: `similarity`, without the penalty; `errors`, the share of captions that are not fluent.

    Raises:
        MeasureMissing without the models, ValueError for an example without a reference.
    """
    check_lengths(references, hypotheses)
    check_references(references)
    sentences, fluency = _models(_folder())
    rows = [row for row, text in enumerate(hypotheses) if text is not None]
    texts = [hypotheses[row] or "" for row in rows]
    found = sentences.embed(texts)
    wanted = sentences.embed([text for row in rows for text in references[row]])
    ends = np.cumsum([0, *(len(references[row]) for row in rows)])
    near = [float((wanted[ends[i] : ends[i + 1]] @ found[i]).mean()) for i in range(len(rows))]
    broken = fluency.errors(texts) > THRESHOLD
    each = np.zeros(len(references))
    each[rows] = np.array(near) * (1 - PENALTY * broken)
    return of_ratio(
        "fense",
        each,
        np.ones(len(each)),
        failures=count_failures(hypotheses),
        signature=f"penalty:{PENALTY}|threshold:{THRESHOLD}|models:{sentences.name},{fluency.name}|failed:0",
        unit="points",
        details={
            "similarity": sum(near) / max(len(references), 1),
            "errors": float(broken.sum()) / max(len(references), 1),
        },
    )


def _folder() -> Path:
    named = os.environ.get(FOLDER)
    if named is None:
        raise MeasureMissing(f"FENSE needs two models: name their folder in {FOLDER}, see docs/metrics.md")
    folder = Path(named)
    names = [f"{part}/{file}" for part in _LONGEST for file in ("config.json", "model.safetensors")]
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise MeasureMissing(f"FENSE lacks {', '.join(absent)} in {folder}: see docs/metrics.md")
    return folder


@functools.lru_cache(maxsize=1)
def _models(folder: Path) -> tuple[_Sentences, _Fluency]:
    return _Sentences(folder / "sentences"), _Fluency(folder / "fluency")


class _Encoder:
    """A transformers encoder with its tokenizer."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        self.name = f"{config.model_type}@{digest[:8]}"
        self.model: Any = AutoModel.from_config(config).eval()
        self.longest = _LONGEST[folder.name]

    def load(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """The weights of the encoder; ValueError where one is missing."""
        # Not every file has the pooler, and none of its outputs are used.
        missing, unexpected = self.model.load_state_dict(state, strict=False)
        wrong = [
            name
            for name in (*missing, *unexpected)
            if not name.startswith(("pooler.", "embeddings.position_ids"))
        ]
        if wrong:
            raise ValueError(
                f"{folder}/model.safetensors does not fit its config.json: {wrong[0]} is missing or too many"
            )

    @torch.inference_mode()
    def states(self, texts: Sequence[str]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches of last hidden states (B, T, D) and attention masks (B, T)."""
        for begin in range(0, len(texts), BATCH):
            batch = self.tokenizer(
                list(texts[begin : begin + BATCH]), truncation=True, max_length=self.longest, padding=True,
                return_tensors="pt",
            )  # fmt: skip
            yield self.model(**batch).last_hidden_state, batch["attention_mask"]


class _Sentences(_Encoder):
    """Sentence embeddings: the mean of the states, of length 1."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.load({name.removeprefix("bert."): t for name, t in _read(folder).items()}, folder)

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """(n, D)"""
        parts = []
        for states, mask in self.states(texts):
            weights = mask[:, :, None].to(states.dtype)
            mean = (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
            parts.append(torch.nn.functional.normalize(mean, dim=1))
        size = int(self.model.config.hidden_size)
        return torch.cat([torch.zeros(0, size), *parts]).double().numpy()


class _Fluency(_Encoder):
    """Probability that a caption has an error of any kind: a linear classifier of the first state."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        state = _read(folder)
        for name in ("clf.weight", "clf.bias"):
            if name not in state:
                raise ValueError(
                    f"{folder}/model.safetensors has no {name}: make it with fense.convert_detector"
                )
        self.weight, self.bias = state.pop("clf.weight").float(), state.pop("clf.bias").float()
        self.load({name.removeprefix("encoder."): tensor for name, tensor in state.items()}, folder)

    @torch.inference_mode()
    def errors(self, texts: Sequence[str]) -> np.ndarray:
        """(n,); the last class means an error of any kind."""
        cleaned = [_MARKS.sub("", text).lower() for text in texts]
        parts = [
            (states[:, 0] @ self.weight.T + self.bias)[:, -1].sigmoid() for states, _ in self.states(cleaned)
        ]
        return torch.cat([torch.zeros(0), *parts]).double().numpy()


def _read(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}


def convert_detector(
    checkpoint: str | os.PathLike[str], encoder: str | os.PathLike[str], output: str | os.PathLike[str]
) -> None:
    """The published checkpoint of an error detector as the folder `fluency` that is read here.

    checkpoint: a PyTorch file with `state_dict`, read as tensors only (no code in it is run); encoder: a folder with
    the config.json and the tokenizer of the model that it was made from (bert-base-uncased for the "base" one).
    ValueError if there is no classifier in the checkpoint.
    """
    from transformers import AutoConfig, AutoTokenizer

    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    if "clf.weight" not in state:
        raise ValueError(f"{checkpoint} has no clf.weight: give a checkpoint of a FENSE error detector")
    Path(output).mkdir(parents=True, exist_ok=True)
    AutoConfig.from_pretrained(encoder, local_files_only=True).save_pretrained(output)
    AutoTokenizer.from_pretrained(encoder, local_files_only=True).save_pretrained(output)
    kept = {name: tensor.contiguous() for name, tensor in state.items() if not name.endswith("position_ids")}
    save_file(kept, Path(output) / "model.safetensors")

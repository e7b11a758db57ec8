"""Small trained parts beside a frozen language model: new vocabulary rows and LoRA, and their merge.

A checkpoint keeps the frozen model unchanged and these parts beside it. `merge` adds them to the plain model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qwen_audio.packages import check_packages

NEW_ROWS = "new_rows"
_LORA = re.compile(r"\.lora_[A-Za-z]+(\.|$)")


class SplitEmbedding(nn.Module):
    """An embedding whose rows from `first` on are parameters of their own `(V - first, H)`."""

    def __init__(self, base: nn.Embedding, first: int, rows: nn.Parameter) -> None:
        super().__init__()
        self.base = base
        self.first = first
        self.new_rows = rows

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings `(..., H)` of token ids `(...)`."""
        old = self.base(ids)
        new = F.embedding((ids - self.first).clamp(min=0), self.new_rows).to(old.dtype)
        return torch.where((ids >= self.first)[..., None], new, old)


class SplitLinear(nn.Module):
    """An output layer whose rows from `first` on are parameters of their own."""

    def __init__(self, base: nn.Linear, first: int, rows: nn.Parameter) -> None:
        super().__init__()
        self.base = base
        self.first = first
        self.new_rows = rows

    def parts(self) -> Sequence[Tensor]:
        """The rows of the output matrix `(V, H)` in order, in two pieces."""
        return self.base.weight[: self.first], self.new_rows

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits `(..., V)`."""
        return torch.cat([F.linear(hidden, part.to(hidden.dtype)) for part in self.parts()], dim=-1)


def split_rows(model: Any, first: int) -> None:
    """Give the vocabulary rows from `first` on a trainable copy; tied matrices share it.

    Raises:
        ValueError: the output layer has a bias, or is not a plain matrix.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if type(embedding) is not nn.Embedding or type(head) is not nn.Linear or head.bias is not None:
        raise ValueError(
            "new_rows need a language model with plain embeddings and an output layer without bias: "
            "train its embeddings whole"
        )

    def copied(weight: Tensor) -> nn.Parameter:
        return nn.Parameter(weight[first:].detach().clone().float())

    rows = copied(embedding.weight)
    tied = head.weight is embedding.weight
    model.set_input_embeddings(SplitEmbedding(embedding, first, rows))
    model.set_output_embeddings(SplitLinear(head, first, rows if tied else copied(head.weight)))


def add_lora(model: Any, rank: int, alpha: float, dropout: float, targets: Sequence[str]) -> None:
    """Put LoRA (Hu et al. 2021, arXiv 2106.09685) beside the linear layers of the language model named `targets`.

    Raises:
        ValueError: the language model has no such layer.
    """
    check_packages("train", "peft")
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        lora_dropout=dropout,
        target_modules=list(targets),
        bias="none",
    )
    known = {
        name.rsplit(".", 1)[-1]
        for name, m in model.language_model.named_modules()
        if isinstance(m, nn.Linear)
    }
    if missing := sorted(set(targets) - known):
        raise ValueError(
            f"lora_targets name {missing[0]!r}, but the language model has no such layer: "
            f"choose among {', '.join(sorted(known))}"
        )
    inject_adapter_in_model(config, model.language_model)


def is_adapter(name: str) -> bool:
    """True if a parameter belongs to these parts, by its name."""
    return name.endswith(NEW_ROWS) or bool(_LORA.search(name))


def plain_name(name: str) -> str:
    """The name that a frozen parameter has in the plain model."""
    return name.replace(".base_layer.", ".").replace(".base.", ".")


@torch.no_grad()
def merge(model: Any) -> None:
    """Merge all parts into the weights of the plain model and remove the parts."""
    from torch.nn import Module

    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if isinstance(embedding, SplitEmbedding):
        for part in (embedding, head):
            part.base.weight[part.first :] = part.new_rows.to(part.base.weight.dtype)
        model.set_input_embeddings(embedding.base)
        model.set_output_embeddings(head.base)
    merged: dict[str, Module] = {}
    for name, module in model.named_modules():
        if hasattr(module, "base_layer") and hasattr(module, "merge"):
            module.merge()
            merged[name] = module.base_layer
    for name, base in merged.items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, base)

"""Sampling of the next token, so that a row's samples depend on its own scores and seed alone.

transformers samples a whole batch from one global generator, so that an answer changes with the other rows.
Here every row has a generator of its own. A token is sampled by the Gumbel-max rule: of the probabilities divided by
exponential noise, the largest is a fair sample. Noise belongs to a token's id, not to its rank, so scores that
differ in the last bit (as they do between one batch and another) give the same sample, save for exact ties.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters: scores are divided by `temperature`, cut to the `top_k` best (0: all), then to the
    smallest set of best tokens that holds a share of at least `top_p`.

    seed: the same prompt with the same seed gives the same answer, alone and in any batch; None takes a random seed.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(
                f"temperature is {self.temperature}: give a positive number, or sampling=None for greedy answers"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}: give a share above 0, up to 1")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}: give a number of tokens, or 0 for all")


# The defaults of the published generation configurations.
CHAT = Sampling(top_p=0.5)
BASE = Sampling(top_p=0.8)


class RowSampler:
    """Adds to a row's scores (V,) the noise that makes their largest a sample; comes last, before an argmax.

    Args:
        rule: sampling parameters of the row.
        device: device of the scores. Samples of one seed differ between a CPU and a GPU.
    """

    def __init__(self, rule: Sampling, device: torch.device) -> None:
        self.rule, self.generator = rule, torch.Generator(device)
        if rule.seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(rule.seed)

    def __call__(self, scores: Tensor) -> Tensor:
        kept = keep(scores / self.rule.temperature, self.rule)
        noise = torch.empty_like(kept).exponential_(generator=self.generator)
        return kept - noise.clamp_min(torch.finfo(kept.dtype).tiny).log()


def keep(scores: Tensor, rule: Sampling) -> Tensor:
    """Scores `(V,)` with minus infinity at tokens that `top_k` and `top_p` leave out; the best token always stays."""
    if 0 < rule.top_k < len(scores):
        scores = scores.masked_fill(scores < scores.topk(rule.top_k).values[-1], -torch.inf)
    if rule.top_p < 1:
        ordered, ids = scores.sort(descending=True, stable=True)
        shares = ordered.softmax(0)
        before = shares.cumsum(0) - shares
        scores = scores.masked_fill((before >= rule.top_p)[ids.argsort()], -torch.inf)
    return scores

"""Cross-entropy of an output layer without all logits in memory at once.

With a vocabulary of 155,947 rows the logits of a batch, their softmax and its gradient need more memory than the rest
of a training step. Here they exist for `chunk` tokens at a time, and their gradients are computed at once, in the
forward pass: only one vector a token and, where the output matrix is trained, its gradient stay for the backward pass.

Shapes: n tokens, H width, V rows of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# 256 tokens of 155,947 float32 logits are 160 MB; fewer make the matrix products slower, more hardly faster.
CHUNK = 256


def linear_cross_entropy(
    hidden: Tensor,
    targets: Tensor,
    weights: Sequence[Tensor],
    bias: Tensor | None = None,
    chunk: int = CHUNK,
) -> Tensor:
    """Cross-entropy of each token, as `F.cross_entropy(hidden @ W.T + bias, targets, reduction="none")` has it.

    The gradient is exact for any incoming gradient, token by token. With one
    gradient for all tokens (a sum or a mean of the losses) nothing is computed twice; with several, and trained
    weights, the backward pass computes the logits again, since a sum over tokens cannot be weighted afterwards.

    Under autocast the products are made in its type; softmax and losses are float32 (float64 for float64 input).

    Args:
        hidden: `(n, H)`; n may be 0.
        targets: rows of the vocabulary `(n,)`.
        weights: parts of the output matrix, `(rows, H)` each; one under the other they are its V rows. Parts that
            need no gradient cost none.
        bias: `(V,)` or None.
        chunk: tokens whose logits are held at a time.

    Returns:
        Losses `(n,)` in float32 (float64 for float64 input).

    Raises:
        ValueError: shapes that do not fit, or `chunk` below 1.
    """
    rows = sum(len(w) for w in weights)
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; it must be 1 or more")
    if hidden.ndim != 2 or targets.shape != hidden.shape[:1]:
        raise ValueError(
            f"hidden {tuple(hidden.shape)} and targets {tuple(targets.shape)} must be (n, H) and (n,)"
        )
    if any(w.shape != (len(w), hidden.shape[1]) for w in weights) or not rows:
        shapes = ", ".join(str(tuple(w.shape)) for w in weights)
        raise ValueError(f"the weights are {shapes or 'none'}: each must be (rows, {hidden.shape[1]})")
    if bias is not None and bias.shape != (rows,):
        raise ValueError(f"the bias is {tuple(bias.shape)}; for {rows} rows it must be ({rows},)")
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    losses: Tensor = _LinearCrossEntropy.apply(
        hidden, targets, bias, chunk, dtype, torch.is_grad_enabled(), *weights
    )
    return losses


class _LinearCrossEntropy(torch.autograd.Function):
    """The sum over the tokens of a chunk is a matrix product, so the gradients come from chunks one by one."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        hidden: Tensor,
        targets: Tensor,
        bias: Tensor | None,
        chunk: int,
        dtype: torch.dtype,
        with_gradients: bool,
        *weights: Tensor,
    ) -> Tensor:
        need_hidden = with_gradients and ctx.needs_input_grad[0]
        need_bias = with_gradients and ctx.needs_input_grad[2]
        need_weights = [with_gradients and needed for needed in ctx.needs_input_grad[6:]]
        pass_ = _Pass(hidden, targets, weights, bias, chunk, dtype, need_hidden, need_weights, need_bias)
        losses = pass_.run(None)
        ctx.chunk, ctx.dtype = chunk, dtype
        ctx.need_weights, ctx.need_bias = need_weights, need_bias
        ctx.save_for_backward(hidden, targets, bias, pass_.grad_hidden, *weights)
        # Not saved tensors: the backward pass scales them in place and gives them away.
        ctx.summed = (pass_.grad_bias, pass_.grad_weights)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, targets, bias, grad_hidden, *weights = ctx.saved_tensors
        grad_bias: Tensor | None = None
        grad_weights: list[Tensor | None] = [None] * len(weights)
        if ctx.need_bias or any(ctx.need_weights):
            summed, ctx.summed = ctx.summed, None  # a second backward pass computes them again
            if summed is not None and _one_value(grad):
                grad_bias, grad_weights = summed
                for tensor in (grad_bias, *grad_weights):
                    if tensor is not None and len(grad):
                        tensor.mul_(grad[0])
            else:
                again = _Pass(
                    hidden,
                    targets,
                    weights,
                    bias,
                    ctx.chunk,
                    ctx.dtype,
                    False,
                    ctx.need_weights,
                    ctx.need_bias,
                )
                again.run(grad)
                grad_bias, grad_weights = again.grad_bias, again.grad_weights
        if grad_hidden is not None:
            grad_hidden = (grad_hidden * grad[:, None].to(grad_hidden.dtype)).to(hidden.dtype)
        return grad_hidden, None, grad_bias, None, None, None, *grad_weights


def _one_value(grad: Tensor) -> bool:
    """True if all tokens get the same gradient; that of a sum is an expanded scalar, recognised by its stride."""
    return grad.stride() == (0,) or len(grad) < 2 or bool((grad == grad[0]).all())


class _Pass:
    """One pass over all chunks: losses, and the requested gradients of the sum of the losses (or a weighted sum)."""

    def __init__(
        self,
        hidden: Tensor,
        targets: Tensor,
        weights: Sequence[Tensor],
        bias: Tensor | None,
        chunk: int,
        dtype: torch.dtype,
        need_hidden: bool,
        need_weights: Sequence[bool],
        need_bias: bool,
    ) -> None:
        self.hidden = hidden.to(dtype)
        self.targets = targets
        self.weights = [w.to(dtype) for w in weights]
        self.bias = None if bias is None else bias.to(dtype)
        self.chunk = chunk
        self.wide = torch.float64 if dtype == torch.float64 else torch.float32
        self.grad_hidden = torch.empty_like(self.hidden) if need_hidden else None
        # A sum over chunks in 8 bits of mantissa would lose the later ones.
        summed = dtype if len(hidden) <= chunk else self.wide
        self.grad_weights = [
            torch.zeros_like(w, dtype=summed) if needed else None
            for w, needed in zip(weights, need_weights, strict=True)
        ]
        self.types = [w.dtype for w in weights]
        self.grad_bias = torch.zeros_like(bias, dtype=self.wide) if bias is not None and need_bias else None
        self.bias_type = None if bias is None else bias.dtype
        self.with_gradients = need_hidden or need_bias or any(need_weights)

    @torch.no_grad()
    def run(self, scale: Tensor | None) -> Tensor:
        """Losses `(n,)`; the gradients are left in `grad_*`, each token's part times `scale` `(n,)`."""
        losses = torch.zeros(len(self.targets), dtype=self.wide, device=self.hidden.device)
        # The products are in `dtype` already; autocast would cast the float32 softmax down as well.
        with torch.autocast(self.hidden.device.type, enabled=False):
            for start in range(0, len(self.targets), self.chunk):
                here = slice(start, start + self.chunk)
                losses[here] = self._chunk(here, None if scale is None else scale[here])
        self.grad_weights = [
            None if g is None else g.to(dtype) for g, dtype in zip(self.grad_weights, self.types, strict=True)
        ]
        if self.grad_bias is not None:
            self.grad_bias = self.grad_bias.to(self.bias_type)
        return losses

    def _chunk(self, here: slice, scale: Tensor | None) -> Tensor:
        hidden, targets = self.hidden[here], self.targets[here, None]
        # Step by step in place: half the time and half the memory of log_softmax and its exponential.
        scores = self._logits(hidden).to(self.wide)
        scores -= scores.amax(1, keepdim=True)
        at_target = scores.gather(1, targets)
        total = scores.exp_().sum(1, keepdim=True)
        losses = (total.log() - at_target).squeeze(1)
        if not self.with_gradients:
            return losses
        # The gradient of a token's logits: the probabilities, less one at the target.
        by_logits = scores.div_(total)
        by_logits.scatter_add_(1, targets, by_logits.new_full((len(targets), 1), -1.0))
        if scale is not None:
            by_logits *= scale[:, None]
        if self.grad_bias is not None:
            self.grad_bias += by_logits.sum(0)
        by_logits = by_logits.to(self.hidden.dtype)
        first = 0
        for weight, grad in zip(self.weights, self.grad_weights, strict=True):
            part = by_logits[:, first : first + len(weight)]
            if self.grad_hidden is not None:
                if first == 0:
                    torch.mm(part, weight, out=self.grad_hidden[here])
                else:
                    self.grad_hidden[here].addmm_(part, weight)
            if grad is not None:
                if grad.dtype == part.dtype:
                    grad.addmm_(part.T, hidden)
                else:
                    grad += part.T @ hidden
            first += len(weight)
        return losses

    def _logits(self, hidden: Tensor) -> Tensor:
        if len(self.weights) == 1:
            return F.linear(hidden, self.weights[0], self.bias)
        logits = hidden.new_empty(len(hidden), sum(len(w) for w in self.weights))
        first = 0
        for weight in self.weights:
            rows = slice(first, first + len(weight))
            if self.bias is None:
                torch.mm(hidden, weight.T, out=logits[:, rows])
            else:  # within the product: added later, a sum in bfloat16 would be rounded twice
                torch.addmm(self.bias[rows], hidden, weight.T, out=logits[:, rows])
            first += len(weight)
        return logits

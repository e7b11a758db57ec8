"""The loss in chunks: equal to F.cross_entropy in losses and gradients, in every type, and small in memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small import random_model
from torch import nn

from qwen_audio.format.tasks import Segment
from qwen_audio.model.linear_cross_entropy import linear_cross_entropy


def problem(n=13, width=8, rows=(11, 6), dtype=torch.float64, seed=0):
    """Hidden states, targets, parts of the output matrix and a bias."""
    torch.manual_seed(seed)
    parts = [torch.randn(r, width, dtype=dtype, requires_grad=True) for r in rows]
    hidden = torch.randn(n, width, dtype=dtype, requires_grad=True)
    bias = torch.randn(sum(rows), dtype=dtype, requires_grad=True)
    return hidden, torch.randint(sum(rows), (n,)), parts, bias


def reference(hidden, targets, parts, bias):
    return F.cross_entropy(F.linear(hidden, torch.cat(parts), bias).float(), targets, reduction="none")


@pytest.mark.parametrize("chunk", [1, 4, 13, 100])
@pytest.mark.parametrize("upstream", ["each its own", "mean"])
def test_gradients_by_finite_differences(chunk, upstream):
    hidden, targets, parts, bias = problem()

    def loss(h, b, *w):
        losses = linear_cross_entropy(h, targets, w, b, chunk)
        return losses.mean() if upstream == "mean" else losses

    assert torch.autograd.gradcheck(loss, (hidden, bias, *parts), nondet_tol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("trained", [(True, True), (False, True), (False, False)])
def test_like_cross_entropy(dtype, weighed, trained):
    """As near to the truth, which is computed in float64, as F.cross_entropy is in the same type."""
    hidden, targets, parts, bias = problem(n=70, width=32, rows=(90, 37), dtype=dtype)
    for part, trains in zip(parts, trained, strict=True):
        part.requires_grad_(trains)
    upstream = torch.linspace(-1, 2, 70) if weighed else torch.full((70,), 1 / 70)

    def found(loss, *tensors):
        h, b, *w = tensors
        losses = loss(h, targets, w, b)
        inputs = [t for t in tensors if t.requires_grad]
        gradients = torch.autograd.grad(losses, inputs, upstream.to(losses.dtype))
        return losses.detach(), gradients, inputs

    tensors = (hidden, bias, *parts)
    losses, gradients, inputs = found(lambda *a: linear_cross_entropy(*a, chunk=16), *tensors)
    assert losses.dtype == torch.float32
    assert [g.dtype for g in gradients] == [t.dtype for t in inputs]
    theirs = found(reference, *tensors)
    exact = found(
        lambda h, t, w, b: F.cross_entropy(F.linear(h, torch.cat(w), b), t, reduction="none"),
        *(t.detach().double().requires_grad_(t.requires_grad) for t in tensors),
    )
    for ours, other, truth in zip(
        (losses, *gradients), (theirs[0], *theirs[1]), (exact[0], *exact[1]), strict=True
    ):
        worst = (ours - truth).abs().max() / truth.abs().max()
        assert worst <= 2 * (other - truth).abs().max() / truth.abs().max() + 1e-6
        assert worst < (1e-5 if dtype == torch.float32 else 0.05)


def test_chunks_in_bfloat16_are_summed_in_float32():
    """A thousand chunks of one token: summed in bfloat16 the gradient would stop growing at 256 parts."""
    hidden = torch.ones(1000, 4, dtype=torch.bfloat16)
    weight = torch.zeros(2, 4, dtype=torch.bfloat16, requires_grad=True)
    linear_cross_entropy(hidden, torch.zeros(1000, dtype=torch.long), [weight], chunk=1).sum().backward()
    assert weight.grad.tolist() == [[-500.0] * 4, [500.0] * 4]


def test_a_second_backward_pass_gives_the_same():
    hidden, targets, parts, bias = problem()
    loss = linear_cross_entropy(hidden, targets, parts, bias, chunk=5).mean()
    first = torch.autograd.grad(loss, [hidden, bias, *parts], retain_graph=True)
    second = torch.autograd.grad(loss, [hidden, bias, *parts])
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b)


def test_under_autocast_as_the_layer_itself():
    hidden, targets, parts, bias = problem(n=40, width=16, rows=(50,), dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = F.cross_entropy(F.linear(hidden, parts[0], bias).float(), targets, reduction="none")
        ours = linear_cross_entropy(hidden, targets, parts, bias, chunk=16)
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-6)
    inputs = [hidden, bias, parts[0]]
    exact = torch.autograd.grad(wanted.sum(), inputs)
    for g, e in zip(torch.autograd.grad(ours.sum(), inputs), exact, strict=True):
        assert g.dtype == torch.float32
        torch.testing.assert_close(g, e, rtol=0.02, atol=0.02 * float(e.abs().max()))


def test_nothing_to_predict_and_nothing_to_train():
    hidden, targets, parts, bias = problem(n=0)
    loss = linear_cross_entropy(hidden, targets, parts, bias)
    assert loss.shape == (0,)
    loss.sum().backward()
    assert hidden.grad.shape == (0, 8) and not parts[0].grad.any() and not bias.grad.any()
    hidden, targets, parts, bias = problem()
    with torch.no_grad():
        quiet = linear_cross_entropy(hidden, targets, parts, bias)
    assert not quiet.requires_grad
    torch.testing.assert_close(quiet, linear_cross_entropy(hidden, targets, parts, bias).detach())


def test_extreme_logits_stay_finite():
    hidden = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    losses = linear_cross_entropy(hidden, torch.tensor([1, 1]), [weight])
    assert losses.tolist() == [20_000.0, 0.0]
    losses.sum().backward()
    assert hidden.grad.tolist() == [[2.0], [0.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chunk": 0}, "chunk is 0"),
        ({"targets": torch.zeros(3, dtype=torch.long)}, r"targets \(3,\)"),
        ({"weights": []}, "none"),
        ({"weights": [torch.zeros(4, 7)]}, r"\(4, 7\): each must be \(rows, 8\)"),
        ({"bias": torch.zeros(5)}, r"for 17 rows it must be \(17,\)"),
    ],
)
def test_shapes_that_do_not_fit(change, message):
    hidden, targets, parts, bias = problem()
    given = {"hidden": hidden, "targets": targets, "weights": parts, "bias": bias} | change
    with pytest.raises(ValueError, match=message):
        linear_cross_entropy(**given)


def test_no_more_logits_than_a_chunk_are_ever_held():
    """The largest tensor that any operation makes, forward and backward, trained and frozen part."""
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    hidden, targets, parts, bias = problem(n=400, rows=(900, 100), dtype=torch.float32)
    parts[0].requires_grad_(False)
    with Watch():
        losses = linear_cross_entropy(hidden, targets, parts, bias, chunk=20)
        (losses * torch.rand(400)).sum().backward()
    assert largest == 20 * 1000
    largest = 0
    with Watch():
        reference(hidden, targets, parts, bias)
    assert largest == 400 * 1000  # so the watch sees what it should


# In the model ----------------------------------------------------------


class Parts(nn.Module):
    """An output layer of a frozen and a trained piece."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.frozen = nn.Parameter(weight[:-5].detach().clone(), requires_grad=False)
        self.trained = nn.Parameter(weight[-5:].detach().clone())

    def parts(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.frozen, self.trained


def batch_of(processor):
    rows = [[Segment("say ", False, False), Segment("hello", False, True)], [Segment("no", False, True)]]
    return dict(processor([[], []], rows, padding_side="right"))


def test_the_model_takes_an_output_layer_in_parts():
    model, processor = random_model()
    batch = batch_of(processor)
    head = model.get_output_embeddings()
    whole = model(**batch)
    whole.loss.backward()
    parted = Parts(head.weight)
    model.set_output_embeddings(parted)
    loss = model(**batch).loss
    torch.testing.assert_close(loss, whole.loss)
    loss.backward()
    assert parted.frozen.grad is None
    torch.testing.assert_close(parted.trained.grad, head.weight.grad[-5:])


def test_output_layers_that_are_more_than_a_matrix_are_called():
    model, processor = random_model()
    batch = batch_of(processor)
    plain = model(**batch).loss.item()
    head = model.get_output_embeddings()
    handle = head.register_forward_hook(lambda module, args, out: out * 0)
    even = torch.tensor(head.out_features).log()
    torch.testing.assert_close(model(**batch).loss, even)
    handle.remove()

    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    doubled = Doubled(head.in_features, head.out_features, bias=False)
    doubled.weight = nn.Parameter(head.weight.detach() / 2)
    model.set_output_embeddings(doubled)
    assert model(**batch).loss.item() == pytest.approx(plain, abs=1e-5)


def test_an_output_layer_with_a_bias():
    model, processor = random_model()
    head = model.get_output_embeddings()
    head.bias = nn.Parameter(torch.randn(head.out_features))
    batch = batch_of(processor)
    output = model(**batch)
    labels = batch.pop("labels")[:, 1:]
    logits = model(**batch).logits[:, :-1]
    torch.testing.assert_close(
        output.token_losses,
        F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")[labels.flatten() != -100],
    )

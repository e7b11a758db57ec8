"""Packed batches: the losses and gradients of the padded ones, and no row sees another."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from small import random_model

from qwen_audio.audio.features import log_mel
from qwen_audio.data.collate import Collator
from qwen_audio.data.encode import Row
from qwen_audio.model import hf
from qwen_audio.model.modeling_encoder import encoder_frames

TEXT_MODELS = {
    "qwen2": {"num_key_value_heads": 1},
    "qwen_audio_text": {"seq_length": 2048},
    "llama": {},
}


@pytest.fixture(params=TEXT_MODELS)
def made(request: pytest.FixtureRequest) -> Iterator[tuple]:
    model, processor = random_model(request.param, **TEXT_MODELS[request.param])
    yield model.train(), processor


def rows(processor) -> list[Row]:
    """Four rows: clips of several lengths, one with two, one of text alone whose every token is labelled."""
    rng = np.random.default_rng(0)
    made = []
    for seconds, prompt, answer in (
        ((0.5,), "say", "hello there"),
        ((), "", "text alone"),
        ((1.3, 0.2), "a longer prompt", "no"),
        ((0.9,), "x", "yes, that is it"),
    ):
        mels = [log_mel(rng.standard_normal(int(s * 16_000)).astype(np.float32) * 0.1) for s in seconds]
        tok = processor.tokenizer
        ids, labels = processor.encode_row([m.shape[-1] for m in mels], [])
        question, said = tok.encode_plain(prompt), [*tok.encode_plain(answer), tok.eos_token_id]
        made.append(
            Row(
                ids + question + said,
                labels + [-100] * len(question) + said,
                mels,
                None,
                f"task{len(made) % 2}",
                sum(seconds),
                len(question + said),
                False,
            )
        )
    return made


def gradients(model) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("attention", ["eager", "sdpa", "by_rows"])
def test_losses_and_gradients_are_those_of_the_padded_batch(made, attention):
    model, processor = made
    padded, packed = (Collator(processor, packing=p).collate(rows(processor)) for p in (False, True))
    assert packed.inputs["input_ids"].shape == (1, sum(len(r.ids) for r in rows(processor)))
    assert "attention_mask" not in packed.inputs
    outputs = []
    for batch in (padded, packed):
        model.set_attn_implementation("sdpa" if batch is padded else attention)
        output = model(**batch.inputs)
        output.loss.backward()
        outputs.append((output, gradients(model)))
    (a, ga), (b, gb) = outputs
    torch.testing.assert_close(a.token_losses, b.token_losses, rtol=0, atol=1e-5)
    assert ga.keys() == gb.keys() and len(ga) > 20
    for name in ga:
        torch.testing.assert_close(ga[name], gb[name], rtol=1e-4, atol=1e-5, msg=name)
    assert torch.equal(padded.label_rows, packed.label_rows)


@pytest.mark.parametrize("attention", ["eager", "sdpa", "by_rows"])
def test_no_row_sees_another(made, attention):
    model, processor = made
    model.set_attn_implementation(attention)
    chosen = rows(processor)
    changed = list(chosen)
    changed[1] = Row([*chosen[1].ids[:-3], 65, 66, 67], *list(vars(chosen[1]).values())[1:])
    collator = Collator(processor, packing=True)
    with torch.no_grad():
        first, second = (
            (model(**batch.inputs).token_losses, batch.label_rows)
            for batch in (collator.collate(chosen), collator.collate(changed))
        )
    moved = (first[0] - second[0]).abs()
    assert moved[first[1] == 1].max() > 1e-3
    assert moved[first[1] != 1].max() < 1e-6


def test_each_row_alone_has_the_losses_it_has_in_the_pack(made):
    model, processor = made
    collator = Collator(processor, packing=True)
    together = collator.collate(rows(processor))
    with torch.no_grad():
        losses = model(**together.inputs).token_losses
        for number, row in enumerate(rows(processor)):
            alone = model(**collator.collate([row]).inputs).token_losses
            torch.testing.assert_close(losses[together.label_rows == number], alone, rtol=0, atol=1e-5)


def test_the_rows_of_labels():
    _, processor = random_model()
    chosen = rows(processor)
    for packing in (False, True):
        batch = Collator(processor, packing=packing).collate(chosen)
        labelled = batch.inputs["labels"][:, 1:] != -100
        assert len(batch.label_rows) == int(labelled.sum())
        # The row of text alone is labelled from its first token, which nothing predicts.
        wanted = [sum(i != -100 for i in row.labels[1:]) for row in chosen]
        assert torch.bincount(batch.label_rows).tolist() == wanted
        assert wanted[1] == len(chosen[1].ids) - 1
        if not packing:
            assert torch.equal(batch.label_rows, labelled.nonzero()[:, 0])


def test_positions_start_again_in_every_row_and_clips_stay_in_order():
    _, processor = random_model()
    chosen = rows(processor)
    inputs = Collator(processor, packing=True).collate(chosen).inputs
    starts = (inputs["position_ids"][0] == 0).nonzero()[:, 0].tolist()
    assert starts == np.cumsum([0, *(len(r.ids) for r in chosen[:-1])]).tolist()
    assert inputs["feature_lengths"].tolist() == [m.shape[-1] for r in chosen for m in r.mels]
    assert (inputs["labels"][0, starts] == -100).all()


# The encoder -----------------------------------------------------------


@pytest.mark.parametrize("attention", ["eager", "sdpa", "by_rows"])
def test_the_encoder_without_padding_gives_the_same_frames_and_gradients(attention):
    model, _ = random_model()
    tower = model.audio_tower.train()
    tower.set_attn_implementation(attention)
    torch.manual_seed(1)
    lengths = torch.tensor([73, 200, 1, 160, 12])
    mels = torch.randn(5, 80, 200)
    kept = torch.arange(100) < encoder_frames(lengths)[:, None]
    weights = torch.randn(5, 100, 16) * kept[..., None]
    found = []
    for packs in (False, True):
        tower.packs = packs
        frames = tower.encode(mels, lengths)
        pooled = tower(mels, lengths)
        (frames * weights).sum().backward()
        found.append(
            (frames[kept], [pooled[i, : n // 2] for i, n in enumerate(kept.sum(1))], gradients(tower))
        )
    (frames, pooled, exact), (packed, pooled_too, ours) = found
    torch.testing.assert_close(packed, frames, rtol=0, atol=1e-5)
    for a, b in zip(pooled, pooled_too, strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=1e-5)
    assert exact.keys() == ours.keys() and len(exact) > 10
    for name in exact:
        torch.testing.assert_close(ours[name], exact[name], rtol=1e-4, atol=1e-4, msg=name)


def test_by_rows_is_sdpa_where_nothing_is_packed():
    """Padded rows in evaluation, and generation, which pads on the left."""
    model, processor = random_model()
    batch = Collator(processor).collate(rows(processor)).inputs
    prompt = processor.pad_rows(
        [(r.ids, r.labels) for r in rows(processor)], [m for r in rows(processor) for m in r.mels], "left"
    )
    del prompt["labels"]
    found = []
    for attention in ("sdpa", "by_rows"):
        model.set_attn_implementation(attention)
        with torch.no_grad():
            losses = model(**batch).token_losses
        found.append((losses, model.generate(**prompt, max_new_tokens=4, do_sample=False)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=1e-5)
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("attention", ["sdpa", "by_rows"])
def test_checkpointed_layers_take_packed_frames(attention):
    model, processor = random_model()
    batch = Collator(processor, packing=True).collate(rows(processor))
    model.train()
    model.set_attn_implementation(attention)
    model(**batch.inputs).loss.backward()
    plain = gradients(model)
    hf.enable_checkpointing(model)
    model(**batch.inputs).loss.backward()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, plain[name], rtol=1e-5, atol=1e-6, msg=name)


def test_by_rows_computes_no_pairs_of_positions_of_two_rows():
    from torch.utils._python_dispatch import TorchDispatchMode

    widths = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if "softmax" in str(function):
                widths.add(args[0].shape[-1])
            return function(*args, **(kwargs or {}))

    model, processor = random_model()
    model.set_attn_implementation("by_rows")
    chosen = rows(processor)
    batch = Collator(processor, packing=True).collate(chosen)
    with Watch():
        model.train()(**batch.inputs)
    clips = encoder_frames(batch.inputs["feature_lengths"]).tolist()
    assert widths == {*(len(row.ids) for row in chosen), *clips}

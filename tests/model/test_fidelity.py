"""Ours agrees with the published code: everything in the reference folder, and a part of it anywhere."""

from pathlib import Path

import fidelity
import pytest
import torch
from fidelity import Row, difference

pytestmark = pytest.mark.versions


def check(row: Row) -> None:
    assert row.error <= row.tolerance, f"{row.what}: {row.error} is more than {row.tolerance}"


def test_mel_and_lengths(shared: Path) -> None:
    rows = [*fidelity.mel_rows(shared / "golden"), *fidelity.length_rows(shared / "golden")]
    assert len(rows) == 2
    for row in rows:
        check(row)


def test_encoder(shared: Path) -> None:
    rows = list(fidelity.encoder_rows(shared / "golden"))
    assert len(rows) == 3
    for row in rows:
        check(row)


def test_language_model(shared: Path) -> None:
    lm = fidelity.LanguageModelSet(shared / "golden")
    logits = list(fidelity.logit_rows(shared / "golden", lm))
    greedy = list(fidelity.greedy_rows(shared / "golden", lm))
    assert len(logits) > 15 and len(greedy) > 8
    for row in [*logits, *greedy]:
        check(row)


CASES = ["text_short", "text_exact", "text_exact_plus1", "text_long", "text_longer", "plain_text_long"]


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_stored_logits(name: str) -> None:
    model, stored = fidelity.stored_language_model(plain=name.startswith("plain"))
    wanted = stored[f"case.{name}.logits"]
    ours = model(stored[f"case.{name}.ids"].long()).logits[0, -len(wanted) :]
    assert difference(ours, wanted) < 2e-4


@torch.no_grad()
def test_stored_logits_after_two_recordings() -> None:
    model, stored = fidelity.stored_language_model()
    wanted = stored["case.audio2.logits"]
    ours = model(inputs_embeds=stored["case.audio2.embeds"][None]).logits[0, -len(wanted) :]
    assert difference(ours, wanted) < 2e-4


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_stored_batch_beyond_the_plain_length(side: str) -> None:
    """On the left the published code shifts the log-n factor with the padding; ours gives what it gives unpadded."""
    model, stored = fidelity.stored_language_model()
    ids, mask = stored["batch.ids"].long(), stored["batch.mask"].long()
    if side == "left":
        rows = [row[keep.bool()] for row, keep in zip(ids, mask, strict=True)]
        width = ids.shape[1]
        ids = torch.stack([torch.nn.functional.pad(row, (width - len(row), 0)) for row in rows])
        mask = mask.flip(1)
    logits = model(ids, attention_mask=mask).logits
    last = logits[:, -1] if side == "left" else logits[torch.arange(len(ids)), mask.sum(1) - 1]
    assert difference(last, stored["batch.last"]) < 2e-4


@pytest.mark.parametrize("cache", [None, "static"])
@pytest.mark.parametrize("name", ["gen_text_below", "gen_text_cross", "gen_text_cross_2x", "gen_plain_cross"])
def test_stored_greedy_tokens(name: str, cache: str | None) -> None:
    model, stored = fidelity.stored_language_model(plain="plain" in name)
    ids, wanted = stored[f"generate.{name}.ids"].long(), stored[f"generate.{name}.new"]
    new = model.generate(
        ids,
        do_sample=False,
        max_new_tokens=wanted.shape[1],
        eos_token_id=None,
        pad_token_id=511,
        cache_implementation=cache,
    )[:, ids.shape[1] :]
    assert new.tolist() == wanted.tolist()

"""Masks are stripes inside each clip, of the clip's mean; nothing else changes."""

from __future__ import annotations

import pytest
import torch

from qwen_audio.train.specaugment import SpecAugment

LENGTHS = torch.tensor([200, 120, 37, 1, 0])


def batch() -> torch.Tensor:
    """(5, 80, 200) distinct values; what lies past a clip's length is marked 99."""
    mel = torch.randn(5, 80, 200, generator=torch.Generator().manual_seed(5))
    mel[torch.arange(200).expand(5, 80, 200) >= LENGTHS[:, None, None]] = 99.0
    return mel


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_masked_values_are_the_mean_and_padding_is_untouched() -> None:
    mel = batch()
    before = mel.clone()
    masked = SpecAugment()(mel, LENGTHS, seeded())
    assert torch.equal(mel, before)
    changed = masked != mel
    assert 0.02 < changed[0].float().mean() < 0.8
    for clip, length in enumerate(LENGTHS.tolist()):
        assert not changed[clip, :, length:].any()
        if length:
            mean = mel[clip, :, :length].mean()
            torch.testing.assert_close(masked[clip][changed[clip]], mean.expand(int(changed[clip].sum())))
    assert torch.isfinite(masked).all()


def test_masks_are_stripes_within_their_limits() -> None:
    policy = SpecAugment(time_masks=1, time_width=30, time_share=0.2, freq_masks=0)
    widths = []
    for seed in range(300):
        mel = batch()
        changed = policy(mel, LENGTHS, seeded(seed)) != mel
        assert torch.equal(changed.any(1), changed.all(1))  # whole frames
        columns = changed.any(1)
        for clip, length in enumerate(LENGTHS.tolist()):
            where = columns[clip].nonzero().flatten()
            assert len(where) <= min(30, int(0.2 * length))
            if len(where):
                assert int(where[-1] - where[0]) + 1 == len(where)  # one stripe
        widths.append(int(columns[0].sum()))
    assert min(widths) == 0 and max(widths) == 30 and 12 < sum(widths) / 300 < 18

    policy = SpecAugment(time_masks=0, freq_masks=1, freq_width=10)
    starts = set()
    for seed in range(300):
        mel = batch()
        changed = (policy(mel, LENGTHS, seeded(seed)) != mel)[0]
        rows = changed.any(1).nonzero().flatten()
        assert len(rows) <= 10 and torch.equal(changed.any(1), changed.all(1))
        starts.update(rows.tolist())
    assert starts == set(range(80))  # every band can be masked


def test_the_generator_decides() -> None:
    mel = batch()
    policy = SpecAugment()
    assert torch.equal(policy(mel, LENGTHS, seeded(1)), policy(mel, LENGTHS, seeded(1)))
    assert not torch.equal(policy(mel, LENGTHS, seeded(1)), policy(mel, LENGTHS, seeded(2)))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    policy(mel, LENGTHS, seeded())
    assert torch.equal(state, torch.get_rng_state())  # the global generator is left alone


def test_no_masks_and_no_clips() -> None:
    mel = batch()
    assert torch.equal(SpecAugment(time_masks=0, freq_masks=0)(mel, LENGTHS, seeded()), mel)
    assert torch.equal(SpecAugment(time_width=0, freq_width=0)(mel, LENGTHS, seeded()), mel)
    assert SpecAugment()(mel[:0], LENGTHS[:0], seeded()).shape == (0, 80, 200)
    half = mel.to(torch.bfloat16)
    assert SpecAugment()(half, LENGTHS, seeded()).dtype == torch.bfloat16


def test_bad_input_is_refused() -> None:
    mel = batch()
    with pytest.raises(ValueError, match="lengths must lie in 0 to 200"):
        SpecAugment()(mel, LENGTHS + 1, seeded())
    with pytest.raises(ValueError, match=r"lengths \(N,\)"):
        SpecAugment()(mel, LENGTHS[:2], seeded())
    with pytest.raises(ValueError, match="time_share"):
        SpecAugment(time_share=1.5)
    with pytest.raises(ValueError, match="freq_masks"):
        SpecAugment(freq_masks=-1)

"""A prompt gives the same frames, logits and greedy tokens alone and in any batch: encoder, prefill and decoding."""

import numpy as np
import pytest
import torch

from qwen_audio.audio.features import log_mel
from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.format.tasks import Segment
from qwen_audio.format.tokenizer import byte_tokenizer
from qwen_audio.model import (
    QwenAudioConfig,
    QwenAudioEncoderConfig,
    QwenAudioForConditionalGeneration,
    QwenAudioProcessor,
    QwenAudioTextConfig,
)
from qwen_audio.model.presets import build

pytestmark = pytest.mark.versions

SECONDS = (0.7, 2.3, 0.03, 1.234, 4.0)
NEW_TOKENS = 24


@pytest.fixture(scope="module")
def processor():
    return QwenAudioProcessor(byte_tokenizer())


@pytest.fixture(scope="module", params=["qwen2", "published rules"])
def model(request, processor):
    """Small random models; with the published rules, most of these prompts and all answers cross `seq_length`."""
    tok = processor.tokenizer
    torch.manual_seed(5)
    if request.param == "qwen2":
        made = build("test", tok)
    else:
        made = QwenAudioForConditionalGeneration(
            QwenAudioConfig(
                audio_config=QwenAudioEncoderConfig(
                    d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=64
                ),
                text_config=QwenAudioTextConfig(
                    vocab_size=len(tok),
                    hidden_size=64,
                    num_hidden_layers=2,
                    num_attention_heads=4,
                    num_key_value_heads=4,
                    intermediate_size=96,
                    seq_length=24,
                    initializer_range=0.2,
                    eos_token_id=tok.eos_token_id,
                    pad_token_id=tok.eos_token_id,
                ),
                audio_start_token_id=tok.audio_start_id,
                audio_end_token_id=tok.audio_end_id,
                audio_pad_token_id=tok.audio_pad_id,
            )
        )
    return made.eval()


def rows():
    """Prompts of no, one and two clips of mixed lengths."""
    rng = np.random.default_rng(1)
    clips = [rng.standard_normal(int(s * SAMPLE_RATE)).astype(np.float32) * 0.1 for s in SECONDS]
    made = [([clip], f"clip {i}: " + "word " * i) for i, clip in enumerate(clips)]
    made += [([], "only text, and more of it than the others have, so that all are padded"), (clips[:2], "?")]
    return made


def encode(processor, chosen):
    batch = processor([waves for waves, _ in chosen], [[Segment(text, False, False)] for _, text in chosen])
    return {name: tensor for name, tensor in batch.items() if name != "labels"}


def answers(model, batch, **kwargs):
    """New tokens `(B, NEW_TOKENS)` and the logits of each step `(B, NEW_TOKENS, V)`."""
    output = model.generate(
        **batch,
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        eos_token_id=None,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=True,
        **kwargs,
    )
    return output.sequences[:, batch["input_ids"].shape[1] :], torch.stack(output.logits, 1)


@torch.no_grad()
def test_encoder(model):
    rng = np.random.default_rng(2)
    mels = [log_mel(rng.standard_normal(int(s * SAMPLE_RATE)).astype(np.float32)) for s in (*SECONDS, 30.0)]
    lengths = torch.tensor([mel.shape[-1] for mel in mels])
    features = torch.full((len(mels), 80, 3000), 7.0)  # what lies past a clip's end must not be heard
    for row, mel in enumerate(mels):
        features[row, :, : mel.shape[-1]] = mel
    order = torch.tensor([3, 5, 0, 2, 1, 4])
    together = model.audio_tower(features, lengths)
    shuffled = model.audio_tower(features[order], lengths[order])
    for row, mel in enumerate(mels):
        alone = model.audio_tower(mel[None], lengths[row : row + 1])[0]
        place = int((order == row).nonzero())
        torch.testing.assert_close(together[row, : len(alone)], alone, rtol=0, atol=2e-5)
        torch.testing.assert_close(shuffled[place, : len(alone)], alone, rtol=0, atol=2e-5)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_prefill(model, processor, side):
    everything = rows()
    batch = processor(
        [waves for waves, _ in everything],
        [[Segment(text, False, False)] for _, text in everything],
        padding_side=side,
    )
    batch = {name: tensor for name, tensor in batch.items() if name != "labels"}
    together = model(**batch).logits
    for row, item in enumerate(everything):
        alone = model(**encode(processor, [item])).logits[0]
        torch.testing.assert_close(
            together[row][batch["attention_mask"][row].bool()], alone, rtol=0, atol=1e-4
        )


@pytest.mark.parametrize("cache", [None, "static"])
def test_decoding(model, processor, cache):
    everything = rows()
    alone = [answers(model, encode(processor, [item])) for item in everything]
    assert len({tuple(tokens[0].tolist()) for tokens, _ in alone}) > 2, "a model that always says the same"
    for chosen in ([0, 1, 2, 3, 4, 5, 6], [6, 3, 0, 5, 2], [4, 2, 1], [5, 0]):
        tokens, logits = answers(
            model, encode(processor, [everything[i] for i in chosen]), cache_implementation=cache
        )
        for place, i in enumerate(chosen):
            assert tokens[place].tolist() == alone[i][0][0].tolist(), (chosen, i)
            torch.testing.assert_close(logits[place], alone[i][1][0], rtol=0, atol=1e-4)


def test_interleaved_prompts_do_not_disturb_each_other(model, processor):
    """The published code keeps its rotary scale on the module, so that a second prompt changes the first's answer."""
    short, long = (encode(processor, [item]) for item in (rows()[0], rows()[6]))
    wanted, _ = answers(model, short)
    with torch.no_grad():
        step = model(**short, use_cache=True)
        tokens = [int(step.logits[0, -1].argmax())]
        for _ in range(NEW_TOKENS - 1):
            model(**long, use_cache=True)
            step = model(input_ids=torch.tensor([[tokens[-1]]]), past_key_values=step.past_key_values)
            tokens.append(int(step.logits[0, -1].argmax()))
    assert tokens == wanted[0].tolist()

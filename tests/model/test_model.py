"""The model: agreement with the published encoder, independence of the batch, loss, generation, saving."""

import numpy as np
import pytest
import torch
from paths import ROOT
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoProcessor

from qwen_audio.audio.features import audio_tokens
from qwen_audio.format.tasks import Segment
from qwen_audio.format.tokenizer import byte_tokenizer
from qwen_audio.model import (
    QwenAudioConfig,
    QwenAudioEncoder,
    QwenAudioEncoderConfig,
    QwenAudioForConditionalGeneration,
)
from qwen_audio.model.conversion.names import encoder_names
from qwen_audio.model.modeling_encoder import audio_tokens as model_audio_tokens
from qwen_audio.model.presets import PRESETS, build, config
from qwen_audio.model.processing_qwen_audio import QwenAudioProcessor

pytestmark = pytest.mark.versions

GOLDEN = ROOT / "tests" / "golden" / "encoder" / "single.safetensors"


@pytest.fixture(scope="module")
def processor():
    return QwenAudioProcessor(byte_tokenizer())


@pytest.fixture(scope="module")
def model(processor):
    torch.manual_seed(0)
    return build("test", processor.tokenizer).eval()


def waves(*seconds):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(int(s * 16_000)).astype(np.float32) * 0.1 for s in seconds]


def text(string, label=False):
    return Segment(string, False, label)


def test_encoder_agrees_with_the_published_code():
    golden = load_file(GOLDEN)
    weights = {k.removeprefix("weights."): v for k, v in golden.items() if k.startswith("weights.")}
    projection = torch.nn.Linear(64, 96)
    projection.load_state_dict({"weight": weights.pop("proj.weight"), "bias": weights.pop("proj.bias")})
    tags = weights.pop("audio_bos_eos_token.weight")
    weights = {new: weights[old] for old, new in encoder_names(2).items()}
    encoder = QwenAudioEncoder(
        QwenAudioEncoderConfig(d_model=64, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=256)
    ).eval()
    assert encoder.load_state_dict(weights, strict=True)
    lengths = torch.tensor([774, 212])
    features = torch.zeros(2, 80, 774)
    for row, item in enumerate((1, 2)):
        features[row, :, : lengths[row]] = golden[f"mel.{item}"].float()
    with torch.no_grad():
        batch = projection(encoder(features, lengths))
    for row, (item, tokens) in enumerate(((1, 193), (2, 53))):
        # The reference encoded each clip alone; ours must give the same inside a batch.
        ours = torch.cat([tags[:1], batch[row, :tokens], tags[1:]])
        torch.testing.assert_close(ours, golden[f"output.{item}"], rtol=0, atol=2e-5)


def test_a_row_gives_the_same_logits_alone_and_in_a_batch(model, processor):
    clips = [[w] for w in waves(0.7, 2.3, 0.11)] + [[]]
    segments = [[text(s)] for s in ("one", "a much longer prompt than that", "x", "no audio here")]
    with torch.no_grad():
        together = model(**without_labels(processor(clips, segments))).logits[:, -1]
        for i, (c, s) in enumerate(zip(clips, segments, strict=True)):
            alone = model(**without_labels(processor([c], [s]))).logits[0, -1]
            torch.testing.assert_close(together[i], alone, rtol=0, atol=1e-4)


def without_labels(batch):
    return {k: v for k, v in batch.items() if k != "labels"}


def test_loss_is_the_cross_entropy_of_the_labelled_positions(model, processor):
    batch = processor(
        [[w] for w in waves(0.5, 0.9)], [[text("say "), text("hello", True)], [text("no", True)]], "right"
    )
    with torch.no_grad():
        output = model(**batch)
        logits = model(**without_labels(batch)).logits
    labels = batch["labels"]
    reference = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    torch.testing.assert_close(output.loss, reference)
    assert output.logits is None
    assert len(output.token_losses) == 7  # the bytes of "hello" and "no"


def test_the_audio_changes_the_answer_and_gets_a_gradient(model, processor):
    segments = [[text("say "), text("hello", True)]]
    losses = [model(**processor([[w]], segments, "right")).loss for w in waves(0.5, 0.5)]
    assert losses[0] != losses[1]
    losses[0].backward()
    for name in ("audio_start_embedding", "audio_end_embedding", "audio_tower.conv1.weight"):
        assert model.get_parameter(name).grad.abs().sum() > 0, name
    model.zero_grad()


def test_every_length_up_to_30_s_fits_its_span(model, processor):
    for samples in (1, 159, 160, 320, 479, 480, 481, 8000, 16_001, 480_000):
        batch = processor([[np.ones(samples, np.float32) * 0.01]], [[text("?")]])
        pads = int((batch["input_ids"] == processor.tokenizer.audio_pad_id).sum())
        assert pads == audio_tokens(samples // 160) == int(model_audio_tokens(batch["feature_lengths"])[0])
        with torch.no_grad():
            assert torch.isfinite(model(**without_labels(batch)).logits).all(), samples


def test_spans_without_any_clip_are_an_error(model, processor):
    batch = without_labels(processor([[w] for w in waves(0.5)], [[text("a")]]))
    prompt = {k: batch[k] for k in ("input_ids", "attention_mask")}
    for run in (lambda: model(**prompt), lambda: model.generate(**prompt, max_new_tokens=2)):
        with pytest.raises(ValueError, match="1 audio spans but there are no clips"):
            run()


@torch.no_grad()
def test_hidden_states_attentions_and_tuples_as_in_transformers(model, processor):
    batch = without_labels(processor([[w] for w in waves(0.5)], [[text("hello")]]))
    whole = model(**batch)
    output = model(**batch, output_hidden_states=True)
    assert len(output.hidden_states) == model.config.text_config.num_hidden_layers + 1
    assert whole.hidden_states is None
    as_tuple = model(**batch, return_dict=False)
    assert isinstance(as_tuple, tuple) and torch.equal(as_tuple[0], whole.logits)


def test_embeddings_alone_can_be_continued(model, processor):
    batch = without_labels(processor([[w] for w in waves(0.5)], [[text("hello")]]))
    settings = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    wanted = model.generate(**batch, **settings)[:, batch["input_ids"].shape[1] :]
    with torch.no_grad():
        embeds = model.embed(batch["input_ids"], batch["input_features"], batch["feature_lengths"])
    ours = model.generate(inputs_embeds=embeds, attention_mask=batch["attention_mask"], **settings)
    assert ours.tolist() == wanted.tolist()


@pytest.mark.parametrize(
    "setting",
    [{"model_type": "cohere", "logit_scale": 0.06}, {"model_type": "granite", "logits_scaling": 8.0}],
)
def test_language_models_that_change_their_logits_are_refused(setting):
    made = QwenAudioConfig(audio_config={"model_type": "qwen_audio_encoder"}, text_config=setting)
    with pytest.raises(ValueError, match="changes its logits"), torch.device("meta"):
        QwenAudioForConditionalGeneration(made)


@pytest.mark.parametrize("fault", ["missing clip", "surplus clip", "other length"])
def test_spans_that_do_not_fit_the_clips_are_an_error(model, processor, fault):
    batch = without_labels(processor([[w] for w in waves(0.5, 0.9)], [[text("a")], [text("b")]]))
    if fault == "missing clip":
        batch["input_features"] = batch["input_features"][:1]
        batch["feature_lengths"] = batch["feature_lengths"][:1]
    elif fault == "surplus clip":
        batch["input_features"] = batch["input_features"].repeat(2, 1, 1)
        batch["feature_lengths"] = batch["feature_lengths"].repeat(2)
    else:
        batch["feature_lengths"] = batch["feature_lengths"].flip(0)
    with pytest.raises(ValueError, match="audio"):
        model(**batch)


def test_generation_with_beams_and_samples_repeats_the_clips_of_a_row(model, processor):
    batch = without_labels(processor([waves(0.5, 0.9), waves(0.3)], [[text("a")], [text("b")]]))
    kwargs = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    greedy = model.generate(**batch, **kwargs)
    assert greedy.shape[1] == batch["input_ids"].shape[1] + 4
    beams = model.generate(**batch, **kwargs, num_beams=2, num_return_sequences=2)
    assert beams.shape[0] == 4
    no_cache = model.generate(**batch, **kwargs, use_cache=False)
    assert torch.equal(greedy, no_cache)


def test_saving_and_loading_through_the_auto_class(model, processor, tmp_path):
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(again, QwenAudioProcessor)
    assert again.tokenizer.encode_plain("a b é") == processor.tokenizer.encode_plain("a b é")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert not list(tmp_path.glob("*.bin"))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    batch = without_labels(processor([waves(0.5)], [[text("a")]]))
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, loaded(**batch).logits)


def test_presets_have_the_sizes_they_promise(processor):
    counts = {}
    for preset in PRESETS:
        with torch.device("meta"):
            m = QwenAudioForConditionalGeneration(config(preset))
        counts[preset] = [
            sum(p.numel() for p in part.parameters()) for part in (m.audio_tower, m.language_model)
        ]
    assert sorted(counts, key=lambda p: counts[p][0]) == list(PRESETS)
    with torch.device("meta"):
        tiny = build("tiny", processor.tokenizer)
    assert 5e6 < sum(p.numel() for p in tiny.parameters()) < 20e6
    encoder, lm = counts["qwen-audio-7b"]
    assert 630e6 < encoder < 645e6
    assert 7.6e9 < lm < 7.8e9
    assert config("qwen-audio-7b").text_config.vocab_size == 155_947


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(ValueError, match=r"huge.*tiny.*qwen-audio-7b"):
        config("huge")


def test_any_causal_language_model_can_be_the_text_tower(processor):
    tok = processor.tokenizer
    llama = {"model_type": "llama", "vocab_size": len(tok), "hidden_size": 32, "num_hidden_layers": 1,
             "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 64}  # fmt: skip
    m = QwenAudioForConditionalGeneration(
        QwenAudioConfig(
            audio_config={
                "d_model": 16,
                "encoder_layers": 1,
                "encoder_attention_heads": 2,
                "encoder_ffn_dim": 32,
            },
            text_config=llama,
            audio_start_token_id=tok.audio_start_id,
            audio_end_token_id=tok.audio_end_id,
            audio_pad_token_id=tok.audio_pad_id,
        )
    )
    assert type(m.language_model).__name__ == "LlamaForCausalLM"
    assert torch.isfinite(m(**processor([waves(0.3)], [[text("hi", True)]])).loss)

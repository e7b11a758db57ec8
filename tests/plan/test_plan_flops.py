"""Operations of a training step, as planned, against what torch counts in real steps; parameters of real models."""

import pytest
import torch
from small import random_model
from torch.utils.flop_counter import FlopCounterMode

from qwen_audio.model import QwenAudioConfig, QwenAudioForConditionalGeneration, hf
from qwen_audio.model.presets import config as preset
from qwen_audio.plan import BatchShape, Flops, flops_per_step, inventory, utilisation
from qwen_audio.plan import flops as flops_module
from qwen_audio.train.stages import CTC_CLASSES

AUDIO = ("audio_*",)
LANGUAGE = ("language_model.*",)
SIZES = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 80,
}


def step_inputs(model, mels=(301, 120), texts=(9, 30), labels=(5, 12)):
    """Inputs of a batch padded on the right: an audio span, then text, of which the last tokens are labelled."""
    config = model.config
    rows = []
    for mel, text in zip(mels, texts, strict=True):
        pads = [config.audio_pad_token_id] * (((mel - 1) // 2 + 1) // 2)
        rows.append([config.audio_start_token_id, *pads, config.audio_end_token_id, *range(65, 65 + text)])
    longest = max(map(len, rows))
    ids, mask, targets = (torch.full((len(rows), longest), fill) for fill in (0, 0, -100))
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = torch.tensor(row), 1
        targets[i, len(row) - labels[i] : len(row)] = ids[i, len(row) - labels[i] : len(row)]
    torch.manual_seed(1)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": targets,
        "input_features": torch.randn(len(mels), 80, max(mels)),
        "feature_lengths": torch.tensor(mels),
    }


def counted(model, loss, trained):
    """What torch counts in a real step."""
    names = inventory(model.config).select(trained).names
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names or "lora_" in name or "ctc_head" in name)
    model.train()
    model.audio_tower.packs = False  # so that the layers see clips of equal length, padding included
    model.set_attn_implementation("eager")
    # torch counts products, but not those that are added in place.
    in_place = {torch.ops.aten.addmm_: lambda _, a, b, **kwargs: 2 * a[0] * a[1] * b[1]}
    # Forward and backward together: the loss of the output layer makes its gradients in the forward pass.
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        loss(model).backward()
    return counter.get_total_flops()


def model_loss(inputs):
    return lambda model: model(**inputs).loss


# Some part of the model trained, in every way in which a gradient can end.
PATTERNS = [("*",), AUDIO, LANGUAGE, ("audio_tower.layers.0.*", "*norm*"), ("*q_proj*",)]
KINDS = {
    "qwen2": {},
    "qwen_audio_text": {},
    "qwen3": {"head_dim": 16},
    "llama": {"num_key_value_heads": 2},
    "tied": {"model_type": "qwen2", "tie_word_embeddings": True},
}


@pytest.mark.parametrize(
    ("kind", "trained"),
    [("qwen2", p) for p in PATTERNS] + [(k, p) for k in list(KINDS)[1:] for p in PATTERNS[:2]],
    ids=str,
)
def test_operations_are_those_that_torch_counts(kind, trained):
    model, _ = random_model(**{"model_type": kind} | SIZES | KINDS[kind])
    inputs = step_inputs(model)
    plan = flops_per_step(model.config, BatchShape.of(inputs).padded(), trained)
    assert plan["total"].model == counted(model, model_loss(inputs), trained)
    assert plan["total"] == tuple(sum(part[i] for k, part in plan.items() if k != "total") for i in range(3))


@pytest.mark.parametrize("trained", [("*",), AUDIO, LANGUAGE], ids=str)
def test_layers_computed_twice(trained):
    model, _ = random_model(**SIZES)
    inputs = step_inputs(model)
    hf.enable_checkpointing(model)
    plan = flops_per_step(model.config, BatchShape.of(inputs).padded(), trained, checkpointing=True)["total"]
    assert plan.hardware == counted(model, model_loss(inputs), trained)
    assert plan.hardware - plan.model == plan.recomputed > plan.forward / 2


def test_text_alone_needs_no_gradient_before_what_is_trained():
    model, _ = random_model(**SIZES)
    ids = torch.arange(60).view(2, 30) + 65
    inputs = {"input_ids": ids, "labels": ids.where(torch.arange(30) > 20, -100)}
    shape = BatchShape.of(inputs)
    assert shape.clips == ()
    for trained in (LANGUAGE, ("language_model.model.layers.1.*",), ("language_model.lm_head.*",)):
        plan = flops_per_step(model.config, shape, trained)
        assert plan["total"].model == counted(model, model_loss(inputs), trained)
        assert plan["encoder"] == plan["projection"] == (0, 0, 0)


def test_the_warm_start_has_no_language_model():
    model, _ = random_model(**SIZES)
    inputs = step_inputs(model)
    model.ctc_head = torch.nn.Linear(16, CTC_CLASSES)

    def loss(module):
        frames = module.audio_tower.encode(inputs["input_features"], inputs["feature_lengths"])
        return module.ctc_head(module.audio_tower.layer_norm(frames)).sum()

    shape = BatchShape(tuple(inputs["feature_lengths"].tolist()), (), 0, ctc=True)
    plan = flops_per_step(model.config, shape.padded(), ("audio_tower.*",))
    assert plan["total"].model == counted(model, loss, ("audio_tower.*",))
    assert plan["language model"] == plan["head"] == plan["projection"] == (0, 0, 0)
    assert flops_module.CTC_CLASSES == CTC_CLASSES


def test_adapters():
    peft = pytest.importorskip("peft")
    model, _ = random_model(**SIZES)
    inputs = step_inputs(model)
    config = model.config
    targets = r"language_model\.model\.layers\..*_proj"
    peft.inject_adapter_in_model(peft.LoraConfig(r=4, target_modules=targets), model)
    model.config = config
    for trained in ((), ("audio_projection.*",)):
        plan = flops_per_step(config, BatchShape.of(inputs).padded(), trained, lora_rank=4)["total"]
        assert plan.model == counted(model, model_loss(inputs), trained)


def test_shapes_of_batches():
    model, _ = random_model(**SIZES)
    inputs = step_inputs(model)
    shape = BatchShape.of(inputs)
    assert shape == BatchShape((301, 120), (86, 62), 17)
    assert shape.padded() == BatchShape((301, 301), (86, 86), 17)
    assert shape.packed().rows == (148,)
    packed = {
        "input_ids": torch.zeros(1, 148, dtype=torch.long),
        "position_ids": torch.cat([torch.arange(86), torch.arange(62)])[None],
        "labels": torch.full((1, 148), -100),
    }
    assert BatchShape.of(packed).rows == shape.rows
    less = flops_per_step(model.config, shape)["total"].model
    assert less < flops_per_step(model.config, shape.packed())["total"].model
    assert less < flops_per_step(model.config, shape.padded())["total"].model


def test_new_rows_of_a_frozen_output_layer():
    config = random_model(**SIZES)[0].config
    shape = BatchShape((301,), (86,), 5)
    frozen = flops_per_step(config, shape, AUDIO)
    rows = flops_per_step(config, shape, (*AUDIO, "*.new_rows"))
    new = config.text_config.vocab_size - config.audio_pad_token_id
    assert rows["head"].backward - frozen["head"].backward == 2 * 5 * SIZES["hidden_size"] * new > 0
    # Gradients of the new rows of the embedding pass through the language model even if no clip needs them.
    text = BatchShape((), (86,), 5)
    assert flops_per_step(config, text, AUDIO)["total"].backward == 0
    assert flops_per_step(config, text, ("*.new_rows",))["language model"].backward > 0


def test_a_pattern_without_a_parameter_is_an_error():
    config = preset("test")
    with pytest.raises(ValueError, match=r"no parameter is named 'audio_towr\.\*'"):
        flops_per_step(config, BatchShape((100,), (30,), 5), ("audio_towr.*",))


def test_experts_are_refused():
    config = preset("test").to_dict()
    config["text_config"] = {
        "model_type": "qwen2_moe", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "vocab_size": 100, "num_experts": 2, "moe_intermediate_size": 8,
        "shared_expert_intermediate_size": 8, "intermediate_size": 16,
    }  # fmt: skip
    with pytest.raises(ValueError, match="without experts"):
        inventory(QwenAudioConfig(**config))


def test_parameters_are_those_of_the_published_model():
    config = preset("qwen-audio-7b")
    stock = inventory(config)
    with torch.device("meta"):
        model = QwenAudioForConditionalGeneration(config)
    assert stock.parameters == {name: p.numel() for name, p in model.named_parameters()}
    named = {m.name for t in (stock.encoder, stock.text) for layer in t.layers for m in layer.matrices}
    assert named == {n for n, p in model.named_parameters() if p.ndim == 2} - {
        "audio_projection.weight", "language_model.model.embed_tokens.weight", "language_model.lm_head.weight",
    }  # fmt: skip
    count = dict.fromkeys(("encoder", "projection", "embeddings", "language model"), 0)
    for name, n in stock.parameters.items():
        count[stock.part(name)] += n
    # The paper: 640 M and 7.7 B. With its fixed positions (1500 of 1280) the encoder is Whisper-large-v2's 636.8 M.
    assert count["encoder"] + 1500 * 1280 == 636_784_640
    assert count["embeddings"] + count["language model"] == pytest.approx(7.7e9, rel=0.01)


def test_operations_of_the_published_model_near_the_rule_of_thumb():
    # Kaplan et al. 2020 (arXiv 2001.08361): about 6 operations a parameter and token.
    config = preset("qwen-audio-7b")
    layers = sum(
        n for name, n in inventory(config).parameters.items() if ".layers." in name and "audio" not in name
    )
    plan = flops_per_step(config, BatchShape((), (100,), 100), LANGUAGE)["language model"]
    assert plan.model == pytest.approx(6 * layers * 100, rel=0.01)


def test_utilisation():
    assert utilisation(Flops(100, 200, 50), 2.0, 1000.0) == 0.15

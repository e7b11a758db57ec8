"""LoRA trains on the model, and its language model runs in 8 or 4 bits."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from adapting import GREEDY, PUBLISHED, inputs_of, logits, needs
from small import random_model
from transformers import AutoModelForCausalLM

import qwen_audio
from qwen_audio.format import tasks
from qwen_audio.model import QwenAudioForConditionalGeneration
from qwen_audio.model.quantization import KEPT, QUANTIZATIONS, quantization_config, stored_bytes

pytestmark = pytest.mark.versions

SENTENCE = Path(qwen_audio.__file__).parent / "demo_clips" / "sentence.flac"
ASR = "".join(segment.text for segment in tasks.prompt("asr", language="en"))


@pytest.fixture(scope="module")
def embedded() -> Any:
    return qwen_audio.load(device="cpu")


# PEFT ----------------------------------------------------------------


@needs("peft")
def test_lora_trains_saves_reads_and_merges(tmp_path: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model

    model, processor = random_model("qwen_audio_text", **PUBLISHED)
    prompt = [*tasks.prompt("asr", language="en"), tasks.Segment("go up", False, True)]
    batch = dict(processor([[tiny.CLIPS["up"]]], [prompt], padding_side="right"))
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    frozen = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first = logits(model, inputs)
    # The encoder has projections of the same names, hence the pattern.
    where = r"language_model\..*\.(q_proj|v_proj|up_proj)"
    torch.manual_seed(0)
    lora = get_peft_model(model, LoraConfig(r=4, target_modules=where, task_type="CAUSAL_LM"))
    trained = {name for name, parameter in lora.named_parameters() if parameter.requires_grad}
    assert len(trained) == 12 and all("lora_" in name and "language_model" in name for name in trained)
    optimiser = torch.optim.AdamW([p for p in lora.parameters() if p.requires_grad], 1e-2)
    losses = []
    for _ in range(4):
        loss = lora(**batch).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
    after = {name.replace(".base_layer", ""): tensor for name, tensor in model.state_dict().items()}
    assert all(torch.equal(after[name], tensor) for name, tensor in frozen.items())
    lora.eval().save_pretrained(tmp_path)
    fresh = random_model("qwen_audio_text", **PUBLISHED)[0]
    assert torch.equal(logits(fresh, inputs), first)
    read = PeftModel.from_pretrained(fresh, tmp_path).eval()
    wanted = logits(lora, inputs)
    assert (wanted - first).abs().max() > 0.1
    assert torch.equal(logits(read, inputs), wanted)
    answer = lora.generate(**inputs, **GREEDY)
    merged = read.merge_and_unload()
    assert type(merged) is QwenAudioForConditionalGeneration
    torch.testing.assert_close(logits(merged, inputs), wanted, atol=1e-4, rtol=0)
    assert torch.equal(merged.generate(**inputs, **GREEDY), answer)


# quantisation ----------------------------------------------------------------

# of float32: matrices to a quarter or an eighth, the embeddings (here almost a quarter of the tower) as they are
SHARES = {"int8": 0.45, "nf4": 0.35}


@pytest.mark.quantization
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs(*packages)) for name, packages in QUANTIZATIONS.items()]
)
def test_quantised_matrices_leave_the_encoder_as_it_is(name: str, embedded: Any) -> None:
    device = "cuda" if name == "nf4" and torch.cuda.is_available() else "cpu"
    small = qwen_audio.load(device=device, dtype=torch.float32, quantization=name)
    before, after = embedded.model, small.model
    assert stored_bytes(after.language_model) < SHARES[name] * stored_bytes(before.language_model)
    for part in ("audio_tower", "audio_projection"):
        for key, tensor in getattr(before, part).state_dict().items():
            assert torch.equal(tensor, getattr(after, part).state_dict()[key].cpu())
    inputs = dict(
        embedded.processor(text="<audio></audio>" + ASR + "you should sell it", audio=str(SENTENCE))
    )
    wanted = logits(before, inputs)
    near = logits(after, {key: tensor.to(device) for key, tensor in inputs.items()}).cpu()
    assert 0 < (near - wanted).norm() / wanted.norm() < {"int8": 0.02, "nf4": 0.2}[name]
    assert small.transcribe(SENTENCE, "en").text == embedded.transcribe(SENTENCE, "en").text
    assert small.digest() != embedded.digest()


@pytest.mark.quantization
@needs("torchao")
def test_int8_keeps_the_encoder_without_being_told_and_is_not_saved(tmp_path: Path) -> None:
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    model, _ = random_model("qwen_audio_text")
    model.save_pretrained(tmp_path / "full")
    small = AutoModelForCausalLM.from_pretrained(
        tmp_path / "full", quantization_config=TorchAoConfig(Int8WeightOnlyConfig())
    )
    for key, tensor in model.audio_tower.state_dict().items():
        assert torch.equal(tensor, small.audio_tower.state_dict()[key])
    assert stored_bytes(small.language_model.model.layers) < 0.4 * stored_bytes(
        model.language_model.model.layers
    )
    with pytest.raises(ValueError, match="cannot be saved"):
        small.save_pretrained(tmp_path / "small")
    assert not (tmp_path / "small").exists()


@pytest.mark.quantization
@needs("bitsandbytes", "accelerate")
def test_nf4_is_saved_and_read_again(tmp_path: Path, embedded: Any) -> None:
    small = qwen_audio.load(device="cpu", quantization="nf4")
    small.model.save_pretrained(tmp_path)
    read = AutoModelForCausalLM.from_pretrained(tmp_path, device_map={"": "cpu"}).eval()
    inputs = inputs_of(embedded.processor, ["up"])
    assert torch.equal(logits(read, inputs), logits(small.model, inputs))
    assert stored_bytes(read.language_model) == stored_bytes(small.model.language_model)


def test_a_quantisation_that_cannot_be_had_is_named() -> None:
    with pytest.raises(ValueError, match="there is no quantization 'int3': use int8 or nf4"):
        qwen_audio.load(quantization="int3")
    assert KEPT[:2] == ("audio_tower", "audio_projection")
    for name, packages in QUANTIZATIONS.items():
        if any(find_spec(package) is None for package in packages):
            with pytest.raises(
                ValueError, match=rf"{packages[0]} is not installed.*run pip install '{packages[0]}>="
            ):
                quantization_config(name, torch.float32)

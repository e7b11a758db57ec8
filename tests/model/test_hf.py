"""What is used of transformers' insides, each piece held to what it is for, on whatever version is installed."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import Any

import pytest
import torch
import transformers
from paths import ROOT
from small import random_model
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, StaticCache

from qwen_audio.model import QwenAudioConfig, QwenAudioEncoderConfig, QwenAudioForConditionalGeneration, hf

pytestmark = pytest.mark.versions
PACKAGE = ROOT / "qwen_audio"
MODELS = ("qwen2", "qwen_audio_text", "llama")


def ids_of(model: Any, rows: int = 1, length: int = 12) -> torch.Tensor:
    return torch.randint(0, 200, (rows, length), generator=torch.Generator().manual_seed(3))


def test_no_other_file_knows_the_insides_of_transformers():
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "model" / "hf.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ImportFrom) and node.module:
                name = node.module.partition(".")
                assert name[0] not in ("transformers", "huggingface_hub") or not name[2], where
                assert name[0] != "huggingface_hub", where
                if node.module == "transformers":
                    assert all(hasattr(transformers, alias.name) for alias in node.names), where
            if isinstance(node, ast.Import):
                assert all(not alias.name.startswith("transformers.") for alias in node.names), where
            if isinstance(node, ast.keyword):
                assert node.arg not in ("past_key_values", "is_first_iteration"), where
            if isinstance(node, ast.Attribute):
                insides = ("_attn_implementation", "_model_mapping", "all_tied_weights_keys", "__version__")
                assert node.attr not in insides or "qwen_audio.__version__" in ast.unparse(node), where


@pytest.mark.parametrize("kind", MODELS)
@torch.no_grad()
def test_a_cache_is_used_by_either_name_and_given_back_by_the_new_one(kind):
    model, _ = random_model(kind)
    ids = ids_of(model)
    whole = model(input_ids=ids).logits[:, -1]
    for name in ("cache", "past_key_values"):
        first = model(input_ids=ids[:, :-1], use_cache=True)
        assert isinstance(first.cache, hf.Cache) and first.cache is hf.cache_of(first)
        last = model(input_ids=ids[:, -1:], **{name: first.cache}).logits[:, -1]
        torch.testing.assert_close(last, whole, atol=1e-5, rtol=1e-5)
        assert first.cache.get_seq_length() == ids.shape[1]
    one, other = DynamicCache(), DynamicCache()
    model(input_ids=ids, cache=one, past_key_values=other)
    assert (one.get_seq_length(), other.get_seq_length()) == (ids.shape[1], 0)


@torch.no_grad()
def test_the_published_text_model_alone_takes_either_name_too():
    text = random_model("qwen_audio_text")[0].language_model
    ids = ids_of(text)
    whole = text(input_ids=ids).logits[:, -1]
    for name in ("cache", "past_key_values"):
        cache = DynamicCache()
        text(input_ids=ids[:, :-1], use_cache=True, **{name: cache})
        assert cache.get_seq_length() == ids.shape[1] - 1
        torch.testing.assert_close(text(input_ids=ids[:, -1:], **{name: cache}).logits[:, -1], whole)


@torch.no_grad()
def test_a_cache_that_was_reset_takes_the_rotary_scale_of_the_new_prompt():
    text = random_model("qwen_audio_text", seq_length=16)[0].language_model
    cache = StaticCache(config=text.config, max_cache_len=64)
    text(input_ids=ids_of(text, length=40), cache=cache)
    cache.reset()
    ids = ids_of(text)
    torch.testing.assert_close(text(input_ids=ids, cache=cache).logits, text(input_ids=ids).logits)


@pytest.mark.parametrize("whole", [True, False])
def test_a_trainer_sees_the_mean_loss_however_a_batch_is_cut(tmp_path, whole):
    """transformers' Trainer divides by the number of its batches, unless a model says that it does so itself."""
    model, _ = random_model("qwen_audio_text")
    model = model if whole else model.language_model
    rows = [{"input_ids": row, "labels": row} for row in ids_of(model, rows=4)]
    losses = []
    for parts in (1, 4):
        arguments = transformers.TrainingArguments(
            str(tmp_path),
            max_steps=1,
            learning_rate=0.0,
            per_device_train_batch_size=4 // parts,
            gradient_accumulation_steps=parts,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = transformers.Trainer(model, arguments, train_dataset=rows)
        losses.append(trainer.train().training_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@torch.no_grad()
def test_the_published_text_model_equals_qwen2_where_its_rules_are_off():
    """Its layers are its own; with both rules of long context off they are Qwen2's."""
    own = random_model("qwen_audio_text", use_dynamic_ntk=False, use_logn_attn=False)[0].language_model
    config = {k: v for k, v in own.config.to_dict().items() if k != "model_type"}
    stock = AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen2", **config)).eval()
    assert stock.load_state_dict(own.state_dict())
    ids, mask = ids_of(own, 2), torch.ones(2, 12, dtype=torch.long)
    mask[1, :4] = 0
    for model in (own, stock):
        model.set_attn_implementation("eager")
    asked = {"output_hidden_states": True, "output_attentions": True}
    ours, theirs = (m(input_ids=ids, attention_mask=mask, **asked) for m in (own, stock))
    torch.testing.assert_close(ours.logits[:, 4:], theirs.logits[:, 4:], atol=1e-5, rtol=1e-5)
    assert len(ours.hidden_states) == len(theirs.hidden_states) == 3
    for mine, other in zip(ours.hidden_states, theirs.hidden_states, strict=True):
        torch.testing.assert_close(mine[:, 4:], other[:, 4:], atol=1e-5, rtol=1e-5)
    for mine, other in zip(ours.attentions, theirs.attentions, strict=True):
        torch.testing.assert_close(mine[:, :, 4:], other[:, :, 4:], atol=1e-5, rtol=1e-5)
    labels = ids.clone()
    torch.testing.assert_close(
        own(input_ids=ids, labels=labels).loss, stock(input_ids=ids, labels=labels).loss
    )
    assert own(input_ids=ids, use_cache=False).cache is None
    assert isinstance(own(input_ids=ids, return_dict=False), tuple)


@pytest.mark.parametrize("kind", MODELS)
def test_activations_computed_again_give_the_same_gradients(kind):
    model, _ = random_model(kind)
    model.train()
    ids = ids_of(model, 2)
    model(input_ids=ids, labels=ids).loss.backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    hf.enable_checkpointing(model)
    calls = []
    layer = model.language_model.model.layers[0]
    layer.register_forward_hook(lambda *_: calls.append(1))
    layer.self_attn.register_forward_hook(lambda *_: calls.append(2))
    model(input_ids=ids, labels=ids, use_cache=True).loss.backward()
    assert calls.count(2) == 2  # once more in the backward pass
    assert wanted and all(
        torch.allclose(model.get_parameter(n).grad, g, atol=1e-6) for n, g in wanted.items()
    )


def test_attention_functions(caplog):
    model, _ = random_model("qwen_audio_text")
    for name in ("eager", "sdpa", "by_rows"):
        model.set_attn_implementation(name)
        for config in (model.config.get_text_config(), model.audio_tower.config):
            assert hf.attention_name(config) == name
    assert not caplog.records  # transformers warns of models that cannot change it
    model.config.get_text_config()._attn_implementation = "no such"
    with pytest.raises(KeyError, match="no such"):
        model(input_ids=ids_of(model))


def test_a_cache_that_holds_tensors_grows_without_a_copy_of_them():
    tensors = [(torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 4)) for _ in range(2)]
    cache = hf.cache_holding(tensors)
    assert cache.get_seq_length() == 5 and len(hf.layers_of(cache)) == 2
    for (keys, values), (held_keys, held_values) in zip(tensors, hf.layers_of(cache), strict=True):
        assert held_keys.data_ptr() == keys.data_ptr() and held_values.data_ptr() == values.data_ptr()
    more = torch.randn(1, 2, 1, 4)
    keys, _ = cache.update(more, more, 1)
    assert torch.equal(keys, torch.cat([tensors[1][0], more], dim=2))
    hf.remember_frequencies(cache, torch.ones(1, 2))
    many = hf.repeated(cache, 3)
    assert hf.layers_of(many)[0][0].shape == (3, 2, 5, 4) and hf.layers_of(cache)[0][0].shape == (1, 2, 5, 4)
    assert hf.frequencies_of(many) is not None
    hf.forget_frequencies(cache)
    assert hf.frequencies_of(cache) is None


def test_selected_rows_keep_their_frequencies():
    cache = hf.cache_holding([(torch.arange(3.0).reshape(3, 1, 1, 1), torch.zeros(3, 1, 1, 1))])
    hf.remember_frequencies(cache, torch.arange(3.0)[:, None])
    hf.select_rows(cache, [2, 0])
    assert hf.layers_of(cache)[0][0].flatten().tolist() == [2, 0]
    assert hf.frequencies_of(cache).flatten().tolist() == [2, 0]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_tied_parameters_are_found(kind, tied, device):
    config = random_model(kind, tie_word_embeddings=tied)[0].config
    config.tie_word_embeddings = tied
    with torch.device(device):
        model = QwenAudioForConditionalGeneration(config)
    assert hf.tied_names(model) == ({"language_model.lm_head.weight"} if tied else set())


def test_models_are_known_where_transformers_looks():
    assert hf.model_class_of(QwenAudioConfig()) is QwenAudioForConditionalGeneration
    assert hf.is_causal_lm(QwenAudioConfig()) and not hf.is_causal_lm(QwenAudioEncoderConfig())
    assert hf.model_class_of(QwenAudioEncoderConfig()).__name__ == "QwenAudioEncoder"
    assert hf.is_multimodal(QwenAudioConfig())
    with pytest.raises(KeyError):
        hf.model_class_of(transformers.PreTrainedConfig())


def test_messages_and_bars_come_back():
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with hf.quiet(), hf.without_progress_bars():
        assert logging.get_verbosity() == logging.ERROR and not logging.is_progress_bar_enabled()
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


CALLS = """
import numpy as np, torch
import qwen_audio
from qwen_audio.show.demo import CLIPS
model = qwen_audio.load()
clip = str(CLIPS / "words.flac")
print(model.transcribe(clip, word_timestamps=True).text)
print(model.classify(clip, ["rain", "siren"]).text)
print(model.ask([clip, clip], "Which is longer?").text)
ids = model.processor(text="<audio></audio><|startoftranscript|>", audio=[np.zeros(8000, np.float32)])
made = model.model.generate(**ids, max_new_tokens=3, do_sample=False, num_beams=2, cache_implementation="dynamic")
print(made.shape)
"""


def test_nothing_is_said_on_the_terminal(tmp_path):
    """No warning of ours or of transformers, deprecations included, in what people do every day."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CALLS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 4

"""What a stage trains moves and what it freezes stays to the bit; new rows and LoRA come off into a plain model."""

import dataclasses
import json

import pytest
import torch
from run_folders import tiny_config
from safetensors.torch import load_file
from tiny import save_untrained

from qwen_audio.format import tags
from qwen_audio.model.loading import CheckpointError, load_checkpoint
from qwen_audio.train.adapters import merge, split_rows
from qwen_audio.train.checkpoint import load_run
from qwen_audio.train.config import ConfigError
from qwen_audio.train.export import export
from qwen_audio.train.main import run

pytest.importorskip("espeakng_loader", reason="needs the synth extra")

ENCODER = ("audio_tower.", "audio_projection.", "audio_start_embedding", "audio_end_embedding")


def stored(folder):
    return load_checkpoint(folder, "cpu", torch.float32, adapted=True)[0].state_dict()


def moved(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize(
    ("stage", "kwargs", "wanted"),
    [
        ("warmstart", {"train": None}, "audio_tower."),
        ("text", {"train": None}, "language_model."),
        ("multitask", {"train": ["audio_tower.*", "audio_projection.*", "audio_*_embedding"]}, ENCODER),
        ("multitask", {"train": ["language_model.*.layers.0.mlp.*"]}, "language_model.model.layers.0.mlp."),
        ("sft", {"train": None}, "language_model."),
    ],
)
def test_only_what_the_stage_trains_moves(tmp_path, stage, kwargs, wanted):
    start = save_untrained(tmp_path / "start")
    last = run(
        tiny_config(tmp_path / "run", stage=stage, init_from=str(start), ctc_weight=0.0, steps=3, **kwargs)
    )
    before, after = stored(start), stored(last)
    trained = {name for name in before if name.startswith(wanted)}
    unused = (
        {"audio_tower.layer_norm.weight", "audio_tower.layer_norm.bias"} if stage == "warmstart" else set()
    )
    assert moved(before, after) - unused == trained - unused


def test_the_published_recipe_trains_new_rows_beside_a_frozen_language_model(tmp_path):
    start = save_untrained(tmp_path / "start")
    config = tiny_config(tmp_path / "run", init_from=str(start), train=None, learning_rate=1e-2)
    last = run(config)
    before = stored(start)
    assert all(name.startswith(ENCODER) for name in moved(before, stored(last)))
    with pytest.raises(CheckpointError, match="qwen-audio export"):
        load_checkpoint(last, "cpu", torch.float32)
    model = export(tmp_path / "run", tmp_path / "model", "float32")
    after = load_checkpoint(model, "cpu", torch.float32)[0].state_dict()
    table = "language_model.model.embed_tokens.weight"
    assert {name for name in moved(before, after) if name.startswith("language_model.")} <= {
        table,
        "language_model.lm_head.weight",  # the same tensor
    }
    _, processor = load_checkpoint(model, "cpu", torch.float32)
    first = processor.tokenizer.audio_pad_id
    assert torch.equal(before[table][:first], after[table][:first])
    tag = processor.tokenizer.convert_tokens_to_ids(tags.TRANSCRIBE)
    assert not torch.equal(before[table][tag], after[table][tag])


def test_a_damaged_or_incomplete_checkpoint_is_not_exported(tmp_path):
    start = save_untrained(tmp_path / "start")
    last = run(tiny_config(tmp_path / "run", init_from=str(start), train=None, steps=1))
    (state,) = last.glob("trainer-*.safetensors")
    whole = state.read_bytes()
    state.write_bytes(whole[:-8] + bytes(b ^ 1 for b in whole[-8:]))
    with pytest.raises(CheckpointError, match=state.name):
        export(tmp_path / "run", tmp_path / "a")
    state.unlink()
    with pytest.raises(CheckpointError, match=state.name):
        export(tmp_path / "run", tmp_path / "b")
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()


def test_what_a_later_stage_trains_is_not_rounded_to_the_type_of_what_was_frozen(tmp_path):
    start = save_untrained(tmp_path / "start")
    half = export(start, tmp_path / "half", "bfloat16")
    run(tiny_config(tmp_path / "one", init_from=str(half), train=["audio_tower.*"], bf16="on", steps=3))
    config = tiny_config(
        tmp_path / "two", init_from=str(tmp_path / "one"), train=["audio_tower.*"], bf16="on"
    )
    last = run(dataclasses.replace(config, steps=1, learning_rate=1e-12, final_learning_rate=0.0))
    (one,) = (tmp_path / "one").glob("step-000003")
    name = "audio_tower.layers.0.fc1.weight"
    before, after = (
        load_checkpoint(folder, "cpu", torch.float32)[0].state_dict()[name] for folder in (one, last)
    )
    torch.testing.assert_close(after, before, atol=1e-7, rtol=0)
    assert not torch.equal(before, before.bfloat16().float())


def test_split_rows_compute_what_the_whole_matrix_does(tmp_path):
    model, processor = load_checkpoint(save_untrained(tmp_path / "m"), "cpu", torch.float32)
    ids = torch.tensor([[5, 300, 900, 7, processor.tokenizer.convert_tokens_to_ids(tags.TRANSCRIBE)]])
    first = processor.tokenizer.audio_pad_id
    labels = ids.clone()
    with torch.no_grad():
        whole = model(ids).logits, model(ids, labels=labels).loss
        split_rows(model, first)
        apart = model(ids).logits, model(ids, labels=labels).loss
    torch.testing.assert_close(apart, whole)
    new = model.get_input_embeddings().new_rows
    assert new is model.get_output_embeddings().new_rows, "tied matrices should share their new rows"
    with torch.no_grad():
        new += 0.1
        changed = model(ids).logits
    merge(model)
    torch.testing.assert_close(model(ids).logits, changed)
    assert sorted(model.state_dict()) == sorted(
        load_checkpoint(tmp_path / "m", "cpu", torch.float32)[0].state_dict()
    )


def test_lora_trains_little_is_saved_apart_and_merged_on_export(tmp_path):
    pytest.importorskip("peft", reason="needs the train extra")
    start = save_untrained(tmp_path / "start")
    facts = json.loads((start / "config.json").read_text(encoding="utf-8"))
    (start / "config.json").write_text(json.dumps(facts | {"dialogues": False}), encoding="utf-8")
    config = tiny_config(
        tmp_path / "run",
        stage="sft",
        init_from=str(start),
        train=None,
        lora_rank=2,
        lora_targets=["q_proj", "up_proj"],
        learning_rate=1e-2,
    )
    last = run(config)
    assert not moved(stored(start), stored(last))
    with pytest.raises(CheckpointError, match="qwen-audio export"):
        load_checkpoint(last, "cpu", torch.float32)
    assert not load_run(start, torch.float32)[0].config.dialogues
    model = load_run(last, torch.float32)[0]
    assert model.config.dialogues
    merged = model.state_dict()
    names = moved(stored(start), merged)
    assert names and all(n.endswith(("q_proj.weight", "up_proj.weight")) for n in names)
    table = (tmp_path / "run" / "parameters.txt").read_text()
    assert "lora_A" in table and "lora_B" in table
    goes_on = run(dataclasses.replace(config, steps=8))
    assert goes_on.name == "step-000008"


def test_a_run_can_start_from_one_with_adapters(tmp_path):
    start = save_untrained(tmp_path / "start")
    run(tiny_config(tmp_path / "one", init_from=str(start), train=None, learning_rate=1e-2))
    last = run(
        tiny_config(
            tmp_path / "two",
            init_from=str(tmp_path / "one"),
            steps=1,
            learning_rate=1e-12,
            final_learning_rate=0.0,
        )
    )
    (one,) = [load_run(p, torch.float32)[0].state_dict() for p in (tmp_path / "one").glob("step-000006")]
    two = stored(last)
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=1e-6, rtol=0)


def test_the_freeze_map_counts_every_parameter(tmp_path):
    start = save_untrained(tmp_path / "start")
    run(tiny_config(tmp_path / "run", init_from=str(start), train=["audio_projection.*"], steps=1))
    model, _ = load_checkpoint(start, "cpu", torch.float32)
    text = (tmp_path / "run" / "parameters.txt").read_text()
    line = next(line for line in text.splitlines() if " all " in line)
    trained, frozen = (int(x.replace(",", "")) for x in line.replace("│", " ").split()[1:3])
    assert trained == sum(p.numel() for p in model.audio_projection.parameters())
    head = 257 * (model.config.audio_config.d_model + 1)
    assert trained + frozen == sum(p.numel() for p in model.parameters()) + head


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"train": ["audio_towre.*"]}, r"'train'.*audio_towre.*audio_tower"),
        ({"train": []}, "'train'"),
        ({"stage": "sft", "train": None, "lora_rank": 2, "lora_targets": ["c_attn"]}, "c_attn.*q_proj"),
        ({"ema": 1.5}, "'ema'"),
        ({"batches_per_step": 0}, "'batches_per_step'"),
    ],
)
def test_a_wrong_map_is_one_sentence(tmp_path, kwargs, message):
    with pytest.raises((ConfigError, ValueError), match=message) as error:
        run(tiny_config(tmp_path / "run", **kwargs))
    assert "\n" not in str(error.value)


def test_the_running_mean_lags_behind_and_can_be_exported(tmp_path):
    last = run(tiny_config(tmp_path / "run", ema=0.9, learning_rate=1e-2))
    mean = export(tmp_path / "run", tmp_path / "mean", "float32", ema=True)
    weights, means = (load_file(p / "model.safetensors") for p in (last, mean))
    name = "audio_tower.conv1.weight"
    assert not torch.equal(weights[name], means[name])
    kept = [load_file(f) for f in last.glob("trainer*.safetensors")]
    assert any(torch.equal(part[f"ema.{name}"], means[name]) for part in kept if f"ema.{name}" in part)
    run(tiny_config(tmp_path / "plain", steps=1))
    with pytest.raises(CheckpointError, match="running mean"):
        export(tmp_path / "plain", tmp_path / "no", ema=True)
    assert json.loads((last / "trainer.json").read_text())["adapters"] is False

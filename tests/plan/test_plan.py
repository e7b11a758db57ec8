"""The plan of a run: memory against real steps, times and data against plain arithmetic, what it refuses."""

import dataclasses
import subprocess

import pytest
import torch
import yaml
from paths import ROOT
from plan_page import commands, filled
from small import random_model
from test_plan_flops import AUDIO, LANGUAGE, SIZES, step_inputs
from torch.profiler import ProfilerActivity, profile
from typer.testing import CliRunner

from qwen_audio.cli.main import app
from qwen_audio.data.mixture import TOKENS_PER_SECOND
from qwen_audio.model import hf
from qwen_audio.model.presets import config as preset
from qwen_audio.plan import BatchShape, flops_per_step, inventory
from qwen_audio.plan.estimate import GPUS, STAGES, Run, plan, report
from qwen_audio.plan.memory import Types, activations, memory, output_layer, parameters

WIDE = SIZES | {"hidden_size": 128, "intermediate_size": 352}
TEXTS = {"qwen2": {}, "qwen_audio_text": {}, "qwen3": {"head_dim": 32}, "grouped": {"num_key_value_heads": 2}}


def trained_model(kind, trained, dtype, checkpointing):
    """A model in training, its selection, and a batch: two clips of 10 and 9 s with text."""
    model, _ = random_model("qwen2" if kind == "grouped" else kind, **WIDE | TEXTS[kind])
    selection = inventory(model.config).select(trained)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in selection.names)
    model = model.to(dtype).train()
    model.audio_tower.packs = False  # the shapes below are the padded ones
    model.set_attn_implementation("sdpa")
    if checkpointing:
        hf.enable_checkpointing(model)
    inputs = step_inputs(model, mels=(1001, 900), texts=(30, 60))
    inputs["input_features"] = inputs["input_features"].to(dtype)
    return model, selection, inputs


def kept_bytes(model, inputs):
    """Bytes of what autograd keeps while each tower computes, parameters left out."""
    seen = {p.untyped_storage().data_ptr() for p in model.parameters()}
    held, sums, inside = [], dict.fromkeys(("encoder", "language model", None), 0), [None]

    def enter(part):
        return lambda *_: inside.__setitem__(0, part)

    model.audio_tower.conv1.register_forward_pre_hook(
        enter("encoder")
    )  # its forward is not called in training
    model.audio_projection.register_forward_pre_hook(enter(None))
    model.language_model.base_model.register_forward_pre_hook(enter("language model"))
    model.language_model.base_model.register_forward_hook(enter(None))

    def keep(tensor):
        storage = tensor.untyped_storage()
        held.append(storage)  # so that no address is used twice
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            sums[inside[0]] += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(**inputs).loss.backward()
    return sums


@pytest.mark.parametrize(
    ("kind", "trained", "dtype"),
    [("qwen2", p, d) for p in (("*",), AUDIO, LANGUAGE) for d in (torch.float32, torch.bfloat16)]
    + [(k, ("*",), torch.bfloat16) for k in list(TEXTS)[1:]],
    ids=str,
)
def test_activations_are_those_that_autograd_keeps(kind, trained, dtype):
    model, selection, inputs = trained_model(kind, trained, dtype, False)
    shape = BatchShape.of(inputs).padded()
    planned = activations(
        inventory(model.config), selection, shape, types=Types(dtype.itemsize, autocast=False)
    )
    kept = kept_bytes(model, inputs)
    assert planned["language model"] == pytest.approx(kept["language model"], rel=0.03)
    assert planned["encoder"] == pytest.approx(kept["encoder"], rel=0.05)
    assert kept[None] < 0.03 * sum(kept.values())  # what is kept outside the towers is left out


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("trained", [("*",), AUDIO], ids=str)
def test_the_peak_of_a_real_step(trained, checkpointing):
    model, selection, inputs = trained_model("qwen2", trained, torch.float32, checkpointing)
    stock, shape = inventory(model.config), BatchShape.of(inputs).padded()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as measured:
        for _ in range(2):
            model(**inputs).loss.backward()  # gradients stay, as with several batches in a step
            optimizer.step()
    live = peak = 0
    for event in measured.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    types = Types(4, autocast=False)
    planned = memory(stock, selection, shape, 1, checkpointing=checkpointing, types=types)
    changing = ("gradients", "AdamW", "activations", "output")
    expected = sum(n for item, n in planned.items() if item.startswith(changing))
    print(trained, checkpointing, peak, expected, expected / peak)
    assert peak == pytest.approx(expected, rel=0.15)


def test_one_gpu_and_many():
    stock = inventory(preset("qwen-audio-7b"))
    selection, shape = stock.select(("language_model.*",)), BatchShape((1000,) * 4, (300,) * 4, 100)
    one, many = (memory(stock, selection, shape, gpus) for gpus in (1, 64))
    n = sum(n for name, n in stock.parameters.items() if name.startswith("language_model."))
    assert one["AdamW's moments (float32)"] == 8 * n
    assert many["AdamW's moments (float32)"] == -(-8 * n // 64)
    assert one["activations of the language model"] == many["activations of the language model"]
    # Two layers of the language model, and all outside the layers, whole in bfloat16; with gradients where trained.
    layer = 4 * 4096**2 + 3 * 4096 * 11008 + 3 * 4096 + 2 * 4096
    outside = sum(n for name, n in stock.parameters.items() if ".layers." not in name)
    learnt = 2 * 155_947 * 4096 + 4096
    assert many["gathered weights and gradients"] == 2 * outside + 4 * layer + 6 * (learnt + layer)


def test_adapters_and_new_rows_are_counted():
    stock = inventory(preset("qwen-audio-7b"))
    parts = parameters(stock, stock.select(("*.new_rows",)), 16)
    assert parts["new rows"] == (2 * 4096 * (155_947 - 151_851), 0)
    assert parts["adapters"] == (32 * 16 * (4 * 2 * 4096 + 3 * (4096 + 11008)), 0)
    assert parts["language model"][0] == parts["encoder"][0] == 0
    tied = inventory(preset("small"))
    assert parameters(tied, tied.select(("*.new_rows",)), 0)["new rows"][0] == 512 * (155_947 - 151_851)


def test_a_chunk_of_logits_and_not_all():
    stock = inventory(preset("qwen-audio-7b"))
    nothing = stock.select(())
    few, many = (output_layer(stock, nothing, n, Types()) for n in (256, 25_600))
    assert few > 256 * 155_947 * 8
    assert many - few == 3 * 2 * 4096 * (25_600 - 256)


def test_time_and_data_of_a_run():
    run = Run(hours=1000, gpus=4, batch_seconds=120, clip_seconds=10, target_length=32, epochs=2)
    planned = plan(run)
    rows = int(120 / (10 + 40 / TOKENS_PER_SECOND))
    assert planned.shape == BatchShape((1000,) * rows, (292,) * rows, 32 * rows)
    assert planned.steps == 2 * 360_000 / rows / 4
    flops = flops_per_step(preset("qwen-audio-7b"), planned.shape, run.trained)["total"]
    assert planned.seconds == pytest.approx(2 * 360_000 / rows * flops.model / (4 * GPUS["h100"].flops * 0.4))
    assert planned.total_flops == pytest.approx(flops.model * 2 * 360_000 / rows)
    # Twice the GPUs, half the time; what is computed twice takes longer at the same rate.
    assert plan(dataclasses.replace(run, gpus=8)).seconds == pytest.approx(planned.seconds / 2)
    twice = plan(dataclasses.replace(run, checkpointing=True))
    assert 1.25 < twice.seconds / planned.seconds < 1.4
    assert sum(twice.memory.values()) < sum(planned.memory.values())


@pytest.mark.parametrize("stage", ["warmstart", "multitask", "sft"])
def test_what_a_stage_trains(stage):
    planned = plan(Run(stage=stage, hours=10))
    trained = {part for part, (n, _) in planned.parameters.items() if n}
    assert (
        trained
        == {
            "warmstart": {"encoder"},
            "multitask": {"encoder", "projection", "new rows"},
            "sft": {"language model", "embeddings"},
        }[stage]
    )
    assert (planned.flops["encoder"].backward > 0) == (stage != "sft")
    assert (planned.flops["language model"].forward > 0) == (stage != "warmstart")


def test_the_verb_prints_tables():
    arguments = [
        "plan",
        "--gpus",
        "64",
        "--hours",
        "200000",
        "--lora-rank",
        "8",
        "--activation-checkpointing",
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "| adapters |" in done.output and "| time on 64 h100 |" in done.output
    assert "does not fit" not in done.output
    big = report(plan(Run(stage="sft", gpus=1, hours=1)))
    assert "This does not fit: a h100 has 80 GB" in big


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"stage": "text"}, "no plan for stage 'text': use warmstart, multitask, sft"),
        ({"gpu": "v100"}, "no GPU named 'v100' here: use a100"),
        ({"hours": 0}, "hours is 0; it must be more than 0"),
        ({"hours": float("inf")}, "hours is not a finite number"),
        ({"epochs": float("nan")}, "epochs is not a finite number"),
        ({"mfu": float("nan")}, "mfu is not a finite number"),
        ({"gpus": 10**400}, "gpus is not a finite number"),
        ({"hours": 1e308}, "too large or too small"),
        ({"mfu": 40}, "mfu is 40; it is a share of the peak"),
        ({"clip_seconds": 31}, "the model takes at most 30"),
        ({"batch_seconds": 5}, "no clip of 10 s fits batch_seconds 5"),
        ({"preset": "large"}, "no preset named 'large'"),
        ({"train": ["encoder.*"]}, "no parameter is named 'encoder"),
        ({"stage": "warmstart", "lora_rank": 4}, "a warm start has no language model"),
    ],
)
def test_mistakes_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        plan(Run(**{"hours": 10} | wrong))


def test_the_page_shows_what_its_commands_print():
    text = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert len(commands(text)) == 4
    assert filled(text) == text, "run: python scripts/pages/plan_page.py docs/scale.md"


def test_launch_files_can_be_read():
    assert subprocess.run(["bash", "-n", ROOT / "runs" / "slurm.sh"]).returncode == 0
    service, job = yaml.safe_load_all((ROOT / "runs" / "kubernetes.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    assert service["kind"] == "Service" and job["spec"]["completionMode"] == "Indexed"
    assert pod["subdomain"] == service["metadata"]["name"]
    command = pod["containers"][0]["command"]
    assert command[command.index("-m") :][:3] == ["-m", "qwen_audio", "train"]


@pytest.mark.parametrize("stage", ["multitask", "sft"])
def test_configurations_of_the_published_size(stage):
    raw = yaml.safe_load((ROOT / "configs" / f"qwen_audio_7b_{stage}.yaml").read_text())
    assert raw["stage"] == stage and raw["train"] == list(STAGES[stage])
    assert raw["batches_per_step"] % 8 == 0

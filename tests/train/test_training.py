"""Training: it learns, it resumes to the bit, and it says what is wrong with a configuration or a checkpoint."""

import dataclasses
import itertools
import json
import shutil

import pytest
import torch
from paths import ROOT
from run_folders import losses, tiny_config
from safetensors.torch import load_file

from qwen_audio.model.loading import CheckpointError
from qwen_audio.train.checkpoint import checkpoints
from qwen_audio.train.config import ConfigError, load_config
from qwen_audio.train.export import export
from qwen_audio.train.main import run
from qwen_audio.train.optim import learning_rate

pytestmark = pytest.mark.versions

pytest.importorskip("espeakng_loader", reason="needs the synth extra")


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_cut_off_and_resumed_equals_the_whole_run(tmp_path, optimizer):
    whole = run(tiny_config(tmp_path / "whole", optimizer=optimizer))
    cut = tmp_path / "cut"
    run(tiny_config(cut, optimizer=optimizer))
    shutil.rmtree(cut / "step-000006")  # as if the run had died after the checkpoint of step 3
    log = (cut / "log.jsonl").read_text().splitlines(keepends=True)
    (cut / "log.jsonl").write_text("".join(log[:3]))
    resumed = run(tiny_config(cut, workers=1, optimizer=optimizer))
    assert losses(tmp_path / "whole") == losses(cut)
    for file in sorted(p.name for p in whole.glob("*.safetensors")):
        a, b = load_file(whole / file), load_file(resumed / file)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a), file


def test_muon_steps_hidden_matrices_and_adamw_the_rest(tmp_path):
    last = run(tiny_config(tmp_path, optimizer="muon", steps=1))
    (file,) = last.glob("trainer-*.safetensors")
    state = load_file(file)
    muon = {k.removeprefix("optimizer.momentum_buffer.") for k in state if ".momentum_buffer." in k}
    adamw = {k.removeprefix("optimizer.exp_avg.") for k in state if ".exp_avg." in k}
    assert "audio_tower.layers.0.fc1.weight" in muon
    assert "language_model.model.layers.0.mlp.up_proj.weight" in muon
    assert {"ctc_head.weight", "audio_tower.conv1.weight", "audio_start_embedding"} <= adamw
    assert "language_model.model.embed_tokens.weight" in adamw
    assert not muon & adamw


def test_both_stages_lower_their_loss_and_the_second_starts_from_the_first(tmp_path):
    first = tiny_config(tmp_path / "one", stage="warmstart", steps=40, learning_rate=5e-3, augment_share=0.0)
    run(first)
    curve = [x["ctc"] for x in losses(tmp_path / "one")]
    assert sum(curve[-5:]) / 5 < 0.5 * curve[0]
    run(
        tiny_config(
            tmp_path / "two",
            init_from=str(tmp_path / "one"),
            steps=1,
            learning_rate=1e-9,
            final_learning_rate=0.0,
        )
    )
    warm = losses(tmp_path / "two")[0]["ctc"]
    assert warm < 0.5 * curve[0], "the encoder and the CTC head should come from the first stage"


def test_only_the_newest_checkpoints_are_kept_and_none_is_half_written(tmp_path):
    run(tiny_config(tmp_path, save_every=1, keep=2))
    assert [p.name for p in checkpoints(tmp_path)] == ["step-000005", "step-000006"]
    assert not list(tmp_path.glob("*.partial"))
    assert not list(tmp_path.rglob("*.bin")) and not list(tmp_path.rglob("*.pt"))


def test_going_on_with_another_configuration_is_refused(tmp_path):
    run(tiny_config(tmp_path))
    with pytest.raises(ConfigError, match="learning_rate"):
        run(tiny_config(tmp_path, learning_rate=0.5))


def test_a_checkpoint_that_was_edited_is_refused(tmp_path):
    config = tiny_config(tmp_path, steps=3)
    folder = run(config)
    parts = json.loads((folder / "config.json").read_text())
    parts["audio_config"]["d_model"] = 64
    (folder / "config.json").write_text(json.dumps(parts))
    with pytest.raises(CheckpointError, match=r"step-000003.*config.json has"):
        run(dataclasses.replace(config, steps=4))


def test_a_damaged_checkpoint_is_named(tmp_path):
    folder = run(tiny_config(tmp_path, steps=3))
    next(folder.glob("trainer-*.safetensors")).write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match="step-000003"):
        run(tiny_config(tmp_path, steps=3))


def test_an_exported_model_loads_and_weighs_half(tmp_path):
    run(tiny_config(tmp_path / "run", steps=2))
    target = export(tmp_path / "run", tmp_path / "model", "float16")
    from qwen_audio.model.loading import load_checkpoint

    model, _ = load_checkpoint(target, "cpu", torch.float32)
    assert next(model.parameters()).dtype == torch.float32
    stored = load_file(target / "model.safetensors")
    assert {t.dtype for t in stored.values()} == {torch.float16}
    assert not (target / "trainer.safetensors").exists()


def test_minutes_bound_the_schedule(tmp_path):
    folder = run(tiny_config(tmp_path, steps=10**9, max_minutes=0.02, save_every=10**9))
    assert int(folder.name.removeprefix("step-")) < 10_000


def test_the_learning_rate_warms_up_and_decays():
    config = tiny_config("x", warmup_steps=10, learning_rate=1.0, final_learning_rate=0.1)
    rates = [learning_rate(config, s, s / 100) for s in range(101)]
    assert rates[0] == pytest.approx(0.1, rel=0.01)
    assert max(rates) == pytest.approx(1.0, rel=0.03)
    assert rates[100] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stage: multitask\noutput: x\nsources: [{kind: speech, weight: 1}]\nlearning_rat: 1", "learning_rat.*_rate"),
        ("stage: multitask\noutput: x\nsources: [{kind: speech, weigth: 1}]", r"sources\[0\].weigth.*weight"),
        ("stage: multitask\nsources: [{kind: speech, weight: 1}]", "output.*missing"),
        ("stage: sleep\noutput: x\nsources: [{kind: speech, weight: 1}]", "stage.*sleep.*multitask"),
        ("stage: multitask\noutput: x\nsources: [{kind: speech, weight: 1}]\nsteps: many", "steps.*many.*int"),
        ("stage: multitask\noutput: x\nsources: [{kind: speech, weight: 1}]\nsteps: 0", "steps.*more than 0"),
        ("stage: multitask\noutput: x\nsources: []", "sources"),
        ("stage: multitask\noutput: ${NO_SUCH_VARIABLE}\nsources: [{kind: speech, weight: 1}]", "NO_SUCH_VARIABLE"),
        ("stage: [", "YAML"),
    ],
)  # fmt: skip
def test_a_faulty_configuration_is_one_sentence_with_file_and_key(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"(?s)run\.yaml.*{message}") as error:
        load_config(path)
    assert "\n" not in str(error.value)


def test_overrides_replace_keys(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("stage: warmstart\noutput: x\nsources: [{kind: speech, weight: 1}]\n")
    assert load_config(path, ["steps=12", "augment_share=0"]).steps == 12
    with pytest.raises(ConfigError, match="key=value"):
        load_config(path, ["steps"])


def test_the_configurations_in_the_repository_load(monkeypatch):
    monkeypatch.setenv("OUT", "x")
    for name in ("CORPUS", "START", "DATA", "MANIFEST"):
        monkeypatch.setenv(name, "y")
    folder = ROOT / "configs"
    found = {path.name: load_config(path) for path in folder.glob("*.yaml")}
    assert {"tiny_warmstart_clean.yaml", "tiny_warmstart.yaml", "tiny_multitask.yaml"} <= found.keys()
    minutes = [config.max_minutes for name, config in found.items() if "synthetic" not in name]
    assert sum(m or 0 for m in minutes) <= 85, "the miniature promises 90 minutes, starting included"


def test_skipped_examples_are_in_the_log(tmp_path):
    run(tiny_config(tmp_path, max_seconds=0.6))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    skipped = [reason for line in lines for reason in line["skipped"]]
    assert any("longer than 0.6 s" in reason for reason in skipped)


def test_nothing_is_exported_over_anything(tmp_path):
    run(tiny_config(tmp_path / "run", steps=1))
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years")
    for target in (tmp_path / "precious", tmp_path / "run"):
        with pytest.raises(ValueError, match="exists already"):
            export(tmp_path / "run", target)
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years"
    assert checkpoints(tmp_path / "run")


def test_a_run_of_fewer_steps_than_a_log_line_still_has_one(tmp_path):
    run(tiny_config(tmp_path, steps=2, log_every=50))
    assert [json.loads(x)["step"] for x in (tmp_path / "log.jsonl").read_text().splitlines()] == [2]


def test_a_run_can_go_on_for_longer_without_its_first_checkpoint(tmp_path):
    run(tiny_config(tmp_path / "a", stage="warmstart", steps=1))
    config = tiny_config(tmp_path / "b", steps=2, init_from=str(tmp_path / "a"))
    run(config)
    shutil.rmtree(tmp_path / "a")
    assert run(dataclasses.replace(config, steps=3)).name == "step-000003"


@pytest.mark.parametrize("workers", [0, 1])
def test_when_everything_is_skipped_training_stops_with_the_reason(tmp_path, workers):
    with pytest.raises(ValueError, match=r"all of 16 examples.*longer than 0\.02 s") as error:
        run(tiny_config(tmp_path, max_seconds=0.02, workers=workers))
    assert "Traceback" not in str(error.value)


def test_clips_without_a_single_audio_token_do_not_break_the_weights(tmp_path):
    import numpy as np

    from qwen_audio.format.tags import Segment
    from qwen_audio.format.tokenizer import byte_tokenizer
    from qwen_audio.model.presets import build
    from qwen_audio.model.processing_qwen_audio import QwenAudioProcessor

    processor = QwenAudioProcessor(byte_tokenizer())
    model = build("test", processor.tokenizer)
    batch = processor([[np.ones(200, np.float32) * 0.1]], [[Segment("hi", False, True)]], "right")
    model(**batch).loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)

"""Many processes train as one does: two over gloo with FSDP2 on the CPU, their checkpoint read by one and by three."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from run_folders import SPEECH, losses
from safetensors.torch import load_file

from qwen_audio.model.loading import load_checkpoint
from qwen_audio.train.checkpoint import checkpoints

pytest.importorskip("espeakng_loader", reason="needs the synth extra")

CONFIG = {
    "stage": "multitask",
    "sources": [
        {"kind": "speech", "weight": 0.7, "options": SPEECH},
        {"kind": "text", "weight": 0.3},  # a batch without recordings must not hold the others up
    ],
    "train": ["*"],
    "preset": "test",
    "steps": 6,
    "batches_per_step": 6,
    "batch_seconds": 1.5,
    "max_seconds": 2.0,
    "chunk_size": 8,
    "warmup_steps": 2,
    "learning_rate": 3e-3,
    "save_every": 3,
    "log_every": 1,
    "ctc_weight": 0.3,
    "workers": 0,
    "threads": 1,
    "device": "cpu",
    "bf16": "off",
}


def start(folder: Path, processes: int, **kwargs) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    config = folder / "run.yaml"
    config.write_text(yaml.safe_dump({**CONFIG, "output": str(folder / "run"), **kwargs}))
    launch = [sys.executable, "-m"]
    if processes > 1:
        launch += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    return subprocess.Popen(
        [*launch, "qwen_audio", "train", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        text=True,
    )


def train(folder: Path, processes: int, **kwargs) -> Path:
    process = start(folder, processes, **kwargs)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output[-3000:]
    return folder / "run"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder, "cpu", torch.float32, adapted=True)[0].state_dict()


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return train(tmp_path_factory.mktemp("one"), 1)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return train(tmp_path_factory.mktemp("two"), 2)


def test_two_processes_have_the_losses_of_one(one, two):
    alone, shared = losses(one), losses(two)
    assert len(alone) == len(shared) == 6
    for a, b in zip(alone, shared, strict=True):
        assert a == pytest.approx(b, rel=2e-4)
    assert alone[0]["asr"] > alone[-1]["asr"], "it should learn"
    first, second = weights(checkpoints(one)[0]), weights(checkpoints(two)[0])
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("processes", [1, 3])
def test_a_checkpoint_of_two_processes_goes_on_with_another_number(two, tmp_path, processes):
    target = tmp_path / "run"
    target.mkdir()
    for name in ("log.jsonl", "step-000003"):
        subprocess.run(["cp", "-r", str(two / name), str(target)], check=True)
    assert losses(train(tmp_path, processes))[3:] == [
        pytest.approx(line, rel=2e-4) for line in losses(two)[3:]
    ]


def test_new_rows_and_a_frozen_tower_work_split(tmp_path):
    kwargs = {"train": None, "learning_rate": 1e-2, "steps": 3, "checkpoint_activations": True}
    first = train(tmp_path / "a", 1, **kwargs)
    second = train(tmp_path / "b", 2, **kwargs)
    for a, b in zip(losses(first), losses(second), strict=True):
        assert a == pytest.approx(b, rel=2e-4)


def test_text_on_one_process_and_sound_on_the_other_under_a_frozen_language_model(tmp_path):
    kwargs = {
        "train": ["audio_tower.*", "audio_projection.*", "audio_*_embedding"],
        "sources": [{**source, "weight": 0.5} for source in CONFIG["sources"]],
        "chunk_size": 1,  # a batch is one text or one recording
        "batches_per_step": 2,
        "ctc_weight": 0.0,
        "steps": 8,
        "save_every": 8,
    }
    one, two = train(tmp_path / "a", 1, **kwargs), train(tmp_path / "b", 2, **kwargs)
    assert losses(one) == [pytest.approx(line, rel=2e-4) for line in losses(two)]
    kinds = [set(line) for line in losses(two)]
    assert any("text" in k and len(k) == 2 for k in kinds), "no step had one of each"


def test_killed_in_the_middle_and_resumed_is_the_same_to_the_last_bit(one, tmp_path):
    process = start(tmp_path, 1)
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.is_file() and len(log.read_text().splitlines()) >= 5):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    left = [p.name for p in checkpoints(tmp_path / "run")]
    assert left in (["step-000003"], ["step-000003", "step-000006"])
    resumed = train(tmp_path, 1)
    assert losses(resumed) == losses(one)
    last, whole = checkpoints(resumed)[-1], checkpoints(one)[-1]
    for file in sorted(p.name for p in whole.glob("*.safetensors")):
        a, b = load_file(last / file), load_file(whole / file)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a), file


def test_a_number_of_processes_that_cannot_share_a_step_is_refused(tmp_path):
    process = start(tmp_path, 2, batches_per_step=3)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "'batches_per_step' is 3" in output


def test_the_log_has_every_step_once(one):
    lines = [json.loads(line) for line in (one / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]

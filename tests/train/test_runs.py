"""The whole miniature recipe as one script, with seconds instead of minutes and a model of a few thousand weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

import qwen_audio

pytest.importorskip("espeakng_loader", reason="needs the synth extra")


def test_the_miniature_goes_from_nothing_to_a_model(tmp_path):
    env = {**os.environ, "OUT": str(tmp_path), "PYTHONPATH": str(ROOT)}
    env["PATH"] = str(Path(sys.executable).parent) + os.pathsep + env["PATH"]
    env.pop("CORPUS", None)
    small = {"preset": "test", "steps": 2, "chunk_size": 8, "workers": 0, "warmup_steps": 1}
    arguments = [part for key, value in small.items() for part in ("--set", f"{key}={value}")]
    script = ["bash", str(ROOT / "runs" / "tiny_cpu.sh"), *arguments]
    done = subprocess.run(script, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    for stage in ("warmstart_clean", "warmstart", "align", "multitask", "refine"):
        lines = (tmp_path / stage / "log.jsonl").read_text().splitlines()
        assert json.loads(lines[-1])["step"] == 2, stage
    model = qwen_audio.load(tmp_path / "model")
    assert model.model.config.audio_config.d_model == 32

"""Small training runs for tests: a configuration of a model of some thousand parameters, and what its log says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qwen_audio.train.config import TrainConfig
from qwen_audio.train.sources import SourceConfig

SPEECH = {"vocabulary_size": 40, "kinds": {"single": 1.0}, "max_seconds": 2}


def tiny_config(output: Path, **kwargs: Any) -> TrainConfig:
    """Six steps of the preset "test" on single synthetic words."""
    base = {
        "stage": "multitask",
        "output": str(output),
        "sources": [SourceConfig("speech", 1.0, options=SPEECH)],
        "train": ["*"],
        "preset": "test",
        "steps": 6,
        "batch_seconds": 4.0,
        "max_seconds": 2.0,
        "chunk_size": 16,
        "workers": 0,
        "warmup_steps": 2,
        "save_every": 3,
        "log_every": 1,
        "ctc_weight": 0.3,
        "threads": 1,
        "device": "cpu",
        "bf16": "off",
    }
    return TrainConfig(**{**base, **kwargs})


def losses(output: Path) -> list[dict[str, float]]:
    """Losses by task of each line of a run's log."""
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [line["losses"] for line in lines if "losses" in line]

"""`qwen-audio train CONFIG.yaml`: build the parts that a configuration names, and run the loop."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers.utils import logging

from qwen_audio.data.augment import Augment
from qwen_audio.data.collate import Collator
from qwen_audio.data.mixture import ChunkDataset, Mixture
from qwen_audio.loading import load_checkpoint
from qwen_audio.model.presets import build
from qwen_audio.model.processing_qwen_audio import QwenAudioProcessor
from qwen_audio.tag_styles import DATASETS_FILE, TagStyle, dataset_ids, read_dataset_ids
from qwen_audio.tokenizer import byte_tokenizer
from qwen_audio.train.checkpoint import checkpoints, load_ctc_head
from qwen_audio.train.config import TrainConfig, load_config
from qwen_audio.train.loop import train_loop
from qwen_audio.train.stages import Multitask, Stage, WarmStart


def train(config_path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Path:
    """Train as a YAML file says; returns the folder of the last checkpoint.

    Raises:
        ConfigError, ManifestError, CheckpointError: one sentence about what is wrong.
    """
    return run(load_config(config_path, overrides))


def run(config: TrainConfig) -> Path:
    """Train one stage."""
    logging.disable_progress_bar()  # one bar, the loop's own, is enough
    torch.manual_seed(config.seed)
    own = checkpoints(Path(config.output))  # a run that goes on is built as its newest checkpoint is
    start = own[-1] if own else _start(config)
    if start:
        model, processor = load_checkpoint(start, "cpu", torch.float32)
        model.train()
    else:
        processor = QwenAudioProcessor(byte_tokenizer())
        model = build(config.preset, processor.tokenizer)
    mixture = Mixture(
        [(s.build(), s.weight) for s in config.sources],
        seed=config.seed,
        augment=Augment(),
        augment_share=[
            config.augment_share if s.augment_share is None else s.augment_share for s in config.sources
        ],
    )
    dataset = ChunkDataset(
        mixture,
        Collator(processor, question_share=config.question_share, style=_style(config)),
        batch_seconds=config.batch_seconds,
        max_seconds=config.max_seconds,
        chunk_size=config.chunk_size,
    )
    stage: Stage = WarmStart(model) if config.stage == "warmstart" else Multitask(model, config.ctc_weight)
    if start and not own:
        load_ctc_head(start, stage.module)
    return train_loop(config, stage, dataset, processor)


def _style(config: TrainConfig) -> TagStyle:
    """The tag style; the table of data sets is written to the run's folder, and read from there when it goes on."""
    if config.tag_style != "dataset":
        return TagStyle(config.tag_style)
    file = Path(config.output) / DATASETS_FILE
    if not file.exists():
        pairs = {pair for source in config.sources for pair in source.datasets()}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(dataset_ids(pairs), indent=1, ensure_ascii=False), encoding="utf-8")
    return TagStyle("dataset", read_dataset_ids(file))


def _start(config: TrainConfig) -> Path | None:
    """The checkpoint to begin from: `init_from` itself, or the newest one if it is the folder of a run."""
    if not config.init_from:
        return None
    folder = Path(config.init_from)
    found = checkpoints(folder) if folder.is_dir() else []
    return found[-1] if found else folder

"""`qwen-audio train CONFIG.yaml`: build the parts that a configuration names, and run the loop."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qwen_audio.data.augment import Augment
from qwen_audio.data.collate import Collator
from qwen_audio.data.mixture import ChunkDataset, Mixture
from qwen_audio.files import write_whole
from qwen_audio.format.tag_styles import DATASETS_FILE, TagStyle, dataset_ids, read_dataset_ids
from qwen_audio.format.tokenizer import byte_tokenizer
from qwen_audio.model import hf, row_attention
from qwen_audio.model.loading import has_adapters, load_checkpoint
from qwen_audio.model.presets import build
from qwen_audio.model.processing_qwen_audio import QwenAudioProcessor
from qwen_audio.train import parallel
from qwen_audio.train.adapters import add_lora, is_adapter, split_rows
from qwen_audio.train.checkpoint import checkpoints, load_run, read, verify
from qwen_audio.train.config import ConfigError, TrainConfig, load_config
from qwen_audio.train.log import print_freeze_map
from qwen_audio.train.loop import Trainer, use_bf16
from qwen_audio.train.stages import TrainingModule, freeze, freeze_map, layers_of, name_of
from qwen_audio.train.validate import validation_examples


def train(config_path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Path:
    """Train as a YAML file says; returns the folder of the last checkpoint.

    Raises:
        ConfigError, ManifestError, CheckpointError: one sentence about what is wrong.
    """
    return run(load_config(config_path, overrides))


@hf.without_progress_bars()  # one bar, the loop's own, is enough
def run(config: TrainConfig) -> Path:
    """Train one stage, in this process or as one of those that `torchrun` started."""
    world = parallel.begin(config.device)
    try:
        if config.batches_per_step % world.size:
            raise ConfigError(
                f"key 'batches_per_step' is {config.batches_per_step}, which {world.size} processes cannot share "
                f"evenly: make it a multiple of {world.size}"
            )
        if config.optimizer == "muon" and world.sharded:
            raise ConfigError(
                "key 'optimizer': muon needs whole matrices, so one process without torchrun; use adamw"
            )
        if config.threads:
            torch.set_num_threads(config.threads)
        Path(config.output).mkdir(parents=True, exist_ok=True)
        examples = validation_examples(config.validate_manifest, config.validate_count)
        module, processor = _module(config, world)
        trainer = Trainer(config, module, _dataset(config, processor), processor, world, examples)
        trainer.resume()
        return trainer.run()
    finally:
        parallel.end()


def _module(config: TrainConfig, world: parallel.World) -> tuple[TrainingModule, QwenAudioProcessor]:
    """The module to train: built or loaded, adapted, partly frozen, and split over the processes."""
    torch.manual_seed(config.seed)
    own = checkpoints(Path(config.output))  # a run that goes on is built as its newest checkpoint is
    start = own[-1] if own else _start(config)
    model: Any
    if start is None:
        processor = QwenAudioProcessor(byte_tokenizer())
        model = build(config.preset, processor.tokenizer)
    elif own:
        verify(start, world.rank, world.size)
        model, processor = load_checkpoint(start, "cpu", "auto", adapted=True)
    else:
        model, processor = load_run(start, "auto")
    if config.stage == "sft":
        model.config.dialogues = True
    bf16 = use_bf16(config.bf16, world.device)
    if not (bf16 and next(model.parameters()).dtype == torch.bfloat16):
        model.float()  # frozen weights too, unless they are stored in the type that is computed in
        model.config.dtype = torch.float32
    module = TrainingModule(model, text=config.stage != "warmstart", ctc=config.ctc)
    if any(pattern.endswith("new_rows") for pattern in config.trained):
        split_rows(model, processor.tokenizer.audio_pad_id)
    if config.lora_rank:
        add_lora(model, config.lora_rank, config.lora_alpha, config.lora_dropout, config.lora_targets)
    freeze(module, config.trained)
    if world.first:
        print_freeze_map(freeze_map(module), Path(config.output) / "parameters.txt")
    if start and not own and (start / "trainer.json").is_file():
        # An exported model has no CTC head; a new one is initialised.
        head = {f"ctc_head.{k}": v for k, v in module.ctc_head.state_dict().items()}
        read(start, head, kind="state", strict=False)
    if start and not own:
        _read_unrounded(start, module)
    _set_up(module, config, world, bf16)
    return module, processor


def _read_unrounded(start: Path, module: TrainingModule) -> None:
    """Read the trained weights again in float32: a model in two types was loaded in the type of its frozen weights."""
    merged = has_adapters(start)  # then the weights of the language model are no longer those of the file
    trained = {
        name_of(name): p.detach()
        for name, p in module.named_parameters()
        if p.requires_grad and name.startswith("model.") and not is_adapter(name)
    }
    if merged:
        trained = {name: p for name, p in trained.items() if not name.startswith("language_model.")}
    read(start, trained, kind="weights", strict=False)


def _set_up(module: TrainingModule, config: TrainConfig, world: parallel.World, bf16: bool) -> None:
    """Configure how the module computes; none of it changes the result."""
    model: Any = module.model
    module.train()
    # On a CPU, plain attention in bfloat16 trains a quarter faster at these lengths than the fused kernels.
    plain = "eager" if world.device.type == "cpu" else "sdpa"
    # Attention row by row gives another graph for every mix of lengths, which does not suit compiled layers either.
    by_rows = config.packing and not config.compile
    model.set_attn_implementation(row_attention.NAME if by_rows else plain)
    if config.checkpoint_activations:
        hf.enable_checkpointing(model)
    layers: list[nn.Module] = layers_of(model)
    if config.compile:
        model.audio_tower.packs = False  # every mix of lengths would be another graph
        for layer in layers:
            layer.compile(dynamic=True)
    if world.sharded:
        module.always_listen = True
        parallel.shard(module, layers, world, bf16)
    module.to(world.device)


def _dataset(config: TrainConfig, processor: QwenAudioProcessor) -> ChunkDataset:
    mixture = Mixture(
        [(s.build(), s.weight) for s in config.sources],
        seed=config.seed,
        augment=Augment(),
        augment_share=[
            config.augment_share if s.augment_share is None else s.augment_share for s in config.sources
        ],
    )
    return ChunkDataset(
        mixture,
        Collator(processor, config.question_share, config.packing, _style(config)),
        batch_seconds=config.batch_seconds,
        max_seconds=config.max_seconds,
        chunk_size=config.chunk_size,
    )


def _style(config: TrainConfig) -> TagStyle:
    """The tag style; the table of data sets is written to the run's folder, and read from there when it goes on."""
    if config.tag_style != "dataset":
        return TagStyle(config.tag_style)
    file = Path(config.output) / DATASETS_FILE
    if file.exists():
        return TagStyle("dataset", read_dataset_ids(file))
    ids = dataset_ids({pair for source in config.sources for pair in source.datasets()})
    write_whole(file, json.dumps(ids, indent=1, ensure_ascii=False))
    return TagStyle("dataset", ids)


def _start(config: TrainConfig) -> Path | None:
    """The checkpoint to begin from: `init_from` itself, or the newest one if it is the folder of a run."""
    if not config.init_from:
        return None
    folder = Path(config.init_from)
    found = checkpoints(folder) if folder.is_dir() else []
    return found[-1] if found else folder

"""The training loop of all stages, on one process or many: bounded by steps or minutes, saved, resumed exactly.

A step adds up the gradients of `batches_per_step` batches, on any processes, and divides by their total number of
labelled tokens: one process, many processes and one big batch take the same step.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qwen_audio.data.collate import Batch
from qwen_audio.data.manifest import Example
from qwen_audio.data.mixture import ChunkDataset, StreamState, stream
from qwen_audio.model.processing_qwen_audio import QwenAudioProcessor
from qwen_audio.train import checkpoint, state
from qwen_audio.train.adapters import is_adapter
from qwen_audio.train.config import ConfigError, TrainConfig
from qwen_audio.train.log import Bar, Log
from qwen_audio.train.optim import learning_rate, make_optimizers, set_learning_rate
from qwen_audio.train.parallel import World, full
from qwen_audio.train.specaugment import SpecAugment
from qwen_audio.train.stages import TrainingModule, labelled_tokens, to_device
from qwen_audio.train.validate import validate


def use_bf16(setting: str, device: torch.device) -> bool:
    """True to autocast; "auto" checks that the machine multiplies in bfloat16."""
    if setting != "auto":
        return setting == "on"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Trainer:
    """One run: its parts, its progress, and its training step."""

    def __init__(
        self,
        config: TrainConfig,
        module: TrainingModule,
        dataset: ChunkDataset,
        processor: QwenAudioProcessor,
        world: World,
        examples: Sequence[Example] = (),
    ) -> None:
        self.config, self.module, self.dataset, self.world = config, module, dataset, world
        self.processor, self.examples = processor, examples
        self.output = Path(config.output)
        self.optimizers = make_optimizers(config, module)
        self.mean = state.Mean(module, config.ema)
        self.trained = [p for p in module.parameters() if p.requires_grad]
        self.bf16 = use_bf16(config.bf16, world.device)
        self.specaugment = SpecAugment(
            time_masks=config.time_masks,
            time_width=config.time_width,
            freq_masks=config.freq_masks,
            freq_width=config.freq_width,
        )
        self.step, self.bad, self.elapsed = 0, 0, 0.0
        slots = range(world.rank, config.batches_per_step, world.size)
        self.positions = {slot: StreamState() for slot in slots}
        self.writer = checkpoint.Writer(self.output, config.keep, world.rank, world.size)
        self.folder: Path | None = None  # of the newest checkpoint

    def resume(self) -> None:
        """Go on from the newest checkpoint, if there is one.

        Raises:
            ConfigError: it was made with another configuration.
            CheckpointError: its tensors do not fit.
        """
        done = checkpoint.checkpoints(self.output)
        if not done:
            return
        meta = checkpoint.read_meta(done[-1])
        if changed := _changed(meta["config"], self.config):
            raise ConfigError(
                f"{done[-1]} was made with another value of {', '.join(changed)}: go on with the same "
                "configuration, or name another output folder"
            )
        state.read(done[-1], self.module, self.optimizers, self.mean)
        self.step, self.bad, self.elapsed = meta["step"], meta["bad_steps"], meta["elapsed"]
        self.positions = {slot: StreamState(*meta["data"][slot]) for slot in self.positions}
        self.folder = done[-1]

    def run(self) -> Path:
        """Train to the end of the schedule.

        Returns:
            The folder of the last checkpoint.

        Raises:
            FloatingPointError: too many steps in a row gave no finite loss or gradient.
        """
        config, world = self.config, self.world
        log = Log(self.output, config.log_every, self.step, config.tensorboard, world)
        began, began_at = time.monotonic() - self.elapsed, self.step
        batches = stream(self.dataset, self.positions, config.workers, config.batches_per_step)
        with Bar(config.stage, world) as bar:
            while self.step < config.steps:
                micro, after = next(batches)
                tokens, targets, elapsed, saved = world.total(
                    [
                        sum(map(labelled_tokens, micro.values())),
                        sum(int(batch.ctc_lengths.sum()) for batch in micro.values()),
                        time.monotonic() - began if world.first else 0.0,  # one clock decides
                        self.writer.finished(),
                    ]
                )
                if saved == world.size:
                    self.folder = self.writer.commit() or self.folder
                self.elapsed = elapsed
                progress = self.step / config.steps
                if config.max_minutes:
                    progress = max(progress, elapsed / 60 / config.max_minutes)
                if progress >= 1:
                    break
                lr = learning_rate(config, self.step, progress)
                norm, bad = self._step(micro, lr, tokens, targets, log)
                self.positions = after
                self.step += 1
                line = log.add_step(self.step, lr, norm, bad)
                bar.show(progress, line)
                if self.step % config.save_every == 0:
                    log.flush(self.step)  # so that a resumed run begins its lines where this one did
                    self._save()
                if config.validate_every and self.step % config.validate_every == 0:
                    self._validate(log)
            bar.show(1.0, log.flush(self.step))
        if self.step > began_at and self.step % config.save_every:
            self._save()
        self.folder = self.writer.commit() or self.folder
        if self.step > began_at and not (config.validate_every and self.step % config.validate_every == 0):
            self._validate(log)
        log.close()
        if self.folder is None:
            raise ConfigError("key 'max_minutes' is too small for a single step: raise it")
        return self.folder

    def _step(
        self, micro: Mapping[int, Batch], lr: float, tokens: float, targets: float, log: Log
    ) -> tuple[float, bool]:
        """Take one step; returns the gradient norm, and True if the step was skipped as not finite."""
        config, world = self.config, self.world
        set_learning_rate(self.optimizers, lr)
        weight = config.ctc_weight if self.module.text else 1.0
        text_sum = ctc_sum = 0.0
        for slot, batch in micro.items():
            batch = self._masked(to_device(batch, world.device), slot)
            with torch.autocast(world.device.type, torch.bfloat16, enabled=self.bf16):
                loss = self.module(batch)
            whole = loss.text / max(tokens, 1) + weight * loss.ctc / max(targets, 1)
            if whole.requires_grad:
                (whole * world.size).backward()  # gradients are means over the processes
            text_sum += float(loss.text.detach())
            ctc_sum += float(loss.ctc.detach())
            log.add_batch(loss.by_task, batch.seconds, batch.skipped)
        for parameter in self.trained:
            # E.g. no recording in the whole step: a gradient of zero, as in a split model, so that the moments of
            # one process go on as those of many do.
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        norm = float(full(torch.nn.utils.clip_grad_norm_(self.trained, config.clip_norm)))
        text_sum, ctc_sum = world.total([text_sum, ctc_sum])
        if config.ctc and world.first:
            log.add_batch({"ctc": (ctc_sum, int(targets))}, 0.0, {})
        bad = not all(map(math.isfinite, (text_sum, ctc_sum, norm)))
        self.bad = self.bad + 1 if bad else 0
        if self.bad > config.bad_steps:
            self.folder = self.writer.commit() or self.folder
            value = text_sum / max(tokens, 1) + weight * ctc_sum / max(targets, 1)
            raise FloatingPointError(
                f"at step {self.step} the loss is {value:g} and "
                f"the gradient norm {norm:g}, as in {config.bad_steps} steps before: lower learning_rate; the last "
                f"checkpoint is {self.folder or 'none'}"
            )
        if not bad:
            for optimizer in self.optimizers:
                optimizer.step()
            self.mean.update(self.step + 1)
        for parameter in self.trained:
            parameter.grad = None
        return norm, bad

    def _masked(self, batch: Batch, slot: int) -> Batch:
        """The batch with SpecAugment; all random numbers of a step come from the seed, the step and the slot."""
        seed = int(np.random.SeedSequence((self.config.seed, self.step, slot)).generate_state(1)[0])
        torch.manual_seed(seed)  # dropout, where there is any
        if "input_features" not in batch.inputs or not self.trains_encoder:
            return batch
        masks = torch.Generator().manual_seed(seed)
        mel = self.specaugment(batch.inputs["input_features"], batch.inputs["feature_lengths"], masks)
        return replace(batch, inputs={**batch.inputs, "input_features": mel})

    @property
    def trains_encoder(self) -> bool:
        """True if the encoder is trained; a frozen one gets features without masks."""
        return next(self.module.model.audio_tower.parameters()).requires_grad

    def _validate(self, log: Log) -> None:
        if self.examples:
            prompt = self.dataset.collator.style.prompt
            scores = validate(self.module, self.processor, self.examples, prompt, self.world)
            log.write({"step": self.step, "validation": scores})

    def _save(self) -> None:
        weights, frozen = state.weights(self.module)
        beside = {
            **state.beside(self.module),
            **state.moments(self.module, self.optimizers),
            **self.mean.tensors,
        }
        positions = {s: p for part in self.world.gather(self.positions) for s, p in part.items()}
        meta = {
            "bad_steps": self.bad,
            "elapsed": self.elapsed,
            "adapters": any(map(is_adapter, beside)),
            "data": [[positions[s].chunk, positions[s].batch] for s in sorted(positions)],
            "config": asdict(self.config),
        }
        self.writer.save(self.step, weights, beside, frozen, meta, self._write_rest)

    def _write_rest(self, folder: Path) -> None:
        config = self.module.model.config
        config.architectures = [type(self.module.model).__name__]
        config.save_pretrained(folder)
        self.processor.save_pretrained(folder)


def _changed(old: dict[str, Any], config: TrainConfig) -> list[str]:
    # Settings that may differ between the parts of one run: location, length and monitoring.
    free = {
        "output",
        "workers",
        "threads",
        "save_every",
        "keep",
        "log_every",
        "init_from",
        "steps",
        "max_minutes",
        "tensorboard",
        "validate_manifest",
        "validate_every",
        "validate_count",
    }
    new = json.loads(json.dumps(asdict(config)))
    return sorted(k for k in new if k not in free and old.get(k) != new[k])

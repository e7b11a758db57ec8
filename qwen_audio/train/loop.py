"""The training loop: one for all stages. Bounded by steps or minutes, logged, saved, resumed exactly."""

from __future__ import annotations

import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from qwen_audio.data.mixture import ChunkDataset, StreamState, stream
from qwen_audio.model.processing_qwen_audio import QwenAudioProcessor
from qwen_audio.specaugment import SpecAugment
from qwen_audio.train import checkpoint
from qwen_audio.train.config import ConfigError, TrainConfig
from qwen_audio.train.stages import Stage


def learning_rate(config: TrainConfig, step: int, progress: float) -> float:
    """Linear warm-up over `warmup_steps`, then a cosine from the peak to the final rate over `progress` 0..1."""
    warmup = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    low, high = config.final_learning_rate, config.learning_rate
    cosine = low + (high - low) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return warmup * cosine


def use_bf16(setting: str) -> bool:
    """Whether to autocast: "auto" asks the CPU whether it multiplies in bfloat16."""
    if setting != "auto":
        return setting == "on"
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def make_optimizers(config: TrainConfig, module: torch.nn.Module) -> list[torch.optim.Optimizer]:
    """AdamW for all parameters; or Muon for the matrices of hidden layers and AdamW for the rest.

    Matrices decay, vectors and embeddings do not. Muon's step has the root mean square of AdamW's (`match_rms_adamw`,
    Liu et al. 2025, arXiv 2502.16982, section 2.2), so one learning rate serves both. Three Newton-Schulz steps
    trained as fast as the usual five, step for step.
    """
    hidden: list[torch.nn.Parameter] = []
    decay: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
    for name, p in module.named_parameters():
        if p.ndim < 2 or "embed" in name:
            plain.append(p)
        elif config.optimizer == "muon" and p.ndim == 2 and "head" not in name:
            hidden.append(p)
        else:
            decay.append(p)
    adamw = torch.optim.AdamW(
        [{"params": decay, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
        fused=True,
    )
    if not hidden:
        return [adamw]
    muon = torch.optim.Muon(
        hidden,
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        adjust_lr_fn="match_rms_adamw",
        ns_steps=3,
    )
    return [adamw, muon]


def train_loop(
    config: TrainConfig, stage: Stage, dataset: ChunkDataset, processor: QwenAudioProcessor
) -> Path:
    """Train to the end of the schedule, from the newest checkpoint in `config.output` if there is one.

    Returns:
        The folder of the last checkpoint.

    Raises:
        ConfigError: the newest checkpoint was made with another configuration.
        FloatingPointError: the loss or the gradient norm is not finite; the last checkpoint is kept.
    """
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    if config.threads:
        torch.set_num_threads(config.threads)
    module = stage.module.train()
    # On a CPU, plain attention in bfloat16 trains a quarter faster at these lengths than the fused kernels.
    module.model.set_attn_implementation("eager")
    optimizers = make_optimizers(config, module)
    masks = torch.Generator().manual_seed(config.seed)
    specaugment = SpecAugment(
        time_masks=config.time_masks,
        time_width=config.time_width,
        freq_masks=config.freq_masks,
        freq_width=config.freq_width,
    )
    step, state, elapsed = 0, StreamState(), 0.0
    done = checkpoint.checkpoints(output)
    if done:
        meta = checkpoint.load(done[-1], module, optimizers, masks)
        changed = _changed(meta["config"], config)
        if changed:
            raise ConfigError(
                f"{done[-1]} was made with another value of {', '.join(changed)}: go on with the same "
                "configuration, or name another output folder"
            )
        step, state, elapsed = meta["step"], StreamState(**meta["data"]), meta["elapsed"]
    log = Log(output / "log.jsonl", config.log_every)
    folder = done[-1] if done else output
    skipped = 0
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, TimeElapsedColumn()) as bar:
        shown = bar.add_task(config.stage, total=1.0, note="")
        batches = stream(dataset, state, config.workers)
        began = time.monotonic() - elapsed
        while True:
            elapsed = time.monotonic() - began
            progress = step / config.steps
            if config.max_minutes:
                progress = max(progress, elapsed / 60 / config.max_minutes)
            if progress >= 1:
                break
            batch, state = next(batches)
            lr = learning_rate(config, step, progress)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = lr
            if "input_features" in batch.inputs:
                features, lengths = batch.inputs["input_features"], batch.inputs["feature_lengths"]
                batch.inputs["input_features"] = specaugment(features, lengths, masks)
            with torch.autocast("cpu", torch.bfloat16, enabled=use_bf16(config.bf16)):
                loss, losses = stage.loss(batch)
            if not torch.isfinite(loss):
                raise FloatingPointError(
                    f"the loss is {loss.item()} at step {step}: lower learning_rate; the last checkpoint is {folder}"
                )
            module.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(module.parameters(), config.clip_norm)
            if not torch.isfinite(norm):
                raise FloatingPointError(
                    f"the gradient norm is {norm.item()} at step {step}: lower learning_rate; "
                    f"the last checkpoint is {folder}"
                )
            for optimizer in optimizers:
                optimizer.step()
            step += 1
            line = log.add(step, losses, lr, float(norm), batch.seconds, batch.skipped)
            if line:
                skipped += sum(line["skipped"].values())
                note = f"step {step} loss {line['loss']:.3f} {line['audio_s_per_s']:.0f} audio s/s"
                note += f", {skipped} skipped" if skipped else ""
                bar.update(shown, completed=progress, note=note)
            if step % config.save_every == 0:
                folder = _save(config, output, step, stage, optimizers, processor, masks, state, began)
        log.flush(step)
        bar.update(shown, completed=1.0)
    if not folder.name.endswith(f"-{step:06d}"):
        folder = _save(config, output, step, stage, optimizers, processor, masks, state, began)
    return folder


def _save(
    config: TrainConfig,
    output: Path,
    step: int,
    stage: Stage,
    optimizers: Sequence[torch.optim.Optimizer],
    processor: QwenAudioProcessor,
    masks: torch.Generator,
    state: StreamState,
    began: float,
) -> Path:
    meta = {"data": asdict(state), "elapsed": time.monotonic() - began, "config": asdict(config)}
    return checkpoint.save(output, step, stage.module, optimizers, processor, masks, meta, config.keep)


def _changed(old: dict[str, Any], config: TrainConfig) -> list[str]:
    # What may differ between the parts of one run: where it lives, how long it goes on, how it is watched.
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
    }
    new = json.loads(json.dumps(asdict(config)))
    return sorted(k for k in new if k not in free and old.get(k) != new[k])


class Log:
    """Means over `every` steps, one JSON line each: loss, loss by task, rate, gradient norm, throughput."""

    def __init__(self, path: Path, every: int) -> None:
        self.path = path
        self.every = every
        self._reset()

    def _reset(self) -> None:
        self.by_task: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])
        self.norm = self.seconds = 0.0
        self.steps = 0
        self.skipped: Counter[str] = Counter()
        self.since = time.monotonic()

    def add(
        self,
        step: int,
        losses: dict[str, tuple[float, int]],
        lr: float,
        norm: float,
        seconds: float,
        skipped: dict[str, int],
    ) -> dict[str, Any] | None:
        """Count one step; the line written, when one is due."""
        for task, (total, n) in losses.items():
            self.by_task[task][0] += total
            self.by_task[task][1] += n
        self.norm += norm
        self.seconds += seconds
        self.steps += 1
        self.skipped.update(skipped)
        self.learning_rate = lr
        return self.flush(step) if self.steps >= self.every else None

    def flush(self, step: int) -> dict[str, Any] | None:
        """Write the line of the steps since the last one, if there are any."""
        if not self.steps:
            return None
        tasks = {k: round(s / n, 4) for k, (s, n) in sorted(self.by_task.items()) if n}
        text = [v for k, v in self.by_task.items() if k != "ctc"]
        tokens = sum(n for _, n in text)
        line = {
            "step": step,
            "loss": round(sum(s for s, _ in text) / tokens, 4) if tokens else tasks.get("ctc", 0.0),
            "losses": tasks,
            "learning_rate": self.learning_rate,
            "gradient_norm": round(self.norm / self.steps, 4),
            "audio_s_per_s": round(self.seconds / (time.monotonic() - self.since), 2),
            "skipped": dict(self.skipped),
        }
        with open(self.path, "a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")
        self._reset()
        return line

"""Speed and memory of a training step against plain transformers, and of ours with its parts switched off.

    python benchmarks/training.py                                  the CPU, sizes of the preset "small"
    python benchmarks/training.py --only multitask --variants plain,ours
    python benchmarks/training.py --device cuda --preset qwen-audio-7b --dtype bfloat16 --clips 16 --peak 989

The baseline ("plain") is `Qwen2AudioForConditionalGeneration` of equal sizes, trained as in its documentation:
mels padded to 30 s by its feature extractor, rows padded to the longest, the loss from `labels`. Both sides have the
published vocabulary (155,947 rows), the same clips (1 to 30 s, log-uniform), prompts and answers, AdamW, and compute
in bfloat16 by autocast, trained weights being float32. Two steps are timed: "multitask" (the language model frozen,
and kept in `--dtype`) and "full". Data are made beforehand.

All variants take their steps in turn, and the times are those of the process alone (with one CPU thread), so that
other processes disturb all alike. Peak memory is taken in a process for each variant: resident memory, or on a GPU
the allocated memory. Weights are random: neither figure depends on them.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    Qwen2AudioConfig,
    Qwen2AudioEncoderConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2Config,
    WhisperFeatureExtractor,
)

from qwen_audio.audio.features import log_mel
from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.collate import Collator
from qwen_audio.data.encode import Row
from qwen_audio.format.tokenizer import byte_tokenizer
from qwen_audio.model import QwenAudioForConditionalGeneration, QwenAudioProcessor, hf
from qwen_audio.model.presets import PRESETS, PUBLISHED_VOCABULARY, config

TRAINED = {
    "multitask": ("audio_tower.*", "audio_projection.*", "audio_start_embedding", "audio_end_embedding"),
    "full": ("*",),
}
Step = Callable[[int], float]


@dataclass(frozen=True)
class Variant:
    """Settings of a step; the defaults are ours.

    Attributes:
        plain: transformers' model instead of ours; the other settings are then ignored.
        packing: rows joined, or padded.
        packs_frames: the encoder's layers see no padding.
        attention: "by_rows", "sdpa" or "eager".
        whole_logits: the logits of all labelled positions at once.
        checkpointing: activations are recomputed in the backward pass.
    """

    plain: bool = False
    packing: bool = True
    packs_frames: bool = True
    attention: str = "by_rows"
    whole_logits: bool = False
    checkpointing: bool = False


VARIANTS = {
    "plain": Variant(plain=True),
    "ours": Variant(),
    "sdpa": Variant(attention="sdpa"),
    "eager": Variant(attention="eager"),
    "rows-padded": Variant(packing=False, attention="eager"),
    "all-padded": Variant(packing=False, packs_frames=False, attention="eager"),
    "whole-logits": Variant(whole_logits=True),
    "recomputed": Variant(checkpointing=True),
}


@dataclass(frozen=True)
class Data:
    """One batch: its rows, its waves, its audio seconds."""

    rows: list[Row]
    waves: list[np.ndarray]
    seconds: float


def batches(processor: QwenAudioProcessor, count: int, clips: int) -> list[Data]:
    """Noise of 1 to 30 s, log-uniform; a prompt of 12 tokens; an answer of 3 tokens a second, and at least 8."""
    rng = np.random.default_rng(0)
    tok = processor.tokenizer
    made = []
    for _ in range(count):
        waves, rows = [], []
        for seconds in np.exp(rng.uniform(0, np.log(30), clips)):
            # In steps of 40 ms, so that both sides count the same audio tokens.
            samples = int(seconds * 25) * SAMPLE_RATE // 25
            waves.append(0.1 * rng.standard_normal(samples).astype(np.float32))
            mel = log_mel(waves[-1])
            ids, labels = processor.encode_row([mel.shape[-1]], [])
            prompt = rng.integers(0, 256, 12).tolist()
            answer = [*rng.integers(0, 256, max(8, int(3 * seconds))).tolist(), tok.eos_token_id]
            rows.append(
                Row(
                    [*ids, *prompt, *answer],
                    [*labels, *[-100] * len(prompt), *answer],
                    [mel],
                    None,
                    "asr",
                    float(seconds),
                    len(prompt) + len(answer),
                    False,
                )
            )
        made.append(Data(rows, waves, sum(row.seconds for row in rows)))
    return made


def sizes(preset: str, processor: QwenAudioProcessor) -> Any:
    """Configuration of ours; ids of a byte tokenizer in a vocabulary of the published number of rows."""
    tok = processor.tokenizer
    return config(
        preset,
        PUBLISHED_VOCABULARY,
        audio_start_token_id=tok.audio_start_id,
        audio_end_token_id=tok.audio_end_id,
        audio_pad_token_id=tok.audio_pad_id,
        eos_token_id=tok.eos_token_id,
    )


def plain_model(settings: Any) -> Qwen2AudioForConditionalGeneration:
    """Qwen2-Audio with the widths, depths and vocabulary of `settings`."""
    audio, text = settings.audio_config, settings.text_config
    made: Any = Qwen2AudioConfig(
        audio_config=Qwen2AudioEncoderConfig(
            num_mel_bins=80,
            d_model=audio.d_model,
            encoder_layers=audio.encoder_layers,
            encoder_attention_heads=audio.encoder_attention_heads,
            encoder_ffn_dim=audio.encoder_ffn_dim,
        ).to_dict(),
        text_config=Qwen2Config(
            vocab_size=text.vocab_size,
            hidden_size=text.hidden_size,
            num_hidden_layers=text.num_hidden_layers,
            num_attention_heads=text.num_attention_heads,
            num_key_value_heads=text.num_attention_heads,
            intermediate_size=text.intermediate_size,
            tie_word_embeddings=text.tie_word_embeddings,
        ).to_dict(),
        audio_token_id=settings.audio_pad_token_id,
        tie_word_embeddings=text.tie_word_embeddings,
    )
    return Qwen2AudioForConditionalGeneration(made)


def plain_inputs(processor: QwenAudioProcessor, data: Data) -> dict[str, Tensor]:
    """Mels padded to 30 s, rows to the longest: the same ids, since both models have a token for 40 ms."""
    inputs = Collator(processor).collate(data.rows).inputs
    mels = WhisperFeatureExtractor()(
        data.waves, sampling_rate=SAMPLE_RATE, return_tensors="pt", return_attention_mask=True
    )
    text = {k: inputs[k] for k in ("input_ids", "attention_mask", "labels")}
    return text | {"input_features": mels.input_features, "feature_attention_mask": mels.attention_mask}


def make_step(
    variant: Variant, stage: str, preset: str, device: str, dtype: torch.dtype, data: list[Data]
) -> tuple[Step, list[dict[str, Tensor]]]:
    """A function that trains on batch i and returns its loss; and the batches, on the device."""
    processor = QwenAudioProcessor(byte_tokenizer())
    settings = sizes(preset, processor)
    torch.manual_seed(0)
    model: Any
    with torch.device(device):
        model = plain_model(settings) if variant.plain else QwenAudioForConditionalGeneration(settings)
    model.train()
    language_model = model.model.language_model if variant.plain else model.language_model
    if stage == "multitask":
        for part in (language_model, model.get_output_embeddings()):
            part.requires_grad_(False).to(dtype)
    if variant.plain:
        inputs = [plain_inputs(processor, d) for d in data]
    else:
        collator = Collator(processor, packing=variant.packing)
        inputs = [collator.collate(d.rows).inputs for d in data]
        model.set_attn_implementation(variant.attention)
        model.audio_tower.packs = variant.packs_frames
        if variant.whole_logits:
            # A watched output layer is called, and gives all its logits.
            model.get_output_embeddings().register_forward_hook(lambda module, args, out: None)
        if variant.checkpointing:
            hf.enable_checkpointing(model)
    inputs = [{k: v.to(device) for k, v in batch.items()} for batch in inputs]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4, fused=True)

    def step(index: int) -> float:
        with torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = model(**inputs[index % len(inputs)]).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, inputs


def speed(arguments: argparse.Namespace, stage: str, names: list[str], data: list[Data]) -> None:
    """Print audio seconds per second of each variant, and the ratio to the plain one (or to the first)."""
    device, dtype = arguments.device, getattr(torch, arguments.dtype)
    alone = device == "cpu" and arguments.threads == 1
    clock = time.process_time if alone else time.perf_counter
    steps = {n: make_step(VARIANTS[n], stage, arguments.preset, device, dtype, data) for n in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for index in range(arguments.steps + 1):
        for name, (step, _) in steps.items():
            started = clock()
            step(index)
            if index:  # the first is a warm-up
                times[name].append(clock() - started)
    first = times[names[0]]
    for name in names:
        rates = [data[i % len(data)].seconds / t for i, t in enumerate(times[name], start=1)]
        ratio = statistics.median(a / b for a, b in zip(first, times[name], strict=True))
        used = utilisation(arguments, stage, name, steps[name][1], times[name])
        print(
            f"{stage:10} {name:13} {statistics.median(rates):8.2f} audio s/s   {ratio:5.2f} times {names[0]!r}{used}",
            flush=True,
        )


def utilisation(
    arguments: argparse.Namespace, stage: str, name: str, inputs: list[dict[str, Tensor]], times: list[float]
) -> str:
    """Share of the device's peak that the FLOPs without padding reach; empty without `--peak`."""
    if not arguments.peak or VARIANTS[name].plain:
        return ""
    from qwen_audio.plan.flops import BatchShape, flops_per_step

    settings = sizes(arguments.preset, QwenAudioProcessor(byte_tokenizer()))
    done = [flops_per_step(settings, BatchShape.of(batch), TRAINED[stage])["total"].model for batch in inputs]
    total = sum(done[i % len(done)] for i in range(1, len(times) + 1))
    return f"   MFU {100 * total / sum(times) / (arguments.peak * 1e12):.1f} %"


def memory(arguments: argparse.Namespace, stage: str, names: list[str]) -> None:
    """Print the peak of each variant, each in a process of its own, and its share of the first one's."""
    peaks: dict[str, float] = {}
    for name in names:
        command = [sys.executable, __file__, "--inside", name, "--only", stage]
        for key in ("preset", "device", "dtype", "threads", "clips"):
            command += [f"--{key}", str(getattr(arguments, key))]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        peaks[name] = found["peak_mib"]
        share = 100 * found["peak_mib"] / peaks[names[0]]
        print(
            f"{stage:10} {name:13} {found['peak_mib']:8.0f} MiB at the peak ({found['before_mib']:.0f} before "
            f"the first step), {share:.0f} % of {names[0]!r}",
            flush=True,
        )


def peak_of(arguments: argparse.Namespace, stage: str) -> None:
    """One line of JSON: memory before the first step and at the peak of two steps."""
    data = batches(QwenAudioProcessor(byte_tokenizer()), 2, arguments.clips)
    dtype = getattr(torch, arguments.dtype)
    step, _ = make_step(VARIANTS[arguments.inside], stage, arguments.preset, arguments.device, dtype, data)
    before = used_mib(arguments.device, "VmRSS")
    for index in range(2):
        step(index)
    print(json.dumps({"before_mib": before, "peak_mib": used_mib(arguments.device, "VmHWM")}))


def used_mib(device: str, key: str) -> float:
    """Resident memory of this process, now ("VmRSS") or at its peak ("VmHWM"); on a GPU the most allocated."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    found = re.search(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def main() -> None:
    """Run as the module's docstring says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--steps", type=int, default=3, help="timed, after one to warm up")
    parser.add_argument("--clips", type=int, default=4, help="in a batch")
    parser.add_argument("--only", choices=tuple(TRAINED), default=None, help="one of the two steps")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="the first is compared with")
    parser.add_argument("--measure", choices=("both", "speed", "memory"), default="both")
    parser.add_argument("--peak", type=float, default=0.0, help="TFLOP/s of the device: MFU is printed")
    parser.add_argument("--inside", choices=tuple(VARIANTS), default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = [name.strip() for name in arguments.variants.split(",")]
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        parser.error(f"no variant {unknown[0]!r}; there are {', '.join(VARIANTS)}")
    stages = [arguments.only] if arguments.only else list(TRAINED)
    if arguments.inside:
        peak_of(arguments, stages[0])
        return
    data = batches(QwenAudioProcessor(byte_tokenizer()), arguments.steps + 1, arguments.clips)
    for stage in stages:
        if arguments.measure != "memory":
            speed(arguments, stage, names, data)
        if arguments.measure != "speed":
            memory(arguments, stage, names)


if __name__ == "__main__":
    main()

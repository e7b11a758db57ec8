"""Speed of the engine against fixed batches: many requests at once, and a short request that arrives during long ones.

    python benchmarks/engine.py                          the preset "small" with random weights, and the embedded model
    python benchmarks/engine.py --threads 1 --repeats 5
    python benchmarks/engine.py --device cuda --preset qwen-audio-7b --dtype bfloat16 --only random

The baseline is transformers' `generate` on the same model: batches of 8 in order of arrival, each of which is
finished before the next begins, and one request after the other. Its rows have the same limits and the same allowed
ids as ours, so the answers must be equal; the number of equal ones is printed. With random weights clips and answers
have random lengths (answers end by their limit alone); the embedded model answers questions about the demo's recordings
to their natural end. All sides run in turn, several times, and the best times are compared. Ratios above 1 mean that
the engine is faster.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

import qwen_audio
from qwen_audio.audio.load import SAMPLE_RATE, load_audio
from qwen_audio.format import tasks
from qwen_audio.format.tokenizer import byte_tokenizer
from qwen_audio.inference.allowed import allowed_ids, stop_ids
from qwen_audio.inference.engine import Engine
from qwen_audio.inference.request import Request, seconds_of
from qwen_audio.model import QwenAudioProcessor
from qwen_audio.model.presets import PRESETS, build
from qwen_audio.show.demo import CLIPS

BATCH = 8
ARRIVAL = 1  # tokens that long answers have when the short request arrives


class Allowed(LogitsProcessor):
    """Only the ids that each row may produce, (B, V) bool."""

    def __init__(self, allowed: Tensor) -> None:
        self.forbidden = ~allowed

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores.masked_fill(self.forbidden, float("-inf"))


class Limits(StoppingCriteria):
    """Ends each row at its own limit; records the time of `ARRIVAL` tokens."""

    def __init__(self, width: int, limits: Sequence[int]) -> None:
        self.width, self.limits, self.arrival = width, list(limits), 0.0

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        made = input_ids.shape[1] - self.width
        if made == ARRIVAL:
            self.arrival = time.perf_counter()
        return torch.tensor([made >= limit for limit in self.limits], device=input_ids.device)


class Plain:
    """transformers' `generate` on a batch of requests."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor
        self.arrival, self.tokens = 0.0, 0

    def batch(self, requests: Sequence[Request]) -> list[str]:
        """The answers of one batch; `arrival` is then its time of `ARRIVAL` tokens, `tokens` the total count."""
        prompts = [
            tasks.prompt(request.task, language=request.language, question=request.question)
            for request in requests
        ]
        tokenizer = self.processor.tokenizer
        inputs = self.processor([r.waves for r in requests], prompts, padding_side="left").to(
            self.model.device
        )
        inputs.pop("labels")
        inputs["input_features"] = inputs["input_features"].to(self.model.dtype)
        width = inputs["input_ids"].shape[1]
        limits = Limits(width, [request.max_new_tokens or 1 for request in requests])
        allowed = allowed_ids(tokenizer, prompts, self.model.config.text_config.vocab_size)
        stops = stop_ids(tokenizer)
        made = self.model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=max(limits.limits),
            eos_token_id=stops,
            pad_token_id=tokenizer.eos_token_id,
            logits_processor=LogitsProcessorList([Allowed(allowed.to(self.model.device))]),
            stopping_criteria=StoppingCriteriaList([limits]),
        )[:, width:].tolist()
        self.arrival = limits.arrival
        texts = []
        for row, limit in zip(made, limits.limits, strict=True):
            ids = row[:limit]
            end = next((at for at, token_id in enumerate(ids) if token_id in stops), len(ids))
            self.tokens += end
            texts.append(tokenizer.decode(ids[:end], skip_special_tokens=False).strip())
        return texts

    def all(self, requests: Sequence[Request], size: int) -> list[str]:
        """The answers of all requests, in batches."""
        batches = [requests[at : at + size] for at in range(0, len(requests), size)]
        return [text for batch in batches for text in self.batch(batch)]


def many(
    name: str, model: Any, processor: Any, requests: list[Request], repeats: int, engines: Sequence[int]
) -> None:
    """Time to answer all requests, which arrive at the start."""
    plain = Plain(model, processor)
    sides: dict[str, Callable[[], list[str]]] = {}
    made = [Engine(model, processor, max_rows=rows) for rows in engines]
    for engine in made:
        sides[f"engine, {engine.limits.rows} rows"] = lambda e=engine: [o.raw for o in e.run(requests)]
    sides[f"fixed batches of {BATCH}"] = lambda: plain.all(requests, BATCH)
    sides["one by one"] = lambda: plain.all(requests, 1)
    times: dict[str, list[float]] = {side: [] for side in sides}
    answers: dict[str, list[str]] = {}
    for repeat in range(repeats):
        order = list(sides) if repeat % 2 else list(sides)[::-1]
        for side in order:
            started = time.perf_counter()
            answers[side] = sides[side]()
            times[side].append(time.perf_counter() - started)
    for engine in made:
        engine.close()
    first = answers[next(iter(sides))]
    tokens = plain.tokens // (2 * repeats)  # both ways made the same
    seconds = sum(seconds_of(request.waves) for request in requests)
    print(f"{name}: {len(requests)} requests, {seconds:.0f} s of audio, {tokens} tokens of answers")
    best = min(times[next(iter(sides))])
    for side, taken in times.items():
        same = sum(a == b for a, b in zip(answers[side], first, strict=True))
        print(
            f"  {side:22} {min(taken):8.2f} s   ratio {min(taken) / best:5.2f}   "
            f"{same} of {len(first)} answers the same",
            flush=True,
        )


def late(model: Any, processor: Any, long: list[Request], short: Request, repeats: int) -> None:
    """Time from the arrival of a short request to its first token, while long ones are answered."""
    plain, waits = Plain(model, processor), ([], [])  # type: ignore[var-annotated]
    one = Request(short.task, short.waves, language=short.language, max_new_tokens=1, loop_guard=False)
    with Engine(model, processor) as engine:
        for _ in range(repeats):
            plain.batch(long)
            began = plain.arrival
            plain.batch([one])
            waits[1].append(time.perf_counter() - began)
            jobs = [engine.submit(each) for each in long]
            while engine.running < len(long):
                time.sleep(0.001)
            began = time.perf_counter()
            engine.submit(one).result()
            waits[0].append(time.perf_counter() - began)
            for job in jobs:
                job.cancel()
    ours, theirs = (min(taken) for taken in waits)
    print(
        f"first token of a short request while {len(long)} long ones are answered: engine {1e3 * ours:.0f} ms, "
        f"after the batch {1e3 * theirs:.0f} ms   ratio {theirs / ours:.1f}",
        flush=True,
    )


def noise(seconds: float, seed: int) -> np.ndarray:
    """Noise (n,) float32 at 16 kHz."""
    samples = np.random.default_rng(seed).standard_normal(int(seconds * SAMPLE_RATE))
    return (0.1 * samples).astype(np.float32)


def with_random_weights(given: argparse.Namespace) -> None:
    """Clips of 1 to 15 s, answers of 5 to 250 tokens, most of them short."""
    torch.manual_seed(0)
    processor = QwenAudioProcessor(byte_tokenizer())
    with torch.device(given.device):
        model = build(given.preset, processor.tokenizer).eval().to(getattr(torch, given.dtype))
    # The end of an answer never has the best score.
    model.get_output_embeddings().weight.data[stop_ids(processor.tokenizer)] = 0.0
    choose = np.random.default_rng(1)
    requests = [
        Request(
            "audio_caption",
            [noise(float(choose.uniform(1, 15)), number)],
            max_new_tokens=int(5 * 50 ** choose.uniform()),
            loop_guard=False,
        )
        for number in range(given.requests)
    ]
    many(f'preset "{given.preset}"', model, processor, requests, given.repeats, (16, BATCH))
    long = [
        Request("audio_caption", [noise(10.0, number)], max_new_tokens=128, loop_guard=False)
        for number in range(BATCH)
    ]
    late(model, processor, long, Request("audio_caption", [noise(2.0, 99)]), given.repeats)


def with_the_embedded_model(given: argparse.Namespace) -> None:
    """Recordings of the demo, transcribed, described and asked about."""
    model = qwen_audio.load(device=given.device)
    waves = [load_audio(path) for path in sorted(CLIPS.iterdir()) if path.suffix == ".flac"]
    choose = np.random.default_rng(1)
    kinds: list[dict[str, Any]] = [
        {"task": "asr", "language": "en"},
        {"task": "audio_caption"},
        {"task": "audio_qa", "question": "What is heard?"},
    ]
    requests = [
        Request(
            waves=[waves[choose.integers(len(waves))]],
            max_new_tokens=200,
            loop_guard=False,
            **kinds[choose.integers(len(kinds))],
        )
        for _ in range(given.requests)
    ]
    many("embedded model", model.model, model.processor, requests, given.repeats, (16, BATCH))


def main() -> None:
    """Print the times of each side."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="small", choices=PRESETS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--threads", type=int, default=0, help="torch threads (0: torch's default)")
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=("random", "embedded"))
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    if given.only != "embedded":
        with_random_weights(given)
    if given.only != "random":
        with_the_embedded_model(given)


if __name__ == "__main__":
    main()

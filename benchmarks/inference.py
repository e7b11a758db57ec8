"""Speed against plain transformers: mel, encoder, decoding, and the second turn of a dialogue.

    python benchmarks/inference.py                    all of it, on the CPU, at the size of the preset "small"
    python benchmarks/inference.py --preset base --threads 4
    python benchmarks/inference.py --device cuda --preset qwen-audio-7b --dtype bfloat16 --only decode

The baseline is plain transformers: `WhisperFeatureExtractor` (and OpenAI's `whisper` where it is installed) for mel,
`Qwen2AudioForConditionalGeneration` of equal sizes for the rest. Weights are random: speed does not depend on them.
Both sides run in turn, several times, and the best times are compared. Ratios above 1 mean that ours is faster.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import (
    Qwen2AudioConfig,
    Qwen2AudioEncoderConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2Config,
    WhisperFeatureExtractor,
)

from qwen_audio.audio.features import log_mel
from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.format.answer_tags import STOPS
from qwen_audio.format.tasks import Segment
from qwen_audio.format.tokenizer import byte_tokenizer
from qwen_audio.inference.token_loop import Row
from qwen_audio.inference.token_loop import decode as decode_rows
from qwen_audio.model import QwenAudioForConditionalGeneration, QwenAudioProcessor
from qwen_audio.model.presets import PRESETS, config

SECTIONS = ("mel", "encoder", "decode", "dialogue")
MIXED = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 9.0, 14.0)  # seconds of eight clips


def compare(
    name: str,
    ours: Callable[[], Any],
    other: Callable[[], Any],
    repeats: int,
    amount: float = 0,
    unit: str = "",
) -> None:
    """Run both in turn and print the best times, their ratio, and the amount of `unit` per second of each."""
    times: dict[Callable[[], Any], list[float]] = {ours: [], other: []}
    for repeat in range(repeats + 1):
        # Each goes first in turn, since the second run may find memory warm.
        for run, taken in sorted(times.items(), key=lambda item: (item[0] is other) == bool(repeat % 2)):
            started = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if repeat:  # the first of each is a warm-up
                taken.append(time.perf_counter() - started)
    mine, theirs = (min(times[run]) for run in (ours, other))
    rate = f"   {amount / mine:.1f} and {amount / theirs:.1f} {unit}/s" if unit else ""
    print(
        f"{name:58} {1e3 * mine:9.1f} ms {1e3 * theirs:9.1f} ms   ratio {theirs / mine:5.2f}{rate}",
        flush=True,
    )


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise (n,) float32 at 16 kHz."""
    samples = np.random.default_rng(seed).standard_normal(int(seconds * SAMPLE_RATE))
    return (0.1 * samples).astype(np.float32)


def mel(repeats: int) -> None:
    """Eight clips of 5 s."""
    clips = [noise(5.0, seed) for seed in range(8)]
    extractor = WhisperFeatureExtractor()
    ours = lambda: [log_mel(clip) for clip in clips]  # noqa: E731
    compare(
        "mel, 8 clips of 5 s, beside transformers",
        ours,
        lambda: extractor(clips, sampling_rate=SAMPLE_RATE, return_tensors="pt"),
        repeats,
    )
    if importlib.util.find_spec("whisper"):
        import whisper

        def theirs() -> None:
            for clip in clips:
                whisper.log_mel_spectrogram(whisper.pad_or_trim(clip))

        compare("mel, 8 clips of 5 s, beside openai-whisper", ours, theirs, repeats)


def models(preset: str, device: str, dtype: torch.dtype) -> tuple[Any, Any, QwenAudioProcessor]:
    """Ours and Qwen2-Audio with the same widths, depths and vocabulary."""
    processor = QwenAudioProcessor(byte_tokenizer())
    tok = processor.tokenizer
    with torch.device(device):
        torch.set_default_dtype(dtype)
        settings = config(
            preset,
            155_947 if preset == "qwen-audio-7b" else len(tok),
            audio_start_token_id=tok.audio_start_id,
            audio_end_token_id=tok.audio_end_id,
            audio_pad_token_id=tok.audio_pad_id,
            eos_token_id=tok.eos_token_id,
        )
        ours = QwenAudioForConditionalGeneration(settings).eval()
        audio: Any = settings.audio_config
        text: Any = settings.text_config
        other = Qwen2AudioForConditionalGeneration(
            Qwen2AudioConfig(
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
                audio_token_id=tok.audio_pad_id,
            )
        ).eval()
        torch.set_default_dtype(torch.float32)
    return ours, other, processor


def padded(clips: list[np.ndarray], device: str, dtype: torch.dtype) -> torch.Tensor:
    """Mels `(N, 80, 3000)` as the other side needs them."""
    features = WhisperFeatureExtractor()(clips, sampling_rate=SAMPLE_RATE, return_tensors="pt")
    return features["input_features"].to(device, dtype)


@torch.inference_mode()
def encoder(ours: Any, other: Any, device: str, dtype: torch.dtype, repeats: int) -> None:
    """One clip of 5 s, and eight of mixed lengths; the other side takes 30 s only."""
    for clips in ([noise(5.0)], [noise(s, i) for i, s in enumerate(MIXED)]):
        mels = [log_mel(clip) for clip in clips]
        lengths = torch.tensor([m.shape[-1] for m in mels], device=device)
        features = torch.zeros(len(mels), 80, int(lengths.max()), device=device, dtype=dtype)
        for row, m in enumerate(mels):
            features[row, :, : m.shape[-1]] = m
        whole = padded(clips, device, dtype)
        tower = other.model.audio_tower if hasattr(other, "model") else other.audio_tower
        name = f"encoder, {len(clips)} clip{'s of 1 to 14 s' if len(clips) > 1 else ' of 5 s'}"
        compare(
            name,
            lambda f=features, n=lengths: ours.audio_tower(f, n),
            lambda w=whole, t=tower: t(w),
            repeats,
            sum(len(clip) for clip in clips) / SAMPLE_RATE,
            "audio s",
        )


@torch.inference_mode()
def decode(
    ours: Any, other: Any, processor: QwenAudioProcessor, device: str, dtype: torch.dtype, repeats: int
) -> None:
    """128 greedy tokens after a clip of 5 s and a short question, at batch 1 and 8.

    Ours twice: transformers' `generate` on our model, and the token loop that all answers of the package come from.
    """
    settings = {
        "do_sample": False,
        "min_new_tokens": 128,
        "max_new_tokens": 128,
        "eos_token_id": processor.tokenizer.eos_token_id,
        "pad_token_id": processor.tokenizer.eos_token_id,
    }
    clip = noise(5.0)
    allowed = torch.ones(ours.config.text_config.vocab_size, dtype=torch.bool)
    allowed[[processor.tokenizer.special_id(name) for name in STOPS]] = False
    for size in (1, 8):
        batch = processor([[clip]] * size, [[Segment("What is heard?", False, False)]] * size).to(device)
        batch["input_features"] = batch["input_features"].to(dtype)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        mine = {k: v for k, v in batch.items() if k != "labels"}
        whole = padded([clip] * size, device, dtype)
        heard = torch.zeros(size, 3000, dtype=torch.long, device=device)
        heard[:, :500] = 1
        theirs = {
            "input_ids": ids,
            "attention_mask": mask,
            "input_features": whole,
            "feature_attention_mask": heard,
        }
        for cache in (None, "static") if device == "cuda" else (None,):
            compare(
                f"5 s of audio and 128 tokens, batch {size}, {cache or 'dynamic'} cache",
                lambda m=mine, c=cache: ours.generate(**m, **settings, cache_implementation=c),
                lambda t=theirs, c=cache: other.generate(**t, **settings, cache_implementation=c),
                repeats,
            )
        row = Row(ids[0].tolist(), 128, allowed, mels=[log_mel(clip)])
        compare(
            f"5 s of audio and 128 tokens, batch {size}, token loop",
            lambda r=row, n=size: decode_rows(ours, processor.tokenizer, [r] * n),
            lambda t=theirs: other.generate(**t, **settings),
            repeats,
        )
        # The same without audio, so that only decoding is compared.
        text = ids.clone()
        text[(text == processor.tokenizer.audio_pad_id)] = 65
        compare(
            f"decoding alone, 128 tokens, batch {size}",
            lambda t=text[:, -16:], m=mask[:, -16:]: ours.generate(input_ids=t, attention_mask=m, **settings),
            lambda t=text[:, -16:], m=mask[:, -16:]: other.generate(
                input_ids=t, attention_mask=m, **settings
            ),
            repeats,
            128 * size,
            "tokens",
        )
        row = Row(text[0, -16:].tolist(), 128, allowed)
        compare(
            f"decoding alone, 128 tokens, batch {size}, token loop",
            lambda r=row, n=size: decode_rows(ours, processor.tokenizer, [r] * n),
            lambda t=text[:, -16:], m=mask[:, -16:]: other.generate(
                input_ids=t, attention_mask=m, **settings
            ),
            repeats,
            128 * size,
            "tokens",
        )


def dialogue(
    ours: Any, other: Any, processor: QwenAudioProcessor, device: str, dtype: torch.dtype, repeats: int
) -> None:
    """First token of a second turn after 30 s of audio, which plain transformers reads and encodes again."""
    from qwen_audio.chat.cache import continue_dialogue
    from qwen_audio.inference.engine import Engine

    engine, tok = Engine(ours, processor), processor.tokenizer
    wave = noise(30.0)
    clip = log_mel(wave)
    first, _ = processor.encode_row([clip.shape[-1]], [Segment("What is heard?", False, False)])
    _, kept = continue_dialogue(engine, first, [clip], None, 8)
    second = [*kept.ids, *tok.encode_plain(" And then?")]
    theirs = {
        "input_ids": torch.tensor([second], device=device),
        "attention_mask": torch.ones(1, len(second), dtype=torch.long, device=device),
        "input_features": padded([wave], device, dtype),
        "feature_attention_mask": torch.ones(1, 3000, dtype=torch.long, device=device),
    }
    compare(
        "first token of the second turn",
        lambda: continue_dialogue(engine, second, [clip], kept, 1),
        lambda: other.generate(**theirs, max_new_tokens=1, do_sample=False, pad_token_id=tok.eos_token_id),
        repeats,
    )


def main() -> None:
    """Print one line for each comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="small", choices=PRESETS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--threads", type=int, default=0, help="torch threads (0: torch's default)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=SECTIONS)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    dtype = getattr(torch, given.dtype)
    wanted = (given.only,) if given.only else SECTIONS
    print(f"{'':58} {'ours':>12} {'other':>12}")
    if "mel" in wanted:
        mel(given.repeats)
    if wanted == ("mel",):
        return
    ours, other, processor = models(given.preset, given.device, dtype)
    if "encoder" in wanted:
        encoder(ours, other, given.device, dtype, given.repeats)
    if "decode" in wanted:
        decode(ours, other, processor, given.device, dtype, given.repeats)
    if "dialogue" in wanted:
        dialogue(ours, other, processor, given.device, dtype, given.repeats)


if __name__ == "__main__":
    main()

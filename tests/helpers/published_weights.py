"""A published Qwen-Audio directory of random weights, its names and configuration spelled out, for tests."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

TEXT, AUDIO, LAYERS = 48, 16, 2
BASE = [bytes([n]) for n in range(256)] + [b"he", b"ll", b"hell", b"hello", b" w"]
VOCABULARY = len(BASE) + 3522 + 7  # a few rows more than tokens, as published
START = len(BASE) + 3520
CONFIG = {
    "model_type": "qwen", "architectures": ["QWenLMHeadModel"], "vocab_size": VOCABULARY, "hidden_size": TEXT,
    "num_attention_heads": 3, "kv_channels": 16, "num_hidden_layers": LAYERS, "intermediate_size": 64, "seq_length": 64,
    "layer_norm_epsilon": 1e-5, "rotary_emb_base": 10000, "rotary_pct": 1.0, "use_dynamic_ntk": True,
    "use_logn_attn": True, "no_bias": True, "bf16": True, "torch_dtype": "bfloat16", "use_flash_attn": "auto",
    "audio": {"n_mels": 80, "n_ctx": 1500, "n_state": AUDIO, "n_head": 2, "n_layer": LAYERS, "output_dim": TEXT,
              "avg_pool": True, "add_audio_bos_eos_token": True, "audio_start_id": START},
}  # fmt: skip
GENERATION = {"chat_format": "chatml", "do_sample": True, "top_k": 0, "top_p": 0.5, "max_window_size": 6144}


def positions(length: int, width: int) -> torch.Tensor:
    """Whisper's table."""
    half = width // 2
    angle = torch.arange(length)[:, None] * torch.exp(
        -torch.log(torch.tensor(1e4)) / (half - 1) * torch.arange(half)
    )
    return torch.cat([angle.sin(), angle.cos()], 1)


def state(dtype: torch.dtype = torch.bfloat16) -> dict[str, torch.Tensor]:
    """Random published weights."""
    torch.manual_seed(3)
    a, t, audio = AUDIO, TEXT, "transformer.audio."
    shapes = {
        "transformer.wte.weight": (VOCABULARY, t),
        "lm_head.weight": (VOCABULARY, t),
        "transformer.ln_f.weight": (t,),
    }
    for n in range(LAYERS):
        h = f"transformer.h.{n}."
        shapes |= {h + "ln_1.weight": (t,), h + "ln_2.weight": (t,), h + "attn.c_attn.weight": (3 * t, t),
                   h + "attn.c_attn.bias": (3 * t,), h + "attn.c_proj.weight": (t, t), h + "mlp.w1.weight": (32, t),
                   h + "mlp.w2.weight": (32, t), h + "mlp.c_proj.weight": (t, 32)}  # fmt: skip
        b = f"{audio}blocks.{n}."
        for name in ("attn.query", "attn.key", "attn.value", "attn.out"):
            shapes |= {b + name + ".weight": (a, a)} | ({} if "key" in name else {b + name + ".bias": (a,)})
        for name in ("attn_ln", "mlp_ln"):
            shapes |= {b + name + ".weight": (a,), b + name + ".bias": (a,)}
        shapes |= {b + "mlp.0.weight": (4 * a, a), b + "mlp.0.bias": (4 * a,), b + "mlp.2.weight": (a, 4 * a),
                   b + "mlp.2.bias": (a,)}  # fmt: skip
    shapes |= {audio + "conv1.weight": (a, 80, 3), audio + "conv1.bias": (a,), audio + "conv2.weight": (a, a, 3),
               audio + "conv2.bias": (a,), audio + "ln_post.weight": (a,), audio + "ln_post.bias": (a,),
               audio + "proj.weight": (t, a), audio + "proj.bias": (t,),
               audio + "audio_bos_eos_token.weight": (2, t)}  # fmt: skip
    tensors = {name: 0.3 * torch.randn(shape) for name, shape in shapes.items()}
    tensors[audio + "positional_embedding"] = positions(1500, a)
    tensors["transformer.rotary_emb.inv_freq"] = 1 / 10000 ** (torch.arange(0, 16, 2) / 16)
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def write(folder: Path, tensors: dict[str, torch.Tensor], *, shards: int = 1, pickled: bool = False) -> Path:
    """A directory of these weights in so many shards, safetensors or `.bin`, with configuration and tokenizer."""
    folder.mkdir(parents=True)
    stem, kind = ("pytorch_model", "bin") if pickled else ("model", "safetensors")
    weight_map = {}
    for n in range(shards):
        part = dict(list(tensors.items())[n::shards])
        name = f"{stem}.{kind}" if shards == 1 else f"{stem}-{n + 1:05d}-of-{shards:05d}.{kind}"
        (torch.save if pickled else save_file)(part, folder / name)
        weight_map |= dict.fromkeys(part, name)
    if shards > 1:
        (folder / f"{stem}.{kind}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "generation_config.json").write_text(json.dumps(GENERATION))
    lines = [base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(BASE)]
    (folder / "qwen.tiktoken").write_bytes(b"".join(lines))
    return folder

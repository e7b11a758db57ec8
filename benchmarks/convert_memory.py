"""Peak memory and time of converting a large published checkpoint, and of converting it back.

    python benchmarks/convert_memory.py --layers 1 --form safetensors --folder /tmp

A published-style checkpoint of random bfloat16 weights is written in shards of 2 GB, with the widths of the published
model and `--layers` of its 32 language-model layers (0.4 GB each, besides 2.6 GB of embeddings and 1.3 GB of encoder).
Tensors go through memory one at a time, so the peak depends on the largest of them, which has its published size at
any depth. The conversion runs in a process of its own; its peak resident memory (mapped files included) is counted by
Linux. Prints one JSON line for each direction; everything is deleted at the end, also after a failure.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qwen_audio.format import tags
from qwen_audio.model import QwenAudioConfig
from qwen_audio.model.conversion import names
from qwen_audio.model.conversion.files import Output, TensorInfo, open_weights, write_weights
from qwen_audio.model.conversion.published_config import published_config
from qwen_audio.model.presets import config as preset

SHARD_BYTES = 2 * 10**9
# The peak is read inside: the value that the system reports to a parent begins with the parent's own peak.
CONVERT = """
import json, re, resource, sys
from pathlib import Path
from qwen_audio.model.convert import convert
convert(sys.argv[1], sys.argv[2], to=sys.argv[3])
used = resource.getrusage(resource.RUSAGE_SELF)
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(json.dumps({"cpu_seconds": round(used.ru_utime + used.ru_stime, 1), "peak_mib": round(peak / 1024)}))
"""


def random_weight(shape: tuple[int, ...], block: Tensor) -> Tensor:
    """A tensor filled with one block of random numbers over and over."""
    count = math.prod(shape)
    return block.repeat(-(-count // len(block)))[:count].view(shape)


def write_published(folder: Path, config: QwenAudioConfig, form: str) -> int:
    """Write a published directory of random weights; returns its bytes."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(published_config(folder, config, torch.bfloat16)))
    audio: Any = config.audio_config
    text: Any = config.text_config
    links = names.published_links(audio.encoder_layers, text.num_hidden_layers)
    shapes = names.their_shapes(links, names.shapes_of(config)[0])
    block = torch.randn(1_000_003, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    outputs = [
        Output(name, TensorInfo(torch.bfloat16, shape), lambda shape=shape: random_weight(shape, block))  # type: ignore[misc]
        for name, shape in shapes.items()
    ]
    if form == "safetensors":
        write_weights(folder, outputs, SHARD_BYTES)
    else:
        shards: list[dict[str, Tensor]] = [{}]
        weight_map: dict[str, str] = {}
        for output in outputs:
            if sum(tensor.nbytes for tensor in shards[-1].values()) + output.nbytes > SHARD_BYTES:
                torch.save(shards[-1], folder / f"pytorch_model-{len(shards):05d}.bin")
                shards[-1].clear()
                shards.append({})
            shards[-1][output.name] = output.make().clone()
            weight_map[output.name] = f"pytorch_model-{len(shards):05d}.bin"
        torch.save(shards[-1], folder / f"pytorch_model-{len(shards):05d}.bin")
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return sum(output.nbytes for output in outputs)


def write_vocabulary(path: Path, tokens: int) -> None:
    """Write a tiktoken file of `tokens` tokens: the bytes, then pairs and triples of letters that text never has."""
    alphabet = range(128, 256)
    pairs = [bytes([a, b]) for a in alphabet for b in alphabet]
    triples = (pair + bytes([c]) for c in alphabet for pair in pairs)
    ranked = itertools.chain((bytes([n]) for n in range(256)), pairs, triples)
    with path.open("wb") as file:
        for rank, token in enumerate(itertools.islice(ranked, tokens)):
            file.write(base64.b64encode(token) + b" %d\n" % rank)


def measure(source: Path, target: Path, to: str) -> dict[str, Any]:
    """Convert in a process of its own; returns its wall time, processor time and peak memory."""
    started = time.monotonic()
    command = [sys.executable, "-c", CONVERT, source, target, to]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {
        "to": to,
        "seconds": round(time.monotonic() - started, 1),
        **json.loads(done.stdout.splitlines()[-1]),
    }


def same_tensors(a: Path, b: Path) -> bool:
    """True if two directories hold the same tensors; those that the second one computes are not compared."""
    first, second = open_weights(a), open_weights(b)
    return all(torch.equal(first.read(name), second.read(name)) for name in first.info)


def main() -> None:
    """Run as the module's docstring says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=1, help="of the language model")
    parser.add_argument("--form", choices=("safetensors", "bin"), default="safetensors")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where; three times the checkpoint is needed"
    )
    arguments = parser.parse_args()
    config = preset("qwen-audio-7b")
    config.text_config.num_hidden_layers = arguments.layers
    config.text_config.layer_types = config.text_config.layer_types[: arguments.layers]
    work = Path(tempfile.mkdtemp(prefix="convert-memory-", dir=arguments.folder))
    try:
        size = write_published(work / "source", config, arguments.form)
        write_vocabulary(
            work / "source" / "qwen.tiktoken", config.audio_start_token_id - len(tags.SPECIAL_TOKENS) + 2
        )
        facts = {"form": arguments.form, "gigabytes": round(size / 1e9, 2)}
        print(json.dumps(facts | measure(work / "source", work / "ours", "ours")), flush=True)
        print(json.dumps(facts | measure(work / "ours", work / "back", "published")), flush=True)
        print(json.dumps({"same_tensors": same_tensors(work / "source", work / "back")}))
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()

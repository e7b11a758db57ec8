"""One process of a training run.

torchrun --nproc-per-node 8 -m qwen_audio.train CONFIG.yaml --set key=value
"""

from __future__ import annotations

import sys

from qwen_audio.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])

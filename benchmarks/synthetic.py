"""Speed of the synthetic world: seconds of audio for a second of one core, for each task.

    python benchmarks/synthetic.py                    all tasks, 8 examples each after 4 for the caches
    python benchmarks/synthetic.py --tasks asr,music_qa --count 50

Time is process time (user and system, all threads), so other work on the machine counts little. Run it with
OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.synthetic.world import WORLD, WorldGenerator


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the synthetic world.")
    parser.add_argument("--tasks", help="slugs separated by commas; all if absent")
    parser.add_argument("--count", type=int, default=8, help="examples that are timed, of each task")
    parser.add_argument("--warm-up", type=int, default=4, help="examples before that")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    ratios, audio, cpu = [], 0.0, 0.0
    print("| task | audio s | core s | audio s per core s |\n|---|---|---|---|")
    for task in options.tasks.split(",") if options.tasks else WORLD:
        generator = WorldGenerator([task])
        rng = np.random.default_rng([options.seed, 0])
        for _ in range(options.warm_up):
            generator.sample(rng)
        started, heard = time.process_time(), 0.0
        for _ in range(options.count):
            heard += sum(len(wave) for wave in generator.sample(rng).waves) / SAMPLE_RATE
        taken = time.process_time() - started
        ratios.append(heard / taken)
        audio, cpu = audio + heard, cpu + taken
        print(f"| `{task}` | {heard:.1f} | {taken:.2f} | {heard / taken:.0f} |", flush=True)
    print(
        f"\nMean of the tasks {statistics.mean(ratios):.0f}, harmonic mean {statistics.harmonic_mean(ratios):.0f}, "
    )
    print(f"lowest {min(ratios):.0f}; all audio over all time {audio / cpu:.0f}.")


if __name__ == "__main__":
    main()

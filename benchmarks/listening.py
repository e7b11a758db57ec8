"""Independent measurements of the labels of the synthetic world, as a Markdown table.

    python benchmarks/listening.py                     all rows, a few minutes
    python benchmarks/listening.py --count 100 --only note_pitch,audio_qa

No measurement uses the generator of the audio: pitch comes from autocorrelation, times from energy, classes from linear
discriminants trained on other examples, words from a recogniser. They err too, so a row is a lower bound.
"""

from __future__ import annotations

import argparse
import importlib

from listening_row import Row

# Each has `rows(count, seed)`; one that is missing, or whose packages are, is left out and named.
PARTS = ("listening_speech", "listening_sound", "listening_music")


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| task | measurement | agreement | n |", "|---|---|---|---|"]
    lines += [f"| `{row.task}` | {row.measurement} | {row.agreement} | {row.n} |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Labels of the synthetic world against measurements.")
    parser.add_argument("--count", type=int, default=200, help="examples of a measurement, about")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="tasks separated by commas; all if absent")
    options = parser.parse_args()
    wanted = set(options.only.split(",")) if options.only else None
    rows: list[Row] = []
    for name in PARTS:
        try:
            part = importlib.import_module(name)
        except ImportError as error:
            print(f"left out: {name} ({error})")
            continue
        rows += [
            row for row in part.rows(options.count, options.seed) if wanted is None or row.task in wanted
        ]
    print(table(rows))


if __name__ == "__main__":
    main()

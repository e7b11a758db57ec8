"""Wall time and peak memory of a command and all its processes.

    python benchmarks/resources.py -- python -c "import qwen_audio"
    python benchmarks/resources.py -- qwen-audio demo

Memory is the proportional set size of the process tree (shared pages counted once), sampled 20 times a second, so a
shorter peak can be missed. Linux; elsewhere the resident set sizes are added up.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import psutil


def tree_bytes(root: psutil.Process) -> int:
    """Memory of a process and its descendants, in bytes."""
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            info = process.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it ended between the listing and the reading
        total += getattr(info, "pss", info.rss)
    return total


def main(command: list[str]) -> int:
    """Run a command, print one JSON line, return the command's exit code."""
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    started = time.monotonic()
    child = psutil.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0
    while child.poll() is None:
        try:
            peak = max(peak, tree_bytes(child))
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    code = child.wait()
    seconds = time.monotonic() - started
    print(
        json.dumps(
            {"command": command, "exit": code, "seconds": round(seconds, 2), "peak_mib": round(peak / 2**20)}
        )
    )
    return code


if __name__ == "__main__":
    arguments = sys.argv[1:]
    raise SystemExit(main(arguments[1:] if arguments[:1] == ["--"] else arguments))

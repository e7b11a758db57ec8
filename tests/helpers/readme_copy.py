"""A folder that looks like a checkout, for commands of the documentation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from paths import ROOT


def run_in_copy(tmp_path, command):
    """Run in a folder that looks like a checkout but gets whatever the commands write."""
    for name in ("qwen_audio", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    scripts = str(Path(sys.executable).parent)
    env = {**os.environ, "PATH": scripts + os.pathsep + os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600)

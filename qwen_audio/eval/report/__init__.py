"""Runs as a report to read: report.html (one file, no network), report.md and report.json.

from qwen_audio.eval.report import write_report
from qwen_audio.eval.run_folder import load_run
write_report([load_run("out/run")], "out/run")
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qwen_audio.eval.run_folder import Run
from qwen_audio.files import write_whole

if TYPE_CHECKING:
    from qwen_audio.eval.groups import Group

__all__ = ["write_report"]


def write_report(
    runs: Sequence[Run], output: str | os.PathLike[str], groups: Sequence[Sequence[Group]] | None = None
) -> None:
    """Write report.html, report.md and report.json of runs into a folder, made when missing.

    groups: the scores of each run, one `Group` a result that has answers; None scores the answers.
    Recordings are read from where the examples say; one that is gone leaves its example without a player.

    Raises:
        ValueError: no run, too many, one without a result, or a benchmark that is another task in another run.
    """
    # Late: they bring transformers, and a folder that is no run is refused (run_folder.load_run) before.
    from qwen_audio.eval.report.contents import collect
    from qwen_audio.eval.report.page import page
    from qwen_audio.eval.report.plain import as_json, as_markdown

    contents = collect(runs, groups)
    texts = {
        "report.json": json.dumps(as_json(contents), ensure_ascii=False, indent=1) + "\n",
        "report.md": as_markdown(contents),
        "report.html": page(contents),
    }
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_whole(folder / name, text.encode(errors="backslashreplace"))

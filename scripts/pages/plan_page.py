"""Generated tables of pages that show plans: the output below each `qwen-audio plan` command of a page.

python scripts/pages/plan_page.py docs/scale.md     rewrites them
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from typer.testing import CliRunner

from qwen_audio.cli.main import app

_PLAN = re.compile(
    r"(?P<command>```bash\n(?P<line>qwen-audio plan [^\n]*)\n```\n)\n.*?(?P<end><!-- end of plan -->)", re.S
)


def commands(text: str) -> list[str]:
    """The `qwen-audio plan` commands of a page whose tables follow."""
    return [match["line"] for match in _PLAN.finditer(text)]


def filled(text: str) -> str:
    """A page with the tables of each plan as the command prints them now."""
    return _PLAN.sub(lambda m: f"{m['command']}\n{_printed(m['line'])}\n\n{m['end']}", text)


def _printed(line: str) -> str:
    done = CliRunner().invoke(app, shlex.split(line)[1:])
    if done.exit_code:
        raise ValueError(f"the command {line!r} of the page fails: {done.output.strip() or done.exception}")
    return str(done.output.strip())


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")

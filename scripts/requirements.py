"""The packages of an extra without their upper bounds, one a line, for tests with newer versions than any tried.

python scripts/requirements.py dev
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def requirements(extra: str) -> list[str]:
    """The project's own requirements and those of an extra, with lower bounds and markers only."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    if extra not in optional:
        raise SystemExit(f"error: there is no extra {extra!r}: use one of {', '.join(optional)}")
    wanted, extras = list(project["dependencies"]), [extra]
    for name in extras:  # grows: an extra may name others
        for line in optional[name]:
            own = re.fullmatch(rf"{re.escape(project['name'])}\[(.+)\]", line)
            if own:
                extras += own[1].split(",")
            else:
                wanted.append(line)
    return [re.sub(r",\s*<[^;,\s]+", "", line) for line in wanted]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    print("\n".join(requirements(sys.argv[1])))

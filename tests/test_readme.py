"""Commands and code of the README and of some pages run as they stand there (installation aside: CI does that)."""

import re
import sys

import pytest
from paths import ROOT
from readme_copy import run_in_copy

README = (ROOT / "README.md").read_text(encoding="utf-8")
# Pages whose commands run as well; the others only show what commands print.
NAMES = ("training", "evaluation", "metrics", "transcribe", "editing", "chat", "data", "sft")
# Blocks with one of these are not run: they install, measure for long, need a server or recordings of one's own.
NOT_RUN = ("pip install", "benchmarks/", "--endpoint", "--real clips/")
# The Python of these pages needs a model that is not in the package: test_chat.py makes one and runs it.
OTHER_PYTHON = ("chat",)
DOCS = {name: (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in NAMES}
PAGES = [README, *DOCS.values()]
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(r"```bash\n(.*?)```", page, flags=re.S)
    if not any(part in block for part in NOT_RUN)
]
PYTHON = [
    block
    for page in (README, *(text for name, text in DOCS.items() if name not in OTHER_PYTHON))
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.S)
]


@pytest.mark.parametrize("block", BLOCKS, ids=[b.splitlines()[0][:40] for b in BLOCKS])
def test_commands(tmp_path, block):
    done = run_in_copy(tmp_path, ["bash", "-euo", "pipefail", "-c", block])
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() or done.stderr.strip()


@pytest.mark.parametrize("code", PYTHON)
def test_python(tmp_path, code):
    done = run_in_copy(tmp_path, [sys.executable, "-c", code])
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.splitlines()) == code.count("print(")


def test_there_is_something_to_run():
    assert len(BLOCKS) >= 3 and len(PYTHON) >= 3
    assert "pip install . && qwen-audio demo" in README
    assert "scripts/check" in README


def test_every_file_the_readme_names_is_there():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target

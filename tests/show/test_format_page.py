"""docs/format.md is what the code writes; recordings go from file to token ids and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from filling import fill
from format_page import WALKED, generated_parts, main, walk
from paths import ROOT

from qwen_audio.data.manifest import read_manifest
from qwen_audio.format.task_examples import EXAMPLES
from qwen_audio.format.task_table import TASKS

PAGE = ROOT / "docs" / "format.md"
REMEDY = "run: python scripts/pages/format_page.py docs/format.md"


def test_the_page_is_up_to_date(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert fill(page, generated_parts()) == page, REMEDY
    copy = tmp_path / "format.md"
    copy.write_text(page.replace("hello", "bye"), encoding="utf-8")
    main([str(copy)])
    assert copy.read_text(encoding="utf-8") == page


def test_every_task_is_on_the_page() -> None:
    assert list(EXAMPLES) == list(TASKS)
    parts = generated_parts()
    for name in ("tasks", "questions"):
        assert all(parts[name].count(f"| `{slug}` |") == 1 for slug in TASKS)
    assert all(f"\n{slug} (" in parts["sequences"] for slug in TASKS)


def test_a_page_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="one pair <!-- tasks --> and <!-- end tasks -->"):
        fill("# A page", {"tasks": "x"})
    assert fill("<!-- a -->\nold\\1\n<!-- end a -->", {"a": "new\\1"}) == "<!-- a -->\nnew\\1\n<!-- end a -->"


def test_three_recordings_from_file_to_token_ids_and_back(shared: Path) -> None:
    rows = {item.id: item for item in read_manifest(shared / "corpus" / "valid.jsonl")}
    text = walk(rows[name] for name in WALKED)
    assert text.count("\nback ") == 3
    page = PAGE.read_text(encoding="utf-8")
    assert fill(page, {"walk": text}) == page, f"{REMEDY} --walk MANIFEST"
    # The span is one id for 40 ms, between its two ends: 7264 samples are 45 frames of 10 ms.
    assert "ids       3776 464 x 11 3777 466 472" in text

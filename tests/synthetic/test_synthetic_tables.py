"""The tables of what is said: each is listed, and their words change only where this file does."""

from __future__ import annotations

import hashlib
from types import ModuleType

import pytest

from qwen_audio.synthetic.speech import commands, splits, tables, translation_frames, translation_words, words

# Tables of text.py that are no templates: patterns of words, what is never said, and words of the vocabulary.
NOT_LISTED = {"_PATTERNS", "LANGUAGES", "_NUMBERS", "_SKIP"}


def holds_text(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(holds_text, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(holds_text, value))
    return isinstance(value, str)


@pytest.mark.parametrize("module", [translation_frames, translation_words, commands, tables, words])
def test_every_table_is_listed_in_order(module: ModuleType) -> None:
    left_out = {"SPOKEN_TABLES", *(NOT_LISTED if module is words else ())}
    assert left_out <= set(vars(module))
    found = {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("__") and name not in left_out and holds_text(value)
    }
    listed = [next((n for n, v in found.items() if v is table), table) for table in module.SPOKEN_TABLES]
    assert listed == list(found)


def test_a_change_of_the_tables_is_meant() -> None:
    """Words of no table are kept for held-out texts (`unseen_words`), so any change of a table changes the data."""
    assert hashlib.sha256(splits._tables().encode()).hexdigest()[:16] == "c9d199b415f1e619"

"""A row of the table of `benchmarks/listening.py`."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """Result of an independent measurement of the labels of a task, on `n` examples."""

    task: str
    measurement: str
    agreement: str
    n: int

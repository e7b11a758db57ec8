"""A score that cannot be computed here."""

from __future__ import annotations


class MeasureMissing(RuntimeError):
    """What a measure needs (a program, a model, a package, answers of some kind) is not there.

    The message is one sentence that says what, and what to do. Such a score is left out and named, never 0.
    """

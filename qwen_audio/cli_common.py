"""Parts of the command line that several verbs share."""

from __future__ import annotations

import sys


def complain(error: Exception) -> None:
    """Say on stderr, in one sentence, what went wrong."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        message = f"{error.filename}: {error.strerror}"
    else:
        message = " ".join(str(error).split())
    print(f"error: {message}", file=sys.stderr)

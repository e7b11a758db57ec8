"""Options and output that several verbs of the command line share."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qwen_audio.files import write_whole

if TYPE_CHECKING:
    from qwen_audio.api import QwenAudio
    from qwen_audio.results.results import Result

Model = Annotated[str | None, typer.Option(help="Checkpoint directory; the embedded model if absent.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda ...; a GPU if there is one, if absent.")]
Format = Annotated[str, typer.Option("--format", help="text or json.")]
Output = Annotated[Path | None, typer.Option(help="File to write instead of the screen.")]


def load_model(model: str | None, device: str | None) -> QwenAudio:
    """The model of `--model` and `--device`."""
    from qwen_audio.api import load  # not at the top: it brings torch, and --help needs none

    return load(model, device=device)


def check_format(style: str, known: Sequence[str] = ("text", "json")) -> None:
    """ValueError for a `--format` that the verb does not write."""
    if style not in known:
        raise ValueError(f"--format {style} is not known here: use {', '.join(known[:-1])} or {known[-1]}")


def write_results(
    results: Sequence[tuple[str, Result]], style: str, output: Path | None, *, several: bool = False
) -> None:
    """Named results on the screen or, whole or not at all, in a file; their problems on stderr."""
    from qwen_audio.results.results import format_results  # not at the top: it brings numpy

    text = format_results(results, style, several=several)
    if output is None:
        sys.stdout.write(text)
    else:
        write_whole(output, text, parents=True)
    for name, result in results:
        print_notes(name, result)


def print_notes(name: str, result: Result) -> None:
    """The problems of a result, each a line on stderr."""
    for problem in getattr(result, "problems", []):
        print(f"note: {name}: {problem}", file=sys.stderr)


def complain(error: Exception) -> None:
    """Say on stderr, in one sentence, what went wrong."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        message = f"{error.filename}: {error.strerror}"
    else:
        message = " ".join(str(error).split())
    print(f"error: {message}", file=sys.stderr)

"""The verbs of the command line that find words and sounds in a recording and edit it by them: `ground`, `edit`.

Imports that take long happen inside the functions, as in all of the command line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from qwen_audio.cli.common import Device, Format, Model, check_format, load_model
from qwen_audio.files import write_whole

Recording = Annotated[str, typer.Argument(help="Audio file.", show_default=False)]
Language = Annotated[str | None, typer.Option(help="Code of the language; predicted if absent.")]


def ground(
    audio: Recording,
    query: Annotated[str, typer.Argument(help="For example: find the word seven")],
    style: Format = "text",
    language: Language = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Say from when to when something is heard: start, end and name, a line each."""
    from qwen_audio.editing import ground as find

    check_format(style)
    found = find(load_model(model, device), audio, query, language)
    print(found.text if style == "text" else json.dumps(found.to_dict(), ensure_ascii=False, indent=2))


def edit(
    audio: Recording,
    instruction: Annotated[
        str, typer.Argument(help="For example: remove the word seven; bleep from 1.2 to 1.8")
    ],
    output: Annotated[
        Path | None, typer.Option(help="File to write (wav, flac, ogg, mp3); NAME.edited.wav if absent.")
    ] = None,
    edits: Annotated[
        Path | None, typer.Option("--list", help="Write the list of edits as JSON, too.")
    ] = None,
    language: Language = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Change a recording by words, sounds or times: remove, keep, mute, bleep, swap. The file itself stays."""
    from qwen_audio.editing import edit as change
    from qwen_audio.editing import read_instruction
    from qwen_audio.editing.tool import writable_format

    read_instruction(instruction)  # before a model is loaded for nothing
    target = output or Path(audio).with_suffix(".edited.wav")
    writable_format(target)
    if target.exists() and (output is None or target.samefile(audio)):
        raise ValueError(f"{target} exists already: name another file with --output")
    if edits is not None:
        _check_list(edits, Path(audio), target)
    done = change(load_model(model, device), audio, instruction, language)
    done.save(target)
    if edits is not None:
        write_whole(edits, json.dumps(done.to_dict(), ensure_ascii=False, indent=2) + "\n", parents=True)
    for problem in done.problems:
        print(f"note: {audio}: {problem}", file=sys.stderr)
    print(done.text)
    print(f"written: {target} ({done.samples.shape[1] / done.rate:.2f} s)")


def _check_list(edits: Path, audio: Path, target: Path) -> None:
    """ValueError where the list would be written over the recording, the edited one, or a folder."""
    for other, name in ((audio, "the recording"), (target, "the edited recording")):
        if edits.resolve() == other.resolve() or (
            edits.exists() and other.exists() and edits.samefile(other)
        ):
            raise ValueError(f"--list {edits} is {name}: name another file")
    if edits.is_dir():
        raise ValueError(f"--list {edits} is a folder: name a file in it")

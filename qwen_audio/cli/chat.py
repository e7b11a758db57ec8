"""The verb `chat` of the command line.

Imports that take long happen inside the functions, as in all of the command line.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qwen_audio.cli.common import Device, Model, load_model

if TYPE_CHECKING:
    from qwen_audio.cli.terminal import Terminal


def chat(
    audio: Annotated[list[str] | None, typer.Argument(help="Recordings to begin with.")] = None,
    model: Model = None,
    mode: Annotated[
        str,
        typer.Option(
            help="chat: a dialogue. questions: each one by itself, for models not tuned on dialogues. "
            "auto: what the model's config.json says: questions for the embedded model."
        ),
    ] = "auto",
    load: Annotated[Path | None, typer.Option(help="Go on with a saved dialogue.")] = None,
    system: Annotated[str | None, typer.Option(help="System message of a new dialogue.")] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Take the likeliest word each time.")] = False,
    device: Device = None,
) -> None:
    """Talk about recordings in the terminal; /help says how."""
    from qwen_audio.chat.dialogue import Dialogue
    from qwen_audio.chat.questions import Questions
    from qwen_audio.cli.terminal import Terminal
    from qwen_audio.inference.sampling import CHAT

    if mode not in ("auto", "chat", "questions"):
        raise ValueError(f"--mode {mode} is not known: use auto, chat or questions")
    loaded = load_model(model, device)
    alone = mode == "questions" or (mode == "auto" and not loaded.model.config.dialogues)
    dialogue: Dialogue = Questions(loaded) if alone else loaded.chat(sampling=None if greedy else CHAT)
    if system is not None:
        dialogue.system = system
    terminal = Terminal(loaded, dialogue, _show)
    person = sys.stdin.isatty()
    if person:
        _line_editing()
        kind = "each question is answered by itself" if dialogue.alone else "a dialogue"
        print(
            f"model: {loaded.name} ({kind}). Write or drag in the path of a recording, then ask. /help for more."
        )
    if load is not None:
        terminal.load(load)
    for path in audio or []:
        terminal.add(Path(path))
    _converse(terminal, "> " if person else "")


def _converse(terminal: Terminal, prompt: str) -> None:
    """Hand over lines until there are no more. Ctrl-C drops the line that is typed; without a prompt it ends."""
    from qwen_audio.cli.terminal import Quit

    stopped = False
    while True:
        try:
            if stopped:  # printed here, where another Ctrl-C is caught as well
                stopped = False
                print()
            terminal.handle(input(prompt))
        except (EOFError, Quit):
            return
        except KeyboardInterrupt:
            if not prompt:
                return
            stopped = True


def _show(text: str) -> None:
    # A terminal obeys escape codes; none may come from a file name or a model.
    sys.stdout.write("".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in text))
    sys.stdout.flush()


def _line_editing() -> None:
    """Arrow keys and earlier lines at the prompt, where the platform has them."""
    try:
        import readline
    except ImportError:
        return
    readline.set_auto_history(True)
    readline.parse_and_bind("tab: complete")
    readline.set_completer_delims(" \t\n\"'")

"""The verbs that ask a model about recordings of at most 30 s: `ask`, `caption`, `classify`; and `demo`, `info`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qwen_audio.cli.common import (
    Device,
    Format,
    Model,
    Output,
    check_format,
    complain,
    load_model,
    write_results,
)

if TYPE_CHECKING:
    from qwen_audio.results.results import Result

Inputs = Annotated[list[str], typer.Argument(help="Audio files, each at most 30 s.", show_default=False)]


def ask(
    audio: Inputs,
    question: Annotated[str, typer.Option("--question", "-q", help="What to ask.")],
    style: Format = "text",
    output: Output = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Answer a question about a recording, or about several together."""
    check_format(style)
    answer = load_model(model, device).ask(list(audio), question)
    write_results([(" ".join(audio), answer)], style, output)


def caption(
    audio: Inputs, style: Format = "text", output: Output = None, model: Model = None, device: Device = None
) -> None:
    """Describe each recording in one sentence."""
    check_format(style)
    loaded = load_model(model, device)
    _answer_all(audio, loaded.caption, style, output)


def classify(
    audio: Inputs,
    labels: Annotated[str, typer.Option(help="The possible answers, separated by commas.")],
    question: Annotated[str | None, typer.Option(help='By default "Which sound event is heard?".')] = None,
    style: Format = "text",
    output: Output = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Say which of the given labels fits each recording, with probabilities."""
    check_format(style)
    loaded = load_model(model, device)
    names = labels.split(",")
    _answer_all(audio, lambda path: loaded.classify(path, names, question), style, output)


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("qwen-audio-demo"),
    model: Model = None,
    device: Device = None,
) -> None:
    """Play the whole story on the bundled clips: what went in, the truth, and what came out."""
    from qwen_audio.show.demo import run_demo

    run_demo(load_model(model, device), output)


def info(model: Model = None, device: Device = None) -> None:
    """Say what is installed: version, model, sizes, tasks."""
    import qwen_audio
    from qwen_audio.format.tasks import TASKS

    loaded = load_model(model, device)
    network, config = loaded.model, loaded.model.config
    count = sum(parameter.numel() for parameter in network.parameters())
    encoder = sum(parameter.numel() for parameter in network.audio_tower.parameters())
    print(f"qwen-audio {qwen_audio.__version__}")
    print(f"model: {loaded.name} ({loaded.folder}), weights {loaded.digest()}")
    print(f"parameters: {count:,}, of which the audio encoder {encoder:,}")
    print(f"vocabulary: {config.text_config.vocab_size:,} rows; {network.dtype} on {network.device}")
    print(f"tasks of the format: {', '.join(TASKS)}")


def _answer_all(
    paths: Sequence[str], answer: Callable[[str], Result], style: str, output: Path | None
) -> None:
    """Answer for each input; inputs that fail are named on stderr, the others are still written."""
    results: list[tuple[str, Result]] = []
    failed = 0
    for path in paths:
        try:
            results.append((path, answer(path)))
        except (ValueError, OSError) as error:
            if len(paths) == 1:
                raise
            failed += 1
            complain(error)
    if results:
        write_results(results, style, output, several=len(paths) > 1)
    if failed:
        raise typer.Exit(2)

"""The command line: one function for each verb of `qwen-audio`.

    qwen-audio transcribe speech.wav --format srt --output speech.srt

Heavy imports happen inside the verbs, so that `--help` is instant. A mistake in the input ends with one
sentence on stderr and exit code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qwen_audio import cli_chat, cli_data, cli_edit, cli_eval, cli_plan, cli_sft, cli_transcribe
from qwen_audio.cli_common import complain
from qwen_audio.packages import PackageError, explain

if TYPE_CHECKING:
    from qwen_audio.api import QwenAudio
    from qwen_audio.results import Result

app = typer.Typer(
    help="Ask recordings: transcribe, ask, caption, classify; train and evaluate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cli_transcribe.register(app)
cli_data.register(app)
cli_sft.register(app)
cli_plan.register(app)
cli_eval.register(app)
cli_edit.register(app)
cli_chat.register(app)

Inputs = Annotated[list[str], typer.Argument(help="Audio files, each at most 30 s.", show_default=False)]
Model = Annotated[str | None, typer.Option(help="Checkpoint directory; the embedded model if absent.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda ...; a GPU if there is one, if absent.")]
Format = Annotated[str, typer.Option("--format", help="text or json.")]
Output = Annotated[Path | None, typer.Option(help="File to write instead of the screen.")]


@app.command()
def ask(
    audio: Inputs,
    question: Annotated[str, typer.Option("--question", "-q", help="What to ask.")],
    style: Format = "text",
    output: Output = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Answer a question about a recording, or about several together."""
    _check_style(style, ("text", "json"))
    answer = _load(model, device).ask(list(audio), question)
    _write([(" ".join(audio), answer)], style, output)


@app.command()
def caption(
    audio: Inputs, style: Format = "text", output: Output = None, model: Model = None, device: Device = None
) -> None:
    """Describe each recording in one sentence."""
    _check_style(style, ("text", "json"))
    loaded = _load(model, device)
    _answer_all(audio, loaded.caption, style, output)


@app.command()
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
    _check_style(style, ("text", "json"))
    loaded = _load(model, device)
    names = labels.split(",")
    _answer_all(audio, lambda path: loaded.classify(path, names, question), style, output)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML file of a training stage.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="key=value, over the file.")] = None,
) -> None:
    """Train a model as a YAML file says."""
    from qwen_audio.train.main import train as run_training

    run_training(config, overrides or [])


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training run, or of one checkpoint.")],
    target: Annotated[Path, typer.Argument(help="Folder to write.")],
    dtype: Annotated[str, typer.Option(help="float16, bfloat16 or float32.")] = "float16",
    ema: Annotated[
        bool, typer.Option("--ema", help="The running mean of the weights, if the run kept one.")
    ] = False,
) -> None:
    """Write the newest checkpoint of a training run as a model to use."""
    from qwen_audio.train.export import export as run_export

    print(f"written: {run_export(run, target, dtype, ema)}")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="Published, Whisper or language model; or a model of ours.")],
    target: Annotated[Path, typer.Argument(help="Folder to write.")],
    to: Annotated[str, typer.Option(help="ours, or published for a model of ours.")] = "ours",
    text_model: Annotated[
        Path | None, typer.Option(help="Language model that joins a Whisper in a new model.")
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="qwen.tiktoken or tokenizer.json, for a directory without.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the parts that no source has; 0 if absent.")] = None,
) -> None:
    """Convert a checkpoint into a model directory, or back to the published form."""
    from qwen_audio.model.convert import convert as run_conversion

    print(run_conversion(source, target, to=to, text_model=text_model, tokenizer=tokenizer, seed=seed))


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("qwen-audio-demo"),
    model: Model = None,
    device: Device = None,
) -> None:
    """Play the whole story on the bundled clips: what went in, the truth, and what came out."""
    from qwen_audio.demo import run_demo

    run_demo(_load(model, device), output)


@app.command()
def info(model: Model = None, device: Device = None) -> None:
    """Say what is installed: version, model, sizes, tasks."""
    import qwen_audio
    from qwen_audio.tasks import TASKS

    loaded = _load(model, device)
    network, config = loaded.model, loaded.model.config
    count = sum(parameter.numel() for parameter in network.parameters())
    encoder = sum(parameter.numel() for parameter in network.audio_tower.parameters())
    print(f"qwen-audio {qwen_audio.__version__}")
    print(f"model: {loaded.name} ({loaded.folder}), weights {loaded.digest()}")
    print(f"parameters: {count:,}, of which the audio encoder {encoder:,}")
    print(f"vocabulary: {config.text_config.vocab_size:,} rows; {network.dtype} on {network.device}")
    print(f"tasks of the format: {', '.join(TASKS)}")


def _load(model: str | None, device: str | None) -> QwenAudio:
    from qwen_audio.api import load

    return load(model, device=device)


def _check_style(style: str, known: tuple[str, ...]) -> None:
    if style not in known:
        raise ValueError(f"--format {style} is not known here: use {', '.join(known[:-1])} or {known[-1]}")


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
        _write(results, style, output, several=len(paths) > 1)
    if failed:
        raise typer.Exit(2)


def _write(
    results: Sequence[tuple[str, Result]], style: str, output: Path | None, *, several: bool = False
) -> None:
    from qwen_audio.results import format_results

    text = format_results(results, style, several=several)
    if output is None:
        sys.stdout.write(text)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    _print_notes(results)


def _print_notes(results: Sequence[tuple[str, Result]]) -> None:
    for path, result in results:
        for problem in getattr(result, "problems", []):
            print(f"note: {path}: {problem}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 when all went well, 2 after a mistake in the input."""
    try:
        app(args=list(arguments) if arguments is not None else None)
    except ImportError as error:
        fault = error if isinstance(error, PackageError) else explain(error)
        if fault is None:
            raise
        complain(fault)
        raise SystemExit(2) from None
    except (ValueError, OSError, FloatingPointError) as error:
        complain(error)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()

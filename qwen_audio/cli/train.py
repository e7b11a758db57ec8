"""The verbs that make models: `train`, `export`, `convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[Path, typer.Argument(help="YAML file of a training stage.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="key=value, over the file.")] = None,
) -> None:
    """Train a model as a YAML file says."""
    from qwen_audio.train.main import train as run_training

    run_training(config, overrides or [])


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

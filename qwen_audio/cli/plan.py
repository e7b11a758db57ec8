"""The verb of the command line that plans a run: `plan`.

Imports that take long happen inside the functions, as in all of the command line.
"""

from __future__ import annotations

from typing import Annotated

import typer


def plan(
    hours: Annotated[float, typer.Option(help="Hours of audio in the data.")],
    gpus: Annotated[int, typer.Option(help="How many GPUs.")] = 8,
    preset: Annotated[str, typer.Option(help="Size of the model.")] = "qwen-audio-7b",
    stage: Annotated[str, typer.Option(help="warmstart, multitask or sft.")] = "multitask",
    epochs: Annotated[float, typer.Option(help="How often an example is drawn, on average.")] = 1.0,
    gpu: Annotated[str, typer.Option(help="a100, a100-40, h100, h200, b200, l40s or rtx4090.")] = "h100",
    mfu: Annotated[float, typer.Option(help="Share of the GPU's peak that is reached.")] = 0.4,
    batch_seconds: Annotated[float, typer.Option(help="Of a GPU's batch, as in a configuration.")] = 240.0,
    batches_per_gpu: Annotated[int, typer.Option(help="Batches of each GPU in an optimiser step.")] = 1,
    clip_seconds: Annotated[float, typer.Option(help="Mean length of a clip.")] = 10.0,
    prompt_length: Annotated[int, typer.Option(help="Mean text tokens before the answer.")] = 8,
    target_length: Annotated[int, typer.Option(help="Mean text tokens of an answer.")] = 30,
    lora_rank: Annotated[int, typer.Option(help="Adapters instead of the stage's parameters; 0: none.")] = 0,
    activation_checkpointing: Annotated[
        bool, typer.Option("--activation-checkpointing", help="Compute activations twice.")
    ] = False,
    train: Annotated[
        list[str] | None, typer.Option(help="Pattern of what is trained, instead of the stage's; repeatable.")
    ] = None,
) -> None:
    """Say what a training run costs: parameters, operations, memory, days, data."""
    from qwen_audio.plan.estimate import Run, report
    from qwen_audio.plan.estimate import plan as work_out

    run = Run(
        preset=preset,
        stage=stage,
        hours=hours,
        epochs=epochs,
        gpus=gpus,
        gpu=gpu,
        mfu=mfu,
        batch_seconds=batch_seconds,
        batches_per_gpu=batches_per_gpu,
        clip_seconds=clip_seconds,
        prompt_length=prompt_length,
        target_length=target_length,
        lora_rank=lora_rank,
        checkpointing=activation_checkpointing,
        train=train,
    )
    print(report(work_out(run)))

"""The verbs of the command line that make dialogues for supervised fine-tuning: `sft build`, `expand` and `show`.

Imports that take long happen inside the functions, as in all of the command line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def build(
    out: Annotated[Path, typer.Option(help="Folder to write: FLAC files and dialogues.jsonl.")],
    count: Annotated[int, typer.Option(help="How many dialogues.")] = 20_000,
    manifest: Annotated[
        list[Path] | None,
        typer.Option(
            help="Annotated examples to talk about; may be given again. The synthetic world if absent."
        ),
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Of the synthetic world, separated by commas; all if absent.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes; the files are the same.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 0,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Of the synthetic world, what training never uses.")
    ] = False,
    text_share: Annotated[
        float, typer.Option(help="How many of the dialogues are text alone, 0 to 1.")
    ] = 0.15,
) -> None:
    """Write dialogues about recordings, answered by their labels."""
    from qwen_audio.sft.build import build as run_build

    names = None if tasks is None else [name.strip() for name in tasks.split(",") if name.strip()]
    paths = [str(path) for path in manifest or []]
    written = run_build(
        out,
        count,
        manifests=paths,
        tasks=names,
        workers=workers,
        seed=seed,
        held_out=held_out,
        text_share=text_share,
    )
    print(f"written: {written}")


def expand(
    manifest: Annotated[Path, typer.Argument(help="JSONL manifest of annotated examples.")],
    endpoint: Annotated[
        str, typer.Option(help="Address of an OpenAI-compatible server, e.g. http://localhost:8000/v1.")
    ],
    model: Annotated[str, typer.Option(help="The model's name there.")],
    out: Annotated[Path, typer.Option(help="Manifest of dialogues to write.")],
    cache: Annotated[Path | None, typer.Option(help="Folder of answers; OUT.cache if absent.")] = None,
    questions: Annotated[int, typer.Option(help="Questions for each example.")] = 3,
    limit: Annotated[int | None, typer.Option(help="Only the first so many examples.")] = None,
    concurrent: Annotated[int, typer.Option(help="Requests at once.")] = 8,
    retries: Annotated[int, typer.Option(help="Tries again after a failure of the server.")] = 5,
    timeout: Annotated[float, typer.Option(help="Seconds that a request may take.")] = 120.0,
    offline: Annotated[bool, typer.Option("--offline", help="Use the answers of the cache only.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Ask anew where the answer of the cache has no usable question.")
    ] = False,
) -> None:
    """Let a language model write questions and answers from labels; its key is OPENAI_API_KEY."""
    from qwen_audio.sft.endpoint import Endpoint
    from qwen_audio.sft.expand import expand as run_expand

    folder = cache if cache is not None else out.with_name(out.name + ".cache")
    client = Endpoint(endpoint, model, folder, retries=retries, timeout=timeout, offline=offline)
    report = run_expand(
        manifest, out, client, questions=questions, limit=limit, concurrent=concurrent, again=again
    )
    print(report.text())


def show(
    file: Annotated[Path, typer.Argument(help="JSONL manifest of dialogues.")],
    identity: Annotated[str, typer.Argument(metavar="ID", help="The dialogue's id.")],
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of a model, or a tiktoken file; bytes if absent.")
    ] = None,
) -> None:
    """Print one dialogue: its turns, and its tokens with the labels marked."""
    from qwen_audio.format.tokenizer import QwenAudioTokenizer, from_tiktoken
    from qwen_audio.show.dialogue import show as run_show

    chosen = None
    if tokenizer is not None:
        folder = tokenizer.is_dir()
        chosen = QwenAudioTokenizer.from_pretrained(tokenizer) if folder else from_tiktoken(tokenizer)
    print(run_show(file, identity, chosen))

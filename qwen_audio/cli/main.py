"""The command line: the verbs of `qwen-audio` and the handling of errors.

    qwen-audio transcribe speech.wav --format srt --output speech.srt

Heavy imports happen inside the verbs, so that `--help` is instant. A mistake in the input ends with one
sentence on stderr and exit code 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import typer

from qwen_audio.cli import ask, chat, data, edit, evaluate, plan, sft, train, transcribe
from qwen_audio.cli.common import complain
from qwen_audio.packages import PackageError, explain

# In the order of --help.
VERBS: tuple[Callable[..., Any], ...] = (
    transcribe.transcribe,
    data.synthesize,
    data.prepare,
    data.show,
    plan.plan,
    evaluate.evaluate,
    evaluate.report,
    edit.ground,
    edit.edit,
    chat.chat,
    ask.ask,
    ask.caption,
    ask.classify,
    train.train,
    train.export,
    train.convert,
    ask.demo,
    ask.info,
)
# Groups of verbs: name, purpose, functions.
GROUPS: tuple[tuple[str, str, tuple[Callable[..., Any], ...]], ...] = (
    ("data", "Look at annotated data.", (data.stats,)),
    ("sft", "Make dialogues for supervised fine-tuning.", (sft.build, sft.expand, sft.show)),
)


def _typer(help_text: str, **options: Any) -> typer.Typer:
    return typer.Typer(
        help=help_text, no_args_is_help=True, add_completion=False, rich_markup_mode=None, **options
    )


def _build() -> typer.Typer:
    whole = _typer(
        "Ask recordings: transcribe, ask, caption, classify; train and evaluate.",
        pretty_exceptions_enable=False,
    )
    for verb in VERBS:
        whole.command()(verb)
    for name, help_text, verbs in GROUPS:
        group = _typer(help_text)
        group.callback()(lambda: None)  # a single command without a callback would take the group's place
        for verb in verbs:
            group.command()(verb)
        whole.add_typer(group, name=name)
    return whole


app = _build()


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

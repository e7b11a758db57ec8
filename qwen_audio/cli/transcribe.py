"""The verb `transcribe`: files, folders and patterns, a pipe or a microphone; text, JSON, subtitles, TextGrid.

Imports that take long happen inside the functions, as in all of the command line.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, cast

import typer

from qwen_audio.cli.common import Device, Model, check_format, complain, load_model, print_notes
from qwen_audio.cli.progress import Progress, _OpenLine
from qwen_audio.files import write_whole

if TYPE_CHECKING:
    import numpy as np

    from qwen_audio.api import QwenAudio
    from qwen_audio.audio.stream import Blocks
    from qwen_audio.cli.ctrl_c import CtrlC
    from qwen_audio.cli.inputs import Input
    from qwen_audio.results.passages import Passage
    from qwen_audio.results.results import Transcription
    from qwen_audio.transcribe.recording import Options

STYLES = ("text", "json", "srt", "vtt", "textgrid")

Inputs = Annotated[
    list[str] | None,
    typer.Argument(help="Audio or video files, folders, patterns; - is a pipe.", show_default=False),
]


def transcribe(
    audio: Inputs = None,
    words: Annotated[
        bool, typer.Option("--words", help="Give every word's start and end in seconds.")
    ] = False,
    language: Annotated[
        str | None, typer.Option(help="Code of the language, e.g. en; predicted for each piece if absent.")
    ] = None,
    style: Annotated[
        str, typer.Option("--format", help="text, json, textgrid, or srt or vtt (which imply --words).")
    ] = "text",
    output: Annotated[
        str | None, typer.Option(help="File to write; a folder for a file for each input.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Pieces of a recording at once.")] = 8,
    detect: Annotated[
        str, typer.Option(help="What is transcribed: speech, or sound (all that is not silent).")
    ] = "speech",
    raw: Annotated[
        int | None, typer.Option(help="The pipe has no header: 16-bit samples, one channel, of this rate.")
    ] = None,
    microphone: Annotated[
        bool, typer.Option("--microphone", help="Listen until Ctrl-C instead of reading files.")
    ] = False,
    progress: Annotated[
        bool | None,
        typer.Option("--progress/--no-progress", help="On stderr; by default on a terminal only."),
    ] = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Write down what is said, in recordings of any length."""
    check_format(style, STYLES)
    named = list(audio or [])
    if not named and not microphone:
        raise ValueError(
            "there is nothing to transcribe: name files or folders, - for a pipe, or --microphone"
        )
    if (microphone and named) or ("-" in named and len(named) > 1):
        raise ValueError("a pipe or a microphone is transcribed alone: leave the other inputs out")
    if raw is not None and named != ["-"]:
        raise ValueError("--raw is for a pipe: use it with - alone")

    # oneDNN keeps the kernels of the last 1,024 shapes. Windows have ever new lengths, so hours of them fill that with
    # 120 MB that are hardly used again; it reads the variable at its first convolution.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

    from qwen_audio.cli.inputs import find_inputs
    from qwen_audio.transcribe.recording import Options

    options = Options(language, words or style in ("srt", "vtt"), detect, batch_size=batch_size)
    shown = sys.stderr.isatty() if progress is None else progress
    if microphone or named == ["-"]:
        from qwen_audio.cli.ctrl_c import CtrlC

        with CtrlC() as ctrl_c:  # from here on: while the model is loaded sound waits in the pipe already
            loaded = load_model(model, device)
            _live(loaded, options, style, output, raw, microphone, shown, ctrl_c)
        return
    inputs = find_inputs(named)
    plan = _plan(inputs, named, style, output)
    _spare(inputs, plan)
    if not _files(load_model(model, device), inputs, options, style, plan, shown):
        raise typer.Exit(2)


class _Plan:
    """Destination of results: `folder`: a file for each input; else `single`: one file for all, or None: the screen."""

    def __init__(self, each: list[Path] | None, single: Path | None, inputs: int) -> None:
        self.each, self.single = each, single
        if each is not None:
            self.journals: list[Path | None] = [path.with_name(path.name + ".part") for path in each]
        elif single is not None:
            names = [
                f"{single.name}.{n}.part" if inputs > 1 else f"{single.name}.part" for n in range(inputs)
            ]
            self.journals = [single.with_name(name) for name in names]
        else:
            self.journals = [None] * inputs


def _plan(inputs: Sequence[Input], named: Sequence[str], style: str, output: str | None) -> _Plan:
    from qwen_audio.cli.inputs import targets

    several = len(inputs) > 1
    if output is None:
        if several and style not in ("text", "json"):
            raise ValueError(f"{style} of several inputs needs a folder: give --output FOLDER")
        return _Plan(None, None, len(inputs))
    path = Path(output)
    apart = several and (style not in ("text", "json") or not path.suffix)
    found = list(named) != [one.path for one in inputs] and not path.suffix
    if path.is_dir() or output.endswith("/") or apart or found:
        return _Plan(targets(inputs, path, style), None, len(inputs))
    return _Plan(None, path, len(inputs))


def _spare(inputs: Sequence[Input], plan: _Plan) -> None:
    """ValueError where the text would be written over a recording."""
    recordings = {Path(one.path).resolve(): one.path for one in inputs}
    for path in plan.each or ([plan.single] if plan.single is not None else []):
        if path.resolve() in recordings:
            raise ValueError(f"--output {path} is one of the recordings: name another file")


def _files(
    model: QwenAudio, inputs: Sequence[Input], options: Options, style: str, plan: _Plan, shown: bool
) -> bool:
    """Transcribe every file; False if not all could be read whole and written. One that fails is named on stderr,
    unless it is the only one."""
    from qwen_audio.results.results import format_results

    results: list[tuple[str, Transcription]] = []
    good = True
    several = len(inputs) > 1
    finished: list[Path] = []
    for place, one in enumerate(inputs):
        label = f"{place + 1} of {len(inputs)}, {one.path}" if several else one.path
        journal = plan.journals[place]
        try:
            result, whole = _file(model, one.path, label, options, journal, shown)
            if plan.each is not None:
                write_whole(plan.each[place], format_results([(one.path, result)], style), parents=True)
        except ImportError:  # a package that every file needs
            raise
        except Exception as error:  # of any kind: hours of other recordings must not be lost for it
            if not several:
                raise
            if not isinstance(error, (ValueError, OSError)):
                error = RuntimeError(f"{one.path}: {type(error).__name__}: {error}")
            complain(error)
            good = False
            continue
        good = good and whole
        if journal is not None:
            finished.append(journal)
        print_notes(one.path, result)
        if plan.each is not None:
            continue
        if plan.single is None and style == "text":
            sys.stdout.write(format_results([(one.path, result)], style, several=several))
            sys.stdout.flush()
        else:
            results.append((one.path, result))
    if results:
        text = format_results(results, style, several=several)
        if plan.single is None:
            sys.stdout.write(text)
        else:
            write_whole(plan.single, text, parents=True)
    for path in finished:  # only now: the same command, given again, then knows all that was done
        path.unlink(missing_ok=True)
    return good


def _file(
    model: QwenAudio, path: str, label: str, options: Options, journal_path: Path | None, shown: bool
) -> tuple[Transcription, bool]:
    """The transcription, and True if the whole recording could be read."""
    import dataclasses
    from contextlib import closing, nullcontext

    import qwen_audio
    from qwen_audio.audio.stream import open_blocks
    from qwen_audio.transcribe.journal import Journal, fingerprint
    from qwen_audio.transcribe.recording import transcribe_all

    blocks = open_blocks(path)
    journal = None
    if journal_path is not None:
        job = {
            "recording": fingerprint(path),
            "model": model.digest(),
            "dtype": str(model.model.dtype),
            "options": dataclasses.asdict(options),
            "version": qwen_audio.__version__,
        }
        journal = Journal(journal_path, job)
        if journal.restarted:
            print(f"note: {journal_path} was of another job: begun anew", file=sys.stderr)
    bar = Progress(label, blocks.announced, shown)
    with nullcontext() if journal is None else closing(journal):
        try:
            result = transcribe_all(model.engine, blocks, options, journal=journal, on_passages=bar.update)
        except KeyboardInterrupt:
            bar.end()
            if journal_path is not None:
                print("note: the same command, given again, goes on from here", file=sys.stderr)
            raise
    bar.end()
    noted = journal.end if journal is not None and journal.end is not None else {}
    return result, not (blocks.defect or noted.get("defect"))


def _live(
    model: QwenAudio,
    options: Options,
    style: str,
    output: str | None,
    raw: int | None,
    mic: bool,
    shown: bool,
    ctrl_c: CtrlC,
) -> None:
    """A pipe or the microphone: text as it comes, other formats at the end; Ctrl-C may end both."""
    from qwen_audio.audio.load import AudioError
    from qwen_audio.audio.microphone import microphone
    from qwen_audio.results.results import format_results
    from qwen_audio.transcribe.live import Live
    from qwen_audio.transcribe.recording import whole_of

    source = None
    from_file = not mic and sys.stdin.buffer.seekable()  # it does not end by itself at Ctrl-C
    try:
        if not mic:
            source = _standard_input(raw, ctrl_c)
    except AudioError:
        if not ctrl_c.pressed:
            raise
        print("note: -: interrupted before there was any sound", file=sys.stderr)
        raise typer.Exit(130) from None
    blocks: Iterable[np.ndarray] = microphone(lambda: ctrl_c.pressed) if source is None else source
    at_once = style == "text" and output is None
    name = "microphone" if mic else "-"
    live = Live(model.engine, options)
    passages = []
    # Provisional text is only shown where a line can be overwritten.
    line = _OpenLine(shown and sys.stderr.isatty())

    def take(found: list[Passage]) -> None:
        for passage in found:
            passages.append(passage)
            line.clear()
            if at_once:
                part = whole_of([passage], options.word_timestamps)
                sys.stdout.write(format_results([(name, part)], style))
                sys.stdout.flush()

    rest = 0.0  # at most half of the time goes into provisional text
    for block in blocks:
        if ctrl_c.pressed and from_file:
            break
        take(live.feed(block))
        began = time.monotonic()
        wanted = line.shown and began >= rest and not ctrl_c.pressed
        if wanted and (partial := live.partial()) is not None:
            line.show(partial.text)
            now = time.monotonic()
            rest = now + (now - began)
    defect = source and source.defect and f"the recording {source.defect}"
    interrupted = ctrl_c.pressed
    if interrupted:
        defect = None  # ending in the middle is expected here
        line.clear()
        print(
            f"note: {name}: interrupted after {live.seconds:.1f} s; what was heard is transcribed, "
            "and another Ctrl-C stops at once",
            file=sys.stderr,
        )
    take(live.finish())
    line.clear()
    result = whole_of(
        passages, options.word_timestamps, duration=round(live.seconds, 3), defect=defect or None
    )
    print_notes(name, result)
    if not at_once:
        text = format_results([(name, result)], style)
        if output is None:
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            write_whole(Path(output), text, parents=True)
    if ctrl_c.pressed and not mic:
        if not interrupted:
            print(f"note: {name}: interrupted after its end; nothing is missing", file=sys.stderr)
        raise typer.Exit(130)
    if defect:
        raise typer.Exit(2)


def _standard_input(raw: int | None, ctrl_c: CtrlC) -> Blocks:
    """Audio from the pipe, or from the file redirected to it. AudioError as `Blocks`."""
    from qwen_audio.audio.stream import open_blocks
    from qwen_audio.cli.ctrl_c import Pipe

    stream = sys.stdin.buffer
    return open_blocks(stream if stream.seekable() else cast("BinaryIO", Pipe(stream, ctrl_c)), raw_rate=raw)

"""Generated parts of docs/format.md: tables and sequences that follow from the table of tasks.

    python scripts/pages/format_page.py docs/format.md [--walk MANIFEST]

rewrites the text between `<!-- NAME -->` and `<!-- end NAME -->`; the prose around it is written by hand. The
part "walk" follows three recordings of a manifest from file to token ids and back; it is only written anew with
`--walk`, as the recordings are not part of the project.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable
from pathlib import Path

from filling import fill

from qwen_audio.audio.features import mel_frames
from qwen_audio.audio.load import load_audio
from qwen_audio.data.manifest import Example, read_manifest
from qwen_audio.format import tags
from qwen_audio.format.answers import BODIES
from qwen_audio.format.task_examples import EXAMPLES
from qwen_audio.format.task_table import SPOKEN, TASKS, Task
from qwen_audio.format.tasks import Parsed, Segment, example_prompt, parse, render
from qwen_audio.format.tokenizer import QwenAudioTokenizer, byte_tokenizer
from qwen_audio.model.processing_qwen_audio import QwenAudioProcessor

WALKED = (
    "fsdd-0_yweweler_36#keyword_spotting",
    "esc10-4-149294-B#audio_caption",
    "fsddseq-yweweler_000#word_timestamps",
)


def generated_parts() -> dict[str, str]:
    """Name -> text of every part that needs no recording."""
    return {
        "tasks": _table_of_tasks(),
        "predicted": ", ".join(f"`{row.slug}`" for row in TASKS.values() if row.audio_language == SPOKEN)
        + ".",
        "sequences": _sequences(),
        "forms": _other_forms(),
        "questions": _questions(),
    }


def _joined(segments: Iterable[Segment]) -> str:
    return "".join(segment.text for segment in segments)


def _code(text: str) -> str:
    """Code inside a table, where a bar would end the cell."""
    return f"`{text}`".replace("|", "\\|")


def _answer(item: Example, *, as_question: bool = False) -> str:
    whole = _joined(render(item, as_question=as_question))
    head = _joined(example_prompt(item, as_question=as_question))
    return whole.removeprefix(head).removesuffix(tags.END_OF_TEXT)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _table_of_tasks() -> str:
    rows = (
        (row.group, row.abbreviation, f"`{row.slug}`", row.title, _annotation(row), row.metric)
        for row in sorted(TASKS.values(), key=lambda row: ("speech", "sound", "music").index(row.group))
    )
    return _table(("group", "Table 1", "task", "name", "annotation", "main score"), rows)


def _annotation(row: Task) -> str:
    needed = BODIES[row.body].annotation
    return f"{needed}, `target_language`" if row.text_language == "target" else needed


def _sequences() -> str:
    entries = [
        f"{row.slug} ({row.abbreviation}: {row.title})\n"
        f"    {_joined(example_prompt(EXAMPLES[row.slug]))}\n"
        f"    -> {_answer(EXAMPLES[row.slug])}"
        for row in TASKS.values()
    ]
    return "\n\n".join(("```\n" + entries[0], *entries[1:])) + "\n```"


def _other_forms() -> str:
    rows = (
        (f"`{row.slug}`", f"`{name}`", _code("".join(form)))
        for row in TASKS.values()
        for name, form in itertools.islice(row.forms.items(), 1, None)
    )
    return _table(("task", "form", "tags"), rows)


def _questions() -> str:
    rows = []
    for row in TASKS.values():
        item = EXAMPLES[row.slug]
        answer = _code(_answer(item, as_question=True))
        asked = "".join(piece.text for piece in example_prompt(item, as_question=True) if not piece.special)
        rows.append((f"`{row.slug}`", asked, answer))
    return _table(("task", "question", "answer"), rows)


# from file to token ids and back -------------------------------------------------------------------------


def walk(examples: Iterable[Example]) -> str:
    """Each step of the examples, with the byte tokenizer; ValueError if the way back ends elsewhere."""
    tokenizer = byte_tokenizer()
    return "\n\n".join(f"```\n{_steps(item, tokenizer)}\n```" for item in examples)


def _steps(item: Example, tokenizer: QwenAudioTokenizer) -> str:
    waves = [load_audio(ref.path, start=ref.start, duration=ref.duration) for ref in item.audio]
    frames = [mel_frames(len(wave)) for wave in waves]
    segments = render(item)
    ids, labels = QwenAudioProcessor(tokenizer).encode_row(frames, segments)
    text = tokenizer.decode(ids)
    parsed = parse(item.task, text)
    if parsed.problems or not text.endswith(_joined(segments)):
        raise ValueError(f"{item.id}: the ids read back as {text!r} with the problems {parsed.problems}")
    wanted = [index for index, label in enumerate(labels) if label >= 0]
    lines = [
        f"file      {', '.join(Path(ref.path).name for ref in item.audio)}",
        f"audio     {', '.join(map(str, map(len, waves)))} samples, {', '.join(map(str, frames))} mel frames",
        f"task      {item.task}, language {item.language}",
        f"sequence  {_joined(segments)}",
        f"ids       {_shown(ids, tokenizer.audio_pad_id)}",
        f"labels    on {len(wanted)} of {len(ids)}: {_shown([ids[index] for index in wanted], -1)}",
        f"back      {text.rpartition(tags.AUDIO_END)[2]}",
        f"read      {_read(parsed)}",
    ]
    return "\n".join(lines)


def _shown(ids: list[int], repeated: int) -> str:
    """Ids in a line; the run of one of them as `3984 x 123`."""
    pieces = []
    for value, run in itertools.groupby(ids):
        count = len(list(run))
        pieces += [f"{value} x {count}"] if value == repeated else [str(value)] * count
    return " ".join(pieces)


def _read(parsed: Parsed) -> str:
    words = [f"{word.word} {word.start:.2f}-{word.end:.2f}" for word in parsed.words]
    return ", ".join(words) or parsed.text


def main(arguments: list[str] | None = None) -> None:
    """Rewrite the generated parts of a page."""
    parser = argparse.ArgumentParser(description="Write the generated parts of the page of the format anew.")
    parser.add_argument("page", type=Path)
    parser.add_argument("--walk", type=Path, metavar="MANIFEST", help=f"has the rows {', '.join(WALKED)}")
    options = parser.parse_args(arguments)
    parts = generated_parts()
    if options.walk:
        rows = {item.id: item for item in read_manifest(options.walk)}
        parts["walk"] = walk(rows[name] for name in WALKED)
    options.page.write_text(fill(options.page.read_text(encoding="utf-8"), parts), encoding="utf-8")


if __name__ == "__main__":
    main()

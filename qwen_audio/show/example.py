"""View of one annotated example, with a picture and its audio: `qwen-audio show MANIFEST ID`."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.manifest import Example, read_manifest
from qwen_audio.format import tags
from qwen_audio.format.tasks import example_prompt, render
from qwen_audio.format.timestamps import Span
from qwen_audio.show.draw import draw_example
from qwen_audio.show.player import find_player
from qwen_audio.show.player import play as play_file
from qwen_audio.synthetic.music.theory import note_name

_MAX_TITLE = 110


def show(
    manifest: str | os.PathLike[str],
    identity: str,
    output: str | os.PathLike[str] | None = None,
    play: bool = False,
) -> list[Path]:
    """Print an example's row, prompt and answer, draw it, and write its audio; returns the files.

    Args:
        manifest: the JSONL file.
        identity: the id of the example.
        output: the PNG file (None: named by the id, in the working directory). Every clip is written beside it as
            16-bit WAV under the same name; the second clip of an example ends in `-2.wav`.
        play: also play the clips, with the first of `player.PLAYERS` that is installed.

    Raises:
        ManifestError: a bad manifest. ValueError: an id that is not in it, an output that is no PNG, or no player.
        AudioError: a clip that cannot be read, or that is longer than 30 s.
    """
    import soundfile

    from qwen_audio.api import load_window  # late: it brings transformers, which takes seconds to import

    picture = Path(re.sub(r"[^\w.-]+", "_", identity) + ".png" if output is None else output)
    if picture.suffix.lower() != ".png":
        raise ValueError(f"{picture}: the picture is a PNG file: give a name that ends in .png")
    player = find_player() if play else []
    found = [example for example in read_manifest(manifest) if example.id == identity]
    if not found:
        raise ValueError(f"{manifest}: no example has the id {identity!r}: give one of its ids")
    (example,) = found
    waves = [load_window(ref.path, start=ref.start, duration=ref.duration) for ref in example.audio]
    head = f"{example.id} ({example.task})"
    text = example.text if len(example.text) <= _MAX_TITLE else example.text[: _MAX_TITLE - 3] + "..."
    draw_example(waves, picture, spans=spans_of(example), title=f"{head}\n{text}")
    files = [picture]
    for number, wave in enumerate(waves, start=1):
        path = picture.with_name(f"{picture.stem}{f'-{number}' if number > 1 else ''}.wav")
        soundfile.write(path, wave.clip(-1.0, 1.0), SAMPLE_RATE, subtype="PCM_16")
        files.append(path)
    print(describe(example))
    print("\n".join(f"written: {path}" for path in files))
    if player:
        for path in files[1:]:
            play_file(player, path)
    return files


def spans_of(example: Example) -> list[Span]:
    """Spans to draw: words, or spans, or the events or notes in the `meta` of a synthetic example.

    Events are rows of [class, start, end], notes of [start, length, MIDI pitch], in seconds.
    """
    if example.words:
        return [Span("words", word.start, word.end, word.word) for word in example.words]
    if example.spans:
        return list(example.spans)
    events = [
        Span(str(label), float(start), float(end))
        for label, start, end in _rows(example, "events")
        if _numbers(start, end)
    ]
    notes = [
        Span("notes", float(start), float(start + length), note_name(round(pitch), symbols=True))
        for start, length, pitch in _rows(example, "notes")
        if _numbers(start, length, pitch)
    ]
    return events or notes


def _rows(example: Example, name: str) -> list[list[Any]]:
    """The value of `meta` under that name, if it is rows of three."""
    rows = example.meta.get(name)
    return [row for row in rows if isinstance(row, list) and len(row) == 3] if isinstance(rows, list) else []


def _numbers(*values: Any) -> bool:
    return all(isinstance(value, (int, float)) for value in values)


def describe(example: Example) -> str:
    """The row, and its training sequence: the prompt, the answer, and the tokens of the answer."""
    from qwen_audio.format.tokenizer import byte_tokenizer  # late, as in `show`

    prompt = "".join(segment.text for segment in example_prompt(example))
    sequence = render(example)
    answer = "".join(segment.text for segment in sequence).removeprefix(prompt)
    # Where the model predicts the language the tag before is a label too; the answer is what follows the prompt.
    tokenizer = byte_tokenizer()
    ids, _ = tokenizer.encode_segments(sequence)
    asked, _ = tokenizer.encode_segments(example_prompt(example))
    pieces = [piece for piece, _ in tags.split_tags(answer)]
    row = example.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    return "\n".join(
        [
            f"row:    {json.dumps(row, ensure_ascii=False)}",
            f"prompt: {prompt}",
            f"answer: {answer}",
            f"parts:  {' '.join(json.dumps(piece, ensure_ascii=False) for piece in pieces)}",
            f"ids:    {' '.join(map(str, ids[len(asked) :]))} (of the answer, by the byte tokenizer)",
        ]
    )

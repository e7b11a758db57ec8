"""Text view of one dialogue: its turns, and its tokens with the labels marked (`qwen-audio sft show`)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from qwen_audio.audio.features import mel_frames
from qwen_audio.audio.load import SAMPLE_RATE, load_audio
from qwen_audio.data.dialogues import Dialogue, read_dialogues
from qwen_audio.data.encode import segments_of
from qwen_audio.format.tokenizer import QwenAudioTokenizer, byte_tokenizer


def show(path: str | os.PathLike[str], identity: str, tokenizer: QwenAudioTokenizer | None = None) -> str:
    """The dialogue `identity` of a manifest as text: turns, then tokens as `describe` gives them.

    tokenizer: None is the byte tokenizer. Raises ManifestError for a bad manifest, ValueError for an id
    that is not in it.
    """
    found = [dialogue for dialogue in read_dialogues(path) if dialogue.id == identity]
    if not found:
        raise ValueError(f"{path}: no dialogue has the id {identity!r}: give one of its ids")
    seconds = []
    for ref in found[0].audio:
        if ref.duration is None:
            seconds.append(len(load_audio(ref.path, start=ref.start)) / SAMPLE_RATE)
        else:
            seconds.append(ref.duration)
    return describe(found[0], seconds, tokenizer or byte_tokenizer())


def describe(dialogue: Dialogue, seconds: Sequence[float], tokenizer: QwenAudioTokenizer) -> str:
    """The turns, and each run of tokens as ids and text, "LABEL" before those that the loss is computed on.

    seconds: length of each recording in order.
    """
    lines = [f"{dialogue.id}: {json.dumps(dialogue.meta, ensure_ascii=False)}"]
    if dialogue.system:
        lines.append(f"system:    {dialogue.system}")
    for turn in dialogue.turns:
        said = [f"[{part.audio.path}]" if part.audio is not None else str(part.text) for part in turn.user]
        lines += [f"user:      {' '.join(said)}", f"assistant: {turn.assistant}"]
    segments = segments_of(dialogue, [mel_frames(round(length * SAMPLE_RATE)) for length in seconds])
    ids, is_label = tokenizer.encode_segments(segments)
    audio = {tokenizer.audio_start_id, tokenizer.audio_pad_id, tokenizer.audio_end_id}
    lines.append(
        f"tokens:    {len(ids)}, of which {sum(is_label)} labels and {sum(i in audio for i in ids)} of "
        f"recordings"
    )
    first = 0
    for last in range(1, len(ids) + 1):
        if last < len(ids) and is_label[last] == is_label[first]:
            continue
        run = ids[first:last]
        lines.append(
            f"{'LABEL' if is_label[first] else '     '} "
            f"{json.dumps(_shown(run, tokenizer), ensure_ascii=False)}"
        )
        lines.append(f"      {_ids(run, tokenizer.audio_pad_id)}")
        first = last
    return "\n".join(lines)


def _shown(run: list[int], tokenizer: QwenAudioTokenizer) -> str:
    """The text of token ids; for the vectors of a recording only their number."""
    text, pads = "", 0
    pieces: list[int] = []
    for token in [*run, -1]:
        if token == tokenizer.audio_pad_id:
            if pieces:
                text, pieces = text + tokenizer.decode(pieces), []
            pads += 1
            continue
        if pads:
            text, pads = f"{text}({pads} vectors)", 0
        if token >= 0:
            pieces.append(token)
    return text + (tokenizer.decode(pieces) if pieces else "")


def _ids(run: list[int], pad: int) -> str:
    """Ids, repeated ones of a recording's vectors as "464 x 12"."""
    shown: list[str] = []
    k = 0
    while k < len(run):
        end = k + 1
        while run[k] == pad and end < len(run) and run[end] == pad:
            end += 1
        shown.append(f"{run[k]} x {end - k}" if end - k > 1 else str(run[k]))
        k = end
    return " ".join(shown)

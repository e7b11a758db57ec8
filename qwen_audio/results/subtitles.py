"""Transcriptions with times in the formats of other programs: SRT, WebVTT, and TextGrid for Praat.

A subtitle holds words of one passage: at most 42 characters and 6 s, and no pause over 0.8 s, after the usual
broadcast guidelines. A TextGrid divides the whole recording: every moment is in one interval of each tier.
"""

from __future__ import annotations

from collections.abc import Sequence

from qwen_audio.format.timestamps import Word
from qwen_audio.results.passages import UNSPACED, Passage

SRT_LINE_CHARACTERS = 42
SRT_LINE_SECONDS = 6.0
SRT_PAUSE_SECONDS = 0.8  # a longer pause begins a new line
SHORTEST = 0.001  # seconds of an interval of a TextGrid, whose times are written to the millisecond


def group_words(words: Sequence[Word], joint: str = " ") -> list[list[Word]]:
    """Cut words into subtitle lines; every word is in exactly one line, and no line is empty."""
    lines: list[list[Word]] = []
    for word in words:
        line = lines[-1] if lines else []
        characters = sum(len(w.word) + len(joint) for w in line) + len(word.word)
        if (
            not line
            or characters > SRT_LINE_CHARACTERS
            or word.end - line[0].start > SRT_LINE_SECONDS
            or word.start - line[-1].end > SRT_PAUSE_SECONDS
        ):
            lines.append([word])
        else:
            line.append(word)
    return lines


def srt_time(seconds: float) -> str:
    """`00:01:02,345` for 62.345 s."""
    return _clock(seconds, ",")


def _clock(seconds: float, point: str) -> str:
    minutes, milliseconds = divmod(round(1000 * seconds), 60_000)
    return (
        f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}{point}{milliseconds % 1000:03d}"
    )


def _lines(passages: Sequence[Passage]) -> list[tuple[float, float, str]]:
    """(start, end, text) of every subtitle."""
    found = []
    for passage in passages:
        joint = "" if passage.language in UNSPACED else " "
        for line in group_words(passage.words or [], joint):
            found.append((line[0].start, line[-1].end, joint.join(word.word for word in line)))
    return found


def to_srt(passages: Sequence[Passage]) -> str:
    """SubRip subtitles of passages with words."""
    blocks = [
        f"{number}\n{srt_time(start)} --> {srt_time(end)}\n{text}\n"
        for number, (start, end, text) in enumerate(_lines(passages), start=1)
    ]
    return "\n".join(blocks)


def to_vtt(passages: Sequence[Passage]) -> str:
    """WebVTT subtitles of passages with words (https://www.w3.org/TR/webvtt1/)."""
    blocks = ["WEBVTT\n"]
    for start, end, text in _lines(passages):
        plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        blocks.append(f"{_clock(start, '.')} --> {_clock(end, '.')}\n{plain}\n")
    return "\n".join(blocks)


Interval = tuple[float, float, str]


def to_textgrid(passages: Sequence[Passage], duration: float) -> str:
    """A TextGrid (long text form) with the tiers segments and language, and words if the passages have them.

    duration: of the recording in seconds; the grid is longer if the last passage ends later.
    """
    end = max([round(duration, 3), SHORTEST, *(passage.end for passage in passages)])
    tiers = [
        ("segments", [(p.start, p.end, p.text) for p in passages]),
        ("language", [(p.start, p.end, p.language) for p in passages]),
    ]
    if any(passage.words is not None for passage in passages):
        words = [(word.start, word.end, word.word) for p in passages for word in p.words or []]
        end = max([end, *(stop for _, stop, _ in words)])
        tiers.append(("words", words))
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {end:.3f}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, (name, marked) in enumerate(tiers, start=1):
        intervals = without_gaps(marked, end)
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f'        name = "{name}"',
            "        xmin = 0",
            f"        xmax = {end:.3f}",
            f"        intervals: size = {len(intervals)}",
        ]
        for place, (start, stop, text) in enumerate(intervals, start=1):
            quoted = text.replace('"', '""')
            lines += [
                f"        intervals [{place}]:",
                f"            xmin = {start:.3f}",
                f"            xmax = {stop:.3f}",
                f'            text = "{quoted}"',
            ]
    return "\n".join(lines) + "\n"


def without_gaps(marked: Sequence[Interval], end: float) -> list[Interval]:
    """Intervals in order, with empty ones between them, from 0 to `end`; none is shorter than a millisecond.

    One that is (a word of no length) takes a millisecond of the gap after it; without a gap it joins the next one,
    or at the end the one before.
    """
    found: list[Interval] = []
    at, held = 0.0, ""
    for place, (start, stop, text) in enumerate(marked):
        start, stop = max(round(start, 3), at), round(stop, 3)
        limit = max(start, round(marked[place + 1][0], 3)) if place + 1 < len(marked) else end
        if stop < start + SHORTEST:
            stop = round(min(start + SHORTEST, limit), 3)
        text = f"{held} {text}".strip()
        if stop < start + SHORTEST / 2:
            held = text
            continue
        held = ""
        if start > at:
            found.append((at, start, ""))
        found.append((start, stop, text))
        at = stop
    if held and found:
        first, last, text = found.pop()
        found.append((first, last, f"{text} {held}".strip()))
    if at < end:
        found.append((at, end, ""))
    return found

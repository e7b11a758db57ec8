"""Word times as text: writing and parsing of `<|0.00|><|sil|><|0.54|>mian<|0.86|>tiao<|1.17|>`.

A time tag is a boundary on a 10 ms grid from 0.00 to 30.00 s. Abutting words share one tag, and every gap
holds `<|sil|>`. Rendering refuses words that cannot be written so; parsing accepts any string, because a
model may write anything, and reports each repair.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from qwen_audio.format import tags
from qwen_audio.format.tags import Segment


@dataclass(frozen=True)
class Word:
    """A word with its start and end, in seconds from the start of the audio."""

    word: str
    start: float
    end: float


@dataclass(frozen=True)
class Span:
    """An event or a turn from `start` to `end`, in seconds: `label` names the event or the speaker; `text` is the
    transcript. Spans may overlap."""

    label: str
    start: float
    end: float
    text: str | None = None


@dataclass(frozen=True)
class ParsedWords:
    """Words read from a string, in order, and one sentence for each repair that was needed."""

    words: list[Word]
    repairs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ParsedSpans:
    """Spans read from a string, in order of start, and one sentence for each repair that was needed."""

    spans: list[Span]
    repairs: list[str] = field(default_factory=list)


def render_words(words: Sequence[Word], *, label: bool = True) -> list[Segment]:
    """Segments of the words after the leading `<|0.00|>`, which belongs to the prompt.

    Times are rounded to the grid; neighbours that overlap by one step of it are made to abut. Raises
    ValueError for an empty word, a time outside 0 to 30 s, an end before its start, or words out of order.
    """
    segments: list[Segment] = []
    last = 0
    for word in words:
        name = word.word.strip()
        start, end = tags.to_tick(word.start), tags.to_tick(word.end)
        if not name:
            raise ValueError(f"the word at {word.start:.2f} s is empty: give its text or leave it out")
        tags.check_text(name)
        if start < last:
            if last - start > 1:
                raise ValueError(
                    f"word {name!r} starts at {word.start:.2f} s, before the word in front of it ends: "
                    "sort the words and cut overlaps"
                )
            start = last
        if word.end < word.start:
            raise ValueError(
                f"word {name!r} ends at {word.end:.2f} s, before it starts at {word.start:.2f} s"
            )
        end = max(end, start)
        if start > last:
            segments.append(Segment(tags.SILENCE + tags.time_tag(start / tags.TICKS_PER_SECOND), True, label))
        segments.append(Segment(name, False, label))
        segments.append(Segment(tags.time_tag(end / tags.TICKS_PER_SECOND), True, label))
        last = end
    return segments


_PIECE = re.compile(r"<\|(\d+\.\d+)\|>|(<\|[^<>|\s]*\|>)")


def parse_words(text: str) -> ParsedWords:
    """Typed words from any string; never raises.

    The string may start at time 0.00 without saying so (the prompt ends in `<|0.00|>`), may leave a gap
    without `<|sil|>`, and may hold spaces between tags. Times that break the order (all but a longest
    non-decreasing sequence), lie beyond 30.00 s or are missing are replaced by a division of the surrounding
    span in proportion to the characters of the words; a word with no later time ends at the last known time.
    Each replacement is reported. Other special tokens, and a time at the end that closes nothing, are dropped and
    reported.
    """
    repairs: list[str] = []
    names, times = _read(text, repairs)
    ticks = _fill(_in_order(times, repairs), names)
    words = [
        Word(name, start / tags.TICKS_PER_SECOND, end / tags.TICKS_PER_SECOND)
        for name, (start, end) in zip(names, pairwise(ticks), strict=True)
        if name and name != tags.SILENCE
    ]
    return ParsedWords(words, repairs)


def _read(text: str, repairs: list[str]) -> tuple[list[str], list[int | None]]:
    """Spans (a word, silence or nothing) and their boundaries in ticks, one more than there are spans."""
    names: list[str] = []
    times: list[int | None] = [0]
    pending = ""  # the text since the last boundary

    def close(tick: int | None) -> None:
        nonlocal pending
        names.append(pending)
        times.append(tick)
        pending = ""

    def put(name: str) -> None:
        nonlocal pending
        if pending:
            repairs.append(f"no time between {pending!r} and {name!r}")
            close(None)
        pending = name

    position = 0
    for match in _PIECE.finditer(text):
        between = " ".join(text[position : match.start()].split())
        position = match.end()
        if between:
            put(between)
        if match.group(1):
            tick = _tick(match.group(1))
            if tick is None:
                repairs.append(f"time {match.group()} is beyond the last time tag")
            close(tick)
        elif match.group() == tags.SILENCE:
            put(tags.SILENCE)
        elif match.group() in tags.SPECIAL_INDEX:
            repairs.append(f"unexpected tag {match.group()}")
        else:
            put(match.group())  # shaped like a tag but not one: text
    rest = " ".join(text[position:].split())
    if rest:
        put(rest)
    if pending:
        repairs.append(f"no end time for {pending!r}")
        close(None)
    # A time at the end without a word closes a silence, which matters only before another word: it is dropped.
    while names and not names[-1]:
        names.pop()
        if (tick := times.pop()) is not None and tick > 0:
            repairs.append(f"no word before the last time {tags.time_tag(tick / tags.TICKS_PER_SECOND)}")
    return names, times


def _tick(seconds: str) -> int | None:
    """The point of the grid; None beyond the last one, however many digits there are."""
    value = float(seconds) * tags.TICKS_PER_SECOND
    return round(value) if value < tags.MAX_TICK + 0.5 else None


def _in_order(times: list[int | None], repairs: list[str]) -> list[int | None]:
    """The times of a longest non-decreasing sequence, None for the others; the first, 0, always stays."""
    tails: list[int] = []  # smallest last tick of a sequence of each length
    ranks: list[int] = []  # place of each time in the best sequence that ends with it; -1 for None
    for tick in times:
        rank = -1 if tick is None else bisect.bisect_right(tails, tick)
        if tick is not None:
            tails[rank : rank + 1] = [tick]
        ranks.append(rank)
    kept: list[int | None] = []
    wanted, ceiling = len(tails) - 1, tags.MAX_TICK
    for tick, rank in zip(reversed(times), reversed(ranks), strict=True):
        if tick is not None and rank == wanted and tick <= ceiling:
            wanted, ceiling = wanted - 1, tick
            kept.append(tick)
        else:
            kept.append(None)
    kept.reverse()
    for tick, keep in zip(times, kept, strict=True):
        if tick is not None and keep is None:
            repairs.append(f"time {tags.time_tag(tick / tags.TICKS_PER_SECOND)} is out of order")
    return kept


def _fill(times: list[int | None], names: list[str]) -> list[int]:
    """All boundaries: unknown ones divide the span between known ones by the characters of its words."""
    sizes = [1 if name == tags.SILENCE else len(name) for name in names]
    ticks = [0]
    left = start = 0
    for right, end in enumerate(times[1:], 1):
        if end is None:
            continue
        total, done = max(sum(sizes[left:right]), 1), 0
        for size in sizes[left : right - 1]:
            done += size
            ticks.append(start + round((end - start) * done / total))
        ticks.append(end)
        left, start = right, end
    return ticks + [start] * (len(times) - len(ticks))


# spans that may overlap ----------------------------------------------------------------------------------


def render_spans(spans: Sequence[Span], *, label: bool = True) -> list[Segment]:
    """Segments `<|start|>label<|end|>` of spans in order of start; `text` is not written.

    Times are rounded to the grid. Raises ValueError for an empty label, a time outside 0 to 30 s, an end before
    its start, or spans that are not in order of start.
    """
    segments: list[Segment] = []
    last = 0.0
    for span in spans:
        name = " ".join(span.label.split())
        if not name:
            raise ValueError(f"the span at {span.start:.2f} s has no label: give it one or leave it out")
        tags.check_text(name)
        if span.start < last:
            raise ValueError(
                f"the span {name!r} starts at {span.start:.2f} s, before the one in front of it: sort the spans "
                "by start"
            )
        if span.end < span.start:
            raise ValueError(
                f"the span {name!r} ends at {span.end:.2f} s, before it starts at {span.start:.2f} s"
            )
        segments.append(Segment(tags.time_tag(span.start), True, label))
        segments.append(Segment(name, False, label))
        segments.append(Segment(tags.time_tag(span.end), True, label))
        last = span.start
    return segments


def parse_spans(text: str) -> ParsedSpans:
    """Spans from any string; never raises.

    Text without a time in front begins where the span before it ended (0.00 at first); a span without an end,
    beyond 30.00 s or with its end before its start is left out; spans out of order are sorted; other special
    tokens are dropped. Each of these is reported.
    """
    repairs: list[str] = []
    spans: list[Span] = []
    names: list[str] = []  # the pieces of text since the last boundary
    begin: int | None = None  # a start that waits for its end; -1: beyond the last tag
    last = 0

    def close(end: int | None, shown: str) -> None:
        nonlocal begin, last
        name = " ".join(names)
        start = begin
        names.clear()
        begin = None
        if start is None:
            repairs.append(f"no start time for {name!r}")
            start = last
        if end is None or start < 0:
            repairs.append(f"{name!r} has a time beyond the last time tag: {shown}")
        elif end < start:
            repairs.append(f"{name!r} ends before it starts: {shown}")
        else:
            spans.append(Span(name, start / tags.TICKS_PER_SECOND, end / tags.TICKS_PER_SECOND))
        last = last if end is None else end

    position, shown = 0, ""
    for match in _PIECE.finditer(text):
        names += text[position : match.start()].split()
        position = match.end()
        if not match.group(1):
            if match.group() in tags.SPECIAL_INDEX:
                repairs.append(f"unexpected tag {match.group()}")
            else:
                names.append(match.group())  # shaped like a tag but not one: text
            continue
        tick = _tick(match.group(1))
        if names:
            close(tick, f"{shown} ... {match.group()}".strip())
            shown = ""
            continue
        if begin is not None:
            repairs.append(f"no label between {shown} and {match.group()}")
        begin, shown = -1 if tick is None else tick, match.group()
    names += text[position:].split()
    if names:
        repairs.append(f"no end time for {' '.join(names)!r}")
    elif begin is not None:
        repairs.append(f"no label after {shown}")
    ordered = sorted(spans, key=lambda span: span.start)
    if ordered != spans:
        repairs.append("spans out of order")
    return ParsedSpans(ordered, repairs)

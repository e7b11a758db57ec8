"""Answers with times: words one after another, keywords, and spans that may overlap.

A span is `<|start|>label<|end|>`; spans stand in the order of their starts.
"""

from __future__ import annotations

import re

from qwen_audio.format import tags
from qwen_audio.format.answers.base import Body, Parsed, listed, plain, required, tag, with_times
from qwen_audio.format.example import Example
from qwen_audio.format.tags import Segment
from qwen_audio.format.text import collapse_spaces
from qwen_audio.format.timestamps import Span, Word, parse_spans, parse_words, render_spans, render_words

# words one after another -------------------------------------------------------------------------------


def _render_words(example: Example, form: str) -> list[Segment]:
    if example.words is None:
        raise ValueError(
            f"example {example.id!r} of task {example.task!r} has no words with times: add `words`"
        )
    return render_words(example.words)


def _parse_words(text: str) -> Parsed:
    parsed = parse_words(text)
    return Parsed(" ".join(word.word for word in parsed.words), words=parsed.words, problems=parsed.repairs)


def _ask_words(example: Example) -> list[Segment]:
    """The tagged answer, with the `<|0.00|>` that stands in the prompt of the task itself."""
    return [tag(tags.time_tag(0.0)), *_render_words(example, "")]


# keywords ------------------------------------------------------------------------------------------------


def _render_keyword(example: Example, form: str) -> list[Segment]:
    """`<|startofword|>w<|endofword|>`; in the form "times" for every word, with its times, by `<|delim|>`."""
    if form != "times":
        name = required(example, example.label or example.text, "keyword")
        return [tag(tags.START_OF_WORD), plain(name), tag(tags.END_OF_WORD)]
    segments: list[Segment] = []
    last = 0.0
    for word in example.words or []:
        if word.start < last or word.end < word.start:
            raise ValueError(
                f"example {example.id!r}: the keyword {word.word!r} at {word.start:.2f} to {word.end:.2f} s is not "
                "after the one in front of it: sort the words and cut overlaps"
            )
        last = word.end
        if segments:
            segments.append(tag(tags.DELIMITER))
        segments += [tag(tags.START_OF_WORD), plain(collapse_spaces(word.word))]
        segments.append(tag(tags.END_OF_WORD, tags.time_tag(word.start), tags.time_tag(word.end)))
    return segments


def _ask_keyword(example: Example) -> list[Segment]:
    return [plain(required(example, example.text or example.label, "text"))]


_TIMES = re.compile(r"\s*((?:<\|[0-9]{1,2}\.[0-9]{2}\|>)*)(.*)", re.S)


def _parse_keyword(text: str) -> Parsed:
    """Parse keywords, each from `<|startofword|>` to the next `<|endofword|>`; text outside them is reported."""
    names: list[str] = []
    words: list[Word] = []
    problems: list[str] = []
    head, *pieces = text.split(tags.START_OF_WORD)
    rest = [head]
    for piece in pieces:
        name, closed, after = piece.partition(tags.END_OF_WORD)
        if not closed:
            rest += [tags.START_OF_WORD, piece]
            continue
        match = _TIMES.match(after)
        assert match is not None  # every part is optional
        rest.append(match[2])
        names.append(tags.without_tags(name, problems))
        if match[1]:
            times = [float(time) for time in match[1][2:-2].split("|><|")]
            if len(times) != 2 or not times[0] <= times[1] <= tags.MAX_TICK / tags.TICKS_PER_SECOND:
                problems.append(f"the times {match[1]} of {names[-1]!r} are no start and end")
                continue
            if words and times[0] < words[-1].end:
                problems.append(f"the keyword {names[-1]!r} starts before the one in front of it ends")
            words.append(Word(names[-1], *times))
    if not names:
        problems.append("no <|startofword|> ... <|endofword|> pair")
        names = [tags.without_tags(text, [])]
    elif left := collapse_spaces("".join(rest).replace(tags.DELIMITER, "")):
        problems.append(f"not read: {left}")
    words.sort(key=lambda word: word.start)
    return Parsed(" ".join(names), words=words, label=names[0], fields={"keywords": names}, problems=problems)


# spans that may overlap ----------------------------------------------------------------------------------


def _spans(example: Example) -> list[Span]:
    if example.spans is None:
        raise ValueError(f"example {example.id!r} of task {example.task!r} has no times: add `spans`")
    return example.spans


def _render_events(example: Example, form: str) -> list[Segment]:
    return render_spans(_spans(example))


def _render_turns(example: Example, form: str) -> list[Segment]:
    """Turns of speakers, numbered in order of appearance, so that there is one right answer."""
    names = list(dict.fromkeys(span.label for span in _spans(example)))
    wanted = [f"speaker {number}" for number in range(1, len(names) + 1)]
    if names != wanted:
        raise ValueError(
            f"example {example.id!r}: the speakers of the spans are {', '.join(names)} in order of appearance; "
            f"name them {', '.join(wanted)}"
        )
    return render_spans(_spans(example))


def _parse_spans(text: str) -> Parsed:
    parsed = parse_spans(text)
    summary = listed(f"{s.label} from {s.start:.2f} to {s.end:.2f}" for s in parsed.spans)
    return Parsed(summary, spans=parsed.spans, problems=parsed.repairs)


def _ask_spans(example: Example) -> list[Segment]:
    """`dog from <|0.50|> to <|1.20|>, ...`: times inside a sentence, as a chat model writes them."""
    parts = [
        f"{collapse_spaces(span.label)} from {tags.time_tag(span.start)} to {tags.time_tag(span.end)}"
        for span in _spans(example)
    ]
    return with_times(listed(parts))


BODIES: dict[str, Body] = {
    "words": Body("`words`", _render_words, _parse_words, _ask_words, grows=True),
    "keyword": Body("`label`, else `text`; or `words`", _render_keyword, _parse_keyword, _ask_keyword),
    "events": Body("`spans` (label: event)", _render_events, _parse_spans, _ask_spans, grows=True),
    "turns": Body("`spans` (label: speaker 1, 2 ...)", _render_turns, _parse_spans, _ask_spans, grows=True),
}

"""Cards of the worst examples: the wanted answer and what was answered, a player, and a picture of the times.

The recordings are inside the page, so they are few and small: `AUDIO_BYTES` in all, given out in turns, the worst
example of every benchmark first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from qwen_audio.api import load_window
from qwen_audio.audio.load import SAMPLE_RATE, AudioError
from qwen_audio.eval.metrics.text import CHARACTER_LANGUAGES
from qwen_audio.eval.predictions import Prediction
from qwen_audio.eval.report.clips import as_mp3, outline
from qwen_audio.eval.report.contents import LETTERS, Contents, Entry
from qwen_audio.eval.report.difference import Piece, differences
from qwen_audio.eval.report.html import Child, data_uri, el, language_code
from qwen_audio.eval.report.pictures import Lane, timeline
from qwen_audio.eval.report.subsets import seconds_of, snr_of
from qwen_audio.eval.report.tables import mark
from qwen_audio.format import tasks
from qwen_audio.format.answers.base import Parsed

AUDIO_BYTES = 5_500_000  # of all recordings as they stand in the page
_SPOKEN = ("transcript", "words", "overlap", "dialect")
_TIMED = ("words", "events", "turns")
_COLUMNS_PER_SECOND, _MOST_COLUMNS = 60, 1200


@dataclass
class Clips:
    """What of one example's recordings is in the page: players, the times on the first one, or why there is none."""

    players: list[Element]
    picture: Element | None = None
    lanes: list[Lane] = field(default_factory=list)
    note: str = ""
    size: int = 0


def cards(contents: Contents, budget: int = AUDIO_BYTES) -> tuple[dict[str, list[Element]], int]:
    """Cards by name of the benchmark, and how many bytes their recordings take."""
    turns = [
        (position, place, row)
        for place, entry in enumerate(contents.entries)
        for position, row in enumerate(entry.worst)
    ]
    found: dict[tuple[int, int], Element] = {}
    used = 0
    for position, place, row in sorted(turns):
        entry = contents.entries[place]
        clips = _clips(contents, entry, row, budget - used)
        used += clips.size
        found[place, position] = _card(contents, entry, row, clips)
    return {
        entry.benchmark.name: [found[place, position] for position in range(len(entry.worst))]
        for place, entry in enumerate(contents.entries)
    }, used


def _clips(contents: Contents, entry: Entry, row: int, budget: int) -> Clips:
    example = entry.first.predictions[row].example
    found = Clips([])
    for number, ref in enumerate(example.audio):
        try:
            wave = load_window(ref.path, start=ref.start, duration=ref.duration)
            uri = data_uri(as_mp3(wave), "audio/mpeg")
        except (AudioError, OSError, ValueError) as error:
            found.note = f"no player: {error}"
            continue
        if found.size + len(uri) > budget:
            found.note = "no player: the page's space for recordings is used up"
            continue
        found.size += len(uri)
        name = f"recording {number + 1} of " if len(example.audio) > 1 else "recording of "
        found.players.append(
            el(
                "audio",
                controls=True,
                preload="none",
                src=uri,
                aria_label=name + example.id,
                data_clip=str(number),
            )
        )
        if number == 0 and tasks.task_of(example.task).body in _TIMED:
            seconds = len(wave) / SAMPLE_RATE
            shape = outline(wave, max(min(int(seconds * _COLUMNS_PER_SECOND), _MOST_COLUMNS), 2))
            found.lanes = _lanes(contents, entry, row)
            found.picture = timeline(shape, seconds, found.lanes, f"wave and times of {example.id}")
    return found


def _by_id(predictions: Sequence[Prediction], identity: str) -> Prediction | None:
    return next((p for p in predictions if p.example.id == identity), None)


def _lanes(contents: Contents, entry: Entry, row: int) -> list[Lane]:
    """The wanted times, then those that each run found; events and speakers that overlap have a line for each label."""
    example = entry.first.predictions[row].example
    wanted = entry.first.predictions[row].truth
    if example.words and not wanted.words:
        wanted.words = list(example.words)
    lanes = _lanes_of(wanted, "wanted", "wanted")
    for run, scored in contents.runs_of(entry):
        prediction = _by_id(scored.predictions, example.id)
        if prediction is not None and prediction.parsed is not None:
            name = "found" if len(contents.runs) == 1 else f"found by {LETTERS[run]}"
            lanes += _lanes_of(prediction.parsed, name, f"found r{run % 6}")
    return lanes


def _lanes_of(parsed: Parsed, name: str, class_: str) -> list[Lane]:
    if parsed.words:
        return [Lane(name, [(w.word, w.start, w.end) for w in parsed.words], class_)]
    labels = dict.fromkeys(span.label for span in parsed.spans)
    return [
        Lane(name, [(s.label, s.start, s.end) for s in parsed.spans if s.label == label], class_)
        for label in labels
    ]


def _card(contents: Contents, entry: Entry, row: int, clips: Clips) -> Element:
    prediction = entry.first.predictions[row]
    example = prediction.example
    body = tasks.task_of(example.task).body
    facts = [example.language or "", f"{seconds_of(prediction):.1f} s" if seconds_of(prediction) else ""]
    snr = snr_of(example.meta)
    facts.append("" if snr is None else f"{snr:.0f} dB over noise")
    code = example.language if body in _SPOKEN else example.target_language if body == "text" else None
    text = {"lang": language_code(code), "dir": "auto"}
    answers = [(run, _by_id(scored.predictions, example.id)) for run, scored in contents.runs_of(entry)]
    rows: list[Child] = []
    if body == "answer" and example.question:
        rows += [el("dt", "asked"), el("dd", example.question)]
    first = prediction.hypothesis
    marked = body in (*_SPOKEN, "text", "events", "entities", "turns")
    wanted = (
        differences(prediction.reference, first or "", code)[0]
        if marked
        else [Piece(prediction.reference, True)]
    )
    rows += [el("dt", "wanted"), el("dd", _marked(wanted, "del", code), **text)]
    for run, answer in answers:
        if answer is None:
            continue
        rows.append(el("dt", mark(run) if len(contents.runs) > 1 else None, "answered"))
        if answer.hypothesis is None:
            rows.append(el("dd", el("span", answer.error or "no output", class_="none")))
        elif not answer.hypothesis:
            rows.append(el("dd", el("span", "nothing", class_="none")))
        else:
            same = answer.hypothesis == answer.reference
            pieces = (
                differences(answer.reference, answer.hypothesis, code)[1]
                if marked
                else [Piece(answer.hypothesis, same)]
            )
            rows.append(el("dd", _marked(pieces, "ins", code), **text))
    problems = [
        el("li", mark(run) if len(contents.runs) > 1 else None, " ", problem)
        for run, answer in answers
        if answer is not None
        for problem in answer.problems
    ]
    return el(
        "article",
        el("header", el("b", example.id), [el("span", fact) for fact in facts if fact]),
        clips.players,
        el("p", clips.note, class_="soft") if clips.note else None,
        _strip(clips),
        el("dl", rows),
        el("ul", problems, class_="problems") if problems else None,
        class_="example",
    )  # fmt: skip


def _strip(clips: Clips) -> Element | None:
    if clips.picture is None:
        return None
    names = ", ".join(dict.fromkeys(lane.name for lane in clips.lanes))
    strip = el("div", clips.picture, class_="strip", tabindex=0, role="region", aria_label="times")
    return el("div", strip, el("small", f"Under the wave, from the top: {names}.") if names else None)


def _marked(pieces: Sequence[Piece], name: str, language: str | None) -> list[Child]:
    """The text of the pieces, those that stand in one text only as elements of that name."""
    out: list[Child] = []
    for number, piece in enumerate(pieces):
        if number and language not in CHARACTER_LANGUAGES:
            out.append(" ")
        out.append(piece.text if piece.same else el(name, piece.text))
    return out

"""A benchmark's own part of the page: all its scores, its parts, what was taken for what, its worst examples."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from qwen_audio.eval.report import names
from qwen_audio.eval.report.confusion import Confusion
from qwen_audio.eval.report.contents import Contents, Entry
from qwen_audio.eval.report.html import Child, el
from qwen_audio.eval.report.pictures import interval_bar
from qwen_audio.eval.report.tables import anchor, mark, scroller, value_of, with_bar

MAX_FAILED = 20  # failures listed by name; the others are counted


def benchmark(contents: Contents, entry: Entry, examples: Sequence[Element]) -> Element:
    """The part of one benchmark, folded; `examples` are the cards of its worst ones."""
    several = len(contents.runs) > 1
    figures = [
        el("span", [mark(run)] if several else [], str(scored.main), class_="figure")
        for run, scored in contents.runs_of(entry)
    ]
    inside: list[Child] = [el("p", entry.benchmark.note, class_="soft")] if entry.benchmark.note else []
    inside += [el("h4", "Scores"), _scores(contents, entry)]
    if entry.first.parts:
        inside += [el("h4", "By language, length and noise"), _parts(contents, entry)]
    for run, scored in contents.runs_of(entry):
        if scored.confusion is not None:
            inside.append(el("h4", mark(run) if several else None, " What was taken for what"))
            inside += _confusion(scored.confusion)
    if examples:
        wide = any(example.find(".//svg[@data-seconds]") is not None for example in examples)
        inside += [
            el("h4", "Worst examples"),
            el("div", list(examples), class_="examples" if wide else "examples pairs"),
        ]
    elif all(scored.main.n > scored.main.failures for scored in entry.by_run.values()):
        inside.append(el("p", "No example with an output went wrong by the main score.", class_="soft"))
    inside += _failed(contents, entry)
    return el(
        "details",
        el("summary", el("span", entry.benchmark.title, class_="name"), figures),
        el("div", inside, class_="inside"),
        class_="bench", id=anchor(entry),
    )  # fmt: skip


def _scores(contents: Contents, entry: Entry) -> Element:
    rows: list[Child] = []
    for run, scored in contents.runs_of(entry):
        letter: list[Child] = [mark(run), " "] if len(contents.runs) > 1 else []
        for score in scored.group.scores:
            extra = [f"{name.replace('_', ' ')}: {value:.4g}" for name, value in score.details.items()]
            more: list[Child] = [
                el("p", ", ".join(extra)) if extra else None,
                el("p", el("code", score.signature)),
            ]
            about: list[Child] = [
                letter,
                names.title_of(score.metric),
                el("span", names.arrow(score), class_="sub"),
            ]
            folded = el(
                "details", el("summary", "signature" + (", parts" if extra else "")), more, class_="small"
            )
            rows.append(
                el("tr", el("th", about, folded, scope="row"), el("td", value_of(score), class_="score"))
            )
        for name, why in scored.group.missing.items():
            told: list[Child] = [el("span", "not measured", class_="none"), el("span", why, class_="sub")]
            rows.append(el("tr", el("th", letter, names.title_of(name), scope="row"), el("td", told)))
    head = el("tr", [el("th", name, scope="col") for name in ("measure", "score, 95 % interval")])
    return scroller(f"scores of {entry.benchmark.title}", el("table", el("thead", head), el("tbody", rows)))


def _parts(contents: Contents, entry: Entry) -> Element:
    """Main score on subsets: a row for each part and run."""
    several = len(contents.runs) > 1
    seconds = max(
        (
            b
            for s in entry.by_run.values()
            for p in s.parts
            for b in (p.score.interval[1], p.score.value)
            if b == b
        ),
        default=1.0,
    )
    bodies: list[Child] = []
    for facet in dict.fromkeys(part.facet for scored in entry.by_run.values() for part in scored.parts):
        rows: list[Child] = [el("tr", el("th", facet, colspan=3, scope="rowgroup"), class_="head")]
        found = [(run, part) for run, s in contents.runs_of(entry) for part in s.parts if part.facet == facet]
        for name in dict.fromkeys(part.name for _, part in found):
            rows += [
                el(
                    "tr",
                    el("th", mark(run) if several else None, " ", name, scope="row"),
                    el("td", part.score.n, class_="n"),
                    with_bar(
                        value_of(part.score),
                        interval_bar(part.score, names.full_of(part.score, seconds), run),
                    ),
                )
                for run, part in found
                if part.name == name
            ]
        bodies.append(el("tbody", rows))
    head = el(
        "tr",
        el("th", "part", scope="col"),
        el("th", "n", scope="col", class_="n"),
        el("th", names.title_of(entry.first.main.metric), scope="col"),
    )
    return scroller(f"parts of {entry.benchmark.title}", el("table", el("thead", head), bodies))


def _confusion(matrix: Confusion) -> list[Child]:
    totals = matrix.counts.sum(axis=1)
    apart = len(matrix.columns) - 2  # the first column that is no class
    used = [j for j in range(len(matrix.columns)) if j < apart or matrix.counts[:, j].any()]
    head = el(
        "tr",
        el("td", el("small", "wanted, by answer")),
        [
            el("th", el("span", matrix.columns[j]), scope="col", class_="apart" if j == apart else None)
            for j in used
        ],
    )
    rows: list[Child] = []
    for i, name in enumerate(matrix.rows):
        cells = []
        for j in used:
            count = int(matrix.counts[i, j])
            shade = min(int(5 * count / totals[i]) + 1, 5) if count else 0
            right = matrix.columns[j] == name and j < apart
            classes = [f"h{shade}" if shade else "", "right" if right else "", "apart" if j == apart else ""]
            cells.append(
                el("td", str(count) if count else "", class_=" ".join(filter(None, classes)) or None)
            )
        rows.append(el("tr", el("th", name, scope="row"), cells))
    table = el("table", el("thead", head), el("tbody", rows), class_="matrix")
    mistakes = [
        el(
            "li",
            el("b", wanted),
            " taken for ",
            el("b", answered),
            f": {count} of {totals[matrix.rows.index(wanted)]}",
        )
        for wanted, answered, count in matrix.mistakes()
    ]
    return [
        el("ul", mistakes) if mistakes else el("p", "No class was taken for another one.", class_="soft"),
        scroller("confusion matrix", table),
    ]


def _failed(contents: Contents, entry: Entry) -> list[Child]:
    found: list[Child] = []
    for run, scored in contents.runs_of(entry):
        failed = [p for p in scored.predictions if p.parsed is None]
        if not failed:
            continue
        rows = [el("li", el("code", p.example.id), ": ", p.error or "no output") for p in failed[:MAX_FAILED]]
        if len(failed) > MAX_FAILED:
            rows.append(el("li", f"and {len(failed) - MAX_FAILED} more"))
        title = f"{len(failed)} without output, counted as wrong"
        letter = mark(run) if len(contents.runs) > 1 else None
        found.append(el("details", el("summary", letter, " ", title), el("ul", rows), class_="small"))
    return found

"""The tables and the radar of the page: the paper's table, all other benchmarks, runs beside one another."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from qwen_audio.eval import published
from qwen_audio.eval.metrics.compare import Comparison
from qwen_audio.eval.metrics.measures import MEASURES
from qwen_audio.eval.metrics.score import Score
from qwen_audio.eval.report import names, paper
from qwen_audio.eval.report.contents import LETTERS, Contents, Entry, Paired
from qwen_audio.eval.report.html import Child, el
from qwen_audio.eval.report.pictures import Ring, difference_bar, interval_bar, radar, svg
from qwen_audio.format import tasks

GROUPS = ("speech", "sound", "music")


def mark(run: int) -> Element:
    """The letter by which a run is known on the page."""
    return el("span", LETTERS[run], class_=f"mark r{run % 6}")


def scroller(label: str, *children: Child, wide: bool = False) -> Element:
    """A box that scrolls by itself, so that the page never does; the keyboard reaches it."""
    return el(
        "div",
        *children,
        class_="scroll wide" if wide else "scroll",
        tabindex=0,
        role="region",
        aria_label=label,
    )


def anchor(entry: Entry) -> str:
    """The id of a benchmark's part of the page."""
    return f"bench-{entry.benchmark.name}"


def figure(contents: Contents, entry: Entry, run: int) -> list[Child]:
    """A main score with its interval, and the letter of the run where there are several."""
    letter: list[Child] = [mark(run), " "] if len(contents.runs) > 1 else []
    return [*letter, *value_of(entry.by_run[run].main)]


def value_of(score: Score) -> list[Child]:
    """A score in bold, its interval below."""
    return [el("b", str(score)), el("span", names.interval_of(score), class_="sub")]


def with_bar(text: Sequence[Child], bar: Element) -> Element:
    """A cell of a figure and its picture, side by side where there is room."""
    return el("td", el("div", el("span", text, class_="score"), bar, class_="figure"))


def others(contents: Contents, entries: Sequence[Entry]) -> Element:
    """Benchmarks outside the paper's table, by group of tasks: main score, interval, constant answer."""
    several = len(contents.runs) > 1
    seconds = max(
        (s.main.interval[1] for e in entries for s in e.by_run.values() if s.main.unit == "seconds"),
        default=1.0,
    )
    head = el(
        "tr", el("th", "benchmark", scope="col"), el("th", "n", scope="col", class_="n wideonly"),
        el("th", "failed", scope="col", class_="n wideonly"), el("th", "score, 95 % interval", scope="col"),
                el("th", "constant answer", scope="col", class_="n wideonly"),
    )  # fmt: skip
    bodies: list[Child] = []
    for group in GROUPS:
        chosen = [entry for entry in entries if entry.group == group]
        if chosen:
            bodies.append(el("tbody", el("tr", el("th", group, colspan=5, scope="rowgroup"), class_="head")))
        bodies += [_other(contents, entry, seconds or 1.0, several) for entry in chosen]
    return scroller("all other benchmarks", el("table", el("thead", head), bodies), wide=True)


def _other(contents: Contents, entry: Entry, seconds: float, several: bool) -> Element:
    rows: list[Child] = []
    for position, (run, scored) in enumerate(contents.runs_of(entry)):
        score, baseline = scored.main, scored.group.baselines.get(scored.main.metric)
        cells: list[Child] = []
        if position == 0:
            n = f"{score.n} examples" + (f", {score.failures} failed" if score.failures else "")
            cells.append(
                el(
                    "th",
                    el("a", entry.benchmark.title, href=f"#{anchor(entry)}"),
                    el("span", f"{names.title_of(score.metric)}, {names.arrow(score)}", class_="sub"),
                    el("span", n, class_="sub narrow"),
                    scope="rowgroup",
                    rowspan=len(entry.by_run) if several else None,
                )
            )
        cells += [
            el("td", _of_count(score.n, entry.benchmark.count), class_="n wideonly"),
            el("td", score.failures, class_="n wideonly"),
            with_bar(
                figure(contents, entry, run),
                interval_bar(score, names.full_of(score, seconds), run, baseline),
            ),
            el("td", "" if baseline is None else score.at(baseline), class_="n wideonly"),
        ]
        rows.append(el("tr", cells))
    return el("tbody", rows, class_="start")


def _of_count(n: int, count: int | None) -> str:
    return str(n) if count in (None, n) else f"{n} of {count}"


def paper_table(contents: Contents, blocks: Sequence[paper.Block]) -> list[Child]:
    """Table 3 of the paper, a table for each data set: published rows, ours in bold, later figures below."""
    return [_block(contents, block) for block in blocks]


def _block(contents: Contents, block: paper.Block) -> Element:
    head = el(
        "tr",
        el("th", "system", scope="col"),
        [el("th", name, scope="col", class_="n") for name in block.heads],
    )
    rows: list[Child] = []
    for line in block.lines:
        name: list[Child] = [line.system]
        if line.run is not None:
            name = [mark(line.run), " ", line.system] if len(contents.runs) > 1 else [line.system]
        cells = [el("td", _cell(cell, line.kind), class_="n") for cell in line.cells]
        if line.kind == "ours" and not any(line.cells):
            cells = [el("td", el("span", paper.NOT_RUN, class_="none"), colspan=len(line.cells))]
        told = {"later": "published later", "paper": "", "ours": "this run"}[line.kind]
        sub = ": ".join(filter(None, [told, line.note]))
        rows.append(
            el(
                "tr",
                el("th", name, el("span", sub, class_="sub") if sub else None, scope="row"),
                cells,
                class_=line.kind,
            )
        )
    box = scroller(block.title, el("table", el("caption", block.title), el("thead", head), el("tbody", rows)))
    if len(block.columns) > 4:
        box.set("class", "scroll broad")
    return box


def _cell(cell: paper.Cell | None, kind: str) -> list[Child]:
    if cell is None:
        return [el("span", paper.NOT_RUN, class_="none")] if kind == "ours" else ["\N{EN DASH}"]
    extra = names.interval_of(cell.score) if cell.score is not None else ""
    return [cell.text, [el("span", text, class_="sub") for text in (extra, cell.note) if text]]


def paper_radar(contents: Contents) -> Element | None:
    """The paper's Figure 1 with our runs in it; None with fewer than three axes."""
    axes = paper.axes(contents)
    if len(axes) < 3:
        return None
    rings = [Ring(published.OURS, [axis.share(published.OURS) for axis in axes], "paper")]
    rings += [
        Ring(name, [axis.share(i) for axis in axes], f"r{i % 6}") for i, name in enumerate(contents.names)
    ]
    key = [
        el(
            "li", axis.title,
            el("span", f"best known: {axis.best_system} {paper.printed(axis.best, axis.measure)}; ", [
                f"{name} {paper.printed(axis.figures[i], axis.measure)}; "
                for i, name in enumerate(contents.names) if i in axis.figures
            ], class_="sub"),
        )
        for axis in axes
    ]  # fmt: skip
    return _picture(rings, key, "Figures beside the best known ones, which are at the rim")


def task_radar(contents: Contents, entries: Sequence[Entry]) -> Element | None:
    """Main scores by task, each the mean over its benchmarks; full marks are at the rim; None with fewer than three.

    Left out: what has no full marks (shifts of times, CIDEr), and sets in which one answer is always right.
    """
    by_task: dict[str, list[Entry]] = {}
    for entry in entries:
        score = entry.first.main
        told = entry.first.group.baselines.get(score.metric, 0.0)
        if MEASURES[score.measure].full is not None and not told >= 1.0:
            by_task.setdefault(entry.benchmark.task, []).append(entry)
    chosen = [by_task[task] for task in tasks.TASKS if task in by_task]
    if len(chosen) < 3:
        return None

    def mean(group: list[Entry], values: Sequence[float | None]) -> float | None:
        """The mean share of the way to the rim; None if one benchmark has no value."""
        shares = []
        for entry, value in zip(group, values, strict=True):
            if value is None or value != value:
                return None
            part = value / names.full_of(entry.first.main, 1.0)
            shares.append(min(max(part if entry.first.main.higher_is_better else 1.0 - part, 0.0), 1.0))
        return sum(shares) / len(shares)

    constant = [mean(g, [e.first.group.baselines.get(e.first.main.metric) for e in g]) for g in chosen]
    rings = [Ring("constant answer", constant, "constant")] if any(constant) else []
    ours = [
        [mean(g, [e.by_run[i].main.value if i in e.by_run else None for e in g]) for g in chosen]
        for i in range(len(contents.runs))
    ]
    rings += [Ring(name, ours[i], f"r{i % 6}") for i, name in enumerate(contents.names)]
    several = len(contents.runs) > 1
    key = [
        el(
            "li",
            tasks.task_of(group[0].benchmark.task).title,
            el(
                "span",
                [
                    [mark(i) if several else None, f" {100 * share:.0f} "]
                    for i, shares in enumerate(ours)
                    if (share := shares[axis]) is not None
                ],
                f"of 100, {len(group)} benchmark{'s' if len(group) > 1 else ''}",
                class_="sub",
            ),
        )
        for axis, group in enumerate(chosen)
    ]
    label = (
        "Main scores by task, nothing in the middle, full marks at the rim; error rates as 1 minus the rate"
    )
    return _picture(rings, key, label)


def _picture(rings: Sequence[Ring], key: Sequence[Element], label: str) -> Element:
    legend = [
        el("li", svg(26, 12, "", el("path", d="M1 6L25 6", class_=f"ring {ring.class_} open")), ring.name)
        for ring in rings
    ]
    return el(
        "div",
        el(
            "figure", radar(rings, len(key), label),
            el("figcaption", el("ul", legend, class_="legend"), el("small", f"{label}. Numbers as in the list.")),
        ),
        el("ol", key, class_="key"),
        class_="picture",
    )  # fmt: skip


def paired(contents: Contents) -> Element | None:
    """Runs beside one another on the examples that both answered."""
    if not contents.paired:
        return None
    limits: dict[str, float] = {}
    for pair in contents.paired:
        if pair.comparison is not None:
            bounds = [abs(b) for b in (pair.comparison.difference, *pair.comparison.interval) if b == b]
            limits[pair.score.unit] = max(limits.get(pair.score.unit, 0.0), *bounds, 0.0)
    head = el(
        "tr",
        el("th", "benchmark", scope="col"),
        el("th", "n", scope="col", class_="n wideonly"),
        el("th", "difference, 95 % interval", scope="col"),
        el("th", "p", scope="col", class_="n wideonly"),
        el("th", "verdict", scope="col", class_="wideonly"),
    )
    rows: list[Child] = []
    for pair in contents.paired:
        measure = el("span", names.title_of(pair.score.metric), class_="sub")
        title = el("th", pair.benchmark.title, measure, scope="row")
        if pair.comparison is None:
            rows.append(el("tr", title, el("td", pair.reason, colspan=4)))
        else:
            rows.append(el("tr", title, _difference(pair, pair.comparison, limits[pair.score.unit])))
    return scroller("paired comparison", el("table", el("thead", head), el("tbody", rows)), wide=True)


def _difference(pair: Paired, told: Comparison, full: float) -> list[Child]:
    bounds = names.span(*(names.signed(pair.score, bound) for bound in told.interval))
    shown = names.signed(pair.score, told.difference)
    p_value = "n/a" if told.p_value != told.p_value else f"{told.p_value:.3f}"
    letters = f"{LETTERS[pair.b]} \N{MINUS SIGN} {LETTERS[pair.a]}: "
    text: list[Child] = [letters, el("b", shown), el("span", bounds, class_="sub")]
    text.append(el("span", f"p {p_value}: {pair.verdict}", class_="sub narrow"))
    return [
        el("td", told.n, class_="n wideonly"),
        with_bar(text, difference_bar(told.difference, told.interval, full, f"{shown}, {bounds}")),
        el("td", p_value, class_="n wideonly"),
        el("td", pair.verdict, class_="wideonly"),
    ]

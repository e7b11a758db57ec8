"""Table 3 of the paper with our rows in it, and what the radar of Figure 1 is drawn from."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qwen_audio.eval.benchmarks import BENCHMARKS
from qwen_audio.eval.metrics.measures import MEASURES
from qwen_audio.eval.metrics.score import Score
from qwen_audio.eval.published import ELSEWHERE, FIGURES, SINCE, PublishedFigure
from qwen_audio.eval.report.contents import Contents
from qwen_audio.eval.report.names import short_of

NOT_RUN = "not run"


@dataclass(frozen=True)
class Cell:
    """A figure: as it is written, as a number in the unit of `Score`, and what must be said of it."""

    text: str
    value: float
    note: str = ""
    score: Score | None = None


@dataclass(frozen=True)
class Line:
    """A system's row in a block: `kind` is paper, ours or later; `run` the place of ours; `note`: of all cells."""

    system: str
    kind: str
    cells: list[Cell | None]
    run: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Block:
    """A data set of the table: `columns` are (benchmark, measure), `heads` what stands over them."""

    title: str
    columns: list[tuple[str, str]]
    heads: list[str]
    lines: list[Line]

    @property
    def was_run(self) -> bool:
        """Whether one of our rows has a figure in it."""
        return any(line.kind == "ours" and any(line.cells) for line in self.lines)


def blocks(contents: Contents) -> list[Block]:
    """Every data set of the paper's table, in its order, then those added since; unrun ones too."""
    measures: dict[str, dict[str, None]] = {}
    for figure in _FIGURES:
        measures.setdefault(figure.benchmark, {})[figure.measure] = None
    # A data set is what stands before the first hyphen; its parts share a table where they have the same measures.
    columns: dict[tuple[str, tuple[str, ...]], list[tuple[str, str]]] = {}
    for name, own in measures.items():
        columns.setdefault((name.split("-")[0], tuple(own)), []).extend((name, measure) for measure in own)
    return [_block(contents, pairs) for pairs in columns.values()]


def _shown() -> list[PublishedFigure]:
    """Table 3 and what came since; of the other tables what Table 3 does not have."""
    main = {(figure.benchmark, figure.measure) for figure in FIGURES if figure.table == "Table 3"}
    return [
        figure
        for figure in FIGURES
        if figure.benchmark not in ELSEWHERE
        and (figure.table in ("Table 3", SINCE) or (figure.benchmark, figure.measure) not in main)
    ]


_FIGURES = _shown()


def _block(contents: Contents, columns: list[tuple[str, str]]) -> Block:
    names = list(dict.fromkeys(benchmark for benchmark, _ in columns))
    titles = [BENCHMARKS[name].title if name in BENCHMARKS else name for name in names]
    common = _common_words(titles)
    measures = list(dict.fromkeys(measure for _, measure in columns))
    title = common.rstrip(" -,").removesuffix(" of") or titles[0]
    if len(measures) == 1:
        title += f" ({short_of(measures[0])})"
    heads = []
    for benchmark, measure in columns:
        rest = titles[names.index(benchmark)][len(common) :].strip(" -,") if len(names) > 1 else ""
        heads.append(
            " ".join(filter(None, [rest, short_of(measure) if len(measures) > 1 or not rest else ""]))
        )
    lines = _published(columns, later=False)
    for place, name in enumerate(contents.names):
        lines.append(Line(name, "ours", [_ours(contents, place, *column) for column in columns], place))
    return Block(title, columns, heads, lines + _published(columns, later=True))


def _common_words(titles: list[str]) -> str:
    """The words with which all titles begin, up to a space or a hyphen; of one title, all of it."""
    if len(titles) == 1:
        return titles[0]
    parts = [re.split(r"(?<=[ -])", title) for title in titles]
    count = next((i for i, words in enumerate(zip(*parts, strict=False)) if len(set(words)) > 1), 0)
    return "".join(parts[0][:count])


def _published(columns: list[tuple[str, str]], *, later: bool) -> list[Line]:
    chosen = [f for f in _FIGURES if (f.table == SINCE) == later and (f.benchmark, f.measure) in columns]
    lines = []
    for system in dict.fromkeys(figure.system for figure in chosen):
        own = {(f.benchmark, f.measure): f for f in chosen if f.system == system}
        cells = [
            None if column not in own else Cell(printed(own[column].value, column[1]), own[column].value)
            for column in columns
        ]
        note = "; ".join(dict.fromkeys(f.note for f in own.values() if f.note))
        tables = (
            "" if later else "; ".join(dict.fromkeys(f.table for f in own.values() if f.table != "Table 3"))
        )
        note = "; ".join(filter(None, [tables, note]))
        lines.append(Line(system, "later" if later else "paper", cells, note=note))
    return lines


def _ours(contents: Contents, place: int, benchmark: str, measure: str) -> Cell | None:
    entry = next((e for e in contents.entries if e.benchmark.name == benchmark), None)
    if entry is None or place not in entry.by_run:
        return None
    scored = entry.by_run[place]
    score = next((s for s in scored.group.scores if measure in (s.measure, s.metric)), None)
    if score is None:
        return None
    whole = entry.benchmark.count
    note = "" if whole in (None, score.n) else f"{score.n} of {whole} examples"
    return Cell(printed(score.value, measure), score.value, note, score)


def printed(value: float, measure: str) -> str:
    """A figure as the paper writes it: shares in percent, shifts in ms, scores of captions plain."""
    if value != value:
        return "n/a"
    row = MEASURES.get(measure)
    if row is not None and row.unit == "seconds":
        return f"{1000 * value:.1f}"
    if row is not None and row.unit == "points":
        return f"{value:.3f}" if row.full is None else f"{value:.1f}"
    return f"{100 * value:.2f}".removesuffix("0")


def _lower_is_better(measure: str) -> bool:
    return measure in MEASURES and not MEASURES[measure].higher


@dataclass(frozen=True)
class Axis:
    """A spoke of the radar, whose rim is `best`; `figures` by published system, or by place for our runs."""

    title: str
    measure: str
    best: float
    best_system: str
    figures: dict[str | int, float]

    def share(self, system: str | int) -> float | None:
        """How far out a system lies, 0 to 1; None without a figure."""
        value = self.figures.get(system)
        if value is None or value != value:
            return None
        top, bottom = (self.best, value) if _lower_is_better(self.measure) else (value, self.best)
        return 1.0 if top == bottom else top / bottom if bottom > 0 else 0.0


def axes(contents: Contents) -> list[Axis]:
    """One axis for each column of the table in which a system of ours has a figure."""
    found = []
    for block in blocks(contents):
        for column, (pair, head) in enumerate(zip(block.columns, block.heads, strict=True)):
            cells: dict[str | int, Cell] = {
                line.system if line.run is None else line.run: cell
                for line in block.lines
                if (cell := line.cells[column]) is not None
            }
            if not any(line.kind == "ours" and line.cells[column] is not None for line in block.lines):
                continue
            figures = {system: cell.value for system, cell in cells.items() if cell.value == cell.value}
            if not figures:
                continue
            pick = min if _lower_is_better(pair[1]) else max
            best = pick(figures, key=lambda system: figures[system])
            title = block.title if head in block.title else f"{block.title.split(' (')[0]} {head}"
            name = best if isinstance(best, str) else contents.names[best]
            found.append(Axis(title, pair[1], figures[best], name, figures))
    return found

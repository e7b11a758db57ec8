"""report.html: one file that asks for nothing from anywhere, whatever the data say."""

from __future__ import annotations

from importlib.resources import files
from xml.etree.ElementTree import Element

from qwen_audio.eval.report import details, examples, names, paper, tables
from qwen_audio.eval.report.contents import Contents, counts, notes, plain, shown_facts
from qwen_audio.eval.report.html import Child, el, render, source_hash


def page(contents: Contents) -> str:
    """The document."""
    blocks = paper.blocks(contents)
    in_paper = {name for block in blocks for name, _ in block.columns}
    others = [entry for entry in contents.entries if entry.benchmark.name not in in_paper]
    cards, size = examples.cards(contents)
    sections = [
        _section("picture", "Picture", "At a glance", _pictures(contents)),
        _section("others", "Benchmarks", "Benchmarks outside the paper's table", _others(contents, others)),
        _section("compared", "Comparison", "Runs beside one another", _compared(contents)),
        _section("paper", "Paper's table", "Table 3 of the paper, with these runs", _paper(contents, blocks)),
        _section("details", "Details", "Benchmark by benchmark", _details(contents, cards, size)),
    ]
    if any(block.was_run for block in blocks):  # the paper's benchmarks first, where there are any
        sections.insert(1, sections.pop(3))
    shown = [section for section in sections if section is not None]
    return render(_document(contents, shown))


def _document(contents: Contents, sections: list[Element]) -> Element:
    folder = files("qwen_audio.eval.report")
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    policy = (
        f"default-src 'none'; style-src {source_hash(style)}; script-src {source_hash(script)}; "
        "img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    )
    title = "Evaluation: " + ", ".join(contents.names)
    links = [
        ("top", "Runs"),
        *((section.get("id") or "", section.get("data-short") or "") for section in sections),
    ]
    for section in sections:
        section.attrib.pop("data-short")
    return el(
        "html",
        el(
            "head",
            el("meta", charset="utf-8"),
            el("meta", http_equiv="Content-Security-Policy", content=policy),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("meta", name="referrer", content="no-referrer"),
            el("title", title),
            el("style", style),
        ),
        el(
            "body",
            el("a", "Skip to the results", href="#" + links[1][0], class_="skip"),
            _head(contents),
            el("nav", el("ul", [el("li", el("a", name, href=f"#{where}")) for where, name in links]),
               class_="bar", aria_label="Sections"),
            el("main", sections),
            el("footer", "Written by Open Qwen-Audio. Every figure, with its signature, is in report.json."),
            el("script", script),
        ),
        lang="en",
    )  # fmt: skip


def _section(identity: str, short: str, title: str, children: list[Child]) -> Element | None:
    if not children:
        return None
    return el("section", el("h2", title), children, id=identity, data_short=short)


def _head(contents: Contents) -> Element:
    several = len(contents.runs) > 1
    cards = []
    for place, run in enumerate(contents.runs):
        totals = counts(run)
        big = [
            (name, str(totals[key]))
            for name, key in (("benchmarks", "benchmarks"), ("examples", "examples"), ("failed", "failures"))
        ]
        hours = totals["audio_hours"]
        big.append(("audio", f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"))
        cards.append(
            el(
                "div",
                el("h3", tables.mark(place) if several else None, contents.names[place]),
                el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in big], class_="big"),
                el(
                    "dl",
                    [[el("dt", name), el("dd", plain(value))] for name, value in shown_facts(run)],
                    class_="facts",
                ),
                el("ul", [el("li", note) for note in notes(contents, place)], class_="notes"),
                class_="card",
            )
        )
    return el("header", el("h1", "Evaluation"), el("div", cards, class_="cards"), class_="top", id="top")


def _pictures(contents: Contents) -> list[Child]:
    known = tables.paper_radar(contents)
    if known is not None:
        return [el("p", "Every axis ends at the best known system, whichever direction is better."), known]
    picture = tables.task_radar(contents, contents.entries)
    return [] if picture is None else [picture]


def _others(contents: Contents, others: list) -> list[Child]:  # type: ignore[type-arg]
    if not others:
        return []
    text = (
        "The thick line is the 95 % bootstrap interval over examples, the small upright stroke what always giving the "
        "commonest answer would score. Lines of shares end at 100 %; an arrow head is a value beyond."
    )
    return [el("p", text, class_="soft"), tables.others(contents, others)]


def _compared(contents: Contents) -> list[Child]:
    table = tables.paired(contents)
    if table is None:
        return []
    text = (
        "Paired, on the examples that both runs answered. One is called better only if the interval leaves out 0 and "
        f"p is below 0.05; of {len(contents.paired)} comparisons of equal systems, up to "
        f"{0.05 * len(contents.paired):.0f} would be called so by chance."
    )
    return [el("p", text, class_="soft"), table]


def _paper(contents: Contents, blocks: list[paper.Block]) -> list[Child]:
    if not blocks:
        return []
    text = (
        "Error rates and accuracies in percent, shifts of word times in milliseconds, all else in points. "
        "Figures published later follow protocols of their own."
    )
    if not any(block.was_run for block in blocks):
        text += " None of these benchmarks was run here."
    return [el("p", text, class_="soft"), el("div", tables.paper_table(contents, blocks), class_="blocks")]


def _details(contents: Contents, cards: dict[str, list[Element]], size: int) -> list[Child]:
    text = (
        "All measures, parts of each set, and the examples that went worst by the main score"
        + (f" (of run {tables.LETTERS[0]} where it answered them)" if len(contents.runs) > 1 else "")
        + f". Recordings inside this page: {names.bytes_of(size)}, of {names.bytes_of(examples.AUDIO_BYTES)} at most. "
    )
    legend: list[Child] = [
        el("del", "marked like this"),
        " is wanted and missing, ",
        el("ins", "like this"),
        " is not wanted.",
    ]
    parts: list[Child] = [el("p", text, legend, class_="soft")]
    return parts + [
        details.benchmark(contents, entry, cards[entry.benchmark.name]) for entry in contents.entries
    ]

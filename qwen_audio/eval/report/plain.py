"""report.json and report.md: the same figures for programs and for a README."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from qwen_audio.eval.report import names, paper
from qwen_audio.eval.report.contents import LETTERS, Contents, Entry, counts, notes, plain, shown_facts


def as_json(contents: Contents) -> dict[str, Any]:
    """Every figure of the report with its signature, as plain data; nan is None."""
    return _finite(
        {
            "runs": [
                {
                    "name": name,
                    "folder": str(run.folder),
                    "facts": run.facts,
                    "counts": counts(run),
                    "notes": notes(contents, place),
                }
                for place, (name, run) in enumerate(zip(contents.names, contents.runs, strict=True))
            ],
            "benchmarks": [_entry(contents, entry) for entry in contents.entries],
            "paper": [
                {
                    "title": block.title,
                    "columns": [{"benchmark": name, "measure": measure} for name, measure in block.columns],
                    "rows": [
                        {
                            "system": line.system,
                            "kind": line.kind,
                            "values": [None if cell is None else cell.value for cell in line.cells],
                            "note": line.note,
                            "cell_notes": ["" if cell is None else cell.note for cell in line.cells],
                        }
                        for line in block.lines
                    ],
                }
                for block in paper.blocks(contents)
            ],
            "compared": [
                {
                    "benchmark": pair.benchmark.name,
                    "metric": pair.score.metric,
                    "a": contents.names[pair.a],
                    "b": contents.names[pair.b],
                    "b_minus_a": None if pair.comparison is None else dataclasses.asdict(pair.comparison),
                    "verdict": pair.verdict,
                }
                for pair in contents.paired
            ],
        }
    )


def _entry(contents: Contents, entry: Entry) -> dict[str, Any]:
    return {
        "benchmark": dataclasses.asdict(entry.benchmark),
        "runs": [
            {
                "run": contents.names[run],
                "n": scored.main.n,
                "failures": scored.main.failures,
                "scores": [score.to_dict() for score in scored.group.scores],
                "baselines": scored.group.baselines,
                "missing": scored.group.missing,
                "parts": [
                    {"facet": p.facet, "part": p.name, "score": p.score.to_dict()} for p in scored.parts
                ],
                "confusion": None
                if scored.confusion is None
                else {
                    "wanted": scored.confusion.rows,
                    "answered": scored.confusion.columns,
                    "counts": scored.confusion.counts.tolist(),
                },
            }
            for run, scored in entry.by_run.items()
        ],
        "worst": [entry.first.predictions[row].example.id for row in entry.worst],
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_markdown(contents: Contents) -> str:
    """Head, tables and comparison, in Markdown."""
    out = ["# Evaluation", ""]
    for place, run in enumerate(contents.runs):
        totals = counts(run)
        facts = ", ".join(f"{name}: {plain(value)}" for name, value in shown_facts(run))
        out += [
            f"**{LETTERS[place]}: {_text(contents.names[place])}**: {totals['examples']} examples of "
            f"{totals['benchmarks']} benchmarks, {totals['failures']} failed, {totals['audio_hours']:.2f} h of audio. "
            + _text(facts),
            "",
            *(f"- {_text(note)}" for note in notes(contents, place)),
            "",
        ]
    blocks = paper.blocks(contents)
    known = {name for block in blocks for name, _ in block.columns}
    if any(block.was_run for block in blocks):
        out += ["## Table 3 of the paper", ""]
        for block in blocks:
            out += [
                *_table([block.title, *block.heads], [_line(line) for line in block.lines], len(block.heads)),
                "",
            ]
    rows = [
        row
        for entry in contents.entries
        if entry.benchmark.name not in known
        for row in _other(contents, entry)
    ]
    if rows:
        head = ["benchmark", "run", "measure", "n", "failed", "score", "95 % interval", "constant answer"]
        out += ["## Benchmarks outside the paper's table", "", *_table(head, rows, 5), ""]
    if contents.paired:
        rows = [
            [
                pair.benchmark.title,
                f"{LETTERS[pair.b]} - {LETTERS[pair.a]}",
                names.title_of(pair.score.metric),
            ]
            + (
                ["", "", "", pair.reason]
                if pair.comparison is None
                else [
                    names.signed(pair.score, pair.comparison.difference),
                    " to ".join(names.signed(pair.score, bound) for bound in pair.comparison.interval),
                    f"{pair.comparison.p_value:.3f}",
                    pair.verdict,
                ]
            )
            for pair in contents.paired
        ]
        head = ["benchmark", "runs", "measure", "difference", "95 % interval", "p", "verdict"]
        out += ["## Runs beside one another", "", *_table(head, rows, 0), ""]
    rows = [
        [
            entry.benchmark.title,
            LETTERS[run],
            part.facet,
            part.name,
            str(part.score.n),
            str(part.score),
            names.interval_of(part.score),
        ]
        for entry in contents.entries
        for run, scored in entry.by_run.items()
        for part in scored.parts
    ]
    if rows:
        head = ["benchmark", "run", "by", "part", "n", "score", "95 % interval"]
        out += ["## By language, length and noise", "", *_table(head, rows, 3), ""]
    return "\n".join(out).rstrip() + "\n"


def _line(line: paper.Line) -> list[str]:
    bold = "**" if line.kind == "ours" else ""
    empty = paper.NOT_RUN if line.kind == "ours" else "-"
    told = "; ".join(filter(None, ["published later" if line.kind == "later" else "", line.note]))
    name = line.system + (f" ({told})" if told else "")
    cells = [
        empty if cell is None else f"{bold}{cell.text}{bold}" + (f" ({cell.note})" if cell.note else "")
        for cell in line.cells
    ]
    return [f"{bold}{name}{bold}", *cells]


def _other(contents: Contents, entry: Entry) -> list[list[str]]:
    rows = []
    for run, scored in entry.by_run.items():
        for score in scored.group.scores:
            baseline = scored.group.baselines.get(score.metric)
            whole = entry.benchmark.count
            rows.append(
                [
                    entry.benchmark.title, LETTERS[run], names.title_of(score.metric),
                    str(score.n) if whole in (None, score.n) else f"{score.n} of {whole}", str(score.failures),
                    str(score), names.interval_of(score), "" if baseline is None else score.at(baseline),
                ]
            )  # fmt: skip
    return rows


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> list[str]:
    """A table whose last `numbers` columns are set to the right."""
    first = len(head) - numbers
    rule = ["---" if column < first else "---:" for column in range(len(head))]
    return ["| " + " | ".join(_text(cell) for cell in row) + " |" for row in (head, rule, *rows)]


def _text(text: str) -> str:
    """Text from data in a table of Markdown: one line, and nothing that starts markup but our own bold."""
    for mark in "\\|<`[":
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())

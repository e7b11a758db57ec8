"""Generated parts of docs/benchmarks.md: tables that follow from the benchmarks, the recipes and the figures.

    python scripts/pages/benchmarks_page.py docs/benchmarks.md

rewrites the text between `<!-- NAME -->` and `<!-- end NAME -->`; the prose around it is written by hand.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from filling import fill

from qwen_audio.data.recipes import RECIPES
from qwen_audio.eval.benchmarks import BENCHMARKS
from qwen_audio.eval.published import ELSEWHERE, SINCE, PublishedFigure, figures

# Units as the paper prints them: factor and digits by measure.
_PRINTED = {
    "wer_published": (100, "{:.4g} %"),
    "bleu": (1, "{:.4g}"),
    "aas_per_token": (1000, "{:.1f} ms"),
    "aas": (1000, "{:.1f} ms"),
    "rtfx": (1, "{:.0f}"),
}


def generated_parts() -> dict[str, str]:
    """Name -> text of every generated part."""
    return {
        "benchmarks": _benchmarks(),
        "prompts": _prompts(),
        "corpora": _corpora(),
        "figures": _figures(),
    }


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _benchmarks() -> str:
    rows = [
        [
            f"`{row.name}`",
            row.title,
            "" if row.count is None else f"{row.count:,}",
            ", ".join(f"`{measure}`" for measure in row.measures),
            row.note,
        ]
        for row in BENCHMARKS.values()
    ]
    return _table(("name", "test set", "examples", "measures", "to know"), rows)


def _prompts() -> str:
    bounds: dict[tuple[str, int | None], list[str]] = {}
    for row in BENCHMARKS.values():
        bounds.setdefault((row.prompt or "", row.max_new_tokens), []).append(f"`{row.name}`")
    rows = [
        [f"`{prompt.replace('|', chr(92) + '|')}`", str(bound), ", ".join(names)]
        for (prompt, bound), names in bounds.items()
    ]
    return _table(("after the audio", "new tokens", "benchmarks"), rows)


def _corpora() -> str:
    parts = []
    for recipe in RECIPES.values():
        parts.append(
            f"**{recipe.title}**. Where: {recipe.home}. Licence: {recipe.licence}. Folder: {recipe.layout}.\n\n"
            f"```bash\nqwen-audio prepare {recipe.name} FOLDER --out manifests\n```"
        )
    return "\n\n".join(parts)


def _figures() -> str:
    rows = []
    for name in (*BENCHMARKS, *ELSEWHERE):
        for measure in dict.fromkeys(one.measure for one in figures(name)):
            found = figures(name, measure)
            paper = [one for one in found if one.table != SINCE]
            since = [one for one in found if one.table == SINCE]
            notes = "; ".join(dict.fromkeys(one.note for one in since if one.note))
            rows.append([f"`{name}`", f"`{measure}`", _listed(paper), _listed(since), notes])
    return _table(("benchmark", "measure", "paper", "best since", "protocol of the latter"), rows)


def _listed(found: Sequence[PublishedFigure]) -> str:
    """ "system value, ..."; the table where it is not the third."""
    return "; ".join(
        f"{one.system} {printed(one)}" + (f" ({one.table})" if one.table in ("Table 4", "Table 5") else "")
        for one in found
    )


def printed(figure: PublishedFigure) -> str:
    """The value as its source prints it: percent, milliseconds, points or a ratio."""
    scale, form = _PRINTED.get(figure.measure, (1, "{:.4g}"))
    shown = form.format(figure.value * scale)
    whole = figure.measure in ("wer_published", "bleu") and "." not in shown
    return shown.replace(" %", ".0 %") if whole and "%" in shown else shown + ".0" * whole


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrite the generated parts of a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    page: Path = parser.parse_args(arguments).page
    page.write_text(fill(page.read_text(encoding="utf-8"), generated_parts()), encoding="utf-8")


if __name__ == "__main__":
    main()

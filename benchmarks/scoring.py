"""Time to score transcripts and captions, against the published scripts, in one run.

    python benchmarks/scoring.py
    python benchmarks/scoring.py --published FOLDER

FOLDER is `eval_audio` of a checkout of the published Qwen-Audio repository; its `compute_wer` needs the package
editdistance. The published captions are scored by pycocoevalcap (`pip install pycocoevalcap`) with Java. A missing
script is left out and named. Ours also gives the kinds of edit and a bootstrap interval; the published side gives the
value alone. Both score the same texts, made from a seed, and their values are printed for comparison.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import io
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qwen_audio.eval.metrics.captions import cider
from qwen_audio.eval.metrics.compare import compare
from qwen_audio.eval.metrics.text import error_rate
from qwen_audio.eval.metrics.translation import bleu

SEED = 0
VOCABULARY = 5000


def sentences(rng: np.random.Generator, count: int, shortest: int, longest: int) -> list[str]:
    """Sentences of words with the frequencies of a language (Zipf)."""
    letters = np.array(list("etaoinshrdlu"))
    words = ["".join(rng.choice(letters, size=rng.integers(2, 9))) for _ in range(VOCABULARY)]
    share = 1 / np.arange(1, VOCABULARY + 1)
    lengths = rng.integers(shortest, longest + 1, size=count)
    drawn = iter(rng.choice(VOCABULARY, size=int(lengths.sum()), p=share / share.sum()))
    return [" ".join(words[next(drawn)] for _ in range(length)).capitalize() + "." for length in lengths]


def misheard(rng: np.random.Generator, text: str) -> str:
    """A tenth of the words wrong, left out or doubled."""
    out = []
    for word, chance in zip(text.split(), rng.random(len(text.split())), strict=True):
        out += [] if chance < 0.03 else [word, word] if chance < 0.05 else ["zz"] if chance < 0.1 else [word]
    return " ".join(out)


def fastest(runs: Sequence[Callable[[], float]], repeats: int) -> list[tuple[float, float]]:
    """For each function, run in turn: seconds of its fastest run, and its result."""
    times = [float("inf")] * len(runs)
    values = [float("nan")] * len(runs)
    for _ in range(repeats):
        for number, run in enumerate(runs):
            started = time.perf_counter()
            values[number] = run()
            times[number] = min(times[number], time.perf_counter() - started)
    return list(zip(times, values, strict=True))


def published_wer(folder: Path, references: list[str], hypotheses: list[str]) -> Callable[[], float]:
    """The published clean-up and error rate, as its script calls them."""
    import sacrebleu.tokenizers

    if not hasattr(sacrebleu.tokenizers, "TOKENIZERS"):
        # sacrebleu 2 took the table away; the script only asks for "none", which leaves a text as it is.
        sacrebleu.tokenizers.TOKENIZERS = {"none": lambda: lambda text: text}  # type: ignore[attr-defined]
    sys.path.insert(0, str(folder))
    script: Any = importlib.import_module("evaluate_asr")

    def run() -> float:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints the first pair
            wanted = [script.remove_sp(text, "en") for text in references]
            got = [script.remove_sp(text, "en") for text in hypotheses]
            return float(script.compute_wer(wanted, got, "en"))

    return run


def published_cider(references: list[list[str]], captions: list[str]) -> Callable[[], float]:
    """The tokenizer (Java) and CIDEr-D that the published script uses."""
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    wanted = {row: [{"caption": text} for text in texts] for row, texts in enumerate(references)}
    got = {row: [{"caption": text}] for row, text in enumerate(captions)}

    def run() -> float:
        with contextlib.redirect_stderr(io.StringIO()):
            tokenizer = PTBTokenizer()
            return float(Cider().compute_score(tokenizer.tokenize(wanted), tokenizer.tokenize(got))[0])

    return run


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--published", type=Path, help="folder eval_audio of the published repository")
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--captions", type=int, default=5_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    rng = np.random.default_rng(SEED)
    texts = sentences(rng, arguments.pairs, 5, 35)
    heard = [misheard(rng, text) for text in texts]
    flat = sentences(rng, 5 * arguments.captions, 7, 15)
    references = [flat[begin : begin + 5] for begin in range(0, len(flat), 5)]
    captions = [misheard(rng, row[0]) for row in references]
    left_out = []
    rows: list[tuple[str, Callable[[], float], Callable[[], float] | None]] = []

    wer = None
    if arguments.published is None or importlib.util.find_spec("editdistance") is None:
        left_out.append("published error rate: give --published FOLDER, and install editdistance")
    else:
        wer = published_wer(arguments.published, texts, heard)
    rows.append((f"error rate, {len(texts):,} pairs", lambda: error_rate(texts, heard).value, wer))
    consensus = None
    if importlib.util.find_spec("pycocoevalcap") is None or shutil.which("java") is None:
        left_out.append("published CIDEr-D: install pycocoevalcap and Java")
    else:
        consensus = published_cider(references, captions)
    name = f"CIDEr-D, {len(captions):,} captions, 5 references"
    rows.append((name, lambda: cider(references, captions).value, consensus))
    rows.append((f"BLEU with interval, {len(texts):,} pairs", lambda: bleu(texts, heard, "en").value, None))
    one, other = error_rate(texts, heard), error_rate(texts, texts)
    rows.append((f"paired test, {len(texts):,} pairs", lambda: compare(one, other).difference, None))

    error_rate(texts[:1], heard[:1])  # imports
    print(f"{'':44}{'ours':>9}{'published':>11}{'ratio':>8}   values")
    for title, ours, theirs in rows:
        (seconds, value), *peer = fastest([ours] if theirs is None else [ours, theirs], arguments.repeats)
        line = f"{title:44}{seconds:8.2f}s"
        for slower, other_value in peer:
            line += f"{slower:10.2f}s{slower / seconds:7.1f}x   {value:.6f} {other_value:.6f}"
        print(line if peer else f"{line}{'':19}   {value:.6f}")
    for line in left_out:
        print(f"left out: {line}")


if __name__ == "__main__":
    main()

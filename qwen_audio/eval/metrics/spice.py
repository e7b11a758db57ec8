"""SPICE, and SPIDEr: scores of captions that need a Java program and language models which do not come in a package.

SPICE (Anderson et al., ECCV 2016) compares what captions say: objects, what they are like and how they relate. Its
program is `spice-1.0.jar`, with other jars in a folder `lib` beside it, and those of Stanford CoreNLP 3.6.0 in the
same `lib`. The folder is named by the environment variable QWEN_AUDIO_SPICE; without it that of the package
`pycocoevalcap` is taken, which brings everything but CoreNLP. SPIDEr (Liu et al., ICCV 2017) is the mean of CIDEr-D and
SPICE.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qwen_audio.eval.metrics.captions import check_references, cider
from qwen_audio.eval.metrics.missing import MeasureMissing
from qwen_audio.eval.metrics.score import Score, check_lengths, count_failures, of_ratio

FOLDER = "QWEN_AUDIO_SPICE"
JAR = "spice-1.0.jar"
CORENLP = ("lib/stanford-corenlp-3.6.0.jar", "lib/stanford-corenlp-3.6.0-models.jar")
_MEMORY = "-Xmx8G"  # as in the published tools; the parser's models alone take some 2 GB


def spice(references: Sequence[Sequence[str]], hypotheses: Sequence[str | None]) -> Score:
    """Mean SPICE F-score, 0 to 1; a failed example has 0.

    Raises:
        MeasureMissing without Java or the jars, ValueError for an example without a reference, RuntimeError if the
        program breaks off.
    """
    each = _of_examples(references, hypotheses)
    return of_ratio(
        "spice",
        each,
        np.ones(len(each)),
        failures=count_failures(hypotheses),
        signature=f"{_RULE}|failed:0",
        unit="points",
    )


def spider(references: Sequence[Sequence[str]], hypotheses: Sequence[str | None]) -> Score:
    """Mean of CIDEr-D and SPICE; raises as `spice` does, and is missing wherever that is."""
    each = _of_examples(references, hypotheses)
    consensus = cider(references, hypotheses)
    assert consensus.per_example is not None
    return of_ratio(
        "spider",
        (each + consensus.per_example[0]) / 2,
        np.ones(len(each)),
        failures=consensus.failures,
        signature=f"{consensus.signature.rpartition('|')[0]}|{_RULE}",
        unit="points",
        details={"cider": consensus.value, "spice": float(each.mean()) if len(each) else float("nan")},
    )


_RULE = f"spice:{JAR.removesuffix('.jar').removeprefix('spice-')},corenlp3.6.0"


def _of_examples(references: Sequence[Sequence[str]], hypotheses: Sequence[str | None]) -> np.ndarray:
    """(n,) F-scores."""
    check_lengths(references, hypotheses)
    check_references(references)
    java, folder = _program()
    rows = [row for row, text in enumerate(hypotheses) if text]
    each = np.zeros(len(references))
    if not rows:
        return each
    asked = [{"image_id": row, "test": hypotheses[row], "refs": list(references[row])} for row in rows]
    with tempfile.TemporaryDirectory() as temporary:
        question, answer = Path(temporary, "in.json"), Path(temporary, "out.json")
        question.write_text(json.dumps(asked), encoding="utf-8")
        command = [java, _MEMORY, "-jar", JAR, str(question), "-out", str(answer), "-subset", "-silent"]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if run.returncode or not answer.is_file():
            last = [line for line in run.stderr.splitlines() if line.strip()][-1:] or ["no message"]
            raise RuntimeError(f"{folder / JAR} broke off ({last[0].strip()}): run it by hand to see more")
        for row in json.loads(answer.read_text(encoding="utf-8")):
            each[row["image_id"]] = row["scores"]["All"]["f"]
    return each


def _program() -> tuple[str, Path]:
    """Java and the folder of the jars."""
    java = shutil.which("java")
    if java is None:
        raise MeasureMissing("SPICE needs Java: install a Java runtime, so that `java` is found")
    named = os.environ.get(FOLDER)
    package = importlib.util.find_spec("pycocoevalcap")
    if named is None and (package is None or not package.submodule_search_locations):
        raise MeasureMissing(
            f"SPICE needs {JAR} and Stanford CoreNLP 3.6.0: name their folder in {FOLDER}, see docs/metrics.md"
        )
    folder = Path(named or Path(*list(package.submodule_search_locations or [])[:1], "spice"))  # type: ignore[union-attr]
    absent = [name for name in (JAR, *CORENLP) if not (folder / name).is_file()]
    if absent:
        raise MeasureMissing(f"SPICE lacks {', '.join(absent)} in {folder}: see docs/metrics.md")
    return java, folder

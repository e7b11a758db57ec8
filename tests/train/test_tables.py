"""experiments/tables.py: the configurations differ in what they should, and the table says what the scores say."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
from paths import ROOT

from qwen_audio.data.manifest import AudioRef, Example, write_manifest
from qwen_audio.train.config import load_config
from qwen_audio.train.sources import SourceConfig

pytest.importorskip("espeakng_loader", reason="needs the synth extra")

SPEC = importlib.util.spec_from_file_location("tables", ROOT / "experiments" / "tables.py")
tables = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tables)


@pytest.fixture
def base(tmp_path, monkeypatch):
    """The base configuration with a corpus of two rows."""
    (tmp_path / "a.flac").write_bytes(b"")
    audio = [AudioRef(path=str(tmp_path / "a.flac"), duration=1.0)]
    rows = [
        Example(id="1", task="asr", audio=audio, text="one", source="fsdd"),
        Example(
            id="2", task="word_timestamps", audio=audio, text="", words=[("one", 0.1, 0.4)], source="fsdd_seq"
        ),
    ]
    write_manifest(tmp_path / "train.jsonl", rows)
    for name in ("OUT", "WARMSTART", "CORPUS"):
        monkeypatch.setenv(name, str(tmp_path))
    return load_config(tables.BASE)


def test_the_configurations_differ_in_style_and_srwt_alone(base, tmp_path):
    made = {name: tables.configuration(base, name, 1, tmp_path) for name in tables.CONFIGURATIONS}
    assert [made[name].tag_style for name in "ABCD"] == ["hierarchical", "hierarchical", "dataset", "none"]
    for name in "ACD":
        assert made[name].sources == base.sources
        assert replace(made[name], tag_style="hierarchical", output=made["A"].output) == made["A"]
    assert replace(made["B"], sources=base.sources, output=made["A"].output) == made["A"]
    assert {made[name].output for name in "ABCD"} == {str(tmp_path / f"{name}-1") for name in "ABCD"}


def test_without_srwt_no_example_has_word_times(base, tmp_path):
    """The speech source of the other task stays as it is, at its weight."""
    sources = tables.configuration(base, "B", 1, tmp_path).sources
    assert len(sources) == len(base.sources) - 1
    speech = [source for source in sources if source.kind == "speech"]
    assert [source.options["tasks"] for source in speech] == [{"asr": 1}]
    assert speech[0] == next(source for source in base.sources if source.kind == "speech")
    manifest = next(source for source in sources if source.kind == "manifest")
    small = replace(manifest, weights={"word_timestamps": manifest.weights["word_timestamps"]}).build()
    assert [group[0].task for group, p in zip(small.groups, small.p, strict=True) if p > 0] == ["asr"]
    mixed = SourceConfig("speech", 1.0, options={"tasks": {"asr": 1, "word_timestamps": 2}})
    assert tables.without_srwt(mixed).options == {"tasks": {"asr": 1}}


def made_up(folder, name, seed, right):
    """Scores of a run that has `right` of 10 questions of each kind right, and 0.1 less error than that."""
    output = folder / f"{name}-{seed}" / "scores"
    groups = {}
    for metric in tables.METRICS:
        unit = "seconds" if metric.metric == "aas" else "ratio"
        one = {"metric": metric.metric, "unit": unit, "value": right / 10, "interval_95": [0.0, 1.0]}
        group = {"scores": [], "baselines": {"accuracy": 0.25}}
        groups.setdefault((metric.source, metric.task), group)["scores"].append(one)
    for number, ((source, task), group) in enumerate(groups.items()):
        place = output / str(number)
        place.mkdir(parents=True)
        (place / "benchmark.json").write_text(json.dumps({"source": source, "task": task}))
        (place / "scores.json").write_text(json.dumps(group))
        (place / "predictions.jsonl").write_text("")
    facts = {"benchmarks": [str(number) for number in range(len(groups))], "audio_seconds": 1.0}
    (output / "run.json").write_text(json.dumps(facts))
    lines = [
        {
            "id": f"{kind}-{i}",
            "source": tables.SPEECH_SOURCE,
            "task": "audio_qa",
            "reference": f"{i % 5}",
            "hypothesis": f"{i % 5}" if i < right else "",
        }
        for kind in ("place", "at")
        for i in range(10)
    ]
    speech = {"source": tables.SPEECH_SOURCE, "reference": "a", "hypothesis": "a"}
    answers = [("asr", "a"), ("asr", "a<|0.50|>"), ("word_timestamps", "a<|0.50|>"), ("word_timestamps", "a")]
    lines += [
        {"id": "x", "task": task, "raw": raw, **speech} for task, raw in (*answers, ("asr", "<|endoftext|>"))
    ]
    (output / "0" / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_table_gives_means_spread_and_differences_by_seed(tmp_path):
    for seed, rights in ((1, (8, 6, 7, 2)), (2, (9, 8, 9, 3))):
        for name, right in zip("ABCD", rights, strict=True):
            made_up(tmp_path, name, seed, right)
    made_up(tmp_path, "A", 3, 1)  # a seed that the others do not have
    questions = [
        Example(
            id=f"{kind}-{i}", task="audio_qa", audio=[AudioRef(path="a.flac")], text="x", question="?",
            source=tables.SPEECH_SOURCE, meta={"kind": kind},
        )
        for kind in ("place", "at")
        for i in range(10)
    ]  # fmt: skip
    (tmp_path / "evaluation").mkdir()
    write_manifest(tmp_path / "evaluation" / "all.jsonl", questions)
    rows = {
        line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ")
        for line in tables.table(tmp_path).splitlines()
    }
    heads = next(iter(rows.values()))
    assert heads[3:5] == ["A: tags, SRWT (3)", "B: tags, no SRWT (2)"] and heads[7] == "A - B (2)"
    # The commonest answer is 2 of 10; A is right in 80, 90 and 10 %, B in 60 and 80, C in 70 and 90, D in 20 and 30.
    words = rows["AQA, words, %"]
    assert 20 < float(words.pop(2)) < 40  # 10 questions, of which 8 are right
    assert words == [
        "AQA, words, %", "20", "60.0 [10.0, 90.0]", "70.0 [60.0, 80.0]", "80.0 [70.0, 90.0]", "25.0 [20.0, 30.0]",
        "+15.0 [+10.0, +20.0]", "+5.0 [+0.0, +10.0]", "+60.0 [+60.0, +60.0]",
    ]  # fmt: skip
    assert rows["AQA, times of words, %"][3:] == words[2:]
    assert rows["AQA, sounds, %"][1:3] == ["25", "50.0"]
    assert rows["asked for words: no times in the answer, %"][6].startswith("66.7 ")
    assert rows["asked for times: times in the answer, %"][6].startswith("50.0 ")
    shift = rows["shift of word times (AAS), ms"]
    assert shift[3:5] == ["600.0 [100.0, 900.0]", "not trained"] and shift[7] == ""
    assert "| 85.0 [80.0, 90.0] |" in tables.table(tmp_path, [1, 2])
    with pytest.raises(ValueError, match="no run has scores"):
        tables.table(tmp_path, [4])


def test_the_evaluation_is_of_held_out_speech_and_of_the_test_rows(base, tmp_path, monkeypatch):
    audio = [AudioRef(path=str(tmp_path / "a.flac"), duration=1.0)]
    test = [
        Example(id="t1", task="asr", audio=audio, text="two", source="fsdd"),
        Example(id="t2", task="asr", audio=audio, text="two", source="another corpus"),
    ]
    write_manifest(tmp_path / "test.jsonl", test)
    few = tuple((kind, options, 2) for kind, options, _ in tables._HEARD)
    monkeypatch.setattr(tables, "_HEARD", few)
    manifest = tables.evaluation_manifest(base, tmp_path / "out")
    rows = tables.read_manifest(manifest)
    assert len(rows) == 2 * len(few) + 1 and rows[-1].id == "t1"
    wanted = {(metric.source, metric.task) for metric in tables.METRICS}
    assert all((row.source, row.task) in wanted for row in rows)
    words = set(
        tables.SourceConfig("speech_questions", 1, options={"vocabulary_size": 10}).build()._vocabulary
    )
    assert all(set(row.text.split()) <= words for row in rows if row.task == "asr" and row.id != "t1")
    written = manifest.stat().st_mtime_ns
    assert (
        tables.evaluation_manifest(base, tmp_path / "out") == manifest
        and manifest.stat().st_mtime_ns == written
    )
    assert np.isfinite(rows[0].audio[0].duration)

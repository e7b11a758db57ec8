"""The embedded model inside lmms-eval: the calls that lmms-eval makes, and, where it is installed, all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from paths import ROOT

import qwen_audio
from qwen_audio.eval.lmms_eval_adapter import OpenQwenAudio

WORDS = ROOT / "qwen_audio" / "demo_clips" / "words.flac"


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    return soundfile.read(WORDS, dtype="float32")[0]


def requests(docs: list[Any], *arguments: tuple[Any, ...]) -> tuple[dict[str, Any], list[SimpleNamespace]]:
    """The documents of a task, and its instances: (context, second argument) for each document."""
    made = [
        SimpleNamespace(args=(context, second, lambda doc: [doc["audio"]], at, "a_task", "test"))
        for at, (context, second) in enumerate(arguments)
    ]
    return {"a_task": {"test": docs}}, made


def test_the_task_as_it_was_trained(wave: np.ndarray) -> None:
    model = OpenQwenAudio(task="asr", language="en", device="cpu", batch_size="2", max_batch_size=None)
    decoder = SimpleNamespace(
        get_all_samples=lambda: SimpleNamespace(data=torch.from_numpy(wave)[None], sample_rate=16_000)
    )
    kinds = [
        {"array": wave, "sampling_rate": 16_000},
        {"bytes": WORDS.read_bytes(), "path": "words.flac"},
        {"bytes": None, "path": str(WORDS)},
        str(WORDS),
        decoder,
    ]
    docs = [{"audio": kind} for kind in kinds]
    options = {"max_new_tokens": 100, "temperature": 0, "do_sample": False, "num_beams": 1}
    model.task_dict, asked = requests(docs, *[("What is said?", options)] * len(docs))
    answers = model.generate_until(asked)
    assert len(set(answers)) == 1
    assert answers[0] == qwen_audio.load(device="cpu").transcribe(str(WORDS), language="en").text
    model.task_dict, asked = requests(docs[:1], ("", {"until": ["eight"]}))
    assert model.generate_until(asked) == [answers[0].split("eight")[0].strip()]


def test_a_context_is_a_question_and_likelihoods_rank_answers(wave: np.ndarray) -> None:
    model = OpenQwenAudio(device="cpu")
    docs = [{"audio": {"array": wave, "sampling_rate": 16_000}, "answer": "yes"}] * 4
    question = "Which digit is spoken second?"
    model.task_dict, asked = requests(docs, (question, {}))
    (answer,) = model.generate_until(asked)
    assert answer == qwen_audio.load(device="cpu").ask(str(WORDS), question).text
    choices = [(question, f" {answer}"), (question, " a church bell"), (question, lambda doc: doc["answer"])]
    model.task_dict, asked = requests(docs, *choices)
    (likely, greedy), (rare, other), (_, third) = model.loglikelihood(asked)
    assert rare < likely < 0 and greedy is True and other is False and third is False


def test_what_cannot_be_answered(wave: np.ndarray) -> None:
    model = OpenQwenAudio(device="cpu")
    long = {"array": np.tile(wave, 10), "sampling_rate": 16_000}
    model.task_dict, asked = requests([{"audio": long}, {"audio": str(WORDS)}], ("a?", {}), ("a?", {}))
    with pytest.warns(UserWarning, match=r"a_task 0: .*at most 30 s.* left empty"):
        answers = model.generate_until(asked)
    assert answers[0] == "" and answers[1]
    for options in ({"do_sample": True, "temperature": 0.7}, {"num_beams": 4}):
        model.task_dict, asked = requests([{"audio": str(WORDS)}], ("a?", options))
        with pytest.raises(ValueError, match="answers greedily"):
            model.generate_until(asked)
    with pytest.raises(NotImplementedError):
        model.generate_until_multi_round([])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"speed": 2}, "unknown argument 'speed'"),
        ({"task": "nothing"}, "unknown task"),
        ({"batch_size": "auto"}, "give a whole number"),
    ],
)
def test_arguments_that_cannot_be_used(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        OpenQwenAudio(**arguments)


TASK = """
task: local_asr
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/rows.jsonl}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function local_task.audio_of
doc_to_text: "What is said?"
doc_to_target: text
process_results: !function local_task.right
metric_list: [{{metric: exact, aggregation: mean, higher_is_better: true}}]
generation_kwargs: {{max_new_tokens: 64, temperature: 0, do_sample: false}}
metadata: {{version: 0}}
"""
FUNCTIONS = """
def audio_of(doc):
    return [doc["audio"]]
def right(doc, results):
    return {"exact": float(results[0] == doc["text"])}
"""


def test_lmms_eval_runs_a_task_with_it(tmp_path: Path) -> None:
    if find_spec("lmms_eval") is None:
        pytest.skip("lmms-eval is not installed")
    entry = tmp_path / "plugin" / "entry-0.dist-info"  # what the installed package has
    entry.mkdir(parents=True)
    (entry / "METADATA").write_text("Metadata-Version: 2.1\nName: entry\nVersion: 0\n")
    target = "open_qwen_audio = qwen_audio.eval.lmms_eval_adapter:manifest"
    (entry / "entry_points.txt").write_text(f"[lmms_eval.models]\n{target}\n")
    folder = tmp_path / "tasks"
    folder.mkdir()
    spoken = qwen_audio.load(device="cpu").transcribe(str(WORDS), language="en").text
    rows = [{"audio": str(WORDS), "text": text} for text in (spoken, "something else")]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "local_task.py").write_text(FUNCTIONS)
    (folder / "local_asr.yaml").write_text(TASK.format(folder=folder))
    path = os.pathsep.join([str(ROOT), str(entry.parent), os.environ.get("PYTHONPATH", "")])
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    command = [sys.executable, "-m", "lmms_eval", "--model", "open_qwen_audio", "--tasks", "local_asr"]
    command += ["--model_args", "pretrained=embedded,task=asr,language=en", "--include_path", str(folder)]
    command += ["--device", "cpu", "--batch_size", "2", "--output_path", str(tmp_path / "out")]
    environment = {**os.environ, **offline, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    (results,) = (tmp_path / "out").rglob("*results.json")
    assert json.loads(results.read_text())["results"]["local_asr"]["exact,none"] == 0.5

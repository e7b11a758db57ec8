"""The model inside the package: it loads without a network, its size and card are in order, it hears its clips."""

import json
import math
import re

import jiwer
import pytest
import torch

import qwen_audio
from qwen_audio.data.manifest import read_manifest
from qwen_audio.eval.metrics.word_times import matched_pairs
from qwen_audio.model.loading import EMBEDDED
from qwen_audio.show.demo import CLIPS, MANIFEST, run_demo

pytestmark = pytest.mark.versions


@pytest.fixture(scope="module")
def model():
    return qwen_audio.load()


@pytest.fixture(scope="module")
def clips():
    return {e.id: e for e in read_manifest(CLIPS / MANIFEST)}


def test_it_is_small_and_safe_and_has_a_card():
    files = {p.name for p in EMBEDDED.iterdir()}
    assert files >= {"config.json", "model.safetensors", "tokenizer.json", "MODEL_CARD.md"}
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl"))]
    assert (EMBEDDED / "model.safetensors").stat().st_size < 40e6
    card = (EMBEDDED / "MODEL_CARD.md").read_text(encoding="utf-8")
    for word in ("CC-BY-SA-4.0", "espeak-ng", "fsdd", "What it cannot do"):
        assert word in card


def test_it_reads_the_digits_of_its_clip_with_their_times(model, clips):
    example = clips["words"]
    result = model.transcribe(example.audio[0].path, word_timestamps=True)
    assert result.language == "en"
    assert jiwer.wer(example.text, result.text) <= 0.35
    pairs = matched_pairs([w.word for w in example.words], [w.word for w in result.words])
    shifts = [abs(example.words[i].start - result.words[j].start) for i, j in pairs]
    assert len(pairs) >= 4 and sum(shifts) / len(shifts) < 0.3
    assert all(0 <= w.start < w.end for w in result.words)


def test_the_answer_comes_from_the_audio(model, clips):
    rate = 16_000
    silence = torch.zeros(rate).numpy(), rate
    words = clips["words"]
    heard = model.transcribe(words.audio[0].path).text
    assert jiwer.wer(words.text, heard) < jiwer.wer(words.text, model.transcribe(silence).text or "-")


def test_classify_gives_probabilities(model, clips):
    labels = ["rain", "siren", "dog barking"]
    result = model.classify(clips["sound"].audio[0].path, labels)
    assert result.text in labels
    assert math.isclose(sum(result.scores.values()), 1.0, abs_tol=1e-6)


def test_the_same_answers_whatever_the_batch(model, clips):
    from qwen_audio.api import Request, load_window
    from qwen_audio.format.tasks import example_prompt

    requests = [
        Request(e.task, [load_window(e.audio[0].path)], prompt=example_prompt(e)) for e in clips.values()
    ]
    assert [o.raw for o in model.run(requests, 1)] == [o.raw for o in model.run(requests, len(requests))]


def test_its_tensors_are_finite(model):
    assert all(torch.isfinite(t).all() for t in model.model.state_dict().values())
    assert json.loads((EMBEDDED / "config.json").read_text())["model_type"] == "qwen_audio"


# Of the demo, with every set of packages that is run (scripts/check_versions).
ANSWERS = {
    "sentence": "you should sell it before two clock",
    "words": "four four eight one zero nine five",
    "note": "41",
    "sound": "clock ticking",
    "scene": "A person sneezes.",
}


def test_the_five_answers_of_the_demo(model, capsys, tmp_path):
    run_demo(model, tmp_path)
    out = capsys.readouterr().out
    found = re.findall(r"^\[\d\] (\w+)\.flac.*?^    model: (.*?)$", out, flags=re.M | re.S)
    assert dict(found) == ANSWERS

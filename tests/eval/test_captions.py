"""Caption scores: words, CIDEr-D against stored and live references, SPICE and FENSE where they can be had or not."""

from __future__ import annotations

import json
import math
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT

from qwen_audio.eval.metrics import fense, spice
from qwen_audio.eval.metrics.captions import caption_words, cider, cider_of_words
from qwen_audio.eval.metrics.missing import MeasureMissing

GOLDEN = json.loads((ROOT / "tests" / "golden" / "metrics.json").read_text(encoding="utf-8"))["caption"]
REFERENCES, CAPTIONS = GOLDEN["references"], GOLDEN["predictions"]


def test_captions_become_the_words_of_the_published_tokenizer():
    for row, texts in enumerate(REFERENCES):
        tokenized = GOLDEN["ptb_tokenized_references"][str(row)]
        assert [" ".join(caption_words(text)) for text in texts] == tokenized
        assert " ".join(caption_words(CAPTIONS[row])) == GOLDEN["ptb_tokenized_predictions"][str(row)][0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # each as Stanford's PTBTokenizer parts it, marks left out
        ("A car's engine revs; it can't stop, gonna go.", "a car 's engine revs it ca n't stop gon na go"),
        (
            "a high-pitched beep (of noise) at 10,000 Hz",
            "a high-pitched beep -lrb- of noise -rrb- at 10,000 hz",
        ),
        ("Mr. Smith in the U.S. at 10:30", "mr. smith in the u.s. at 10:30"),
        ("it’s a dog—barks … loud!!!", "it 's a dog barks loud !!!"),
        ("Rain,rain and/or 50% wind", "rain rain and/or 50 % wind"),
        ("they're I'm we've he'd she'll cannot", "they 're i 'm we 've he 'd she 'll can not"),
        ("rock 'n' roll, O'Brien's 1990s, '90s", "rock 'n' roll o'brien 's 1990s '90s"),
        ("No. 5 says no. Et al.", "no. 5 says no et al."),
        ("", ""),
    ],
)
def test_words_of_a_caption(text, words):
    assert caption_words(text) == words.split()


def test_cider_equals_the_published_one():
    score = cider(REFERENCES, CAPTIONS)
    assert score.value == pytest.approx(GOLDEN["CIDEr"], abs=1e-9)
    assert score.per_example[0] == pytest.approx(GOLDEN["CIDEr_per_item"], abs=1e-9)
    assert score.interval[0] <= score.value <= score.interval[1]
    assert score.unit == "points" and str(score) == "1.56"


def _sentence(rng: random.Random, words: int, longest: int = 9) -> list[str]:
    return [f"w{rng.randrange(words)}" for _ in range(rng.randint(0, longest))]


def test_cider_equals_that_of_pycocoevalcap():
    peer = pytest.importorskip("pycocoevalcap.cider.cider", reason="pycocoevalcap is not installed")
    rng = random.Random(0)
    for _ in range(10):
        count, words = rng.randint(1, 40), rng.randint(2, 60)
        references = [[_sentence(rng, words) for _ in range(rng.randint(1, 5))] for _ in range(count)]
        captions = [_sentence(rng, words) if rng.random() < 0.7 else list(row[0]) for row in references]
        _, wanted = peer.Cider().compute_score(
            {row: [" ".join(text) for text in texts] for row, texts in enumerate(references)},
            {row: [" ".join(text)] for row, text in enumerate(captions)},
        )
        np.testing.assert_allclose(cider_of_words(references, captions), wanted, atol=1e-9)


def test_cider_by_hand():
    # Two examples, one word each: every 1-gram has weight log 2, there are no longer ones: a quarter of 10.
    assert cider([["rain"], ["wind"]], ["rain", "wind"]).value == pytest.approx(2.5)
    # A word that all references have weighs nothing.
    assert cider([["rain"], ["rain"]], ["rain", "rain"]).value == 0
    longer = cider([["a b c d"], ["e f g h"]], ["a b c d", "e f g h"])
    assert longer.value == pytest.approx(10)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.text("abc ", min_size=1), min_size=1, max_size=3), st.text("abc "))),
    st.randoms(),
)
def test_cider_does_not_depend_on_order_and_a_failure_never_helps(rows, rng):
    references, captions = [row[0] for row in rows], [row[1] for row in rows]
    each = cider(references, captions).per_example[0] if rows else np.zeros(0)
    order = list(range(len(rows)))
    rng.shuffle(order)
    shuffled = cider([references[i] for i in order], [captions[i] for i in order])
    np.testing.assert_allclose(shuffled.per_example[0], each[order], atol=1e-12)
    if rows:
        failed = cider(references, [None, *captions[1:]])
        assert failed.n == len(rows) and failed.failures == 1 and failed.per_example[0][0] == 0
        assert failed.value <= cider(references, captions).value + 1e-12


def test_an_example_without_references_is_refused():
    with pytest.raises(ValueError, match="example 2 has no reference caption"):
        cider([["a"], []], ["a", "b"])


# SPICE ---------------------------------------------------------------------------------------------------


def test_spice_is_missing_without_java_or_its_jars(tmp_path, monkeypatch):
    monkeypatch.setenv(spice.FOLDER, str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MeasureMissing, match="needs Java"):
        spice.spice(REFERENCES, CAPTIONS)
    _program(tmp_path, "exit 0")
    for score in (spice.spice, spice.spider):
        with pytest.raises(
            MeasureMissing, match=r"SPICE lacks spice-1\.0\.jar, lib/stanford-corenlp-3\.6\.0\.jar"
        ):
            score(REFERENCES, CAPTIONS)


def _program(folder: Path, script: str) -> None:
    """A stand-in for Java: the models of the real program cannot be had in a test."""
    (folder / "java").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "java").chmod(0o755)


def _jars(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (spice.JAR, *spice.CORENLP):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    monkeypatch.setenv(spice.FOLDER, str(folder))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_what_the_spice_program_is_asked_and_answers(tmp_path, monkeypatch):
    _jars(tmp_path, monkeypatch)
    # Keeps what it was asked ($4) and answers ($6) the examples 0, 2 and 3: the second one failed.
    rows = [{"image_id": row, "scores": {"All": {"f": row / 4}}} for row in (3, 0, 2)]
    _program(tmp_path, f"cp $4 {tmp_path}/asked.json; echo '{json.dumps(rows)}' > $6")
    captions = [CAPTIONS[0], None, *CAPTIONS[2:]]
    score = spice.spice(REFERENCES, captions)
    assert score.per_example[0].tolist() == [0, 0, 0.5, 0.75] and score.failures == 1
    assert score.value == pytest.approx(1.25 / 4)
    asked = json.loads((tmp_path / "asked.json").read_text())
    assert [row["image_id"] for row in asked] == [0, 2, 3]
    assert asked[1] == {"image_id": 2, "test": CAPTIONS[2], "refs": REFERENCES[2]}
    both = spice.spider(REFERENCES, captions)
    assert both.value == pytest.approx((cider(REFERENCES, captions).value + score.value) / 2)
    assert both.details == pytest.approx({"cider": cider(REFERENCES, captions).value, "spice": score.value})


def test_a_spice_program_that_breaks_off_is_an_error(tmp_path, monkeypatch):
    _jars(tmp_path, monkeypatch)
    _program(tmp_path, "echo 'Exception: out of memory' >&2; exit 1")
    with pytest.raises(RuntimeError, match=r"broke off \(Exception: out of memory\)"):
        spice.spice(REFERENCES, CAPTIONS)


# FENSE, with models of random weights ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two tiny encoders in the folders that FENSE reads; the detector from a checkpoint as it was published."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("fense")
    texts = " ".join([*CAPTIONS, *(text for row in REFERENCES for text in row), "dog."]).lower().split()
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(["[PAD]", "[UNK]", *texts]))}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        initializer_range=0.5,
    )  # fmt: skip
    torch.manual_seed(0)
    sentences, encoder = BertModel(config).eval(), BertModel(config).eval()
    sentences.save_pretrained(folder / "sentences")
    tokenizer.save_pretrained(folder / "sentences")
    classifier = torch.nn.Linear(16, 6)
    with torch.inference_mode():  # of the first three captions one is found not fluent
        heads = [encoder(**tokenizer(text.lower(), return_tensors="pt"))[0][0, 0] for text in CAPTIONS[:3]]
        low, high = torch.stack([classifier(head)[-1] for head in heads]).sort().values[1:]
    classifier.weight.data *= 10 / (high - low)
    classifier.bias.data.zero_()
    with torch.inference_mode():
        low, high = torch.stack([classifier(head)[-1] for head in heads]).sort().values[1:]
    classifier.bias.data[-1] = math.log(9) - (low + high) / 2
    state = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    state |= {f"clf.{name}": tensor.detach() for name, tensor in classifier.named_parameters()}
    state["encoder.embeddings.position_ids"] = torch.arange(512)[None]  # older transformers saved these
    torch.save({"model_type": "bert", "num_classes": 6, "state_dict": state}, folder / "detector.ckpt")
    fense.convert_detector(folder / "detector.ckpt", folder / "sentences", folder / "fluency")
    return folder, tokenizer, sentences, encoder, classifier


def test_fense_equals_its_definition_one_caption_at_a_time(models, monkeypatch):
    folder, tokenizer, sentences, encoder, classifier = models
    monkeypatch.setenv(fense.FOLDER, str(folder))

    @torch.inference_mode()
    def embedding(text):
        states = sentences(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        return torch.nn.functional.normalize(states.mean(0), dim=0)

    @torch.inference_mode()
    def broken(text):
        states = encoder(**tokenizer(text.replace(".", "").lower(), return_tensors="pt")).last_hidden_state[0]
        return bool(classifier(states[0])[-1].sigmoid() > 0.9)

    captions = [*CAPTIONS[:3], None]
    wanted, flags = [], [broken(text) for text in CAPTIONS[:3]]
    for texts, caption, flag in zip(REFERENCES, CAPTIONS[:3], flags, strict=False):
        near = np.mean([float(embedding(text) @ embedding(caption)) for text in texts])
        wanted.append(near * (0.1 if flag else 1.0))
    score = fense.fense(REFERENCES, captions)
    assert score.per_example[0] == pytest.approx([*wanted, 0.0], abs=1e-5)
    assert score.failures == 1 and score.details["errors"] == sum(flags) / 4
    assert sum(flags) == 1  # both branches of the penalty are seen


def test_fense_of_a_reference_is_one_unless_it_is_not_fluent(models, monkeypatch):
    monkeypatch.setenv(fense.FOLDER, str(models[0]))
    texts = [row[0] for row in REFERENCES]
    each = fense.fense([[text] for text in texts], texts).per_example[0]
    assert all(value == pytest.approx(1, abs=1e-5) or value == pytest.approx(0.1, abs=1e-5) for value in each)


def test_fense_is_missing_without_models_and_refuses_foreign_ones(models, tmp_path, monkeypatch):
    monkeypatch.delenv(fense.FOLDER, raising=False)
    with pytest.raises(MeasureMissing, match="needs two models: name their folder in QWEN_AUDIO_FENSE"):
        fense.fense(REFERENCES, CAPTIONS)
    monkeypatch.setenv(fense.FOLDER, str(tmp_path))
    with pytest.raises(MeasureMissing, match=r"FENSE lacks sentences/config\.json"):
        fense.fense(REFERENCES, CAPTIONS)
    for part in ("sentences", "fluency"):  # no classifier in the second
        (tmp_path / part).symlink_to(models[0] / "sentences")
    with pytest.raises(ValueError, match=r"has no clf\.weight"):
        fense.fense(REFERENCES, CAPTIONS)
    torch.save({"state_dict": {"x": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"has no clf\.weight"):
        fense.convert_detector(tmp_path / "other.ckpt", models[0] / "sentences", tmp_path / "out")

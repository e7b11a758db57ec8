"""Manifests of dialogues, their encoding with labels, and dialogues as sources of a training mixture."""

from __future__ import annotations

import json
from pathlib import Path

import dummies
import numpy as np
import pytest
import soundfile
import torch
from small import random_model

from qwen_audio.data.collate import Collator
from qwen_audio.data.dialogues import Dialogue, DialogueSample, read_dialogues, write_dialogues
from qwen_audio.data.manifest import ManifestError
from qwen_audio.format.chatml import Clip, dialogue_segments
from qwen_audio.format.chatml import Turn as ChatTurn
from qwen_audio.format.tokenizer import byte_tokenizer
from qwen_audio.model.processing_qwen_audio import QwenAudioProcessor
from qwen_audio.show.dialogue import show
from qwen_audio.train.sources import SourceConfig


def row(**changes: object) -> dict:
    turns = [
        {
            "user": [{"audio": {"path": "a.flac", "duration": 0.5}}, {"text": "When?"}],
            "assistant": "At <|0.20|>.",
        },
        {"user": "Thanks!", "assistant": "You are welcome."},
    ]
    return {"id": "d1", "turns": turns, "meta": {"kind": "grounding"}} | changes


def manifest(folder: Path, *rows: dict) -> Path:
    soundfile.write(folder / "a.flac", dummies.chirp(0.5), 16_000)
    path = folder / "dialogues.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_manifest_is_written_as_it_was_read(tmp_path: Path) -> None:
    path = manifest(
        tmp_path, row(system="Be brief."), row(id="d2", turns=[{"user": "2 + 2?", "assistant": "4"}])
    )
    dialogues = read_dialogues(path)
    assert [len(d.audio) for d in dialogues] == [1, 0]
    assert dialogues[0].audio[0].path == str(tmp_path / "a.flac")
    write_dialogues(tmp_path / "again.jsonl", dialogues)
    assert read_dialogues(tmp_path / "again.jsonl") == dialogues
    assert '"path": "a.flac"' in (tmp_path / "again.jsonl").read_text()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"turn": []}, "unknown field `turn`; did you mean turns"),
        ({"turns": []}, "`turns` is empty"),
        ({"turns": [{"user": "Hi"}]}, "the field `turns[0].assistant` is missing"),
        ({"turns": [{"user": "Hi", "assistant": " "}]}, "an answer is empty"),
        ({"turns": [{"user": [{}], "assistant": "x"}]}, "either `audio` or `text`"),
        ({"turns": [{"user": [{"txt": "a"}], "assistant": "x"}]}, "unknown field `turns[0].user[0].txt`"),
        ({"turns": [{"user": [{"audio": {"file": "a"}}], "assistant": "x"}]}, "`turns[0].user[0].audio"),
        ({"turns": [{"user": "Hi", "assistant": "x<|im_end|>"}]}, "the tag <|im_end|>"),
        ({"turns": [{"user": "Hi", "assistant": "at <|31.00|>"}]}, "the tag <|31.00|>"),
        ({"turns": [{"user": "Hi", "assistant": "\ud800"}]}, "surrogate"),
        ({"id": "d1"}, "already on line 1"),
        ({"turns": [{"user": [{"audio": "b.wav"}], "assistant": "x"}]}, "b.wav does not exist"),
    ],
)
def test_faults_name_the_line_and_the_field(tmp_path: Path, changes: dict, said: str) -> None:
    path = manifest(tmp_path, row(), row(id="d2") | changes)
    with pytest.raises(ManifestError) as caught:
        read_dialogues(path)
    assert str(caught.value).startswith(f"{path} line 2: ") and said in str(caught.value)


def test_recordings_in_memory_are_not_written(tmp_path: Path) -> None:
    dialogue = Dialogue.model_validate(row(turns=[{"user": [{"audio": "unset"}], "assistant": "x"}]))
    with pytest.raises(ManifestError, match="has no file"):
        write_dialogues(tmp_path / "d.jsonl", [dialogue])
    with pytest.raises(ManifestError, match="no dialogues"):
        write_dialogues(tmp_path / "d.jsonl", [])
    assert not list(tmp_path.iterdir())


def test_only_answers_are_labelled_and_the_form_is_that_of_chat() -> None:
    processor = QwenAudioProcessor(byte_tokenizer())
    wave = dummies.chirp(0.5)
    encoded = Collator(processor).encode(
        DialogueSample(Dialogue.model_validate(row()), [wave]), np.random.default_rng(0)
    )
    labelled = [i for i in encoded.labels if i != -100]
    assert processor.tokenizer.decode(labelled) == "At <|0.20|>.<|im_end|>You are welcome.<|im_end|>"
    assert all(label in (-100, token) for token, label in zip(encoded.ids, encoded.labels, strict=True))
    turns = [ChatTurn((Clip(50), "When?"), "At <|0.20|>."), ChatTurn(("Thanks!",), "You are welcome.")]
    assert encoded.ids == processor.tokenizer.encode_segments(dialogue_segments(turns))[0]
    assert processor.tokenizer.special_id("<|0.20|>") in labelled
    assert (encoded.task, encoded.ctc, encoded.seconds) == ("chat/grounding", None, 0.5)
    with pytest.raises(ValueError, match="1 recordings and 0 waves"):
        Collator(processor).encode(
            DialogueSample(Dialogue.model_validate(row()), []), np.random.default_rng(0)
        )


def test_a_batch_of_dialogues_trains_a_model(tmp_path: Path) -> None:
    path = manifest(tmp_path, row(), row(id="d2", turns=[{"user": "2 + 2?", "assistant": "4"}]))
    source = SourceConfig("dialogues", 1.0, path=str(path)).build()
    model, processor = random_model()
    collator = Collator(processor)
    rng = np.random.default_rng(0)
    rows = [collator.encode(source.sample(rng), rng) for _ in range(6)]
    assert {r.seconds for r in rows} == {0.0, 0.5}
    inputs = collator.collate(rows).inputs
    loss = model(**inputs).loss
    loss.backward()
    assert torch.isfinite(loss) and model.get_input_embeddings().weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="no dialogues of source 'x'"):
        SourceConfig("dialogues", 1.0, path=str(path), only="x").build()


def test_show_marks_what_is_labelled(tmp_path: Path) -> None:
    text = show(manifest(tmp_path, row()), "d1")
    assert "assistant: At <|0.20|>." in text and "(12 vectors)" in text
    labels = [line for line in text.splitlines() if line.startswith("LABEL")]
    assert labels == ['LABEL "At <|0.20|>.<|im_end|>"', 'LABEL "You are welcome.<|im_end|>"']
    with pytest.raises(ValueError, match="no dialogue has the id 'd9'"):
        show(tmp_path / "dialogues.jsonl", "d9")

"""One step of the loop, and what it says: accumulation, steps that are not finite, validation, TensorBoard."""

import json
from dataclasses import replace

import dummies
import numpy as np
import pytest
import torch
from run_folders import losses, tiny_config
from tiny import trained

from qwen_audio.data.collate import Collator
from qwen_audio.data.manifest import Example, Sample
from qwen_audio.data.mixture import ChunkDataset, Mixture
from qwen_audio.format.tokenizer import byte_tokenizer
from qwen_audio.model.presets import build
from qwen_audio.model.processing_qwen_audio import QwenAudioProcessor
from qwen_audio.train.log import Log
from qwen_audio.train.loop import Trainer
from qwen_audio.train.main import run
from qwen_audio.train.parallel import World
from qwen_audio.train.sources import TextSource
from qwen_audio.train.stages import TrainingModule, freeze, labelled_tokens

ALONE = World(0, 1, torch.device("cpu"), sharded=False)


class Clips:
    """Chirps of any length with short and long answers."""

    def sample(self, rng):
        wave = dummies.chirp(round(float(rng.uniform(0.2, 1.5)), 2))
        text = " ".join(["word"] * int(rng.integers(1, 12)))
        return Sample(Example(id="c", task="asr", audio=[], language="en", text=text), [wave])


def trainer(folder, **kwargs):
    folder.mkdir(exist_ok=True)
    config = tiny_config(folder, time_masks=0, freq_masks=0, **kwargs)
    torch.manual_seed(0)
    processor = QwenAudioProcessor(byte_tokenizer())
    module = TrainingModule(build("test", processor.tokenizer), text=True, ctc=True)
    freeze(module, ["*"])
    module.train()
    mixture = Mixture([(Clips(), 1.0)], seed=0)
    collator = Collator(processor, question_share=0.0, packing=config.packing)
    dataset = ChunkDataset(mixture, collator, config.batch_seconds, 2.0, config.chunk_size)
    return Trainer(config, module, dataset, processor, ALONE)


@pytest.mark.parametrize("packing", [False, True])
def test_accumulated_gradients_are_those_of_the_big_batch(tmp_path, packing):
    one = trainer(tmp_path, packing=packing)
    collator, mixture = one.dataset.collator, one.dataset.mixture
    rows = [collator.encode(*mixture.sample(i)) for i in range(9)]
    parts = {0: rows[:1], 1: rows[1:4], 2: rows[4:]}
    small = {slot: collator.collate(r) for slot, r in parts.items()}
    big = {0: Collator(collator.processor).collate(rows)}
    gradients = []
    for micro in (small, big):
        one.optimizers = []
        taken = {}
        one.mean.update = lambda step, taken=taken: taken.update(
            {n: p.grad.clone() for n, p in one.module.named_parameters()}
        )
        tokens = sum(map(labelled_tokens, micro.values()))
        targets = sum(int(b.ctc_lengths.sum()) for b in micro.values())
        norm, bad = one._step(micro, 0.0, tokens, targets, Log(tmp_path, 1, 0, False, ALONE))
        assert not bad
        gradients.append((norm, taken))
    (norm, apart), (whole_norm, whole) = gradients
    assert norm == pytest.approx(whole_norm, rel=1e-5)
    assert apart.keys() == whole.keys()
    for name in whole:
        scale = whole[name].abs().max()
        assert (apart[name] - whole[name]).abs().max() <= 1e-5 * max(scale, 1e-3), name


def poison(one, steps):
    """Make the loss of these steps not a number."""
    forward = one.module.forward

    def poisoned(batch):
        loss = forward(batch)
        return replace(loss, text=loss.text * float("nan")) if one.step in steps else loss

    one.module.forward = poisoned


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(tmp_path):
    rate = {"learning_rate": 1e-3, "final_learning_rate": 1e-3}
    one, two = (trainer(tmp_path / n, steps=4, bad_steps=1, save_every=100, **rate) for n in "ab")
    poison(one, [3])
    two.config = replace(two.config, steps=3)
    assert one.run().name == "step-000004"
    two.run()
    lines = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    assert [line.get("bad_steps", 0) for line in lines] == [0, 0, 0, 1]
    a, b = one.module.state_dict(), two.module.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_too_many_of_them_in_a_row_end_the_run_with_the_reason(tmp_path):
    one = trainer(tmp_path, steps=6, bad_steps=1, save_every=2)
    poison(one, [3, 4])
    message = r"at step 4 the loss is nan.*lower learning_rate.*step-000004"
    with pytest.raises(FloatingPointError, match=message):
        one.run()
    assert one.folder.is_dir()


def test_answers_are_scored_while_training(tmp_path):
    folder, rows = trained()
    config = tiny_config(
        tmp_path,
        init_from=str(folder / "model"),
        learning_rate=1e-12,
        final_learning_rate=1e-12,
        steps=2,
        validate_manifest=str(folder / "clips.jsonl"),
        validate_every=1,
        tensorboard=True,
    )
    pytest.importorskip("espeakng_loader", reason="needs the synth extra")
    run(config)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    scored = [line for line in lines if "validation" in line]
    assert [line["step"] for line in scored] == [1, 2]
    scores = scored[0]["validation"]
    assert scores["clips/asr"]["wer"] == 0.0
    assert scores["clips/audio_qa"]["accuracy"] == 1.0
    assert {key.split("/")[1] for key in scores} == {row.task for row in rows}
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = events.EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [e.step for e in board.Scalars("loss")] == [1, 2]
    assert board.Scalars("validation/clips/audio_qa/accuracy")[0].value == 1.0


def test_a_language_model_learns_to_write_first(tmp_path):
    pytest.importorskip("wordfreq", reason="needs the synth extra")
    source = replace(tiny_config(tmp_path).sources[0], kind="text", options={"languages": {"en": 1, "de": 1}})
    config = tiny_config(
        tmp_path, stage="text", train=None, sources=[source], steps=30, learning_rate=1e-2, log_every=5
    )
    run(config)
    curve = [line["text"] for line in losses(tmp_path)]
    assert curve[-1] < 0.8 * curve[0]


def test_texts_of_a_file_are_lines_and_their_ends(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("one line\n\n<|endoftext|> is text\n", encoding="utf-8")
    source = TextSource(str(path))
    assert {source.sample(np.random.default_rng(i)).text for i in range(20)} == {
        "one line",
        "<|endoftext|> is text",
    }
    collator = Collator(QwenAudioProcessor(byte_tokenizer()))
    row = collator.encode(source.sample(np.random.default_rng(0)), np.random.default_rng(0))
    tokenizer = collator.processor.tokenizer
    assert row.ids.count(tokenizer.eos_token_id) == 1 and row.ids == row.labels
    path.write_text("\n")
    with pytest.raises(ValueError, match=r"texts\.txt.*no text"):
        TextSource(str(path))

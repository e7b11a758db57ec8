"""Tag styles: what stands between audio and answer, in training, in the table of data sets and in generation."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny

import qwen_audio
from qwen_audio.data.collate import Collator
from qwen_audio.data.manifest import Example, Sample
from qwen_audio.eval.evaluate import evaluate
from qwen_audio.format import tags
from qwen_audio.format.tag_styles import DATASETS_FILE, TagStyle, dataset_ids, read_dataset_ids
from qwen_audio.format.tasks import example_prompt, render
from qwen_audio.format.timestamps import Word
from qwen_audio.format.tokenizer import byte_tokenizer
from qwen_audio.inference.allowed import allowed_after
from qwen_audio.model.processing_qwen_audio import QwenAudioProcessor
from qwen_audio.train.config import ConfigError, TrainConfig
from qwen_audio.train.main import run
from qwen_audio.train.sources import SourceConfig

IDS = dataset_ids(
    [("clips", "asr"), ("clips", "word_timestamps"), ("clips", "audio_qa"), ("clips", "sound_event")]
)
TIMES = [Word("go", 0.1, 0.25), Word("up", 0.3, 0.5)]
EXAMPLES = {
    "asr": Example(id="a", task="asr", audio=[], text="Go up!", language="en", source="clips"),
    "word_timestamps": Example(
        id="w", task="word_timestamps", audio=[], text="", words=TIMES, language="en", source="clips"
    ),
    "audio_qa": Example(id="q", task="audio_qa", audio=[], text="up", question="Which one?", source="clips"),
    "sound_event": Example(
        id="e",
        task="sound_event",
        audio=[],
        text="rain",
        label="rain",
        question="Which sound?",
        source="clips",
    ),
}


def written(segments):
    return "".join(segment.text for segment in segments)


def test_ids_are_given_by_sorted_names_whatever_the_order():
    assert IDS == {
        "clips/asr": "<|extra_0|>",
        "clips/audio_qa": "<|extra_1|>",
        "clips/sound_event": "<|extra_2|>",
        "clips/word_timestamps": "<|extra_3|>",
    }
    assert dataset_ids([("b", "asr"), ("a", "asr")]) == dataset_ids(
        [("a", "asr"), ("b", "asr"), ("a", "asr")]
    )
    with pytest.raises(ValueError, match="206 data sets, but 205"):
        dataset_ids([(str(n), "asr") for n in range(206)])


@pytest.mark.parametrize("task", list(EXAMPLES))
def test_the_hierarchical_style_is_that_of_the_format(task):
    style = TagStyle()
    assert style.prompt(EXAMPLES[task]) == example_prompt(EXAMPLES[task])
    assert style.render(EXAMPLES[task]) == render(EXAMPLES[task])


def test_one_id_stands_for_the_tags():
    style = TagStyle("dataset", IDS)
    assert written(style.render(EXAMPLES["asr"])) == "<|extra_0|>go up<|endoftext|>"
    assert written(style.render(EXAMPLES["audio_qa"])) == "<|extra_1|>Which one?up<|endoftext|>"
    assert written(style.render(EXAMPLES["sound_event"])) == "<|extra_2|>rain<|endoftext|>"
    asked = style.render(EXAMPLES["sound_event"], as_question=True)
    assert written(asked) == "<|extra_2|>Which sound?rain<|endoftext|>"
    assert written(style.render(EXAMPLES["word_timestamps"])).startswith("<|extra_3|>")


def test_nothing_stands_for_the_tags():
    style = TagStyle("none")
    assert style.prompt(EXAMPLES["asr"]) == style.prompt(EXAMPLES["sound_event"]) == []
    assert written(style.render(EXAMPLES["asr"])) == "go up<|endoftext|>"
    assert written(style.render(EXAMPLES["audio_qa"])) == "Which one?up<|endoftext|>"


@pytest.mark.parametrize("task", list(EXAMPLES))
@pytest.mark.parametrize("style", [TagStyle("dataset", IDS), TagStyle("none")], ids=["dataset", "none"])
def test_what_is_labelled_is_the_answer_of_the_format(style, task):
    example = EXAMPLES[task]
    made = style.render(example)
    answer = [segment for segment in made if segment.label]
    tagged = [segment for segment in render(example) if segment.label]
    # In the format the language tag may be labelled too.
    assert answer == tagged[-len(answer) :] and len(tagged) - len(answer) <= 1
    assert made == [*style.prompt(example), *answer]


def test_a_question_that_looks_like_a_tag_stays_text():
    example = EXAMPLES["audio_qa"].model_copy(update={"question": "What is <|endoftext|>?"})
    for style in (TagStyle("dataset", IDS), TagStyle("none")):
        assert tags.Segment("What is <|endoftext|>?", False, False) in style.prompt(example)


def test_faults_are_named():
    with pytest.raises(ValueError, match="use one of hierarchical, dataset, none"):
        TagStyle("flat")
    with pytest.raises(ValueError, match="needs the table"):
        TagStyle("dataset")
    with pytest.raises(ValueError, match="'other/asr' has no id"):
        TagStyle("dataset", IDS).prompt(EXAMPLES["asr"].model_copy(update={"source": "other"}))
    with pytest.raises(ConfigError, match="'tag_style' is 'flat'"):
        TrainConfig(stage="multitask", output="x", sources=[], tag_style="flat")


def test_a_bad_table_is_named(tmp_path):
    file = tmp_path / DATASETS_FILE
    with pytest.raises(ValueError, match=r"datasets\.json: cannot be read"):
        read_dataset_ids(file)
    file.write_text('{"a/asr": "<|en|>"}')
    with pytest.raises(ValueError, match="must map"):
        read_dataset_ids(file)
    file.write_text(json.dumps(IDS))
    assert read_dataset_ids(file) == IDS


def test_the_collator_writes_the_style():
    processor = QwenAudioProcessor(byte_tokenizer())
    sample = Sample(EXAMPLES["sound_event"], [np.zeros(8_000, np.float32)])
    rng = np.random.default_rng(0)
    row = Collator(processor, question_share=0, style=TagStyle("none")).encode(sample, rng)
    answer = processor.tokenizer.encode_plain("rain")
    assert [i for i in row.labels if i >= 0] == [*answer, processor.tokenizer.eos_token_id]
    assert row.ids[-len(answer) - 2] == processor.tokenizer.audio_end_id


def test_without_task_tags_an_answer_may_hold_what_any_task_writes():
    tokenizer = byte_tokenizer()
    time, end = tokenizer.special_id(tags.time_tag(0.5)), tokenizer.special_id(tags.END_OF_TEXT)
    for tagged in ("", "<|extra_3|>"):
        allowed = allowed_after(tokenizer, tagged, len(tokenizer))
        assert allowed[time] and allowed[end]
        assert not allowed[tokenizer.special_id("<|extra_3|>")]
    asr = "".join(s.text for s in example_prompt(EXAMPLES["asr"]))
    assert not allowed_after(tokenizer, asr, len(tokenizer))[time]


@pytest.mark.parametrize("style", ["dataset", "none"])
def test_a_run_trains_goes_on_and_is_evaluated_in_its_style(tmp_path, style):
    folder, rows = tiny.trained()
    source = SourceConfig("manifest", 1.0, path=str(folder / "clips.jsonl"))
    settings = {
        "stage": "multitask", "train": ["*"], "output": str(tmp_path / "run"), "sources": [source], "preset": "test",
        "tag_style": style, "batch_seconds": 5, "chunk_size": 8, "workers": 0, "warmup_steps": 1,
    }  # fmt: skip
    run(TrainConfig(steps=1, **settings))
    table = tmp_path / "run" / DATASETS_FILE
    ids = read_dataset_ids(table) if style == "dataset" else None
    assert table.exists() == (style == "dataset")
    if ids:
        assert set(ids) == {f"clips/{row.task}" for row in rows}
    last = run(TrainConfig(steps=2, **settings))
    assert last.name == "step-000002"
    report = evaluate(
        qwen_audio.load(last), folder / "clips.jsonl", tmp_path / "scores", prompt=TagStyle(style, ids).prompt
    )
    assert len(report.predictions) == len(rows) and not any(p.error for p in report.predictions)


@pytest.mark.parametrize("kind", ["speech", "long_speech", "speech_questions", "sounds", "notes", "scenes"])
def test_every_example_of_a_synthetic_source_is_of_a_listed_data_set(kind):
    pytest.importorskip("espeakng_loader", reason="needs the synth extra")
    pytest.importorskip("pretty_midi", reason="needs the synth extra")
    config = SourceConfig(kind, 1.0)
    source, listed = config.build(), config.datasets()
    for seed in range(6):
        example = source.sample(np.random.default_rng(seed)).example
        assert (example.source, example.task) in listed


def test_the_world_lists_what_its_parts_list():
    kinds = ("speech", "spoken", "scenes", "sounds", "notes", "music")
    parts = set().union(*(SourceConfig(kind, 1.0).datasets() for kind in kinds))
    assert SourceConfig("world", 1.0).datasets() == parts
    assert len(dataset_ids(parts)) == len(parts)

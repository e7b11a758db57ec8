"""The Python interface: faults of checkpoints, limits of decoding, answers of a trained model."""

import io
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import tiny
import torch
from generating import generate
from paths import ROOT
from safetensors.torch import load_file, save_file

import qwen_audio
from qwen_audio.api import Request
from qwen_audio.audio.load import AudioError
from qwen_audio.data.manifest import read_manifest
from qwen_audio.format import tags, tasks
from qwen_audio.format.tags import Segment
from qwen_audio.inference.allowed import allowed_ids
from qwen_audio.inference.scoring import score_answers
from qwen_audio.inference.stopping import loop_length
from qwen_audio.model.loading import CheckpointError

pytestmark = pytest.mark.versions


@pytest.fixture(scope="module")
def model():
    return qwen_audio.load(tiny.trained()[0] / "model", device="cpu")


@pytest.fixture
def untrained(tmp_path):
    return tiny.save_untrained(tmp_path / "model")


# the package


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, qwen_audio; "
        "heavy = {'torch', 'transformers', 'numpy', 'pydantic', 'matplotlib'} & set(sys.modules); "
        "assert not heavy, heavy; assert qwen_audio.Word and qwen_audio.AudioError; "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_public_names_exist():
    assert all(getattr(qwen_audio, name) is not None for name in qwen_audio.__all__)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = qwen_audio.lod


# answers


@pytest.mark.parametrize(("name", "language"), [("up", "en"), ("down", "de"), ("hiss", "unknown")])
def test_transcript_and_predicted_language(model, name, language):
    result = model.transcribe(tiny.wave_of(name), detect="sound")
    assert (result.text, result.language) == (f"go {name}", language)
    assert result.words is None and result.problems == []


def test_word_times_come_with_the_words(model):
    result = model.transcribe(tiny.wave_of("down"), language="de", word_timestamps=True, detect="sound")
    assert result.text == "go down" and result.language == "de"
    assert [(w.word, w.start, w.end) for w in result.words] == [("go", 0.1, 0.25), ("down", 0.3, 0.51)]


def test_question_caption_and_labels(model):
    assert model.ask(tiny.wave_of("hiss"), "Which one?").text == "hiss"
    assert model.caption(tiny.wave_of("up")).text == "A up sound."
    result = model.classify(tiny.wave_of("down"), ["up", "down", "hiss"], question="Which one?")
    assert result.text == "down" and result.scores["down"] > 0.9
    assert sum(result.scores.values()) == pytest.approx(1.0) and list(result.scores) == ["up", "down", "hiss"]


def test_every_form_of_audio_gives_the_same_answer(model):
    path = tiny.trained()[0] / "up.flac"
    for source in (str(path), path, path.read_bytes(), io.BytesIO(path.read_bytes())):
        assert model.transcribe(source, detect="sound").text == "go up"


def test_several_recordings_can_be_asked_about_together(model):
    clips = [tiny.wave_of("up"), tiny.wave_of("down")]
    assert isinstance(model.ask(clips, "Which one?").text, str)
    with pytest.raises(ValueError, match="no audio"):
        model.ask([], "Which one?")


def test_answers_do_not_depend_on_the_batch(model):
    rows = tiny.trained()[1]
    requests = [
        Request(row.task, [tiny.CLIPS[row.id.split("-")[0]]], prompt=tasks.example_prompt(row))
        for row in rows
    ]
    alone = [output.raw for output in model.run(requests, batch_size=1)]
    assert [output.raw for output in model.run(requests, batch_size=7)] == alone
    reverse = model.run(requests[::-1], batch_size=5)[::-1]
    assert [output.raw for output in reverse] == alone
    assert sum(row.text in text for row, text in zip(rows, alone, strict=True)) >= 12


# bad input


def test_audio_over_thirty_seconds_is_refused_and_not_cut(model):
    long = (np.zeros(31 * 16_000, dtype=np.float32), 16_000)
    with pytest.raises(AudioError, match=r"31\.0 s long, but the model hears at most 30 s at once: cut it"):
        model.caption(long)
    exact = (tiny.dummies.noise(30.0), 16_000)
    assert isinstance(model.ask(exact, "Which one?").text, str)


@pytest.mark.parametrize("labels", [[], ["one"], ["a", "a"], ["a", " "]])
def test_labels_must_be_different_phrases(model, labels):
    with pytest.raises(ValueError, match="two or more different"):
        model.classify(tiny.wave_of("up"), labels)


def test_an_empty_question_is_refused(model):
    with pytest.raises(ValueError, match="question is empty"):
        model.ask(tiny.wave_of("up"), "  ")


def test_a_batch_size_below_one_is_refused(model):
    with pytest.raises(ValueError, match="batch_size is 0"):
        model.run([Request("asr", [tiny.CLIPS["up"]])], batch_size=0)


def test_special_tokens_in_a_question_are_plain_text(model):
    plain = model.processor.tokenizer.encode_plain("<|endoftext|>")
    prompt = tasks.prompt("audio_qa", question="<|endoftext|>")
    ids, _ = model.processor.tokenizer.encode_segments(prompt)
    assert model.processor.tokenizer.eos_token_id not in ids and len(plain) == 13
    assert isinstance(model.ask(tiny.wave_of("up"), "</audio><audio>").text, str)


# decoding


def test_a_random_model_writes_only_tokens_of_its_task(untrained):
    random = qwen_audio.load(untrained, device="cpu")
    wave = tiny.CLIPS["up"]
    for task, pattern in [
        ("asr", ()),
        ("audio_caption", ()),
        ("word_timestamps", (*(tags.time_tag(t / 100) for t in range(3001)), tags.SILENCE, tags.DELIMITER)),
    ]:
        raw = random.run([Request(task, [wave], language="en", max_new_tokens=40)])[0].raw
        assert {piece for piece, special in tags.split_tags(raw) if special} <= set(pattern)


def test_every_annotation_of_the_corpus_could_be_generated(shared):
    tokenizer = tiny.byte_tokenizer()
    examples = read_manifest(shared / "corpus" / "test.jsonl", check_files=False)
    one_each = {example.task: example for example in examples}
    assert len(one_each) >= 12
    for example in one_each.values():
        allowed = allowed_ids(tokenizer, [tasks.example_prompt(example)], len(tokenizer))[0]
        answer = tasks.render(example)[len(tasks.example_prompt(example)) :]
        ids, _ = tokenizer.encode_segments([segment for segment in answer if segment.label])
        language = {tokenizer.special_id(tags.language_tag(code)) for code in (*tags.LANGUAGES, None)}
        assert all(allowed[i] for i in ids if i not in language), example.id
        assert not allowed[tokenizer.audio_pad_id] and not allowed[tokenizer.im_start_id]


def test_each_row_ends_at_its_own_limit(untrained):
    random = qwen_audio.load(untrained, device="cpu")
    prompts = [tasks.prompt("asr", language="en")] * 3
    waves = [[tiny.CLIPS[name]] for name in tiny.CLIPS]
    made = generate(random.model, random.processor, waves, prompts, [2, 9, 5])
    lengths = [len(random.processor.tokenizer.encode_plain(m.text)) for m in made if "\ufffd" not in m.text]
    assert all(m.ended_by in ("length", "end", "loop") for m in made)
    assert all(length <= 9 for length in lengths)
    assert generate(random.model, random.processor, waves[:1], prompts[:1], 2)[0].text == made[0].text


def test_loops_are_found_and_cut(untrained):
    assert loop_length([7] * 64) == 1
    assert loop_length([1, 2, 3] * 21 + [1]) == 3
    assert loop_length(list(range(32)) * 2) == 32
    assert loop_length(list(range(64))) == 0 and loop_length([1] * 63 + [2]) == 0
    random = qwen_audio.load(untrained, device="cpu")
    result = random.transcribe(tiny.wave_of("down"), language="en", detect="sound")
    assert result.problems == ["the answer repeated itself and was ended there"] and len(result.text) < 20


@pytest.mark.parametrize(
    ("prompts", "limit", "message"),
    [(2, 5, "2 prompts"), (1, 0, "max_new_tokens"), (1, [1, 2], "max_new_tokens")],
)
def test_rows_prompts_and_limits_must_fit(model, prompts, limit, message):
    with pytest.raises(ValueError, match=message):
        generate(
            model.model,
            model.processor,
            [[tiny.CLIPS["up"]]],
            [tasks.prompt("audio_caption")] * prompts,
            limit,
        )


def test_scores_of_answers_are_the_losses_of_the_model(model):
    prompt = tasks.prompt("audio_qa", question="Which one?")
    answers = ["up", "a longer answer", "down"]
    scores = score_answers(model.model, model.processor, [tiny.CLIPS["up"]], prompt, answers)
    for answer, score in zip(answers, scores, strict=True):
        row = [*prompt, Segment(answer, False, True), Segment(tags.END_OF_TEXT, True, True)]
        with torch.no_grad():
            losses = model.model(
                **model.processor([[tiny.CLIPS["up"]]], [row], padding_side="right")
            ).token_losses
        assert score == pytest.approx(-losses.sum().item(), abs=1e-3)
        assert len(losses) == len(answer) + 1 and math.isfinite(score)


# loading


def test_a_checkpoint_is_named_and_hashed(model, untrained):
    assert model.name == str(tiny.trained()[0] / "model")
    assert len(model.digest()) == 16 and model.digest() != qwen_audio.load(untrained, device="cpu").digest()


def test_dtype_can_be_chosen(untrained):
    assert qwen_audio.load(untrained, device="cpu", dtype=torch.bfloat16).model.dtype == torch.bfloat16
    assert qwen_audio.load(untrained, device="cpu").model.dtype == torch.float32


def test_a_missing_directory_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a directory"):
        qwen_audio.load(tmp_path / "nowhere")


def _rewrite(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _edit_config(folder, change):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    change(config)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


PROJECTION = "audio_projection.weight"
FAULTS = {
    "no config": (lambda f: (f / "config.json").unlink(), "has no config.json"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer.json"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors"),
    "pickled weights": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        "pickled weights only",
    ),
    "cut weights": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-100]),
        "model.safetensors cannot be read",
    ),
    "cut config": (lambda f: (f / "config.json").write_text('{"model_type"'), "config.json is not JSON"),
    "another model": (
        lambda f: _edit_config(f, lambda c: c.update(model_type="llama")),
        "model_type is 'llama'",
    ),
    "wrong value": (
        lambda f: _edit_config(f, lambda c: c["audio_config"].update(d_model=33)),
        "config.json does not describe a model.*d_model=33",
    ),
    "another size": (
        lambda f: _edit_config(f, lambda c: c["text_config"].update(intermediate_size=65)),
        r"mlp\.\w+_proj\.weight has shape \(\d+, \d+\) but config.json asks for",
    ),
    "missing tensor": (lambda f: _rewrite(f, lambda t: t.pop(PROJECTION)), f"lack {PROJECTION}"),
    "surplus tensor": (
        lambda f: _rewrite(f, lambda t: t.update(other=torch.zeros(1))),
        "hold other, unknown to config.json",
    ),
    "another tokenizer": (
        lambda f: _edit_config(f, lambda c: c.update(audio_pad_token_id=5)),
        "audio_pad_token_id is 5 but tokenizer.json has",
    ),
    "cut tokenizer": (lambda f: (f / "tokenizer.json").write_text("{"), "tokenizer.json cannot be read"),
    "index without file": (
        lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b.safetensors"}}'),
        "names b.safetensors, which is missing",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_checkpoint_ends_in_one_sentence(untrained, fault):
    damage, message = FAULTS[fault]
    damage(untrained)
    with pytest.raises(CheckpointError, match=message) as caught:
        qwen_audio.load(untrained, device="cpu")
    assert "\n" not in str(caught.value) and str(untrained) in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, a: m.transcribe(a, language="Klingon"), "Klingon.*en, zh"),
        (lambda m, a: m.transcribe([a, a]), "one recording"),
        (lambda m, a: m.classify(a, "abcd"), "list of words"),
        (lambda m, a: m.classify(a, ["a", "b"], question=" "), "question is empty"),
        (lambda m, a: m.ask(a, None), "question is empty"),
    ],
)
def test_wrong_arguments_are_one_sentence(model, call, message):
    with pytest.raises(ValueError, match=message):
        call(model, tiny.wave_of("up"))


def test_a_device_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="device 'nope'"):
        qwen_audio.load(tiny.save_untrained(tmp_path), device="nope")

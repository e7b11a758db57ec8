"""The model among other libraries: transformers' Auto classes, pipelines and generation, PEFT, quantisers."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import published_weights
import pytest
import soundfile
import tiny
import torch
from adapting import GREEDY, PUBLISHED, inputs_of, logits, needs
from paths import ROOT
from small import random_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    AutoProcessor,
    AutoTokenizer,
    pipeline,
)

import qwen_audio
from qwen_audio.format import tasks
from qwen_audio.format.chatml import ChatError, Turn, build_prompt
from qwen_audio.format.messages import parse_query
from qwen_audio.format.tokenizer import QwenAudioTokenizer
from qwen_audio.model import (
    QwenAudioConfig,
    QwenAudioForConditionalGeneration,
    QwenAudioProcessor,
    QwenAudioTextForCausalLM,
)
from qwen_audio.model.convert import convert
from qwen_audio.model.loading import EMBEDDED

pytestmark = pytest.mark.versions

SENTENCE = Path(qwen_audio.__file__).parent / "demo_clips" / "sentence.flac"
ASR = "".join(segment.text for segment in tasks.prompt("asr", language="en"))
TEXT_MODELS = {
    "qwen2": {},
    "qwen_audio_text": PUBLISHED,
    "mistral": {"sliding_window": 8},
}


@pytest.fixture(scope="module")
def embedded() -> Any:
    return qwen_audio.load(device="cpu")


# directories ----------------------------------------------------------------


def test_auto_classes_read_a_converted_directory(tmp_path: Path) -> None:
    source = published_weights.write(tmp_path / "published", published_weights.state(torch.float32))
    convert(source, tmp_path / "ours")
    config = AutoConfig.from_pretrained(tmp_path / "ours")
    processor = AutoProcessor.from_pretrained(tmp_path / "ours")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert type(config) is QwenAudioConfig and config.text_config.model_type == "qwen_audio_text"
    assert type(processor) is QwenAudioProcessor and type(tokenizer) is QwenAudioTokenizer
    models = [
        auto.from_pretrained(tmp_path / "ours") for auto in (AutoModelForCausalLM, AutoModelForMultimodalLM)
    ]
    assert all(type(model) is QwenAudioForConditionalGeneration for model in models)
    inputs = inputs_of(processor, ["up"], ["down", "hiss"])
    assert torch.equal(*(logits(model.eval(), inputs) for model in models))


def test_one_import_is_enough_in_a_fresh_process() -> None:
    code = (
        "import qwen_audio.model; from transformers import AutoConfig, AutoProcessor; import sys;"
        "print(*(type(a.from_pretrained(sys.argv[1])).__name__ for a in (AutoConfig, AutoProcessor)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(EMBEDDED)], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.split() == ["QwenAudioConfig", "QwenAudioProcessor"], done.stderr


@pytest.mark.parametrize("kind", TEXT_MODELS)
@pytest.mark.parametrize("shard", ["10GB", "100KB"])
def test_saving_and_reading_gives_the_same_logits(kind: str, shard: str, tmp_path: Path) -> None:
    model, processor = random_model(kind, **TEXT_MODELS[kind])
    model.save_pretrained(tmp_path, max_shard_size=shard)
    processor.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1 if shard == "10GB" else 5
    read, read_processor = (auto.from_pretrained(tmp_path) for auto in (AutoModelForCausalLM, AutoProcessor))
    before, after = (inputs_of(one, ["up"], ["down", "hiss"]) for one in (processor, read_processor))
    assert torch.equal(before["input_ids"], after["input_ids"])
    assert torch.equal(logits(model, before), logits(read.eval(), after))
    assert torch.equal(model.audio_tower.positional_embedding, read.audio_tower.positional_embedding)


@pytest.mark.parametrize("shard", ["10GB", "50KB"])
def test_the_text_tower_is_a_model_of_its_own(shard: str, tmp_path: Path) -> None:
    tower = random_model("qwen_audio_text", **PUBLISHED)[0].language_model
    tower.save_pretrained(tmp_path, max_shard_size=shard)
    assert len(list(tmp_path.glob("*.safetensors"))) > (shard != "10GB")
    read = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(read) is QwenAudioTextForCausalLM and read.config.seq_length == 20
    ids = {"input_ids": torch.arange(40)[None]}
    assert torch.equal(logits(tower, ids), logits(read, ids))
    assert torch.equal(tower.generate(**ids, **GREEDY), read.generate(**ids, **GREEDY))


# processor ----------------------------------------------------------------


def test_texts_and_segments_give_the_same_tensors() -> None:
    processor = random_model()[1]
    by_segments = inputs_of(processor, ["up"], ["down", "hiss"])
    prompts = [tasks.prompt("audio_qa", question="Which " * n) for n in (1, 4)]
    texts = [
        "<audio></audio>" * clips + "".join(segment.text for segment in prompt)
        for clips, prompt in zip((1, 2), prompts, strict=True)
    ]
    clips = [tiny.CLIPS[name] for name in ("up", "down", "hiss")]
    for audio in (clips, [clips[:1], clips[1:]], [torch.tensor(clip) for clip in clips]):
        by_texts = processor(text=texts, audio=audio, sampling_rate=16_000, return_tensors="pt", padding=True)
        assert set(by_texts) == set(by_segments)
        assert all(torch.equal(by_texts[name], by_segments[name]) for name in by_segments)


def test_a_text_may_have_a_recording_anywhere_of_any_rate_or_none(tmp_path: Path) -> None:
    processor = random_model()[1]
    slow = tiny.CLIPS["up"][::2]
    soundfile.write(tmp_path / "up.wav", slow, 8000, subtype="FLOAT")
    by_rate = processor(text="Hear <audio></audio> this", audio=slow, sampling_rate=8000)
    by_path = processor(text=["Hear <audio></audio> this"], audio=str(tmp_path / "up.wav"))
    by_pair = processor(text="Hear <audio></audio> this", audio=(slow, 8000))
    for name in by_rate:
        assert torch.equal(by_rate[name], by_path[name]) and torch.equal(by_rate[name], by_pair[name])
    assert int(by_rate["feature_lengths"]) == 60  # 0.6 s
    assert processor.decode(by_rate["input_ids"][0], skip_special_tokens=True) == "Hear  this"
    assert set(processor(text="Hear", padding_side="right")) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": "<audio></audio>"}, "1 places <audio></audio> for 0 recordings"),
        ({"text": ["a", "b"], "audio": tiny.CLIPS["up"]}, "0 places <audio></audio> for 1 recordings"),
        ({"text": "<audio>/etc/passwd</audio>"}, "nothing inside"),
        ({"text": "a", "images": [1]}, "leave images and videos out"),
        ({"text": "a", "return_tensors": "np"}, "PyTorch"),
        ({"text": "a", "padding": "max_length"}, "padded to the longest"),
        ({"waves": [[]], "segments": [[]], "text": "a"}, "or text with audio"),
        ({"waves": [[]], "segments": [[]], "sampling_rate": 8000}, "belong to text"),
        ({}, "or text with audio"),
    ],
)
def test_wrong_calls_of_the_processor_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        random_model()[1](**given)


# conversations ----------------------------------------------------------------


def heard(text: str, **audio: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "audio", **audio}, {"type": "text", "text": text}]}]


def test_a_conversation_is_the_prompt_of_a_dialogue() -> None:
    processor = random_model()[1]
    clip = tiny.wave_of("up")
    wanted = build_prompt(
        processor.tokenizer,
        [Turn(parse_query([{"audio": clip}, {"text": "Which?"}]).query, "up <|0.50|>")],
        parse_query([{"text": "Is <|im_end|> <audio></audio> text?"}]),
        system="Be brief.",
    )
    messages = [
        {"role": "system", "content": "Be brief."},
        *heard("Which?", audio=tiny.CLIPS["up"]),
        {"role": "assistant", "content": [{"type": "text", "text": "up <|0.50|>"}]},
        {"role": "user", "content": "Is <|im_end|> <audio></audio> text?"},
    ]
    how = {"tokenize": True, "return_dict": True, "add_generation_prompt": True}
    made = processor.apply_chat_template(messages, **how)
    assert made["input_ids"][0].tolist() == wanted.ids  # what the user typed is text, not tokens
    assert made["feature_lengths"].tolist() == [wanted.clips[0].mel_frames]
    both = processor.apply_chat_template([messages, heard("Which?", audio=tiny.CLIPS["up"])], **how)
    assert both["input_ids"].shape[0] == len(both["feature_lengths"]) == 2
    assert both["attention_mask"][1, 0] == 0  # padded on the left
    ids = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True)
    assert torch.equal(ids, made["input_ids"])


def test_a_conversation_as_text_needs_no_audio_and_reads_back() -> None:
    processor = random_model()[1]
    without = heard("Which?", audio_url="https://nowhere.invalid/a.wav")
    text = processor.apply_chat_template(without, add_generation_prompt=True, tokenize=False)
    assert text == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nAudio 1:<audio></audio>\n"
        "Which?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert processor.apply_chat_template([without, without])[1] == text.removesuffix(
        "<|im_start|>assistant\n"
    )
    read = processor(text=text, audio=tiny.CLIPS["up"])
    direct = processor.apply_chat_template(
        heard("Which?", audio=tiny.CLIPS["up"]), add_generation_prompt=True, tokenize=True, return_dict=True
    )
    assert all(torch.equal(read[name], direct[name]) for name in direct)
    answered = [*without, {"role": "assistant", "content": "It is"}]
    assert processor.apply_chat_template(answered) == text + "It is<|im_end|>"
    assert processor.apply_chat_template(answered, continue_final_message=True) == text + "It is"


def test_conversations_name_files_only_by_path(tmp_path: Path) -> None:
    processor = random_model()[1]
    path = tmp_path / "up.wav"
    soundfile.write(path, tiny.CLIPS["up"], 16_000, subtype="FLOAT")
    data = base64.b64encode(path.read_bytes()).decode()
    how = {"tokenize": True, "return_dict": True}
    wanted = processor.apply_chat_template(heard("", path=str(path)), **how)["input_features"]
    for url in (data, f"data:audio/wav;base64,{data}"):
        assert torch.equal(processor.apply_chat_template(heard("", url=url), **how)["input_features"], wanted)
    for url, message in ((str(path), "not base64"), ("https://nowhere.invalid/a.wav", "URLs are not opened")):
        with pytest.raises(ChatError, match=message):
            processor.apply_chat_template(heard("", url=url), **how)
    for wrong in ({"tools": [{}]}, {"chat_template": "{{ messages }}"}, {"processor_kwargs": {"fps": 1}}):
        with pytest.raises(ValueError, match=r"leave|processor_kwargs"):
            processor.apply_chat_template(heard("", url=data), **how, **wrong)
    with pytest.raises(ChatError, match="continue_final_message"):
        processor.apply_chat_template(heard("a", url=data), continue_final_message=True)


# pipeline ----------------------------------------------------------------


@contextmanager
def librosa_may_be_needed() -> Iterator[None]:
    """transformers before 5.23 asks for it in a pipeline that does not use it."""
    try:
        yield
    except ImportError as error:
        if "librosa" not in str(error):
            raise
        pytest.skip("this transformers wants librosa")


@librosa_may_be_needed()
def test_the_pipeline_of_transformers_transcribes(embedded: Any) -> None:
    pipe = pipeline("any-to-any", model=str(EMBEDDED), device="cpu")
    wave = qwen_audio.load_audio(SENTENCE)
    texts, clips = ["<audio></audio>" + ASR] * 2, [wave, wave[:20_000]]
    how = {"return_full_text": False, "max_new_tokens": 80}
    spoken = [embedded.transcribe((clip, 16_000), "en").text for clip in clips]
    assert len(spoken[0].split()) > 3
    assert [row["generated_text"].strip() for row in pipe(text=texts, audio=clips, **how)] == spoken
    by_path = pipe(text=texts[0], audio=str(SENTENCE), **how)
    assert by_path[0]["generated_text"].strip() == spoken[0]
    chats = [heard("What is said?", path=str(SENTENCE)), [{"role": "user", "content": "Hello"}]]
    answers = pipe(text=chats, max_new_tokens=3)
    for chat, (answer,) in zip(chats, answers, strict=True):
        assert answer["generated_text"][:-1] == chat and answer["generated_text"][-1]["role"] == "assistant"


# generate ----------------------------------------------------------------


@pytest.mark.parametrize("kind", TEXT_MODELS)
def test_decoding_of_every_kind_gives_the_greedy_answer(kind: str) -> None:
    model, processor = random_model(kind, **TEXT_MODELS[kind])
    batch = inputs_of(processor, ["up"], ["down", "hiss"])
    wanted = model.generate(**batch, **GREEDY)
    assert len(set(wanted[:, -6:].flatten().tolist())) > 2
    for way in (
        {"cache_implementation": "dynamic"},
        {"cache_implementation": "static"},
        {"use_cache": False},
    ):
        assert torch.equal(model.generate(**batch, **GREEDY, **way), wanted), way
    row = inputs_of(processor, ["down", "hiss"])
    wanted = model.generate(**row, **GREEDY)
    other = random_model(kind, seed=1, **TEXT_MODELS[kind])[0]
    heard_by_draft = []
    other.audio_tower.register_forward_hook(lambda *_: heard_by_draft.append(1))
    for way in ({"prompt_lookup_num_tokens": 3}, {"assistant_model": other}, {"assistant_model": model}):
        assert torch.equal(model.generate(**row, **GREEDY, **way), wanted), list(way)
    assert heard_by_draft == [1]  # the draft hears the recordings, and once


@pytest.mark.parametrize("kind", TEXT_MODELS)
def test_beams_and_several_answers_keep_each_row_with_its_recordings(kind: str) -> None:
    model, processor = random_model(kind, **TEXT_MODELS[kind])
    rows = (["up"], ["down", "hiss"])
    batch = inputs_of(processor, *rows)
    beams = {**GREEDY, "num_beams": 3, "num_return_sequences": 2}
    together = model.generate(**batch, **beams)[:, -6:]
    for number in range(2):
        mask = batch["attention_mask"][number].bool()
        first = sum(len(row) for row in rows[:number])
        clips = slice(first, first + len(rows[number]))
        alone = model.generate(
            input_ids=batch["input_ids"][number, mask][None],
            attention_mask=batch["attention_mask"][number, mask][None],
            input_features=batch["input_features"][clips],
            feature_lengths=batch["feature_lengths"][clips],
            **beams,
        )[:, -6:]
        assert torch.equal(together[2 * number : 2 * number + 2], alone)
    drawn = model.generate(**batch, **GREEDY | {"do_sample": True, "top_k": 1, "num_return_sequences": 2})
    assert torch.equal(drawn, model.generate(**batch, **GREEDY).repeat_interleave(2, 0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="transformers offloads caches of a GPU only")
@pytest.mark.parametrize("cache", ["offloaded", "offloaded_static"])
def test_offloaded_caches(cache: str) -> None:
    model, processor = random_model("qwen_audio_text", **PUBLISHED)
    model.cuda()
    batch = {name: tensor.cuda() for name, tensor in inputs_of(processor, ["up"], ["down", "hiss"]).items()}
    assert torch.equal(
        model.generate(**batch, **GREEDY, cache_implementation=cache), model.generate(**batch, **GREEDY)
    )


def test_a_draft_model_without_ears_is_refused_by_transformers() -> None:
    model, processor = random_model()
    with pytest.raises(ValueError, match="input_features"):
        model.generate(**inputs_of(processor, ["up"]), **GREEDY, assistant_model=model.language_model)


# transformers serve ----------------------------------------------------------------


@needs("fastapi", "uvicorn", "openai", "multipart", "accelerate")
def test_transformers_serve_answers(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    address, name = f"http://localhost:{port}", str(EMBEDDED)
    command = [
        sys.executable,
        "-m",
        "qwen_audio.model",
        "serve",
        name,
        "--device",
        "cpu",
        "--port",
        str(port),
    ]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        deadline = time.monotonic() + 240
        while True:
            try:
                urllib.request.urlopen(address + "/health", timeout=5)
                break
            except (urllib.error.URLError, TimeoutError):
                assert server.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.5)
        sound = {"data": base64.b64encode(SENTENCE.read_bytes()).decode(), "format": "flac"}
        content = [
            {"type": "input_audio", "input_audio": sound},
            {"type": "text", "text": "What is said?"},
        ]
        body = {
            "model": name,
            "messages": [{"role": "user", "content": content}],
            "generation_config": json.dumps({"max_new_tokens": 3, "do_sample": False}),
        }
        request = urllib.request.Request(
            address + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        answer = json.loads(urllib.request.urlopen(request, timeout=240).read())
    finally:
        server.terminate()
        server.wait(30)
    spans = len(qwen_audio.load_audio(SENTENCE)) // 640  # one vector for each 40 ms
    assert answer["usage"]["prompt_tokens"] > spans and answer["usage"]["completion_tokens"] <= 3
    assert answer["choices"][0]["message"]["role"] == "assistant"


# the documentation ----------------------------------------------------------------


@pytest.mark.quantization
@librosa_may_be_needed()
def test_the_code_of_the_document_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/ecosystem.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    model, processor = random_model("qwen_audio_text", **PUBLISHED)
    for part in (model, processor):
        part.save_pretrained(tmp_path / "path/to/checkpoint")
    soundfile.write(tmp_path / "speech.wav", np.repeat(tiny.CLIPS["up"], 2), 16_000)
    monkeypatch.chdir(tmp_path)
    ran = []
    names: dict[str, Any] = {}
    for block in blocks:
        package = re.search(r"^from (peft|torchao)|quantization=\"(int8)\"", block, flags=re.M)
        needed = {"peft": "peft", "torchao": "torchao", "int8": "torchao"}
        if package and find_spec(needed[package[1] or package[2]]) is None:
            continue
        exec(block, names)
        ran.append(block)
    assert len(blocks) == 5 and len(ran) >= 3
    assert isinstance(names["answer"], str) and names["inputs"]["input_ids"].shape[0] == 1

"""Conversion of published checkpoints: nothing lost, nothing half-written, nothing executed, every fault named."""

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import published_weights
import pytest
import tiny
import torch
from paths import ROOT
from readme_copy import run_in_copy
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoProcessor

from qwen_audio.cli.main import main
from qwen_audio.format.tasks import Segment
from qwen_audio.model.conversion.files import Weights, open_weights
from qwen_audio.model.conversion.names import TensorMismatch
from qwen_audio.model.conversion.vocabulary import read_vocabulary, write_tiktoken
from qwen_audio.model.convert import convert, convert_state, load_published
from qwen_audio.model.loading import CheckpointError, load_checkpoint

pytestmark = pytest.mark.versions

PAGE = (ROOT / "docs" / "checkpoints.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tensors():
    return published_weights.state()


@pytest.fixture(scope="module")
def source(tensors, tmp_path_factory):
    return published_weights.write(tmp_path_factory.mktemp("published") / "source", tensors)


@pytest.fixture
def golden(shared, tmp_path):
    """The published code's own small model as a directory."""
    folder = tmp_path / "golden"
    folder.mkdir()
    facts = json.loads((shared / "golden" / "lm" / "README.json").read_text())
    (folder / "config.json").write_text(json.dumps(facts["config"]))
    shutil.copy(shared / "golden" / "lm" / "weights.safetensors", folder / "model.safetensors")
    return folder


def read_all(folder):
    weights = open_weights(folder)
    return {name: weights.read(name) for name in weights.info}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]), name


def test_the_published_weights_come_back_bit_for_bit(golden, tmp_path):
    convert(golden, tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "back", to="published")
    assert_same(read_all(golden), read_all(tmp_path / "back"))
    assert json.loads((tmp_path / "back/config.json").read_text()) == json.loads(
        (golden / "config.json").read_text()
    )


def test_the_published_weights_give_the_published_logits(golden, shared):
    model, processor = load_published(golden)
    assert processor is None  # the golden vocabulary is too small for the special tokens
    cases = np.load(shared / "golden" / "lm" / "cases.npz")
    with torch.no_grad():
        logits = model(input_ids=torch.from_numpy(cases["text_short/input_ids"]).long()).logits
    torch.testing.assert_close(logits, torch.from_numpy(cases["text_short/logits"]), rtol=0, atol=2e-4)


@pytest.mark.parametrize(("shards", "pickled"), [(1, False), (3, False), (1, True), (3, True)])
def test_every_form_of_files_comes_back_with_tokenizer_and_settings(tensors, tmp_path, shards, pickled):
    folder = published_weights.write(tmp_path / "source", tensors, shards=shards, pickled=pickled)
    convert(folder, tmp_path / "ours", shard_bytes=100_000)
    written = sorted(path.name for path in (tmp_path / "ours").glob("*.safetensors"))
    assert len(written) > 2 and written[0] == f"model-00001-of-{len(written):05d}.safetensors"
    convert(tmp_path / "ours", tmp_path / "back", to="published")
    assert_same(tensors, read_all(tmp_path / "back"))
    for name in ("config.json", "generation_config.json", "qwen.tiktoken"):
        old, new = (folder / name).read_bytes(), (tmp_path / "back" / name).read_bytes()
        assert old == new or json.loads(old) == json.loads(new)


def test_a_shard_of_one_tensor_each_when_tensors_are_larger_than_a_shard(source, tmp_path):
    convert(source, tmp_path / "ours", shard_bytes=1)
    for path in (tmp_path / "ours").glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            assert len(list(file.keys())) == 1


def test_a_converted_directory_loads_everywhere_and_says_the_same(source, tmp_path):
    convert(source, tmp_path / "ours", shard_bytes=100_000)
    in_memory, processor = load_published(source, dtype=torch.float32)
    ours, _ = load_checkpoint(tmp_path / "ours", "cpu", torch.float32)
    auto = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    assert auto.dtype == torch.bfloat16
    assert auto.generation_config.top_p == 0.5 and len(auto.generation_config.eos_token_id) == 3
    again = AutoProcessor.from_pretrained(tmp_path / "ours")
    rng = np.random.default_rng(0)
    waves = [[rng.standard_normal(9000).astype(np.float32)]]
    segments = [[Segment("hello wörld", False, False)]]
    batch = {k: v for k, v in processor(waves, segments).items() if k != "labels"}
    assert torch.equal(batch["input_ids"], again(waves, segments)["input_ids"])
    with torch.no_grad():
        wanted = in_memory(**batch).logits
        assert torch.equal(ours(**batch).logits, wanted)
        assert torch.equal(auto.float()(**batch).logits, wanted)


def test_a_model_of_ours_that_was_trained_further_becomes_published(source, tmp_path):
    convert(source, tmp_path / "ours")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(tmp_path / "ours")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    model.save_pretrained(tmp_path / "trained")
    processor.save_pretrained(tmp_path / "trained")
    convert(tmp_path / "trained", tmp_path / "back", to="published")
    config = json.loads((tmp_path / "back/config.json").read_text())
    for key in published_weights.CONFIG.keys() - {"bf16", "torch_dtype", "use_flash_attn"}:
        assert config[key] == published_weights.CONFIG[key], key
    assert config["torch_dtype"] == "float32" and config["fp32"] and not config["bf16"]
    once_more, _ = load_published(tmp_path / "back")
    assert_same(model.state_dict(), once_more.state_dict())


def test_a_state_dictionary_is_converted_in_memory(tensors, source):
    model, _ = load_published(source)
    assert_same(convert_state(tensors, model.config), model.state_dict())


def test_every_fault_of_the_tensors_is_listed_and_nothing_is_written(tensors, tmp_path):
    wrong = dict(tensors)
    gone = [name for name in wrong if ".h.1." in name]
    for name in gone:
        del wrong[name]
    wrong["transformer.h.2.ln_1.weight"] = torch.zeros(3)
    wrong["extra"] = torch.zeros(1)
    wrong["transformer.audio.proj.bias"] = torch.zeros(5)
    wrong["transformer.audio.positional_embedding"] = torch.zeros(2, 16)
    folder = published_weights.write(tmp_path / "source", wrong)
    with pytest.raises(TensorMismatch, match=r"8 missing .* 2 unexpected .* 2 misshapen") as caught:
        convert(folder, tmp_path / "ours")
    fault = caught.value
    assert sorted(fault.missing) == sorted(gone)
    assert sorted(fault.unexpected) == ["extra", "transformer.h.2.ln_1.weight"]
    assert fault.misshapen["transformer.audio.proj.bias"] == ((5,), (48,))
    assert all(name in str(fault) for name in [*gone, *fault.unexpected, *fault.misshapen])
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_long_list_of_faults_is_cut_and_counted(tmp_path):
    folder = published_weights.write(tmp_path / "source", {"x": torch.zeros(1)})
    with pytest.raises(TensorMismatch, match=r"58 missing \(.* and 38 more\); 1 unexpected \(x\)") as caught:
        convert(folder, tmp_path / "ours")
    assert len(caught.value.missing) == 58


@pytest.mark.parametrize(
    ("key", "value"),
    [("rotary_pct", 0.5), ("kv_channels", 8), ("no_bias", False), ("tie_word_embeddings", True),
     ("quantization_config", {"bits": 4}), ("audio.avg_pool", False), ("audio.n_mels", 128), ("audio.output_dim", 7),
     ("audio.add_audio_bos_eos_token", False), ("audio.audio_start_id", 10**6), ("seq_length", None),
     ("layer_norm_epsilon", "small")],
)  # fmt: skip
def test_what_the_model_would_not_honour_is_refused(source, tmp_path, key, value):
    folder = tmp_path / "source"
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    (config["audio"] if "." in key else config)[key.removeprefix("audio.")] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=f"config.json.*{key}"):
        convert(folder, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_missing_keys_of_the_configuration_are_all_named(source, tmp_path):
    shutil.copytree(source, tmp_path / "source")
    config = {k: v for k, v in published_weights.CONFIG.items() if k not in ("seq_length", "rotary_emb_base")}
    (tmp_path / "source/config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="seq_length, rotary_emb_base"):
        convert(tmp_path / "source", tmp_path / "ours")


def test_a_position_table_that_was_changed_is_refused(tensors, tmp_path):
    name = "transformer.audio.positional_embedding"
    folder = published_weights.write(tmp_path / "source", tensors | {name: tensors[name] * 0.9})
    with pytest.raises(CheckpointError, match=name):
        convert(folder, tmp_path / "ours")


class Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("form", ["zip", "old", "bare"])
@pytest.mark.parametrize("name", ["whisper.pt", "source/pytorch_model.bin"])
def test_pickled_code_is_refused_and_not_run(tmp_path, name, form):
    folder = published_weights.write(tmp_path / "source", {"x": torch.zeros(1)}, pickled=True)
    path = tmp_path / name
    path.unlink(missing_ok=True)
    bomb = {"dims": {}, "model_state_dict": Bomb(tmp_path / "hit")}
    if form == "bare":
        path.write_bytes(pickle.dumps(bomb))
    else:
        torch.save(bomb, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(CheckpointError, match="would run code when read"):
        convert(path if name == "whisper.pt" else folder, tmp_path / "ours")
    assert not (tmp_path / "hit").exists() and not (tmp_path / "ours").exists()


LIMITED = """
import resource, signal, sys
from qwen_audio.cli.main import main
if sys.argv[1] == "killed":
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the kernel kills at the limit; by default Python gets an error
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
main(["convert", *sys.argv[2:]])
"""


@pytest.mark.parametrize("how", ["failed", "killed"])
def test_a_conversion_that_stops_while_writing_leaves_no_target(tmp_path_factory, tmp_path, how):
    source = published_weights.write(
        tmp_path_factory.mktemp("large") / "source", published_weights.state(torch.float32)
    )
    target = tmp_path / "ours"
    command = [sys.executable, "-c", LIMITED, how, str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert not target.exists()
    if how == "failed":
        assert done.returncode == 2 and done.stderr.startswith("error: ")
        assert list(tmp_path.iterdir()) == []
    else:
        assert done.returncode == -signal.SIGXFSZ
        assert [path.name for path in tmp_path.iterdir()] == ["ours.partial"]  # killed while writing
    convert(source, target)
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]


def test_what_else_has_the_name_of_the_unfinished_folder_is_left_alone(source, tmp_path):
    (tmp_path / "ours.partial").mkdir()
    (tmp_path / "ours.partial/mydata.txt").write_text("years")
    with pytest.raises(ValueError, match=r"ours\.partial is in the way"):
        convert(source, tmp_path / "ours")
    assert (tmp_path / "ours.partial/mydata.txt").read_text() == "years"
    (tmp_path / "third").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="exists already"):
        convert(source, tmp_path / "third")


@pytest.mark.parametrize(
    "change", [lambda x: x.to(torch.complex64), lambda x: x.to_sparse(), lambda x: x.to(torch.int32)]
)
def test_tensors_that_are_no_weights_are_named(tensors, tmp_path, change):
    folder = published_weights.write(tmp_path / "source", tensors)
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    name = "transformer.ln_f.weight"
    torch.save({**tensors, name: change(tensors[name])}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=name):
        convert(folder, tmp_path / "ours")
    assert not (tmp_path / "ours.partial").exists()


@pytest.mark.parametrize(
    ("key", "value"), [("num_hidden_layers", 2.5), ("seq_length", 1), ("hidden_size", -4)]
)
def test_sizes_that_are_none_are_named(source, tmp_path, key, value):
    shutil.copytree(source, tmp_path / "source")
    facts = json.loads((tmp_path / "source/config.json").read_text())
    (tmp_path / "source/config.json").write_text(json.dumps({**facts, key: value}))
    with pytest.raises(CheckpointError, match=f"{key} is {value}"):
        convert(tmp_path / "source", tmp_path / "ours")


def test_files_that_are_missing_or_cut_are_named(tensors, tmp_path):
    folder = published_weights.write(tmp_path / "source", tensors, shards=3)
    whole = (folder / "model-00002-of-00003.safetensors").read_bytes()
    (folder / "model-00002-of-00003.safetensors").write_bytes(whole[:-10])
    with pytest.raises(CheckpointError, match=r"model-00002-of-00003\.safetensors cannot be read"):
        convert(folder, tmp_path / "ours")
    (folder / "model-00002-of-00003.safetensors").unlink()
    (folder / "model-00003-of-00003.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"00002-of-00003.safetensors, model-00003-of-00003.safetensors"
    ):
        convert(folder, tmp_path / "ours")
    save_file({"a": torch.zeros(1)}, tmp_path / "1.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "2.safetensors")
    with pytest.raises(CheckpointError, match=r"a is also in 1.safetensors"):
        Weights([tmp_path / "1.safetensors", tmp_path / "2.safetensors"])


def test_a_directory_without_its_tokenizer_needs_one(source, tmp_path):
    shutil.copytree(source, tmp_path / "source")
    (tmp_path / "source/qwen.tiktoken").rename(tmp_path / "elsewhere.tiktoken")
    with pytest.raises(CheckpointError, match="--tokenizer"):
        convert(tmp_path / "source", tmp_path / "ours")
    convert(tmp_path / "source", tmp_path / "ours", tokenizer=tmp_path / "elsewhere.tiktoken")
    assert (tmp_path / "ours/tokenizer.json").is_file()
    lines = (tmp_path / "elsewhere.tiktoken").read_bytes().splitlines(keepends=True)
    (tmp_path / "short.tiktoken").write_bytes(b"".join(lines[:256]))
    with pytest.raises(CheckpointError, match="use the tokenizer of this model"):
        convert(tmp_path / "source", tmp_path / "other", tokenizer=tmp_path / "short.tiktoken")


def test_options_that_would_have_no_effect_are_refused(source, tmp_path, capsys):
    target = str(tmp_path / "ours")
    main_(["convert", str(source), target], 0)
    assert capsys.readouterr().out.startswith(f"written: {target}, ")
    for arguments, message in (
        ([str(source), target], "exists already"),
        ([str(source), target + "2", "--to", "published"], "--to published is for models of this package"),
        ([target, target + "2"], "--to published is for models of this package"),
        ([str(source), target + "2", "--to", "theirs"], "ours or published"),
        ([str(source), target + "2", "--text-model", target], "--text-model goes with a Whisper"),
        ([str(source), target + "2", "--seed", "1"], "leave --seed out"),
        ([target, target + "2", "--to", "published", "--tokenizer", "x"], "--tokenizer is for"),
        ([str(tmp_path / "nothing"), target + "2"], "does not exist"),
        ([str(tmp_path), target + "2"], "has no config.json"),
    ):
        main_(["convert", *arguments], 2)
        assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]


def main_(arguments, code):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert (ended.value.code or 0) == code


def test_the_published_vocabulary_comes_back_byte_for_byte(shared, tmp_path):
    words = read_vocabulary(shared / "qwen.tiktoken")
    assert words.base == 151_643 and words.tokenizer.audio_start_id == 155_163
    write_tiktoken(words.tokenizer, tmp_path / "qwen.tiktoken")
    assert (tmp_path / "qwen.tiktoken").read_bytes() == (shared / "qwen.tiktoken").read_bytes()


def test_what_the_published_code_cannot_run_is_not_written_for_it(tmp_path):
    tiny.save_untrained(tmp_path / "tied")
    with pytest.raises(CheckpointError, match="the embeddings are tied"):
        convert(tmp_path / "tied", tmp_path / "back", to="published")
    assert not (tmp_path / "back").exists()


def test_the_commands_of_the_document_run(tmp_path):
    commands, code = (re.findall(rf"```{kind}\n(.*?)```", PAGE, flags=re.S) for kind in ("bash", "python"))
    assert len(commands) == len(code) == 1
    script = f"{commands[0]}\npython - <<'END'\n{code[0]}\nEND"
    done = run_in_copy(tmp_path, ["bash", "-euo", "pipefail", "-c", script])
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("written: ") == 4
    assert done.stdout.splitlines()[-1].startswith("QwenAudioForConditionalGeneration torch.float32")

"""Checkpoints: what was saved comes back, in any number of processes, and no kill leaves half a one."""

import errno
import json
import os
import random
import shutil
import threading
import time
from pathlib import Path

import checkpoint_processes as processes
import pytest
import torch
from safetensors.torch import load_file
from small import random_model

from qwen_audio.model.loading import CheckpointError, load_checkpoint
from qwen_audio.model.tensor_files import TensorInfo
from qwen_audio.train import checkpoint_writer
from qwen_audio.train.checkpoint import Writer, checkpoints, contents, read, read_meta, save_model, verify
from qwen_audio.train.shards import plan

WEIGHTS = {
    "a": torch.arange(12.0).reshape(3, 4),
    "b": torch.ones(2, 2, dtype=torch.bfloat16),
    "c": torch.zeros(0, 5),
}
STATE = {
    "a": torch.tensor(3.5),
    "random": torch.arange(9, dtype=torch.uint8),
    "t": torch.arange(6.0).reshape(2, 3).T,
}


def save(
    output: Path, step: int = 1, weights=WEIGHTS, state=STATE, frozen=(), keep: int = 9, **kwargs
) -> Path:
    writer = Writer(output, keep=keep)
    writer.save(step, weights, state, frozen, kwargs.pop("meta", {}), **kwargs)
    folder = writer.commit()
    assert folder is not None
    return folder


def zeros(tensors):
    return {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}


def read_back(folder: Path, tensors, kind: str) -> dict[str, torch.Tensor]:
    targets = zeros(tensors)
    assert read(folder, targets, kind=kind) == set(tensors)
    return targets


def equal(left, right) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_tensors_and_facts_come_back_to_the_bit(tmp_path):
    folder = save(
        tmp_path, meta={"data": [1, {"x": None}]}, extra=lambda f: (f / "config.json").write_text("{}")
    )
    assert folder.name == "step-000001"
    assert equal(read_back(folder, WEIGHTS, "weights"), WEIGHTS)
    assert equal(read_back(folder, STATE, "state"), STATE)
    assert contents(folder, "state")["a"] == TensorInfo(torch.float32, ())
    assert read_meta(folder) == {"data": [1, {"x": None}], "step": 1}
    verify(folder)
    names = {"config.json", "model.safetensors", "trainer-00001-of-00001.safetensors", "trainer.json"}
    assert {p.name for p in folder.iterdir()} == names
    assert json.loads((folder / "trainer.json").read_text())["files"].keys() == names - {"trainer.json"}
    assert {oct(p.stat().st_mode & 0o777) for p in folder.iterdir()} == {"0o644"}


def test_saving_copies_at_once_and_writes_in_the_background(tmp_path, monkeypatch):
    go = threading.Event()
    send = checkpoint_writer.send_safetensors
    monkeypatch.setattr(checkpoint_writer, "send_safetensors", lambda *args: go.wait(30) and send(*args))
    weights, meta = {"a": torch.ones(4)}, {"data": [1]}
    writer = Writer(tmp_path, keep=1)
    assert writer.finished() and writer.commit() is None
    writer.save(1, weights, {}, (), meta)
    weights["a"].zero_()
    meta["data"].append(2)
    assert not writer.finished() and checkpoints(tmp_path) == []
    go.set()
    writer.wait()
    assert writer.finished() and checkpoints(tmp_path) == [], "nothing is a checkpoint before the commit"
    folder = writer.commit()
    assert checkpoints(tmp_path) == [folder]
    assert read_back(folder, weights, "weights")["a"].tolist() == [1, 1, 1, 1]
    assert read_meta(folder)["data"] == [1]


def test_a_second_save_commits_the_first_and_the_newest_stay(tmp_path):
    writer = Writer(tmp_path, keep=2)
    for step in (5, 1_000_000, 999_999):
        writer.save(step, WEIGHTS, STATE, (), {})
    assert [p.name for p in checkpoints(tmp_path)] == ["step-000005", "step-1000000"]
    writer.commit()
    assert [p.name for p in checkpoints(tmp_path)] == ["step-999999", "step-1000000"]
    assert {p.name for p in tmp_path.iterdir()} == {"step-999999", "step-1000000"}


def test_a_model_saved_as_tensors_loads_as_any_model_frozen_files_included(tmp_path):
    model, processor = random_model()
    weights = model.state_dict()
    frozen = {name for name in weights if name.startswith("language_model.")}

    def extra(folder):
        model.config.save_pretrained(folder)
        processor.save_pretrained(folder)

    for step in (1, 2):
        folder = save(tmp_path, step, weights, {}, frozen, extra=extra)
    assert (folder / "model.safetensors.index.json").is_file()
    loaded, _ = load_checkpoint(folder, "cpu", torch.float32)
    assert equal(loaded.state_dict(), weights)
    assert equal(read_back(folder, weights, "weights"), weights)


def test_a_model_in_half_precision_is_written_whole_and_read_into_full(tmp_path):
    model, processor = random_model()
    save_model(tmp_path / "model", model, processor, torch.float16)
    assert model.config.dtype != torch.float16
    stored = load_file(tmp_path / "model/model.safetensors")
    assert {t.dtype for t in stored.values()} == {torch.float16}
    found = read_back(tmp_path / "model", model.state_dict(), "weights")
    assert all(torch.equal(found[name], stored[name].float()) for name in stored)
    assert contents(tmp_path / "model", "state") == {}
    with pytest.raises(ValueError, match="exists already"):
        save_model(tmp_path / "model", model, processor, torch.float16)


def test_frozen_weights_are_written_once_and_linked(tmp_path):
    frozen, writer = {"b", "c"}, Writer(tmp_path, keep=2)
    for step in (1, 2, 3):
        writer.save(step, WEIGHTS, STATE, frozen, {})
        folder = writer.commit()
        assert equal(read_back(folder, WEIGHTS, "weights"), WEIGHTS)
        verify(folder)
    one, two = (p / "model-00001-of-00002.safetensors" for p in checkpoints(tmp_path))
    assert one.stat().st_ino == two.stat().st_ino and one.stat().st_nlink == 2
    # Of another size, type or name: written afresh.
    for step, other in enumerate(
        ({"c": torch.zeros(0, 6)}, {"b": torch.zeros(2, 2)}, {"d": torch.zeros(1)}), 4
    ):
        weights = {**WEIGHTS, **other}
        folder = save(tmp_path, step, weights, frozen=frozen | other.keys())
        assert equal(read_back(folder, weights, "weights"), weights)
        assert (folder / "model-00001-of-00002.safetensors").stat().st_nlink == 1
    # What was trained before is not taken for frozen, though the tensors have the same names.
    save(tmp_path, 10, WEIGHTS)
    folder = save(tmp_path, 11, {name: t + 1 for name, t in WEIGHTS.items()}, frozen=WEIGHTS)
    assert torch.equal(read_back(folder, WEIGHTS, "weights")["a"], WEIGHTS["a"] + 1)


def test_where_files_cannot_be_linked_they_are_copied_and_checked(tmp_path, monkeypatch):
    def no_link(source, target):
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", no_link)
    for step in (1, 2):
        folder = save(tmp_path, step, frozen={"a"})
    verify(folder)
    assert (folder / "model-00001-of-00002.safetensors").stat().st_nlink == 1
    damage(folder / "model-00001-of-00002.safetensors")
    with pytest.raises(CheckpointError, match=r"step-000002/model-00001.*damaged"):
        save(tmp_path, 3, frozen={"a"})
    assert not list(tmp_path.glob("*.partial"))


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["model.safetensors", "trainer-00001-of-00001.safetensors", "config.json"])
def test_damage_is_named(tmp_path, name):
    folder = save(tmp_path, extra=lambda f: (f / "config.json").write_text("{}"))
    content = (folder / name).read_bytes()
    damage(folder / name)
    with pytest.raises(CheckpointError, match=rf"{name} is damaged"):
        verify(folder)
    number = sorted(p.name for p in folder.iterdir()).index(name)
    for rank in range(3):  # of three processes, each looks at one of the files
        if rank == number:
            with pytest.raises(CheckpointError, match="is damaged"):
                verify(folder, rank, 3)
        else:
            verify(folder, rank, 3)
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match=rf"{name} has {len(content) - 1} bytes where {len(content)}"):
        verify(folder)
    if name.startswith("trainer"):
        with pytest.raises(CheckpointError, match=rf"{name} cannot be read"):
            read(folder, zeros(STATE), kind="state")
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name} is missing"):
        verify(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "has no trainer.json"), ("{", "trainer.json"),
     ('{"step": 1}', "lacks files"), ('{"files": {}}', "lacks step"),
     ('{"step": 1, "files": {"../x": {"bytes": 1, "sha256": ""}}}', "must give bytes"),
     ('{"step": 1, "files": {"x": {"bytes": 1}}}', "must give bytes and sha256")],
)  # fmt: skip
def test_facts_that_cannot_be_used_are_said(tmp_path, text, message):
    folder = save(tmp_path)
    (folder / "trainer.json").unlink()
    if text is not None:
        (folder / "trainer.json").write_text(text)
    for look in (read_meta, verify):
        with pytest.raises(CheckpointError, match=message) as error:
            look(folder)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"z": torch.zeros(1)}, "weights", "lacks tensor 'z' of its weights"),
        ({"a": None}, "state", "has unknown tensor 'a' of its state"),
        ({"a": torch.zeros(4, 3)}, "weights", "has another shape of tensor 'a'"),
        ({"a": torch.zeros((), dtype=torch.float64)}, "state", "has another type of tensor 'a'"),
    ],
)
def test_tensors_that_do_not_fit_are_named_and_nothing_is_copied(tmp_path, change, kind, message):
    folder = save(tmp_path)
    targets = zeros(WEIGHTS if kind == "weights" else STATE) | change
    targets = {name: t for name, t in targets.items() if t is not None}
    with pytest.raises(CheckpointError, match=rf"step-000001: .*{message}"):
        read(folder, targets, kind=kind)
    assert all(not t.any() for t in targets.values())


def test_a_part_of_the_tensors_can_be_read(tmp_path):
    folder = save(tmp_path, state={"ctc_head.bias": torch.ones(3), "moment": torch.ones(2)})
    head = {"ctc_head.bias": torch.zeros(3), "ctc_head.new": torch.zeros(1)}
    assert read(folder, head, kind="state", strict=False) == {"ctc_head.bias"}
    assert head["ctc_head.bias"].tolist() == [1, 1, 1] and head["ctc_head.new"].tolist() == [0]
    with pytest.raises(CheckpointError, match="another shape"):
        read(folder, {"moment": torch.zeros(3)}, kind="state", strict=False)
    with pytest.raises(ValueError, match="kind 'other' is not known"):
        read(folder, head, kind="other")


def test_what_cannot_be_saved_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    def broken(folder):
        raise KeyError("tokenizer")

    faulty = [
        (ValueError, "frozen tensor 'x' is not among", {"frozen": {"x"}}),
        (
            ValueError,
            r"a cannot be saved \(torch.complex64",
            {"weights": {"a": torch.zeros(1, dtype=torch.complex64)}},
        ),
        (ValueError, "without data", {"state": {"a": torch.zeros(1, device="meta")}}),
        (TypeError, "JSON", {"meta": {"path": tmp_path}}),
        (ValueError, "meta has 'files'.*name of its own", {"meta": {"files": 1}}),
        (KeyError, "tokenizer", {"extra": broken}),
    ]
    for kind, message, arguments in faulty:
        with pytest.raises(kind, match=message):
            save(tmp_path, **arguments)
        assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="keep 1 checkpoint"):
        Writer(tmp_path, keep=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(ValueError, match="GB free: make room"):
        save(tmp_path)
    monkeypatch.undo()
    save(tmp_path)
    with pytest.raises(ValueError, match="step-000001 exists already"):
        save(tmp_path)


def test_a_writer_clears_what_a_killed_run_left_and_nothing_else(tmp_path):
    (tmp_path / "step-000003.partial").mkdir()
    (tmp_path / "step-000004.partial").mkdir()
    (tmp_path / "step-000004.partial/.qwen-audio-unfinished").touch()
    (tmp_path / "step-000004.partial/model.safetensors").touch()
    (tmp_path / "step-000005.partial").mkdir()
    (tmp_path / "step-000005.partial/thesis.txt").write_text("years")
    Writer(tmp_path, keep=1)
    assert [p.name for p in tmp_path.iterdir()] == ["step-000005.partial"]
    with pytest.raises(ValueError, match="in the way"):
        save(tmp_path, 5)
    assert (tmp_path / "step-000005.partial/thesis.txt").read_text() == "years"


@pytest.mark.parametrize("world", [1, 2, 5])
def test_the_plan_shares_the_bytes_and_keeps_frozen_files_as_they_are(world):
    draw = random.Random(0)
    infos = {f"w{i}": TensorInfo(torch.float32, (draw.randrange(1, 5000),)) for i in range(200)}
    state = {f"{kind}.{name}": info for name, info in infos.items() for kind in "mv" if int(name[1:]) >= 50}
    frozen = {f"w{i}" for i in range(50)}
    limit = 40_000
    files = plan(infos, state, frozen, (), world, limit)
    for kind, tensors in ((False, infos), (True, state)):
        written = [name for f in files if f.state is kind for name in f.tensors]
        assert sorted(written) == sorted(tensors)
    assert all(f.nbytes <= limit for f in files) and len({f.file for f in files}) == len(files)
    loads = [sum(f.nbytes for f in files if f.rank == rank) for rank in range(world)]
    assert max(loads) - min(loads) <= limit
    fixed = [f.tensors for f in files if f.frozen]
    assert fixed == [f.tensors for f in plan(infos, state, frozen, (), 1, limit) if f.frozen]
    linked = plan(infos, state, frozen, fixed, world, limit)
    loads = [sum(f.nbytes for f in linked if f.rank == rank and not f.frozen) for rank in range(world)]
    assert max(loads) - min(loads) <= 5000 * 4
    assert {f.rank for f in linked if f.frozen} == {0}


@pytest.mark.parametrize(("writers", "readers"), [(1, (2,)), (2, (1, 3)), (3, (2,)), (4, (1,)), (2, (4,))])
def test_any_number_of_processes_reads_what_any_number_wrote(tmp_path, writers, readers):
    processes.run(writers, processes.save_net, tmp_path)
    for world in readers:
        processes.run(world, processes.load_net, tmp_path)


def test_processes_that_disagree_or_fail_all_say_so(tmp_path):
    processes.run(2, processes.save_other_names, tmp_path / "names")
    assert not list((tmp_path / "names/run").glob("step*"))
    processes.run(2, processes.save_where_one_fails, tmp_path / "fails")


@pytest.mark.parametrize(("world", "kills"), [(1, 20), (2, 8)])
def test_a_kill_at_any_moment_leaves_whole_checkpoints(tmp_path, world, kills):
    draw = random.Random(world)
    unfinished = newest = 0
    for _ in range(kills):
        running = processes.start(world, processes.save_for_ever, tmp_path)
        before, deadline = newest, time.monotonic() + 30
        while newest < before + 2 and time.monotonic() < deadline:  # it has cleared up and gone on
            time.sleep(0.002)
            newest = int((tmp_path / "newest").read_text()) if (tmp_path / "newest").exists() else 0
        assert newest >= before + 2
        time.sleep(draw.random() * 0.03)
        for process in draw.sample(running, world):
            process.kill()
        for process in running:
            process.join(10)
        newest = int((tmp_path / "newest").read_text())
        found = checkpoints(tmp_path / "run")
        unfinished += len(list((tmp_path / "run").glob("*.partial")))
        steps = [read_meta(folder)["step"] for folder in found]
        assert steps[-1] in (newest, newest + 1), "a checkpoint that was committed is lost"
        assert len(steps) in (2, 3) and steps == list(range(steps[0], steps[-1] + 1))
        for folder, step in zip(found, steps, strict=True):
            verify(folder)
            weights = {f"layer.{i}": torch.zeros(50, 20) for i in range(4)} | {"frozen": torch.zeros(200, 20)}
            read(folder, weights, kind="weights")
            assert {float(v) for t in weights.values() for v in t.unique()} == {float(step), 7.0}
    assert unfinished > kills // 3, "the kills should have come while it was writing"

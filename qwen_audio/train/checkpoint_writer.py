"""Writing checkpoints while training goes on: copies are taken at once, a thread brings them to the disk.

    writer = Writer(output, keep=2, rank=rank, world=world)
    writer.save(step, weights, state, frozen, meta, extra)    # all processes; returns when the copies exist
    ...                                                       # training goes on
    if all_processes(writer.finished()):
        folder = writer.commit()                              # all processes; now it is a checkpoint

A process killed at any moment leaves the checkpoints that were committed, whole, and perhaps an unfinished folder,
which the next `Writer` clears away. The disk needs room for one checkpoint more than are kept. `checkpoint` describes
the folder and reads it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from qwen_audio.files import MARK, NewFolder, clear_unfinished, discard, is_unfinished, unfinished_name
from qwen_audio.model.loading import CheckpointError, read_json
from qwen_audio.model.tensor_files import DTYPE_NAMES, Output, TensorInfo, safetensors_infos, send_safetensors
from qwen_audio.train.parallel import gather
from qwen_audio.train.shards import WEIGHTS, Shard, frozen_runs, plan

TRAINER = "trainer.json"
FILES = "files"  # its key with the sizes and sums
_INDEX = f"{WEIGHTS}.safetensors.index.json"
_STEP = re.compile(r"step-(\d+)$")
# A file system that has no hard links, or not between these folders: the file is copied.
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EACCES}

_Records = dict[str, dict[str, Any]]  # file name -> bytes, sha256 and, where true, frozen


def checkpoints(output: Path) -> list[Path]:
    """Finished checkpoints in `output`, oldest first."""
    found = [(int(m[1]), p) for p in output.glob("step-*") if (m := _STEP.search(p.name)) and p.is_dir()]
    return [p for _, p in sorted(found)]


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class _Link:
    """A file of frozen weights in the checkpoint before."""

    path: Path
    record: dict[str, Any]


@dataclass
class _Pending:
    """A checkpoint that is being written."""

    target: Path
    files: list[Shard]
    folder: NewFolder | None  # of the first process, as are the
    facts: dict[str, Any]  # of trainer.json
    records: _Records = field(default_factory=dict)  # of the files of this process, when they are on the disk
    failure: BaseException | None = None
    thread: threading.Thread | None = None


class Writer:
    """Writes checkpoints into `output`, one at a time. Every process has one and makes the same calls."""

    def __init__(self, output: Path, keep: int, rank: int = 0, world: int = 1) -> None:
        """
        Args:
            output: folder of the run, the same for all processes.
            keep: finished checkpoints that stay, the newest ones.
            rank, world: this process and how many there are; more than one need the default process group.

        Raises:
            ValueError: `keep` is below 1, or another run is writing a checkpoint here.
        """
        if keep < 1:
            raise ValueError(f"keep is {keep}: keep 1 checkpoint or more")
        self.output, self.keep, self.rank, self.world = output, keep, rank, world
        self._pending: _Pending | None = None
        if rank == 0:
            for left in output.glob("step-*.partial"):
                if is_unfinished(left):
                    clear_unfinished(left)

    def save(
        self,
        step: int,
        weights: Mapping[str, Tensor],
        state: Mapping[str, Tensor],
        frozen: Collection[str],
        meta: Mapping[str, Any],
        extra: Callable[[Path], None] | None = None,
    ) -> None:
        """Begin the checkpoint `output/step-N`; returns as soon as every tensor may change again.

        All processes call it with the same names in the same order. A pending one is committed first.

        Args:
            weights: the model's tensors under their canonical names, tied ones once. A DTensor is gathered whole; a
                plain tensor must be the same in all processes.
            state: other tensors, under any names.
            frozen: those of `weights` that never change in this run: their files are linked from the checkpoint before.
            meta: facts for trainer.json, as they are now; of the first process.
            extra: writes more files into the folder (config.json, tokenizer); called by the first process.

        Raises:
            CheckpointError: the processes do not save the same tensors, or the first one could not begin.
            ValueError: the folder exists, the disk is too small, or a tensor or a name cannot be saved.
        """
        self.commit()
        infos = {name: _info(name, tensor) for name, tensor in weights.items()}
        more = {name: _info(name, tensor) for name, tensor in state.items()}
        if unknown := sorted(set(frozen) - infos.keys()):
            raise ValueError(f"frozen tensor {unknown[0]!r} is not among the weights: name weights only")
        if taken := {FILES, "step"} & set(meta):
            raise ValueError(
                f"meta has {min(taken)!r}, which trainer.json gives itself: use a name of its own"
            )
        frozen = set(frozen)
        target = self.output / f"step-{step:06d}"
        folder: NewFolder | None = None
        facts: dict[str, Any] = {}
        links: dict[tuple[str, ...], _Link] = {}  # by the names of the tensors in it
        failure: Exception | None = None
        try:
            if self.rank == 0:
                try:
                    facts = {**json.loads(json.dumps(dict(meta))), "step": step}
                    links = _frozen_before(self.output, infos, frozen)
                    here = sum(info.nbytes for info in [*infos.values(), *more.values()])
                    here -= sum(infos[name].nbytes for run in links for name in run)
                    folder = NewFolder(target, here)
                    if extra is not None:
                        extra(folder.path)
                except Exception as error:  # whatever it is, the other processes must not wait for this one
                    failure = error
            # One exchange: did the first process begin, what will be linked, do all mean the same tensors?
            answers = gather(
                (failure and _sentence(failure), _fingerprint(infos, more, frozen), list(links)), self.world
            )
            if failure is not None:
                raise failure
            if answers[0][0]:
                raise CheckpointError(f"{target} was not begun: {answers[0][0]}")
            for rank, (_, fingerprint, _) in enumerate(answers):
                if fingerprint != answers[0][1]:
                    raise CheckpointError(
                        f"process {rank} saves other tensors than process 0: save the same names everywhere"
                    )
            linked = answers[0][2]
            files = plan(infos, more, frozen, linked, self.world)
            copies = self._copies(
                weights, state, [f for f in files if not (f.frozen and f.tensors in linked)]
            )
            pending = _Pending(target, files, folder, facts)
            pending.thread = threading.Thread(
                target=_write, args=(pending, copies, links, self.rank), name="checkpoint", daemon=True
            )
            pending.thread.start()
        except BaseException:
            if folder is not None:
                folder.abandon()
            raise
        self._pending = pending

    def finished(self) -> bool:
        """Whether nothing of the pending checkpoint is left to write here (true when none is pending).

        It is true after a failure as well: `commit` says in all processes what went wrong in one.
        """
        if self._pending is None:
            return True
        assert self._pending.thread is not None
        return not self._pending.thread.is_alive()

    def wait(self) -> None:
        """Block until `finished`.

        Raises:
            OSError: this process could not write its part.
        """
        if self._pending is not None:
            assert self._pending.thread is not None
            self._pending.thread.join()
            if self._pending.failure is not None:
                raise self._pending.failure

    def commit(self) -> Path | None:
        """Make the pending checkpoint one, and remove all but the newest `keep`. All processes call it.

        Best called when `finished` is true in all of them: otherwise it waits.

        Returns:
            The folder of the checkpoint; None if none was pending.

        Raises:
            OSError: this process could not write its part. The unfinished folder has been removed.
            CheckpointError: another process could not.
        """
        pending = self._pending
        if pending is None:
            return None
        failure: BaseException | None = None
        try:
            self.wait()
        except Exception as error:
            failure = error
        self._pending = None
        answers = gather((failure and _sentence(failure), pending.records), self.world)
        if self.rank == 0 and not any(sentence for sentence, _ in answers):
            try:
                self._finish(pending, {name: record for _, part in answers for name, record in part.items()})
            except Exception as error:
                failure = error
        # Nobody goes on before the folder has its name: the next checkpoint may link to it.
        ends = gather(failure and _sentence(failure), self.world)
        if not any(ends):
            return pending.target
        if pending.folder is not None:
            pending.folder.abandon()
        if failure is not None:
            raise failure
        rank, sentence = next((rank, end) for rank, end in enumerate(ends) if end)
        raise CheckpointError(f"{pending.target} was not written: process {rank}: {sentence}")

    def _finish(self, pending: _Pending, records: _Records) -> None:
        folder = pending.folder
        assert folder is not None
        for file in pending.files:
            path = folder.path / file.file
            if not path.is_file() or path.stat().st_size != records[file.file]["bytes"]:
                raise CheckpointError(
                    f"{path} of process {file.rank} is not seen by process 0: let `output` be on a file system that "
                    "all machines share"
                )
        weights = [file for file in pending.files if not file.state]
        if len(weights) > 1:
            index = {
                "metadata": {"total_size": sum(file.nbytes for file in weights)},
                "weight_map": {name: file.file for file in weights for name in file.tensors},
            }
            (folder.path / _INDEX).write_text(json.dumps(index, indent=2) + "\n")
        for path in folder.path.iterdir():
            if path.is_file() and path.name not in records and path.name != MARK:
                records[path.name] = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        facts = {**pending.facts, FILES: dict(sorted(records.items()))}
        (folder.path / TRAINER).write_text(json.dumps(facts, indent=1) + "\n")
        folder.finish()
        for old in checkpoints(self.output)[: -self.keep]:
            if old != pending.target:
                discard(old)

    def _copies(
        self, weights: Mapping[str, Tensor], state: Mapping[str, Tensor], files: Sequence[Shard]
    ) -> dict[tuple[bool, str], Tensor]:
        """Copies of what this process writes, in its main memory. Sharded tensors are gathered one by one."""
        copies: dict[tuple[bool, str], Tensor] = {}
        for file in files:
            for name in file.tensors:
                tensor = (state if file.state else weights)[name].detach()
                if isinstance(tensor, DTensor):
                    tensor = tensor.full_tensor()  # all processes take part, whoever keeps it
                if file.rank == self.rank:
                    copies[file.state, name] = tensor.to("cpu", copy=True)
        return copies


def _write(
    pending: _Pending,
    copies: dict[tuple[bool, str], Tensor],
    links: Mapping[tuple[str, ...], _Link],
    rank: int,
) -> None:
    """The thread: bring this process's files to the disk, letting go of each copy when it is written."""
    folder = unfinished_name(pending.target)
    try:
        for file in pending.files:
            if file.rank != rank:
                continue
            path = folder / file.file
            if file.frozen and file.tensors in links:
                pending.records[file.file] = _link(links[file.tensors], path)
                continue
            outputs = []
            for name in file.tensors:
                tensor = copies[file.state, name]
                info = TensorInfo(tensor.dtype, tuple(tensor.shape))
                outputs.append(Output(name, info, partial(copies.pop, (file.state, name))))
                del tensor
            pending.records[file.file] = _save(path, outputs, file.frozen)
    except BaseException as error:  # it is raised in the main thread, by `finished`
        pending.failure = error


def _save(path: Path, outputs: Sequence[Output], frozen: bool) -> dict[str, Any]:
    digest = hashlib.sha256()
    with path.open("wb") as file:

        def write(piece: Any) -> None:
            file.write(piece)
            digest.update(piece)

        send_safetensors(write, outputs)
        file.flush()
        os.fsync(file.fileno())
    record: dict[str, Any] = {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}
    return {**record, "frozen": True} if frozen else record


def _link(link: _Link, path: Path) -> dict[str, Any]:
    try:
        os.link(link.path, path)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copyfile(link.path, path)
        if file_digest(path) != link.record["sha256"]:
            raise CheckpointError(
                f"{link.path} is damaged (its SHA-256 has changed): delete that checkpoint"
            ) from None
    return link.record


def _frozen_before(
    output: Path, weights: Mapping[str, TensorInfo], frozen: Collection[str]
) -> dict[tuple[str, ...], _Link]:
    """Files of frozen weights in the newest checkpoint that hold just what one of `frozen_runs` has to."""
    found = checkpoints(output)
    runs = frozen_runs(weights, frozen)
    if not found or not runs:
        return {}
    try:
        files = read_json(found[-1] / TRAINER).get(FILES, {})
        before = {
            frozenset(safetensors_infos(path).items()): _Link(path, record)
            for name, record in files.items()
            if record.get("frozen")
            and (path := found[-1] / name).is_file()
            and path.stat().st_size == record["bytes"]
        }
    except CheckpointError:  # then they are written afresh
        return {}
    wanted = {run: frozenset((name, weights[name]) for name in run) for run in runs}
    return {run: before[tensors] for run, tensors in wanted.items() if tensors in before}


def _info(name: str, tensor: Tensor) -> TensorInfo:
    if tensor.layout != torch.strided or tensor.is_meta or tensor.dtype not in DTYPE_NAMES:
        kind = f"{tensor.dtype}, {tensor.layout}" + (", without data" if tensor.is_meta else "")
        raise ValueError(f"{name} cannot be saved ({kind}): give a plain tensor of numbers")
    return TensorInfo(tensor.dtype, tuple(tensor.shape))


def _fingerprint(
    weights: Mapping[str, TensorInfo], state: Mapping[str, TensorInfo], frozen: Collection[str]
) -> str:
    every = [(name, str(i.dtype), i.shape, name in frozen) for name, i in weights.items()]
    every += [(name, str(i.dtype), i.shape, False) for name, i in state.items()]
    return hashlib.sha256(repr(every).encode()).hexdigest()


def _sentence(error: BaseException) -> str:
    return str(error) or type(error).__name__

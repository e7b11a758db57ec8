"""Folders that appear whole or not at all: what a killed writer leaves is cleared away, all else is left alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from qwen_audio.files import (
    MARK,
    NewFolder,
    clear_unfinished,
    discard,
    is_unfinished,
    new_folder,
    whole_file,
    write_whole,
)

WRITER = """
import sys, time
from pathlib import Path
from qwen_audio.files import NewFolder
folder = NewFolder(Path(sys.argv[1]))
(folder.path / "half").write_text("x")
print("begun", flush=True)
time.sleep(60)
"""


def test_a_folder_appears_when_it_is_whole_readable_by_all(tmp_path):
    with new_folder(tmp_path / "deep/target") as folder:
        (folder / "inner").mkdir()
        (folder / "inner/file").write_text("x")
        (folder / "inner/file").chmod(0o600)
        assert not (tmp_path / "deep/target").exists()
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["target"]
    assert [p.name for p in (tmp_path / "deep/target").iterdir()] == ["inner"]
    assert (tmp_path / "deep/target/inner/file").stat().st_mode & 0o777 == 0o644
    with pytest.raises(RuntimeError), new_folder(tmp_path / "other") as folder:
        (folder / "file").write_text("x")
        raise RuntimeError("the disk is on fire")
    assert [p.name for p in tmp_path.iterdir()] == ["deep"]


def test_what_a_running_process_writes_is_refused_and_cleared_when_it_was_killed(tmp_path):
    target = tmp_path / "target"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout.readline() == "begun\n"
        with pytest.raises(ValueError, match=r"target\.partial is being written by another run"):
            NewFolder(target)
        assert (tmp_path / "target.partial/half").read_text() == "x"
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    with new_folder(target) as folder:
        assert not (folder / "half").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_what_was_not_made_here_is_left_alone(tmp_path):
    (tmp_path / "target.partial").mkdir()
    (tmp_path / "target.partial/thesis.txt").write_text("years")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file.partial").write_text("mine")
    for name, message in (("target", "in the way"), ("link", "exists already"), ("file", "in the way")):
        with pytest.raises(ValueError, match=message):
            NewFolder(tmp_path / name)
    with pytest.raises(ValueError, match="in the way"):
        clear_unfinished(tmp_path / "target.partial")
    assert (tmp_path / "target.partial/thesis.txt").read_text() == "years"
    assert (tmp_path / "file.partial").read_text() == "mine"
    with pytest.raises(ValueError, match=r"big needs 1000\d+\.\d GB and its disk has .* GB free: make room"):
        NewFolder(tmp_path / "big", 10**21)
    assert not (tmp_path / "big.partial").exists()


@pytest.mark.parametrize("moment", ["made", "marked", "renamed"])
def test_a_kill_between_two_steps_is_mended(tmp_path, moment):
    unfinished = tmp_path / "target.partial"
    unfinished.mkdir()
    if moment != "made":
        (unfinished / MARK).touch()
    assert is_unfinished(unfinished)
    if moment == "renamed":  # the folder is whole; its mark does no harm
        (unfinished / "file").write_text("x")
        unfinished.rename(tmp_path / "target")
        discard(tmp_path / "target")
        assert list(tmp_path.iterdir()) == []
        return
    with new_folder(tmp_path / "target"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_a_folder_that_is_removed_never_looks_whole(tmp_path, monkeypatch):
    target = tmp_path / "target"
    with new_folder(target) as folder:
        (folder / "file").write_text("x")
    seen = []
    unlink = Path.unlink

    def watched(path, **kwargs):
        seen.append((path.name, target.exists()))
        unlink(path, **kwargs)

    monkeypatch.setattr(Path, "unlink", watched)
    discard(target)
    assert seen == [("file", False), (MARK, False)], "the name goes first, the mark last"
    assert list(tmp_path.iterdir()) == []


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "a.txt"
    write_whole(target, "größer\n")
    assert target.read_bytes() == "größer\n".encode()
    with pytest.raises(RuntimeError, match="half"), whole_file(target) as file:
        file.write(b"half")
        raise RuntimeError("half")
    assert target.read_text(encoding="utf-8") == "größer\n" and list(tmp_path.iterdir()) == [target]


def test_a_file_that_cannot_be_written_is_named_and_makes_no_folder(tmp_path):
    target = tmp_path / "none" / "a.txt"
    with pytest.raises(OSError) as caught:
        write_whole(target, "a")
    assert caught.value.filename == str(target) and not target.parent.exists()
    write_whole(target, b"a", parents=True)
    assert target.read_bytes() == b"a"
    target.unlink()
    target.mkdir()
    with pytest.raises(OSError) as caught:
        write_whole(target, "a")
    assert caught.value.filename == str(target) and list(target.parent.iterdir()) == [target]

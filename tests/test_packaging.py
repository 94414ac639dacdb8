"""setup.py names every package there is, and README's Quick start is two lines that it can keep."""

from __future__ import annotations

import ast
import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def setup_call() -> dict[str, ast.expr]:
    """The keywords of setup(...), unevaluated."""
    tree = ast.parse((CHECKOUT / "setup.py").read_text(encoding="utf-8"))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    call = next(c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "setup")
    return {k.arg: k.value for k in call.keywords if k.arg}


def test_every_package_is_in_the_wheel() -> None:
    named = set(ast.literal_eval(setup_call()["packages"]))
    found = {
        ".".join(init.parent.relative_to(root).parts)
        for root, top in ((CHECKOUT, "minigen"), (CHECKOUT / "kernels", "minigen_kernels"))
        for init in (root / top).rglob("__init__.py")
    }
    # Lessons and benchmarks are folders of the checkout, mapped to packages of longer names.
    assert named == found | {"minigen_lessons", "minigen_benchmarks"}


def test_every_other_file_of_the_kernels_is_in_the_wheel() -> None:
    patterns = ast.literal_eval(setup_call()["package_data"])
    root = CHECKOUT / "kernels"
    shipped = {
        path
        for package, globs in patterns.items()
        for pattern in globs
        for path in (root / package.replace(".", "/")).glob(pattern)
    }
    ignored = {".py", ".pyc"}
    files = {
        path
        for path in (root / "minigen_kernels").rglob("*")
        if path.is_file() and path.suffix not in ignored
    }
    assert {path.suffix for path in files} >= {".cu", ".cuh", ".cpp", ".hpp"}
    assert files <= shipped


def test_every_core_dependency_is_bounded_on_both_sides() -> None:
    for requirement in ast.literal_eval(setup_call()["install_requires"]):
        assert re.fullmatch(r"[\w-]+>=[\d.]+,<[\d.]+", requirement), requirement


def test_the_quick_start_is_two_lines() -> None:
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    block = text.split("## Quick start", 1)[1].split("```sh\n", 1)[1].split("```", 1)[0]
    lines = block.strip().splitlines()
    assert len(lines) == 2
    assert "minigen train dcgan" in lines[0] and "pytest" in lines[1]

"""Detective exercises: a class or function of minigen's own source with a seeded bug in it."""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
from types import ModuleType

from ..errors import MinigenError
from ..testing.bugs import all_bugs

__all__ = ["culprit", "module_of", "suspect"]


def module_of(key: str) -> ModuleType:
    """The module that a seeded bug is in."""
    file = all_bugs()[key].file
    parts = file.removesuffix(".py").removeprefix("kernels/").split("/")
    return importlib.import_module(".".join(parts))


def suspect(key: str, name: str) -> str:
    """The source of the class or function `name` with the seeded bug `key` planted in it."""
    bug = all_bugs()[key]
    text = inspect.getsource(module_of(key))
    if text.count(bug.old) != 1:
        raise MinigenError(f"the seeded bug {key} no longer fits its source")
    planted, right = _definition(text.replace(bug.old, bug.new), name), _definition(text, name)
    if planted == right:
        raise MinigenError(f"the seeded bug {key} is not in {name}")
    return planted


def culprit(key: str, name: str) -> str:
    """The lines that differ: what the bug made of them (-) and what is right (+)."""
    right = _definition(inspect.getsource(module_of(key)), name)
    lines = difflib.unified_diff(
        suspect(key, name).splitlines(), right.splitlines(), lineterm="", n=1
    )
    return "\n".join(line for line in list(lines)[3:])


def load(key: str, name: str):
    """The class or function itself, as `suspect` shows it, made in a copy of its module's names."""
    namespace = {**vars(module_of(key))}
    exec(compile(suspect(key, name), f"<suspect {name}>", "exec"), namespace)
    return namespace[name]


def _definition(text: str, name: str) -> str:
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            return "\n".join(text.splitlines()[first - 1 : node.end_lineno]) + "\n"
    raise MinigenError(f"there is no {name} in this source")

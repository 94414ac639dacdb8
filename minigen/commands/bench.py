"""minigen bench: the benchmarks, which lie outside the package: beside it, or in the wheel."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from ..cli import out
from ..errors import UsageError
from .parsing import parse


def main(argv: list[str]) -> int:
    bench = benchmarks("bench")
    options = parse(bench.Options, argv, "bench")
    try:
        return bench.main(options, out)
    except ValueError as error:
        raise UsageError(str(error)) from error


def benchmarks(module: str) -> ModuleType:
    """A module of the benchmarks: of the checkout that minigen is run from, or as installed."""
    root = Path(__file__).parents[2]
    if not (root / "benchmarks" / "__init__.py").is_file():
        return importlib.import_module(f"minigen_benchmarks.{module}")
    # A path rather than a loader of our own: the worker processes inherit it.
    if str(root) not in sys.path:
        sys.path.append(str(root))
    return importlib.import_module(f"benchmarks.{module}")

"""minigen check [OP or MODEL ...]: the gradient properties, as a table."""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import Literal

from ..cli import out
from ..errors import MinigenError
from .device import device_for
from .parsing import parse


@dataclasses.dataclass(frozen=True)
class Options:
    """Check gradients of first and second order against finite differences, at drawn shapes."""

    profile: Literal["dev", "ci", "thorough"] = "dev"
    """How many cases: dev is quick, thorough takes long."""
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    """What to compute on: auto takes a GPU that works."""
    debug: bool = False
    """Show the traceback of an error."""


def main(argv: list[str]) -> int:
    names, words = _names_and_options(argv)
    options = parse(Options, words, "check [OP or MODEL ...]")
    device = device_for(options.device)
    if importlib.util.find_spec("hypothesis") is None:
        raise MinigenError(
            "minigen check draws its cases with Hypothesis, which is not installed: "
            "pip install 'minigen[test]'"
        )
    from .. import testing
    from ..testing.models import MODEL_CASES

    known = [*testing.CASES, *MODEL_CASES]
    unknown = [name for name in names if name not in known]
    if unknown:
        testing.run_checks(unknown)  # raises, with a suggestion, before anything is checked
    names = names or known
    width = max(len(name) for name in ("name", *names))
    out(f"{'name':<{width}}  {'cases':>5}  {'worst error':>11}  verdict")
    rows = []
    for name in names:  # one by one: all of them take minutes
        (row,) = testing.run_checks([name], options.profile, device)
        out(f"{row.name:<{width}}  {row.cases:>5}  {row.worst_error:>11.1e}  {row.verdict}")
        rows.append(row)
    failed = [row.name for row in rows if row.verdict != "ok"]
    out(f"{len(rows) - len(failed)} of {len(rows)} ok" + "".join(f"\n{n} failed" for n in failed))
    return 1 if failed else 0


def _names_and_options(argv: list[str]) -> tuple[list[str], list[str]]:
    """The names, and the options with their values, in whatever order they come."""
    names: list[str] = []
    options: list[str] = []
    for word in argv:
        is_value = bool(options) and options[-1] in ("--profile", "--device")
        (options if word.startswith("-") or is_value else names).append(word)
    return names, options

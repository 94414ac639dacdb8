"""minigen check [OP or MODEL ...]: the gradient properties, as a table."""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import Literal

from ..cli import out
from ..errors import MinigenError
from .parsing import parse


@dataclasses.dataclass(frozen=True)
class Options:
    """Check gradients of first and second order against finite differences, at drawn shapes."""

    profile: Literal["dev", "ci", "thorough"] = "dev"
    """How many cases: dev is quick, thorough takes long."""
    debug: bool = False
    """Show the traceback of an error."""


def main(argv: list[str]) -> int:
    flags = next((i for i, word in enumerate(argv) if word.startswith("-")), len(argv))
    names, options = argv[:flags], parse(Options, argv[flags:], "check [OP or MODEL ...]")
    if importlib.util.find_spec("hypothesis") is None:
        raise MinigenError(
            "minigen check draws its cases with Hypothesis, which is not installed: "
            "pip install 'minigen[test]'"
        )
    from .. import testing

    rows = testing.run_checks(names, options.profile)
    width = max([len("name"), *(len(row.name) for row in rows)])
    out(f"{'name':<{width}}  {'cases':>5}  {'worst error':>11}  verdict")
    for row in rows:
        out(f"{row.name:<{width}}  {row.cases:>5}  {row.worst_error:>11.1e}  {row.verdict}")
    failed = [row.name for row in rows if row.verdict != "ok"]
    out(f"{len(rows) - len(failed)} of {len(rows)} ok" + "".join(f"\n{n} failed" for n in failed))
    return 1 if failed else 0

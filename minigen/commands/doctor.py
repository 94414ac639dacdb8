"""minigen doctor: what works here, and what is missing."""

from __future__ import annotations

import dataclasses

from ..cli import out
from .parsing import parse


@dataclasses.dataclass(frozen=True)
class Options:
    """Report versions, CPU, threads, a self-check of the kernels, their cache, and the GPU."""

    clear_cache: bool = False
    """Delete the compiled kernels, of this version and of earlier ones; they are made anew."""
    debug: bool = False
    """Show the traceback of an error."""


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "doctor")
    if options.clear_cache:
        from minigen_kernels.cpu import jit

        out(f"{jit.clear_cache()} compiled kernels deleted from {jit.base_folder()}")
        return 0
    from .. import doctor

    rows = doctor.report()
    for what, finding in rows:
        out(f"{what:<14} {finding}")
    return 1 if any(finding.startswith("FAILED") for _, finding in rows) else 0

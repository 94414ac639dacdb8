"""Seeded bugs: small wrong edits of minigen's own source that its tests must notice.

A bug is one edit (`old` → `new`, in one file) and the properties that guard that place. Planted in
a copy of the sources, it is *killed* when those properties fail, under every seed tried. Harmless
rewrites stand beside them: those properties must let them live, or they are not about behaviour.

The tables are in `minigen/testing/zoo/`, one file per family.
"""

from __future__ import annotations

import importlib
import shutil
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FAMILIES", "Bug", "all_bugs", "copy_sources", "plant"]

FAMILIES = (
    "ops",
    "conv_kernels",
    "attention",
    "norms",
    "losses",
    "optimisers",
    "data",
    "checkpoint",
    "harmless",
)


@dataclass(frozen=True)
class Bug:
    """One edit, and who must notice it.

    name     what the mistake is, in words joined by hyphens
    file     path below the checkout, e.g. "minigen/ops/conv.py"
    old      text that occurs exactly once in the file
    new      what stands there instead
    guards   pytest selections of generic properties, e.g. "tests/minigen/test_laws.py -k adjoint"
    """

    name: str
    file: str
    old: str
    new: str
    guards: tuple[str, ...]
    harmless: bool = False


def all_bugs() -> dict[str, Bug]:
    """Every seeded bug and harmless rewrite, by "family/name"."""
    found: dict[str, Bug] = {}
    for family in FAMILIES:
        table = importlib.import_module(f".zoo.{family}", __package__)
        for bug in table.BUGS:
            key = f"{family}/{bug.name}"
            if key in found:
                raise ValueError(f"two seeded bugs are called {key}: rename one")
            found[key] = bug
    return found


def copy_sources(checkout: Path, folder: Path) -> None:
    """Copy what the tests need of a checkout: the packages, the tests, the settings."""
    ignore = shutil.ignore_patterns("__pycache__")
    for part in ("minigen", "kernels", "tests", "benchmarks"):
        shutil.copytree(checkout / part, folder / part, ignore=ignore)
    for part in ("pyproject.toml", "setup.py"):
        shutil.copy2(checkout / part, folder / part)


def plant(bug: Bug, folder: Path) -> None:
    """Edit the copy in `folder`; ValueError when the place is no longer there, or not unique."""
    path = folder / bug.file
    source = path.read_text(encoding="utf-8")
    count = source.count(bug.old)
    if count != 1:
        raise ValueError(
            f"seeded bug {bug.name}: its old text occurs {count} times in {bug.file}, not once; "
            "the source has changed, so change the bug with it"
        )
    path.write_text(source.replace(bug.old, bug.new), encoding="utf-8")

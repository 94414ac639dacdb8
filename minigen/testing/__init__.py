"""What tests, lessons and `minigen check` share: strategies, the table of op cases, the checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cases import CASES
    from .checks import Row, run_checks

__all__ = ["CASES", "Row", "run_checks"]


def __getattr__(name: str) -> Any:
    # Loaded when first named: the seeded bugs next door need no Hypothesis.
    if name in __all__:
        from . import cases, checks

        return {"CASES": cases.CASES, "Row": checks.Row, "run_checks": checks.run_checks}[name]
    raise AttributeError(f"module 'minigen.testing' has no attribute {name!r}")

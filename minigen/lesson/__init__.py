"""Lessons: their source, the stepper, the checks of exercises, the pages. Lessons themselves use

    from minigen.lesson import check, quick, show
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .showing import Picture, quick, show

if TYPE_CHECKING:
    from . import check

__all__ = ["Picture", "check", "quick", "show"]


def __getattr__(name: str) -> Any:
    if name == "check":  # needs Hypothesis, an extra
        return importlib.import_module(".check", __name__)
    raise AttributeError(f"module 'minigen.lesson' has no attribute {name!r}")

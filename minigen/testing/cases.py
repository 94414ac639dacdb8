"""CASES: every public op, in all its modes, with arguments drawn by Hypothesis.

Adding an op to minigen.functional means adding it here, in the file of its family: a test fails
until it has an entry.
"""

from __future__ import annotations

from . import cases_elementwise, cases_loss, cases_nn, cases_shape
from .table import Case

__all__ = ["CASES"]

CASES: dict[str, list[Case]] = {}
for table in (cases_elementwise.CASES, cases_shape.CASES, cases_nn.CASES, cases_loss.CASES):
    for op, cases in table.items():  # an op may have modes of two families
        CASES.setdefault(op, []).extend(cases)

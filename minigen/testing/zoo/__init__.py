"""The tables of seeded bugs, one file per family (see minigen.testing.bugs), and their guards.

A guard names a generic property and the operation or kernel it is asked about; never a bug.
"""

from __future__ import annotations

import shlex


def gradients(case: str) -> str:
    """Value and order-2 gradient checks of a case of the table, over generated arguments."""
    return shlex.quote(f"tests/minigen/test_gradients.py::test_gradients[{case}]")


def parity(case: str) -> str:
    """Agreement with torch in value, gradient and second gradient, of a case of the table."""
    return shlex.quote(f"tests/parity/test_parity_ops.py::test_op_is_torchs[{case}]")


def parity_in(what: str, name: str) -> str:
    """Agreement with torch in other things: "ops" (states, fixed rows), "optim", "models"."""
    return f"tests/parity/test_parity_{what}.py -k {name}"


def laws(name: str) -> str:
    """Algebraic laws."""
    return f"tests/minigen/test_laws.py -k {name}"

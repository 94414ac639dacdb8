"""The tables of seeded bugs, one file per family (see minigen.testing.bugs), and their guards.

A guard names a generic property and the operation or kernel it is asked about; never a bug.
"""

from __future__ import annotations


def gradients(name: str) -> str:
    """Order-2 gradient checks of an operation, over generated shapes."""
    return f"tests/minigen/test_gradients.py -k {name}"


def parity(name: str) -> str:
    """Agreement with torch in value, gradient and second gradient, over generated arguments."""
    return f"tests/parity -k {name}"


def laws(name: str) -> str:
    """Algebraic laws."""
    return f"tests/minigen/test_laws.py -k {name}"

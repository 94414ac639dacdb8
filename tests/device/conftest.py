"""The stand-in for CuPy, with the CPU's kernels in place of the GPU's."""

from __future__ import annotations

import pytest

from tests.device import strict_cupy


@pytest.fixture
def strict(monkeypatch):
    with strict_cupy.installed() as made:
        strict_cupy.with_cpu_kernels(monkeypatch)
        yield made

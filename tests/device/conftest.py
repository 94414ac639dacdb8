"""The stand-in for CuPy, with the CPU's kernels in place of the GPU's."""

from __future__ import annotations

import os

import pytest

from tests.device import strict_cupy


def pytest_collection_modifyitems(config, items):
    """MINIGEN_SHARD=1/4 keeps the tests at the places 1, 5, 9 ...: the GPU command sets it."""
    shard = os.environ.get("MINIGEN_SHARD")
    if shard:
        i, count = map(int, shard.split("/"))
        dropped = [item for place, item in enumerate(items) if place % count != i]
        config.hook.pytest_deselected(items=dropped)
        items[:] = items[i::count]


@pytest.fixture
def strict(monkeypatch):
    with strict_cupy.installed() as made:
        strict_cupy.with_cpu_kernels(monkeypatch)
        yield made

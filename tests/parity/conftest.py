"""Everything in this folder compares with torch, and is a slower gate (extra: peers)."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.parity)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Without torch there is nothing to compare with; the gate itself insists that it is there."""
    import importlib.util

    inside = Path(__file__).parent in collection_path.parents
    return True if inside and importlib.util.find_spec("torch") is None else None

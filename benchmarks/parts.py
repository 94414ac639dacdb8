"""What the time goes into: the kernels within a step, and matrix products at each vector width."""

from __future__ import annotations

import collections
import functools
import time
from collections.abc import Callable
from typing import Any

from .cases import Case

CALLS = 8
# The kernels of a column; what is in none of them is NumPy, the engine and Python.
COLUMNS = {
    "products": ("gemm", "conv2d", "conv_transpose2d", "conv2d_weight"),
    "attention": ("attention", "attention_backward"),
    "other kernels": (),
}
REST = "NumPy and Python"


def of_step(case: Case) -> dict[str, float]:
    """Seconds of a case that minigen spends in each column's kernels, and in none: the rest."""
    from . import minigen_side

    return of_run(minigen_side.prepare(case))


def of_run(run: Callable[[], Any]) -> dict[str, float]:
    """The same of a function that computes something once."""
    from minigen_kernels import use
    from minigen_kernels.cpu import LADDERS

    seconds: dict[str, float] = collections.defaultdict(float)
    column = {name: title for title, names in COLUMNS.items() for name in names}

    def timed(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(kernel)
        def call(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return kernel(*arguments, **options)
            finally:
                seconds[column.get(name, "other kernels")] += time.perf_counter() - began

        return call

    own: dict[str, Any] = {name: timed(name, ladder[-1]) for name, ladder in LADDERS.items()}
    with use(**own):
        for _ in range(3):
            run()
        seconds.clear()
        began = time.perf_counter()
        for _ in range(CALLS):
            run()
        whole = time.perf_counter() - began
    found = {title: seconds[title] / CALLS for title in COLUMNS}
    return {**found, REST: whole / CALLS - sum(found.values())}

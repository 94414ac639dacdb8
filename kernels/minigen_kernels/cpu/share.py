"""share: run a compiled kernel on one core or on all, as its size deserves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .jobs import COUNTERS
from .threads import on_all_threads

SMALL = 1 << 16  # numbers that are done with before a second thread has woken up
BLOCK = 1 << 14  # numbers in a task: long enough to fetch it for nothing, short enough to balance
# For fastmath: lets a sum be split over vector lanes; NaN and inf stay right
SUM = {"reassoc", "contract"}
# Options of what compiled code alone calls
inner: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def share(work: Callable[..., None], size: int, *arguments: Any) -> None:
    """work(counters, *arguments), on all cores if `size`, the numbers it handles, is worth it.

    work begins with call_helpers(counters), and fetches its tasks with next_task(counters, 0). Each
    task owns what it writes, so the bits do not depend on who fetches it.
    """
    if size <= SMALL:
        work(np.zeros(COUNTERS, np.int64), *arguments)
    else:
        on_all_threads(work, *arguments)

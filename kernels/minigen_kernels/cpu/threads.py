"""How many cores the CPU kernels use, and the helpers that run compiled functions on them.

The large kernels are compiled once, as functions that run outside Python's lock and fetch their
tasks from a shared counter; helpers are plain Python threads that call the same function. Compiling
the same loops as numba.prange takes several times as long.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numba

_threads: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
_helpers: list[SimpleQueue[Any]] = []
_lock = threading.Lock()


def set_threads(n: int) -> None:
    """Use n cores from now on, 1 up to the number this machine has.

    For a given n the kernels give the same bits in every run; another n may round differently.
    """
    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    if not 1 <= n <= most:
        raise ValueError(f"set_threads({n}): this process can use 1 to {most} threads")
    global _threads
    _threads = n


def get_threads() -> int:
    """The number of cores that the kernels use now."""
    return _threads


def on_all_threads(work: Callable[..., None], *arguments: Any) -> None:
    """Call work(*arguments) on every core at once, and return when all calls have.

    work is compiled with nogil=True, and shares out its tasks by simd.next_task().
    """
    done: SimpleQueue[BaseException | None] = SimpleQueue()
    helpers = _running(get_threads() - 1)
    for queue in helpers:
        queue.put((work, arguments, done))
    failure = _attempt(work, arguments)
    for _ in helpers:  # also after a failure: the helpers still write into the arrays
        failure = done.get() or failure
    if failure is not None:
        raise failure


def _attempt(work: Callable[..., None], arguments: tuple[Any, ...]) -> BaseException | None:
    try:
        work(*arguments)
    except BaseException as error:  # handed to the thread that asked for the work
        return error
    return None


def _running(count: int) -> list[SimpleQueue[Any]]:
    """The queues of `count` helpers, started when first needed."""
    if len(_helpers) < count:
        with _lock:
            while len(_helpers) < count:
                queue: SimpleQueue[Any] = SimpleQueue()
                threading.Thread(target=_serve, args=(queue,), daemon=True).start()
                _helpers.append(queue)
    return _helpers[:count]


def _serve(queue: SimpleQueue[Any]) -> None:
    while True:
        work, arguments, done = queue.get()
        done.put(_attempt(work, arguments))
        del work, arguments, done  # keep no array alive until the next call


if hasattr(os, "register_at_fork"):  # a forked child has the list, but not the threads
    os.register_at_fork(after_in_child=_helpers.clear)

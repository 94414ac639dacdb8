"""How many cores the CPU kernels use, and the helpers that run compiled functions on them.

The large kernels are compiled once, as functions that run outside Python's lock and fetch their
tasks from a shared counter; helpers are threads that call the same function (jobs.py). Compiling
the same loops as numba.prange takes several times as long.

To wake a sleeping thread takes longer than many kernels run (80 µs against 2 µs, measured). So a
helper that has nothing to do looks out for the next job for about a millisecond before it sleeps,
and who gave a job that no helper has begun takes it back instead of waiting.
"""

from __future__ import annotations

import functools
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from .jit import jit
from .jobs import BOARDS, CORE, COUNTERS, FAILED, HELPERS, STATE, WORDS, finish, serve
from .simd import await_counter

_threads: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
_helpers: list[Helper] = []
_free = threading.Lock()  # held by the thread that the helpers work for

PATIENCE = 1e-3  # seconds for which a helper looks out before it sleeps
WAKING = 5e-5  # the same when it was woken: a job is there at once, unless we have the giver's core


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
    """Call work(counters, *arguments) on every core at once, and return when all calls have.

    work is compiled with nogil=True, begins with call_helpers(counters), and shares out its tasks
    by next_task(counters, 0): any number of calls, one too, does them all. While another thread has
    the helpers, this one does without.
    """
    counters, count = np.zeros(COUNTERS, np.int64), get_threads() - 1
    if count == 0 or not _free.acquire(blocking=False):
        work(counters, *arguments)
        return
    try:
        boards, address = _ready(count)
        counters[BOARDS], counters[HELPERS] = address, count
        try:
            work(counters, *arguments)
        finally:  # also after a failure: the helpers still write into the arrays
            looks = _looks(PATIENCE)
            while (working := finish(boards, looks)) > 0:
                time.sleep(0)  # a helper's core may be busy with something else: perhaps with ours
        if working < 0:
            boards[:, FAILED] = 0
            raise RuntimeError(f"{work.__name__} failed on another thread than the one it began on")
    finally:
        _free.release()


def _ready(count: int) -> tuple[np.ndarray, int]:
    """The boards of so many helpers and where they lie; the helpers look at them, or soon will."""
    if len(_helpers) < count:
        boards = np.zeros((count, WORDS), np.int64)
        boards[:, CORE] = -1  # nobody's yet
        _helpers[:] = [Helper(board) for board in boards]
        _boards.clear()
        _boards.update({n: (boards[:n], boards.ctypes.data) for n in range(1, count + 1)})
    for helper in _helpers[:count]:
        helper.wake()
    return _boards[count]


_boards: dict[int, tuple[np.ndarray, int]] = {}


class Helper:
    """A thread that does the jobs on a board, one at a time."""

    def __init__(self, board: np.ndarray) -> None:
        self._board, self._asleep, self._alarm = board, False, threading.Semaphore(0)
        threading.Thread(target=self._serve, daemon=True).start()

    def wake(self) -> None:
        """To be called before a job is given: whoever falls asleep just now may miss that one."""
        if self._asleep:
            self._alarm.release()

    def _serve(self) -> None:
        waking, patience = _looks(WAKING), _looks(PATIENCE)
        while True:
            alone = serve(self._board, waking, patience)
            if not alone and _leave(int(self._board[CORE])):
                continue
            self._asleep = True
            if not alone or self._board[STATE] % 3 != 1:
                self._alarm.acquire()
            self._asleep = False


def _leave(core: int) -> bool:
    """Have this thread go on on any other core than that one, and whether there is another."""
    if not hasattr(os, "sched_setaffinity"):
        return False
    cores = os.sched_getaffinity(0)  # 0 stands for the thread that asks
    if not cores - {core}:
        return False
    os.sched_setaffinity(0, cores - {core})
    os.sched_setaffinity(0, cores)  # it is where it should be, and may be moved again
    return True


@jit(nogil=True)
def _await(signs, n, value, looks):
    return await_counter(signs, n, value, looks)


@functools.cache
def _looks(seconds: float) -> int:
    """How many looks at a counter take so long."""
    return max(1, round(seconds / _seconds_of_a_look()))


@functools.cache
def _seconds_of_a_look() -> float:
    """A pause takes 10 to 140 cycles, by the make of the CPU: the best of some hundreds of µs."""
    signs, best = np.zeros(1, np.int64), math.inf
    for _ in range(5):
        began = time.perf_counter()
        _await(signs, 0, 1, 1000)
        best = min(best, (time.perf_counter() - began) / 1000)
    return best


def _forget() -> None:
    """A forked child has the list of helpers, but not the threads."""
    global _free
    _helpers.clear()
    _boards.clear()
    _free = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

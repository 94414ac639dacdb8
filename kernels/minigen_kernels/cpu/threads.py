"""How many cores the CPU kernels use, and the helpers that run compiled functions on them.

The large kernels are compiled once, as functions that run outside Python's lock and fetch their
tasks from a shared counter; helpers are plain Python threads that call the same function. Compiling
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
from .simd import await_counter, set_counter

_threads: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
_helpers: list[Helper] = []
_free = threading.Lock()  # held by the thread that the helpers work for

Job = tuple[Callable[..., None], tuple[Any, ...]]
GIVEN, DONE = 0, 8  # where these counts stand: in cache lines of their own
PATIENCE = 1e-3  # seconds for which a helper looks out before it sleeps
HANDOVER = 5e-6  # seconds in which who gives a job gets round to letting go of Python's lock


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

    work is compiled with nogil=True, and shares out its tasks by simd.next_task(): any number of
    calls, one too, does them all. While another thread has the helpers, this one does without.
    """
    count = get_threads() - 1
    if count == 0 or not _free.acquire(blocking=False):
        work(*arguments)
        return
    try:
        while len(_helpers) < count:
            _helpers.append(Helper())
        helpers = _helpers[:count]
        try:
            for helper in helpers:
                helper.give(work, arguments)
            work(*arguments)
        finally:  # also after a failure: the helpers still write into the arrays
            failures = [helper.finish() for helper in helpers]
        for failure in failures:
            if failure is not None:
                raise failure
    finally:
        _free.release()


class Helper:
    """A thread that does one job at a time. All methods but _serve are for the thread that gives.

    The list of jobs holds the job that was given, until somebody pops it: who does, owns it.
    """

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._signs = np.zeros(16, np.int64)  # jobs GIVEN, and how many of those it has DONE
        self._asleep, self._alarm = False, threading.Semaphore(0)
        self._failure: BaseException | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    def give(self, work: Callable[..., None], arguments: tuple[Any, ...] = ()) -> None:
        """Have work(*arguments) called at once, beside what this thread does."""
        self._jobs.append((work, arguments))
        self._signs[GIVEN] += 1
        if self._asleep:  # looked at after the sign is set; the helper does these the other way
            self._alarm.release()

    def finish(self) -> BaseException | None:
        """Return when the job is done, with its error; or take it back if it was not begun."""
        try:
            self._jobs.pop()
            return None
        except IndexError:
            given = self._signs[GIVEN]
            while _await(self._signs, DONE, given, _looks(PATIENCE)) < given:
                time.sleep(0)  # its core may be busy with something else: perhaps with ours
            failure, self._failure = self._failure, None
            return failure

    def _serve(self) -> None:
        given, patience, handover = 0, _looks(PATIENCE), _looks(HANDOVER)
        while True:
            before, given = given, _next_job(self._signs, given, patience, handover)
            if given == before:
                self._asleep = True
                if self._signs[GIVEN] == given:
                    self._alarm.acquire()
                self._asleep = False
                continue
            try:
                work, arguments = self._jobs.pop()
            except IndexError:
                continue  # it was taken back
            try:
                work(*arguments)
            except BaseException as error:  # handed to the thread that asked for the work
                self._failure = error
            del work, arguments  # keep no array alive until the next call


@jit(nogil=True)
def _next_job(signs, done, patience, handover):
    """Say that so many jobs are done; how many are given, once they are more or patience ends."""
    set_counter(signs, DONE, done)
    given = await_counter(signs, GIVEN, done + 1, patience)
    if given > done:  # who gave it holds Python's lock for a moment; to ask for it now is to sleep
        await_counter(signs, DONE, given, handover)
    return given


@jit(nogil=True)
def _await(signs, n, value, looks):
    return await_counter(signs, n, value, looks)


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
    _free = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

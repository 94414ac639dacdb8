"""A contestant in a process of its own, so that the thread pools of two libraries do not fight.

The parent sends ("prepare", case), ("measure", calls) or ("memory", case) and gets an answer, or
the text of an error, for each.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import multiprocessing
import os
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from . import parts
from .cases import Case
from .machine import fma_gflops

PIECE = 0.005  # seconds that a piece of calls lasts about: short, so that few are disturbed
# Seconds of calls before each piece. For so long the threads of who ran before look for work, on a
# core that this contestant needs (OpenBLAS's for about 2^26 cycles); and a rest instead would leave
# cold caches and a slow clock.
WARM = 0.03
LIMIT = 300.0  # seconds until an answer, compilation included


class Contestant:
    """A worker process of one library with a number of threads; close() ends it.

    name: "minigen", "minigen rung 1", "minigen 256 bits", "torch", "torch channels_last",
    "torch.compile" or "numpy"; what follows a "#" tells two equal contestants apart.
    """

    def __init__(self, name: str, threads: int, limit: float = LIMIT):
        self.name, self.threads, self.limit = name, threads, limit
        self._start()

    def _start(self) -> None:
        context, name = multiprocessing.get_context("spawn"), self.name.partition("#")[0].strip()
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, name, self.threads), daemon=True
        )
        self._process.start()
        theirs.close()

    def ask(self, *message: Any) -> Any:
        """The worker's answer. RuntimeError: what went wrong there; the next case finds a new
        process if this one has ended, or gave no answer within the limit."""
        try:
            self._pipe.send(message)
            answer = self._pipe.recv() if self._pipe.poll(self.limit) else None
        except (EOFError, ConnectionError):
            answer = "error", "its process ended unexpectedly"
        if answer is None or not self._process.is_alive():
            self._process.kill()
            self._pipe.close()
            self._start()
        kind, value = answer or ("error", f"no answer within {self.limit:.0f} s")
        if kind == "error":
            raise RuntimeError(f"{self.name}: {value}")
        return value

    def close(self) -> None:
        self._pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.terminate()


def _serve(pipe: Connection, name: str, threads: int) -> None:
    side, run = _side(name, threads), None
    while True:
        try:
            what, value = pipe.recv()
        except EOFError:
            return
        try:
            if what == "prepare":
                run = None  # the case before goes first, its arrays are large
                run, answer = _prepare(side, value)
            elif what == "memory":
                run, answer = None, _memory(side, value)
            elif what == "parts":
                run, answer = None, parts.of_step(value)
            elif what == "peak":
                run, answer = None, fma_gflops(value)
            else:
                answer = _measure(run, value)
            pipe.send(("done", answer))
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            pipe.send(("error", f"{type(error).__name__}: {error} ({where})"))


def _side(name: str, threads: int) -> Any:
    """prepare(case) of this contestant, with its library told how many threads to use."""
    from minigen.environment import keep_freed_memory
    from minigen.environment import threads as set_threads

    set_threads(threads)
    if name.startswith("torch"):
        import torch

        from . import torch_side

        torch.set_num_threads(threads)
        library, _, layout = name.partition(" ")
        return lambda case: torch_side.prepare(case, library == "torch.compile", layout or None)
    if name == "numpy":
        from . import numpy_side

        return numpy_side.prepare
    from . import minigen_side

    keep_freed_memory()
    words = name.split()
    rung = int(words[2]) if words[1:2] == ["rung"] else None
    bits = int(words[1]) if words[2:] == ["bits"] else None
    return lambda case: minigen_side.prepare(case, rung, bits)


def _prepare(side: Any, case: Case) -> tuple[Any, dict[str, Any]]:
    """The function to measure; how long its first call took, what it gave, calls in a piece."""
    run = side(case)
    began = time.perf_counter()
    results = [np.array(x, copy=True) for x in run()]
    first = time.perf_counter() - began
    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    calls = max(1, min(10_000, round(PIECE / max(min(seconds), 1e-7))))
    answer = {"first": first, "calls": calls, "marks": [marks(x) for x in results]}
    return run, answer


def marks(x: np.ndarray) -> tuple[tuple[int, ...], float, float]:
    """Shape, size and direction of a result: enough to tell a wrong one, small enough to send."""
    flat = x.astype(np.float64).ravel()
    probe = np.random.default_rng(1).standard_normal(flat.size)
    norm = float(np.linalg.norm(flat))
    return x.shape, norm, float(probe @ flat) / max(norm * np.sqrt(flat.size), 1e-30)


def _measure(run: Any, calls: int) -> float:
    """Seconds per call, of so many calls in a row, once the machine is this contestant's."""
    until = time.perf_counter() + WARM
    while time.perf_counter() < until:
        run()
    began = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - began) / calls


def _memory(side: Any, case: Case) -> float:
    """Peak resident bytes over steps 3 to 10, minus what was resident before step 1.

    In a process of its own, which has seen no larger steps: an allocator keeps what it once had.
    Steps of a batch of 2 come first, to load all code, so that neither library's is counted; what
    they left to the allocator goes back to the system, or it would count as there before.
    """
    run = side(dataclasses.replace(case, sizes=case.sizes | {"batch": 2}))
    for _ in range(2):
        run()
    run = None
    run = side(case)
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library has no malloc_trim
        ctypes.CDLL(None).malloc_trim(0)
    before = _resident("VmRSS")
    for _ in range(2):
        run()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    for _ in range(8):
        run()
    return _resident("VmHWM") - before


def _resident(field: str) -> float:
    for line in Path(f"/proc/{os.getpid()}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return 1024.0 * int(line.split()[1])
    raise OSError(f"{field} is not known on this system")

"""Timing on a GPU, and the emulator in its place for a rehearsal.

What is timed is one CUDA graph of many calls over several sets of buffers, between two events: no
Python, no launch cost, and no help from the L2 cache where the sets together are larger than it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .runner import summary

L2_BYTES = 60e6  # of an H200, as PyTorch reports it
MOST_SETS = 24
PIECE = 0.004  # seconds that one launch of a graph is to take
SLOW_ROUNDS = 3  # of what Python's clock times, which takes long


@dataclasses.dataclass
class Contestant:
    """One way to compute a case.

    run(i)    computes it on buffer set i.
    library   whose graph records it, "ours" or "torch"; "numba" and "cpu" are timed from Python.
    result()  what run(0) gives, as NumPy arrays.
    """

    name: str
    library: str
    run: Callable[[int], Any]
    result: Callable[[], Sequence[np.ndarray]]
    settings: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext
    note: str = ""
    tolerance: float | None = None  # of the norm of the error, where it is not the case's


class Gpu:
    """The device that CuPy sees; PyTorch's peers run on the same one."""

    rehearsal = False
    torch = "cuda"
    # How often things are done: rounds of a comparison, steps before a training step is timed,
    # calls of what is timed by itself; and the bytes of the copy.
    rounds, warm_steps, calls, copy_bytes = 9, 5, 2000, 1 << 30

    def __init__(self) -> None:
        import cupy

        self._found(cupy)

    def _found(self, cupy: Any) -> None:
        self.cupy = cupy
        self.properties = cupy.cuda.runtime.getDeviceProperties(0)
        self.name = self.properties["name"].decode()

    def array(self, x: np.ndarray) -> Any:
        return self.cupy.asarray(x)

    def host(self, x: Any) -> np.ndarray:
        return x.get()

    def sets(self, bytes_of_one: float) -> int:
        """How many sets of buffers: four times the L2 cache together, but not too many."""
        return int(min(MOST_SETS, max(2, -(-4 * L2_BYTES // max(bytes_of_one, 1)))))

    def synchronize(self) -> None:
        self.cupy.cuda.Device().synchronize()

    def synchronize_torch(self) -> None:
        import torch

        torch.cuda.synchronize()

    def close(self) -> None:
        """Leave things as they were."""

    def timer(self, contestant: Contestant, sets: int) -> Callable[[], float]:
        """Seconds per call, each time it is called; the graph is made here."""
        if contestant.library in ("cpu", "numba"):
            return self._by_python(contestant, 1, 1)
        make = self._torch_graph if contestant.library == "torch" else self._our_graph
        calls, timed = sets, make(contestant, sets, sets)
        timed()  # the first launch of a graph takes it to the GPU
        wanted = max(sets, min(2000, round(PIECE / max(timed() / calls, 1e-7))))
        if wanted > 2 * calls:
            calls, timed = wanted, make(contestant, wanted, sets)
            timed()
        return lambda: timed() / calls

    def _our_graph(self, contestant: Contestant, calls: int, sets: int) -> Callable[[], float]:
        from minigen_kernels import graph

        def work() -> None:
            with contestant.settings():
                for i in range(calls):
                    contestant.run(i % sets)

        for i in range(min(sets, 3)):
            with contestant.settings():
                contestant.run(i)
        recorded, cuda = graph.record(work), self.cupy.cuda

        def timed() -> float:
            start, stop = cuda.Event(), cuda.Event()
            start.record()
            recorded.replay()
            stop.record()
            stop.synchronize()
            return cuda.get_elapsed_time(start, stop) * 1e-3

        return timed

    def _by_python(self, contestant: Contestant, calls: int, sets: int) -> Callable[[], float]:
        def timed() -> float:
            with contestant.settings():
                self.synchronize()
                began = time.perf_counter()
                for i in range(calls):
                    contestant.run(i % sets)
                self.synchronize()
                return time.perf_counter() - began

        return timed

    def _torch_graph(self, contestant: Contestant, calls: int, sets: int) -> Callable[[], float]:
        import torch

        with contestant.settings():
            side = torch.cuda.Stream()
            with torch.cuda.stream(side):
                for i in range(min(sets, 3)):
                    contestant.run(i)
            torch.cuda.synchronize()
            recorded = torch.cuda.CUDAGraph()
            with torch.cuda.graph(recorded):
                for i in range(calls):
                    contestant.run(i % sets)

        def timed() -> float:
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            recorded.replay()
            stop.record()
            stop.synchronize()
            return start.elapsed_time(stop) * 1e-3

        return timed


class Rehearsal(Gpu):
    """The emulator in the GPU's place, behind a stand-in for CuPy; PyTorch computes on the CPU.

    Everything is called, recorded, replayed, checked and timed as on a GPU; the times are those of
    the emulator and say nothing about one.
    """

    rehearsal = True
    torch = "cpu"
    rounds, warm_steps, calls, copy_bytes = 1, 2, 3, 1 << 12

    def __init__(self) -> None:
        try:
            from tests.device import strict_cupy
        except ImportError:
            raise ImportError("a rehearsal needs the tests of a checkout: run it in one") from None
        self._stack = contextlib.ExitStack()
        made = self._stack.enter_context(strict_cupy.installed())
        self._stack.enter_context(strict_cupy.driven_by_the_emulator())
        self._found(made)

    def close(self) -> None:
        self._stack.close()

    def sets(self, bytes_of_one: float) -> int:
        return 2

    def synchronize_torch(self) -> None:
        pass

    def _torch_graph(self, contestant: Contestant, calls: int, sets: int) -> Callable[[], float]:
        return self._by_python(contestant, calls, sets)


@contextlib.contextmanager
def filled_with_nan() -> Iterator[None]:
    """New arrays of our kernels begin as NaN, so that an element that nobody writes is seen."""
    import sys

    import minigen_kernels

    def empty(shape: Any, dtype: Any, like: Any = None) -> Any:
        made = plain(shape, dtype, like)
        if np.dtype(dtype).kind == "f":
            made.fill(np.nan)
        return made

    plain = minigen_kernels.empty
    modules = [m for name, m in list(sys.modules.items())
               if name.startswith("minigen_kernels") and getattr(m, "empty", None) is plain]
    for module in modules:
        module.empty = empty  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in modules:
            module.empty = plain  # type: ignore[attr-defined]


def error_norm(got: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> float:
    """The largest ‖got - right‖ / ‖right‖ of the results; NaN where one is not finite, or short."""
    worst = 0.0
    for a, b in zip(got, right, strict=True):
        if a.shape != b.shape or not np.isfinite(a).all():
            return float("nan")
        size = float(np.linalg.norm(b.astype(np.float64).ravel()))
        apart = np.linalg.norm((a.astype(np.float64) - b).ravel())
        worst = max(worst, float(apart) / max(size, 1e-30))
    return worst


def measured(
    device: Any, contestants: Sequence[Contestant], right: Sequence[np.ndarray], tolerance: float,
    sets: int, could_not: Callable[[str, str], None],
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """{name: {"error", "note", "library", "median", "best", "spread"}}, in turn; see runner.

    Whoever is wrong, or raises, has no time: could_not(name, why) hears of it.
    """
    columns: dict[str, dict[str, Any]] = {}
    timers: dict[str, Callable[[], float]] = {}
    for c in contestants:
        try:
            with filled_with_nan(), c.settings():
                error = error_norm(c.result(), right)
            bound = c.tolerance or tolerance
            if not error <= bound:  # NaN is not
                raise ArithmeticError(f"wrong: off by {error:.1e} of the norm, {bound:.0e} allowed")
            columns[c.name] = {"error": error if bound < np.inf else None, "note": c.note,
                               "library": c.library}  # fmt: skip
            timers[c.name] = device.timer(c, sets)
        except Exception as error:  # every contestant stands for itself
            columns.pop(c.name, None)
            could_not(c.name, one_line(error))
    times: dict[str, list[float]] = {name: [] for name in timers}
    for number in range(device.rounds if timers else 0):
        order = [name for name in timers if number < SLOW_ROUNDS
                 or columns[name]["library"] in ("ours", "torch")]  # fmt: skip
        for name in order if number % 2 == 0 else order[::-1]:
            times[name].append(timers[name]())
    for name, values in times.items():
        columns[name] |= summary(values)
    return columns


def one_line(error: BaseException) -> str:
    told = str(error).strip().splitlines()
    return f"{type(error).__name__}: {told[0]}" if told else type(error).__name__

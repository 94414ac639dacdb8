"""The work of a step on a GPU as one CUDA graph: recorded once, replayed with no Python in between.

    graph = record(work)        # work() runs, but the GPU only notes what it is asked for
    graph.replay()              # the GPU does it; again with every replay()

What a graph cannot know is what Python would have computed: the learning rate, the count of steps,
the place in a random stream. Whoever uses such a number asks recorder() for a cell of device memory
and says how the number is had before each replay.

Memory: whatever work() allocates comes from a pool that the graph alone has, so that nobody else is
given memory that a replay writes to. What is freed while recording is used again within the graph.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import minigen_kernels

MOST = 4096  # cells

_recorder: Recorder | None = None


class Cell(NamedTuple):
    """A number in device memory: its value when recorded, and how to have it for a replay."""

    recorded: int | float
    following: Callable[[], int | float]
    undo: Callable[[], None] | None


class Recorder:
    """The changing numbers of a graph, and what else Python has to do at each replay."""

    def __init__(self, xp: Any):
        self.words = xp.zeros(MOST, np.int64)  # floats are kept as their bits
        self.cells: list[Cell] = []
        self.chores: list[Callable[[], None]] = []

    def number(
        self,
        recorded: int | float,
        following: Callable[[], int | float],
        dtype: Any = np.float64,
        undo: Callable[[], None] | None = None,
    ) -> Any:
        """A 0-d array (float64 or int64) that holds `recorded` in the first replay.

        following()  is called before each later replay and gives the number for it; what else
                     Python would have done, such as counting a step, it does.
        undo()       takes back what was done for the recording, if nothing comes of it.
        """
        if len(self.cells) == MOST:
            raise NotImplementedError(f"a step with more than {MOST} changing numbers")
        at = len(self.cells)
        kind = float if np.dtype(dtype) == np.float64 else int
        self.cells.append(Cell(kind(recorded), lambda: kind(following()), undo))
        return self.words[at : at + 1].view(dtype).reshape(())

    def numbers(
        self,
        recorded: tuple[float, ...],
        following: Callable[[], tuple[float, ...]],
        undo: Callable[[], None],
    ) -> Any:
        """A float64 array of numbers that are had together; otherwise as number()."""
        ready: list[float] = []

        def next_of() -> float:
            if not ready:
                ready.extend(following())
            return ready.pop(0)

        at = len(self.cells)
        for i, value in enumerate(recorded):
            self.number(value, next_of, undo=undo if i == 0 else None)
        return self.words[at : at + len(recorded)].view(np.float64)

    def each_replay(self, chore: Callable[[], None]) -> None:
        """Call chore() at every replay but the first, whose chores the recording has done."""
        self.chores.append(chore)

    def take_back(self) -> None:
        """The recording failed: undo what Python has counted."""
        for cell in reversed(self.cells):
            if cell.undo is not None:
                cell.undo()


class Graph:
    """A recorded step. It keeps its pool, its numbers and the result of work() alive."""

    def __init__(self, launched: Any, recorder: Recorder, result: Any, pool: Any):
        self._launched, self._recorder, self._pool = launched, recorder, pool
        self.result = result
        self.replays = 0

    def replay(self) -> Any:
        """Do the step once, on CuPy's current stream; the result lies where it always does."""
        from .cuda import step

        first, recorder = self.replays == 0, self._recorder
        if recorder.cells:
            values = [c.recorded if first else c.following() for c in recorder.cells]
            step.store(recorder.words, values)
        if not first:
            for chore in recorder.chores:
                chore()
        self._launched.launch()
        self.replays += 1
        return self.result


def recorder() -> Recorder | None:
    """Who keeps the changing numbers of the step that is being recorded; None if none is."""
    return _recorder


def record(work: Callable[[], Any]) -> Graph:
    """Record what work() asks of the GPU; nothing of it is computed yet.

    Run work() once or twice before, so that kernels are compiled and lasting arrays made. Raises
    what work() raises, or RuntimeError from CUDA, when it does what a graph cannot hold: reading a
    value, a copy from or to the CPU, a library that refuses. Python's counts are then as before.
    """
    global _recorder
    if _recorder is not None:
        raise RuntimeError("a step is being recorded already: recordings do not nest")
    cupy = sys.modules["cupy"]
    made, pool = Recorder(cupy), cupy.cuda.MemoryPool()
    cupy.cuda.Device().synchronize()  # what was made on other streams is there
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream, cupy.cuda.using_allocator(pool.malloc):
        stream.begin_capture()
        _recorder, minigen_kernels.capturing = made, True
        try:
            result = work()
        except BaseException:
            _recorder, minigen_kernels.capturing = None, False
            with contextlib.suppress(Exception):  # the capture is spoilt, which is known already
                stream.end_capture()
            made.take_back()
            raise
        _recorder, minigen_kernels.capturing = None, False
        try:
            launched = stream.end_capture()
        except BaseException:
            made.take_back()
            raise
    return Graph(launched, made, result, pool)

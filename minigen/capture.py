"""captured(step): a training step that a GPU repeats by itself, with no Python between its kernels.

    step = captured(step, device, say=run.say)      # step(*tensors) gives a Tensor or several
    loss = step(x)

The first calls with inputs of some shape run as they are written; the next one is recorded as a
CUDA graph (minigen_kernels.graph), and from then on the graph is launched: the inputs are copied to
where the recording read them, and the numbers that Python counts (learning rates, steps, places in
random streams) are brought up to date. The losses are those of the step as it is written.

A step can be recorded if it reads no value back (no float(), .item(), .numpy() or `if` on a
tensor), takes what changes as arguments, and keeps nothing of a call for the next one but
parameters, buffers, optimisers, averages and generators. Gradients come from grad(), not from
.grad, which adds up. What is checked by looking at values, such as the range of class indices, is
checked in the calls before the recording only. Otherwise the step goes on as it is written, and
`reason` says in one line why. A recording keeps the precision that was in force when it was made
(minigen_kernels.use), whatever is in force when it is replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from minigen_kernels import beside, graph, on_gpu

from .tensor import Tensor

__all__ = ["Captured", "captured"]

WARM_UP = 2  # calls that compile the kernels and make what lasts, such as an optimiser's moments


def captured(
    work: Callable[..., Any], device: str, say: Callable[[str], None] | None = None
) -> Callable[..., Any]:
    """work for the CPU, as it is; for a GPU a Captured. say() is given the reason, if there is one.

    device  where the parameters are: model.device.
    """
    return work if device == "cpu" else Captured(work, device, say)


class Captured:
    """A step that is recorded, once for every shape of its inputs.

    reason  why it is not, after a call that could not be recorded; None until then.
    """

    def __init__(
        self, work: Callable[..., Any], device: str, say: Callable[[str], None] | None = None
    ):
        self.work, self.device, self.say = work, device, say
        self.reason: str | None = None
        self._calls: dict[Any, int] = {}
        self._recorded: dict[Any, tuple[list[Tensor], graph.Graph]] = {}

    def __call__(self, *inputs: Tensor) -> Any:
        key = tuple([(x.shape, x.dtype) for x in inputs])
        if key in self._recorded:
            held, recorded = self._recorded[key]
            for ours, given in zip(held, inputs, strict=True):
                put(ours, given)
            return recorded.replay()
        self._calls[key] = self._calls.get(key, 0) + 1
        if self.reason is None and self._calls[key] > WARM_UP:
            return self._record(key, inputs)
        return self.work(*[x.to(self.device) for x in inputs])

    def _record(self, key: Any, inputs: tuple[Tensor, ...]) -> Any:
        # Copies: the caller's own arrays may go away, or be changed, while the graph reads these.
        held = [Tensor(x.to(self.device).data.copy()) for x in inputs]
        try:
            recorded = graph.record(lambda: self.work(*held))
        except Exception as error:  # whatever it was: if it is the step's own, it comes again
            told = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.reason = f"the step is not captured as a CUDA graph, and runs eagerly: {told}"
            if self.say is not None:
                self.say(self.reason)
            return self.work(*held)
        self._recorded[key] = held, recorded
        return recorded.replay()


def put(ours: Tensor, given: Tensor) -> None:
    """ours ← given, in place; from the CPU or on the GPU."""
    if on_gpu(ours.data) and not on_gpu(given.data):
        ours.data.set(np.asarray(given.data, order="C"))
    else:
        ours.data[...] = beside(given.data, ours.data)
    ours.changed()

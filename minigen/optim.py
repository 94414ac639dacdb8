"""SGD, Adam, AdamW; learning rate schedules; averages of weights; clipping of gradients.

    opt = Adam(model.parameters(), lr=1e-3)
    opt.step(grad(loss, opt.params))

Gradients are handed over, so two optimisers cannot leak into each other; step() without arguments
takes those that loss.backward() left in `.grad`. A schedule is a function of the step:
`opt.lr = cosine(step, lr=1e-3, total=1000)`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from minigen_kernels import backend_of, beside, graph, namespace_of, on_gpu

from .tensor import Tensor

__all__ = ["EMA", "SGD", "Adam", "AdamW", "Optimizer", "clip_grad_norm", "constant", "cosine"]

Grads = Sequence[Tensor | None]


class Optimizer:
    """What all optimisers share: the parameters, lr, and for each parameter its steps and slots.

    slots  names of the arrays that are kept for every parameter, such as exp_avg.
    A parameter whose gradient is None is passed over, and its step is not counted.
    """

    slots: tuple[str, ...] = ()

    def __init__(self, params: Iterable[Tensor], lr: float, **positive: float):
        self.params = _checked_params(type(self).__name__, params)
        self.lr = lr
        for name, value in {"lr": lr, **positive}.items():
            if not value >= 0:
                raise ValueError(f"{type(self).__name__}: {name}={value} must not be negative")
        self.steps = [0] * len(self.params)
        self.state: list[dict[str, Any]] = [{} for _ in self.params]

    def step(self, grads: Grads | None = None) -> None:
        """Move every parameter once, along its gradient in grads (default: its own `.grad`).

        grads  a list aligned with `params`; None leaves that parameter as it is.
        """
        pairs = self._paired([p.grad for p in self.params] if grads is None else grads)
        self._count([i for i, _ in pairs], 1)
        self._update(pairs)
        for i, _ in pairs:
            self.params[i].changed()

    def _count(self, kept: list[int], by: int) -> None:
        for i in kept:
            self.steps[i] += by

    def _update(self, pairs: list[tuple[int, Any]]) -> None:
        raise NotImplementedError(f"{type(self).__name__} defines no _update()")

    def _paired(self, grads: Grads) -> list[tuple[int, Any]]:
        """(index of the parameter, gradient array) where there is a gradient."""
        name = type(self).__name__
        grads = list(grads)
        if len(grads) != len(self.params):
            raise ValueError(
                f"{name}.step(grads): {len(grads)} gradients for {len(self.params)} parameters; "
                "give them in the order of opt.params, e.g. grad(loss, opt.params)"
            )
        pairs = []
        for i, (p, g) in enumerate(zip(self.params, grads, strict=True)):
            if g is None:
                continue
            if not isinstance(g, Tensor):
                raise TypeError(
                    f"{name}.step(grads): gradient {i} is a {type(g).__name__}, not a Tensor"
                )
            pairs.append((i, g.data))
            if _alike(g.data, p.data):
                continue
            if g.device != p.device:
                raise ValueError(
                    f"{name}.step(grads): gradient {i} is on {g.device}, its parameter on "
                    f"{p.device}; compute the loss from parameters that are there"
                )
            if g.shape != p.shape or g.dtype != p.dtype:
                raise ValueError(
                    f"{name}.step(grads): gradient {i} has shape {g.shape} and dtype {g.dtype}, "
                    f"its parameter {p.shape} and {p.dtype}; are the lists in the same order?"
                )
        return pairs

    def _slot(self, i: int, name: str) -> Any:
        """The array that is kept for parameter i under this name; zeros at first."""
        kept = self.state[i]
        if name not in kept:
            data = self.params[i].data
            kept[name] = namespace_of(data).zeros(data.shape, data.dtype)
        return kept[name]

    def zero_grad(self) -> None:
        """Set every parameter's `.grad` to None."""
        for p in self.params:
            p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """lr, the step of each parameter, and copies of the arrays as "slot.index"."""
        state: dict[str, Any] = {"lr": self.lr, "steps": np.array(self.steps, np.int64)}
        for i, slots in enumerate(self.state):
            for name, array in slots.items():
                state[f"{name}.{i}"] = Tensor(array).numpy().copy()
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go back to where state_dict() was taken; nothing is changed unless everything fits."""
        name = type(self).__name__
        steps = np.asarray(state_dict["steps"]) if "steps" in state_dict else np.zeros(0)
        if steps.shape != (len(self.params),) or "lr" not in state_dict:
            raise ValueError(
                f"{name}.load_state_dict: needs lr and the steps of {len(self.params)} parameters, "
                f"got steps of {len(steps)}; was it saved with other parameters?"
            )
        state: list[dict[str, Any]] = [{} for _ in self.params]
        for key, array in state_dict.items():
            if key in ("lr", "steps"):
                continue
            slot, _, index = key.rpartition(".")
            if slot not in self.slots or not index.isdigit() or int(index) >= len(self.params):
                raise ValueError(f"{name}.load_state_dict: {key!r} is nothing that {name} keeps")
            data = self.params[int(index)].data
            if np.shape(array) != data.shape:
                raise ValueError(
                    f"{name}.load_state_dict: {key} has shape {np.shape(array)}, but parameter "
                    f"{index} has {data.shape}"
                )
            state[int(index)][slot] = beside(np.array(array, data.dtype), data)
        self.lr, self.steps, self.state = float(state_dict["lr"]), [int(s) for s in steps], state


def _alike(g: Any, p: Any) -> bool:
    """Are these NumPy arrays of one shape and dtype? Asked of every parameter in every step."""
    return type(g) is type(p) is np.ndarray and g.shape == p.shape and g.dtype is p.dtype


class SGD(Optimizer):
    """m ← momentum·m + (1 - dampening)·g, p ← p - lr·m

    g is the gradient plus weight_decay·p, and at first m ← g.
    nesterov=True moves along g + momentum·m instead of m.
    """

    slots = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ):
        super().__init__(params, lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("SGD: nesterov=True needs momentum > 0 and dampening = 0")
        self.momentum, self.dampening = momentum, dampening
        self.weight_decay, self.nesterov = weight_decay, nesterov

    def _update(self, pairs: list[tuple[int, Any]]) -> None:
        recording = graph.recorder()
        if recording is not None and pairs and on_gpu(pairs[0][1]):
            self._record(pairs, recording)
            return
        for i, g in pairs:
            self._move(i, g, self.lr)

    def _record(self, pairs: list[tuple[int, Any]], recording: graph.Recorder) -> None:
        """The same for a step that is captured: lr lies in device memory."""
        kept = [i for i, _ in pairs]

        def following() -> float:
            self._count(kept, 1)
            return self.lr

        lr = recording.number(self.lr, following, undo=lambda: self._count(kept, -1))
        for i in kept:
            recording.each_replay(self.params[i].changed)
        for i, g in pairs:
            self._move(i, g, lr.astype(g.dtype))

    def _move(self, i: int, g: Any, lr: Any) -> None:
        p, m = self.params[i].data, self.momentum
        if self.weight_decay:
            g = g + self.weight_decay * p
        if m:
            first = "momentum_buffer" not in self.state[i]
            buffer = self._slot(i, "momentum_buffer")
            buffer[...] = g if first else m * buffer + (1 - self.dampening) * g
            g = g + m * buffer if self.nesterov else buffer
        p -= lr * g


class Adam(Optimizer):
    """m ← β₁m + (1-β₁)g, v ← β₂v + (1-β₂)g², p ← p - lr · m/(1-β₁ᵗ) / (√(v/(1-β₂ᵗ)) + eps)

    weight_decay adds weight_decay·p to the gradient. Source: Kingma and Ba 2015.
    """

    slots = ("exp_avg", "exp_avg_sq")
    decoupled = False

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, lr, eps=eps, weight_decay=weight_decay)
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{type(self).__name__}: betas={betas} must be two numbers in [0, 1)")
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def _update(self, pairs: list[tuple[int, Any]]) -> None:
        # One kernel call for all parameters of a device and dtype with equally many steps.
        groups: dict[Any, list[tuple[int, Any]]] = {}
        for i, g in pairs:
            device = "cpu" if type(g) is np.ndarray else self.params[i].device
            groups.setdefault((self.steps[i], g.dtype, device), []).append((i, g))
        recording = graph.recorder()
        for (step, *_), group in groups.items():
            targets = [self.params[i].data for i, _ in group]
            # The kernel writes in place, so it is given whole blocks of memory.
            blocks = [p if p.flags.c_contiguous else p.copy() for p in targets]
            arrays = (
                blocks,
                [g for _, g in group],
                [self._slot(i, "exp_avg") for i, _ in group],
                [self._slot(i, "exp_avg_sq") for i, _ in group],
            )
            rule = dict(
                beta1=self.betas[0],
                beta2=self.betas[1],
                eps=self.eps,
                weight_decay=self.weight_decay,
                decoupled=self.decoupled,
            )
            if recording is not None and on_gpu(group[0][1]):
                self._record(group, recording, arrays, rule)
            else:
                backend_of(targets[0]).adam(*arrays, lr=self.lr, step=step, **rule)
            for target, block in zip(targets, blocks, strict=True):
                if target is not block:
                    target[...] = block

    def _record(
        self, group: list[tuple[int, Any]], recording: graph.Recorder, arrays: Any, rule: Any
    ) -> None:
        """The same for a step that is captured: lr and the count of steps lie in device memory."""
        from minigen_kernels.cuda import optimizer

        kept = [i for i, _ in group]

        def now() -> tuple[float, float, float]:
            beta1, beta2 = self.betas
            decay, decoupled, step = self.weight_decay, self.decoupled, self.steps[kept[0]]
            return optimizer.changes(self.lr, beta1, beta2, decay, decoupled, step)

        def following() -> tuple[float, float, float]:
            self._count(kept, 1)
            return now()

        for i in kept:
            recording.each_replay(self.params[i].changed)
        changing = recording.numbers(now(), following, lambda: self._count(kept, -1))
        params, grads, averages, squares = arrays
        optimizer.adam_recorded(params, grads, averages, squares, changing, **rule)


class AdamW(Adam):
    """Adam, but weight decay shrinks the parameters themselves: p ← p - lr·weight_decay·p first

    Source: Loshchilov and Hutter 2019.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ):
        super().__init__(params, lr, betas, eps, weight_decay)


def _checked_params(name: str, params: Iterable[Tensor]) -> list[Tensor]:
    if hasattr(params, "parameters"):
        raise TypeError(f"{name}: give a list of tensors, e.g. model.parameters(), not the model")
    if isinstance(params, Tensor):
        raise TypeError(f"{name}: give a list of tensors, [p], not one tensor")
    params = list(params)
    if not params:
        raise ValueError(
            f"{name}: there are no parameters (a generator yields its items only once: "
            "make a list of it first)"
        )
    for i, p in enumerate(params):
        if not isinstance(p, Tensor) or p.dtype.kind != "f":
            what = type(p).__name__ if not isinstance(p, Tensor) else f"Tensor of {p.dtype}"
            raise TypeError(f"{name}: params[{i}] is a {what}, not a floating Tensor")
        if p.creator is not None:
            raise ValueError(
                f"{name}: params[{i}] was computed by {p.creator.name}; only leaf tensors can be "
                "learned (use .detach() to make one of it)"
            )
    if len({id(p) for p in params}) != len(params):
        raise ValueError(f"{name}: some parameter is in the list twice")
    return params


# ---- schedules: functions of the step, which counts from 1


def constant(step: int, *, lr: float, warmup: int = 0) -> float:
    """lr, after a linear rise over the first `warmup` steps."""
    return lr * min(1.0, step / warmup) if warmup else lr


def cosine(step: int, *, lr: float, total: int, warmup: int = 0, final: float = 0.0) -> float:
    """A linear rise to lr over `warmup` steps, then half a cosine down to final at step `total`."""
    if not 0 <= warmup < total:
        raise ValueError(f"cosine: warmup={warmup} must be less than total={total}")
    if step < warmup:
        return lr * step / warmup
    progress = min(1.0, (step - warmup) / (total - warmup))
    return final + (lr - final) * 0.5 * (1 + math.cos(math.pi * progress))


# ---- gradients, averages


def clip_grad_norm(grads: Grads, max_norm: float) -> tuple[list[Tensor | None], Any]:
    """(grads · min(1, max_norm / (norm + 1e-6)), norm) with norm = √(Σ g²) over all gradients.

    The norm is a float; of gradients on a GPU a 0-d Tensor there, which float() fetches.
    """
    given = [g.data for g in grads if g is not None]
    if given and on_gpu(given[0]):
        return _clipped_on_gpu(grads, given, max_norm)
    squares = [float((g.astype(np.float64) ** 2).sum()) for g in given]
    norm = math.sqrt(math.fsum(squares)) if all(map(math.isfinite, squares)) else sum(squares)
    scale = max_norm / (norm + 1e-6)
    if scale >= 1:
        return list(grads), norm
    with np.errstate(invalid="ignore"):  # ∞ · 0: an infinite gradient becomes NaN, as in torch
        return [None if g is None else Tensor(g.data * g.dtype.type(scale)) for g in grads], norm


def _clipped_on_gpu(
    grads: Grads, given: list[Any], max_norm: float
) -> tuple[list[Tensor | None], Any]:
    """As clip_grad_norm, but the norm stays on the GPU, as a 0-d Tensor: nobody waits for it."""
    xp = namespace_of(given[0])
    total = xp.zeros((), np.float64)
    for g in given:
        total += (g.astype(np.float64) ** 2).sum()
    norm = xp.sqrt(total)
    scale = xp.minimum(max_norm / (norm + 1e-6), 1.0)
    scaled = [None if g is None else Tensor(g.data * scale.astype(g.dtype)) for g in grads]
    return scaled, Tensor(norm)


class EMA:
    """average ← decay·average + (1 - decay)·p after every update(): smoother weights to sample with

    Give a module (its buffers are copied as they are) or a list of tensors.
    """

    def __init__(self, source: Any, decay: float = 0.999):
        if not 0 <= decay <= 1:
            raise ValueError(f"EMA: decay={decay} is not in 0 ... 1")
        self.decay = decay
        self.params, self.buffers = _named(source)
        self.average = {n: t.data.copy() for n, t in {**self.params, **self.buffers}.items()}

    def update(self) -> None:
        """Follow the parameters by one step; call it after opt.step()."""
        pace: Any = 1 - self.decay
        recording = graph.recorder()
        if recording is not None and on_gpu(next(iter(self.average.values()), None)):
            pace = recording.number(pace, lambda: 1 - self.decay)
        for name, p in self.params.items():
            average = self.average[name]
            # A number in device memory would lift the product to its own type, float64.
            own = pace.astype(average.dtype) if on_gpu(pace) else pace
            average += own * (p.data - average)
        for name, buffer in self.buffers.items():
            self.average[name][...] = buffer.data

    def copy_to(self, target: Any) -> None:
        """Put the averages into a module, or a list of tensors, like the one they follow."""
        params, buffers = _named(target)
        tensors = {**params, **buffers}
        shapes = {name: a.shape for name, a in self.average.items()}
        if {name: t.shape for name, t in tensors.items()} != shapes:
            raise ValueError("EMA.copy_to: the target has other parameters than those followed")
        _put(tensors, self.average)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Inside this block the followed parameters hold the averages."""
        tensors = {**self.params, **self.buffers}
        before = {name: t.data.copy() for name, t in tensors.items()}
        _put(tensors, self.average)
        try:
            yield
        finally:
            _put(tensors, before)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the averages, by name (or by index, if a list is followed)."""
        return {name: Tensor(a).numpy().copy() for name, a in self.average.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go back to where state_dict() was taken; nothing is changed unless everything fits."""
        shapes = {name: np.shape(a) for name, a in state_dict.items()}
        for name in {**self.average, **shapes}:
            mine = self.average[name].shape if name in self.average else None
            if shapes.get(name) != mine:
                raise ValueError(
                    f"EMA.load_state_dict: {name} has shape {shapes.get(name)} there, {mine} here"
                )
        for name, average in self.average.items():
            average[...] = beside(np.asarray(state_dict[name]), average)


def _named(source: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(parameters, buffers) by name."""
    if hasattr(source, "named_parameters"):
        return dict(source.named_parameters()), dict(source.named_buffers())
    return {str(i): p for i, p in enumerate(_checked_params("EMA", source))}, {}


def _put(tensors: dict[str, Tensor], arrays: Mapping[str, Any]) -> None:
    for name, tensor in tensors.items():
        tensor.data[...] = beside(arrays[name], tensor.data)
        tensor.changed()

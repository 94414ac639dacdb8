"""check_grad: a backward pass held to finite differences, at any order, and a diagnosis on failure.

    check_grad(lambda x, w: F.conv2d(x, w, padding=1), x, w)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .diagnosis import Finding, explain, named_factor
from .tensor import Tensor, grad

__all__ = ["GradientError", "check_grad"]

SMALL = 400  # elements up to which a failure is examined element by element
TOLERANCE = 1e-7
NOISE = 1e-13  # how exactly a value is computed, relative to the terms that it is made of


class GradientError(AssertionError):
    """A gradient that is wrong, with a diagnosis of the mistake that it looks like.

    kinds  the short names of the mistakes, e.g. {"sign"}, {"broadcast"}, {"off the tape"}.

    The diagnosis takes many evaluations, so it is made when the error is first read: Hypothesis
    raises hundreds of these while it looks for the smallest failing case.
    """

    def __init__(self, head: str, examine: Callable[[], list[Finding]]):
        super().__init__(head)
        self._head, self._examine = head, examine
        self._findings: list[Finding] | None = None

    @property
    def findings(self) -> list[Finding]:
        """What was found out, one entry per wrong gradient."""
        if self._findings is None:
            self._findings = self._examine()
        return self._findings

    @property
    def kinds(self) -> set[str]:
        """The kinds of mistake that were recognised."""
        return {finding.kind for finding in self.findings}

    def __str__(self) -> str:
        return "\n".join([self._head, *(f"  [{f.kind}] {f.text}" for f in self.findings)])


def check_grad(
    f: Callable[..., Any],
    *arrays: Any,
    order: int = 2,
    rng: np.random.Generator | None = None,
    eps: float = 1e-4,
    tol: float = TOLERANCE,
    names: Sequence[str] | None = None,
) -> float:
    """⟨c, J·d⟩ by backward equals ⟨c, (f(x + εd) - f(x - εd)) / 2ε⟩, for random c and d.

    f       takes as many Tensors as there are arrays; gives a Tensor or a tuple of Tensors. It must
            be deterministic: anything random is drawn from a generator made anew at each call.
    arrays  where to check. Floats are converted to float64 and keep their memory layout (strides,
            negative ones too; gaps are filled with NaN); integers and bools are constants. Keep
            them some 10·eps, relative to their size, away from kinks and ties.
    order   2: the gradient is then checked in the same way as a function of the inputs *and* of the
            cotangent, which is what finds a backward that has left the tape; 3 and more likewise.
    rng     draws the cotangent and the direction, once; the default is always the same.
    eps     the step, relative to the root mean square of each array. Two steps are combined
            (Richardson), so the difference is exact to about 1e-10 for smooth f.
    tol     relative to the sum of |gradient · direction|, so cancellation cannot hide an error.

    Also checked at order 1: with `create_graph` and without it the gradients agree (fused kernel
    and composed formula), each is the same when it alone is wanted, and f changes no input.
    Returns the largest relative error; raises GradientError with a diagnosis.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    arrays = tuple(a.data if isinstance(a, Tensor) else np.asarray(a) for a in arrays)
    arrays = tuple(placed(a.astype(np.float64), a) if a.dtype.kind == "f" else a for a in arrays)
    if not any(a.dtype.kind == "f" for a in arrays):
        raise TypeError("check_grad: none of the arrays is floating: there is no slope to check")
    names = list(names) if names is not None else _names(f, len(arrays))
    level = _Level(lambda *xs, graph: _floats(f(*xs)), arrays, names, rng, eps)
    level.check_paths()
    worst = level.check(tol)
    for _ in range(1, order):
        level = level.next(rng)
        worst = max(worst, level.check(tol))
    return worst


class _Level:
    """One order of the check: a function of arrays, its gradients, and its differences."""

    def __init__(
        self,
        f: Callable[..., tuple[Tensor, ...]],
        arrays: Sequence[np.ndarray],
        names: list[str],
        rng: np.random.Generator,
        eps: float,
        below: _Level | None = None,
    ):
        self.f, self.arrays, self.names, self.eps = f, list(arrays), names, eps
        self.order = below.order + 1 if below else 1
        self.wrt = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
        self.scales = [_scale(arrays[i]) for i in self.wrt]
        self.values = self.at(self.arrays)
        # At order 2 the outputs are gradients: scaled, ⟨c, gx⟩ is commensurate with f's own values.
        units = below.scales if below else [1.0] * len(self.values)
        self.cotangents = [
            u * _spread(rng, y.shape) for u, y in zip(units, self.values, strict=True)
        ]
        self.directions = [
            s * _spread(rng, arrays[i].shape) for i, s in zip(self.wrt, self.scales, strict=True)
        ]
        size = sum(np.abs(c * y).sum() for c, y in zip(self.cotangents, self.values, strict=True))
        self.noise = max(NOISE / eps * float(size), below.noise if below else 0.0)

    def next(self, rng: np.random.Generator) -> _Level:
        """The same check for the gradient, as a function of the inputs and of the cotangent."""
        n = len(self.arrays)

        def gradients(*tensors: Tensor, graph: bool) -> tuple[Tensor, ...]:
            return tuple(self.gradient(tensors[:n], tensors[n:], graph=graph))

        names = [*self.names, *(f"cotangent {k}" for k in range(len(self.cotangents)))]
        return _Level(gradients, [*self.arrays, *self.cotangents], names, rng, self.eps, self)

    def at(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The function's values."""
        return [y.data for y in self.f(*_tensors(arrays), graph=False)]

    def gradient(
        self, xs: Sequence[Tensor], cotangents: Sequence[Tensor], graph: bool = False
    ) -> list[Tensor]:
        """The gradients of ⟨cotangents, f(xs)⟩ by backward."""
        wanted = [xs[i] for i in self.wrt]
        ys = self.f(*xs, graph=True)
        if len(ys) == 1:
            return grad(ys[0], wanted, cotangents[0], create_graph=graph)
        total = sum(((y * c).sum() for y, c in zip(ys, cotangents, strict=True)), Tensor(0.0))
        return grad(total, wanted, create_graph=graph)

    def exact(self, graph: bool = False) -> list[np.ndarray]:
        """The gradients at the point itself, as arrays."""
        try:
            cotangents = [Tensor(c) for c in self.cotangents]
            found = self.gradient(_tensors(self.arrays), cotangents, graph=graph)
        except RuntimeError as error:
            if "returned a gradient of shape" not in str(error):
                raise
            finding = Finding("broadcast", f"the sum over a broadcast axis is missing: {error}")
            raise GradientError(self.head("backward failed"), lambda: [finding]) from error
        return [g.data for g in found]

    def differences(self, moves: Sequence[np.ndarray], h: float) -> list[float]:
        """⟨c, f(x + h·move) - f(x)⟩ and ⟨c, f(x) - f(x - h·move)⟩, over h."""
        moved = []
        for step in (h, -h):
            arrays = list(self.arrays)
            for i, move in zip(self.wrt, moves, strict=True):
                arrays[i] = placed(arrays[i] + step * move, arrays[i])
            moved.append(self.at(arrays))
        return [self.contract(moved[0], self.values) / h, self.contract(self.values, moved[1]) / h]

    def contract(self, new: list[np.ndarray], old: list[np.ndarray]) -> float:
        terms = zip(self.cotangents, new, old, strict=True)
        return float(sum(np.vdot(c, a - b) for c, a, b in terms))

    def numeric(self, moves: Sequence[np.ndarray]) -> tuple[float, bool]:
        """The slope along `moves` by differences, and whether there is a kink on the way."""
        wide, near = self.differences(moves, self.eps), self.differences(moves, self.eps / 2)
        slope = (4 * (near[0] + near[1]) - (wide[0] + wide[1])) / 6
        # The two one-sided slopes differ by h·f'': half of that at half the step, if f is smooth.
        bend, bend_near = wide[0] - wide[1], near[0] - near[1]
        size = max(map(abs, (*wide, *near)))
        return slope, not abs(bend - 2 * bend_near) <= 1e-4 * size + 10 * self.noise

    def check(self, tol: float) -> float:
        """Compare; the relative error, or GradientError."""
        exact = self.exact()
        slope = float(sum(np.vdot(g, d) for g, d in zip(exact, self.directions, strict=True)))
        numeric, kink = self.numeric(self.directions)
        size = sum(np.abs(g * d).sum() for g, d in zip(exact, self.directions, strict=True))
        size = float(size) + abs(numeric)
        error = abs(slope - numeric)
        if error <= tol * size + self.noise:  # False for NaN
            return error / (size + self.noise / tol) if error else 0.0
        head = self.head(
            f"along a random direction backward's slope is {slope:.10g}, finite differences "
            f"give {numeric:.10g} (relative error {error / size if size else error:.2g}, "
            f"tolerance {tol:g})"
        )
        raise GradientError(head, lambda: self.examine(exact, kink, slope, numeric))

    def check_paths(self) -> None:
        """What must not change the gradient: create_graph, and what else is wanted."""
        if not all(np.isfinite(y).all() for y in self.values):
            finding = Finding("not finite", "f is not finite at this point: choose another one")
            raise GradientError(self.head("nothing to compare"), lambda: [finding])
        before = [a.copy() for a in self.arrays]
        self.agree(self.values, self.at(self.arrays), "random", "two calls of f give different "
                   "values: draw what is random from a generator that is made anew at each call")
        fused = self.exact()
        self.agree(fused, self.exact(graph=True), "paths", "the gradients with create_graph=True "
                   "and without it differ: the fused backward is not the composed formula's")
        for i, alone in zip(self.wrt, fused, strict=True):
            xs = [Tensor(a, requires_grad=k == i) for k, a in enumerate(self.arrays)]
            wrt, self.wrt = self.wrt, [i]
            try:
                found = self.gradient(xs, [Tensor(c) for c in self.cotangents])[0].data
            finally:
                self.wrt = wrt
            self.agree([alone], [found], "wanted", f"the gradient of {self.names[i]} is another "
                       "one when no other gradient is wanted: look at the uses of needs()")
        if not all(np.array_equal(a, b, equal_nan=True)
                   for a, b in zip(before, self.arrays, strict=True) if a.dtype.kind == "f"):
            finding = Finding("changed", "f or its backward writes into its input arrays")
            raise GradientError(self.head("an input was changed"), lambda: [finding])

    def agree(self, a: list[np.ndarray], b: list[np.ndarray], kind: str, text: str) -> None:
        unit = self.noise / min(self.scales, default=1.0)
        for x, y in zip(a, b, strict=True):
            if not np.isfinite(x).all():  # check() has a word for that
                continue
            bound = 1e-8 * _size(x) + unit
            if x.shape != y.shape or not (np.abs(x - y) <= bound).all():
                raise GradientError(self.head("not one gradient"), lambda: [Finding(kind, text)])

    # ---- after a failure

    def examine(
        self, exact: list[np.ndarray], kink: bool, slope: float, numeric: float
    ) -> list[Finding]:
        if kink:
            return [Finding("kink", "the slopes to the left and to the right differ: a kink, a tie "
                            "or a jump is nearby; move the inputs away from it")]
        shapes = {f"{self.names[i]}.shape[{k}]": n for i in self.wrt
                  for k, n in enumerate(self.arrays[i].shape)}
        shapes |= {f"result.shape[{k}]": n for y in self.values for k, n in enumerate(y.shape)}
        sizes = shapes | {"the elements of the result": sum(y.size for y in self.values)}
        if sum(self.arrays[i].size for i in self.wrt) > SMALL:
            name = "-1" if np.isclose(slope, -numeric, rtol=1e-4) else named_factor(
                slope / numeric if numeric else 0.0, sizes)
            text = f"; as a whole it is the right one times {name}" if name else ""
            text = f"inputs too large to examine element by element{text}"
            return self.cut_down() or [Finding("large", text)]
        found = []
        for k, i in enumerate(self.wrt):
            right = self.elementwise(i)
            bound = 1e-5 * _size(right) + 10 * self.noise / self.scales[k]
            if not (np.abs(exact[k] - right) <= bound).all():
                found.append(self.describe(i, exact[k], right, sizes))
        return found or [Finding("unknown", "no single element is off by more than the noise")]

    def cut_down(self) -> list[Finding]:
        """What is found with a few elements along each axis, the first or the last, if f can."""
        for count in (3, 2, 5) if self.order == 1 else ():
            for part in (slice(count), slice(-count, None)):
                arrays = [a[(part,) * a.ndim] for a in self.arrays]
                try:
                    rng = np.random.default_rng(0)
                    _Level(self.f, arrays, self.names, rng, self.eps).check(TOLERANCE)
                except GradientError as error:
                    smaller = error._head.partition(": ")[2]
                    return [Finding(kind, f"{text}\n  found with less of the inputs: {smaller}")
                            for kind, text in error.findings]  # fmt: skip
                except Exception:  # f does not take these shapes
                    continue
        return []

    def leaves_the_tape(self) -> bool:
        """Whether f asks a tensor that requires a gradient for its values."""
        asked, before = [], {name: getattr(Tensor, name) for name in ("numpy", "detach", "item")}

        def watched(name: str) -> Callable[..., Any]:
            def method(tensor: Tensor) -> Any:
                asked.extend([name] if tensor.requires_grad else [])
                return before[name](tensor)

            return method

        try:
            for name in before:
                setattr(Tensor, name, watched(name))
            self.f(*_tensors(self.arrays), graph=False)
        finally:
            for name, method in before.items():
                setattr(Tensor, name, method)
        return bool(asked)

    def elementwise(self, i: int) -> np.ndarray:
        """The numerical gradient of argument i."""
        out = np.empty(self.arrays[i].shape)
        moves = [np.zeros(self.arrays[k].shape) for k in self.wrt]
        k = self.wrt.index(i)
        for at in np.ndindex(out.shape):
            moves[k][at] = self.scales[k]
            out[at] = self.numeric(moves)[0] / self.scales[k]
            moves[k][at] = 0.0
        return out

    def describe(
        self, i: int, exact: np.ndarray, right: np.ndarray, sizes: dict[str, int]
    ) -> Finding:
        finding = explain(exact, right, sizes, self.before_unbroadcast(i))
        kind, text = finding
        if self.order > 1 and kind in ("zero", "unknown"):
            kind = "off the tape"
            text = ("zero" if finding.kind == "zero" else text) + (
                f"; order {self.order - 1} is right, so something in backward() has left the "
                "tape (.data, .numpy(), Tensor(...)), or an operation that it uses is wrong"
            )
        elif kind == "unknown" and self.leaves_the_tape():
            kind, text = "off the tape", (
                "a part of it is missing: f itself leaves the tape (.numpy(), .detach() or .item() "
                "of a tensor that requires a gradient)"
            )
        at = np.unravel_index(np.argmax(np.abs(exact - right)), right.shape)
        where = f"at {tuple(map(int, at))} " if right.ndim else ""
        return Finding(kind, f"gradient of {self.names[i]} {right.shape}: {text}; "
                       f"{where}backward {exact[at]:.6g}, numerically {right[at]:.6g}")

    def before_unbroadcast(self, i: int) -> np.ndarray | None:
        """The numerical gradient of argument i, were it repeated to the shape of the result."""
        try:
            shape = np.broadcast_shapes(*(self.arrays[k].shape for k in self.wrt))
            if self.order > 1 or shape == self.arrays[i].shape or np.prod(shape) > SMALL:
                return None
            arrays = list(self.arrays)
            arrays[i] = np.broadcast_to(arrays[i], shape).copy()
            wide = _Level(self.f, arrays, self.names, np.random.default_rng(0), self.eps)
        except (ValueError, RuntimeError, TypeError, IndexError):
            return None  # f does not broadcast
        wide.cotangents = self.cotangents
        fits = [y.shape for y in wide.values] == [c.shape for c in self.cotangents]
        return wide.elementwise(i) if fits else None

    def head(self, what: str) -> str:
        """What failed, and on which arguments."""
        lines = [f"gradient check, order {self.order}: {what}"]
        for name, a in zip(self.names, self.arrays, strict=True):
            layout = "" if a.flags.c_contiguous else f", strides {a.strides}"
            text = np.array2string(a, precision=4, threshold=40).replace("\n", "\n    ")
            lines.append(f"  {name}: {a.dtype} {a.shape}{layout}\n    {text}")
        return "\n".join(lines)


def placed(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The values in an array of the memory layout of `like`, with NaN in any gaps between them."""
    values = np.asarray(values)
    if like.flags.c_contiguous or like.size == 0:
        return np.ascontiguousarray(values).reshape(like.shape)
    steps = [s // like.itemsize for s in like.strides]
    reach = 0
    for step, n in sorted((abs(s), n) for s, n in zip(steps, like.shape, strict=True) if n > 1):
        if step <= reach:  # elements that share memory cannot be moved one by one
            return values.copy(order="K")
        reach += step * (n - 1)
    if reach > 100 * like.size + 10_000:
        return values.copy(order="K")
    buffer = np.full(reach + 1, np.nan)
    start = sum(-s * (n - 1) for s, n in zip(steps, like.shape, strict=True) if s < 0 and n > 1)
    out = np.lib.stride_tricks.as_strided(
        buffer[start:], like.shape, [s * buffer.itemsize for s in steps]
    )
    out[...] = values
    return out


def _tensors(arrays: Sequence[np.ndarray]) -> list[Tensor]:
    return [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]


def _floats(result: Any) -> tuple[Tensor, ...]:
    results = tuple(result) if isinstance(result, (tuple, list)) else (result,)
    for y in results:
        if not isinstance(y, Tensor):
            raise TypeError(f"check_grad: f gave a {type(y).__name__}, not a Tensor or several")
    return tuple(y for y in results if y.dtype.kind == "f")


def _spread(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """±1 times something between 0.5 and 1.5, so that every element has its weight."""
    return np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape))


def _scale(a: np.ndarray) -> float:
    """The root mean square, or 1 where there is nothing."""
    mean = float(np.mean(np.square(a))) if a.size else 0.0
    return mean**0.5 or 1.0


def _size(a: np.ndarray) -> float:
    return float(np.abs(a).max(initial=0.0))


def _names(f: Callable[..., Any], count: int) -> list[str]:
    """f's own parameter names where they can be had."""
    try:
        names = list(inspect.signature(f).parameters)
    except (TypeError, ValueError):
        names = []
    return names if len(names) == count else [f"argument {k}" for k in range(count)]

"""trace(): a small graph, forwards and back: values, cotangents, the lines of code, a check.

    print(minigen.trace(loss, names={"w": w}))        text, an operation a line
    minigen.trace(loss).svg()                         the same as a drawing
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .draw import Drawing, graph
from .function import Function, not_a_tensor
from .tensor import Tensor, _cotangent, _reachable, _walk, recording

__all__ = ["Step", "Trace", "trace"]

LIMIT = 200  # operations: more are no longer looked at one by one
STEP, TOLERANCE = 1e-5, 1e-4  # of the local check: nudge, and relative difference that is accepted
KINK = 1e-2  # difference of the slopes to both sides: no smooth operation bends so much in a nudge


@dataclass(frozen=True)
class Step:
    """One node. inputs and name are labels; value and cotangent arrays, None where not known.

    line    what backward returns, as its source says it; "" for a leaf.
    check   the relative difference of backward and nudging, None where it cannot be made.
    undone  broadcasts that are summed away, as text.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    value: np.ndarray | None
    cotangent: np.ndarray | None
    line: str = ""
    check: float | None = None
    undone: str = ""

    @property
    def wrong(self) -> bool:
        """True if backward and nudging disagree."""
        return self.check is not None and not self.check <= TOLERANCE


@dataclass(frozen=True)
class Trace:
    """The steps, oldest first."""

    steps: list[Step]

    def __str__(self) -> str:
        lines = ["forward"]
        for s in self.steps:
            made = f"{s.op}({', '.join(s.inputs)})" if s.op else "given"
            lines.append(f"  {s.name:<6} = {made:<28} {_brief(s.value)}")
        lines.append("backward")
        for s in reversed(self.steps):
            lines.append(f"  slope along {s.name:<6} {_brief(s.cotangent)}")
            if s.line:
                lines.append(f"    {s.op}: {s.line}")
            if s.undone:
                lines.append(f"    {s.undone}")
            if s.check is not None:
                verdict = "WRONG, nudging disagrees" if s.wrong else "nudging agrees"
                lines.append(f"    {verdict} (to {s.check:.0e})")
        return "\n".join(lines)

    def drawing(self) -> Drawing:
        """The graph; operations whose backward is wrong are marked."""
        nodes = {s.name: [f"{s.name} = {s.op}" if s.op else s.name, _brief(s.value),
                          f"slope {_brief(s.cotangent)}"] for s in self.steps}
        edges = [(i, s.name) for s in self.steps for i in s.inputs if i in nodes]
        return graph(nodes, edges, marked=[s.name for s in self.steps if s.wrong])

    def svg(self) -> str:
        """The graph as an SVG document."""
        return self.drawing().svg()

    def _repr_svg_(self) -> str:
        return self.svg()


def trace(output: Tensor, names: Mapping[str, Tensor] | None = None) -> Trace:
    """Walk from what `output` was computed from to it and back, and note what each step does.

    output  a Tensor of one element whose graph was not freed; it can be traced and used again.
    names   what to call tensors; others are called a, b, c, ... (given) and v1, v2, ...
    TypeError for what is no Tensor, ValueError for a graph of more than 200 nodes.
    """
    if not isinstance(output, Tensor):
        raise TypeError(f"trace(): output is {not_a_tensor(output)}; trace what a computation with "
                        "Tensors gives, such as a loss")
    for name, tensor in (names or {}).items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"trace(): names[{name!r}] is {not_a_tensor(tensor)}")
    order = _ordered(_reachable(output), names or {})
    if not order:
        raise ValueError("trace(): this tensor depends on nothing that requires a gradient; make "
                         "what it is computed from with Tensor(array, requires_grad=True)")
    if len(order) > LIMIT:
        raise ValueError(f"trace(): {len(order)} nodes are too many to read; trace a smaller part "
                         f"(at most {LIMIT})")
    every, gy = set(order), _cotangent(output, None, "trace")
    found = _walk(output, order, every, every, gy, False, True)
    labels = _labels(order, names or {})
    values: dict[Any, np.ndarray | None] = {}
    steps = []
    for node in order:
        g = found.get(node)
        cotangent = None if g is None else g.numpy()
        if isinstance(node, Tensor):
            values[node] = node.numpy()
            steps.append(Step(labels[node], "", (), values[node], cotangent))
            continue
        arrays = _inputs(node, values)
        values[node] = None if arrays is None else np.asarray(node.forward(*arrays))
        inputs = tuple("·" if p is None else labels[p] for p in node.parents)
        check = None if g is None or arrays is None else _check(node, arrays, g)
        steps.append(Step(labels[node], node.name, inputs, values[node], cotangent,
                          _line(node), check, _undone(node, cotangent)))
    return Trace(steps)


def _ordered(order: list[Any], names: Mapping[str, Tensor]) -> list[Any]:
    """Leaves first, the named ones in their order, the others as they are first used."""
    functions = [n for n in order if isinstance(n, Function)]
    used = [*(t.node for t in names.values()), *(p for f in functions for p in f.parents)]
    leaves = [n for n in dict.fromkeys(used) if isinstance(n, Tensor) and n in set(order)]
    return [*leaves, *functions] if functions else order


def _labels(order: list[Any], names: Mapping[str, Tensor]) -> dict[Any, str]:
    labels = {tensor.node: name for name, tensor in names.items()}
    letters = (c for c in "abcdefghijklmnopqrstuvwxyz" if c not in names)
    count = 0
    for node in order:
        if node not in labels and isinstance(node, Tensor):
            labels[node] = next(letters, f"x{len(labels)}")
        elif node not in labels:
            count += 1
            labels[node] = f"v{count}"
    return labels


def _inputs(node: Function, values: dict[Any, np.ndarray | None]) -> list[np.ndarray] | None:
    """The arrays that went in: kept by the node itself, or the values of its parents."""
    if node.keeps_inputs and hasattr(node, "_inputs"):
        return [x.numpy() for x in node.inputs]
    found = [None if p is None else values.get(p) for p in node.parents]
    return None if any(a is None for a in found) else [a for a in found if a is not None]


def _check(node: Function, arrays: list[np.ndarray], g: Tensor) -> float | None:
    """|⟨g, J d⟩ - Σ⟨gx, d⟩| relative to its terms, for one random direction d of all inputs.

    None where nudging gives no number, or two, at a kink, and backward's is one of them or between.
    """
    moved = [p is not None and a.dtype.kind == "f"
             for p, a in zip(node.parents, arrays, strict=True)]
    rng = np.random.default_rng(0)
    ds = [rng.standard_normal(a.shape) if m else np.zeros(a.shape)
          for a, m in zip(arrays, moved, strict=True)]
    with recording(False):
        gxs = node.gradients(g, tuple(moved))

    def at(e: float) -> float:
        xs = [a.astype(np.float64) + e * d if m else a
              for a, d, m in zip(arrays, ds, moved, strict=True)]
        return float(np.vdot(g.numpy(), node.forward(*xs)))

    try:
        here = at(0)
        after, before = (at(STEP) - here) / STEP, (here - at(-STEP)) / STEP
    finally:
        node.forward(*arrays)  # what it keeps for backward is that of the real inputs again
    nudged = (after + before) / 2
    if not np.isfinite(nudged):
        return None
    terms = [gx.numpy() * d for gx, d in zip(gxs, ds, strict=True) if gx is not None]
    slope, size = sum(float(t.sum()) for t in terms), sum(float(np.abs(t).sum()) for t in terms)
    size += abs(nudged)
    low, high = sorted((before, after))
    if high - low > KINK * size and low - TOLERANCE * size <= slope <= high + TOLERANCE * size:
        return None
    return abs(slope - nudged) / size if size else 0.0


def _line(node: Function) -> str:
    """What backward returns, in its own words, as if all were asked for."""
    try:
        lines = inspect.getsource(type(node).backward).splitlines()
    except (OSError, TypeError):
        return ""
    found = [line.strip().removeprefix("return ") for line in lines if "return " in line]
    return re.sub(r" if self\.needs\(\d+\) else None", "", " | ".join(found))


def _undone(node: Function, cotangent: np.ndarray | None) -> str:
    if not node.broadcasts or cotangent is None:
        return ""
    sums = [f"{cotangent.shape} summed to {shape}"
            for p, shape in zip(node.parents, node.shapes, strict=True)
            if p is not None and shape != cotangent.shape]
    return "the broadcast undone: " + ", ".join(sums) if sums else ""


def _brief(value: np.ndarray | None) -> str:
    if value is None:
        return "?"
    if value.size == 1:
        return f"{value.item():.4g}"
    if value.size <= 3:
        return np.array2string(value, precision=3, separator=", ").replace("\n", "")
    return f"{value.dtype} {value.shape}"

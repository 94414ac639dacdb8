"""What is measured: every computation with its sizes, as data.

A Case is one computation of one size; a Group is a line of the table of targets: cases of one kind,
and the ratio to PyTorch that they are held to. FLOP are useful ones (a causal attention counts half
of the products), bytes are what must be read and written at least, both per call.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

FLOAT = 4  # bytes of a float32


@dataclasses.dataclass(frozen=True)
class Case:
    """One computation: `op` names it on every side (sides.py), `sizes` is all it needs to know."""

    op: str
    name: str
    sizes: dict[str, Any]
    flop: float = 0.0
    bytes: float = 0.0
    backward: bool = False


@dataclasses.dataclass(frozen=True)
class Goal:
    """What the ratios of a group are held to: their geometric mean, and each of them.

    peak: a case also counts as reached when it runs at this share of the measured FMA peak.
    compiled: what the geometric mean of the ratios to torch.compile is held to, where measured.
    """

    geomean: float = 0.0
    each: float = 0.0
    peak: float = math.inf
    compiled: float = 0.0


@dataclasses.dataclass(frozen=True)
class Group:
    """Cases that share a goal; `quick` are the indices of those that a quick run measures."""

    name: str
    title: str
    cases: tuple[Case, ...]
    goal: Goal
    quick: tuple[int, ...] = (0,)


# ---- matrix products


def gemm(name: str, m: int, n: int, k: int, batch: int = 1, layout: str = "NN") -> Case:
    """c (batch, m, n) = a · b; layout: N as it is or T transposed, of a and of b."""
    sizes = {"m": m, "n": n, "k": k, "batch": batch, "layout": layout}
    numbers = batch * (m * k + k * n + m * n)
    return Case("gemm", name, sizes, 2.0 * batch * m * n * k, FLOAT * numbers)


SQUARE = tuple(
    gemm(f"{size} {layout}", size, size, size, layout=layout)
    for size in (512, 1024, 2048)
    for layout in ("NN", "NT", "TN", "TT")
)
SKINNY = (
    gemm("128×400×784", 128, 400, 784),
    gemm("128×784×400", 128, 784, 400),
    gemm("784×400×128 TN", 784, 400, 128, layout="TN"),
    gemm("128×20×400", 128, 20, 400),
    gemm("4096×64×64", 4096, 64, 64),
    gemm("12544×128×512", 12544, 128, 512),
    gemm("10×1024×1024", 10, 1024, 1024),
    gemm("1024×10×1024", 1024, 10, 1024),
    gemm("64 × 128×128×32", 128, 128, 32, batch=64),
    gemm("256 × 196×196×16", 196, 196, 16, batch=256),
    gemm("256 × 64×64×64 NT", 64, 64, 64, batch=256, layout="NT"),
)


# ---- convolutions: (name, N, Cin, side, Cout, kernel, stride, padding)

CONVOLUTIONS = (
    ("DCGAN-28 D1", 64, 1, 28, 32, 4, 2, 1),
    ("DCGAN-28 D2", 64, 32, 14, 64, 4, 2, 1),
    ("DCGAN-28 D3", 64, 64, 7, 1, 7, 1, 0),
    ("DCGAN-32 D1", 64, 3, 32, 64, 4, 2, 1),
    ("DCGAN-32 D2", 64, 64, 16, 128, 4, 2, 1),
    ("DCGAN-32 D3", 64, 128, 8, 256, 4, 2, 1),
    ("DCGAN-64 D2", 64, 64, 32, 128, 4, 2, 1),
    ("DCGAN-64 D4", 64, 256, 8, 512, 4, 2, 1),
    ("conv VAE 1", 128, 1, 28, 32, 4, 2, 1),
    ("conv VAE 2", 128, 32, 14, 64, 4, 2, 1),
    ("VQ-VAE down", 32, 64, 16, 128, 4, 2, 1),
    ("VQ-VAE 3×3", 32, 128, 8, 32, 3, 1, 1),
    ("VQ-VAE 1×1", 32, 32, 8, 128, 1, 1, 0),
    ("3×3 64→64", 32, 64, 32, 64, 3, 1, 1),
    ("3×3 128→128", 32, 128, 16, 128, 3, 1, 1),
    ("3×3 256→256", 32, 256, 8, 256, 3, 1, 1),
    ("1×1 256→64", 32, 256, 16, 64, 1, 1, 0),
    ("5×5 32→64", 32, 32, 14, 64, 5, 1, 2),
    ("first 1→32 3×3", 64, 1, 28, 32, 3, 1, 1),
    ("first 3→64 3×3", 32, 3, 32, 64, 3, 1, 1),
)
TRANSPOSED = (
    ("DCGAN-28 G1", 64, 64, 1, 64, 7, 1, 0),
    ("DCGAN-28 G2", 64, 64, 7, 32, 4, 2, 1),
    ("DCGAN-28 G3", 64, 32, 14, 1, 4, 2, 1),
    ("DCGAN-32 G2", 64, 256, 4, 128, 4, 2, 1),
    ("DCGAN-32 G3", 64, 128, 8, 64, 4, 2, 1),
    ("DCGAN-32 G4", 64, 64, 16, 3, 4, 2, 1),
    ("DCGAN-64 G4", 64, 128, 16, 64, 4, 2, 1),
    ("conv VAE 3", 128, 64, 7, 32, 4, 2, 1),
    ("conv VAE 4", 128, 32, 14, 1, 4, 2, 1),
    ("VQ-VAE up", 32, 128, 8, 64, 4, 2, 1),
)


def convolution(op: str, backward: bool, *row: Any) -> Case:
    name, n, cin, side, cout, kernel, stride, padding = row
    if op == "conv2d":
        out = (side + 2 * padding - kernel) // stride + 1
        products = n * cout * cin * kernel**2 * out**2
    else:
        out = (side - 1) * stride - 2 * padding + kernel
        products = n * cout * cin * kernel**2 * side**2
    sizes = {"n": n, "cin": cin, "side": side, "cout": cout, "out": out}
    sizes |= {"kernel": kernel, "stride": stride, "padding": padding}
    numbers = n * (cin * side**2 + cout * out**2) + cout * cin * kernel**2
    times = 3 if backward else 1  # the two gradients cost as much as the forward pass each
    return Case(op, name, sizes, 2.0 * times * products, FLOAT * times * numbers, backward)


def convolutions(op: str, backward: bool) -> tuple[Case, ...]:
    rows = CONVOLUTIONS if op == "conv2d" else TRANSPOSED
    return tuple(convolution(op, backward, *row) for row in rows)


# ---- attention


def attention(t: int, d: int, causal: bool, backward: bool) -> Case:
    """Heads for 16384 queries in all, batch included, but 8 at least: more the shorter they are."""
    heads = max(8, 16384 // t)
    pairs = t * (t + 1) / 2 if causal else t * t
    products = 2.0 * heads * pairs * d
    flop = 2 * products * (3.5 if backward else 1)  # backward: 5 products for the forward's 2
    sizes = {"heads": heads, "t": t, "d": d, "causal": causal}
    kind = "causal" if causal else "full"
    numbers = heads * t * d * (11 if backward else 4)
    return Case("attention", f"T {t} d {d} {kind}", sizes, flop, FLOAT * numbers, backward)


def attentions(backward: bool) -> tuple[Case, ...]:
    return tuple(
        attention(t, d, causal, backward)
        for t in (64, 196, 784, 2048)
        for d in (16, 32, 64, 128)
        for causal in (False, True)
    )


# ---- what is bound by memory


def _rows(op: str, name: str, numbers: int, passes: float, **sizes: Any) -> Case:
    """passes: how often `numbers` numbers are read or written, forward and backward together."""
    return Case(op, name, sizes, 0.0, FLOAT * numbers * passes, backward=True)


LIGHT = (
    _rows("layer_norm", "layer norm 12544×128", 12544 * 128, 6, rows=12544, width=128),
    _rows("batch_norm_relu", "batch norm + ReLU 64×64×14²", 64 * 64 * 196, 8, n=64, c=64, side=14),
    _rows("gelu", "GELU 12544×512", 12544 * 512, 5, rows=12544, width=512),
    _rows("cross_entropy", "softmax + cross-entropy 12544×16", 12544 * 16, 3, rows=12544, width=16),
    _rows("cross_entropy", "softmax + cross-entropy 128×1000", 128000, 3, rows=128, width=1000),
    _rows("dropout", "dropout 4096×256", 4096 * 256, 4, rows=4096, width=256),
    _rows("bias_relu", "linear's bias + ReLU 4096×512", 4096 * 512, 5, rows=4096, width=512),
    Case("adam", "Adam, 40 tensors, 0.8 M numbers", {"tensors": 40}, 0.0, FLOAT * 7 * 8e5),
)


# ---- whole models

STEPS_MLP = (
    Case("step_vae", "MLP VAE, batch 128", {"network": "mlp", "batch": 128}),
    Case("step_gpt", "image GPT 4×128, T 196, batch 16", {"size": 14, "batch": 16, "width": 128}),
    Case("step_gpt", "image GPT 4×128, T 784, batch 4", {"size": 28, "batch": 4, "width": 128}),
    Case("step_vit", "ViT 6×64, 50 tokens, batch 64", {"batch": 64, "width": 64, "layers": 6}),
)
STEPS_CONV = (
    Case("step_dcgan", "DCGAN-28, batch 64", {"preset": "28", "batch": 64}),
    Case("step_dcgan", "DCGAN-32, batch 64", {"preset": "32", "batch": 64}),
    Case("step_vae", "conv VAE, batch 128", {"network": "conv", "batch": 128}),
)
SAMPLING = (Case("sample_gpt", "64 images of 14×14, 4×64", {"size": 14, "n": 64, "width": 64}),)
SMALL = (Case("small_graph", "(x + y).sum().backward(), 64 floats", {"n": 64}),)

GROUPS = (
    Group("gemm", "GEMM 512 to 2048", SQUARE, Goal(), (0, 4)),
    Group("skinny", "GEMM, skinny and batched", SKINNY, Goal(each=1.2), (0, 4, 8)),
    Group("conv2d", "conv2d", convolutions("conv2d", False), Goal(1.0, 0.8), (1, 4, 13)),
    Group("conv2d+", "conv2d, with backward", convolutions("conv2d", True), Goal(1.0, 0.8), (1, 4)),
    Group("convT", "conv_transpose2d", convolutions("conv_transpose2d", False), Goal(1.2), (1, 4)),
    Group(
        "convT+", "conv_transpose2d, with backward", convolutions("conv_transpose2d", True),
        Goal(1.2), (1, 4),
    ),
    Group("attention", "attention", attentions(False), Goal(2.0, 2.5, 0.7), (10, 19)),
    Group("attention+", "attention, with backward", attentions(True), Goal(2.0, 2.5, 0.7), (10,)),
    Group("light", "norms, activations, losses, Adam", LIGHT, Goal(1.5, 1.0), tuple(range(8))),
    Group(
        "steps-mlp", "training step: MLP VAE, GPT, ViT", STEPS_MLP,
        Goal(1.5, 1.2, compiled=1.2), (0, 1),
    ),
    Group(
        "steps-conv", "training step: DCGAN, conv VAE", STEPS_CONV,
        Goal(1.3, 1.1, compiled=1.0), (0,),
    ),
    Group("sampling", "sampling with a key/value cache", SAMPLING, Goal(each=2.0), ()),
    Group("small", "a graph of two operations", SMALL, Goal(each=1.0)),
)  # fmt: skip


# ---- ladders: every rung of a kernel at a size that the formula in plain Python can bear


LADDERS: dict[str, Case] = {
    "gemm": gemm("64³", 64, 64, 64),
    "conv2d": convolution("conv2d", False, "4×8×14² → 8, 4×4 s2", 4, 8, 14, 8, 4, 2, 1),
    "conv_transpose2d": convolution(
        "conv_transpose2d", False, "4×8×7² → 8, 4×4 s2", 4, 8, 7, 8, 4, 2, 1
    ),
    "attention": Case(
        "attention", "2 heads, T 64, d 16", {"heads": 2, "t": 64, "d": 16, "causal": False},
        4.0 * 2 * 64 * 64 * 16, FLOAT * 2 * 64 * 16 * 4,
    ),
    "layer_norm": _rows("layer_norm", "256×64", 256 * 64, 6, rows=256, width=64),
    "gelu": _rows("gelu", "256×64", 256 * 64, 5, rows=256, width=64),
}  # fmt: skip


# ---- scaling: how the cost grows with one size


@dataclasses.dataclass(frozen=True)
class Series:
    """Cases along one size x; work grows as x^expected, and so should time where work is all."""

    name: str
    x: tuple[int, ...]
    cases: tuple[Case, ...]
    expected: float


def _layer(n: int = 32, channels: int = 64, side: int = 16) -> Case:
    row = (f"{n}×{channels}×{side}²", n, channels, side, channels, 3, 1, 1)
    return convolution("conv2d", False, *row)


SCALING = (
    Series("conv2d, batch", (4, 8, 16, 32), tuple(_layer(n=n) for n in (4, 8, 16, 32)), 1),
    Series(
        "conv2d, channels", (16, 32, 64, 128), tuple(_layer(8, c) for c in (16, 32, 64, 128)), 2
    ),
    Series("conv2d, side", (8, 16, 32, 64), tuple(_layer(4, 32, s) for s in (8, 16, 32, 64)), 2),
    Series(
        "attention, length", (128, 256, 512, 1024),
        tuple(
            Case("attention", f"8 heads, T {t}, d 32",
                 {"heads": 8, "t": t, "d": 32, "causal": False}, 4.0 * 8 * t * t * 32)
            for t in (128, 256, 512, 1024)
        ), 2,
    ),
)  # fmt: skip
OF_THREADS = (
    gemm("GEMM 1024", 1024, 1024, 1024),
    dataclasses.replace(_layer(n=32), name="conv2d"),
    next(case for case in STEPS_CONV if case.name.startswith("DCGAN-28")),
)

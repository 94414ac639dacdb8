"""What the GPU's kernels are measured on, and who computes the same in PyTorch, by name.

A backward kernel needs what its forward one has kept, so the two are one case there, as they are
one step of PyTorch's autograd.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from minigen_kernels.cuda import random as on_gpu
from minigen_kernels.random import Generator

Arrays = dict[str, np.ndarray]
FLOAT32, TF32, BF16 = 2e-5, 2e-3, 1e-2  # norms of errors that are rounding, of random inputs
DRAWN_OTHERWISE = math.inf  # the tolerance of numbers that a library draws in its own way
KEY, P = 7, 0.5  # of the random numbers, and of dropout


@dataclasses.dataclass(frozen=True)
class Peer:
    """A way in PyTorch: compute(torch, tensors) gives a tensor or several."""

    name: str
    compute: Callable[[Any, dict[str, Any]], Any]
    settings: str = "fp32"  # or "tf32", or the name of an SDPA backend
    channels_last: bool = False
    dtype: str = "float32"
    tolerance: float = FLOAT32


@dataclasses.dataclass(frozen=True)
class KernelCase:
    """One kernel at one size.

    arrays    (name, shape, kind): kind "normal", "positive", or a number of classes.
    ours      (kernels, arrays) → an array or several.
    in_place  the arrays that it changes.
    on_cpu    arrays → the same by minigen on the CPU, where its CPU kernels have no such name.
    """

    kernel: str
    name: str
    arrays: tuple[tuple[str, tuple[int, ...], Any], ...]
    ours: Callable[[Any, Any], Any]
    peers: tuple[Peer, ...]
    flop: float = 0.0
    bytes: float = 0.0
    in_place: tuple[str, ...] = ()
    on_cpu: Callable[[Arrays], Any] | None = None

    def draw(self, seed: int) -> Arrays:
        """Random contents: zeros would run faster than what a model computes with."""
        rng = np.random.default_rng(seed)
        made = {}
        for name, shape, kind in self.arrays:
            if isinstance(kind, int):
                made[name] = rng.integers(0, kind, shape)
            else:
                x = rng.standard_normal(shape, np.float32)
                made[name] = np.abs(x) + np.float32(0.1) if kind == "positive" else x
        return made


def slopes(torch: Any, f: Callable[..., Any], inputs: tuple[Any, ...], gy: Any) -> Any:
    """f and its gradient by PyTorch's autograd."""
    with torch.enable_grad():
        xs = [x.detach().requires_grad_() for x in inputs]
        return torch.autograd.grad(f(*xs), xs, gy)


# ---- products


def gemm(m: int, n: int, k: int) -> KernelCase:
    def product(torch: Any, t: Any) -> Any:
        return torch.matmul(t["a"], t["b"])

    return KernelCase(
        "gemm", f"{m}×{n}×{k}", (("a", (m, k), "normal"), ("b", (k, n), "normal")),
        lambda kernels, x: kernels.gemm(x["a"], x["b"]),
        (Peer("cuBLAS fp32", product), Peer("cuBLAS TF32", product, "tf32", tolerance=TF32),
         Peer("cuBLAS bf16", product, dtype="bfloat16", tolerance=BF16)),
        2.0 * m * n * k, 4.0 * (m * k + k * n + m * n),
    )  # fmt: skip


def conv(kernel: str, n: int, cin: int, side: int, cout: int, k: int, s: int, p: int) -> KernelCase:
    """conv2d, its weight gradient, or the transposed convolution, of square images."""
    options: dict[str, Any] = {"stride": (s, s), "padding": (p, p)}
    transposed = kernel == "conv_transpose2d"
    out = (side - 1) * s - 2 * p + k if transposed else (side + 2 * p - k) // s + 1
    x, w = (n, cin, side, side), (cin, cout, k, k) if transposed else (cout, cin, k, k)
    pixels = side**2 if transposed else out**2
    arrays: tuple = (("x", x, "normal"), ("w", w, "normal"))
    if kernel == "conv2d_weight":
        arrays = (("x", x, "normal"), ("gy", (n, cout, out, out), "normal"))

    def ours(kernels: Any, t: Any) -> Any:
        if kernel == "conv2d_weight":
            return kernels.conv2d_weight(t["x"], t["gy"], (k, k), **options)
        return getattr(kernels, kernel)(t["x"], t["w"], **options)

    def theirs(torch: Any, t: Any) -> Any:
        if kernel == "conv2d_weight":
            return torch.nn.grad.conv2d_weight(t["x"], w, t["gy"], **options)
        return getattr(torch.nn.functional, kernel)(t["x"], t["w"], **options)

    peers = [Peer(f"cuDNN {kind}{' channels_last' * last}", theirs, kind.lower(), last,
                  tolerance=FLOAT32 if kind == "fp32" else TF32)
             for kind in ("fp32", "TF32") for last in (False, True)]  # fmt: skip
    peers.append(Peer("cuDNN bf16 channels_last", theirs, "fp32", True, "bfloat16", BF16))
    size = n * (cin * side**2 + cout * out**2) + cin * cout * k**2
    name = f"{n}×{cin}×{side}² → {cout}, {k}×{k} s{s}"
    flop = 2.0 * n * cin * cout * k * k * pixels
    return KernelCase(kernel, name, arrays, ours, tuple(peers), flop, 4.0 * size)


def activated(case: KernelCase) -> KernelCase:
    """A product (a convolution of stride 2) with a bias and leaky ReLU at its end."""
    product, (x, w) = case.kernel, case.arrays
    out = w[1][1] if product != "conv2d" else w[1][0]

    def ours(kernels: Any, t: Any) -> Any:
        inputs = [t[x[0]], t[w[0]]]
        options: dict[str, Any] = {"bias": t["bias"]}
        if product != "gemm":
            options |= {"stride": (2, 2), "padding": (1, 1)}
        fused = getattr(kernels, f"{product}_activated", None)
        if fused is None:  # on the CPU it is a pass of its own
            return kernels.leaky_relu(getattr(kernels, product)(*inputs, **options), 0.2)
        return fused(*inputs, **options, activation="leaky_relu", slope=0.2)

    def theirs(torch: Any, t: Any) -> Any:
        if product == "gemm":
            y = torch.addmm(t["bias"], t["a"], t["b"])
        else:
            y = getattr(torch.nn.functional, product)(t["x"], t["w"], t["bias"], 2, 1)
        return torch.nn.functional.leaky_relu(y, 0.2)

    peers = [dataclasses.replace(p, name=f"{p.name}, leaky_relu", compute=theirs)
             for p in case.peers]  # fmt: skip
    return dataclasses.replace(
        case, kernel=f"{product}_activated", arrays=(x, w, ("bias", (out,), "normal")), ours=ours,
        peers=tuple(peers),
    )  # fmt: skip


def normed(case: KernelCase) -> KernelCase:
    """A convolution of stride 2 and batch norm with leaky ReLU, which starts from its moments."""
    (x, w), options = case.arrays, {"stride": (2, 2), "padding": (1, 1)}
    product, out = case.kernel, w[1][case.kernel != "conv2d"]

    def ours(k: Any, t: Any) -> Any:
        fused, affine = getattr(k, f"{product}_activated", None), (t["gain"], t["step"], 1e-5)
        if fused is None:  # on the CPU each is a pass of its own
            y = getattr(k, product)(t["x"], t["w"], **options)
            z = k.leaky_relu(k.batch_norm(y.reshape(*y.shape[:2], -1), *affine)[0], 0.2)
        else:
            y, found = fused(t["x"], t["w"], **options, activation="none", moments=True)
            how = {"activation": "leaky_relu", "slope": 0.2, "moments": found}
            z = k.batch_norm_activated(y.reshape(*y.shape[:2], -1), *affine, **how)[0]
        return z.reshape(y.shape)

    def theirs(torch: Any, t: Any) -> Any:
        y = getattr(torch.nn.functional, product)(t["x"], t["w"], None, 2, 1)
        y = torch.nn.functional.batch_norm(y, None, None, t["gain"], t["step"], True)
        return torch.nn.functional.leaky_relu(y, 0.2)

    arrays = (x, w, ("gain", (out,), "positive"), ("step", (out,), "normal"))
    peers = [dataclasses.replace(p, name=f"{p.name}, batch_norm, leaky_relu", compute=theirs)
             for p in case.peers]  # fmt: skip
    names = {"kernel": "batch_norm_activated", "name": f"{product} {case.name}"}
    return dataclasses.replace(case, **names, arrays=arrays, ours=ours, peers=tuple(peers))


def attention(heads: int, t: int, d: int, causal: bool, backward: bool = False) -> KernelCase:
    def forward(torch: Any, *qkv: Any) -> Any:
        q, k, v = (x[None] for x in qkv)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)[0]

    def ours(kernels: Any, x: Any) -> Any:
        qkv = x["q"], x["k"], x["v"]
        out, lse = kernels.attention(*qkv, None, causal)
        if not backward:
            return out
        return kernels.attention_backward(x["gy"], *qkv, out, lse, None, causal)

    def theirs(torch: Any, x: Any) -> Any:
        qkv = x["q"], x["k"], x["v"]
        if not backward:
            return forward(torch, *qkv)
        return slopes(torch, lambda *xs: forward(torch, *xs), qkv, x["gy"])

    fp32 = [Peer(f"SDPA {b} fp32", theirs, b) for b in ("EFFICIENT_ATTENTION", "MATH")]
    bf16 = [Peer(f"SDPA {b} bf16", theirs, b, dtype="bfloat16", tolerance=BF16)
            for b in ("FLASH_ATTENTION", "CUDNN_ATTENTION")]  # fmt: skip
    names = ("q", "k", "v", "gy") if backward else ("q", "k", "v")
    pairs = t * (t + 1) / 2 if causal else t * t
    name = f"{heads} heads, T {t}, d {d}, {'causal' if causal else 'full'}"
    return KernelCase(
        "attention_backward" if backward else "attention", name + ", with forward" * backward,
        tuple((n, (heads, t, d), "normal") for n in names), ours, (*fp32, *bf16),
        (14.0 if backward else 4.0) * heads * pairs * d,
        4.0 * (9 if backward else 4) * heads * t * d,
    )  # fmt: skip


# ---- what is bound by memory: kernels on rows, beside PyTorch's own


def rows(kernel: str, n: int, width: int) -> KernelCase:
    x, gy = ("x", (n, width), "normal"), ("gy", (n, width), "normal")
    w, b = ("w", (width,), "positive"), ("b", (width,), "normal")
    target, g = ("target", (n,), width), ("gy", (n,), "normal")
    y = ("y", (n, width), "positive")

    def norm(torch: Any, x: Any, w: Any, b: Any) -> Any:
        return torch.nn.functional.layer_norm(x, (width,), w, b)

    def norm_backward(k: Any, t: Any) -> Any:
        _, mean, rstd = k.layer_norm(t["x"], t["w"], t["b"], 1e-5)
        return k.layer_norm_backward(t["gy"], t["x"], t["w"], mean, rstd)

    def entropy(torch: Any, x: Any, target: Any) -> Any:
        return torch.nn.functional.cross_entropy(x, target, reduction="none")

    def bce_backward(k: Any, t: Any) -> Any:
        k.bce_with_logits(t["x"], t["y"])  # the backward kernel needs nothing of it: PyTorch does
        return k.bce_with_logits_backward(t["gy"], t["x"], t["y"])

    def bce(torch: Any, x: Any, t: Any) -> Any:
        return torch.nn.functional.binary_cross_entropy_with_logits(x, t, reduction="none")

    # kernel: its arrays, ours, theirs, how often the n × width numbers are read or written
    made: dict[str, tuple[Any, Any, Any, float]] = {
        "layer_norm": (
            (x, w, b), lambda k, t: k.layer_norm(t["x"], t["w"], t["b"], 1e-5)[0],
            lambda torch, t: norm(torch, t["x"], t["w"], t["b"]), 2),
        "layer_norm_backward": (
            (x, w, b, gy), norm_backward,
            lambda torch, t: slopes(torch, lambda *xs: norm(torch, *xs),
                                    (t["x"], t["w"], t["b"]), t["gy"]), 5),
        "softmax": ((x,), lambda k, t: k.softmax(t["x"]),
                    lambda torch, t: torch.softmax(t["x"], -1), 2),
        "softmax_backward": (
            (x, gy), lambda k, t: k.softmax_backward(t["gy"], k.softmax(t["x"])),
            lambda torch, t: slopes(torch, lambda x: torch.softmax(x, -1), (t["x"],), t["gy"]),
            5),
        "gelu": ((x,), lambda k, t: k.gelu(t["x"]),
                 lambda torch, t: torch.nn.functional.gelu(t["x"]), 2),
        "gelu_backward": ((x, gy), lambda k, t: k.gelu_backward(t["gy"], t["x"]),
                          lambda torch, t: torch.ops.aten.gelu_backward(t["gy"], t["x"]), 3),
        "leaky_relu": ((x,), lambda k, t: k.leaky_relu(t["x"], 0.2),
                       lambda torch, t: torch.nn.functional.leaky_relu(t["x"], 0.2), 2),
        "leaky_relu_backward": (
            (x, gy), lambda k, t: k.leaky_relu_backward(t["gy"], t["x"], 0.2),
            lambda torch, t: torch.ops.aten.leaky_relu_backward(t["gy"], t["x"], 0.2, False), 3),
        "bce_with_logits": ((x, y), lambda k, t: k.bce_with_logits(t["x"], t["y"]),
                            lambda torch, t: bce(torch, t["x"], t["y"]), 3),
        "bce_with_logits_backward": (
            (x, y, gy), bce_backward,
            lambda torch, t: slopes(torch, lambda x: bce(torch, x, t["y"]), (t["x"],), t["gy"]),
            7),
        "column_sums": ((x,), lambda k, t: k.column_sums(t["x"]),
                        lambda torch, t: t["x"].sum(0), 1),
        "cross_entropy": (
            (x, target), lambda k, t: k.cross_entropy(t["x"], t["target"])[0],
            lambda torch, t: entropy(torch, t["x"], t["target"]), 1),
        "cross_entropy_backward": (
            (x, target, g),
            lambda k, t: k.cross_entropy_backward(t["gy"], t["x"], t["target"],
                                                  k.cross_entropy(t["x"], t["target"])[1]),
            lambda torch, t: slopes(torch, lambda x: entropy(torch, x, t["target"]), (t["x"],),
                                    t["gy"]), 3),
    }  # fmt: skip
    arrays, ours, theirs, passes = made[kernel]
    alone = ("gelu_backward", "leaky_relu_backward")  # these read nothing that forward made
    with_forward = kernel.endswith("_backward") and kernel not in alone
    peer = Peer(f"torch's {kernel}", theirs)
    return KernelCase(kernel, f"{n}×{width}" + ", with forward" * with_forward, arrays, ours,
                      (peer,), 0.0, 4.0 * passes * n * width)  # fmt: skip


def batch_norm(n: int, c: int, side: int, backward: bool = False) -> KernelCase:
    x = (n, c, side * side)
    arrays: tuple = (("x", x, "normal"), ("w", (c,), "positive"), ("b", (c,), "normal"))

    def forward(torch: Any, x: Any, w: Any, b: Any) -> Any:
        return torch.nn.functional.batch_norm(x, None, None, w, b, True)

    def ours(k: Any, t: Any) -> Any:
        y, mean, var = k.batch_norm(t["x"], t["w"], t["b"], 1e-5)
        if not backward:
            return y
        return k.batch_norm_backward(t["gy"], t["x"], t["w"], mean, var, 1e-5)

    def theirs(torch: Any, t: Any) -> Any:
        inputs = t["x"], t["w"], t["b"]
        if not backward:
            return forward(torch, *inputs)
        return slopes(torch, lambda *xs: forward(torch, *xs), inputs, t["gy"])

    kernel = "batch_norm_backward" if backward else "batch_norm"
    return KernelCase(
        kernel, f"{n}×{c}×{side}²" + ", with forward" * backward,
        (*arrays, ("gy", x, "normal")) if backward else arrays, ours,
        (Peer(f"torch's {kernel}", theirs),), 0.0, (20.0 if backward else 8.0) * math.prod(x),
    )  # fmt: skip


def deposit(n: int, size: int, width: int) -> KernelCase:
    """The gradient of a table that n places were looked up in."""

    def theirs(torch: Any, t: Any) -> Any:
        return t["y"].new_zeros((1, size, width)).index_add_(1, t["index"], t["y"])

    return KernelCase(
        "deposit", f"{n} of {size}×{width}",
        (("y", (1, n, width), "normal"), ("index", (n,), size)),
        lambda k, t: k.deposit(t["y"], t["index"], size), (Peer("torch's index_add_", theirs),),
        0.0, 4.0 * (n + size) * width,
    )  # fmt: skip


def adam(count: int, side: int) -> KernelCase:
    """One step of `count` weights of side × side."""
    kinds = {"p": "normal", "g": "normal", "m": "normal", "v": "positive"}
    names = {of: [f"{of}{i}" for i in range(count)] for of in kinds}

    def lists(t: Any) -> list[list[Any]]:
        return [[t[name] for name in names[of]] for of in kinds]

    def ours(k: Any, t: Any) -> Any:
        k.adam(*lists(t), lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0,
               decoupled=False, step=3)  # fmt: skip
        return tuple(t[name] for of in ("p", "m", "v") for name in names[of])

    def theirs(torch: Any, t: Any) -> Any:
        p, g, m, v = lists(t)
        steps = [torch.full((), 3.0, device=x.device) for x in p]
        torch._fused_adam_(
            p, g, m, v, [], steps, lr=1e-3, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-8,
            amsgrad=False, maximize=False,
        )  # fmt: skip
        return tuple(t[name] for of in ("p", "m", "v") for name in names[of])

    return KernelCase(
        "adam", f"{count} of {side}²",
        tuple((name, (side, side), kind) for of, kind in kinds.items() for name in names[of]),
        ours, (Peer("torch's fused Adam", theirs),), 0.0, 28.0 * count * side**2,
        tuple(name for of in ("p", "m", "v") for name in names[of]),
    )  # fmt: skip


def random(kernel: str, n: int) -> KernelCase:
    """Numbers drawn; "x" says where, and is what dropout drops."""

    def dropped(t: Arrays) -> np.ndarray:
        kept = Generator(KEY).uniform(n) >= np.float32(P)
        return t["x"] * kept * np.float32(1 / (1 - P))

    made: dict[str, tuple[Any, Any, Any, float]] = {
        "philox": (lambda k, t: on_gpu.words(KEY, 0, n, t["x"]),
                   lambda t: Generator(KEY).words(n), "randint", 4),
        "uniform": (lambda k, t: k.uniform(KEY, 0, n, np.float32, t["x"]),
                    lambda t: Generator(KEY).uniform(n), "rand", 4),
        "normal": (lambda k, t: k.normal(KEY, 0, n, np.float32, t["x"]),
                   lambda t: Generator(KEY).normal(n), "randn", 4),
        "dropout": (lambda k, t: k.dropout(t["x"], P, KEY, 0), dropped, "dropout", 8),
    }  # fmt: skip
    ours, on_cpu, name, size = made[kernel]

    def theirs(torch: Any, t: Any) -> Any:
        x = t["x"]
        if name == "dropout":
            return torch.nn.functional.dropout(x, P)
        if name == "randint":
            return torch.randint(0, 2**31 - 1, (n,), device=x.device, dtype=torch.int32)
        return getattr(torch, name)(n, device=x.device)

    peer = Peer(f"torch's {name}", theirs, tolerance=DRAWN_OTHERWISE)
    return KernelCase(kernel, f"{n}", (("x", (n,), "normal"),), ours, (peer,), 0.0, size * n,
                      on_cpu=on_cpu)  # fmt: skip


ROWS = ("layer_norm", "layer_norm_backward", "softmax", "softmax_backward", "cross_entropy",
        "cross_entropy_backward", "gelu", "gelu_backward", "leaky_relu", "leaky_relu_backward",
        "bce_with_logits", "bce_with_logits_backward", "column_sums")  # fmt: skip
RANDOM = ("philox", "uniform", "normal", "dropout")
# The first of a kernel is the one that its targets are about: the time may not be enough for all.
CASES = (
    gemm(4096, 4096, 4096),
    conv("conv2d", 128, 64, 32, 128, 4, 2, 1),
    conv("conv_transpose2d", 128, 256, 8, 128, 4, 2, 1),
    conv("conv2d_weight", 128, 64, 32, 128, 4, 2, 1),
    activated(gemm(4096, 4096, 1024)),
    activated(conv("conv2d", 128, 64, 32, 128, 4, 2, 1)),
    activated(conv("conv_transpose2d", 128, 256, 8, 128, 4, 2, 1)),
    normed(conv("conv_transpose2d", 128, 256, 8, 128, 4, 2, 1)),
    attention(64, 2048, 64, False), attention(32, 4096, 128, False),
    attention(64, 2048, 64, True, backward=True),
    *[rows(kernel, 65536, 1024) for kernel in ROWS],
    batch_norm(256, 256, 32), batch_norm(256, 256, 32, backward=True),
    deposit(65536, 512, 512), adam(32, 1024), *[random(kernel, 1 << 25) for kernel in RANDOM],
    gemm(1024, 1024, 1024), gemm(128, 400, 784), gemm(12544, 128, 512),
    conv("conv2d", 32, 128, 16, 128, 3, 1, 1), conv("conv2d", 64, 1, 28, 32, 4, 2, 1),
    conv("conv_transpose2d", 64, 32, 14, 1, 4, 2, 1),
    attention(64, 2048, 64, True), attention(32, 784, 128, True),
)  # fmt: skip
SMALLEST = (
    gemm(17, 13, 5),
    conv("conv2d", 1, 2, 5, 3, 3, 2, 1),
    conv("conv_transpose2d", 1, 2, 3, 2, 4, 2, 1),
    conv("conv2d_weight", 2, 2, 5, 3, 3, 1, 1),
    activated(gemm(17, 13, 5)),
    activated(conv("conv2d", 1, 2, 5, 3, 3, 2, 1)),
    activated(conv("conv_transpose2d", 1, 2, 3, 2, 4, 2, 1)),
    normed(conv("conv_transpose2d", 2, 2, 3, 2, 4, 2, 1)),
    attention(2, 9, 4, True),
    attention(2, 9, 4, True, backward=True),
    *[rows(kernel, 3, 10) for kernel in ROWS],
    batch_norm(3, 2, 3),
    batch_norm(3, 2, 3, backward=True),
    deposit(7, 3, 5),
    adam(2, 3),
    *[random(kernel, 11) for kernel in RANDOM],
)

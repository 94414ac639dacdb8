"""What the GPU's kernels are measured on, and who computes the same in PyTorch, by name.

Ours are called through backend_of(array), rung by rung; the right answer is PyTorch's in float64,
or in a rehearsal that of our CPU kernels in float64.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .gpu_clock import Contestant

Arrays = dict[str, np.ndarray]
FLOAT32, TF32, BF16 = 2e-5, 2e-3, 1e-2  # norms of errors that are rounding, of random inputs


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

    arrays  (name, shape, kind): kind "normal", "positive", or a number of classes.
    ours    (kernels, arrays) → an array or several.
    """

    kernel: str
    name: str
    arrays: tuple[tuple[str, tuple[int, ...], Any], ...]
    ours: Callable[[Any, Any], Any]
    peers: tuple[Peer, ...]
    flop: float = 0.0
    bytes: float = 0.0

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


# ---- the cases


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
    size = n * (cin * side**2 + cout * out**2) + cin * cout * k**2
    name = f"{n}×{cin}×{side}² → {cout}, {k}×{k} s{s}"
    flop = 2.0 * n * cin * cout * k * k * pixels
    return KernelCase(kernel, name, arrays, ours, tuple(peers), flop, 4.0 * size)


def attention(heads: int, t: int, d: int, causal: bool) -> KernelCase:
    def ours(kernels: Any, x: Any) -> Any:
        return kernels.attention(x["q"], x["k"], x["v"], None, causal)[0]

    def theirs(torch: Any, x: Any) -> Any:
        q, k, v = (x[n][None] for n in "qkv")
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)[0]

    fp32 = [Peer(f"SDPA {b} fp32", theirs, b) for b in ("EFFICIENT_ATTENTION", "MATH")]
    bf16 = [Peer(f"SDPA {b} bf16", theirs, b, dtype="bfloat16", tolerance=BF16)
            for b in ("FLASH_ATTENTION", "CUDNN_ATTENTION")]  # fmt: skip
    arrays = tuple((n, (heads, t, d), "normal") for n in "qkv")
    pairs = t * (t + 1) / 2 if causal else t * t
    name = f"{heads} heads, T {t}, d {d}, {'causal' if causal else 'full'}"
    return KernelCase("attention", name, arrays, ours, (*fp32, *bf16), 4.0 * heads * pairs * d,
                      16.0 * heads * t * d)  # fmt: skip


def rows(kernel: str, n: int, width: int) -> KernelCase:
    """What is bound by memory: a kernel on rows, beside PyTorch's own."""
    x = ("x", (n, width), "normal")
    w, b = ("w", (width,), "positive"), ("b", (width,), "normal")
    made: dict[str, tuple[Any, Any, Any, float]] = {
        "layer_norm": (
            (x, w, b), lambda k, t: k.layer_norm(t["x"], t["w"], t["b"], 1e-5)[0],
            lambda torch, t: torch.nn.functional.layer_norm(t["x"], (width,), t["w"], t["b"]), 2),
        "softmax": ((x,), lambda k, t: k.softmax(t["x"]),
                    lambda torch, t: torch.softmax(t["x"], -1), 2),
        "gelu": ((x,), lambda k, t: k.gelu(t["x"]),
                 lambda torch, t: torch.nn.functional.gelu(t["x"]), 2),
        "cross_entropy": (
            (x, ("target", (n,), width)), lambda k, t: k.cross_entropy(t["x"], t["target"])[0],
            lambda torch, t: torch.nn.functional.cross_entropy(
                t["x"], t["target"], reduction="none"), 1),
    }  # fmt: skip
    arrays, ours, theirs, passes = made[kernel]
    peer = Peer(f"torch's {kernel}", theirs)
    return KernelCase(
        kernel, f"{n}×{width}", arrays, ours, (peer,), 0.0, 4.0 * passes * n * width
    )


def batch_norm(n: int, c: int, side: int) -> KernelCase:
    arrays = (("x", (n, c, side * side), "normal"), ("w", (c,), "positive"), ("b", (c,), "normal"))
    peer = Peer("torch's batch_norm", lambda torch, t: torch.nn.functional.batch_norm(
        t["x"], None, None, t["w"], t["b"], True))  # fmt: skip
    return KernelCase(
        "batch_norm", f"{n}×{c}×{side}²", arrays,
        lambda k, t: k.batch_norm(t["x"], t["w"], t["b"], 1e-5)[0], (peer,), 0.0,
        8.0 * n * c * side * side,
    )  # fmt: skip


CASES = (
    gemm(4096, 4096, 4096), gemm(1024, 1024, 1024), gemm(128, 400, 784), gemm(12544, 128, 512),
    conv("conv2d", 128, 64, 32, 128, 4, 2, 1), conv("conv2d", 32, 128, 16, 128, 3, 1, 1),
    conv("conv2d", 64, 1, 28, 32, 4, 2, 1),
    conv("conv_transpose2d", 128, 256, 8, 128, 4, 2, 1),
    conv("conv_transpose2d", 64, 32, 14, 1, 4, 2, 1),
    conv("conv2d_weight", 128, 64, 32, 128, 4, 2, 1),
    attention(64, 2048, 64, False), attention(64, 2048, 64, True), attention(32, 784, 128, True),
    rows("layer_norm", 65536, 1024), rows("softmax", 65536, 1024), rows("gelu", 65536, 1024),
    rows("cross_entropy", 65536, 1024), batch_norm(256, 256, 32),
)  # fmt: skip
SMALLEST = (
    gemm(17, 13, 5),
    conv("conv2d", 1, 2, 5, 3, 3, 2, 1),
    conv("conv_transpose2d", 1, 2, 3, 2, 4, 2, 1),
    conv("conv2d_weight", 2, 2, 5, 3, 3, 1, 1),
    attention(2, 9, 4, True),
    rows("layer_norm", 3, 10),
    rows("softmax", 3, 10),
    rows("gelu", 3, 10),
    rows("cross_entropy", 3, 10),
    batch_norm(3, 2, 3),
)


# ---- who takes part


def contestants(case: KernelCase, device: Any, sets: int) -> Iterator[Contestant]:
    """Our rungs, the last twice (A/A), and ours by tensor cores; each made when it is its turn."""
    drawn = [case.draw(0)]
    given = [device.array(x) for x in drawn[0].values()]
    buffers = [dict(zip(drawn[0], given, strict=True))]
    for i in range(1, sets):  # other values at other places, made where they are needed
        buffers.append({name: x if x.dtype.kind != "f" else x * np.float32(1 - 0.01 * i)
                        for name, x in buffers[0].items()})  # fmt: skip
    names = rung_names(case.kernel)
    for rung, name in [*enumerate(names, 1), *[(len(names), "again")][: len(names)]]:
        yield _ours(case, device, buffers, name, rung=rung)
    for precision, name in tensor_core_names(case.kernel).items():
        made = _ours(case, device, buffers, name, precision=precision)
        tolerance = BF16 if precision == "bf16" else TF32
        yield dataclasses.replace(made, note=precision, tolerance=tolerance)


def rung_names(kernel: str) -> list[str]:
    """The CUDA rungs of a kernel, from 1 up."""
    from minigen_kernels.cuda import LADDERS

    return [f.__name__ for f in LADDERS[kernel][1:]] if kernel in LADDERS else []


def tensor_core_names(kernel: str) -> dict[str, str]:
    """The kernel that use(precision=...) chooses, by its precision."""
    from minigen_kernels.cuda import TENSOR_CORES

    return {p: made[kernel].__name__ for p, made in TENSOR_CORES.items() if kernel in made}


def _ours(
    case: KernelCase, device: Any, buffers: list[Any], name: str, **chosen: Any
) -> Contestant:
    from minigen_kernels import backend_of, use

    def run(i: int) -> Any:
        arrays = buffers[i]
        return case.ours(backend_of(next(iter(arrays.values()))), arrays)

    def result() -> list[np.ndarray]:
        made = run(0)
        return [device.host(y) for y in (made if isinstance(made, tuple) else (made,))]

    backend = "emulator" if device.rehearsal else None
    return Contestant(name, "ours", run, result, lambda: use(backend=backend, **chosen))


def peers(case: KernelCase, sets: int) -> Iterator[Contestant]:
    """The peers, on the same random inputs; needs a PyTorch with CUDA."""
    import torch

    base = {name: torch.from_numpy(x).cuda() for name, x in case.draw(0).items()}
    for peer in case.peers:
        buffers = [_tensors(torch, base, peer, i) for i in range(sets)]

        def run(i: int, peer: Peer = peer, buffers: Any = buffers) -> Any:
            return peer.compute(torch, buffers[i])

        def result(run: Any = run) -> list[np.ndarray]:
            made = run(0)
            made = made if isinstance(made, tuple) else (made,)
            return [y.float().cpu().numpy() for y in made]

        settings = functools.partial(flags, torch, peer.settings)
        note = f"{peer.dtype}, {peer.settings}"
        yield Contestant(peer.name, "torch", run, result, settings, note, peer.tolerance)


def _tensors(torch: Any, base: Any, peer: Peer, i: int) -> dict[str, Any]:
    made = {}
    for name, x in base.items():
        if x.dtype.is_floating_point:
            x = (x * (1 - 0.01 * i)).to(getattr(torch, peer.dtype))
            if peer.channels_last and x.ndim == 4:
                x = x.contiguous(memory_format=torch.channels_last)
        made[name] = x
    return made


@contextlib.contextmanager
def flags(torch: Any, settings: str) -> Iterator[None]:
    """TF32 said explicitly, for matmul and cuDNN; cuDNN chooses by trying; SDPA by name."""
    tf32 = settings == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    with torch.inference_mode(), contextlib.ExitStack() as stack:
        if settings.endswith("ATTENTION") or settings == "MATH":
            from torch.nn.attention import SDPBackend, sdpa_kernel

            stack.enter_context(sdpa_kernel(getattr(SDPBackend, settings)))
        yield


def right_answer(case: KernelCase, device: Any) -> list[np.ndarray]:
    """The results in float64."""
    wide = {n: x.astype(np.float64) if x.dtype.kind == "f" else x for n, x in case.draw(0).items()}
    if device.rehearsal:
        from minigen_kernels import backend_of

        made = case.ours(backend_of(np.zeros(1)), wide)
    else:
        import torch

        tensors = {name: torch.from_numpy(x).cuda() for name, x in wide.items()}
        with torch.inference_mode():
            found = case.peers[0].compute(torch, tensors)
        made = tuple(y.cpu().numpy() for y in (found if isinstance(found, tuple) else (found,)))
    return list(made) if isinstance(made, tuple) else [made]

"""What the tests of the tensor-core kernels share: rounding written out again, and its bounds.

A number of p significant bits, rounded to the nearest, is off by at most 2^-p of itself. So for
factors rounded to p bits, with u = 2^-p, and for sums of K exact products in float32,

    |c - Σ a b| ≤ (2 u + u² + (K + 8) 2^-23) Σ |a| |b|

element by element: a product of two rounded factors is off by (1 + u)² - 1 of itself, and each of
at most K + 8 additions by 2^-23, for tensor cores may cut off where float32 would round.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from minigen_kernels import cuda
from minigen_kernels.cuda import LADDERS, TENSOR_CORES

from tests.kernels.ladder import close

SOURCES = Path(cuda.__file__).parent
BITS = {"bf16": 8, "tf32": 11}  # significant ones
FACTORS = {"gemm": 2, "conv2d": 2, "conv_transpose2d": 2, "conv2d_weight": 2}  # of the arguments


def rounded(x, precision):
    """x in float64, rounded to so many bits: bfloat16 takes ties to even, TF32 away from zero."""
    mantissa, exponent = np.frexp(np.asarray(x, np.float64))
    scaled = np.ldexp(mantissa, BITS[precision])
    away = np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)
    return np.ldexp(np.rint(scaled) if precision == "bf16" else away, exponent - BITS[precision])


def bound(precision, terms):
    """What a product may be off by, as a part of the same product of the factors' sizes."""
    u = 2.0 ** -BITS[precision]
    return 2 * u + u**2 + (terms + 8) * 2.0**-23


def products_agree(name, precision, seed, *arguments, terms=1, least=0.0, **options):
    """The kernel, in check mode, gives the formula's value in float64 for rounded factors.

    What is left is the rounding of sums in float32, so this also shows that factors are rounded,
    and how.
    """
    kernel, count = TENSOR_CORES[precision][name], FACTORS[name]
    exact = [rounded(x, precision) for x in arguments[:count]]
    expected = LADDERS[name][0](*exact, *arguments[count:], **options)
    before = [x.copy() for x in arguments[:count]]
    with cuda.emulation(check=True, seed=seed):
        got = kernel(*arguments, **options)
    for a, b in zip(before, arguments, strict=False):
        np.testing.assert_array_equal(a, b, err_msg=f"{kernel.__name__} changed its input")
    close(got, expected.astype(np.float32), terms, kernel.__name__, least)


def broken_copy(folder, source, file, right, wrong):
    """A .cu file in `folder`, beside the package's headers; one of these files has one edit."""
    text = (SOURCES / file).read_text()
    assert text.count(right) == 1, f"{right} stands {text.count(right)} times in {file}"
    for path in (source, *SOURCES.glob("*.cuh")):
        shutil.copy(path, folder)
    (folder / file).write_text(text.replace(right, wrong))
    return folder / source.name

"""Random numbers of minigen: drawn by the kernels of random.cu, and those that the CPU draws."""

from __future__ import annotations

import numpy as np
import pytest
from minigen_kernels import cuda, use
from minigen_kernels.cuda import random as cuda_random
from minigen_kernels.random import Generator

from minigen import Tensor, grad, nn
from minigen import functional as F
from minigen.gradcheck import check_grad
from tests.kernels.ladder import FLOATS
from tests.kernels.needs import GXX

pytestmark = [pytest.mark.emulator, GXX]


@pytest.fixture
def launched(monkeypatch):
    """The names of the kernels of random.cu, as they are launched in check mode."""
    names = []

    def launch(source, kernel, *rest, **options):
        names.append(kernel)
        return plain(source, kernel, *rest, **options)

    plain = cuda_random.launch
    monkeypatch.setattr(cuda_random, "launch", launch)
    with cuda.emulation(check=True, seed=1):
        yield names


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0, 4), (5, 7, 3)])
def test_a_generator_draws_by_the_kernels(launched, dtype, shape):
    here, there = Generator(11, stream=2), Generator(11, stream=2)
    expected = [here.uniform(shape, dtype), here.normal(shape, dtype), here.uniform(shape, dtype)]
    with use(backend="emulator"):
        found = [there.uniform(shape, dtype), there.normal(shape, dtype),
                 there.uniform(shape, dtype)]  # fmt: skip
    assert there.state_dict() == here.state_dict()
    for got, right in zip(found, expected, strict=True):
        assert (got.shape, got.dtype) == (right.shape, right.dtype)
    for i in (0, 2):
        np.testing.assert_array_equal(found[i], expected[i])
    tolerance = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(found[1], expected[1], rtol=tolerance, atol=tolerance)
    kind = np.dtype(dtype).itemsize * 8
    names = [f"uniform_1_blocks_f{kind}", f"normal_1_blocks_f{kind}", f"uniform_1_blocks_f{kind}"]
    assert launched == (names if found[0].size else [])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(), (3,), (4, 9), (2, 3, 5)])
def test_dropout_is_one_kernel_each_way_and_drops_what_it_drops_on_the_cpu(launched, dtype, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    gy = np.random.default_rng(1).standard_normal(shape).astype(dtype)

    def computed():
        rng = Generator(3)
        rng.words(5)
        given = Tensor(x, requires_grad=True)
        y = F.dropout(given, 0.3, rng=rng)
        return y.data, grad(y, [given], Tensor(gy))[0].data, rng.counter

    expected = computed()
    with use(backend="emulator"):
        found = computed()
    for got, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(got, right)
    assert launched == 2 * [f"dropout_1_fused_f{np.dtype(dtype).itemsize * 8}"]


def test_dropout_of_what_lies_otherwise_in_memory(launched):
    """Numbers are counted in the order of the axes, whatever the strides."""
    x = np.arange(12.0).reshape(3, 4)
    drawn = [F.dropout(Tensor(x), 0.5, rng=Generator(0)).data]
    with use(backend="emulator"):
        drawn.append(F.dropout(Tensor(np.asfortranarray(x)), 0.5, rng=Generator(0)).data)
        drawn.append(F.dropout(Tensor(x[:, ::-1])[:, ::-1], 0.5, rng=Generator(0)).data)
    for other in drawn[1:]:
        np.testing.assert_array_equal(other, drawn[0])


def test_dropout_s_slopes_of_two_orders(launched):
    with use(backend="emulator"):
        check_grad(lambda x: F.dropout(x * x, 0.4, rng=Generator(8)),
                   np.random.default_rng(2).standard_normal((3, 5)), order=2,
               rng=np.random.default_rng(5))  # fmt: skip
    assert len(launched) > 4 and set(launched) == {"dropout_1_fused_f64"}


def test_layers_and_attention_drop_by_the_kernel(launched):
    """As on the CPU: the same weights are dropped."""
    rng = np.random.default_rng(4)
    q, k, v = (rng.standard_normal((2, 6, 4)).astype(np.float32) for _ in range(3))

    def computed():
        layer = nn.Dropout(0.5, rng=Generator(1))
        out = F.scaled_dot_product_attention(
            *map(Tensor, (q, k, v)), dropout_p=0.5, rng=Generator(2)
        )
        return layer(Tensor(q)).data, out.data, layer.rng.counter

    expected = computed()
    with use(backend="emulator"):
        found = computed()
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-6)
    assert found[2] == expected[2] and launched == 2 * ["dropout_1_fused_f32"]

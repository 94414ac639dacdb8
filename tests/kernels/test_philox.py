"""Philox against the published vectors and rung 0; the generator's laws, state and streams."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels import backend_of, random
from minigen_kernels.cpu import LADDERS
from minigen_kernels.random import Generator, philox_words

from tests.kernels.ladder import same_bits_elsewhere

# From examples/kat_vectors of Random123, philox4x32 of 10 rounds: counter, key, result.
KNOWN = """
00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8
ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd
243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1
"""
NOTHING = np.empty(0)


def number(words: list[str]) -> int:
    """The words of a whole number, lowest first."""
    return sum(int(word, 16) << 32 * i for i, word in enumerate(words))


@pytest.mark.parametrize("line", KNOWN.split("\n")[1:-1])
@pytest.mark.parametrize("philox", [philox_words, *LADDERS["philox"]])
def test_published_vectors(philox, line):
    words = line.split()
    got = philox(number(words[4:6]), number(words[:4]), 4)
    assert [f"{word:08x}" for word in got] == words[6:]


@given(
    st.integers(0, 2**64 - 1),
    st.one_of(st.integers(0, 2**128 - 2**20), st.integers(2**64 - 5, 2**64)),
    st.integers(0, 70),
)
def test_rungs_and_whole_arrays_give_the_same_bits(key, counter, n):
    with np.errstate(over="ignore"):
        expected = LADDERS["philox"][0](key, counter, n)
        for philox in (philox_words, *LADDERS["philox"][1:]):
            got = philox(key, counter, n)
            assert got.dtype == np.uint32 and got.shape == (n,)
            np.testing.assert_array_equal(got, expected)


def test_large_and_small_draws_meet(monkeypatch):
    n = random.COMPILED_FROM + 5
    compiled = Generator(3).words(n)
    monkeypatch.setattr(random, "COMPILED_FROM", 2 * n)
    np.testing.assert_array_equal(compiled, Generator(3).words(n))


@given(st.integers(0, 2**64 - 1), st.lists(st.integers(0, 40), max_size=5))
def test_the_counter_moves_by_whole_blocks_and_draws_do_not_overlap(seed, draws):
    rng, blocks, seen = Generator(seed), 0, []
    for n in draws:
        seen += rng.words(n).tolist() + [0] * (-n % 4)
        blocks += -(-n // 4)
        assert rng.state_dict() == {"seed": seed, "stream": 0, "counter": blocks}
    whole = philox_words(seed, 0, 4 * blocks).tolist()
    assert all(a == b for a, b in zip(seen, whole, strict=True) if a)


@given(st.integers(0, 2**32), st.integers(0, 50))
def test_resuming_is_exact(seed, n):
    rng = Generator(seed, stream=5)
    rng.normal(n)
    saved = json.dumps(rng.state_dict())
    expected = [rng.uniform(n), rng.integers(0, 9, n), rng.permutation(n), rng.bernoulli(0.3, n)]
    again = Generator(0)
    again.load_state_dict(json.loads(saved))
    got = [again.uniform(n), again.integers(0, 9, n), again.permutation(n), again.bernoulli(0.3, n)]
    for a, b in zip(expected, got, strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.state_dict() == rng.state_dict()


def test_streams_are_different_and_do_not_depend_on_what_was_drawn():
    rng = Generator(1)
    names = ["data", "noise", 1, "1", 2]
    first = [rng.split(name).words(8).tolist() for name in names]
    rng.normal(1000)
    assert first == [rng.split(name).words(8).tolist() for name in names]
    everything = [rng.split("a").split("b"), rng.split("b").split("a"), Generator(1), Generator(2)]
    rows = first + [g.words(8).tolist() for g in everything]
    assert len({tuple(row) for row in rows}) == len(rows)


@pytest.mark.parametrize("dtype, bits", [(np.float32, 24), (np.float64, 53)])
def test_uniform_values_are_multiples_in_the_half_open_interval(dtype, bits):
    u = Generator(2).uniform((100, 200), dtype)
    assert u.dtype == dtype and u.min() >= 0 and u.max() < 1
    assert (u.astype(np.float64) * 2.0**bits % 1 == 0).all()
    assert abs(u.mean() - 0.5) < 0.01 and abs(u.var() - 1 / 12) < 0.002
    # Kolmogorov's distance, five times what 20,000 fair values show
    steps = np.arange(u.size) / u.size
    assert np.abs(np.sort(u.reshape(-1)) - steps).max() < 5 / np.sqrt(u.size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normal_moments(dtype):
    x = Generator(3).normal(40000, dtype).astype(np.float64)
    assert np.isfinite(x).all() and abs(x.mean()) < 0.02 and abs(x.var() - 1) < 0.03
    assert abs((x**3).mean()) < 0.06 and abs((x**4).mean() - 3) < 0.15
    assert abs((x[::2] * x[1::2]).mean()) < 0.03  # the two of a pair
    assert (Generator(3).normal(39999, dtype) == x[:39999].astype(dtype)).all()


@given(st.integers(-(2**40), 2**40), st.integers(1, 9), st.integers(0, 99))
def test_integers_lie_in_their_range(low, count, seed):
    x = Generator(seed).integers(low, low + count, (3, 50))
    assert x.dtype == np.int64 and x.shape == (3, 50)
    assert x.min() >= low and x.max() < low + count


def test_integers_permutations_and_coins_are_fair():
    rng = Generator(4)
    counts = np.bincount(rng.integers(0, 7, 14000), minlength=7)
    assert ((counts - 2000) ** 2 / 2000).sum() < 30  # chi², 6 degrees of freedom
    firsts = np.bincount([rng.permutation(5)[0] for _ in range(1000)], minlength=5)
    assert ((firsts - 200) ** 2 / 200).sum() < 25
    assert sorted(rng.permutation(31)) == list(range(31))
    assert abs(rng.bernoulli(0.2, 10000).mean() - 0.2) < 0.03
    p = np.array([0.0, 1.0, 0.5])
    coins = rng.bernoulli(p, (2000, 3))
    assert coins[:, 0].sum() == 0 and coins[:, 1].all() and abs(coins[:, 2].mean() - 0.5) < 0.08


@pytest.mark.parametrize("method", ["uniform", "normal"])
def test_shapes(method):
    rng = Generator(5)
    for shape, expected in [((), ()), (3, (3,)), ((2, 3), (2, 3)), ((0, 4), (0, 4))]:
        assert np.shape(getattr(rng, method)(shape)) == expected
    assert rng.integers(0, 2, ()).shape == () and rng.permutation(0).shape == (0,)
    assert rng.bernoulli(0.5).shape == ()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Generator(-1), "seed=-1"),
        (lambda: Generator(0).integers(3, 3), "low < high"),
        (lambda: Generator(0).bernoulli(1.5), "between 0 and 1"),
        (lambda: Generator(0).words(-1), "not negative"),
        (lambda: Generator(0).load_state_dict({"seed": 1}), "seed, stream and counter"),
    ],
)
def test_misuse_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
    with pytest.raises(TypeError, match="float32 or float64"):
        Generator(0).uniform(3, np.int32)


def test_the_switch_reaches_large_draws():
    from minigen_kernels import use

    calls = []

    def own(key, counter, n):
        calls.append(n)
        return philox_words(key, counter, n)

    with use(philox=own):
        Generator(0).words(random.COMPILED_FROM)
        Generator(0).words(random.COMPILED_FROM - 1)
    assert calls == [random.COMPILED_FROM]
    assert backend_of(NOTHING).philox is LADDERS["philox"][-1]


def test_small_draws_do_not_import_numba():
    program = (
        "import sys; from minigen_kernels.random import Generator; g = Generator(0);"
        "g.normal(1000); g.permutation(100); assert 'numba' not in sys.modules"
    )
    path = [p for p in sys.path if p]
    code = f"import sys; sys.path[:0] = {path!r}; {program}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_same_bits_in_another_process():
    same_bits_elsewhere(
        "from minigen_kernels.random import Generator\n"
        "rng = Generator(11)\n"
        "result = (rng.uniform(70001), rng.normal(999), rng.permutation(50))\n"
    )

"""Philox4x32-10: random numbers as a function of a key and a counter; the same bits everywhere.

Block number c under key k is four 32-bit words, ten rounds of multiply, exchange and xor away from
c. Nothing is carried from one block to the next, so any block can be computed anywhere, and a
generator is three whole numbers: (seed, stream, counter).

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import hashlib
import math
import operator
from typing import Any

import numpy as np

from . import backend_of, namespace_of, on_gpu, readable, setting, to_device

__all__ = ["Generator", "philox_words"]

M0, M1 = 0xD2511F53, 0xCD9E8D57  # the multipliers of the two halves
W0, W1 = 0x9E3779B9, 0xBB67AE85  # what the key grows by each round
ROUNDS = 10
MASK32, MASK64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
CHUNK = 1 << 13  # blocks computed at a time: the eight 64-bit temporaries stay in the L2 cache
COMPILED_FROM = 1 << 16  # words; smaller draws stay in NumPy, so that tiny programs compile nothing
NOTHING = np.empty(0)  # asks backend_of for the kernels of NumPy arrays

Shape = int | tuple[int, ...]


def philox_words(key: int, counter: int, n: int, namespace: Any = np) -> Any:
    """The first n words of the blocks counter, counter + 1, ...: word 4i + j is lane j of block i.

    key is a whole number below 2**64, counter below 2**128. Written with whole arrays of any
    namespace (numpy, cupy) and with integer operations only, so the bits agree everywhere.
    """
    blocks = -(-n // 4)
    words = namespace.empty((blocks, 4), np.uint32)
    for start in range(0, blocks, CHUNK):
        stop = min(start + CHUNK, blocks)
        _philox_blocks(key, counter + start, words[start:stop], namespace)
    return words.reshape(-1)[:n]


def _philox_blocks(key: int, counter: int, out: Any, xp: Any) -> None:
    """Fill out (blocks, 4); a lane is kept in 64 bits, so that a product keeps its high half."""
    low32, shift = np.uint64(MASK32), np.uint64(32)
    low, high = counter & MASK64, (counter >> 64) & MASK64
    index = xp.arange(out.shape[0], dtype=np.uint64)
    lower = index + np.uint64(low)
    upper = (index > np.uint64(MASK64 - low)).astype(np.uint64) + np.uint64(high)
    c0, c1, c2, c3 = lower & low32, lower >> shift, upper & low32, upper >> shift
    k0, k1 = key & MASK32, (key >> 32) & MASK32
    for _ in range(ROUNDS):
        p0, p1 = c0 * np.uint64(M0), c2 * np.uint64(M1)
        c0, c1, c2, c3 = (
            (p1 >> shift) ^ c1 ^ np.uint64(k0),
            p1 & low32,
            (p0 >> shift) ^ c3 ^ np.uint64(k1),
            p0 & low32,
        )
        k0, k1 = (k0 + W0) & MASK32, (k1 + W1) & MASK32
    for lane, value in enumerate((c0, c1, c2, c3)):
        out[:, lane] = value


class Generator:
    """A stream of random numbers whose whole state is (seed, stream, counter).

    The seed is Philox's key; the stream is the upper half of its counter, so no two streams of a
    seed ever share a block; the counter is the number of blocks of 4 words drawn so far. Drawing
    w words moves the counter by ceil(w / 4); the words that a method takes per value are in its
    docstring. `state_dict()` is plain whole numbers, and resuming from it is exact.

    >>> rng = Generator(7)
    >>> rng.integers(0, 10, 4).shape, rng.state_dict()
    ((4,), {'seed': 7, 'stream': 0, 'counter': 2})
    """

    def __init__(self, seed: int, stream: int = 0, *, namespace: Any = np) -> None:
        self.namespace = namespace
        self.load_state_dict({"seed": seed, "stream": stream, "counter": 0})

    def __repr__(self) -> str:
        return f"Generator(seed={self.seed}, stream={self.stream}, counter={self.counter})"

    def state_dict(self) -> dict[str, int]:
        """Where the generator stands, as whole numbers that JSON can hold."""
        return {"seed": self.seed, "stream": self.stream, "counter": self.counter}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to where a state_dict() was taken."""
        if set(state) != {"seed", "stream", "counter"}:
            raise ValueError(
                f"the state of a Generator is seed, stream and counter, not {sorted(state)}"
            )
        self.seed = _whole_number("seed", state["seed"])
        self.stream = _whole_number("stream", state["stream"])
        self.counter = _whole_number("counter", state["counter"])

    def split(self, name: str | int) -> Generator:
        """An independent generator for `name`, at counter 0.

        It depends on the seed, the stream and the name only: not on what has been drawn, nor on
        the order of the splits.
        """
        text = f"{self.stream}/{type(name).__name__}:{name}"
        stream = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
        return Generator(self.seed, stream, namespace=self.namespace)

    def to(self, device: str) -> Generator:
        """This generator, drawing on "cpu" or "cuda": the same bits, from where this one stands.

        One of them is to be used from here on: each counts its own draws.
        """
        made = Generator(self.seed, self.stream, namespace=_namespace(device))
        made.counter = self.counter
        return made

    def following(self, array: Any) -> Generator:
        """A view of this generator that draws where `array` is; they share one counter."""
        return _View(self, namespace_of(array))

    def words(self, n: int) -> Any:
        """n random words (uint32)."""
        n = operator.index(n)
        if n < 0:
            raise ValueError(f"words({n}): a number of words is not negative")
        start, moved = self.place(-(-n // 4))
        if self.namespace is not np:
            from .cuda import random

            like = self.namespace.empty(0, np.uint32)
            return random.words(self.seed, start, n, like, moved)
        if n >= COMPILED_FROM:
            return backend_of(NOTHING).philox(self.seed, start, n)
        return philox_words(self.seed, start, n)

    def place(self, blocks: int) -> tuple[int, Any]:
        """Where the next blocks of 4 words begin, for a kernel that draws them; moves the counter.

        The counter of the first block, and None; while a step is captured, instead of None a number
        in device memory which that kernel is to add to it: each replay draws from further on.
        """
        before = self.counter
        self.counter += blocks
        return (self.stream << 64) + before, self._moved(before, blocks)

    def _moved(self, before: int, blocks: int) -> Any:
        """How far a replay is from where the counter stood at the capture: a cell of device memory.

        None where nothing is being captured.
        """
        from . import graph

        recorder = None if self.namespace is np else graph.recorder()
        if recorder is None:
            return None

        def following() -> int:
            """How far the counter is from there; and it moves on."""
            moved = self.counter - before
            self.counter += blocks
            return moved

        def undo() -> None:
            self.counter = before

        return recorder.number(0, following, np.int64, undo)

    def _by_kernel(self, name: str, shape: Shape, dtype: Any) -> Any:
        """The numbers of a kernel that draws 16 bytes of them from a block; None if there is none.

        Kernels of CUDA do so; on the CPU it is done by whole arrays, below.
        """
        dtype, shape = _float_type(dtype), _shape(shape)
        if self.namespace is np and setting().backend == "cpu":  # Numba stays unimported
            return None
        like = self.namespace.empty(0, dtype)
        kernel = getattr(backend_of(like), name, None)
        if kernel is None:
            return None
        n = math.prod(shape)
        start, moved = self.place(-(-n * dtype.itemsize // 16))
        return kernel(self.seed, start, n, dtype, like, moved).reshape(shape)

    def uniform(self, shape: Shape = (), dtype: Any = np.float32) -> Any:
        """Multiples of 2**-24 (float32: one word each) or 2**-53 (float64: two words) in [0, 1)."""
        drawn = self._by_kernel("uniform", shape, dtype)
        if drawn is not None:
            return drawn
        n = math.prod(_shape(shape))
        if _float_type(dtype) == np.float32:
            values = (self.words(n) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
        else:
            values = (self._words64(n) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return values.reshape(_shape(shape))

    def normal(self, shape: Shape = (), dtype: Any = np.float32) -> Any:
        """Standard normal values; pairs r cos a, r sin a with r = sqrt(-2 log u), a = 2 pi v.

        u in (0, 1] and v in [0, 1) are one word each for float32 and two words each for float64
        (an odd number of values still takes whole pairs). Computed in float64, then rounded.
        Source: Box and Muller, "A note on the generation of random normal deviates", 1958.
        """
        drawn = self._by_kernel("normal", shape, dtype)
        if drawn is not None:
            return drawn
        xp, shape = self.namespace, _shape(shape)
        n = math.prod(shape)
        pairs = -(-n // 2)
        if _float_type(dtype) == np.float32:
            bits = self.words(2 * pairs).reshape(pairs, 2).astype(np.float64) * 2.0**-32
        else:
            bits = (self._words64(2 * pairs) >> np.uint64(11)).reshape(pairs, 2) * 2.0**-53
        radius = xp.sqrt(-2.0 * xp.log(1.0 - bits[:, 0]))
        angle = (2.0 * math.pi) * bits[:, 1]
        values = xp.empty((pairs, 2), dtype)
        values[:, 0] = radius * xp.cos(angle)
        values[:, 1] = radius * xp.sin(angle)
        return values.reshape(-1)[:n].reshape(shape)

    def integers(self, low: int, high: int, shape: Shape = ()) -> Any:
        """Whole numbers (int64) with low <= value < high; two words each.

        floor(w (high - low) / 2**64) of a 64-bit word w: no value's probability is off by more
        than 2**-64. At most 2**32 different values.
        """
        low, high = operator.index(low), operator.index(high)
        if not 0 < high - low <= 1 << 32:
            raise ValueError(f"integers({low}, {high}): give low < high, at most 2**32 apart")
        n = math.prod(_shape(shape))
        pairs = self.words(2 * n).astype(np.uint64).reshape(n, 2)
        span, shift = np.uint64(high - low), np.uint64(32)
        value = (pairs[:, 1] * span + (pairs[:, 0] * span >> shift)) >> shift
        return (value.astype(np.int64) + np.int64(low)).reshape(_shape(shape))

    def permutation(self, n: int) -> Any:
        """The numbers 0 ... n-1 (int64) in random order: the ranks of n 64-bit words."""
        return self.namespace.argsort(self._words64(n), kind="stable").astype(np.int64)

    def bernoulli(self, p: Any, shape: Shape = ()) -> Any:
        """True with probability p (a number, or an array that broadcasts to shape); one word each.

        A word is compared with floor(p * 2**32), so p = 0 is never and p = 1 is always.
        """
        xp, shape = self.namespace, _shape(shape)
        p = xp.asarray(p, dtype=np.float64) if xp is np or on_gpu(p) else xp.full((), p)
        if readable(p) and not bool(((p >= 0) & (p <= 1)).all()):
            raise ValueError("bernoulli(p): a probability lies between 0 and 1")
        words = self.words(math.prod(shape)).reshape(shape)
        return xp.asarray(words.astype(np.uint64) < xp.floor(p * 2.0**32).astype(np.uint64))

    def _words64(self, n: int) -> Any:
        """n words of 64 bits: the first of two 32-bit words is the lower half."""
        pairs = self.words(2 * n).reshape(n, 2).astype(np.uint64)
        return pairs[:, 0] | (pairs[:, 1] << np.uint64(32))


class _View(Generator):
    """Another Generator's stream, drawn in another namespace."""

    def __init__(self, owner: Generator, namespace: Any) -> None:
        self.owner, self.namespace = owner, namespace

    seed = property(lambda self: self.owner.seed)
    stream = property(lambda self: self.owner.stream)
    counter = property(
        lambda self: self.owner.counter, lambda self, value: setattr(self.owner, "counter", value)
    )


def _namespace(device: str) -> Any:
    """numpy, or cupy with a GPU that it can use."""
    if device == "cpu":
        return np
    return namespace_of(to_device(np.zeros(1, np.uint32), device))


def is_generator(rng: Any) -> bool:
    """Whether it draws as a Generator does; NumPy's take other arguments by the same names."""
    return hasattr(rng, "uniform") and not type(rng).__module__.startswith("numpy")


def _whole_number(name: str, value: Any) -> int:
    value = operator.index(value)
    if not 0 <= value <= MASK64:
        raise ValueError(f"Generator: {name}={value} must lie in 0 ... 2**64 - 1")
    return value


def _shape(shape: Shape) -> tuple[int, ...]:
    return tuple(shape) if isinstance(shape, (tuple, list)) else (operator.index(shape),)


def _float_type(dtype: Any) -> np.dtype:
    float_type = np.dtype(dtype)
    if float_type not in (np.float32, np.float64):
        raise TypeError(f"a Generator draws float32 or float64, not {float_type}")
    return float_type

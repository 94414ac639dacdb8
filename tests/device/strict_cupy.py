"""A stand-in for CuPy on NumPy's arithmetic, stricter than CuPy: what it accepts, CuPy accepts.

Its arrays are no NumPy arrays, are never converted silently, and meet NumPy arrays nowhere; only
numbers may be mixed with them. While a stream captures, nothing may travel between host and device,
and nothing is computed: what is asked for is noted, and done at every launch of the graph, from and
to the same memory. Until then what it makes is NaN.
RawModule stands for the driver: a "cubin" names a .cu file, or is one, which the emulator runs,
after every argument was laid out in bytes as CuPy does it and held to the kernel's own signature.

    with strict_cupy.installed() as cupy:
        x = cupy.asarray(np.ones(3))
"""

from __future__ import annotations

import contextlib
import ctypes
import operator
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

NUMBERS = (bool, int, float, np.generic)
CONSTANTS = ("float16", "float32", "float64", "int8", "int32", "int64", "uint8", "uint16",
             "uint32", "uint64", "bool_", "dtype", "inf", "nan", "pi", "newaxis")  # fmt: skip
UFUNCS = ("abs", "absolute", "add", "bitwise_and", "bitwise_or", "ceil", "cos", "divide", "equal",
          "exp", "expm1", "floor", "greater", "greater_equal", "invert", "isfinite", "isinf",
          "isnan", "less", "less_equal", "log", "log1p", "logical_and", "logical_not",
          "logical_or", "maximum", "minimum", "multiply", "negative", "not_equal", "power",
          "reciprocal", "rint", "sign", "sin", "sqrt", "square", "subtract", "tanh")  # fmt: skip
# name → the keywords that CuPy's function has too
FUNCTIONS: dict[str, set[str]] = {
    "all": {"axis", "keepdims"}, "any": {"axis", "keepdims"}, "argmax": {"axis"},
    "argmin": {"axis"}, "argsort": {"axis", "kind"}, "ascontiguousarray": {"dtype"},
    "bincount": {"minlength"}, "broadcast_to": set(), "clip": set(),
    "concatenate": {"axis", "out"}, "cumsum": {"axis"}, "empty_like": {"dtype"}, "flip": set(),
    "full_like": {"dtype"}, "matmul": {"out"}, "max": {"axis", "keepdims"},
    "mean": {"axis", "keepdims"}, "min": {"axis", "keepdims"}, "ones_like": {"dtype"},
    "repeat": {"axis"}, "roll": {"axis"}, "stack": {"axis"}, "sum": {"axis", "dtype", "keepdims"},
    "take": {"axis"}, "unique": set(), "where": set(), "zeros_like": {"dtype"},
}  # fmt: skip
CREATION = ("arange", "empty", "eye", "full", "ones", "tri", "zeros")
METHODS: dict[str, set[str]] = {
    "all": {"axis", "keepdims"}, "any": {"axis", "keepdims"}, "argmax": {"axis"},
    "argmin": {"axis"}, "argsort": {"axis", "kind"}, "astype": {"copy"}, "clip": set(),
    "copy": set(), "cumsum": {"axis"}, "max": {"axis", "keepdims"}, "mean": {"axis", "keepdims"},
    "min": {"axis", "keepdims"}, "prod": {"axis", "keepdims"}, "ravel": set(),
    "repeat": {"axis"}, "reshape": set(), "squeeze": {"axis"}, "sum": {"axis", "dtype",
    "keepdims"}, "swapaxes": set(), "take": {"axis"}, "transpose": set(), "view": set(),
}  # fmt: skip
OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor",
             "lshift", "rshift", "matmul")  # fmt: skip
ADDED_AT = "float16 float32 float64 int32 uint32 uint64".split()  # dtypes of CuPy's add.at


PROPERTIES = {"name": b"the emulator", "multiProcessorCount": 1, "l2CacheSize": 0}


class CaptureError(RuntimeError):
    """cudaErrorStreamCaptureUnsupported."""


class State:
    """What the machine is doing: the stream that captures, and every launch so far."""

    capturing: Stream | None = None
    launches: list[tuple[str, tuple, tuple]] = []
    addresses: dict[int, np.ndarray] = {}
    transfers = 0


def _travel(what: str) -> None:
    """Note a transfer between host and device."""
    if State.capturing is not None:
        raise CaptureError(f"{what}: operation not permitted when stream is capturing")
    State.transfers += 1


def _inner(value: Any) -> Any:
    """What an argument is to NumPy; TypeError for what CuPy does not take."""
    if isinstance(value, ndarray):
        return value._array
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, (tuple, list)):
        return type(value)(_inner(v) for v in value)
    return value


def _outer(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_outer(v) for v in value)
    return ndarray(np.asarray(value)) if isinstance(value, (np.ndarray, np.generic)) else value


def made(compute: Any, fresh: bool = True) -> Any:
    """What compute() gives, as arrays of the device; a graph computes it anew into the same.

    fresh  its memory is new (or a view), never an argument's own array.
    """
    with np.errstate(all="ignore"):
        found = _outer(compute())
    if State.capturing is not None:
        arrays = [a._array for a in (found if isinstance(found, tuple) else (found,))
                  if isinstance(a, ndarray)]  # fmt: skip
        for a in arrays:
            if fresh and a.base is None and a.dtype.kind == "f":
                a.fill(np.nan)

        def again() -> None:
            new = compute()
            for old, value in zip(arrays, new if isinstance(new, tuple) else (new,), strict=True):
                if np.asarray(value).ctypes.data != old.ctypes.data:  # else a view, kept up to date
                    old[...] = value

        State.capturing.work.append(again)
    return found


def done(change: Any) -> None:
    """A change in place: now, or at every launch of the graph."""
    if State.capturing is not None:
        State.capturing.work.append(change)
        return
    with np.errstate(all="ignore"):
        change()


def _called(f: Any, keywords: set[str], name: str) -> Any:
    def call(*args: Any, **named: Any) -> Any:
        unknown = set(named) - keywords
        if unknown:
            raise TypeError(f"{name}() got an unexpected keyword argument {sorted(unknown)[0]!r}")
        out = named.get("out")
        inner, keys = _inner(args), {k: _inner(v) for k, v in named.items()}
        if out is None:
            return made(lambda: f(*inner, **keys), name not in ("ascontiguousarray", "astype"))
        done(lambda: f(*inner, **keys))
        return out

    call.__name__ = name
    return call


def _index(part: Any) -> Any:
    if isinstance(part, tuple):
        return tuple(_index(p) for p in part)
    if isinstance(part, (np.ndarray, list)):
        raise IndexError(f"Unsupported type {type(part)}")
    return part._array if isinstance(part, ndarray) else part


class ndarray:
    """An array that lies on the "device"."""

    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, array: np.ndarray):
        self._array = array

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} was called with an array of the device")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **named: Any) -> Any:
        # A NumPy number on the left of an operator comes here, and is welcome.
        if method != "__call__" or not isinstance(inputs[0], np.generic):
            raise TypeError(f"numpy.{ufunc.__name__} was called with an array of the device")
        return _called(ufunc, {"out"}, ufunc.__name__)(*inputs, **named)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.dtype.str, "version": 3,
                "data": (self._array.ctypes.data, False), "strides": None}  # fmt: skip

    shape = property(lambda self: self._array.shape)
    strides = property(lambda self: self._array.strides)
    ndim = property(lambda self: self._array.ndim)
    size = property(lambda self: self._array.size)
    itemsize = property(lambda self: self._array.itemsize)
    nbytes = property(lambda self: self._array.nbytes)
    dtype = property(lambda self: self._array.dtype)
    flags = property(lambda self: self._array.flags)
    T = property(lambda self: ndarray(self._array.T))
    device = property(lambda self: Device(0))

    @property
    def data(self) -> Any:
        """The address, by which the stand-in's driver finds the array again."""
        address = self._array.ctypes.data
        State.addresses[address] = self._array
        return types.SimpleNamespace(ptr=address)

    def __repr__(self) -> str:
        return f"device({self._array!r})"

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[ndarray]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> ndarray:
        where = _index(index)
        return made(lambda: self._array[where])

    def __setitem__(self, index: Any, value: Any) -> None:
        where, inner = _index(index), _inner(value)
        done(lambda: self._array.__setitem__(where, inner))

    def get(self) -> np.ndarray:
        _travel("get")
        return self._array.copy()

    def set(self, array: np.ndarray) -> None:
        _travel("set")
        if not isinstance(array, np.ndarray) or array.shape != self.shape:
            raise ValueError(f"Shape mismatch: {np.shape(array)} and {self.shape}")
        if array.dtype != self.dtype:
            raise TypeError(f"{array.dtype} array cannot be set to {self.dtype} array")
        self._array[...] = array

    def item(self) -> Any:
        _travel("item")
        return self._array.item()

    def tolist(self) -> Any:
        _travel("tolist")
        return self._array.tolist()

    def fill(self, value: Any) -> None:
        done(lambda: self._array.fill(value))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return operator.index(self.item())


def _give_methods() -> None:
    for name, keywords in METHODS.items():
        setattr(ndarray, name, _called(getattr(np.ndarray, name), keywords, name))
    for name in OPERATORS:
        for kind in ("", "r", "i"):
            full = f"__{kind}{name}__"
            setattr(ndarray, full, _operator(full, in_place=kind == "i"))
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        setattr(ndarray, f"__{name}__", _operator(f"__{name}__", False))
    for name in ("neg", "pos", "abs", "invert"):
        full = f"__{name}__"
        setattr(ndarray, full, _called(getattr(np.ndarray, full), set(), full))


def _operator(full: str, in_place: bool) -> Any:
    def call(self: ndarray, other: Any) -> Any:
        if not isinstance(other, (ndarray, *NUMBERS)):
            if isinstance(other, np.ndarray):
                raise TypeError("Unsupported type <class 'numpy.ndarray'>")
            return NotImplemented
        inner, operate = _inner(other), getattr(np.ndarray, full)
        if not in_place:
            return made(lambda: operate(self._array, inner))
        done(lambda: operate(self._array, inner))
        return self

    return call


_give_methods()


class Ufunc:
    """cupy.add and its like."""

    def __init__(self, name: str):
        self.name, self._call = name, _called(getattr(np, name), {"out", "dtype"}, name)

    def __call__(self, *args: Any, **named: Any) -> Any:
        if not any(isinstance(a, ndarray) for a in args):
            raise TypeError(f"cupy.{self.name} of {[type(a) for a in args]}")
        return self._call(*args, **named)

    def at(self, array: ndarray, index: Any, value: Any) -> None:
        if self.name != "add" or array.dtype.name not in ADDED_AT:
            raise TypeError(f"{self.name}.at does not take {array.dtype}")
        where, inner = _index(index), _inner(value)
        done(lambda: np.add.at(array._array, where, inner))


def asarray(value: Any, dtype: Any = None) -> ndarray:
    if isinstance(value, ndarray):
        return value if dtype in (None, value.dtype) else value.astype(dtype)
    _travel("asarray")  # also of a number
    return ndarray(np.array(value, dtype))


def array(value: Any, dtype: Any = None) -> ndarray:
    if isinstance(value, ndarray):
        return value.astype(dtype or value.dtype)
    return asarray(value, dtype)


# ---- cupy.cuda


class Device:
    """The one GPU there is."""

    compute_capability = "90"

    def __init__(self, number: int = 0):
        if number:
            raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self.id = number

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def synchronize(self) -> None:
        _travel("synchronize")


class Stream:
    """A stream; while it captures it notes the work."""

    def __init__(self, non_blocking: bool = False):
        self.non_blocking, self.ptr = non_blocking, id(self)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def begin_capture(self) -> None:
        if not self.non_blocking:
            raise CaptureError("the legacy default stream cannot capture")
        self.work: list[Any] = []
        State.capturing = self

    def end_capture(self) -> Graph:
        State.capturing = None
        return Graph(self.work)

    def synchronize(self) -> None:
        _travel("synchronize")

    def wait_event(self, event: Any) -> None:
        pass

    def record(self) -> Any:
        return None


class Graph:
    """What was asked for during a capture, to be done at every launch."""

    def __init__(self, work: list[Any]):
        self.work, self.launches = work, 0

    def launch(self, stream: Any = None) -> None:
        self.launches += 1
        with np.errstate(all="ignore"):
            for work in self.work:
                work()


class Event:
    """A point in the stream's work, which the stand-in does as soon as it is asked to."""

    def record(self, stream: Any = None) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        _travel("synchronize")


def get_elapsed_time(start: Event, stop: Event) -> float:
    """Milliseconds, of the emulator: they say nothing about a GPU."""
    return 1e3 * (stop.time - start.time)


class MemoryPool:
    """A pool; memory is NumPy's."""

    def malloc(self, size: int) -> Any:
        raise AssertionError("the stand-in takes its memory from NumPy")


@contextlib.contextmanager
def using_allocator(allocator: Any) -> Iterator[None]:
    yield


# ---- RawModule: the emulator in the driver's place


class RawModule:
    """A "cubin" whose bytes are the path of the .cu file; or the .cu file itself."""

    def __init__(self, *, path: str):
        of_source = path.endswith(".cu")
        self.source = path if of_source else Path(path).read_text(encoding="utf-8")

    def get_function(self, name: str) -> RawKernel:
        return RawKernel(self.source, name)


class RawKernel:
    """A kernel whose arguments are checked byte by byte, then given to the emulator."""

    def __init__(self, source: str, name: str):
        from minigen_kernels import emulator

        self.kernel = getattr(emulator.load(source, check=True), name)
        self.max_dynamic_shared_size_bytes = 48 * 1024

    def __call__(self, grid: tuple, block: tuple, args: tuple, *, shared_mem: int = 0) -> None:
        for size in (grid, block):
            assert isinstance(size, tuple) and all(type(n) is int for n in size), size
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        parameters = self.kernel.parameters
        assert len(args) == len(parameters), (self.kernel, len(args))
        given = [_given(*pair) for pair in zip(parameters, args, strict=True)]
        State.launches.append((self.kernel.name, grid, block))
        done(lambda: self.kernel[grid, block, shared_mem](*given))


def _given(parameter: Any, value: Any) -> Any:
    """The argument as the emulator takes it, if CuPy makes of it what the parameter is."""
    if parameter.pointer:
        if isinstance(value, ndarray):
            return value._array
        assert type(value) is np.uintp and value == 0, f"{value!r} for {parameter.name}"
        return None
    if isinstance(value, np.ndarray) and value.dtype == np.uint64:  # a struct of pointers
        assert value.nbytes == parameter.size
        return tuple(State.addresses[int(a)] if a else None for a in value)
    if isinstance(value, np.ndarray):  # CuPy hands its data over
        raw = value.tobytes()
    else:
        assert isinstance(value, np.generic) and value.dtype.kind in "biuf", repr(value)
        raw = value.tobytes()
    if parameter.kind == "b":
        raw = raw[:1]
    assert len(raw) == parameter.size, f"{value!r} for {parameter.name}"
    if parameter.kind == "s" and len(raw) == 128:
        return TensorMaps.map_of(raw)
    if parameter.kind == "s":
        return np.frombuffer(raw, np.uint8)
    return np.frombuffer(raw, "?" if parameter.kind == "b" else f"{parameter.kind}{len(raw)}")[0]


class TensorMaps:
    """cuda.bindings.driver, as far as tensor_map.py needs it; strict as the driver is.

    A CUtensorMap of its own: the numbers that it was made of.
    """

    cuuint64_t, cuuint32_t = np.uint64, np.uint32
    CUtensorMapDataType = types.SimpleNamespace(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16=9)
    CUtensorMapInterleave = types.SimpleNamespace(CU_TENSOR_MAP_INTERLEAVE_NONE=0)
    CUtensorMapL2promotion = types.SimpleNamespace(CU_TENSOR_MAP_L2_PROMOTION_L2_256B=3)
    CUtensorMapFloatOOBfill = types.SimpleNamespace(CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE=0)
    CUtensorMapSwizzle = int

    @staticmethod
    def cuTensorMapEncodeTiled(
        kind: int, rank: int, address: int, sizes: list, strides: list, box: list, steps: list,
        interleave: int, swizzle: int, promotion: int, fill: int,
    ) -> tuple[int, Any]:  # fmt: skip
        span = (0, 32, 64, 128)[swizzle]
        fits = (
            (kind, rank, interleave, promotion, fill) == (9, 3, 0, 3, 0)
            and [type(n) for n in (*sizes, *strides)] == [np.uint64] * 5
            and [type(n) for n in (*box, *steps)] == [np.uint32] * 6
            and all(0 < n <= 2**32 for n in sizes) and all(0 < n <= 256 for n in box)
            and address % 16 == 0 and all(n % 16 == 0 and n < 2**40 for n in strides)
            and strides[0] >= 2 * sizes[0] and strides[1] >= strides[0] * sizes[1]
            and box[0] * 2 % 16 == 0 and (not span or box[0] * 2 <= span) and steps == [1, 1, 1]
        )  # fmt: skip
        words = (ctypes.c_uint64 * 16)(address, *map(int, (*sizes, *box)), span)
        made = types.SimpleNamespace(getPtr=lambda: ctypes.addressof(words))
        return (0 if fits else 1), made

    @staticmethod
    def map_of(raw: bytes) -> Any:
        from minigen_kernels.emulator import TensorMap

        address, *sizes, wide, high, one, swizzle = np.frombuffer(raw, np.uint64)[:8].tolist()
        array = State.addresses[address]
        assert array.shape == tuple(sizes[::-1]) and array.dtype.itemsize == 2 and one == 1
        return TensorMap(array, (high, wide), swizzle)


# ---- the module


def module() -> types.ModuleType:
    """A module that looks like cupy."""
    built: Any = types.ModuleType("cupy")
    for name in CONSTANTS:
        setattr(built, name, getattr(np, name))
    for name in UFUNCS:
        setattr(built, name, Ufunc(name))
    for name, keywords in FUNCTIONS.items():
        setattr(built, name, _called(getattr(np, name), keywords, name))
    for name in CREATION:
        create = _called(getattr(np, name), {"dtype"}, name)
        setattr(built, name, create)
    built.ndarray, built.asarray, built.array = ndarray, asarray, array
    built.asnumpy = lambda x: x.get()
    built.RawModule = RawModule
    built.cuda = types.SimpleNamespace(
        Device=Device, Stream=Stream, MemoryPool=MemoryPool, using_allocator=using_allocator,
        get_current_stream=lambda: Stream(), is_available=lambda: True, Event=Event,
        get_elapsed_time=get_elapsed_time, runtime=types.SimpleNamespace(
            getDeviceCount=lambda: 1, getDevice=lambda: 0, runtimeGetVersion=lambda: 0,
            getDeviceProperties=lambda number: dict(PROPERTIES), CUDARuntimeError=RuntimeError),
    )  # fmt: skip
    built.__version__ = "stand-in"
    return built


@contextlib.contextmanager
def installed() -> Iterator[Any]:
    """`import cupy` gives the stand-in, for a block."""
    import minigen_kernels
    from minigen_kernels.cuda import device, tensor_map

    def forget() -> None:
        minigen_kernels._cupy_backend.cache_clear()
        for cached in (device.architecture, device.loaded, device._module, tensor_map._encoded):
            cached.cache_clear()

    before, made, driver = sys.modules.get("cupy"), module(), tensor_map._driver
    sys.modules["cupy"], tensor_map._driver = made, lambda: TensorMaps
    forget()
    State.launches, State.transfers, State.capturing = [], 0, None
    try:
        yield made
    finally:
        del sys.modules["cupy"]
        tensor_map._driver = driver
        if before is not None:
            sys.modules["cupy"] = before
        forget()


@contextlib.contextmanager
def driven_by_the_emulator() -> Iterator[None]:
    """For a block, sources go to the stand-in's RawModule as they are: nothing is compiled."""
    from minigen_kernels.cuda import compile as nvrtc

    before = nvrtc.cubin_file
    nvrtc.cubin_file = lambda source, architecture: source
    try:
        yield
    finally:
        nvrtc.cubin_file = before


def with_cpu_kernels(monkeypatch: Any) -> None:
    """Let the device's kernels be those of the CPU: every kernel there is, and quickly."""
    import minigen_kernels
    from minigen_kernels.cpu import LADDERS
    from minigen_kernels.cuda import optimizer, random, step

    kernels = types.SimpleNamespace(
        **{name: _on_cpu(ladder[-1]) for name, ladder in LADDERS.items()}
    )
    chosen = lambda rung, precision: kernels  # noqa: E731
    chosen.cache_clear = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setattr(minigen_kernels, "_cupy_backend", chosen)
    monkeypatch.setattr(step, "store", _store)
    monkeypatch.setattr(optimizer, "adam_recorded", _adam)
    monkeypatch.setattr(random, "words", _words)


def _on_cpu(kernel: Any) -> Any:
    def call(*args: Any, **named: Any) -> Any:
        inner, keys = _inner(args), {k: _inner(v) for k, v in named.items()}
        return made(lambda: kernel(*inner, **keys))

    return call


# ---- without a compiler, in NumPy: cuda/step.py, a captured Adam and the words of cuda/random.py


def _store(to: ndarray, values: Any) -> None:
    for i, value in enumerate(values):
        bits = np.float64(value).view(np.int64) if isinstance(value, float) else value
        to._array[i] = bits


def _adam(*lists: Any, **rule: Any) -> None:
    *inner, changing = _inner(lists)

    def change() -> None:
        keep, rate, root = changing.tolist()
        for p, g, m, v in zip(*inner, strict=True):
            w = p * p.dtype.type(keep)
            slope = g if rule["decoupled"] else g + rule["weight_decay"] * w
            m[...] = rule["beta1"] * m + (1 - rule["beta1"]) * slope
            v[...] = rule["beta2"] * v + (1 - rule["beta2"]) * slope * slope
            p[...] = w - rate * m / (np.sqrt(v) * root + rule["eps"])

    done(change)


def _words(key: int, counter: int, n: int, like: Any = None, moved: Any = None) -> ndarray:
    from minigen_kernels.random import philox_words

    return made(lambda: philox_words(key, counter + (0 if moved is None else int(moved._array)), n))

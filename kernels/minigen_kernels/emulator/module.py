"""A loaded source: module.kernel[grid, block](*arguments) runs a kernel on NumPy arrays."""

from __future__ import annotations

import ctypes
import functools
import math
import operator
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .arguments import Bound, parameters
from .build import RUNTIME, library
from .errors import KernelError
from .symbols import source_line, variables

MAX_THREADS = 1024
MAX_BLOCKS = 2**28  # they run one after another, in an order that is drawn beforehand


class _Launch(ctypes.Structure):
    """emulator::Launch."""

    _fields_ = [
        ("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared", ctypes.c_uint),
        ("check", ctypes.c_uint), ("count", ctypes.c_uint), ("seed", ctypes.c_uint64),
        ("arguments", ctypes.c_void_p),
    ]


class _Fault(ctypes.Structure):
    """emulator::Fault."""

    _fields_ = [
        ("kind", ctypes.c_char * 24), ("message", ctypes.c_char * 512),
        ("file", ctypes.c_char * 512), ("line", ctypes.c_int), ("pc", ctypes.c_uint64),
        ("other_pc", ctypes.c_uint64), ("block", ctypes.c_uint * 3),
        ("thread", ctypes.c_uint * 3), ("has_thread", ctypes.c_int),
    ]


class _Count(ctypes.Structure):
    """emulator::Count."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in ("site", "shared", "write", "requests", "transactions", "ideal")
    ]


class Site(NamedTuple):
    """What one place in the source has asked of memory.

    space, operation  "shared" or "global"; "read" or "write" (atomics are writes).
    requests          of whole warps.
    transactions      turns of the banks (shared), or 32-byte sectors (global).
    ideal             what the same bytes would take without conflicts, or lying side by side.
    """

    file: str
    line: int
    space: str
    operation: str
    requests: int
    transactions: int
    ideal: int

    @property
    def extra(self) -> int:
        """Transactions beyond the ideal: for shared memory, the bank conflicts."""
        return self.transactions - self.ideal


def load(path: str | Path, check: bool = False, seed: int = 0, count: bool = False) -> Module:
    """The kernels of a .cu file, for the CPU.

    check  look at every access to memory, and raise KernelError at the first that breaks a rule.
           Several times slower. Without it an access out of bounds may go unnoticed.
    seed   chooses the order of blocks, warps and threads; the same seed, the same order.
    count  also count bank conflicts and transactions, for counts(); implies check.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"no CUDA source {path}")
    return Module(path, check or count, seed, count)


class Module:
    """A CUDA source, built and loaded: its extern "C" kernels are its attributes."""

    def __init__(self, path: Path, check: bool, seed: int, count: bool):
        self.path, self.check, self.seed, self.count = path, check, operator.index(seed), count
        built, self.kernel_names = library(path, check)
        self._library = _Library.of(built)

    def __getattr__(self, name: str) -> Kernel:
        if name.startswith("_") or name not in self.kernel_names:
            there = ", ".join(self.kernel_names) or "none"
            raise AttributeError(
                f'{self.path.name} has no extern "C" kernel {name!r}; its kernels: {there}'
            )
        return Kernel(self, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.kernel_names]

    def variable(self, name: str, shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
        """A view of the __constant__ or __device__ array of this name, to read or to fill."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        bytes_needed = int(np.prod(shape)) * np.dtype(dtype).itemsize
        found = next((s for s in self._library.symbols if s.name == name and not s.shared), None)
        if found is None or found.size != bytes_needed:
            there = {s.name: s.size for s in self._library.symbols if not s.shared}
            raise ValueError(
                f"{self.path.name} has no variable {name!r} of {bytes_needed} bytes; its "
                f"variables and their bytes: {there}"
            )
        data = (ctypes.c_char * found.size).in_dll(self._library.handle, name)
        return np.frombuffer(memoryview(data), dtype).reshape(shape)

    def counts(self) -> list[Site]:
        """What the launches since reset_counts() asked of memory, place by place (count=True)."""
        if not self.count:
            raise ValueError("load(..., count=True) counts; this module was loaded without")
        merged: dict[tuple, list[int]] = {}
        for c in self._library.counts():
            file, line = self._library.line(c.site) or ("", 0)
            space = "shared" if c.shared else "global"
            key = (file, line, space, "write" if c.write else "read")
            sums = merged.setdefault(key, [0, 0, 0])
            for i, n in enumerate((c.requests, c.transactions, c.ideal)):
                sums[i] += n
        return [Site(*key, *sums) for key, sums in sorted(merged.items())]

    def reset_counts(self) -> None:
        """Begin to count anew."""
        self._library.handle.emulator_reset_counts()


class Kernel:
    """One kernel: kernel[grid, block](...), or kernel[grid, block, dynamic shared bytes](...)."""

    def __init__(self, module: Module, name: str):
        self._module, self.name = module, name
        self.parameters = module._library.parameters(name)

    def __repr__(self) -> str:
        return f"<{self.name}({', '.join(p.name for p in self.parameters)})>"

    def __getitem__(self, configuration: Any) -> Any:
        if not isinstance(configuration, tuple) or len(configuration) not in (2, 3):
            raise TypeError(f"{self.name}[grid, block] or {self.name}[grid, block, shared bytes]")
        grid, block = (dimensions(d, self.name) for d in configuration[:2])
        shared = configuration[2] if len(configuration) == 3 else 0
        limits = zip((*grid, *block), (2**31 - 1, 65535, 65535, 1024, 1024, 64), strict=True)
        if any(not 1 <= n <= most for n, most in limits) or np.prod(block) > MAX_THREADS:
            raise ValueError(
                f"{self.name}[{grid}, {block}]: a block has 1 to {MAX_THREADS} threads, at most 64 "
                "of them in z; a grid 1 to 2³¹-1 blocks in x, to 65535 in y and z"
            )
        if math.prod(grid) > MAX_BLOCKS:
            raise ValueError(
                f"{self.name}[{grid}, {block}]: the emulator runs at most 2²⁸ blocks, one by one"
            )
        if not isinstance(shared, (int, np.integer)):
            raise TypeError(
                f"{self.name}: the bytes of dynamic shared memory are an int, not {shared!r}"
            )
        if not 0 <= shared < 2**32:  # how much of it a block can have, the launch knows
            raise ValueError(f"{self.name}: {shared} bytes of dynamic shared memory")
        return functools.partial(self._run, grid, block, int(shared))

    def _run(self, grid: tuple, block: tuple, shared: int, *arguments: Any) -> None:
        module = self._module
        bound = Bound(self.name, self.parameters, arguments)
        launch = _Launch(
            grid, block, shared, module.check, module.count, module.seed % 2**64,
            ctypes.addressof(bound.pointers),
        )
        module._library.launch(self.name, launch, bound)
        bound.copy_out()


class _Library:
    """A shared library in this process; its runtime has one state, so one launch at a time."""

    _loaded: dict[Path, _Library] = {}
    _loading = threading.Lock()

    @classmethod
    def of(cls, path: Path) -> _Library:
        with cls._loading:
            if path not in cls._loaded:
                cls._loaded[path] = cls(path)
            return cls._loaded[path]

    def __init__(self, path: Path):
        self.path, self.handle, self.lock = path, ctypes.CDLL(str(path)), threading.Lock()
        self.handle.emulator_fault.restype = ctypes.POINTER(_Fault)
        self.handle.emulator_add_array.argtypes = [
            ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        ]
        self.handle.emulator_add_symbol.argtypes = [
            ctypes.c_char_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int
        ]
        self.handle.emulator_counts.restype = ctypes.c_size_t
        self.symbols = variables(path)
        for s in self.symbols:
            self.handle.emulator_add_symbol(s.name.encode(), s.offset, s.size, s.shared)

    @functools.cache  # noqa: B019 (libraries live as long as the process)
    def line(self, offset: int) -> tuple[str, int] | None:
        """(file, line) of code, outside the emulator's own."""
        return source_line(self.path, offset, RUNTIME)

    def parameters(self, kernel: str) -> list:
        signature = getattr(self.handle, f"emulator_signature_{kernel}")
        signature.restype = ctypes.c_char_p
        return parameters(signature().decode())

    def counts(self) -> list[_Count]:
        room = self.handle.emulator_counts(None, 0)
        found = (_Count * room)()
        self.handle.emulator_counts(found, room)
        return list(found)

    def launch(self, kernel: str, launch: _Launch, bound: Bound) -> None:
        with self.lock:
            for block in bound.blocks:
                self.handle.emulator_add_array(
                    bound.names_of(block).encode(), block.address, block.bytes, block.written
                )
            if getattr(self.handle, f"emulator_launch_{kernel}")(ctypes.byref(launch)):
                raise self._error(self.handle.emulator_fault().contents)
        for block in bound.blocks:
            if not block.is_whole():
                raise KernelError(
                    "out-of-bounds",
                    f"write outside {bound.names_of(block)}; load(..., check=True) finds the line",
                    None, None, None, None,
                )

    def _error(self, fault: _Fault) -> BaseException:
        kind = fault.kind.decode()
        if kind == "interrupted":
            return KeyboardInterrupt()
        place = (fault.file.decode(), fault.line) if fault.line else self.line(fault.pc)
        other = self.line(fault.other_pc)
        file, line = place or (None, None)
        thread, block = (
            tuple(index) if fault.has_thread else None for index in (fault.thread, fault.block)
        )
        earlier = f"{Path(other[0]).name}:{other[1]}" if other else None
        message = fault.message.decode(errors="replace")
        return KernelError(kind, message, file, line, thread, block, earlier)


def dimensions(value: Any, kernel: str) -> tuple[int, int, int]:
    """(x, y, z) of an int or of a tuple of up to three."""
    parts = value if isinstance(value, tuple) else (value,)
    if not 1 <= len(parts) <= 3 or not all(isinstance(p, (int, np.integer)) for p in parts):
        raise TypeError(f"{kernel}: a grid or block is an int or a tuple of up to 3, not {value!r}")
    x, y, z = (*(int(p) for p in parts), 1, 1)[:3]
    return x, y, z

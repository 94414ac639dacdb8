"""jit: numba.njit with a cache on disk that is never stale and that processes can share.

Numba's own cache forgets to look at functions inlined from other files, and numbers its data files
by an index that two processes may both extend, so that one can be given the other's code. Here a
data file's name is a hash of everything that the machine code depends on, among it the sources that
the function's module imports, directly or not: there is no index, equal names mean equal contents,
and who changes one kernel compiles that kernel and those that are made of it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import pickle
import shutil
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from llvmlite import binding
from numba import extending
from numba.core import caching
from numba.core.serialize import dumps

from ..cache import base_folder

CompileHook = Callable[[str], None]
KERNELS = Path(__file__).resolve().parents[1]
_hook: list[CompileHook] = []
_said: list[str] = []


def jit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """numba.njit, cached in cache_folder(): @jit or @jit(nogil=True).

    Dividing by 0 gives NaN or nonsense, as in NumPy and C, instead of an exception to check for.
    Arrays are borrowed: counting references is an atomic addition for each array in each call of
    one compiled function by another. Who makes an array inside says @jit(allocates=True).
    """
    options.setdefault("error_model", "numpy")
    if function is None:
        return functools.partial(jit, **options)
    options["_nrt"] = options.pop("allocates", False)
    dispatcher: Any = numba.njit(**options)(function)
    try:
        dispatcher._cache = _Cache(function, options)
    except (OSError, SyntaxError):
        # No folder that we may write to, or a source that is no file (or not all Python, as a cell
        # of a notebook): every process compiles for itself.
        pass
    return dispatcher


def intrinsic(build: Callable[..., Any]) -> Any:
    """numba.extending.intrinsic, whose callers leave out build's first argument."""
    return extending.intrinsic(build)


def on_compile(hook: CompileHook | None) -> None:
    """Call hook(name of the function) before each compilation; None: say so once on a terminal."""
    _hook[:] = [] if hook is None else [hook]


def sources_of(path: Path) -> dict[Path, bytes]:
    """The file, and all of its own package and of minigen_kernels that it imports, however far.

    Imports inside functions are not followed: compiled code sees a module's own names only.
    """
    found: dict[Path, bytes] = {}
    waiting = [path.resolve()]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found[file] = file.read_bytes()
            waiting += _imports(file, found[file])
    return found


@functools.cache
def _imports(path: Path, source: bytes) -> list[Path]:
    """The files that a file's import statements name, as far as sources_of follows them."""
    files = []
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.ImportFrom):
            parts = statement.module.split(".") if statement.module else []
            if statement.level:
                place = path.parents[statement.level - 1].joinpath(*parts)
            elif parts[0] == KERNELS.name:
                place = KERNELS.joinpath(*parts[1:])
            else:
                continue
            files += _named(place, [alias.name for alias in statement.names])
        elif isinstance(statement, ast.Import):
            for parts in (alias.name.split(".") for alias in statement.names):
                if parts[0] == KERNELS.name:
                    files += _named(KERNELS.joinpath(*parts[1:]), [""])
    return files


def _named(place: Path, names: list[str]) -> list[Path]:
    """Where `from place import names` finds them: in a module, or in a package or its modules."""
    module = place.with_suffix(".py")
    if module.is_file():
        return [module]
    modules = [place / f"{name}.py" for name in names]
    there = [file for file in modules if file.is_file()]
    package = place / "__init__.py"
    return there + ([package] if len(there) < len(modules) and package.is_file() else [])


def sources_hash(path: Path) -> str:
    """Hash of the names and contents of sources_of(path)."""
    digest = hashlib.sha256()
    for file, source in sorted(sources_of(path).items(), key=lambda item: item[0].parts[-2:]):
        digest.update(f"{file.parent.name}/{file.name} {len(source)}\n".encode())
        digest.update(source)
    return digest.hexdigest()


@functools.cache
def _folder_name() -> str:
    parts = (
        numba.__version__,
        sys.implementation.cache_tag,
        binding.get_host_cpu_name(),
        binding.get_host_cpu_features().flatten(),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]


def cache_folder() -> Path:
    """The folder of the kernels compiled by this Numba, for this CPU."""
    return base_folder() / _folder_name()


def cached_files() -> list[Path]:
    """The compiled kernels on disk, of all sources, versions of Numba and CPUs."""
    return sorted(base_folder().glob("*/*.nbc"))


def clear_cache() -> int:
    """Delete all compiled kernels, whatever they were compiled from; how many there were."""
    count = len(cached_files())
    shutil.rmtree(base_folder(), ignore_errors=True)
    return count


class _Cache(caching.FunctionCache):
    """Numba's per-function cache, with one file per (function, signature, CPU) and no index."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self._name = repr(function)
        self._py_func = function
        self._impl = _Impl(function)
        self._cache_path = str(cache_folder())
        self._cache_file = _KeyedFiles(cache_folder(), function, options)
        self.enable()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        found = super().load_overload(sig, target_context)
        if found is None:
            _announce(self._py_func.__name__)
        return found


class _Impl(caching.CompileResultCacheImpl):
    """How a compiled function is turned into data; where it lies is _KeyedFiles' business."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._lineno = function.__code__.co_firstlineno
        self._locator: Any = self
        self._py_file = function.__code__.co_filename

    def ensure_cache_path(self) -> None:
        """_KeyedFiles has made the folder already."""


class _KeyedFiles:
    """Files named after a hash of their key. Nothing is ever looked up by number or by time."""

    def __init__(self, folder: Path, function: Callable[..., Any], options: dict[str, Any]) -> None:
        source = Path(function.__code__.co_filename)
        self._folder = folder
        # The module too: what is saved names it, and one file can be a module of two packages.
        self._stamp = (function.__module__, sources_hash(source), sorted(options.items()))
        self._name = f"{source.stem}.{function.__qualname__}".replace("<", "").replace(">", "")
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} cannot be written to")

    def _path(self, key: Any) -> tuple[Path, str]:
        full = repr((self._stamp, self._name, key))
        digest = hashlib.sha256(full.encode()).hexdigest()[:24]
        return self._folder / f"{self._name}-{digest}.nbc", full

    def save(self, key: Any, data: Any) -> None:
        path, full = self._path(key)
        partial = path.with_suffix(f".{uuid.uuid4().hex[:12]}.tmp")
        try:
            partial.write_bytes(pickle.dumps((full, dumps(data)), protocol=-1))
            os.replace(partial, path)
        except OSError:  # a full disk, a folder taken away: the code runs all the same
            partial.unlink(missing_ok=True)

    def load(self, key: Any) -> Any:
        path, full = self._path(key)
        try:
            stored, data = pickle.loads(path.read_bytes())
        except (OSError, EOFError, pickle.UnpicklingError, ValueError):
            return None  # absent or cut short: compile again
        return pickle.loads(data) if stored == full else None

    def flush(self) -> None:
        for path in self._folder.glob(f"{self._name}-*.nbc"):
            path.unlink(missing_ok=True)


def _announce(name: str) -> None:
    if _hook:
        _hook[0](name)
    elif not _said and sys.stderr.isatty():
        _said.append(name)
        print("compiling CPU kernels (first run only) ...", file=sys.stderr)

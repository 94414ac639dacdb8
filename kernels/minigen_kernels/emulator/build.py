"""From a .cu file to a shared library for this CPU, by g++, built once per content."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from ..cache import base_folder
from .errors import KernelError
from .source import dynamic_shared_names, kernel_names

RUNTIME = Path(__file__).with_name("runtime")
CUDA_KERNELS = Path(__file__).parent.parent / "cuda"
OLDEST = 12
# Hopper lets a block have 227 KiB; the rest is a guard behind what a launch asks for.
DYNAMIC_SHARED_BYTES = 228 * 1024

COMMON = [
    "-std=c++17", "-fPIC", "-w",
    "-ffp-contract=off",  # the same rounding on every CPU
    "-fno-gnu-unique",  # statics of templates must not be merged between libraries
    "-fno-extern-tls-init",  # `extern thread_local` without a wrapper that nobody defines
    "-fno-exceptions", "-fno-rtti", "-gdwarf-4",
    # A frame larger than a page must not step over the untouchable page below its stack.
    "-fstack-clash-protection",
]
FAST = ["-O2"]
CHECK = [
    "-O1",
    "-fsanitize=thread,bounds-strict,alignment,null,shift,signed-integer-overflow,"
    "integer-divide-by-zero",
    "-fno-sanitize-recover=all",
    "--param=tsan-instrument-func-entry-exit=0",
    "--param=tsan-distinguish-volatile=1",
    "-ftrivial-auto-var-init=pattern",
]


class CompilerMissing(RuntimeError):
    """There is no g++ that can build kernels for the emulator."""


@functools.cache
def compiler() -> str:
    """The path of g++; CompilerMissing, with what to do about it, where there is none."""
    path = shutil.which("g++")
    remedy = "install it (Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++)"
    if path is None:
        raise CompilerMissing(
            f"the CUDA emulator needs g++ {OLDEST} or newer, and there is none on PATH: {remedy}"
        )
    answer = subprocess.run([path, "-dumpfullversion"], capture_output=True, text=True)
    version = answer.stdout.strip()
    major = version.partition(".")[0]
    if answer.returncode or not major.isdigit() or int(major) < OLDEST:
        raise CompilerMissing(
            f"the CUDA emulator needs g++ {OLDEST} or newer, and {path} is "
            f"{'version ' + version if version else 'no GNU compiler'}: {remedy}"
        )
    return path


def folder() -> Path:
    """Where built kernels are kept: beside the compiled CPU kernels, or for this process alone."""
    chosen = base_folder() / "emulator"
    try:
        chosen.mkdir(parents=True, exist_ok=True)
        if os.access(chosen, os.W_OK):
            return chosen
    except OSError:
        pass
    return _folder_of_this_process()


@functools.cache
def _folder_of_this_process() -> Path:
    return Path(tempfile.mkdtemp(prefix="minigen-emulator-"))


Built = tuple[Path, list[str]]
_built: dict[tuple[Path, bool, Path], tuple[dict[str, tuple[int, int]], Built]] = {}


def library(path: Path, check: bool) -> Built:
    """(the shared library of this source, the names of its kernels), built unless it is there."""
    key = path, check, folder()
    if key in _built:
        files, built = _built[key]
        if built[0].exists() and files == _stamps(list(files)):
            return built
    source = preprocessed(path)
    # The files that it consists of, out of the preprocessor's own marks: # 1 "file"
    files = sorted(set(re.findall(r'^# \d+ "([^"<>]+)"', source, re.M)))
    stamps = _stamps(files)
    _built[key] = stamps, _library(path, check, source)
    return _built[key][1]


def _stamps(files: list[str]) -> dict[str, tuple[int, int]]:
    """When each file was changed last, and its size."""
    found = [(file, Path(file)) for file in files]
    return {f: (p.stat().st_mtime_ns, p.stat().st_size) for f, p in found if p.exists()}


def _library(path: Path, check: bool, source: str) -> Built:
    names = kernel_names(source)
    unit = _unit(path, names)
    shared = _dynamic_shared(dynamic_shared_names(source))
    flags = [*COMMON, *(CHECK if check else FAST)]
    key = _hash(runtime_hash(), compiler_version(), *flags, unit, shared, source)
    target = folder() / f"{path.stem}-{'check' if check else 'fast'}-{key}.so"
    if not target.exists():
        _build(path, target, flags, unit, shared)
    return target, [plain(name) for name in names]


def plain(name: str) -> str:
    """A kernel's name without its namespaces, which is how extern "C" exports it."""
    return name.rpartition("::")[2]


def preprocessed(path: Path) -> str:
    """The source with its includes and macros resolved, CUDA's keywords left as they are."""
    arguments = [
        compiler(), "-E", "-x", "c++", "-D__MINIGEN_EMULATOR__", "-D__CUDA_ARCH__=900",
        *_include_paths(path), str(path),
    ]
    return _gcc(arguments, path)


def _include_paths(path: Path) -> list[str]:
    return [f"-I{folder}" for folder in (path.parent, CUDA_KERNELS, RUNTIME)]


def _unit(path: Path, names: list[str]) -> str:
    """What is compiled: the dialect, the source, and an entry for each kernel."""
    entries = "".join(f"EMULATOR_KERNEL({plain(name)}, {name})\n" for name in names)
    return f'#include "{RUNTIME}/dialect.hpp"\n#include "{path}"\n{entries}'


def _dynamic_shared(names: list[str]) -> str:
    """The buffer behind `extern __shared__ T name[]`: one, whatever names the kernels give it."""
    if not names:
        return ""
    aliases = "".join(
        f'asm(".globl {name}\\n.type {name}, @tls_object\\n.set {name}, emulator_buffer");\n'
        for name in names
    )
    size = DYNAMIC_SHARED_BYTES
    return (
        "#include <stddef.h>\n"
        f'extern "C" {{ alignas(1024) thread_local char emulator_buffer[{size}]; }}\n{aliases}'
        f'extern "C" char* emulator_dynamic_shared(size_t* capacity) {{\n'
        f"  *capacity = {size};\n  return emulator_buffer;\n}}\n"
    )


def _build(path: Path, target: Path, flags: list[str], unit: str, shared: str) -> None:
    """Build beside the target, then rename: processes that build the same do not meet."""
    gcc = compiler()
    runtime = _runtime_object()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="building-") as scratch:
        room = Path(scratch)
        (room / "unit.cpp").write_text(unit)
        (room / "shared.cpp").write_text(shared)
        objects = [str(room / "unit.o"), str(room / "shared.o"), str(runtime)]
        _gcc([gcc, *flags, *_include_paths(path), "-c", "-o", objects[0], str(room / "unit.cpp")],
             path)
        _gcc([gcc, *COMMON, "-c", "-o", objects[1], str(room / "shared.cpp")], path)
        _gcc([gcc, "-shared", "-Wl,-Bsymbolic", "-o", str(room / "out.so"), *objects], path)
        os.replace(room / "out.so", target)


def _runtime_object() -> Path:
    """The runtime, which all libraries have in them, compiled once."""
    target = folder() / f"runtime-{_hash(runtime_hash(), compiler_version(), *COMMON)}.o"
    if target.exists():
        return target
    sources = sorted(RUNTIME.glob("*.cpp"))
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="building-") as scratch:
        unit, out = Path(scratch) / "runtime.cpp", Path(scratch) / "runtime.o"
        unit.write_text("".join(f'#include "{source}"\n' for source in sources))
        _gcc([compiler(), *COMMON, "-O2", f"-I{RUNTIME}", "-c", "-o", str(out), str(unit)], unit)
        os.replace(out, target)
    return target


@functools.cache
def runtime_hash() -> str:
    """Hash of the names and contents of the runtime's sources, and of where they lie."""
    files = sorted(RUNTIME.glob("*.?pp"))
    return _hash(*(text for file in files for text in (str(file), file.read_text())))


@functools.cache
def compiler_version() -> str:
    """What g++ says that it is."""
    return subprocess.run([compiler(), "--version"], capture_output=True, text=True).stdout


def _hash(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)} ".encode())
        digest.update(part.encode())
    return digest.hexdigest()[:20]


def _gcc(arguments: list[str], path: Path) -> str:
    """What g++ printed; KernelError(kind="compile") with its first error where it failed."""
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout
    found = re.search(r"^(.+?):(\d+):(?:\d+:)? (?:fatal )?error: (.*)$", done.stderr, re.M)
    if found is None:
        raise KernelError("compile", done.stderr.strip()[-2000:], str(path), None, None, None)
    raise KernelError("compile", found[3], found[1], int(found[2]), None, None)

"""From a .cu file to a cubin by NVRTC: no GPU, no driver and no CUDA toolkit needed.

NVRTC runs the assembler too, so its log says how many registers each kernel takes and whether it
spills. A cubin is kept in the user's cache folder under a hash of all that went into it.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from ..cache import base_folder
from .launch import FOLDER

OPTIONS = ("-std=c++17", "--ptxas-options=-v")
ARCHITECTURES = ("sm_80", "sm_90")
REMEDY = "pip install 'minigen[nvrtc]' (or cuda13, cuda12 on a machine with a GPU)"


class CompileError(RuntimeError):
    """NVRTC is missing, or it refused a source."""


class Usage(NamedTuple):
    """What a kernel takes: registers of a thread, bytes spilled, bytes of static shared memory."""

    kernel: str
    registers: int
    spilled: int
    shared: int


class Cubin(NamedTuple):
    """Machine code for one architecture, and what each of its kernels takes."""

    code: bytes
    usage: tuple[Usage, ...]
    log: str = ""


def sources() -> list[Path]:
    """All .cu files of the package."""
    return sorted(FOLDER.glob("*.cu"))


def register_budget(source: Path) -> int:
    """The number of registers that a source holds itself to, in its comment: REGISTERS 128."""
    found = re.search(r"^// REGISTERS (\d+)", source.read_text(encoding="utf-8"), re.M)
    if found is None:
        raise CompileError(f"{source.name}: say in a comment how many registers: // REGISTERS 128")
    return int(found[1])


def own_architecture(source: Path) -> str | None:
    """Where a source uses what Hopper alone has, it says so: // ARCHITECTURE sm_90a."""
    found = re.search(r"^// ARCHITECTURE (\w+)", source.read_text(encoding="utf-8"), re.M)
    return found[1] if found else None


def target(source: Path, architecture: str) -> str:
    """What a source is compiled for on a GPU of this architecture; CompileError if for none."""
    own = own_architecture(source)
    if own is not None and own.rstrip("a") != architecture:
        raise CompileError(f"{source.name} is for {own} alone, and this GPU is {architecture}")
    return own or architecture


def compiled(source: Path, architecture: str, options: tuple[str, ...] = ()) -> Cubin:
    """The cubin of a source for "sm_80", "sm_90a" ...: from the cache, or made now.

    Raises CompileError with NVRTC's log where the source does not compile.
    """
    nvrtc = _nvrtc()
    flags = (f"-arch={architecture}", *OPTIONS, *options)
    headers = sorted(source.parent.glob("*.cuh"))
    stem = f"{source.stem}-{architecture}-{_hash(version(), *flags, source, *headers)}"
    code, log = (base_folder() / "cuda" / f"{stem}.{kind}" for kind in ("cubin", "log"))
    if not (code.exists() and log.exists()):
        made = _compile(nvrtc, source, headers, flags)
        _write(log, made[1].encode())
        _write(code, made[0])
        return Cubin(made[0], usage(made[1]), made[1])
    told = log.read_text(encoding="utf-8")
    return Cubin(code.read_bytes(), usage(told), told)


def cubin_file(source: Path, architecture: str) -> Path:
    """A file with the cubin, named by its contents; in a temporary folder if there is no cache."""
    code = compiled(source, architecture).code
    name = f"{source.stem}-{architecture}-{hashlib.sha256(code).hexdigest()[:20]}.cubin"
    for folder in (lambda: base_folder() / "cuda", _own_folder):
        path = folder() / name
        if not path.exists():
            _write(path, code)
        if path.exists():
            return path
    raise CompileError(
        f"{name} can be written neither to {base_folder()} nor to {tempfile.gettempdir()}: "
        "set MINIGEN_CACHE to a folder that can be written to"
    )


@functools.cache
def _own_folder() -> Path:
    """A folder of this process alone, gone when it ends."""
    folder = Path(tempfile.mkdtemp(prefix="minigen-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def usage(log: str) -> tuple[Usage, ...]:
    """What the assembler says of each kernel in NVRTC's log."""
    found = []
    for part in log.split("Compiling entry function")[1:]:
        name = part.split("'")[1]
        registers = re.search(r"Used (\d+) registers", part)
        spilled = sum(int(n) for n in re.findall(r"(\d+) bytes spill", part))
        shared = re.search(r"(\d+) bytes smem", part)
        if registers is None:
            raise CompileError(f"NVRTC's log does not say how many registers {name} takes")
        found.append(Usage(name, int(registers[1]), spilled, int(shared[1]) if shared else 0))
    return tuple(found)


def version() -> str:
    """NVRTC's version; CompileError where it is missing."""
    nvrtc = _nvrtc()
    return ".".join(map(str, _checked(nvrtc, nvrtc.nvrtcVersion())))


def _nvrtc() -> Any:
    try:
        from cuda.bindings import nvrtc  # pyright: ignore[reportAttributeAccessIssue]

        nvrtc.nvrtcVersion()  # the library behind the bindings is loaded here
    except (ImportError, RuntimeError, OSError) as error:
        text = f"CUDA kernels are compiled by NVRTC, which is missing: {REMEDY}"
        raise CompileError(text) from error
    return nvrtc


def _compile(nvrtc: Any, source: Path, headers: list[Path], flags: tuple[str, ...]) -> tuple:
    """(cubin, log)"""
    # Headers are handed over in memory: NVRTC needs no include path.
    program = _checked(nvrtc, nvrtc.nvrtcCreateProgram(
        source.read_bytes(), source.name.encode(), len(headers),
        [h.read_bytes() for h in headers], [h.name.encode() for h in headers],
    ))
    try:
        encoded = [flag.encode() for flag in flags]
        status = nvrtc.nvrtcCompileProgram(program, len(encoded), encoded)[0]
        log = b" " * _checked(nvrtc, nvrtc.nvrtcGetProgramLogSize(program))
        nvrtc.nvrtcGetProgramLog(program, log)
        text = log.decode(errors="replace").rstrip(" \0\n")
        if int(status):
            how = " ".join(flags)
            raise CompileError(f"{source.name} does not compile ({how}):\n{text[:4000]}")
        cubin = b" " * _checked(nvrtc, nvrtc.nvrtcGetCUBINSize(program))
        _checked(nvrtc, nvrtc.nvrtcGetCUBIN(program, cubin))
        return cubin, text
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _checked(nvrtc: Any, answer: tuple) -> Any:
    status, *values = answer
    if int(status):
        raise CompileError(f"NVRTC: {nvrtc.nvrtcGetErrorString(status)[1].decode()}")
    return values[0] if len(values) == 1 else values


def _hash(*parts: str | Path) -> str:
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part.name.encode() + part.read_bytes()
        digest.update(f"{len(content)} ".encode() + content)
    return digest.hexdigest()[:20]


def _write(path: Path, content: bytes) -> None:
    """Aside, then renamed: a process that is compiling the same sees all of it or nothing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(partial, path)
    except OSError:  # no folder that we may write to: it is compiled again next time
        pass

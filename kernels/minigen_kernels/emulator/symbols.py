"""The variables of a shared library, and the source lines of its code."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

TLS, OBJECT = 6, 1  # types of symbols in an ELF file


class Symbol(NamedTuple):
    """A variable: its offset in the library, or in its segment of thread-local variables."""

    name: str
    offset: int
    size: int
    shared: bool


def variables(library: Path) -> list[Symbol]:
    """The kernel's own variables: __shared__ ones (thread-local here) and __device__ ones."""
    data = library.read_bytes()
    sections = _sections(data)
    found = []
    for kind, offset, size, link in sections:
        if kind != 2:  # the full symbol table
            continue
        _, names, names_size, _ = sections[link]
        strings = data[names : names + names_size]
        for at in range(offset, offset + size, 24):
            name, info, _, section, value, length = struct.unpack_from("<IBBHQQ", data, at)
            if info & 15 not in (TLS, OBJECT) or not section or not length:
                continue
            text = strings[name : strings.index(b"\0", name)].decode()
            if not _is_ours(text):
                found.append(Symbol(_plain(text), value, length, info & 15 == TLS))
    return found


def _sections(data: bytes) -> list[tuple[int, int, int, int]]:
    """(type, offset, size, link) of each section of a 64-bit ELF file."""
    (start,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    fields = [struct.unpack_from("<IIQQQQII", data, start + i * size) for i in range(count)]
    return [(f[1], f[4], f[5], f[6]) for f in fields]


def _is_ours(name: str) -> bool:
    return "emulator" in name or "in_shared_memory" in name or name.startswith(("_ZT", "_ZGV"))


def _plain(name: str) -> str:
    """The variable's own name out of a mangled one: _ZZ6kernelE4tile is kernel's `tile`.

    >>> _plain("_ZZ4gemmE6tile_a_0"), _plain("weights")
    ('tile_a', 'weights')
    """
    found = re.match(r"_ZZ.*E(\d+)(\w+)$", name)
    if found is None:
        return name
    return found[2][: int(found[1])]


def source_line(library: Path, offset: int, skip: Path) -> tuple[str, int] | None:
    """(file, line) of the code at an offset: the innermost frame that does not lie in `skip`."""
    tool = shutil.which("addr2line")
    if tool is None or not offset:
        return None
    command = [tool, "-i", "-e", str(library), hex(offset)]
    answer = subprocess.run(command, capture_output=True, text=True)
    for frame in answer.stdout.splitlines():
        found = re.match(r"(.+):(\d+)", frame)
        if found and not found[1].startswith(str(skip)) and not found[1].startswith("?"):
            return found[1], int(found[2])
    return None

"""KernelError: what a kernel did wrong, and where."""

from __future__ import annotations

Index = tuple[int, int, int]


class KernelError(RuntimeError):
    """A kernel broke a rule of CUDA.

    kind     one word:
             race           two accesses, one a write, that nothing orders
             uninitialised  a read of shared memory to which nobody has written
             out-of-bounds  an access outside the arguments, or an index outside its array
             misaligned     an address that is not a multiple of the access's size
             barrier        a block barrier that not all threads reach, or not the same one
             shuffle        a warp collective that names lanes that are not there
             wait           data of a copy or a wgmma used, overwritten or left before its wait
             mbarrier       a phase that never ends, or that more bytes reach than it expects
             fence          wgmma or a copy of a box without the fence that must come before
             swizzle        a tile that wgmma reads with another swizzle than it was written with
             arithmetic     division by zero, signed overflow, a bad shift
             launch         dynamic shared memory that the source lacks, or more than there is
             hang           accesses, or turns to wait for another thread, without an end
             read-only, assert, trap, stack, memory, compile
    file     the source file, line its line; None where they are not known.
    thread   threadIdx of the thread that was found out, block its blockIdx; each (x, y, z).
    other    the place of the earlier access that a race is with, "file:line".
    """

    def __init__(
        self,
        kind: str,
        message: str,
        file: str | None,
        line: int | None,
        thread: Index | None,
        block: Index | None,
        other: str | None = None,
    ):
        self.kind, self.message, self.file, self.line = kind, message, file, line
        self.thread, self.block, self.other = thread, block, other
        super().__init__(self._text())

    def _text(self) -> str:
        parts = [f"{self.kind}: {self.message}"]
        if self.other:
            parts.append(f" (at {self.other})")
        if self.file:
            parts.append(f"; {self.file}" + (f":{self.line}" if self.line else ""))
        if self.thread:
            parts.append(f", thread {self.thread} of block {self.block}")
        return "".join(parts)

    def __reduce__(self):
        return KernelError, (
            self.kind, self.message, self.file, self.line, self.thread, self.block, self.other
        )

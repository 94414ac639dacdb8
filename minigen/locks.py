"""A lock between processes: one open file, held until it is closed or its process ends."""

from __future__ import annotations

import sys
from typing import IO, Any

__all__ = ["try_lock"]

BEYOND = 1 << 20  # Windows locks bytes: these are beyond any text, which others may then still read


def try_lock(file: IO[Any]) -> bool:
    """Lock an open file for this process; False when another one has it.

    The system lets go when the file is closed or the process ends, so that no lock is ever stale.
    True as well on a file system without locks: better to go on unlocked than not at all.
    """
    if sys.platform == "win32":
        import msvcrt

        file.seek(BEYOND)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
    else:
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True
    return True

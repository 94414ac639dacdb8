"""How many cores the CPU kernels use."""

from __future__ import annotations

import numba


def set_threads(n: int) -> None:
    """Use n cores from now on, 1 up to the number this machine has.

    For a given n the kernels give the same bits in every run; another n may round differently.
    """
    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    if not 1 <= n <= most:
        raise ValueError(f"set_threads({n}): this process can use 1 to {most} threads")
    numba.set_num_threads(n)


def get_threads() -> int:
    """The number of cores that the kernels use now."""
    return numba.get_num_threads()

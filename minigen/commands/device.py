"""--device: what to compute on."""

from __future__ import annotations

from ..errors import MinigenError


def device_for(wanted: str) -> str:
    """ "cpu" or "cuda"; auto takes a GPU that works. MinigenError says what is missing."""
    if wanted == "cpu":
        return "cpu"
    from ..environment import missing_for_cuda

    missing = missing_for_cuda()
    if missing is None:
        return "cuda"
    if wanted == "auto":
        return "cpu"
    raise MinigenError(f"--device cuda: {missing}")

"""--device: what to compute on; --precision: how its products are formed."""

from __future__ import annotations

from ..errors import MinigenError, UsageError


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


def check_precision(precision: str, device: str) -> None:
    """UsageError for a precision that the device has not: only GPUs have tensor cores."""
    if device == "cpu" and precision != "float32":
        raise UsageError(
            f"--precision {precision} is for the tensor cores of a GPU, and this computes on the "
            "CPU: give --precision float32, or --device cuda to hear what keeps a GPU from working"
        )

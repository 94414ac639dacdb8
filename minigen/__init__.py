"""minigen: deep generative image models from scratch, down to the last gradient and kernel.

    from minigen import Tensor, grad
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    (gx,) = grad((x * x).sum(), [x])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from minigen_kernels.random import Generator

from . import functional, ops
from .function import Function, detect_anomaly
from .tensor import Tensor, grad, no_grad
from .version import __version__

if TYPE_CHECKING:
    from . import data, gradcheck, images, metrics, models, nn, optim, testing, training
    from .gradcheck import check_grad
    from .tracing import trace

__all__ = [
    "Function",
    "Generator",
    "Tensor",
    "__version__",
    "check_grad",
    "data",
    "detect_anomaly",
    "functional",
    "grad",
    "gradcheck",
    "images",
    "metrics",
    "models",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "testing",
    "trace",
    "training",
]

_LAZY = {"data", "gradcheck", "images", "metrics", "models", "nn", "optim", "testing", "training"}


def __getattr__(name: str) -> Any:
    # Loaded when first named, so that `import minigen` stays quick.
    if name in _LAZY:
        return importlib.import_module(f".{name}", __name__)
    if name == "check_grad":
        return importlib.import_module(".gradcheck", __name__).check_grad
    if name == "trace":
        return importlib.import_module(".tracing", __name__).trace
    raise AttributeError(f"module 'minigen' has no attribute {name!r}")

"""minigen warmup: compile the kernels that training needs, so that the first run does not wait."""

from __future__ import annotations

import dataclasses
import time
from typing import Literal

from .. import models
from ..cli import out
from ..training import NullRun
from .device import device_for
from .parsing import parse
from .plan import load_data


@dataclasses.dataclass(frozen=True)
class Options:
    """Compile what a training step of every model needs (about a minute, once)."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What to compile for: auto takes a GPU that works."""
    debug: bool = False
    """Show the traceback of an error."""


def main(argv: list[str]) -> int:
    device = device_for(parse(Options, argv, "warmup").device)
    from minigen_kernels.cpu import jit
    from minigen_kernels.random import Generator

    compiled: list[str] = []
    jit.on_compile(compiled.append)
    data = load_data("glyphs", "train", {"n": 256})
    for name in models.MODELS:
        module, began = models.get(name), time.perf_counter()
        config = module.config_for(data.images.shape[1:])
        module.train(config, data, Generator(0), NullRun(steps=2, device=device))
        out(f"{name}: {len(compiled)} kernels compiled, {time.perf_counter() - began:.0f} s")
        compiled.clear()
    jit.on_compile(None)
    return 0

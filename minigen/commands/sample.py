"""minigen sample RUN: a grid of samples from a run's newest checkpoint."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .. import images, models, training
from ..cli import out
from ..errors import CheckpointError, UsageError
from ..models.limits import within
from ..training import checkpoint
from .device import check_precision, device_for
from .parsing import parse
from .plan import config_from, folder_of


@dataclasses.dataclass(frozen=True)
class Options:
    """Draw a grid of samples from the newest checkpoint of a run."""

    n: int = 100
    """How many samples."""
    seed: int = 0
    """Of the noise: same seed, same samples."""
    out: Path | None = None
    """The PNG to write (when not given: RUN/samples-SEED.png)."""
    columns: int | None = None
    """Samples in a row (when not given: as square as possible)."""
    scale: int = 2
    """Every pixel becomes so many pixels square."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What to compute on; auto takes a GPU if there is one that works, otherwise the CPU."""
    precision: Literal["float32", "tf32x3", "tf32", "bf16"] = "float32"
    """What a GPU rounds the factors of products to."""
    threads: int | None = None
    """Cores to compute with (when not given: all)."""
    debug: bool = False
    """Show the traceback of an error."""


def main(argv: list[str]) -> int:
    run, rest = take_run(argv, "sample")
    options = parse(Options, rest, "sample RUN")
    within(options, 1, "n", "columns", "scale")
    within(options, 0, "seed", below=2**64)
    if run is None:
        raise UsageError("minigen sample RUN: name a run directory, such as runs/dcgan-glyphs/...")
    from minigen_kernels import use
    from minigen_kernels.random import Generator

    from .. import environment

    environment.threads(options.threads)
    device = device_for(options.device)
    check_precision(options.precision, device)
    module, _, model, _ = load_model(run)
    if device != "cpu":
        model.to(device)
    with use(precision=options.precision):
        pictures = np.asarray(module.sample(model, options.n, Generator(options.seed)))
    path = options.out or folder_of(run) / f"samples-{options.seed}.png"
    page = images.grid(pictures, options.columns, scale=options.scale, value_range=(-1, 1))
    images.save_png(page, path)
    out(str(path))
    return 0


def take_run(argv: list[str], command: str) -> tuple[Path | None, list[str]]:
    """The run directory (the first word) and the other words; None with -h."""
    if argv and not argv[0].startswith("-"):
        return Path(argv[0]), argv[1:]
    if "-h" in argv or "--help" in argv:
        return None, argv
    raise UsageError(f"minigen {command} RUN: name a run directory first")


def load_model(run: Path) -> tuple[Any, Any, Any, dict[str, Any]]:
    """(model's module, its configuration, the model with the weights of the newest checkpoint,
    config.toml's values)."""
    file = checkpoint.find(run)
    found = checkpoint.load(file)
    stored = training.read_config(folder_of(run))
    module = models.get(found.model)
    config = config_from(module, {"config": found.config}, file)
    try:
        model = module.restore(config, found.state)
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{file} does not fit this version's {found.model}: {error}; "
            "sample with the version that trained it, or train again"
        ) from error
    return module, config, model, stored

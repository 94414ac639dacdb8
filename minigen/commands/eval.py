"""minigen eval RUN: what a run's model reaches on test images."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from typing import Any, Literal

from ..cli import out
from ..images import write_atomically
from ..models.limits import within
from .device import device_for
from .parsing import parse
from .plan import folder_of, given_data_options, is_path, load_data
from .sample import load_model, take_run


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure the newest checkpoint of a run on test images, and write RUN/eval.json."""

    data: str | None = None
    """Another data set than the run's."""
    image_size: int | None = None
    """Side in pixels that your own pictures are cut to (when not given: as for the run)."""
    colour: Literal["rgb", "grey"] | None = None
    """How your own pictures are read (when not given: as for the run)."""
    skip_broken: bool = False
    """Pass over pictures that cannot be read, instead of stopping."""
    split: str = "test"
    """Which part of the data set."""
    seed: int = 0
    """Of what the measurement draws."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What to compute on; auto takes a GPU if there is one that works, otherwise the CPU."""
    threads: int | None = None
    """Cores to compute with (when not given: all)."""
    json: bool = False
    """Print the numbers as one line of JSON."""
    debug: bool = False
    """Show the traceback of an error."""


def main(argv: list[str]) -> int:
    run, rest = take_run(argv, "eval")
    options = parse(Options, rest, "eval RUN")
    assert run is not None  # -h has left by now
    within(options, 0, "seed", below=2**64)
    within(options, 1, "image_size")
    from minigen_kernels.random import Generator

    from .. import environment

    environment.threads(options.threads)
    device = device_for(options.device)
    module, config, model, stored = load_model(run)
    if device != "cpu":
        model.to(device)
    name = options.data or stored["data"]
    data = load_data(name, options.split, _data_options(options, name, stored))
    module.check(config, data.images.shape[1:])
    # The judge may have to be trained first: say so, and how far it is.
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("minigen").setLevel(logging.INFO)
    results = module.evaluate(model, data, Generator(options.seed))
    facts = {"data": data.name, "split": options.split, "images": len(data), **results}
    if options.json:
        out(json.dumps(facts))
    else:
        for what, value in results.items():
            out(f"{what:<24} {value:.6g}")
    # Last: who may not write there has seen the numbers.
    write_atomically(folder_of(run) / "eval.json", (json.dumps(facts, indent=2) + "\n").encode())
    return 0


def _data_options(options: Options, name: str, stored: dict[str, Any]) -> dict[str, Any]:
    """How to read the data: as the run did, if both are the user's own pictures, or as is said."""
    alike = is_path(name) and is_path(stored["data"])
    stored_options = stored.get("data_options", {}) if alike else {}
    return {**stored_options, **given_data_options(options)}

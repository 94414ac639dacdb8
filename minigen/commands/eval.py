"""minigen eval RUN: what a run's model reaches on test images."""

from __future__ import annotations

import dataclasses
import json

from ..cli import out
from ..images import write_atomically
from .parsing import parse
from .plan import folder_of, load_data
from .sample import load_model, take_run


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure the newest checkpoint of a run on test images, and write RUN/eval.json."""

    data: str | None = None
    """Another data set than the run's."""
    split: str = "test"
    """Which part of the data set."""
    seed: int = 0
    """Of what the measurement draws."""
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
    from minigen_kernels.random import Generator

    from .. import environment

    environment.threads(options.threads)
    module, model, stored = load_model(run)
    data_options = stored.get("data_options", {}) if options.data is None else {}
    data = load_data(options.data or stored["data"], options.split, data_options)
    results = module.evaluate(model, data, Generator(options.seed))
    facts = {"data": data.name, "split": options.split, "images": len(data), **results}
    write_atomically(folder_of(run) / "eval.json", (json.dumps(facts, indent=2) + "\n").encode())
    if options.json:
        out(json.dumps(facts))
    else:
        for name, value in results.items():
            out(f"{name:<24} {value:.6g}")
    return 0

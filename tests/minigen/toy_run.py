"""A training run of a toy, as a program: what the tests of interruption and resume start and kill.

    python toy_run.py OUT [--resume] [--key value ...]      values are JSON
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from minigen_kernels.random import Generator

from minigen import training
from minigen.errors import MinigenError
from minigen.training.progress import choose


class Toy:
    """A 'network' of a few thousand numbers that follows the batch and a random walk."""

    def __init__(self, size: int):
        self.w = np.zeros(size, np.float32)
        self.count = 0

    def state_dict(self):
        return {"w": self.w.copy(), "count": self.count}

    def load_state_dict(self, state):
        if state["w"].shape != self.w.shape:
            raise ValueError(f"w has shape {state['w'].shape}, but {self.w.shape} is needed")
        self.w, self.count = state["w"].copy(), state["count"]


class Batches:
    """Endless batches whose position is one number."""

    def __init__(self):
        self.position = 0

    def __next__(self):
        self.position += 1
        return np.arange(4) + self.position

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]


def train(config: dict, run) -> Toy:
    """Flat loop with everything that a real model keeps."""
    rng = Generator(config["seed"])
    toy, batches = Toy(config["size"]), Batches()
    fixed = rng.split("watch").normal((9, 1, 8, 8))
    run.keep(toy=toy, rng=rng, batches=batches)
    run.watch(lambda: np.tanh(fixed + toy.w[:64].reshape(1, 1, 8, 8)))
    for step, x in run.steps(batches, config["steps"]):
        toy.w += 0.1 * (rng.normal(config["size"]) - toy.w) + np.float32(1e-3) * x.mean()
        toy.count += 1
        if config["sleep"]:
            time.sleep(config["sleep"])
        if config["hold"]:
            hold_while(Path(config["hold"]))
        run.log(loss=float("nan") if step == config["nan_at"] else np.square(toy.w).mean())
    run.result(count=toy.count)
    return toy


def hold_while(path: Path) -> None:
    """Say that a step has begun, by path.held, and stay in it for as long as `path` exists."""
    path.with_suffix(".held").touch()
    while path.exists():
        time.sleep(0.01)


DEFAULTS = {"seed": 3, "size": 64, "steps": 12, "sleep": 0.0, "nan_at": -1, "hold": ""}


def start(out: Path, *, resume: Path | None = None, progress=None, options=None, **changes):
    """Train in `out`, or go on from `resume`, in this process. Returns the run."""
    config = DEFAULTS | changes
    found = None
    if resume is None:
        folder = training.RunFolder.create(out, "toy-data")
        folder.write_config({"model": "toy", "config": config})
    else:
        config = training.read_config(out)["config"] | changes
        folder = training.RunFolder.open(out)
        found = training.load_for_resume(resume, "toy", config)
    info = training.RunInfo("toy", "data", config, {"threads": 1})
    options = training.RunOptions(**{"sample_every": 4, "checkpoint_every": 1} | (options or {}))
    with training.Run(folder, info, options, progress, found) as run:
        folder.write_start(sys.argv, info.env, run.step)
        train(config, run)
    return run


def main() -> int:
    os.fsync = lambda handle: None  # slow, and only a power cut would show the difference
    out = Path(sys.argv[1])
    words = [word for word in sys.argv[2:] if word != "--resume"]
    pairs = zip(words[::2], words[1::2], strict=True)
    given = {key.removeprefix("--"): json.loads(value) for key, value in pairs}
    names = set(training.RunOptions.__dataclass_fields__)
    options = {k: given.pop(k) for k in list(given) if k in names}
    resume = out if "--resume" in sys.argv else None
    try:
        start(out, resume=resume, progress=choose("auto"), options=options, **given)
    except training.Interrupted as stop:
        print(stop, file=sys.stderr)
        return 130
    except MinigenError as error:
        print(f"minigen: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How long a new process takes to its first training step: with an empty cache of compiled kernels,
and with a full one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

STEP = """
from minigen import Generator, models
from minigen.data import load
from minigen.environment import threads
from minigen.training import NullRun
threads({threads})
dcgan = models.get("dcgan")
data = load("glyphs", "train", n=64)
dcgan.train(dcgan.config_for(data.images.shape[1:]), data, Generator(0), NullRun(steps=1))
"""


def first_step(threads: int) -> dict[str, float]:
    """Seconds of the whole process: {"cold": with an empty cache, "warm": the second time}."""
    done = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "MINIGEN_CACHE": folder}
        for name in ("cold", "warm"):
            began = time.perf_counter()
            code = STEP.format(threads=threads)
            subprocess.run([sys.executable, "-c", code], env=environment, check=True)
            done[name] = time.perf_counter() - began
    return done

"""What a process is told about the machine, and asks of it."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import resource, sys
import numpy as np
from minigen.environment import keep_freed_memory

def step():
    return sum(array[0] for array in [np.ones(1 << 19, np.float32) for _ in range(4)])

if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks glibc")
def test_freed_memory_is_kept_for_the_next_step():
    variables = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    variables["PYTHONPATH"] = os.pathsep.join(map(str, (ROOT, ROOT / "kernels")))
    faults = {}
    for word in ("give", "keep"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, word], env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        faults[word] = int(done.stdout)
    assert faults["give"] > 100 and faults["keep"] < faults["give"] / 10, faults

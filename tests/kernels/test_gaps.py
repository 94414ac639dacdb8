"""What fills a vector up is multiplied too: it must not be what old memory holds.

A pointer's upper half is a subnormal number, and a CPU takes a hundred times as long for those. So
each allocation is filled with subnormal numbers here, and what the tiles compute in the gaps, which
no result shows, is seen as the time that it takes.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from minigen_kernels import backend_of
from minigen_kernels.cpu import conv_lanes, panels

SUBNORMAL, ORDINARY = np.float32(1e-40), np.float32(1)


def filled(value):
    def empty(shape, dtype, like=None):
        return np.full(shape, value, dtype)

    return empty


def product():
    a, b = np.ones((256, 400), np.float32), np.ones((400, 20), np.float32)
    return lambda: backend_of(a).gemm(a, b)


def few_images():
    x, w = np.ones((3, 32, 12, 12), np.float32), np.ones((32, 32, 3, 3), np.float32)
    return lambda: conv_lanes.conv2d_3_lanes(x, w)


def few_channels():
    x, gy = np.ones((16, 32, 12, 12), np.float32), np.ones((16, 3, 12, 12), np.float32)
    return lambda: conv_lanes.conv2d_weight_3_lanes(x, gy, (3, 3), (1, 1), (1, 1))


@pytest.mark.parametrize("make", [product, few_images, few_channels])
def test_old_memory_costs_no_time(make, monkeypatch):
    work, took = make(), {SUBNORMAL: [], ORDINARY: []}
    for _ in range(15):
        for value, times in took.items():
            for module in (panels, conv_lanes):
                monkeypatch.setattr(module, "empty", filled(value))
            monkeypatch.setattr(panels, "_mine", type(panels._mine)())  # its scratch is kept
            work()  # with new scratch
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
    assert min(took[SUBNORMAL]) < 2 * min(took[ORDINARY])

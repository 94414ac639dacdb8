"""Whole training steps of minigen's models with every kernel from CUDA, against the CPU's."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from minigen_kernels import cpu, cuda, use
from minigen_kernels.cuda import LADDERS
from minigen_kernels.random import Generator

from minigen.models import dcgan, image_gpt, vae
from minigen.training import NullRun
from tests.kernels.needs import GXX
from tests.minigen.model_helpers import pictures

pytestmark = [pytest.mark.emulator, GXX]
STEPS = 2
TINY = dict(batch=3, steps=STEPS)
TRIO = {"conv2d", "conv_transpose2d", "conv2d_weight"}
RELU = {"leaky_relu", "leaky_relu_backward"}
BCE = {"bce_with_logits", "bce_with_logits_backward"}
# A model → (its module, its configuration, the side of its images, the kernels of its steps).
MODELS = {
    "vae mlp": (
        vae, vae.Config(size=4, hidden=5, latent=3, **TINY), 4,
        {"gemm", "adam", "column_sums", *RELU, *BCE},
    ),
    "vae conv": (
        vae, vae.Config(network="conv", size=4, hidden=5, width=2, latent=3, **TINY), 4,
        {"gemm", "adam", "column_sums", *RELU, *BCE, *TRIO},
    ),
    "dcgan": (
        dcgan, dcgan.Config(size=16, latent=3, width=2, **TINY), 16,
        {"adam", "batch_norm", "batch_norm_backward", *RELU, *TRIO},
    ),
    "image-gpt": (
        image_gpt,
        image_gpt.Config(size=3, levels=3, width=8, layers=1, n_heads=2, warmup=1, **TINY), 3,
        {"gemm", "adam", "attention", "attention_backward", "layer_norm", "layer_norm_backward",
         "gelu", "gelu_backward", "cross_entropy", "cross_entropy_backward", "column_sums",
         "deposit"},
    ),
}  # fmt: skip


def trained(name):
    """(the numbers of each step, the running means of Adam's slopes)"""
    module, config, side, _ = MODELS[name]
    run = NullRun()
    module.train(dataclasses.replace(config), pictures(8, side), Generator(1), run)
    slopes = [
        array
        for thing in run.kept.values()
        for key, array in thing.state_dict().items()
        if key.startswith("exp_avg.")
    ]
    return run.logs, slopes


def recorded(seen):
    """Every kernel that use() knows, from CUDA, noting its name when it is called."""

    def recorder(name):
        def kernel(*arguments, **options):
            seen.add(name)
            return LADDERS[name][-1](*arguments, **options)

        return kernel

    return {name: recorder(name) for name in cpu.LADDERS}


@pytest.mark.parametrize("name", MODELS)
def test_a_training_step_with_every_kernel_from_cuda(name):
    expected_logs, expected_slopes = trained(name)
    seen: set[str] = set()
    with use(backend="emulator", **recorded(seen)), cuda.emulation(check=True, seed=2):
        logs, slopes = trained(name)
    assert seen == MODELS[name][3]
    assert len(logs) == len(expected_logs) == STEPS and slopes
    for got, right in zip(logs, expected_logs, strict=True):
        assert got.keys() == right.keys()
        # Adam's first step goes as far along a slope that is nearly 0 as along any other, in the
        # direction of its sign: the second step begins where rounding has led.
        tolerance = 1e-5 if got["step"] == 1 else 1e-3
        np.testing.assert_allclose(list(got.values()), list(right.values()), rtol=tolerance)
    for got, right in zip(slopes, expected_slopes, strict=True):
        assert np.linalg.norm(got - right) <= 1e-3 * np.linalg.norm(right) + 1e-7


@pytest.mark.parametrize("precision, off", [("tf32", 2e-3), ("bf16", 2e-2)])
def test_a_training_step_by_tensor_cores(precision, off):
    """Other numbers than in float32, and near them; weights and what Adam keeps stay float32."""
    name = "image-gpt"
    expected_logs, expected_slopes = trained(name)
    with use(backend="emulator", precision=precision):
        logs, slopes = trained(name)
    assert logs[0] == pytest.approx(expected_logs[0], rel=off)
    assert {x.dtype for x in slopes} == {np.dtype(np.float32)}
    distance = sum(np.linalg.norm(a - b) for a, b in zip(slopes, expected_slopes, strict=True))
    size = sum(np.linalg.norm(b) for b in expected_slopes)
    assert 1e-6 * size < distance < 5 * off * size

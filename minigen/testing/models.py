"""Cases of whole models: the gradient of each loss in all parameters, at small sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from minigen_kernels.random import Generator

from .. import nn
from ..models import dcgan, image_gpt, vae
from ..tensor import Tensor
from .table import Example, Table

__all__ = ["MODEL_CASES"]

MODEL_CASES = Table()
SEEDS = st.sampled_from([0, 2, 3])  # under 1 the step crosses the kink of a ReLU of the critic


def of_parameters(loss: Callable[[str], Tensor], *modules: nn.Module) -> Example:
    """loss(device) as a function of all parameters of the modules, there, in float64."""
    slots = [
        (module, name)
        for top in modules
        for module in top.modules()
        for name, value in vars(module).items()
        if isinstance(value, nn.Parameter)
    ]
    for buffer in (b for top in modules for b in top.buffers() if b.dtype == np.float32):
        buffer.data = buffer.data.astype(np.float64)

    def f(*parameters: Tensor) -> Tensor:
        device = parameters[0].device
        for buffer in (b for top in modules for b in top.buffers()):
            buffer.data = buffer.to(device).data
        for (module, name), parameter in zip(slots, parameters, strict=True):
            setattr(module, name, parameter)
        return loss(device)

    return Example(f, tuple(getattr(m, name).data.astype(np.float64) for m, name in slots))


def _images(seed: int, *shape: int) -> Tensor:
    return Tensor(Generator(seed).split("images").uniform(shape, np.float64))


def _vae(network: str) -> None:
    @MODEL_CASES.case("vae", network)
    def parts(draw: Any) -> Any:
        seed = draw(SEEDS)
        config = replace(vae.PRESETS[network], size=8, hidden=6, width=2, latent=3)
        model, x = vae.build(config, Generator(seed)), _images(seed, 3, 1, 8, 8)

        def loss(device: str) -> Tensor:
            rng = Generator(seed + 1).to(device)
            reconstruction, kl = vae.losses(model, x.to(device), rng)
            return reconstruction + config.beta * kl

        example = of_parameters(loss, model)
        return example.f, example.arrays


_vae("mlp")
_vae("conv")


def _dcgan(half: str) -> None:
    @MODEL_CASES.case("dcgan", half)
    def parts(draw: Any) -> Any:
        seed = draw(SEEDS)
        # Weights larger than in training: a step of the check, which is as large for all weights,
        # then crosses fewer kinks of the ReLUs.
        config = replace(dcgan.PRESETS["28"], size=8, latent=3, width=2, init_std=0.5)
        G = dcgan.Generator(config, rng=Generator(seed))
        D = dcgan.Discriminator(config, rng=Generator(seed + 10))
        real = _images(seed, 3, 1, 8, 8)
        z = Tensor(Generator(seed + 20).normal((3, 3, 1, 1), np.float64))

        def loss(device: str) -> Tensor:
            if half == "generator":
                return dcgan.generator_loss(D(G(z.to(device))))
            return dcgan.discriminator_loss(D(real.to(device)), D(G(z).detach().to(device)))

        example = of_parameters(loss, *((G, D) if half == "generator" else (D,)))
        if half == "critic":
            for p in (*G.parameters(), *G.buffers()):
                p.data = p.data.astype(np.float64)
        return example.f, example.arrays


_dcgan("generator")
_dcgan("critic")


@MODEL_CASES.case("image-gpt")
def _image_gpt(draw: Any) -> Any:
    seed = draw(SEEDS)
    config = replace(image_gpt.PRESETS["14"], size=3, levels=3, width=4, layers=1, n_heads=2)
    model = image_gpt.build(config, Generator(seed))
    tokens = np.asarray(Generator(seed + 1).integers(0, config.levels, (2, 3, 3)))
    example = of_parameters(lambda device: image_gpt.nats(model, tokens), model)
    return example.f, example.arrays

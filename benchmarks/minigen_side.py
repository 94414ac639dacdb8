"""The cases as minigen computes them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from minigen_kernels import use

import minigen
from minigen import Tensor, grad, nn, no_grad, optim
from minigen import functional as F
from minigen.models import dcgan, image_gpt, vae

from .cases import Case
from .computations import FORMULAS, LEARNED, batch_of, inputs, parameters_of_adam

Run = Callable[[], Any]


def prepare(case: Case, rung: int | None = None, vector_bits: int | None = None) -> Run:
    """A function that computes the case once and returns its results, a list of arrays."""
    run = SPECIAL[case.op](case) if case.op in SPECIAL else _formula(case)
    if rung is None and vector_bits is None:
        return run

    def chosen() -> Any:
        with use(rung=rung, vector_bits=vector_bits):
            return run()

    return chosen


def _formula(case: Case) -> Run:
    compute, arrays = FORMULAS[case.op], inputs(case)
    gy = Tensor(arrays.pop("gy")) if "gy" in arrays else None
    extra = {"rng": minigen.Generator(0)} if case.op == "dropout" else {}
    t = {name: Tensor(x, case.backward and name in LEARNED) for name, x in arrays.items()}
    learned = [x for name, x in t.items() if name in LEARNED]

    def forward() -> list[np.ndarray]:
        with no_grad():
            return [compute(F, t, case.sizes, extra).data]

    def backward() -> list[np.ndarray]:
        y = compute(F, t, case.sizes, extra)
        return [y.data, *[g.data for g in grad(y, learned, gy)]]

    return backward if case.backward else forward


# ---- what is more than a formula


def _adam(case: Case) -> Run:
    params = [Tensor(x, requires_grad=True) for x in parameters_of_adam(case.sizes["tensors"])]
    grads = [Tensor(0.1 * x.numpy()) for x in params]
    opt = optim.Adam(params, lr=1e-3)

    def step() -> list[np.ndarray]:
        opt.step(grads)
        return [params[0].numpy()]

    return step


def _small_graph(case: Case) -> Run:
    x, y = (Tensor(np.ones(case.sizes["n"], np.float32), requires_grad=True) for _ in "xy")

    def run() -> list[np.ndarray]:
        x.grad = y.grad = None
        (x + y).sum().backward()
        assert x.grad is not None
        return [x.grad.data]

    return run


def _step_vae(case: Case) -> Run:
    model, batch = build(case), batch_of(case)
    opt = optim.Adam(model.parameters(), lr=1e-3)
    x, noise = Tensor(batch["x"]), Noise(batch["z"])

    def step() -> list[np.ndarray]:
        reconstruction, kl = vae.losses(model, x, noise)
        loss = reconstruction + kl
        opt.step(grad(loss, opt.params))
        return [loss.numpy()]

    return step


class Noise:
    """An rng whose draws are known, so that both libraries compute the same."""

    def __init__(self, values: np.ndarray):
        self.values = values

    def normal(self, shape: Any, dtype: Any = np.float32) -> np.ndarray:
        return self.values.reshape(shape)


def _step_gpt(case: Case) -> Run:
    model, tokens = build(case), batch_of(case)["tokens"]
    opt = optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01)

    def step() -> list[np.ndarray]:
        loss = image_gpt.nats(model, tokens).mean() / tokens[0].size
        grads, _ = optim.clip_grad_norm(grad(loss, opt.params), 1.0)
        opt.step(grads)
        return [loss.numpy()]

    return step


def _step_dcgan(case: Case) -> Run:
    (G, D), batch = build(case), batch_of(case)
    opts = [optim.Adam(m.parameters(), lr=2e-4, betas=(0.5, 0.999)) for m in (G, D)]
    x, z = Tensor(2 * batch["x"] - 1), Tensor(batch["z"][:, :, None, None])

    def step() -> list[np.ndarray]:
        fake = G(z)
        loss_d = dcgan.discriminator_loss(D(x), D(fake.detach()))
        opts[1].step(grad(loss_d, opts[1].params))
        loss_g = dcgan.generator_loss(D(fake))
        opts[0].step(grad(loss_g, opts[0].params))
        return [loss_d.numpy(), loss_g.numpy()]

    return step


class MLP(nn.Module):
    """Linear layers of these widths with LeakyReLU(0.2) between them, and what comes last."""

    def __init__(self, *widths: int, last: nn.Module | None = None, rng: Any):
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(itertools.pairwise(widths)):
            layers += [nn.LeakyReLU(0.2)] * (i > 0) + [nn.Linear(before, after, rng=rng)]
        self.layers = nn.Sequential(*layers, *([] if last is None else [last]))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class ViT(nn.Module):
    """Patches of 4×4 pixels as tokens, a token for the class before them, and the encoder."""

    def __init__(self, width: int, layers: int, tokens: int, *, rng: Any):
        self.patch = nn.Conv2d(1, width, 4, 4, rng=rng)
        self.first = nn.Parameter(np.zeros((1, 1, width), np.float32))
        self.position = nn.Parameter(np.zeros((1, tokens, width), np.float32))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True, rng=rng
            )
            for _ in range(layers)
        )
        self.head = nn.Linear(width, 10, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        h = self.patch(x).flatten(2).transpose(1, 2)  # (N, D, 7, 7) → (N, 49, D)
        h = F.cat([self.first.expand(len(x), -1, -1), h], 1) + self.position
        for block in self.blocks:
            h = block(h)
        return self.head(h[:, 0])


def _step_vit(case: Case) -> Run:
    model, batch = build(case), batch_of(case)
    opt = optim.AdamW(model.parameters(), lr=5e-4)
    x, labels = Tensor(batch["x"]), Tensor(batch["labels"])

    def step() -> list[np.ndarray]:
        loss = F.cross_entropy(model(x), labels)
        opt.step(grad(loss, opt.params))
        return [loss.numpy()]

    return step


def _sample_gpt(case: Case) -> Run:
    model = build(case)

    def run() -> list[np.ndarray]:
        return [image_gpt.sample(model, case.sizes["n"], minigen.Generator(0))]

    return run


def config_of(case: Case) -> Any:
    """The hyper-parameters of a case's model: a preset's, but for what its "config" says."""
    s = case.sizes
    if case.op == "step_vae":
        config: Any = vae.PRESETS[s["network"]]
    elif case.op in ("step_gpt", "sample_gpt"):
        config = image_gpt.Config(size=s["size"], width=s["width"])
    else:
        config = dcgan.PRESETS[s["preset"]]
    return dataclasses.replace(config, **s.get("config", {}))


def build(case: Case) -> Any:
    """The model of a case with its first weights, which its torch twin gets too."""
    rng, s = minigen.Generator(0), case.sizes
    if case.op == "step_vit":
        return ViT(s["width"], s["layers"], 50, rng=rng)
    if case.op == "step_mlp_gan":
        given, w = s.get("config", {}), s["width"]
        latent, pixels = given.get("latent", 64), given.get("size", 28) ** 2
        return (MLP(latent, w, 2 * w, pixels, last=nn.Tanh(), rng=rng),
                MLP(pixels, 2 * w, w, 1, rng=rng))  # fmt: skip
    config = config_of(case)
    if case.op == "step_vae":
        return vae.build(config, rng)
    if case.op in ("step_gpt", "sample_gpt"):
        return image_gpt.build(config, rng)
    return dcgan.Generator(config, rng=rng), dcgan.Discriminator(config, rng=rng)


SPECIAL: dict[str, Callable[[Case], Run]] = {
    "adam": _adam,
    "small_graph": _small_graph,
    "step_vae": _step_vae,
    "step_gpt": _step_gpt,
    "step_dcgan": _step_dcgan,
    "step_vit": _step_vit,
    "sample_gpt": _sample_gpt,
}

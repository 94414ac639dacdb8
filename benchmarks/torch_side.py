"""The cases in idiomatic PyTorch: fused Adam, gradients set to None, inference_mode for sampling,
and for convolutions the better of the two memory formats."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from . import minigen_side, torch_models
from .cases import Case
from .computations import FORMULAS, LEARNED, batch_of, inputs, parameters_of_adam

Run = Callable[[], Any]
LAYOUTS = ("contiguous_format", "channels_last")
CONVOLUTIONAL = ("conv2d", "conv_transpose2d", "batch_norm_relu", "step_dcgan")


def prepare(case: Case, compiled: bool = False, layout: str | None = None) -> Run:
    """A function that computes the case once and returns its results, a list of arrays.

    layout: the memory format of images, one of LAYOUTS (default: the quicker, where it matters).
    """
    make = SPECIAL.get(case.op, _formula)
    if compiled:
        # What was compiled for the cases before counts towards the number of versions of a function
        # beyond which torch.compile gives up, and makes it expect sizes that change.
        torch.compiler.reset()
    convolutional = case.op in CONVOLUTIONAL or case.sizes.get("network") == "conv"
    names = [layout] if layout else LAYOUTS[: 1 + convolutional]
    return _best([functools.partial(make, case, getattr(torch, n), compiled) for n in names])


def _best(makers: list[Callable[[], Run]]) -> Run:
    """The quickest of what they make, by the median of five calls in turn.

    It is made anew then: a model that has been trained is no longer the one to compare with.
    """
    if len(makers) == 1:
        return makers[0]()
    runs = [make() for make in makers]
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(6):
        for run, spent in zip(runs, times, strict=True):
            began = time.perf_counter()
            run()
            spent.append(time.perf_counter() - began)
    medians = [statistics.median(spent[1:]) for spent in times]
    return makers[medians.index(min(medians))]()


def _tensor(x: np.ndarray, layout: Any = torch.contiguous_format) -> torch.Tensor:
    t = torch.from_numpy(x)
    return t.contiguous(memory_format=layout) if t.ndim == 4 else t


def _maybe(function: Callable[..., Any], compiled: bool) -> Callable[..., Any]:
    # One size each: two networks of one class are not one network of changing sizes.
    return torch.compile(function, dynamic=False) if compiled else function


def _formula(case: Case, layout: Any, compiled: bool) -> Run:
    compute, arrays = FORMULAS[case.op], inputs(case)
    gy = _tensor(arrays.pop("gy"), layout) if "gy" in arrays else None
    t = {name: _tensor(x, layout) for name, x in arrays.items()}
    learned = [x for name, x in t.items() if name in LEARNED]
    for x in learned:
        x.requires_grad_(case.backward)
    value = _maybe(lambda: compute(F, t, case.sizes, {}), compiled)

    def forward() -> list[np.ndarray]:
        with torch.inference_mode():
            return [value().numpy()]

    def backward() -> list[np.ndarray]:
        y = value()
        grads = torch.autograd.grad(y, learned, gy)
        return [y.detach().numpy(), *[g.numpy() for g in grads]]

    return backward if case.backward else forward


def _adam(case: Case, layout: Any, compiled: bool) -> Run:
    params = [
        torch.from_numpy(x).requires_grad_() for x in parameters_of_adam(case.sizes["tensors"])
    ]
    for p in params:
        p.grad = 0.1 * p.detach()
    opt = torch.optim.Adam(params, lr=1e-3, fused=True)

    def step() -> list[np.ndarray]:
        opt.step()
        return [params[0].detach().numpy()]

    return step


def _small_graph(case: Case, layout: Any, compiled: bool) -> Run:
    x, y = (torch.ones(case.sizes["n"], requires_grad=True) for _ in "xy")

    def run() -> list[np.ndarray]:
        x.grad = y.grad = None
        (x + y).sum().backward()
        return [x.grad.numpy()]  # type: ignore[union-attr]

    return run


def _twin(theirs: Any, ours: Any, layout: Any = torch.contiguous_format) -> Any:
    state = {name: torch.from_numpy(np.array(x)) for name, x in ours.state_dict().items()}
    theirs.load_state_dict(state)
    return theirs.to(memory_format=layout)


def _step_vae(case: Case, layout: Any, compiled: bool) -> Run:
    ours, batch = minigen_side.build(case), batch_of(case)
    config = minigen_side.vae.PRESETS[case.sizes["network"]]
    model = _twin(torch_models.TorchVAE(config), ours, layout)
    opt = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    x, noise = _tensor(batch["x"], layout), _tensor(batch["z"])
    value = _maybe(lambda: sum(model.losses(x, noise)), compiled)

    def step() -> list[np.ndarray]:
        opt.zero_grad()
        loss = value()
        loss.backward()
        opt.step()
        return [loss.detach().numpy()]

    return step


def _gpt(case: Case) -> Any:
    ours = minigen_side.build(case)
    return _twin(torch_models.TorchGPT(ours.config), ours), ours.config


def _step_gpt(case: Case, layout: Any, compiled: bool) -> Run:
    (model, config), tokens = _gpt(case), batch_of(case)["tokens"]
    opt = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01, fused=True
    )
    context = minigen_side.image_gpt.context

    def value_of(told: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model(told).flatten(0, 1), target)

    value = _maybe(value_of, compiled)

    def step() -> list[np.ndarray]:
        told = torch.from_numpy(context(tokens, config.levels))  # as minigen does, in every step
        opt.zero_grad()
        loss = value(told, torch.from_numpy(tokens).flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        return [loss.detach().numpy()]

    return step


def _step_dcgan(case: Case, layout: Any, compiled: bool) -> Run:
    batch = batch_of(case)
    G, D = (_twin(torch_models.Layers(m), m, layout) for m in minigen_side.build(case))
    opts = [
        torch.optim.Adam(m.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=True) for m in (G, D)
    ]
    x, z = _tensor(2 * batch["x"] - 1, layout), _tensor(batch["z"][:, :, None, None], layout)
    generate, judge = _maybe(G, compiled), _maybe(D, compiled)  # type: ignore[arg-type]

    def step() -> list[np.ndarray]:
        fake = generate(z)  # type: ignore[call-arg]
        opts[1].zero_grad()
        real, false = judge(x), judge(fake.detach())  # type: ignore[call-arg]
        loss_d = F.softplus(-real).mean() + F.softplus(false).mean()
        loss_d.backward()
        opts[1].step()
        opts[0].zero_grad()
        loss_g = F.softplus(-judge(fake)).mean()  # type: ignore[call-arg]
        loss_g.backward()
        opts[0].step()
        return [loss_d.detach().numpy(), loss_g.detach().numpy()]

    return step


def _step_vit(case: Case, layout: Any, compiled: bool) -> Run:
    batch, s = batch_of(case), case.sizes
    model = _twin(torch_models.TorchViT(s["width"], s["layers"], 50), minigen_side.build(case))
    opt = torch.optim.AdamW(model.parameters(), lr=5e-4, fused=True)
    x, labels = _tensor(batch["x"]), _tensor(batch["labels"])
    value = _maybe(lambda: F.cross_entropy(model(x), labels), compiled)

    def step() -> list[np.ndarray]:
        opt.zero_grad()
        loss = value()
        loss.backward()
        opt.step()
        return [loss.detach().numpy()]

    return step


def _sample_gpt(case: Case, layout: Any, compiled: bool) -> Run:
    model, config = _gpt(case)
    told = torch.tensor(minigen_side.image_gpt.neighbours(config.size, config.size))
    draws = torch.Generator()

    def run() -> list[np.ndarray]:
        draws.manual_seed(0)
        return [torch_models.sample(model, case.sizes["n"], config.levels, told, draws)]

    return run


SPECIAL: dict[str, Callable[[Case, Any, bool], Run]] = {
    "adam": _adam,
    "small_graph": _small_graph,
    "step_vae": _step_vae,
    "step_gpt": _step_gpt,
    "step_dcgan": _step_dcgan,
    "step_vit": _step_vit,
    "sample_gpt": _sample_gpt,
}

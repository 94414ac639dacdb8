"""Whole training steps on a GPU: ours as written and as a CUDA graph, PyTorch's eager and compiled.

All take the same weights, images and noise; the first losses are compared before anything is timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .cases import STEPS_CONV, STEPS_MLP, Case
from .computations import batch_of
from .gpu_clock import one_line
from .runner import summary

# Launch-bound ones first: they are what a graph is for.
CASES = (
    Case("step_mlp_gan", "MLP GAN of 28², batch 128", {"batch": 128, "width": 128}),
    Case("step_dcgan", "DCGAN-28, batch 128", {"preset": "28", "batch": 128}),
    STEPS_MLP[0], *STEPS_CONV, *STEPS_MLP[1:3],
)  # fmt: skip
GANS = ("step_dcgan", "step_mlp_gan")
SMALLEST = (
    Case("step_vae", "MLP VAE of 8²", {"network": "mlp", "batch": 3,
                                      "config": {"size": 8, "hidden": 6, "latent": 3}}),
    Case("step_dcgan", "DCGAN of 8²", {"preset": "28", "batch": 3,
                                       "config": {"size": 8, "latent": 3, "width": 2}}),
    Case("step_mlp_gan", "MLP GAN of 4²", {"batch": 3, "width": 5,
                                          "config": {"size": 4, "latent": 3}}),
    Case("step_gpt", "image GPT 1×8 of 3²", {"size": 3, "batch": 2, "width": 8,
                                            "config": {"layers": 1, "n_heads": 2}}),
)  # fmt: skip
ALIKE = 2e-3  # of the first losses
PIECE = 0.05  # seconds that the steps of a piece are to take together

class Side:
    """A step(): run() takes it, losses() waits and reads what the last one gave."""

    def __init__(self, run: Callable[[], Any], read: Callable[[Any], list[float]], wait: Any):
        self._run, self._read, self.wait = run, read, wait
        self.last: Any = None

    def run(self) -> None:
        self.last = self._run()

    def losses(self) -> list[float]:
        return self._read(self.last)


def ours(case: Case, device: str, capture: bool, wait: Callable[[], None]) -> Side:
    """minigen's step on "cpu" or "cuda"."""
    from minigen import Tensor, grad, optim
    from minigen.capture import Captured
    from minigen.models import dcgan, image_gpt, vae

    from . import minigen_side

    made, batch = minigen_side.build(case), batch_of(case)
    model: Any = made
    models = made if isinstance(made, tuple) else (made,)
    for part in models:
        part.to(device)

    def put(x: np.ndarray) -> Tensor:
        return Tensor(x).to(device)

    if case.op == "step_vae":
        opt = optim.Adam(model.parameters(), lr=1e-3)

        def vae_step(x: Tensor, z: Tensor) -> Any:
            noise = minigen_side.Noise(z.data)
            reconstruction, kl = vae.losses(model, x, noise)
            loss = reconstruction + kl
            opt.step(grad(loss, opt.params))
            return (loss,)

        step, inputs = vae_step, (put(batch["x"]), put(batch["z"]))
    elif case.op in GANS:
        G, D = model
        opts = [optim.Adam(m.parameters(), lr=2e-4, betas=(0.5, 0.999)) for m in models]

        def gan_step(x: Tensor, z: Tensor) -> Any:
            fake = G(z)
            loss_d = dcgan.discriminator_loss(D(x), D(fake.detach()))
            opts[1].step(grad(loss_d, opts[1].params))
            loss_g = dcgan.generator_loss(D(fake))
            opts[0].step(grad(loss_g, opts[0].params))
            return loss_d, loss_g

        step, inputs = gan_step, tuple(put(x) for x in real_and_noise(case, batch))
    else:
        opt = optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01)
        places = model.places(np.arange(model.config.size**2))

        def gpt_step(told: Tensor, tokens: Tensor) -> Any:
            loss = image_gpt.nats_told(model, told, tokens, places).mean() / tokens.shape[1]
            grads, _ = optim.clip_grad_norm(grad(loss, opt.params), 1.0)
            opt.step(grads)
            return (loss,)

        told = image_gpt.told(model, batch["tokens"])
        step, inputs = gpt_step, tuple(x.to(device) for x in told)
    whole = Captured(step, device, _refuse) if capture else step
    return Side(lambda: whole(*inputs), lambda made: [float(x) for x in made], wait)


def real_and_noise(case: Case, batch: Any) -> tuple[np.ndarray, np.ndarray]:
    """What the two networks of a GAN are given: maps for convolutions, else vectors."""
    x, z = 2 * batch["x"] - 1, batch["z"]
    return (x, z[:, :, None, None]) if case.op == "step_dcgan" else (x.reshape(len(x), -1), z)


def _refuse(reason: str) -> None:
    raise RuntimeError(reason)


def theirs(case: Case, device: Any, compiled: bool) -> Side:
    """PyTorch's step, TF32 off; compiled with mode "reduce-overhead", which uses CUDA graphs."""
    import torch
    from torch.nn import functional as F

    from . import minigen_side, torch_models
    from .torch_side import _twin

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    if compiled and device.rehearsal:
        raise RuntimeError("it makes CUDA graphs, for which a rehearsal has no stand-in")
    made, batch, where = minigen_side.build(case), batch_of(case), device.torch
    layout = torch.channels_last

    def put(x: np.ndarray) -> Any:
        return torch.from_numpy(np.ascontiguousarray(x)).to(where)

    def maybe(f: Any) -> Any:
        return torch.compile(f, mode="reduce-overhead") if compiled else f

    adam: dict[str, Any] = {"fused": True, "capturable": compiled}
    if case.op == "step_vae":
        model = _twin(torch_models.TorchVAE(minigen_side.config_of(case)), made).to(where)
        opt = torch.optim.Adam(model.parameters(), lr=1e-3, **adam)
        x, z = put(batch["x"]), put(batch["z"])
        value = maybe(lambda: sum(model.losses(x, z)))

        def step() -> Any:
            opt.zero_grad()
            loss = value()
            loss.backward()
            opt.step()
            return (loss,)
    elif case.op in GANS:
        G, D = (_twin(torch_models.Layers(m), m, layout).to(where) for m in made)
        opts = [torch.optim.Adam(m.parameters(), lr=2e-4, betas=(0.5, 0.999), **adam)
                for m in (G, D)]  # fmt: skip
        x, z = (put(x) for x in real_and_noise(case, batch))
        x = x.contiguous(memory_format=layout) if x.ndim == 4 else x

        def both() -> Any:
            fake = G(z)
            real, false = D(x), D(fake.detach())
            return F.softplus(-real).mean() + F.softplus(false).mean(), fake

        first, second = maybe(both), maybe(lambda fake: F.softplus(-D(fake)).mean())

        def step() -> Any:
            opts[1].zero_grad()
            loss_d, fake = first()
            loss_d.backward()
            opts[1].step()
            opts[0].zero_grad()
            loss_g = second(fake)
            loss_g.backward()
            opts[0].step()
            return loss_d, loss_g
    else:
        model = _twin(torch_models.TorchGPT(made.config), made).to(where)
        opt = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01,
                                **adam)  # fmt: skip
        told = put(minigen_side.image_gpt.context(batch["tokens"], made.config.levels))
        target = put(batch["tokens"]).flatten()

        def entropy() -> Any:
            with torch.device(where):  # its positions are made inside
                return F.cross_entropy(model(told).flatten(0, 1), target)

        value = maybe(entropy)

        def step() -> Any:
            opt.zero_grad()
            loss = value()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            return (loss,)

    return Side(step, lambda made: [x.item() for x in made],
                device.synchronize_torch)  # fmt: skip


def measured(
    case: Case, device: Any, left: Callable[[], float], could_not: Callable[[str, str], None]
) -> dict[str, dict[str, Any]]:
    """{name: {"median", "best", "spread", "losses"}}: seconds of a step, with Python's."""
    makers: dict[str, Callable[[], Side]] = {
        "minigen": lambda: ours(case, "cuda", False, device.synchronize),
        "minigen, captured": lambda: ours(case, "cuda", True, device.synchronize),
        "torch eager": lambda: theirs(case, device, False),
        "torch compile(reduce-overhead)": lambda: theirs(case, device, True),
        "minigen on the CPU": lambda: ours(case, "cpu", False, lambda: None),
    }
    sides: dict[str, Side] = {}
    columns: dict[str, dict[str, Any]] = {}
    expected: list[float] | None = None
    for name, make in makers.items():
        try:
            if left() < 30:
                raise TimeoutError("no time left")
            side = make()
            side.run()
            losses = side.losses()
            expected = expected or losses
            apart = max(abs(a - b) / max(abs(b), 1e-9)
                        for a, b in zip(losses, expected, strict=True))  # fmt: skip
            if not apart < ALIKE:
                raise ArithmeticError(f"first losses {losses}, others have {expected}")
            for _ in range(device.warm_steps):
                side.run()
            side.wait()
            sides[name], columns[name] = side, {"losses": losses}
        except Exception as error:
            could_not(name, one_line(error))
    for name, values in _times(sides, device.rounds).items():
        columns[name] |= summary(values)
    return columns


def _times(sides: dict[str, Side], rounds: int) -> dict[str, list[float]]:
    """Seconds per step, in turn; a piece is some steps and one wait at its end."""
    steps = {name: max(1, min(200, round(PIECE / max(_piece(s, 1), 1e-6))))
             for name, s in sides.items()}  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        order = list(sides)
        for name in order if number % 2 == 0 else order[::-1]:
            times[name].append(_piece(sides[name], steps[name]))
    return times


def _piece(side: Side, steps: int) -> float:
    began = time.perf_counter()
    for _ in range(steps):
        side.run()
    side.wait()
    return (time.perf_counter() - began) / steps

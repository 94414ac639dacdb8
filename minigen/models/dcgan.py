"""DCGAN: a generator and a discriminator of strided convolutions, each learning from the other.

    discriminator:  minimise  E softplus(-D(x)) + E softplus(D(G(z)))      z ~ N(0, 1)
    generator:      minimise  E softplus(-D(G(z)))

D gives logits, so these are -E log σ(D(x)) - E log(1 - σ(D(G(z)))) and -E log σ(D(G(z))).
The generator's form is the non-saturating one: its slope does not vanish while D still wins easily,
as that of E log(1 - σ(D(G(z)))) would.

Source: Radford, Metz and Chintala, "Unsupervised representation learning with deep convolutional
generative adversarial networks", 2016; Goodfellow et al., "Generative adversarial nets", 2014.

Preset "32" is the usual network: 100 → 256 → 128 → 64 → channels, Adam 2e-4, β (0.5, 0.999),
batches of 64. Preset "28" deviates as explained at each field of Config. In both presets:
- samples come from an average of the generator over its last steps (EMA), batch-norm statistics
  included: single steps of a GAN circle around where their average lies;
- one batch of z serves both halves of a step, which saves a forward pass of G.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minigen import functional as F
from minigen import nn
from minigen.capture import captured
from minigen.data import Batches, ImageSet
from minigen.errors import UsageError
from minigen.models.limits import misfit, within
from minigen.optim import EMA, Adam
from minigen.tensor import Tensor, grad, no_grad


@dataclass(frozen=True)
class Config:
    """Hyper-parameters of DCGAN."""

    size: int = 28  # pixels of a side; a multiple of 4
    channels: int = 1  # 1 grey, 3 colour
    latent: int = 64  # of z. The paper has 100; digits need fewer, and each costs a 7×7 kernel
    width: int = 32  # feature maps by the image, doubled at each halving. Paper: 64, thrice as dear
    batch: int = 64  # images. Fewer make batch-norm statistics noisy, more cost time
    steps: int = 1600  # of both halves; a minute or two on two cores
    lr: float = 1e-3  # of both at first. The paper's 2e-4 is for long runs of a wider network
    beta1: float = 0.5  # the paper's: with 0.9 the two networks overshoot each other
    beta2: float = 0.999  # Adam's default
    slope: float = 0.2  # of D's leaky ReLU, so that G gets a gradient through inactive units too
    init_std: float = 0.02  # of weights, the paper's
    ema: float = 0.99  # decay of the averaged generator: about the last hundred steps
    decay: float = 0.5  # the part of the run, at its end, in which lr falls linearly to 0

    def __post_init__(self):
        within(self, 1, "channels", "latent", "width", "batch", "steps")
        within(self, 0, "lr", "slope", "init_std")
        within(self, 0, "beta1", "beta2", below=1)
        within(self, 0, "ema", "decay", high=1)
        if self.size % 4 or self.size < 8:
            raise UsageError(f"size {self.size}: dcgan needs a multiple of 4, at least 8")


PRESETS = {
    "28": Config(),  # digits within two minutes
    "28-wide": Config(latent=100, width=64, steps=8000, lr=2e-4, ema=0.999),  # finer, some ten
    "32": Config(
        size=32, channels=3, latent=100, width=64, steps=10_000, lr=2e-4, ema=0.999, decay=0.0
    ),
}


def config_for(shape: tuple[int, ...], preset: str | None = None) -> Config:
    """The preset (by default the one that suits the size) for images of shape (C, H, W)."""
    channels, height, width = shape
    if height != width or height % 4 or height < 8:
        raise UsageError(
            f"dcgan makes square images with a side that is a multiple of 4 and at least 8, not "
            f"{height}×{width}; for your own pictures give --data FOLDER --image-size 32."
        )
    name = preset or ("28" if height <= 28 else "32")
    return replace(PRESETS[name], size=height, channels=channels)


def check(config: Config, shape: tuple[int, ...]) -> None:
    """UsageError unless images of shape (C, H, W) are what the networks take and make."""
    if tuple(shape) != (config.channels, config.size, config.size):
        raise misfit(config, shape)


# ---- networks


def halvings(size: int) -> tuple[int, int]:
    """(side of the smallest feature map, number of halvings to it): 28 → (7, 2), 32 → (4, 3)."""
    base, count = size, 0
    while base % 2 == 0 and base > 6:
        base, count = base // 2, count + 1
    return base, count


class Generator(nn.Module):
    """z (N, latent, 1, 1) → images (N, C, H, W) in (-1, 1).

    The first layer makes the smallest feature map out of one point; every other doubles its side.
    No biases, because batch norm would remove them again. moments: batch norm comes next, and
    starts from what the convolution knows of its result.
    """

    def __init__(self, config: Config, *, rng: Any):
        base, count = halvings(config.size)
        widths = [config.width << i for i in reversed(range(count))]  # e.g. 256, 128, 64
        self.latent = config.latent
        to_norm: dict[str, Any] = {"bias": False, "moments": True, "rng": rng}
        to_image: dict[str, Any] = {"bias": False, "activation": "tanh", "rng": rng}
        first = nn.ConvTranspose2d(config.latent, widths[0], base, 1, 0, **to_norm)
        layers: list[nn.Module] = [first]
        for i, (cin, cout) in enumerate(zip(widths, [*widths[1:], config.channels], strict=True)):
            end = to_image if i == count - 1 else to_norm
            layers += [nn.BatchNorm2d(cin, activation="relu")]
            layers += [nn.ConvTranspose2d(cin, cout, 4, 2, 1, **end)]
        self.layers = nn.Sequential(*layers)
        init_weights(self, config.init_std, rng)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class Discriminator(nn.Module):
    """Images (N, C, H, W) → logits (N,), high for real ones.

    Every layer halves the side; the last one looks at the whole smallest feature map. The first has
    no batch norm, so that D sees the brightness of the images (the paper's advice).
    """

    def __init__(self, config: Config, *, rng: Any):
        base, count = halvings(config.size)
        widths = [config.channels, *[config.width << i for i in range(count)]]
        layers: list[nn.Module] = []
        leaky = ("leaky_relu", config.slope)
        for i, (cin, cout) in enumerate(zip(widths, widths[1:], strict=False)):
            end: dict[str, Any] = {"moments": True} if i else {"activation": leaky}
            layers += [nn.Conv2d(cin, cout, 4, 2, 1, bias=False, **end, rng=rng)]
            layers += [nn.BatchNorm2d(cout, activation=leaky)] if i else []
        last = nn.Conv2d(widths[-1], 1, base, 1, 0, bias=False, rng=rng)
        self.layers = nn.Sequential(*layers, last)
        init_weights(self, config.init_std, rng)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).reshape((x.shape[0],))  # (N, 1, 1, 1) → (N,)


def init_weights(module: nn.Module, std: float, rng: Any) -> None:
    """Weights from N(0, std²); those of batch norm, which are factors, from N(1, std²)."""
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(part.weight, 0.0, std, rng=rng)
        elif isinstance(part, nn.BatchNorm2d) and part.weight is not None:
            nn.init.normal_(part.weight, 1.0, std, rng=rng)


# ---- losses, means over the batch


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E softplus(-D(x)) + E softplus(D(G(z))): finite at any logit."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """E softplus(-D(G(z))): the non-saturating form."""
    return F.softplus(-fake_logits).mean()


# ---- using it


def build(config: Config, rng: Any) -> Generator:
    """A new generator."""
    return Generator(config, rng=rng)


def noise(n: int, latent: int, rng: Any) -> Tensor:
    """z ~ N(0, 1), (n, latent, 1, 1)."""
    return Tensor(rng.normal((n, latent, 1, 1)))


def sample(model: Generator, n: int, rng: Any) -> np.ndarray:
    """n images (n, C, H, W) in [-1, 1]; batch norm uses its running statistics, so that an image
    depends on its own z only."""
    was_training = model.training
    model.eval()
    with no_grad():
        images = model(noise(n, model.latent, rng).to(model.device)).numpy()
    model.train(was_training)
    return images


def restore(config: Config, state: Mapping[str, Any]) -> Generator:
    """The averaged generator of a checkpoint."""
    from minigen_kernels.random import Generator as Randomness

    model = build(config, Randomness(0))  # every value is replaced
    ema = EMA(statistics(model), config.ema)
    ema.load_state_dict(state["ema"])
    ema.copy_to(statistics(model))
    return model


def statistics(model: nn.Module) -> list[Tensor]:
    """What is averaged: parameters, and the running means and variances of batch norm."""
    return [*model.parameters(), *(b for b in model.buffers() if b.dtype.kind == "f")]


def train(config: Config, data: ImageSet, rng: Any, run: Any) -> Generator:
    """Both networks in turn, once per batch; returns the averaged generator."""
    G = Generator(config, rng=rng.split("generator")).to(run.device)
    D = Discriminator(config, rng=rng.split("discriminator")).to(run.device)
    model = build(config, rng.split("generator")).to(run.device)  # gets the average, to sample with
    opt_g = Adam(G.parameters(), lr=config.lr, betas=(config.beta1, config.beta2))
    opt_d = Adam(D.parameters(), lr=config.lr, betas=(config.beta1, config.beta2))
    ema = EMA(statistics(G), config.ema)
    draws = rng.split("noise").to(run.device)
    batches = Batches(data, config.batch, seed=rng.seed)

    def draw_fixed() -> np.ndarray:
        ema.copy_to(statistics(model))
        return sample(model, 100, rng.split("watch"))

    run.keep(
        generator=G, discriminator=D, opt_g=opt_g, opt_d=opt_d, ema=ema, rng=draws, batches=batches
    )
    run.watch(draw_fixed)

    def both(x_real: Tensor) -> tuple[Tensor, Tensor]:
        x_fake = G(noise(len(x_real), config.latent, draws))
        # (1) discriminator: minimise softplus(-D(x)) + softplus(D(G(z))). Real and fake images go
        # through in batches of their own, so that batch norm does not mix their statistics.
        loss_d = discriminator_loss(D(x_real), D(x_fake.detach()))
        opt_d.step(grad(loss_d, opt_d.params))
        # (2) generator: minimise softplus(-D(G(z)))
        loss_g = generator_loss(D(x_fake))
        opt_g.step(grad(loss_g, opt_g.params))
        ema.update()  # (3) the average follows
        return loss_d, loss_g

    both = captured(both, G.device, run.say)
    for step, indices in run.steps(batches, config.steps):
        opt_g.lr = opt_d.lr = learning_rate(config, step)
        ema.decay = min(config.ema, step / (step + 10))  # the first steps are worth forgetting
        loss_d, loss_g = both(Tensor(data.take(indices).normalised()))  # (N, C, H, W) in [-1, 1]
        run.log(loss_d=loss_d, loss_g=loss_g)
    ema.copy_to(statistics(model))
    return model


def learning_rate(config: Config, step: int) -> float:
    """lr, and in the last part of the run a straight line to 0: the circling dies down."""
    left = 1 - (step - 1) / config.steps
    return config.lr * min(1.0, left / config.decay) if config.decay > 0 else config.lr


def evaluate(model: Generator, data: ImageSet, rng: Any) -> dict[str, float]:
    """What a classifier trained here on the same set sees in 100 samples.

    classes that it sees; mean_top_probability, how sure it is; classifier_accuracy, how good it is
    itself on `data`, the test images. UsageError for data without labels.
    """
    from minigen.metrics import classifier

    judge = classifier.for_data(data)
    seen = classifier.judge(sample(model, 100, rng), judge)
    return {
        "classes": float(seen["classes"]),
        "mean_top_probability": seen["mean_top_probability"],
        "classifier_accuracy": classifier.accuracy(judge, data),
    }


def flop_per_step(config: Config) -> float:
    """2 · multiplications, forward and backward (each twice as dear as forward; inputs' slopes of D
    only, in the generator's half)."""
    base, count = halvings(config.size)
    g = config.latent * (config.width << (count - 1)) * base**2
    d = (config.width << (count - 1)) * base**2
    for i in range(count):  # a 4×4 kernel at every pixel of the smaller of two feature maps
        inner = config.width << (count - 1 - i)
        outer = config.channels if i == count - 1 else config.width << (count - 2 - i)
        pixels = (base << i) ** 2
        g += inner * outer * 16 * pixels
        d += inner * outer * 16 * pixels
    return 2.0 * config.batch * (3 * g + 8 * d)

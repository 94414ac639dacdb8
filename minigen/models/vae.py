"""VAE: a variational auto-encoder, with fully connected or convolutional networks.

    minimise  E_{z ~ q(z|x)} [ -log p(x|z) ] + β · KL(q(z|x) ‖ N(0, 1))      (β = 1: minus the ELBO)

    q(z|x) = N(μ(x), σ²(x))                           the encoder gives μ and log σ²
    z = μ + σ · ε,  ε ~ N(0, 1)                       so that the slope reaches μ and σ
    -log p(x|z) = Σ_pixels softplus(l) - x · l        the decoder's logits l, pixels x in [0, 1]

Both terms are sums over pixels or latents: nats per image. On grey pixels the first is a loss, not
a likelihood; it compares with other figures of the same protocol only.

Source: Kingma and Welling, "Auto-encoding variational Bayes", 2014; β: Higgins et al., "β-VAE",
2017. Preset "mlp" is the VAE of pytorch/examples (784-400-20, ReLU, Adam 1e-3, batches of 128, 10
epochs of MNIST), whose weights load by name. No deviation. Preset "conv" is ours.
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
from minigen.errors import UsageError, did_you_mean
from minigen.models.limits import misfit, within
from minigen.optim import Adam
from minigen.tensor import Tensor, grad, no_grad


@dataclass(frozen=True)
class Config:
    """Hyper-parameters of the VAE."""

    network: str = "mlp"  # or "conv", for which the side must be a multiple of 4
    size: int = 28  # pixels of a side
    channels: int = 1  # 1 grey, 3 colour
    hidden: int = 400  # units of the hidden layer; "conv": of the layer between maps and latents
    width: int = 32  # "conv" only: feature maps at half the side, twice as many at a quarter
    latent: int = 20  # of z: about as many as digits can use, more stay at their prior
    beta: float = 1.0  # weight of the KL; 1 is the ELBO, more gives smoother, blurrier images
    batch: int = 128  # images
    steps: int = 4690  # 10 epochs of MNIST: 469 batches each, the last one smaller
    lr: float = 1e-3  # Adam's default

    def __post_init__(self):
        within(self, 1, "size", "channels", "hidden", "width", "latent", "batch", "steps")
        within(self, 0, "beta", "lr")
        if self.network not in NETWORKS:
            raise UsageError(
                f'vae has the networks {", ".join(NETWORKS)}, not "{self.network}".'
                f"{did_you_mean(self.network, list(NETWORKS))}"
            )
        if self.network == "conv" and self.size % 4:
            raise UsageError(f"size {self.size}: network conv needs a multiple of 4")


NETWORKS = ("mlp", "conv")
PRESETS = {
    "mlp": Config(),
    "conv": Config(network="conv", hidden=256, width=32, steps=4690),
}


def config_for(shape: tuple[int, ...], preset: str | None = None) -> Config:
    """The preset (default: "mlp") for images of shape (C, H, W)."""
    channels, height, width = shape
    config = PRESETS[preset or "mlp"]
    if height != width or (config.network == "conv" and height % 4):
        raise UsageError(
            f"vae takes square images (preset conv: with a side that is a multiple of 4), not "
            f"{height}×{width}; for your own pictures give --data FOLDER --image-size 32."
        )
    return replace(config, size=height, channels=channels)


def check(config: Config, shape: tuple[int, ...]) -> None:
    """UsageError unless images of shape (C, H, W) are what the networks take and make."""
    if tuple(shape) != (config.channels, config.size, config.size):
        raise misfit(config, shape)


# ---- networks


class MLP(nn.Module):
    """784 → 400 → (μ, log σ²) and 20 → 400 → 784; the names are those of pytorch/examples."""

    def __init__(self, config: Config, *, rng: Any):
        self.shape = (config.channels, config.size, config.size)
        self.latent = config.latent
        pixels = config.channels * config.size**2
        self.fc1 = nn.Linear(pixels, config.hidden, activation="relu", rng=rng)
        self.fc21 = nn.Linear(config.hidden, config.latent, rng=rng)
        self.fc22 = nn.Linear(config.hidden, config.latent, rng=rng)
        self.fc3 = nn.Linear(config.latent, config.hidden, activation="relu", rng=rng)
        self.fc4 = nn.Linear(config.hidden, pixels, rng=rng)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) in [0, 1] → μ and log σ², (N, latent) each."""
        h = self.fc1(x.reshape((x.shape[0], -1)))  # (N, C·H·W) → (N, hidden), with its ReLU
        return self.fc21(h), self.fc22(h)

    def decode(self, z: Tensor) -> Tensor:
        """z (N, latent) → logits of the pixels, (N, C, H, W)."""
        return self.fc4(self.fc3(z)).reshape((z.shape[0], *self.shape))


class Conv(nn.Module):
    """Two strided convolutions down to a quarter of the side, and their transposes back up."""

    def __init__(self, config: Config, *, rng: Any):
        side, w = config.size // 4, config.width
        self.latent, self.maps = config.latent, (2 * w, side, side)
        units = 2 * w * side**2
        self.conv1 = nn.Conv2d(config.channels, w, 4, 2, 1, activation="relu", rng=rng)
        self.conv2 = nn.Conv2d(w, 2 * w, 4, 2, 1, activation="relu", rng=rng)
        self.fc1 = nn.Linear(units, config.hidden, activation="relu", rng=rng)
        self.fc21 = nn.Linear(config.hidden, config.latent, rng=rng)
        self.fc22 = nn.Linear(config.hidden, config.latent, rng=rng)
        self.fc3 = nn.Linear(config.latent, config.hidden, activation="relu", rng=rng)
        self.fc4 = nn.Linear(config.hidden, units, activation="relu", rng=rng)
        self.conv3 = nn.ConvTranspose2d(2 * w, w, 4, 2, 1, activation="relu", rng=rng)
        self.conv4 = nn.ConvTranspose2d(w, config.channels, 4, 2, 1, rng=rng)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) in [0, 1] → μ and log σ², (N, latent) each."""
        h = self.conv2(self.conv1(x))  # (N, 2w, H/4, W/4), each with its ReLU
        h = self.fc1(h.reshape((x.shape[0], -1)))  # → (N, hidden)
        return self.fc21(h), self.fc22(h)

    def decode(self, z: Tensor) -> Tensor:
        """z (N, latent) → logits of the pixels, (N, C, H, W)."""
        h = self.fc4(self.fc3(z)).reshape((z.shape[0], *self.maps))
        return self.conv4(self.conv3(h))  # (N, 2w, H/4, W/4) → (N, C, H, W)


# ---- the loss


def reparameterize(mu: Tensor, logvar: Tensor, rng: Any) -> Tensor:
    """z = μ + σ · ε with σ = exp(½ log σ²) and ε ~ N(0, 1)."""
    return mu + (0.5 * logvar).exp() * Tensor(rng.normal(mu.shape, mu.dtype)).to(mu.device)


def losses(model: Any, x: Tensor, rng: Any) -> tuple[Tensor, Tensor]:
    """(-log p(x|z), KL(q(z|x) ‖ N(0, 1))), each summed over pixels or latents and the batch."""
    mu, logvar = model.encode(x)
    logits = model.decode(reparameterize(mu, logvar, rng))
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    return reconstruction, F.gaussian_kl(mu, logvar, reduction="sum")


# ---- using it


def build(config: Config, rng: Any) -> MLP | Conv:
    """A new model."""
    return (Conv if config.network == "conv" else MLP)(config, rng=rng)


def sample(model: Any, n: int, rng: Any) -> np.ndarray:
    """n images (n, C, H, W) in [-1, 1]: the decoder's means at z ~ N(0, 1)."""
    return decoded(model, Tensor(rng.normal((n, model.latent))))


def decoded(model: Any, z: Tensor) -> np.ndarray:
    """The decoder's means σ(logits) at z (N, latent), scaled to [-1, 1]."""
    with no_grad():
        return (2 * F.sigmoid(model.decode(z.to(model.device))) - 1).numpy()


def encoded(model: Any, images: np.ndarray) -> Tensor:
    """μ (N, latent) of images in [-1, 1]."""
    with no_grad():
        return model.encode(Tensor((images + 1) / 2).to(model.device))[0]


def reconstruct(model: Any, images: np.ndarray) -> np.ndarray:
    """Images in [-1, 1] through the encoder's mean and back."""
    return decoded(model, encoded(model, images))


def interpolate(model: Any, a: np.ndarray, b: np.ndarray, steps: int = 8) -> np.ndarray:
    """From image a to image b (C, H, W) along a line between their codes: (steps, C, H, W)."""
    ends = encoded(model, np.stack([a, b])).numpy()
    t = np.linspace(0, 1, steps, dtype=ends.dtype)[:, None]
    return decoded(model, Tensor((1 - t) * ends[0] + t * ends[1]))


def restore(config: Config, state: Mapping[str, Any]) -> MLP | Conv:
    """The model of a checkpoint."""
    from minigen_kernels.random import Generator

    model = build(config, Generator(0))  # every value is replaced
    model.load_state_dict(state["model"])
    return model


def train(config: Config, data: ImageSet, rng: Any, run: Any) -> MLP | Conv:
    """Adam on minus the ELBO, summed over the batch."""
    model = build(config, rng.split("model")).to(run.device)
    opt = Adam(model.parameters(), lr=config.lr)
    draws = rng.split("noise").to(run.device)
    batches = Batches(data, config.batch, seed=rng.seed, drop_last=False)

    run.keep(model=model, opt=opt, rng=draws, batches=batches)
    run.watch(lambda: sample(model, 100, rng.split("watch")))

    def step(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # minimise Σ -log p(x|z) + β · KL
        reconstruction, kl = losses(model, x, draws)
        loss = reconstruction + config.beta * kl
        opt.step(grad(loss, opt.params))
        return loss, reconstruction, kl

    step = captured(step, model.device, run.say)
    for _, indices in run.steps(batches, config.steps):
        x = Tensor(data.take(indices).normalised(0, 1))  # (N, C, H, W) in [0, 1]
        loss, reconstruction, kl = step(x)
        n = len(indices)
        run.log(loss=loss / n, reconstruction=reconstruction / n, kl=kl / n)
    return model


def evaluate(model: Any, data: ImageSet, rng: Any, batch: int = 500) -> dict[str, float]:
    """Nats per image of `data`, one z for each: test_loss = reconstruction + kl (β = 1)."""
    sums = np.zeros(2)
    with no_grad():
        for start in range(0, len(data), batch):
            x = Tensor(data.take(slice(start, start + batch)).normalised(0, 1)).to(model.device)
            sums += [part.item() for part in losses(model, x, rng)]
    reconstruction, kl = (float(s) for s in sums / max(len(data), 1))
    return {"test_loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


def flop_per_step(config: Config) -> float:
    """2 · multiplications, forward and backward (twice as dear as forward)."""
    units = config.channels * config.size**2
    convolutions = 0
    if config.network == "conv":
        quarter = (config.size // 4) ** 2
        outer, inner = config.channels * config.width, 2 * config.width**2
        convolutions = 2 * 16 * quarter * (4 * outer + inner)
        units = 2 * config.width * quarter
    dense = 2 * units * config.hidden + 3 * config.hidden * config.latent
    return 6.0 * config.batch * (dense + convolutions)

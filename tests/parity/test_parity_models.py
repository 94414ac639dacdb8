"""A whole training step of a GAN, a VAE and a transformer from equal weights, and weights that
travel between the libraries as safetensors files: each twin below is idiomatic torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from minigen_kernels.random import Generator
from torch.nn import functional as TF

from minigen import Tensor, grad, nn, optim
from minigen.models import dcgan, image_gpt, vae

DCGAN = dcgan.Config(size=12, latent=7, width=6, batch=5)
GPT = image_gpt.Config(size=5, levels=6, width=12, layers=2, n_heads=3, batch=4)
VAES = {
    "mlp": vae.Config(hidden=30, size=12, latent=5),
    "conv": vae.Config(network="conv", hidden=30, size=12, latent=5, width=4),
}


# ---- the twins


def torch_layers(layers: Any) -> torch.nn.Sequential:
    """The same layers, from the attributes that both libraries have."""
    built: list[torch.nn.Module] = []
    for layer in layers:
        name = type(layer).__name__
        if name in ("Conv2d", "ConvTranspose2d"):
            first, second, *kernel = layer.weight.shape
            channels = (second, first) if name == "Conv2d" else (first, second)
            kind = getattr(torch.nn, name)
            built.append(kind(*channels, kernel, layer.stride, layer.padding, bias=False))
        elif name == "BatchNorm2d":
            built.append(torch.nn.BatchNorm2d(len(layer.weight)))
        else:
            inplace = {"ReLU": torch.nn.ReLU(), "Tanh": torch.nn.Tanh()}
            built.append(inplace.get(name, torch.nn.LeakyReLU(0.2)))
    return torch.nn.Sequential(*built)


class Layers(torch.nn.Module):
    """A network that is one Sequential named `layers`."""

    def __init__(self, ours: Any):
        super().__init__()
        self.layers = torch_layers(ours.layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class TorchVAE(torch.nn.Module):
    """pytorch/examples' VAE, and its convolutional sibling."""

    def __init__(self, config: vae.Config):
        super().__init__()
        self.config = c = config
        pixels, w = c.size**2, c.width
        units = 2 * w * (c.size // 4) ** 2
        if c.network == "conv":
            self.conv1 = torch.nn.Conv2d(1, w, 4, 2, 1)
            self.conv2 = torch.nn.Conv2d(w, 2 * w, 4, 2, 1)
            self.conv3 = torch.nn.ConvTranspose2d(2 * w, w, 4, 2, 1)
            self.conv4 = torch.nn.ConvTranspose2d(w, 1, 4, 2, 1)
        ends = units if c.network == "conv" else pixels
        self.fc1, self.fc4 = torch.nn.Linear(ends, c.hidden), torch.nn.Linear(c.hidden, ends)
        self.fc21 = torch.nn.Linear(c.hidden, c.latent)
        self.fc22 = torch.nn.Linear(c.hidden, c.latent)
        self.fc3 = torch.nn.Linear(c.latent, c.hidden)

    def losses(self, x: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        conv = self.config.network == "conv"
        h = TF.relu(self.conv2(TF.relu(self.conv1(x)))) if conv else x
        h = TF.relu(self.fc1(h.flatten(1)))
        mu, logvar = self.fc21(h), self.fc22(h)
        h = self.fc4(TF.relu(self.fc3(mu + torch.exp(0.5 * logvar) * noise)))
        if conv:
            side = self.config.size // 4
            h = TF.relu(h).unflatten(1, (2 * self.config.width, side, side))
            h = self.conv4(TF.relu(self.conv3(h)))
        bce = TF.binary_cross_entropy_with_logits(h.flatten(1), x.flatten(1), reduction="sum")
        return bce, -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())


class TorchBlock(torch.nn.Module):
    def __init__(self, d: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = torch.nn.LayerNorm(d), torch.nn.LayerNorm(d)
        self.qkv, self.out = torch.nn.Linear(d, 3 * d), torch.nn.Linear(d, d)
        self.mlp_in, self.mlp_out = torch.nn.Linear(d, 4 * d), torch.nn.Linear(4 * d, d)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(self.norm1(h)).chunk(3, dim=-1)
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        a = TF.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.out(a.transpose(1, 2).flatten(2))
        return h + self.mlp_out(TF.gelu(self.mlp_in(self.norm2(h))))


class TorchGPT(torch.nn.Module):
    def __init__(self, c: image_gpt.Config):
        super().__init__()
        d = c.width
        self.size = c.size
        self.token = torch.nn.ModuleList(torch.nn.Embedding(c.levels + 1, d) for _ in range(4))
        self.row, self.column = torch.nn.Embedding(c.size, d), torch.nn.Embedding(c.size, d)
        self.blocks = torch.nn.ModuleList(TorchBlock(d, c.n_heads) for _ in range(c.layers))
        self.norm, self.head = torch.nn.LayerNorm(d), torch.nn.Linear(d, c.levels)
        self.register_buffer("palette", torch.zeros(c.levels, c.channels))

    def forward(self, context: torch.Tensor) -> torch.Tensor:
        at = torch.arange(self.size**2)
        h = self.row(at // self.size) + self.column(at % self.size)
        h = h + sum(table(context[..., i]) for i, table in enumerate(self.token))
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h))


# ---- equal weights, equal steps


def twin_of(ours: nn.Module, theirs: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """`theirs` in float64, with the weights of `ours`, by name, through a safetensors file."""
    ours.to(np.float64)
    safetensors.numpy.save_file(ours.state_dict(), folder / "ours.safetensors")
    theirs.double().load_state_dict(safetensors.torch.load_file(folder / "ours.safetensors"))
    return theirs


def same_weights(ours: nn.Module, theirs: torch.nn.Module) -> None:
    state = theirs.state_dict()
    assert list(ours.state_dict()) and set(ours.state_dict()) == set(state)
    for name, value in ours.state_dict().items():
        other = state[name].numpy()
        np.testing.assert_allclose(value, other, rtol=1e-7, atol=1e-7, err_msg=name)


def test_dcgan_step(tmp_path: Path) -> None:
    rng = Generator(3)
    G, D = dcgan.Generator(DCGAN, rng=rng), dcgan.Discriminator(DCGAN, rng=rng)
    G2 = twin_of(G, Layers(G), tmp_path)
    D2 = twin_of(D, Layers(D), tmp_path)
    ours = [optim.Adam(m.parameters(), lr=1e-3, betas=(0.5, 0.999)) for m in (G, D)]
    theirs = [torch.optim.Adam(m.parameters(), lr=1e-3, betas=(0.5, 0.999)) for m in (G2, D2)]
    for _ in range(3):
        x = np.tanh(rng.normal((5, 1, 12, 12), np.float64))
        z = rng.normal((5, 7, 1, 1), np.float64)

        fake = G(Tensor(z))
        loss_d = dcgan.discriminator_loss(D(Tensor(x)), D(fake.detach()))
        ours[1].step(grad(loss_d, ours[1].params))
        loss_g = dcgan.generator_loss(D(fake))
        ours[0].step(grad(loss_g, ours[0].params))

        fake2 = G2(torch.from_numpy(z))
        real_logits = D2(torch.from_numpy(x))
        ones = torch.ones_like(real_logits)
        bce = TF.binary_cross_entropy_with_logits
        loss_d2 = bce(real_logits, ones) + bce(D2(fake2.detach()), 0 * ones)
        theirs[1].zero_grad()
        loss_d2.backward()
        theirs[1].step()
        loss_g2 = bce(D2(fake2), ones)
        theirs[0].zero_grad()
        loss_g2.backward()
        theirs[0].step()
        np.testing.assert_allclose(loss_d.item(), loss_d2.item(), rtol=1e-7)
        np.testing.assert_allclose(loss_g.item(), loss_g2.item(), rtol=1e-7)
    same_weights(G, G2)
    same_weights(D, D2)


class Fixed:
    """An rng that gives the noise which the twin gets too."""

    def __init__(self, noise: np.ndarray):
        self.noise = noise

    def normal(self, shape: Any, dtype: Any = np.float64) -> np.ndarray:
        assert tuple(shape) == self.noise.shape
        return self.noise


@pytest.mark.parametrize("network", list(VAES))
def test_vae_step(network: str, tmp_path: Path) -> None:
    config, rng = VAES[network], Generator(4)
    model = vae.build(config, rng)
    twin: Any = twin_of(model, TorchVAE(config), tmp_path)
    ours = optim.Adam(model.parameters(), lr=1e-3)
    theirs = torch.optim.Adam(twin.parameters(), lr=1e-3)
    for _ in range(3):
        x = rng.uniform((6, 1, 12, 12), np.float64)
        noise = rng.normal((6, 5), np.float64)
        reconstruction, kl = vae.losses(model, Tensor(x), Fixed(noise))
        ours.step(grad(reconstruction + kl, ours.params))
        bce, kl2 = twin.losses(torch.from_numpy(x), torch.from_numpy(noise))
        theirs.zero_grad()
        (bce + kl2).backward()
        theirs.step()
        np.testing.assert_allclose(reconstruction.item(), bce.item(), rtol=1e-9)
        np.testing.assert_allclose(kl.item(), kl2.item(), rtol=1e-7)
    same_weights(model, twin)


def test_transformer_step(tmp_path: Path) -> None:
    rng = Generator(5)
    model = image_gpt.build(GPT, rng)
    twin = twin_of(model, TorchGPT(GPT), tmp_path)
    ours = optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01)
    theirs = torch.optim.AdamW(twin.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01)
    for _ in range(3):
        tokens = rng.integers(0, GPT.levels, (4, 5, 5))
        loss = image_gpt.nats(model, tokens).mean()
        grads, _ = optim.clip_grad_norm(grad(loss, ours.params), 1.0)
        ours.step(grads)
        logits = twin(torch.from_numpy(image_gpt.context(tokens, GPT.levels)))
        target = torch.from_numpy(tokens).flatten()
        loss2 = TF.cross_entropy(logits.flatten(0, 1), target, reduction="sum") / 4
        theirs.zero_grad()
        loss2.backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        theirs.step()
        np.testing.assert_allclose(loss.item(), loss2.item(), rtol=1e-7)
    same_weights(model, twin)


# ---- what torch saved loads here


def test_weights_that_torch_saved_load_by_name(tmp_path: Path) -> None:
    theirs = torch.nn.ModuleDict(
        {
            "conv": torch.nn.Conv2d(4, 6, 3, groups=2),
            "up": torch.nn.ConvTranspose2d(6, 4, 2, bias=False),
            "norm": torch.nn.BatchNorm2d(6),
            "groups": torch.nn.GroupNorm(2, 6),
            "encoder": torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
            "decoder": torch.nn.TransformerDecoderLayer(8, 2, 16, batch_first=True),
            "words": torch.nn.Embedding(5, 8),
        }
    )
    path = tmp_path / "torch.safetensors"
    safetensors.torch.save_file(theirs.state_dict(), path)
    rng = Generator(0)

    class Ours(nn.Module):
        def __init__(self) -> None:
            self.conv = nn.Conv2d(4, 6, 3, groups=2, rng=rng)
            self.up = nn.ConvTranspose2d(6, 4, 2, bias=False, rng=rng)
            self.norm = nn.BatchNorm2d(6)
            self.groups = nn.GroupNorm(2, 6)
            self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, rng=rng)
            self.decoder = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True, rng=rng)
            self.words = nn.Embedding(5, 8, rng=rng)

    ours = Ours()
    ours.load_state_dict(safetensors.numpy.load_file(path))
    same_weights(ours, theirs)
    x = np.random.default_rng(0).standard_normal((2, 5, 8)).astype(np.float32)
    ours.eval()
    theirs.eval()
    with torch.no_grad():
        expected = theirs["decoder"](torch.from_numpy(x), theirs["encoder"](torch.from_numpy(x)))
    got = ours.decoder(Tensor(x), ours.encoder(Tensor(x)))
    np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)

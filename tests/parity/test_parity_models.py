"""A whole training step of a GAN, a VAE and a transformer from equal weights, and weights that
travel between the libraries as safetensors files."""

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

from benchmarks.torch_models import Layers, TorchGPT, TorchVAE
from minigen import Tensor, grad, nn, optim
from minigen.models import dcgan, image_gpt, vae

DCGAN = dcgan.Config(size=12, latent=7, width=6, batch=5)
GPT = image_gpt.Config(size=5, levels=6, width=12, layers=2, n_heads=3, batch=4)
VAES = {
    "mlp": vae.Config(hidden=30, size=12, latent=5),
    "conv": vae.Config(network="conv", hidden=30, size=12, latent=5, width=4),
}


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

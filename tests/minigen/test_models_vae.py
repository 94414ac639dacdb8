"""VAE: the laws of its loss, counts, names, evaluation, overfitting."""

import dataclasses

import numpy as np
import pytest

from minigen import Generator, Tensor, no_grad
from minigen import functional as F
from minigen.errors import UsageError
from minigen.models import vae
from minigen.training import NullRun
from tests.minigen.model_helpers import pictures

TINY = vae.Config(size=8, hidden=16, latent=3, width=3, batch=4, steps=5)


def test_the_example_network_has_the_example_counts_and_names():
    model = vae.build(vae.config_for((1, 28, 28)), Generator(0))
    encoder = 784 * 400 + 400 + 2 * (400 * 20 + 20)
    decoder = 20 * 400 + 400 + 400 * 784 + 784
    assert sum(p.size for p in model.parameters()) == encoder + decoder
    names = [f"{layer}.{part}" for layer in ("fc1", "fc21", "fc22", "fc3", "fc4")
             for part in ("weight", "bias")]  # fmt: skip
    assert list(model.state_dict()) == names


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("channels, size", [(1, 8), (3, 12), (2, 4)])
def test_shapes_with_odd_widths_and_channels(network, channels, size):
    config = dataclasses.replace(TINY, network=network, channels=channels, size=size, width=5)
    model = vae.build(config, Generator(0))
    assert vae.sample(model, 3, Generator(1)).shape == (3, channels, size, size)
    x = pictures(2, size, channels).normalised()
    assert vae.reconstruct(model, x).shape == x.shape
    path = vae.interpolate(model, x[0], x[1], steps=4)
    assert path.shape == (4, *x.shape[1:])
    np.testing.assert_allclose(path[[0, -1]], vae.reconstruct(model, x), atol=1e-5)


def test_unknown_networks_and_shapes_are_refused():
    with pytest.raises(UsageError, match="mlp, conv"):
        dataclasses.replace(TINY, network="gru")
    with pytest.raises(UsageError, match="multiple of 4"):
        vae.config_for((1, 30, 30), "conv")
    assert vae.config_for((1, 30, 30)).size == 30


def test_samples_have_the_mean_and_the_variance_that_were_asked_for():
    mu = Tensor(np.array([[2.0, -1.0]]).repeat(40_000, 0))
    logvar = Tensor(np.log([[0.25, 4.0]]).repeat(40_000, 0))
    z = vae.reparameterize(mu, logvar, Generator(0)).numpy()
    np.testing.assert_allclose(z.mean(0), [2, -1], atol=0.04)
    np.testing.assert_allclose(z.var(0), [0.25, 4.0], rtol=0.03)


class Fixed:
    """An encoder that always says the same, and a decoder whose logits are 0."""

    def __init__(self, mu, logvar, pixels):
        self.mu, self.logvar, self.pixels = mu, logvar, pixels

    def encode(self, x):
        return self.mu, self.logvar

    def decode(self, z):
        return Tensor(np.zeros(self.pixels))


def test_the_terms_are_sums_over_pixels_latents_and_images():
    rng = np.random.default_rng(0)
    mu, logvar = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    x = Tensor(rng.random((5, 1, 4, 4)))
    reconstruction, kl = vae.losses(Fixed(Tensor(mu), Tensor(logvar), x.shape), x, Generator(0))
    assert reconstruction.item() == pytest.approx(5 * 16 * np.log(2))
    assert kl.item() == pytest.approx(0.5 * (np.exp(logvar) + mu**2 - 1 - logvar).sum())
    zero = Tensor(np.zeros((5, 3)))
    assert vae.losses(Fixed(zero, zero, x.shape), x, Generator(0))[1].item() == 0


def test_the_kl_is_the_mean_of_the_log_ratio():
    """KL(q‖p) = E_q log q(z)/p(z), by 200,000 draws."""
    mu, logvar = np.array([0.7, -1.2]), np.array([0.4, -0.9])
    n = 200_000
    z = vae.reparameterize(
        Tensor(mu[None].repeat(n, 0)), Tensor(logvar[None].repeat(n, 0)), Generator(1)
    ).numpy()
    log_q = -0.5 * (logvar + (z - mu) ** 2 / np.exp(logvar))
    log_p = -0.5 * z**2
    estimate = (log_q - log_p).sum(1).mean()
    closed = F.gaussian_kl(Tensor(mu[None]), Tensor(logvar[None]), reduction="sum").item()
    assert estimate == pytest.approx(closed, abs=0.02)


def test_the_loss_is_finite_at_extreme_logits():
    logits = Tensor(np.array([-60.0, 60.0, 60.0]), requires_grad=True)
    x = Tensor(np.array([0.0, 1.0, 0.5]))
    loss = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    assert loss.item() == pytest.approx(30.0)


def test_beta_weighs_the_kl_in_training_and_not_in_evaluation():
    data = pictures(10)
    for beta in (1.0, 4.0):
        run = NullRun()
        config = dataclasses.replace(TINY, beta=beta)
        model = vae.train(config, data, Generator(0), run)
        for line in run.logs:
            assert line["loss"] == pytest.approx(
                line["reconstruction"] + beta * line["kl"], rel=1e-5
            )
        found = vae.evaluate(model, data, Generator(1))
        assert found["test_loss"] == pytest.approx(found["reconstruction"] + found["kl"])


def test_evaluation_does_not_depend_on_how_the_set_is_divided():
    data, model = pictures(10), vae.build(dataclasses.replace(TINY, latent=4), Generator(0))
    whole = vae.evaluate(model, data, Generator(1), batch=10)
    parts = vae.evaluate(model, data, Generator(1), batch=4)  # 4, 4, 2
    assert parts == pytest.approx(whole, rel=1e-5)


def test_training_sees_a_last_batch_that_is_smaller_and_restores():
    run = NullRun(draw=True)
    model = vae.train(TINY, pictures(10), Generator(0), run)
    assert run.seen == 4 + 4 + 2 + 4 + 4
    state = {name: thing.state_dict() for name, thing in run.kept.items()}
    restored = vae.restore(TINY, state)
    expected = vae.sample(model, 5, Generator(5))
    np.testing.assert_array_equal(vae.sample(restored, 5, Generator(5)), expected)
    assert run.samples is not None and run.samples.shape == (100, 1, 8, 8)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_one_batch_can_be_overfitted(network):
    config = dataclasses.replace(TINY, network=network, hidden=32, steps=150, lr=1e-2, beta=0.1)
    run = NullRun()
    model = vae.train(config, pictures(4), Generator(0), run)
    assert run.logs[-1]["reconstruction"] < 0.75 * run.logs[0]["reconstruction"]
    x = pictures(4).normalised()
    with no_grad():
        assert np.abs(vae.reconstruct(model, x) - x).mean() < 0.2

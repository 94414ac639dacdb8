"""DCGAN: shapes, counts, losses, which step changes what, the average, resuming."""

import dataclasses

import numpy as np
import pytest

from minigen import Generator, Tensor, grad, no_grad
from minigen.errors import UsageError
from minigen.models import dcgan
from minigen.optim import Adam
from minigen.training import NullRun
from tests.minigen.model_helpers import pictures

TINY = dcgan.Config(size=8, channels=1, latent=5, width=3, batch=4, steps=6)


@pytest.mark.parametrize("size, channels, width", [(28, 1, 4), (32, 3, 3), (16, 2, 5), (12, 3, 1)])
def test_shapes_with_odd_widths_and_channels(size, channels, width):
    config = dcgan.Config(size=size, channels=channels, width=width, latent=7)
    G = dcgan.build(config, Generator(0))
    x = dcgan.sample(G, 3, Generator(1))
    assert x.shape == (3, channels, size, size) and np.abs(x).max() <= 1
    D = dcgan.Discriminator(config, rng=Generator(2))
    assert D(Tensor(x)).shape == (3,)


def test_the_usual_network_has_the_usual_number_of_parameters():
    config = dcgan.config_for((3, 32, 32))
    assert config == dcgan.PRESETS["32"]
    kernels = 16 * (100 * 256 + 256 * 128 + 128 * 64 + 64 * 3)
    G = dcgan.build(config, Generator(0))
    assert sum(p.size for p in G.parameters()) == kernels + 2 * (256 + 128 + 64)
    kernels = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 1)
    D = dcgan.Discriminator(config, rng=Generator(0))
    assert sum(p.size for p in D.parameters()) == kernels + 2 * (128 + 256)


def test_weights_start_from_a_narrow_normal_distribution():
    G = dcgan.build(dcgan.Config(width=16), Generator(3))
    for part in G.layers:
        w = getattr(part, "weight", None)
        if w is not None and w.ndim == 4:
            assert abs(w.numpy().std() - 0.02) < 0.002 and abs(w.numpy().mean()) < 0.002
        elif w is not None:
            assert abs(w.numpy().mean() - 1) < 0.05


def test_losses_by_hand_and_at_extreme_logits():
    real, fake = (Tensor(np.array([60.0, -60.0])) for _ in range(2))
    assert dcgan.discriminator_loss(real, fake).item() == pytest.approx(60.0)
    assert dcgan.generator_loss(fake).item() == pytest.approx(30.0)
    zero = Tensor(np.zeros(3))
    assert dcgan.discriminator_loss(zero, zero).item() == pytest.approx(2 * np.log(2))
    x = Tensor(np.array([-60.0, 0.0, 60.0]), requires_grad=True)
    (g,) = grad(dcgan.generator_loss(x), [x])
    np.testing.assert_allclose(g.numpy(), [-1 / 3, -1 / 6, 0], atol=1e-12)


def test_each_half_of_a_step_changes_its_own_network_only():
    G = dcgan.build(TINY, Generator(0))
    D = dcgan.Discriminator(TINY, rng=Generator(1))
    opt_g, opt_d = Adam(G.parameters(), lr=0.1), Adam(D.parameters(), lr=0.1)
    x_real = Tensor(pictures(4).normalised())
    x_fake = G(dcgan.noise(4, TINY.latent, Generator(2)))

    def values(module):
        return [p.numpy().copy() for p in module.parameters()]

    before_g, before_d = values(G), values(D)
    opt_d.step(grad(dcgan.discriminator_loss(D(x_real), D(x_fake.detach())), opt_d.params))
    assert all(np.array_equal(a, b) for a, b in zip(before_g, values(G), strict=True))
    assert all(not np.array_equal(a, b) for a, b in zip(before_d, values(D), strict=True))
    before_d = values(D)
    opt_g.step(grad(dcgan.generator_loss(D(x_fake)), opt_g.params))
    assert all(np.array_equal(a, b) for a, b in zip(before_d, values(D), strict=True))
    assert all(not np.array_equal(a, b) for a, b in zip(before_g, values(G), strict=True))
    assert all(p.grad is None for p in [*G.parameters(), *D.parameters()])


def test_an_image_depends_on_its_own_noise_only():
    G = dcgan.build(TINY, Generator(0)).eval()
    z = Generator(1).normal((4, TINY.latent, 1, 1))
    with no_grad():
        together, alone = G(Tensor(z)).numpy(), G(Tensor(z[1:2])).numpy()
    np.testing.assert_allclose(together[1:2], alone, rtol=1e-5, atol=1e-6)


def test_training_keeps_all_it_needs_and_restore_gives_the_averaged_generator():
    data = pictures(10)
    run = NullRun(draw=True)
    model = dcgan.train(TINY, data, Generator(4), run)
    assert run.step == TINY.steps and set(run.logs[-1]) == {"step", "loss_d", "loss_g"}
    state = {name: thing.state_dict() for name, thing in run.kept.items()}
    restored = dcgan.restore(TINY, state)
    expected = dcgan.sample(model, 5, Generator(5))
    np.testing.assert_array_equal(dcgan.sample(restored, 5, Generator(5)), expected)
    last = run.kept["generator"]
    assert not np.array_equal(dcgan.sample(last, 5, Generator(5)), expected)
    assert run.samples is not None and run.samples.shape == (100, 1, 8, 8)


def test_the_average_is_that_of_the_steps():
    """With one step, decay 1/11 at it: average = first value + 10/11 of the way to the second."""
    config = dataclasses.replace(TINY, steps=1)
    run = NullRun()
    model = dcgan.train(config, pictures(10), Generator(4), run)
    first = dcgan.build(config, Generator(4).split("generator"))
    for mean, a, b in zip(
        dcgan.statistics(model),
        dcgan.statistics(first),
        dcgan.statistics(run.kept["generator"]),
        strict=True,
    ):
        expected = a.numpy() + 10 / 11 * (b.numpy() - a.numpy())
        np.testing.assert_allclose(mean.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_learning_rate_falls_in_the_last_part():
    config = dcgan.Config(steps=100, decay=0.5, lr=1.0)
    rates = [dcgan.learning_rate(config, step) for step in (1, 50, 51, 76, 100)]
    assert rates == pytest.approx([1, 1, 1, 0.5, 0.02])
    assert dcgan.learning_rate(dataclasses.replace(config, decay=0.0), 100) == 1


def test_sizes_that_do_not_fit_are_refused():
    for shape in ((1, 28, 32), (1, 30, 30), (1, 4, 4)):
        with pytest.raises(UsageError, match="multiple of 4"):
            dcgan.config_for(shape)
    assert dcgan.config_for((3, 28, 28)).channels == 3
    assert dcgan.halvings(28) == (7, 2) and dcgan.halvings(32) == (4, 3)

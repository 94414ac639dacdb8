"""Image GPT: causality, exact probabilities, the cache, the palette, overfitting."""

import dataclasses
import itertools

import numpy as np
import pytest

from minigen import Generator, no_grad
from minigen.errors import UsageError
from minigen.models import image_gpt as gpt
from minigen.models import palette
from minigen.training import NullRun
from tests.minigen.model_helpers import pictures

TINY = gpt.Config(size=4, levels=3, width=8, layers=2, n_heads=2, batch=4, steps=5, warmup=2)


def lively(config, seed=0, dtype=np.float64):
    """A model with larger weights, so that every path through it matters."""
    model = gpt.build(config, Generator(seed)).to(dtype)
    rng = np.random.default_rng(seed)
    for p in model.parameters():
        p.data[...] = rng.normal(0, 0.5, p.shape)
    return model


def logits_of(model, tokens):
    n, h, w = tokens.shape
    with no_grad():
        told, _ = gpt.told(model, tokens)
        return model(told, model.places(np.arange(h * w))).numpy()


def test_the_number_of_parameters_by_hand():
    d, levels, size, layers = 64, 16, 14, 4
    model = gpt.build(gpt.PRESETS["14"], Generator(0))
    embeddings = 4 * (levels + 1) * d + 2 * size * d
    block = 12 * d * d + (3 + 1 + 4 + 1) * d + 2 * 2 * d
    head = 2 * d + d * levels + levels
    assert sum(p.size for p in model.parameters()) == embeddings + layers * block + head


def test_a_prediction_ignores_its_own_pixel_and_all_after_it():
    model, rng = lively(TINY), np.random.default_rng(1)
    tokens = rng.integers(0, 3, (2, 4, 4))
    before = logits_of(model, tokens)
    for t in range(16):
        other = tokens.reshape(2, 16).copy()
        other[:, t] = (other[:, t] + 1) % 3
        after = logits_of(model, other.reshape(2, 4, 4))
        np.testing.assert_array_equal(after[:, : t + 1], before[:, : t + 1])
        if t < 15:  # and every later one may see it
            assert (np.abs(after - before)[:, t + 1 :].max((0, 2)) > 0).all()


def test_the_context_is_left_above_left_above_and_above_right():
    told = gpt.context(np.arange(6).reshape(1, 2, 3), 9)
    rows = [[9, 9, 9, 9], [0, 9, 9, 9], [1, 9, 9, 9], [2, 9, 0, 1], [3, 0, 1, 2], [4, 1, 2, 9]]
    assert told.tolist() == [rows]


def test_the_probabilities_of_all_images_sum_to_one():
    model = lively(dataclasses.replace(TINY, size=2))
    every = np.array(list(itertools.product(range(3), repeat=4))).reshape(-1, 2, 2)
    with no_grad():
        assert np.exp(-gpt.nats(model, every).numpy()).sum() == pytest.approx(1, abs=1e-9)


def test_drawing_with_the_cache_is_drawing_without_it():
    model = lively(TINY)
    given = np.array([[0, 1, 2], [2, 2, 0]])
    fast = gpt.draw(model, given, Generator(3))
    slow = gpt.draw(model, given, Generator(3), cached=False)
    np.testing.assert_array_equal(fast, slow)
    assert (fast.reshape(2, -1)[:, :3] == given).all()
    assert len(np.unique(fast)) == 3


def test_draws_follow_the_probabilities():
    """The first pixel of many images: its frequencies are its softmax."""
    model = lively(dataclasses.replace(TINY, size=2))
    tokens = gpt.draw(model, np.zeros((4000, 0), np.int64), Generator(0))
    logits = logits_of(model, np.zeros((1, 2, 2), np.int64))[0, 0]
    p = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(np.bincount(tokens[:, 0, 0], minlength=3) / 4000, p, atol=0.03)


def test_completion_keeps_what_was_given():
    data = pictures(3, 8)
    model = lively(dataclasses.replace(TINY, size=4), dtype=np.float32)
    done = gpt.complete(model, data.images, Generator(0))
    assert done.shape == (3, 1, 4, 4)
    given = gpt.images_of(model, gpt.tokens_of(model, data.images))
    np.testing.assert_array_equal(done[:, :, :2], given[:, :, :2])
    np.testing.assert_array_equal(gpt.complete(model, data.images, Generator(0), rows=4), given)


def test_a_model_without_an_opinion_needs_log_levels_per_pixel():
    model = gpt.build(TINY, Generator(0))
    model.head.weight.data[...] = 0
    found = gpt.evaluate(model, pictures(7, 4), batch=3)
    assert found["test_nats"] == pytest.approx(16 * np.log(3), rel=1e-6)


def test_evaluation_is_the_mean_over_all_images():
    data = pictures(7, 4)
    model = gpt.build(TINY, Generator(0))
    found = gpt.evaluate(model, data, batch=3)
    assert found["bits_per_pixel"] == pytest.approx(found["test_nats"] / (16 * np.log(2)))
    with no_grad():
        each = gpt.nats(model, gpt.tokens_of(model, data.images)).numpy()
    assert found["test_nats"] == pytest.approx(each.mean(), rel=1e-5)
    assert gpt.evaluate(model, data, limit=2)["test_nats"] == pytest.approx(
        each[:2].mean(), rel=1e-5
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_training_logs_keeps_and_restores(channels):
    config = dataclasses.replace(TINY, channels=channels)
    run = NullRun(draw=True)
    model = gpt.train(config, pictures(10, 8, channels), Generator(0), run)
    assert set(run.logs[-1]) == {"step", "nats_per_image", "gradient_norm"}
    assert run.samples is not None and run.samples.shape == (25, channels, 4, 4)
    state = {name: thing.state_dict() for name, thing in run.kept.items()}
    restored = gpt.restore(config, state)
    np.testing.assert_array_equal(
        gpt.sample(restored, 2, Generator(1)), gpt.sample(model, 2, Generator(1))
    )


def test_one_batch_can_be_overfitted():
    config = dataclasses.replace(TINY, width=16, steps=120, lr=1e-2)
    run = NullRun()
    gpt.train(config, pictures(4, 4), Generator(0), run)
    assert run.logs[-1]["nats_per_image"] < 0.35 * run.logs[0]["nats_per_image"]


def test_images_become_the_means_of_squares():
    x = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    y = palette.reduced(x, 2)
    np.testing.assert_allclose((y + 1) * 127.5, [[[[2.5, 4.5], [10.5, 12.5]]]], atol=1e-4)
    for size in (3, 8):
        with pytest.raises(UsageError, match="cannot be reduced"):
            palette.reduced(x, size)


def test_the_palette_finds_the_colours_that_there_are():
    colours = np.array([[-1, -1, -1], [0, 0.5, 0], [1, 1, 1]], np.float32)
    rng = np.random.default_rng(0)
    index = rng.integers(0, 3, (5, 6, 6))
    x = colours[index] + rng.normal(0, 0.01, (5, 6, 6, 3)).astype(np.float32)
    found = palette.make_palette(x.transpose(0, 3, 1, 2), 3)
    np.testing.assert_allclose(found, colours, atol=0.01)
    np.testing.assert_array_equal(palette.nearest(x, found), index)


def test_a_palette_may_have_more_colours_than_the_images():
    x = np.where(np.arange(16).reshape(1, 1, 4, 4) % 2, 1, -1).astype(np.float32)
    found = palette.make_palette(x, 4)
    assert found.shape == (4, 1) and set(found.ravel()) == {-1.0, 1.0}


def test_sizes_that_do_not_fit_are_refused():
    assert gpt.config_for((1, 28, 28)).size == 14
    assert gpt.config_for((3, 32, 32), "28").size == 32
    for shape, preset in (((1, 27, 27), "14"), ((1, 28, 32), "28")):
        with pytest.raises(UsageError, match="square"):
            gpt.config_for(shape, preset)


def test_a_run_may_be_shorter_than_its_warm_up():
    for steps in (1, 3):
        run = NullRun()
        config = dataclasses.replace(TINY, steps=steps, warmup=5)
        gpt.train(config, pictures(4, 4), Generator(0), run)
        assert len(run.logs) == steps

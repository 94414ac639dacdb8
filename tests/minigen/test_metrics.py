"""Metrics: closed forms, the classifier and its cache."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen import Generator, metrics
from minigen.data import glyphs
from minigen.errors import UsageError
from minigen.metrics import classifier
from tests.minigen.model_helpers import pictures


def with_moments(n, mean, deviation, seed):
    """n vectors with exactly this mean and these deviations of uncorrelated coordinates."""
    x = np.random.default_rng(seed).normal(size=(n, len(mean)))
    x = x - x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return x * deviation + mean


def test_the_frechet_distance_of_gaussians_with_known_moments():
    a = with_moments(50, np.zeros(3), np.array([1.0, 2.0, 3.0]), 0)
    b = with_moments(60, np.array([1.0, 0.0, -2.0]), np.array([2.0, 2.0, 1.0]), 1)
    # independent coordinates: Σ (μ_a - μ_b)² + (σ_a - σ_b)²
    assert metrics.frechet_distance(a, b) == pytest.approx(5 + 1 + 0 + 4, rel=1e-9)


@given(st.integers(0, 1000), st.integers(1, 4))
def test_the_frechet_distance_is_symmetric_and_zero_at_itself(seed, width):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(9, width)), 2 * rng.normal(size=(7, width)) + 1
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    there, back = metrics.frechet_distance(a, b), metrics.frechet_distance(b, a)
    assert there == pytest.approx(back, rel=1e-6) and there > 0
    turn = np.linalg.qr(rng.normal(size=(width, width)))[0]
    assert metrics.frechet_distance(a @ turn, b @ turn) == pytest.approx(there, rel=1e-6)


def test_the_frechet_distance_works_with_fewer_vectors_than_coordinates():
    a = np.random.default_rng(0).normal(size=(3, 8))
    assert metrics.frechet_distance(a, a + 1) == pytest.approx(8, rel=1e-6)


def test_bad_features_are_refused():
    good = np.ones((4, 2))
    for bad in (np.ones(3), np.ones((1, 2)), np.full((4, 2), np.nan)):
        with pytest.raises(ValueError, match="features must be finite"):
            metrics.frechet_distance(good, bad)
    with pytest.raises(ValueError, match="widths 2 and 3"):
        metrics.frechet_distance(good, np.ones((4, 3)))
    with pytest.raises(ValueError, match="more than k"):
        metrics.precision_recall(good, good)


def test_precision_and_recall_tell_a_dropped_mode_from_a_wrong_one():
    rng = np.random.default_rng(0)
    near, far = rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 100
    both = np.concatenate([near, far])
    precision, recall = metrics.precision_recall(both, near)
    assert precision == 1 and 0.45 < recall <= 0.5
    precision, recall = metrics.precision_recall(near, both)
    assert recall == 1 and 0.45 < precision <= 0.5
    assert metrics.precision_recall(near, far) == (0, 0)


def test_precision_of_two_draws_of_one_distribution_is_below_one():
    """64 normal coordinates, k = 5: about 0.48, as the literature has it."""
    rng = np.random.default_rng(0)
    precision, recall = metrics.precision_recall(
        rng.normal(size=(1000, 64)), rng.normal(size=(1000, 64))
    )
    assert 0.3 < precision < 0.8 and 0.3 < recall < 0.8


def test_log_mean_exp_does_not_overflow():
    x = np.array([[1000.0, 1000.0], [-1000.0, -np.inf]])
    np.testing.assert_allclose(metrics.log_mean_exp(x), [1000, -1000 - np.log(2)])
    assert metrics.log_mean_exp(np.full(3, -np.inf)) == -np.inf
    np.testing.assert_allclose(metrics.log_mean_exp(x[:1], axis=0), x[0])


def test_bits_per_dim():
    assert metrics.bits_per_dim(784 * np.log(2), 784) == pytest.approx(1)


def test_a_classifier_learns_drawn_digits_quickly():
    model = classifier.train(glyphs("train", n=3000), Generator(0), steps=120)
    test = glyphs("test", n=500)
    assert classifier.accuracy(model, test) >= 0.97
    seen = classifier.judge(test.normalised(), model)
    assert seen["classes"] == 10 and seen["mean_top_probability"] > 0.9
    assert sum(seen["per_class"]) == 500
    noise = np.random.default_rng(0).uniform(-1, 1, (100, 1, 28, 28))
    assert classifier.judge(noise, model)["mean_top_probability"] < seen["mean_top_probability"]


def test_the_classifier_takes_odd_sizes_and_colours():
    model = classifier.Classifier(3, 9, 4, rng=Generator(0)).eval()
    p = classifier.probabilities(model, np.zeros((5, 3, 9, 9)), batch=2)
    assert p.shape == (5, 4)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)


def test_the_classifier_is_trained_once_and_again_if_its_file_is_damaged(
    tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO", "minigen")
    data = pictures(20, labels=True)
    first = classifier.for_data(data, tmp_path).state_dict()
    assert "once; kept in" in caplog.text and "step" in caplog.text
    caplog.clear()
    (path,) = tmp_path.iterdir()
    train, calls = classifier.train, []
    monkeypatch.setattr(classifier, "train", lambda *a: calls.append(a) or train(*a))
    again = classifier.for_data(data, tmp_path).state_dict()
    assert not calls and not caplog.text
    assert all(np.array_equal(first[name], again[name]) for name in first)
    path.write_bytes(path.read_bytes()[:100])
    again = classifier.for_data(data, tmp_path).state_dict()
    assert len(calls) == 1 and all(np.array_equal(first[name], again[name]) for name in first)
    classifier.for_data(pictures(20, seed=1, labels=True), tmp_path)
    assert len(calls) == 2 and len(list(tmp_path.iterdir())) == 2


def test_a_set_without_labels_cannot_judge(tmp_path):
    with pytest.raises(UsageError, match="has no labels"):
        classifier.train(pictures(20), Generator(0))
    with pytest.raises(UsageError, match="one sub-folder per class"):
        classifier.for_data(pictures(20), tmp_path)


def test_the_classifier_learns_from_the_pictures_as_they_were_read(monkeypatch, tmp_path):
    from PIL import Image

    from minigen import data

    for name, shade in (("dark", 20), ("light", 220)):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (40, 40), (shade, 0, 0)).save(tmp_path / "mine" / name / f"{i}.png")
    seen = []
    monkeypatch.setattr(classifier, "train", lambda part, rng: seen.append(part) or part)
    monkeypatch.setattr(classifier, "_save", lambda model, path: None)
    mine = data.load(tmp_path / "mine", "test", image_size=12, colour="grey")
    classifier.for_data(mine, tmp_path)
    assert seen[0].images.shape == (18, 1, 12, 12) and seen[0].n_classes == 2

"""Drawn scenes and 2-D mixtures: captions, masks and moments are what they claim to be."""

import re

import numpy as np
import pytest

from minigen import data
from minigen.data.shapes import COLOURS, GROUNDS, KINDS
from minigen.errors import UsageError

WORDS = re.compile(rf"a (small|large) ({'|'.join(COLOURS)}) ({'|'.join(KINDS)})")


class NumpySource:
    """A NumPy generator under the names that a mixture calls."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def integers(self, low, high, shape):
        return self.rng.integers(low, high, shape)

    def normal(self, shape):
        return self.rng.standard_normal(shape)


@pytest.fixture(scope="module")
def scenes():
    return data.shapes(n=120, seed=3)


def test_scenes_have_all_their_parts(scenes):
    assert scenes.images.shape == (120, 3, 32, 32) and scenes.images.dtype == np.uint8
    assert scenes.masks.shape == (120, 32, 32) and scenes.class_names == KINDS
    part = scenes.take(np.array([5, 2]))
    assert part.captions == (scenes.captions[5], scenes.captions[2])
    np.testing.assert_array_equal(part.masks, scenes.masks[[5, 2]])
    np.testing.assert_array_equal(part.labels, scenes.labels[[5, 2]])


def test_captions_masks_and_labels_agree(scenes):
    for caption, mask, label in zip(scenes.captions, scenes.masks, scenes.labels, strict=True):
        things = WORDS.findall(caption)
        assert 1 <= len(things) <= 3 and caption.split(" on ")[1] in GROUNDS
        kinds = {KINDS.index(kind) + 1 for _, _, kind in things}
        assert set(np.unique(mask)) - {0} == kinds
        assert things[0][2] == KINDS[label]
        assert not mask[[0, -1]].any() and not mask[:, [0, -1]].any(), "whole shapes only"


def test_colours_are_those_of_the_caption(scenes):
    for i, caption in enumerate(scenes.captions):
        things = WORDS.findall(caption)
        if len(things) == 1:
            size, colour, kind = things[0]
            inside = scenes.images[i].transpose(1, 2, 0)[scenes.masks[i] > 0]
            assert np.abs(inside - np.array(COLOURS[colour])).max(axis=1).min() <= 13
            if kind in ("circle", "square"):
                assert (len(inside) > 75) == (size == "large")
            ground = scenes.images[i, :, 0, 0].astype(int)
            assert np.abs(ground - GROUNDS[caption.split(" on ")[1]]).max() <= 13


def test_scenes_are_reproducible_and_splits_differ(scenes):
    again = data.shapes(n=120, seed=3)
    np.testing.assert_array_equal(again.images, scenes.images)
    assert again.captions == scenes.captions
    pictures = {x.tobytes() for s in ("train", "test") for x in data.shapes(s, n=60, seed=3).images}
    assert len(pictures) == 120
    with pytest.raises(UsageError, match='not "valid"'):
        data.shapes("valid")


@pytest.mark.parametrize(
    "mixture, k, std, extent", [(data.ring(), 8, 0.01, 1), (data.square_grid(), 25, 0.05, 4)]
)
def test_mixtures(mixture, k, std, extent):
    assert mixture.modes.shape == (k, 2) and mixture.std == std
    assert np.abs(mixture.modes).max() == pytest.approx(extent)
    assert len(np.unique(mixture.modes.round(3), axis=0)) == k
    np.testing.assert_allclose(mixture.modes.mean(axis=0), 0, atol=1e-6)
    x = mixture.sample(20_000, NumpySource(1))
    assert x.shape == (20_000, 2) and x.dtype == np.float32
    index, distance = mixture.nearest(x)
    counts = np.bincount(index, minlength=k)
    assert np.abs(counts - 20_000 / k).max() < 5 * np.sqrt(20_000 / k)
    assert (distance < 3).mean() == pytest.approx(1 - np.exp(-4.5), abs=0.005)
    assert (distance**2).mean() == pytest.approx(2, rel=0.05)


def test_ring_modes_are_on_the_circle_and_grid_modes_on_the_lattice():
    np.testing.assert_allclose(np.linalg.norm(data.ring(5, radius=2).modes, axis=1), 2, rtol=1e-6)
    assert sorted(set(data.square_grid().modes.ravel().tolist())) == [-4, -2, 0, 2, 4]

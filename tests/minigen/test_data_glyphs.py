"""Drawn characters: reproducible, labelled, well placed, and easy to tell apart."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import features

from minigen.data import glyphs
from minigen.errors import DataError, UsageError


def digest(data):
    return hashlib.sha256(data.images.tobytes() + data.labels.tobytes()).hexdigest()


def test_shapes_labels_and_balance():
    data = glyphs(n=500)
    assert data.images.shape == (500, 1, 28, 28) and data.images.dtype == np.uint8
    assert data.class_names == tuple("0123456789") and data.labels.dtype == np.int64
    assert np.bincount(data.labels).tolist() == [50] * 10
    assert len(glyphs(n=0)) == 0 and len(glyphs(n=1)) == 1


@pytest.mark.parametrize("characters, classes", [("digits", 10), ("letters", 26), ("all", 36)])
def test_every_picture_holds_a_whole_character(characters, classes):
    data = glyphs("test", n=720, characters=characters)
    assert data.n_classes == classes
    ink = data.images[:, 0].astype(float) / 255
    assert (ink.max(axis=(1, 2)) > 0.6).all(), "white on black"
    total = ink.sum(axis=(1, 2))
    assert (total > 15).all() and (total < 300).all()
    border = np.concatenate([ink[:, [0, -1]].reshape(720, -1), ink[:, :, [0, -1]].reshape(720, -1)])
    assert border.mean() < 0.01, "characters stay inside"
    assert ((ink > 0.05) & (ink < 0.95)).mean() > 0.05, "soft edges"


def test_same_bytes_in_a_fresh_process_with_another_hash_seed():
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; import hashlib; from minigen.data import glyphs;"
        "d = glyphs(n=300, seed=5, characters='all');"
        "print(hashlib.sha256(d.images.tobytes() + d.labels.tobytes()).hexdigest())"
    )
    env = os.environ | {"PYTHONHASHSEED": "77"}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == digest(glyphs(n=300, seed=5, characters="all"))


def test_seeds_and_splits_are_different_streams():
    sets = [glyphs(split, n=200, seed=s) for split in ("train", "test") for s in (0, 1)]
    pictures = {image.tobytes() for data in sets for image in data.images}
    assert len(pictures) == 800


def test_the_nearest_neighbour_tells_digits_apart():
    train, test = glyphs(n=2000), glyphs("test", n=300)
    x, y = (d.images.reshape(len(d), -1).astype(np.float32) for d in (train, test))
    nearest = ((x**2).sum(axis=1) - 2 * y @ x.T).argmin(axis=1)
    assert (train.labels[nearest] == test.labels).mean() > 0.9


def test_unknown_characters_or_split():
    with pytest.raises(UsageError, match='digits, letters, all.*not characters "runes"'):
        glyphs(characters="runes")
    with pytest.raises(UsageError, match='split "valid"'):
        glyphs("valid")


def test_a_pillow_without_freetype_is_named(monkeypatch):
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(DataError, match="without FreeType.*pip install"):
        glyphs(n=1)

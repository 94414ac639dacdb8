"""Grids, strips, GIFs, and files that are written whole or not at all."""

import errno
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from minigen import images
from minigen.errors import OutputError

MAGENTA = np.array([255, 0, 255])


@given(
    n=st.integers(1, 7),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    columns=st.none() | st.integers(1, 9),
    pad=st.integers(0, 3),
    scale=st.integers(1, 3),
)
def test_every_image_lies_in_its_place(n, channels, height, width, columns, pad, scale):
    rng = np.random.default_rng(n)
    x = rng.integers(0, 256, (n, channels, height, width), dtype=np.uint8)
    picture = images.grid(x, columns, pad, scale)
    pixels = np.asarray(picture).reshape(picture.height, picture.width, channels)
    pixels = pixels[::scale, ::scale]
    across = min(columns or int(np.ceil(np.sqrt(n))), n)
    assert pixels.shape[1] == across * (width + pad) + pad
    assert pixels.shape[0] == -(-n // across) * (height + pad) + pad
    for i in range(n):
        row, column = divmod(i, across)
        y, z = pad + row * (height + pad), pad + column * (width + pad)
        np.testing.assert_array_equal(
            pixels[y : y + height, z : z + width], x[i].transpose(1, 2, 0)
        )


@pytest.mark.parametrize("low", [-1.0, 0.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_and_bytes_of_the_same_picture_agree(low, dtype):
    x = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    floats = (low + (1 - low) * x / 255).astype(dtype)
    np.testing.assert_array_equal(images.to_uint8(floats), images.to_uint8(x))


def test_value_range_and_clipping():
    x = np.array([-3.0, 0.0, 0.25, 1.0, 7.0]).reshape(1, 1, 1, 5)
    assert images.to_uint8(x, (0.0, 1.0)).ravel().tolist() == [0, 0, 64, 255, 255]
    assert images.to_uint8(x > 0).ravel().tolist() == [0, 0, 255, 255, 255]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [1, 3])
def test_broken_pixels_are_magenta(bad, channels):
    x = np.full((2, channels, 2, 2), 0.5)
    x[0, 0, 1, 0] = bad
    y = images.to_uint8(x)
    np.testing.assert_array_equal(y[0, 1, 0], MAGENTA)
    assert (np.delete(y.reshape(8, 3), 2, axis=0) == 128).all()


@pytest.mark.parametrize("shape", [(0, 1, 2, 2), (2, 1, 0, 2), (2, 2, 2, 2), (2, 2), (1, 4, 4, 3)])
def test_shapes_that_are_no_images(shape):
    with pytest.raises(ValueError, match="images"):
        images.grid(np.zeros(shape))


@pytest.mark.parametrize("options", [dict(columns=-1), dict(pad=-1), dict(scale=0)])
def test_impossible_layouts(options):
    with pytest.raises(ValueError, match="columns"):
        images.grid(np.zeros((2, 1, 2, 2)), **options)


def test_strip_has_a_row_per_sequence():
    first, second = np.zeros((3, 1, 2, 2)), np.ones((3, 1, 2, 2))
    pixels = np.asarray(images.strip([first, second], pad=0))
    assert pixels.shape == (4, 6) and not pixels[:2].any() and (pixels[2:] == 255).all()
    with pytest.raises(ValueError, match="one shape"):
        images.strip([first, second[:2]])
    with pytest.raises(ValueError, match="one shape"):
        images.strip([])


def test_png_and_gif_can_be_read_again(tmp_path):
    frames = [images.grid(np.full((4, 3, 5, 5), v, np.uint8)) for v in (0, 128, 255)]
    path = images.save_png(frames[1], tmp_path / "new" / "grid.png")
    np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(frames[1]))
    with Image.open(images.save_gif(frames, tmp_path / "steps.gif", ms=40)) as gif:
        durations = [frame.info["duration"] for frame in ImageSequence.Iterator(gif)]
        assert gif.size == frames[0].size and durations == [40, 40, 1000]
    assert images.png_bytes(frames[1]) == images.png_bytes(frames[1].copy())
    with pytest.raises(ValueError, match="at least one"):
        images.save_gif([], tmp_path / "none.gif")
    with pytest.raises(ValueError, match="one size"):
        images.save_gif([frames[0], frames[0].resize((3, 3))], tmp_path / "none.gif")


def raises(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_failed_write_keeps_the_earlier_file(tmp_path, monkeypatch, call, number):
    path = tmp_path / "last.bin"
    images.write_atomically(path, b"earlier")
    monkeypatch.setattr(os, call, raises(number))
    with pytest.raises(OutputError, match=f"cannot write .*last.bin: {os.strerror(number)}"):
        images.write_atomically(path, b"later")
    assert path.read_bytes() == b"earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["last.bin"]


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        images.save_png(images.grid(np.zeros((1, 1, 2, 2))), tmp_path / "file" / "grid.png")


def test_a_write_replaces_the_earlier_file(tmp_path):
    path = tmp_path / "a.bin"
    for data in (b"first", b"", b"third"):
        assert images.write_atomically(str(path), data) == path
        assert path.read_bytes() == data
    assert len(list(tmp_path.iterdir())) == 1

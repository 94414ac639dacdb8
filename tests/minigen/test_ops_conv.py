"""The convolution trio: argument forms, layouts, the adjoint law, and what errors say."""

import numpy as np
import pytest

from minigen import Tensor, grad
from minigen import functional as F


def random(*shape, seed=0, dtype=np.float64):
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def test_one_pixel_by_hand():
    x = Tensor(np.arange(9.0).reshape(1, 1, 3, 3))
    w = Tensor(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]))
    # no flip: 0·1 + 1·2 + 3·3 + 4·4 = 27
    np.testing.assert_array_equal(F.conv2d(x, w).numpy(), [[[[27.0, 37.0], [57.0, 67.0]]]])
    np.testing.assert_array_equal(
        F.conv_transpose2d(Tensor(np.ones((1, 1, 1, 1))), w, stride=2).numpy(), w.numpy()
    )


def test_numbers_and_pairs_are_the_same():
    x, w = random(2, 4, 7, 8), random(6, 2, 3, 3)
    one = F.conv2d(x, w, None, 2, 1, 2, 2)
    two = F.conv2d(x, w, None, (2, 2), [1, 1], (2,), groups=2)
    np.testing.assert_array_equal(one.numpy(), two.numpy())
    y = random(2, 6, 4, 4)
    one = F.conv_transpose2d(y, w, None, 2, 1, 1, 2, 1)
    two = F.conv_transpose2d(y, w, None, (2, 2), (1, 1), (1, 1), 2, (1, 1))
    np.testing.assert_array_equal(one.numpy(), two.numpy())
    assert one.shape == (2, 4, 8, 8)


def test_rows_and_columns_are_not_exchanged():
    x, w = random(1, 1, 9, 11), random(1, 1, 2, 3)
    assert F.conv2d(x, w, stride=(2, 3), padding=(0, 2), dilation=(3, 1)).shape == (1, 1, 3, 5)
    assert F.conv_transpose2d(x, w, stride=(2, 3), output_padding=(0, 2)).shape == (1, 1, 18, 35)


def test_an_image_without_batch():
    x, w, b = random(3, 6, 5), random(4, 3, 3, 3), random(4)
    y = F.conv2d(x, w, b, padding=1)
    np.testing.assert_array_equal(
        y.numpy(), F.conv2d(x.reshape((1, 3, 6, 5)), w, b, padding=1).numpy()[0]
    )
    assert F.conv_transpose2d(y, w, stride=2).shape == (3, 13, 11)


def test_an_empty_batch():
    x, w, b = random(0, 3, 6, 5), random(4, 3, 3, 3), random(4)
    w.requires_grad = b.requires_grad = True
    y = F.conv2d(x, w, b)
    assert y.shape == (0, 4, 4, 3)
    for g in grad(y.sum(), [w, b]):
        np.testing.assert_array_equal(g.numpy(), 0)
    assert F.conv_transpose2d(y, w).shape == (0, 3, 6, 5)


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 3), (4, 2)])
@pytest.mark.parametrize("dilation", [1, (2, 3)])
def test_same_keeps_the_size(kernel, dilation):
    x, w = random(1, 2, 6, 7), random(3, 2, *kernel)
    y = F.conv2d(x, w, padding="same", dilation=dilation)
    assert y.shape == (1, 3, 6, 7)
    rows, cols = ((k - 1) * d for k, d in zip(kernel, np.broadcast_to(dilation, 2), strict=True))
    wide = np.pad(
        x.numpy(),
        [(0, 0), (0, 0), (rows // 2, rows - rows // 2), (cols // 2, cols - cols // 2)],
    )
    expected = F.conv2d(Tensor(wide), w, padding="valid", dilation=dilation)
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-12, atol=1e-12)


def test_the_trio_is_one_trilinear_form():
    settings = {"stride": (2, 3), "padding": (1, 0), "dilation": (1, 2), "groups": 2}
    x, w = random(2, 4, 7, 12), random(6, 2, 3, 2, seed=1)
    y = F.conv2d(x, w, **settings)
    gy = random(*y.shape, seed=2)
    unused = (7 + 2 - 3) % 2, (12 - 3) % 3
    back = F.conv_transpose2d(gy, w, output_padding=unused, **settings)
    gw = F.conv2d_weight(x, gy, (3, 2), **settings)
    form = (y * gy).sum().item()
    assert (back * x).sum().item() == pytest.approx(form, rel=1e-12)
    assert (gw * w).sum().item() == pytest.approx(form, rel=1e-12)


def test_output_padding_beyond_the_stride():
    # Allowed up to the dilation: as many zero rows and columns of y as whole strides fit.
    y, w = random(1, 2, 3, 4), random(2, 1, 2, 2)
    y.requires_grad = True
    out = F.conv_transpose2d(y, w, stride=2, dilation=5, output_padding=(3, 4))
    assert out.shape == (1, 1, 13, 16)
    plain = F.conv_transpose2d(y, w, stride=2, dilation=5)
    np.testing.assert_array_equal(out.numpy()[..., :10, :12], plain.numpy())
    assert not out.numpy()[..., 10:, :].any() and not out.numpy()[..., 12:].any()
    (gy,) = grad((out * out).sum(), [y])
    (expected,) = grad((plain * plain).sum(), [y])
    np.testing.assert_allclose(gy.numpy(), expected.numpy())


def test_errors_name_axis_shapes_and_remedy():
    x, w = random(2, 4, 8, 8), random(6, 3, 3, 3)
    with pytest.raises(ValueError, match=r"axis 1 of the input \(2, 4, 8, 8\) has 4 channels") as e:
        F.conv2d(x, w)
    assert "the weight (6, 3, 3, 3) with groups=1 takes 3" in str(e.value)
    assert "an input of shape (2, 3, 8, 8) would fit" in str(e.value)
    with pytest.raises(ValueError, match=r"axis 0 of the input \(4, 8, 8\).*\(6, 8, 8\) would fit"):
        F.conv_transpose2d(random(4, 8, 8), w)
    with pytest.raises(ValueError, match=r"bias has shape \(3,\).*\(6,\) would fit"):
        F.conv2d(random(2, 3, 8, 8), w, random(3))
    with pytest.raises(ValueError, match=r"bias has shape \(6,\).*\(3,\) would fit"):
        F.conv_transpose2d(random(2, 6, 8, 8), w, random(6))
    with pytest.raises(ValueError, match=r"\(N, C, H, W\) or \(C, H, W\)"):
        F.conv2d(random(8, 8), w)
    with pytest.raises(ValueError, match="groups=4 must .* divide axis 0"):
        F.conv2d(x, w, groups=4)
    with pytest.raises(ValueError, match="does not fit"):
        F.conv2d(random(2, 3, 2, 8), w)
    with pytest.raises(TypeError, match="the input is int64"):
        F.conv2d(Tensor(np.zeros((1, 3, 8, 8), np.int64)), w)
    with pytest.raises(TypeError, match="float32 and float64"):
        F.conv2d(random(2, 3, 8, 8, dtype=np.float32), w)


def test_errors_about_settings():
    x, w = random(2, 3, 8, 8), random(6, 3, 3, 3)
    with pytest.raises(ValueError, match="'same' needs stride 1, not"):
        F.conv2d(x, w, stride=2, padding="same")
    with pytest.raises(ValueError, match="padding='full' must be 'same', 'valid'"):
        F.conv2d(x, w, padding="full")
    with pytest.raises(ValueError, match="stride=0 must be a whole number of at least 1"):
        F.conv2d(x, w, stride=0)
    with pytest.raises(ValueError, match=r"dilation=\(1, 2, 3\)"):
        F.conv2d(x, w, dilation=(1, 2, 3))
    with pytest.raises(ValueError, match=r"output_padding \(2, 2\) must be smaller than stride"):
        F.conv_transpose2d(random(2, 6, 8, 8), w, stride=2, output_padding=2)

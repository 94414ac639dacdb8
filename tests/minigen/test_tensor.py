"""The engine: the tape, its walk, its rules about dtypes and changes, and its errors."""

import gc
import subprocess
import sys
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

import minigen
from minigen import Function, Tensor, detect_anomaly, grad, nn, no_grad
from minigen import functional as F
from minigen.optim import SGD


def variable(*shape, dtype=np.float64, seed=0):
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype), True)


# ---- construction


@pytest.mark.parametrize(
    "data",
    [np.float64(2.5), np.arange(3), np.array([True]), np.zeros((0, 2), np.float32), np.int32(7)],
)
def test_a_tensor_keeps_the_dtype_and_shape_it_is_given(data):
    t = Tensor(data)
    assert (t.dtype, t.shape) == (np.asarray(data).dtype, np.shape(data))


def test_the_array_is_shared_not_copied():
    a = np.zeros(3)
    t = Tensor(a, requires_grad=True)
    a[0] = 5
    assert t.numpy() is a and t.detach().numpy() is a


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tensor(["a"]), "floats, integers or bools"),
        (lambda: Tensor(Tensor(1.0)), "detach"),
        (lambda: Tensor([1, 2], requires_grad=True), "floating"),
        (lambda: bool(Tensor([1.0, 2.0])), "ambiguous"),
        (lambda: Tensor([1.0, 2.0]).item(), "one element"),
        (lambda: len(Tensor(1.0)), "0-d"),
        (lambda: Tensor([1.0]).nosuchthing, "nosuchthing"),
    ],
)
def test_misuse_says_what_is_wrong(make, message):
    with pytest.raises((TypeError, ValueError, AttributeError), match=message):
        make()


def test_a_tensor_reads_as_numbers():
    t = Tensor([[1.5]])
    assert (float(t), int(t), bool(t), t.item(), len(t)) == (1.5, 1, True, 1.5, 1)
    assert [row.item() for row in Tensor([1, 2])] == [1, 2]
    assert "requires_grad" in repr(variable(2)) and "made by exp" in repr(variable(2).exp())


# ---- grad and backward


def test_grad_gives_a_list_aligned_with_xs_and_zeros_where_nothing_leads():
    x, y, z = variable(3), variable(2, seed=1), variable(4, seed=2)
    gx, gz, gy = grad((x.sum() * y).sum(), [x, z, y])
    np.testing.assert_allclose(gx.numpy(), np.full(3, y.numpy().sum()))
    np.testing.assert_allclose(gy.numpy(), np.full(2, x.numpy().sum()))
    assert gz.shape == (4,) and not gz.numpy().any()


def test_grad_with_respect_to_a_value_in_the_middle_of_the_graph():
    x = variable(3)
    h = x * 2.0
    y = (h * h).sum()
    gh, gx = grad(y, [h, x])
    np.testing.assert_allclose(gh.numpy(), 2 * h.numpy())
    np.testing.assert_allclose(gx.numpy(), 4 * h.numpy())


def test_grad_walks_only_the_paths_that_lead_to_xs():
    walked = []

    class Watched(Function):
        def __init__(self, tag):
            self.tag = tag

        def forward(self, x):
            return x * 1

        def backward(self, gy):
            walked.append(self.tag)
            return gy

    x, w = variable(2), variable(2, seed=1)
    grad((Watched("x")(x) * Watched("w")(w)).sum(), [x])
    assert walked == ["x"]


def test_gradients_add_up_in_grad_and_can_be_cleared():
    x = variable(3)
    (x * 2.0).sum().backward()
    (x * 3.0).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.full(3, 5.0))
    x.grad = None
    x.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.ones(3))
    x.grad.numpy()[:] = 0  # the gradient is memory of its own, and may be written to


def test_a_cotangent_may_require_a_gradient_itself():
    x, c = variable(3), variable(3, seed=1)
    (gx,) = grad(x * x, x, c, create_graph=True)
    np.testing.assert_allclose(gx.numpy(), 2 * x.numpy() * c.numpy())
    (gc_,) = grad(gx.sum(), c)
    np.testing.assert_allclose(gc_.numpy(), 2 * x.numpy())


def test_derivatives_to_the_third_order():
    x = Tensor(np.array([0.3, -1.2]), requires_grad=True)
    y = (x**4 + x.exp()).sum()
    for expected in (
        4 * x.numpy() ** 3 + np.exp(x.numpy()),
        12 * x.numpy() ** 2 + np.exp(x.numpy()),
        24 * x.numpy() + np.exp(x.numpy()),
    ):
        (g,) = grad(y, x, create_graph=True)
        np.testing.assert_allclose(g.numpy(), expected)
        y = g.sum()


def test_a_gradient_penalty_reaches_the_weights():
    """d/dw of (|d/dx w·x| - 1)² is 2 (|w| - 1) w / |w|."""
    w, x = variable(3), variable(3, seed=1)
    (gx,) = grad((w * x).sum(), x, create_graph=True)
    ((gx.norm() - 1.0) ** 2).backward()
    length = np.linalg.norm(w.numpy())
    np.testing.assert_allclose(w.grad.numpy(), 2 * (length - 1) * w.numpy() / length)


def test_an_input_used_twice_and_a_diamond():
    x = variable(3)
    h = x * x
    y = (h * h.exp() + h).sum()
    a = x.numpy()
    np.testing.assert_allclose(grad(y, x)[0].numpy(), 2 * a * (np.exp(a**2) * (1 + a**2) + 1))


def test_a_ladder_of_diamonds_is_walked_once_per_op():
    x = Tensor(np.array(1.0), requires_grad=True)
    y = x
    for _ in range(200):  # 2**200 paths
        y = (y + y) * 0.5
    assert grad(y, x)[0].item() == pytest.approx(1.0)


def test_ten_thousand_operations_that_keep_their_inputs_need_no_recursion():
    x = variable(2)
    y = x
    for _ in range(10_000):
        y = (y * x).tanh()
    y.sum().backward()
    assert np.isfinite(x.grad.numpy()).all()
    y = x
    for _ in range(10_000):
        y = y * x
    del y  # a graph that was never walked


def test_chains_of_ten_thousand_operations_need_no_recursion():
    x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    y = x
    for _ in range(10_000):
        y = -y
    (g,) = grad((y * y).sum(), x, create_graph=True)
    np.testing.assert_allclose(g.numpy(), [2.0, 4.0])
    del y, g  # nor does letting go of the graph


def test_no_grad_records_nothing_and_ends_with_its_block():
    x = variable(2)
    with no_grad():
        y = x * 2.0
    assert not y.requires_grad and y.creator is None
    with pytest.raises(ZeroDivisionError), no_grad():
        _ = 1 / 0
    assert (x * 2.0).requires_grad


def test_detach_cuts_the_tape():
    x = variable(2)
    y = (x.detach() * x).sum()
    np.testing.assert_allclose(grad(y, x)[0].numpy(), x.numpy())


# ---- errors of the walk


def test_backward_twice_through_a_freed_graph_is_an_error_with_a_remedy():
    x = variable(2)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="freed.*retain_graph=True"):
        y.backward()
    z = (x * x).sum()
    z.backward(retain_graph=True)
    z.backward()


def test_a_scalar_is_needed_unless_a_cotangent_is_given():
    x = variable(2, 3)
    with pytest.raises(RuntimeError, match=r"\(2, 3\).*mean"):
        x.exp().backward()
    with pytest.raises(RuntimeError, match=r"\(2, 3\)"):
        grad(x.exp(), x)
    x.exp().backward(Tensor(np.ones((2, 3))))
    with pytest.raises(ValueError, match=r"\(3,\)"):
        grad(x.exp(), x, Tensor(np.ones(3)))


def test_backward_of_something_constant_is_an_error():
    with pytest.raises(RuntimeError, match="requires_grad=True"):
        Tensor(1.0).backward()
    with pytest.raises(TypeError, match=r"xs\[1\]"):
        grad(variable(1).sum(), [variable(1), 3.0])


@pytest.mark.parametrize("through_view", [False, True])
def test_a_value_changed_before_backward_is_an_error_not_a_wrong_gradient(through_view):
    w = variable(4)
    used = w.reshape(2, 2) if through_view else w
    y = (used * used).sum()
    w.data -= 0.1
    w.changed()
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


@pytest.mark.parametrize("op", [F.exp, F.relu, F.amax, lambda x: F.softmax(x, 0)])
def test_a_result_changed_before_backward_is_an_error_too(op):
    x = variable(4)
    y = op(x)
    view = y.detach()
    view.data[...] = 7
    view.changed()
    with pytest.raises(RuntimeError, match=r"its output of shape .* was changed in place"):
        grad((y * 2.0).sum(), x)


@pytest.mark.parametrize("op", [F.exp, F.relu, lambda x: F.leaky_relu(x, 0.2)])
def test_a_tensor_changed_between_backward_and_its_backward_is_an_error(op):
    x, c = variable(4) * 1.0, variable(4)
    y = op(x)
    (g,) = grad(y, x, c, create_graph=True)
    for changed in (x, y):  # each op reads one of them again
        changed.detach().changed()
    with pytest.raises(RuntimeError, match="was changed in place"):
        grad(g.sum(), c)


def test_views_and_detached_tensors_share_the_count_of_changes():
    w = variable(4)
    for view in (w[1:], w.reshape(2, 2), w.T, w.detach(), w[1:].detach()[0]):
        before = view.version[0]
        w.changed()
        assert view.version[0] == before + 1
    assert (w * 1.0).version is not w.version


def test_a_change_is_no_error_where_backward_reads_nothing():
    w = variable(2)
    y = (w + w).sum()
    w.changed()
    y.backward()


def test_a_wrong_shape_from_backward_is_caught_unless_broadcasting_is_declared():
    class Bad(Function):
        def forward(self, x):
            return np.stack([x, x])

        def backward(self, gy):
            return gy

    x = variable(3)
    with pytest.raises(RuntimeError, match=r"bad.backward.*\(2, 3\).*input 0.*\(3,\).*broadcasts"):
        grad(Bad()(x).sum(), x)


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        (lambda gy: (gy, gy), "returned 2 gradients for 1 inputs: .*None where there is none"),
        (lambda gy: gy.numpy(), "returned a ndarray for input 0: write it with operations on Ten"),
    ],
)
def test_what_backward_must_return_is_said(returns, message):
    class Odd(Function):
        def forward(self, x):
            return x * 1

        def backward(self, gy):
            return returns(gy)

    x = variable(3)
    with pytest.raises((RuntimeError, TypeError), match=f"odd.backward {message}"):
        grad(Odd()(x).sum(), x)


def test_a_function_without_forward_or_backward_says_so():
    class Half(Function):
        def forward(self, x):
            return x / 2

    x = variable(2)
    with pytest.raises(TypeError, match="half defines no backward"):
        grad(Half()(x).sum(), x)
    with pytest.raises(TypeError, match="function defines no forward"):
        Function()(x)


def test_memory_goes_when_the_graph_does():
    x = variable(2)
    y = x.exp()
    array = weakref.ref(y)
    grad((y * y).sum(), x)
    del y
    gc.collect()
    assert array() is None


# ---- anomaly mode


def test_anomaly_mode_names_the_first_operation_that_made_it():
    x = Tensor(np.array([1.0, 0.0]), requires_grad=True)
    with (
        detect_anomaly(),
        pytest.raises(FloatingPointError, match=r"forward of log.*\(2,\).*test_"),
    ):
        (x.log() * 0.0).sum()
    with detect_anomaly():
        y = x.sqrt().sum()
        with pytest.raises(FloatingPointError, match="backward of sqrt made infinity.*test_tensor"):
            y.backward()
    assert np.isneginf(x.log().numpy()[1])  # outside the block it is a value as any other


def test_anomaly_mode_lets_the_infinities_of_a_mask_pass_but_not_a_nan_made_of_them():
    x = variable(3)
    seen = np.array([True, False, True])
    layer = nn.MultiheadAttention(4, 2, rng=minigen.Generator(0), dtype=np.float64)
    padding = Tensor(np.array([[False, True, False]]))
    with detect_anomaly():
        F.where(seen, x, -np.inf).softmax(0)[0].backward()
        h = variable(3, 1, 4)
        out, _ = layer(h, h, h, padding)
        assert grad((out * out).sum(), [h])[0].shape == h.shape
        masked = F.where(seen, x, -np.inf)
        with pytest.raises(FloatingPointError, match="forward of sub made NaN.*not finite either"):
            masked - masked


# ---- dtypes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_adopt_the_dtype_on_either_side(dtype):
    x = variable(3, dtype=dtype)
    for y in (2.0 * x, x * 2, 1 - x, x / 3, 2 / x, x**2, 2.0 ** x.abs(), x + np.float64(1.5), -x):
        assert y.dtype == dtype
        assert grad(y.sum(), x, retain_graph=True)[0].dtype == dtype


@pytest.mark.parametrize(
    "op",
    [
        lambda x, c: F.leaky_relu(x, c),
        lambda x, c: F.elu(x, c),
        lambda x, c: F.softplus(x, c),
        lambda x, c: F.clamp(x, -c, c),
        lambda x, c: F.pow(x, c),
        lambda x, c: F.where(x > 0, x, c),
        lambda x, c: F.pad(x, (1, 1), value=c),
        lambda x, c: F.layer_norm(x, (3,), eps=c),
        lambda x, c: F.dropout(x, c, rng=minigen.Generator(0)),
    ],
)
def test_numpy_numbers_adopt_the_dtype_as_pythons_do(op):
    x = variable(3, dtype=np.float32)
    y = op(x, np.float64(0.5))
    assert y.dtype == np.float32
    assert grad(y.sum(), x)[0].dtype == np.float32


@pytest.mark.parametrize(
    "op",
    [
        lambda a: F.exp(a),
        lambda a: F.relu(a),
        lambda a: F.sum(a, 0),
        lambda a: F.softmax(a, 0),
        lambda a: F.reshape(a, (4,)),
        lambda a: F.layer_norm(a, (2,)),
        lambda a: F.conv2d(a[None, None], Tensor(np.ones((1, 1, 1, 1)))),
    ],
)
def test_an_array_where_a_tensor_belongs_is_named(op):
    with pytest.raises(TypeError, match=r"a ndarray, not a Tensor; make one .*minigen.Tensor"):
        op(np.ones((2, 2)))


def test_whole_numbers_meet_fractions_as_float32():
    i = Tensor(np.array([1, 2, 3]))
    assert (i * 2).dtype == np.int64 and (i * 2.5).dtype == np.float32
    assert (i / 2).dtype == np.float32 and i.exp().dtype == np.float32
    assert (i + Tensor(np.ones(3, np.float64))).dtype == np.float64
    assert (Tensor(np.array([True])) + Tensor(np.ones(1, np.float32))).dtype == np.float32


def test_a_0d_tensor_adopts_the_dtype_of_one_with_dimensions_and_has_a_gradient():
    scale = Tensor(np.array(2.0), requires_grad=True)  # float64
    x = variable(3, dtype=np.float32)
    y = scale * x
    assert y.dtype == np.float32
    (g,) = grad(y.sum(), scale)
    assert g.dtype == np.float64 and g.item() == pytest.approx(x.numpy().sum(), rel=1e-5)


def test_mixed_precisions_are_refused_with_a_remedy():
    a, b = variable(2, dtype=np.float32), variable(2)
    for op in (lambda: a + b, lambda: a @ b, lambda: F.cat([a, b]), lambda: F.maximum(a, b)):
        with pytest.raises(TypeError, match=r"float32 and float64.*\.to\('float32'\)"):
            op()
    (g,) = grad((a.to("float64") * b).sum(), a)
    assert g.dtype == np.float32


class OnGpu:
    """Looks like an array on a GPU: enough to see where it is."""

    __cuda_array_interface__ = {}
    dtype, shape, ndim, size = np.dtype(np.float64), (2,), 1, 2

    def __init__(self, number):
        self.device = SimpleNamespace(id=number)


def test_mixed_devices_are_refused_with_a_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(ndarray=OnGpu))
    a, b, c = variable(2), Tensor(OnGpu(0)), Tensor(OnGpu(1))
    assert (a.device, b.device, c.device) == ("cpu", "cuda:0", "cuda:1")
    for op in (lambda x, y: x + y, F.div, lambda x, y: F.cat([x, y]), F.maximum, F.mse_loss):
        with pytest.raises(TypeError, match=r"on cpu and cuda:0; move them .*x\.to\('cpu'\)"):
            op(a, b)
    with pytest.raises(TypeError, match=r"add: the inputs are on cuda:0 and cuda:1; move them"):
        b + c
    with pytest.raises(ValueError, match=r"the cotangent is on cuda:1 and y on cpu; .*to\('cpu'\)"):
        grad(a * 2.0, a, c)
    with pytest.raises(ValueError, match="gradient 0 is on cuda:0, its parameter on cpu"):
        SGD([a]).step([b])


def test_errors_name_the_operation_as_the_caller_does():
    x, w = variable(1, 2, 3, 3, dtype=np.float32), variable(2, 2, 3, 3)
    for name, op in {
        "conv_transpose2d": lambda: F.conv_transpose2d(x, w),
        "layer_norm": lambda: F.layer_norm(x, (3, 3), w[0, 0], w[0, 0]),
        "scaled_dot_product_attention": lambda: F.scaled_dot_product_attention(x, w[:1], w[:1]),
    }.items():
        with pytest.raises(TypeError, match=f"^{name}: the inputs are float32 and float64"):
            op()
    assert "made by log_softmax" in repr(F.log_softmax(x, 1))


def test_to_takes_devices_and_dtypes():
    x = variable(2, dtype=np.float32)
    assert x.to("cpu") is x and x.to("float32") is x and x.device == "cpu"
    assert x.to("cpu", np.float64).dtype == np.float64
    assert x.to("int64").dtype == np.int64 and not x.to("int64").requires_grad
    with pytest.raises(ValueError, match="'cpu' or 'cuda:0'"):
        x.to("gpu")


def test_arrays_on_the_left_leave_the_operation_to_the_tensor():
    x = variable(3)
    y = np.ones(3) * x
    assert isinstance(y, Tensor) and y.requires_grad
    with pytest.raises(TypeError, match="str cannot be combined"):
        _ = x + "1"


def test_comparisons_give_bools_off_the_tape():
    x = variable(3)
    for y in (x > 0, x >= 0.0, x < x, x <= x, F.eq(x, x), F.ne(x, 0)):
        assert y.dtype == bool and not y.requires_grad
    both = (x > -1) & (x < 1.0) | ~F.eq(x, x)
    np.testing.assert_array_equal(both.numpy(), abs(x.numpy()) < 1)
    assert x in {x}  # equality of tensors is identity, so that they can be keys


# ---- the import


def test_importing_minigen_imports_no_numba():
    code = "import sys, minigen; sys.exit('numba' in sys.modules or 'cupy' in sys.modules)"
    path = [p for p in sys.path if p]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {code}"], check=False
    )
    assert done.returncode == 0
    assert minigen.Tensor is Tensor

"""Optimisers against their formulas by hand; resuming; averages; schedules; what errors say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigen_kernels.random import Generator

from minigen import Tensor, nn
from minigen.optim import EMA, SGD, Adam, AdamW, clip_grad_norm, constant, cosine

SHAPES = [(3, 4), (5,), (), (0, 2)]
MAKERS = [
    lambda params: SGD(params, lr=0.1),
    lambda params: SGD(params, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    lambda params: Adam(params, lr=0.1, betas=(0.5, 0.9), weight_decay=0.1),
    lambda params: AdamW(params, lr=0.1),
]


def parameters(dtype=np.float64, shapes=SHAPES):
    rng = np.random.default_rng(0)
    return [Tensor(np.asarray(rng.standard_normal(s), dtype), requires_grad=True) for s in shapes]


def gradients(step, dtype=np.float64, shapes=SHAPES):
    rng = np.random.default_rng(100 + step)
    return [Tensor(np.asarray(rng.standard_normal(s), dtype)) for s in shapes]


def test_sgd_by_hand():
    (p,) = parameters(shapes=[(3,)])
    start = p.numpy().copy()
    opt = SGD([p], lr=0.1, momentum=0.5, dampening=0.25, weight_decay=0.2)
    g1, g2 = (gradients(k, shapes=[(3,)])[0] for k in (1, 2))
    opt.step([g1])
    buffer = g1.numpy() + 0.2 * start
    one = start - 0.1 * buffer
    np.testing.assert_allclose(p.numpy(), one, rtol=1e-12)
    opt.step([g2])
    buffer = 0.5 * buffer + 0.75 * (g2.numpy() + 0.2 * one)
    np.testing.assert_allclose(p.numpy(), one - 0.1 * buffer, rtol=1e-12)


@pytest.mark.parametrize("make, decoupled", [(Adam, False), (AdamW, True)])
def test_adam_by_hand(make, decoupled):
    (p,) = parameters(shapes=[(3,)])
    x = p.numpy().copy()
    opt = make([p], lr=0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.2)
    m, v = np.zeros(3), np.zeros(3)
    for t in range(1, 4):
        (grad,) = gradients(t, shapes=[(3,)])
        opt.step([grad])
        x = x - 0.1 * 0.2 * x if decoupled else x
        g = grad.numpy() if decoupled else grad.numpy() + 0.2 * x
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g * g
        x = x - 0.1 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-3)
        np.testing.assert_allclose(p.numpy(), x, rtol=1e-10)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_resuming_is_exact(make, dtype):
    straight, resumed = parameters(dtype), parameters(dtype)
    a, b = make(straight), make(resumed)
    for step in range(6):
        if step == 3:
            b.lr = 123.0  # the saved one counts
            saved = {k: np.array(v) for k, v in b.state_dict().items()} | {"lr": a.lr}
            b = make(resumed)
            b.load_state_dict(saved)
        grads = gradients(step, dtype)
        if step in (1, 4):
            grads[1] = None  # that parameter's step count falls behind
        a.step(grads)
        b.step(grads)
    for p, q in zip(straight, resumed, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())
    assert a.steps == b.steps == [6, 4, 6, 6]


def test_a_parameter_without_gradient_stays():
    params = parameters()
    before = [p.numpy().copy() for p in params]
    opt = AdamW(params)
    params[0].grad = gradients(0)[0]
    opt.step()
    assert not np.array_equal(params[0].numpy(), before[0])
    for p, old in zip(params[1:], before[1:], strict=True):
        np.testing.assert_array_equal(p.numpy(), old)
    opt.zero_grad()
    assert all(p.grad is None for p in params)


def test_parameters_that_are_not_contiguous_are_updated_in_place():
    block = np.arange(12.0).reshape(3, 4)
    whole, view = Tensor(block.T.copy(), requires_grad=True), Tensor(block.T, requires_grad=True)
    g = Tensor(np.random.default_rng(0).standard_normal((4, 3)))
    for p in (whole, view):
        Adam([p]).step([g])
    np.testing.assert_array_equal(whole.numpy(), view.numpy())
    np.testing.assert_array_equal(block.T, view.numpy())


def test_a_step_before_backward_is_an_error():
    (p,) = parameters(shapes=[(3,)])
    loss = (p * p).sum()
    SGD([p]).step(gradients(0, shapes=[(3,)]))
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_errors_say_what_to_do():
    params = parameters()
    with pytest.raises(ValueError, match="a generator yields its items only once"):
        SGD(p for p in [])
    items = (p for p in params)
    SGD(items)
    with pytest.raises(ValueError, match="a generator yields its items only once"):
        Adam(items)
    with pytest.raises(TypeError, match=r"model\.parameters\(\), not the model"):
        Adam(nn.Linear(2, 2, rng=Generator(0)))
    with pytest.raises(TypeError, match="not one tensor"):
        Adam(params[0])
    with pytest.raises(TypeError, match=r"params\[1\] is a float, not"):
        Adam([params[0], 1.0])
    with pytest.raises(ValueError, match="only leaf tensors"):
        Adam([params[0] * 2])
    with pytest.raises(ValueError, match="in the list twice"):
        Adam([params[0], params[0]])
    with pytest.raises(ValueError, match=r"betas=\(1.0, 0.9\)"):
        Adam(params, betas=(1.0, 0.9))
    with pytest.raises(ValueError, match="lr=-1"):
        Adam(params, lr=-1)
    with pytest.raises(ValueError, match="nesterov"):
        SGD(params, nesterov=True)


def test_misaligned_gradients_change_nothing():
    params = parameters()
    before = [p.numpy().copy() for p in params]
    opt = Adam(params)
    with pytest.raises(ValueError, match="3 gradients for 4 parameters"):
        opt.step(gradients(0)[:3])
    with pytest.raises(ValueError, match=r"gradient 0 has shape \(5,\).*parameter \(3, 4\)"):
        opt.step([gradients(0)[i] for i in (1, 0, 2, 3)])
    with pytest.raises(TypeError, match="gradient 1 is a ndarray, not a Tensor"):
        opt.step([g if i != 1 else g.numpy() for i, g in enumerate(gradients(0))])
    assert opt.steps == [0, 0, 0, 0]
    for p, old in zip(params, before, strict=True):
        np.testing.assert_array_equal(p.numpy(), old)


def test_a_state_of_other_parameters_is_refused():
    opt = Adam(parameters())
    opt.step(gradients(0))
    state = opt.state_dict()
    with pytest.raises(ValueError, match="steps of 1 parameters, got steps of 4"):
        Adam(parameters()[:1]).load_state_dict(state)
    with pytest.raises(ValueError, match="'exp_avg.0' is nothing that SGD keeps"):
        SGD(parameters()).load_state_dict(state)
    with pytest.raises(ValueError, match=r"exp_avg.0 has shape \(3,\), but .* 0 has \(3, 4\)"):
        opt.load_state_dict(state | {"exp_avg.0": np.zeros(3)})


def test_the_state_is_a_copy():
    opt = Adam(parameters())
    opt.step(gradients(0))
    state = opt.state_dict()
    before = state["exp_avg.0"].copy()
    opt.step(gradients(1))
    np.testing.assert_array_equal(state["exp_avg.0"], before)


@given(st.integers(2, 60), st.data())
def test_cosine_rises_then_falls(total, data):
    warmup = data.draw(st.integers(0, total - 1))
    rates = [cosine(s, lr=2.0, total=total, warmup=warmup, final=0.5) for s in range(1, total + 9)]
    if warmup:
        assert rates[0] == 2.0 / warmup and rates[warmup - 1] == pytest.approx(2.0)
    after = rates[max(warmup - 1, 0) :]
    assert all(a >= b - 1e-12 for a, b in zip(after, after[1:], strict=False))
    assert rates[total - 1 :] == [0.5] * 9
    middle = (warmup + total) / 2
    if middle == int(middle) and middle >= 1:
        assert cosine(int(middle), lr=2.0, total=total, warmup=warmup, final=0.5) == pytest.approx(
            1.25
        )


def test_constant_warms_up():
    assert [constant(s, lr=2.0, warmup=4) for s in (1, 2, 4, 5)] == [0.5, 1.0, 2.0, 2.0]
    assert constant(1, lr=2.0) == 2.0
    with pytest.raises(ValueError, match="warmup=5 must be less than total=5"):
        cosine(1, lr=1.0, total=5, warmup=5)


def test_clip_grad_norm():
    grads = [Tensor(np.array([3.0, 0.0])), None, Tensor(np.array(4.0, np.float32))]
    clipped, norm = clip_grad_norm(grads, 1.0)
    assert norm == 5.0
    np.testing.assert_allclose(clipped[0].numpy(), [0.6, 0], rtol=1e-6)
    np.testing.assert_allclose(clipped[2].numpy(), 0.8, rtol=1e-6)
    assert clipped[1] is None and clipped[2].dtype == np.float32
    same, norm = clip_grad_norm(grads, 6.0)
    assert norm == 5.0 and same == grads
    assert grads[0].numpy()[0] == 3.0  # what came in is untouched
    clipped, norm = clip_grad_norm([Tensor(np.array([1.0, math.inf]))], 1.0)
    assert norm == math.inf  # as torch's: what is left of it is 0 and NaN
    np.testing.assert_array_equal(clipped[0].numpy(), [0, math.nan])
    _, norm = clip_grad_norm([Tensor(np.array([math.nan, math.inf]))], 1.0)
    assert math.isnan(norm)


def network(seed):
    rng = Generator(seed)
    return nn.Sequential(nn.Linear(3, 4, rng=rng), nn.BatchNorm1d(4))


def test_ema_is_its_closed_form():
    net = network(0)
    ema = EMA(net, decay=0.75)
    expected = {n: p.numpy().copy() for n, p in net.named_parameters()}
    for step in range(4):
        for p in net.parameters():
            p.data[...] = step + np.arange(p.size).reshape(p.shape)
        net[1].running_mean.data[...] = step
        ema.update()
        expected = {n: 0.75 * expected[n] + 0.25 * p.numpy() for n, p in net.named_parameters()}
    state = ema.state_dict()
    for name, value in expected.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-6)
    np.testing.assert_array_equal(state["1.running_mean"], 3.0)  # buffers are copied
    assert list(state) == [*dict(net.named_parameters()), *dict(net.named_buffers())]


def test_ema_applied_and_copied():
    net = network(0)
    ema = EMA(net, decay=0.5)
    now = net.state_dict()
    for p in net.parameters():
        p.data[...] += 1
    ema.update()
    after = net.state_dict()
    with ema.applied():
        np.testing.assert_allclose(net[0].weight.numpy(), now["0.weight"] + 0.5, rtol=1e-6)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, after[name])
    other = network(1)
    ema.copy_to(other)
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(value, ema.state_dict()[name])
    again = EMA(network(2))
    again.load_state_dict(ema.state_dict())
    for name, value in again.state_dict().items():
        np.testing.assert_array_equal(value, ema.state_dict()[name])


def test_ema_errors():
    ema = EMA(network(0))
    with pytest.raises(ValueError, match="other parameters"):
        ema.copy_to(nn.Linear(3, 4, rng=Generator(0)))
    state = ema.state_dict()
    del state["0.bias"]
    with pytest.raises(ValueError, match=r"0.bias has shape None there, \(4,\) here"):
        ema.load_state_dict(state)
    with pytest.raises(ValueError, match="decay=2"):
        EMA(network(0), decay=2)

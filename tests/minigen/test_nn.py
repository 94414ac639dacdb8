"""Modules: walks, names, saving and loading, shapes, modes, and what errors say."""

import copy

import numpy as np
import pytest
from minigen_kernels.random import Generator

from minigen import Tensor, grad, nn
from minigen import functional as F


def rng(seed=0):
    return Generator(seed)


def random(*shape, seed=0, dtype=np.float32):
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


class Tied(nn.Module):
    """Everything a walk has to find: attributes, lists, dicts, shared and frozen parameters."""

    def __init__(self):
        self.blocks = [nn.Linear(2, 2, rng=rng()), {"b": nn.Linear(2, 3, bias=False, rng=rng())}]
        self.own = nn.Parameter(np.zeros(2, np.float32))
        self.head = nn.Linear(2, 2, rng=rng())
        self.head.weight = self.blocks[0].weight
        self.constant = Tensor(np.ones(3))
        self.register_buffer("mean", Tensor(np.zeros(3)))
        self.register_buffer("cache", Tensor(np.zeros(1)), persistent=False)
        self.none = None


def test_walks_are_in_definition_order_and_name_things_once():
    net = Tied()
    names = ["own", "blocks.0.weight", "blocks.0.bias", "blocks.1.b.weight", "head.bias"]
    assert [n for n, _ in net.named_parameters()] == names
    assert [n for n, _ in net.named_buffers()] == ["mean", "cache"]
    saved = ["own", "mean", *names[1:4], "head.weight", "head.bias"]
    assert list(net.state_dict()) == saved
    assert [n for n, _ in net.named_modules()] == ["", "blocks.0", "blocks.1.b", "head"]
    assert len(net.parameters()) == 5


def test_a_shared_module_is_one_module():
    layer = nn.Linear(2, 2, rng=rng())
    net = nn.Sequential(layer, nn.ReLU(), layer)
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias"]
    assert len(list(net.modules())) == 3
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_a_typo_is_an_error_that_names_the_module():
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'wieght'"):
        _ = nn.Linear(2, 2, rng=rng()).wieght


def test_loading_is_all_or_nothing():
    net, other = Tied(), Tied()
    state = net.state_dict()
    before = other.state_dict()
    bad = {k: v for k, v in state.items() if k != "own"} | {"extra": np.zeros(1)}
    bad["head.bias"] = np.zeros(3)
    with pytest.raises(ValueError) as e:
        other.load_state_dict(bad)
    assert str(e.value) == (
        "load_state_dict of Tied: missing own; unexpected extra; "
        "head.bias has shape (3,), but (2,) is needed"
    )
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    with pytest.raises(ValueError, match="head.bias has shape"):
        other.load_state_dict(bad, strict=False)
    del bad["head.bias"]
    other.load_state_dict(bad, strict=False)
    np.testing.assert_array_equal(other.blocks[0].weight.numpy(), net.blocks[0].weight.numpy())


def test_state_is_a_copy_and_loading_keeps_the_parameter():
    net = nn.Linear(2, 2, rng=rng())
    weight, state = net.weight, net.state_dict()
    net.weight.data[...] = 7
    assert not (state["weight"] == 7).any()
    loss = (net.weight * net.weight).sum()
    net.load_state_dict(state)
    assert net.weight is weight
    np.testing.assert_array_equal(weight.numpy(), state["weight"])
    with pytest.raises(RuntimeError, match="changed in place"):
        grad(loss, [weight])


def test_modes_reach_everything():
    net = nn.Sequential(nn.Dropout(0.5, rng=rng()), nn.ModuleList([nn.BatchNorm1d(2)]))
    assert net.training and net[1][0].training
    assert net.eval() is net and not net[0].training and not net[1][0].training
    assert net.train()[1][0].training
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())


def test_to_another_dtype():
    net = nn.BatchNorm2d(3).to("float64")
    assert net.weight.dtype == net.running_mean.dtype == np.float64
    assert net.num_batches_tracked.dtype == np.int64
    assert net(random(2, 3, 4, 4, dtype=np.float64)).dtype == np.float64


def test_a_copy_is_independent():
    net = nn.Sequential(nn.Linear(2, 2, rng=rng()), nn.BatchNorm1d(2))
    twin = copy.deepcopy(net)
    twin[0].weight.data[...] = 0
    assert net[0].weight.numpy().any()
    assert [n for n, _ in twin.named_parameters()] == [n for n, _ in net.named_parameters()]


def test_containers():
    layers = nn.ModuleList(nn.Linear(i, i, rng=rng()) for i in (1, 2))
    layers.append(nn.Linear(3, 3, rng=rng()))
    assert [layer.in_features for layer in layers] == [1, 2, 3] and len(layers) == 3
    assert layers[-1].in_features == 3
    assert isinstance(layers[1:], nn.ModuleList) and len(layers[1:]) == 2
    with pytest.raises(TypeError, match="Sequential holds Modules, not function"):
        nn.Sequential(nn.ReLU(), F.relu)
    net = nn.Sequential(nn.Tanh(), nn.Flatten())
    x = random(2, 3, 4)
    np.testing.assert_array_equal(net(x).numpy(), np.tanh(x.numpy()).reshape(2, 12))
    with pytest.raises(NotImplementedError, match="ModuleList defines no forward"):
        layers(x)


def test_sequential_takes_names_and_a_slice_keeps_them():
    net = nn.Sequential({"body": nn.Linear(2, 3, rng=rng()), "act": nn.ReLU()})
    net.append(nn.Linear(3, 1, rng=rng()))
    assert list(net.state_dict()) == ["body.weight", "body.bias", "2.weight", "2.bias"]
    assert net(random(4, 2)).shape == (4, 1) and net[0] is net.body
    tail = net[1:]
    assert isinstance(tail, nn.Sequential) and list(tail.state_dict()) == ["2.weight", "2.bias"]
    assert tail[-1] is net[-1]
    assert len(nn.Sequential().extend(net)) == 3 and len(nn.ModuleList()) == 0
    with pytest.raises(TypeError, match="Sequential holds Modules, not function"):
        nn.Sequential({"act": F.relu})


def test_repr():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, padding=1, bias=False, rng=rng()),
        nn.Sequential(nn.BatchNorm2d(8), nn.LeakyReLU(0.2)),
        nn.ConvTranspose2d(8, 2, 4, output_padding=1, stride=2, rng=rng()),
    )
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)\n"
        "  (1): Sequential(\n"
        "    (0): BatchNorm2d(8, eps=1e-05, momentum=0.1, affine=True, bias=True, "
        "track_running_stats=True)\n"
        "    (1): LeakyReLU(negative_slope=0.2)\n"
        "  )\n"
        "  (2): ConvTranspose2d(8, 2, kernel_size=(4, 4), stride=(2, 2), output_padding=(1, 1))\n"
        ")"
    )


def test_randomness_must_be_given():
    for make in (
        lambda: nn.Linear(2, 2),
        lambda: nn.Conv2d(1, 1, 1),
        lambda: nn.Embedding(2, 2),
        lambda: nn.Dropout(0.5),
        lambda: nn.MultiheadAttention(4, 2),
        lambda: nn.TransformerEncoderLayer(4, 2),
        lambda: nn.init.normal_(nn.Parameter(np.zeros(3))),
    ):
        with pytest.raises(TypeError, match=r"needs the keyword rng.*minigen.Generator\(0\)"):
            make()


def test_numpys_generators_are_refused_by_name():
    with pytest.raises(TypeError, match=r"Linear .*minigen.Generator \(got Generator\)"):
        nn.Linear(2, 2, rng=np.random.default_rng(0))


def test_the_same_generator_gives_the_same_network():
    a, b = (nn.Conv2d(2, 3, 3, rng=rng(5)).state_dict() for _ in range(2))
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize(
    "init, std",
    [
        (lambda p: nn.init.normal_(p, 1.0, 0.5, rng=rng()), 0.5),
        (lambda p: nn.init.uniform_(p, 0.0, 2.0, rng=rng()), 2 / 12**0.5),
        (lambda p: nn.init.kaiming_normal_(p, nonlinearity="relu", rng=rng()), (2 / 450) ** 0.5),
        (lambda p: nn.init.kaiming_uniform_(p, a=5**0.5, rng=rng()), (1 / 3 / 450) ** 0.5),
        (lambda p: nn.init.kaiming_normal_(p, mode="fan_out", rng=rng()), (2 / 360) ** 0.5),
        (lambda p: nn.init.xavier_uniform_(p, 2.0, rng=rng()), 2 * (2 / 810) ** 0.5),
        (lambda p: nn.init.xavier_normal_(p, rng=rng()), (2 / 810) ** 0.5),
    ],
)
def test_initial_values_have_the_variance_they_promise(init, std):
    p = nn.Parameter(np.zeros((40, 50, 3, 3)))
    version = p.version[0]
    assert init(p) is p and p.version[0] > version
    assert p.numpy().std() == pytest.approx(std, rel=0.03)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 1, 2, 2)])
def test_orthogonal_is_orthogonal(shape):
    p = nn.init.orthogonal_(nn.Parameter(np.zeros(shape)), 2.0, rng=rng()).numpy()
    p = p.reshape(shape[0], -1) / 2
    gram = p @ p.T if p.shape[0] <= p.shape[1] else p.T @ p
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


def test_default_initial_values_are_torch_s_bounds():
    conv = nn.Conv2d(8, 32, 3, rng=rng())
    bound = 1 / (8 * 9) ** 0.5
    for p in conv.parameters():
        assert 0.9 * bound < abs(p.numpy()).max() <= bound
    transposed = nn.ConvTranspose2d(8, 32, 3, rng=rng())
    bound = 1 / (32 * 9) ** 0.5  # fan_in is axis 1 of the weight
    for p in transposed.parameters():
        assert 0.9 * bound < abs(p.numpy()).max() <= bound


def test_layers_give_these_shapes():
    image = random(2, 4, 8, 8)
    for layer, shape in (
        (nn.Conv2d(4, 6, (3, 5), padding="same", groups=2, rng=rng()), (2, 6, 8, 8)),
        (nn.ConvTranspose2d(4, 6, 4, 2, 1, rng=rng()), (2, 6, 16, 16)),
        (nn.MaxPool2d(2), (2, 4, 4, 4)),
        (nn.AvgPool2d(3, 2, 1), (2, 4, 4, 4)),
        (nn.Upsample(scale_factor=2), (2, 4, 16, 16)),
        (nn.ZeroPad2d((1, 2, 3, 4)), (2, 4, 15, 11)),
        (nn.Flatten(), (2, 256)),
        (nn.GroupNorm(2, 4), (2, 4, 8, 8)),
        (nn.InstanceNorm2d(4, affine=True), (2, 4, 8, 8)),
        (nn.LayerNorm((8, 8)), (2, 4, 8, 8)),
        (nn.BatchNorm2d(4), (2, 4, 8, 8)),
        (nn.Softmax(1), (2, 4, 8, 8)),
    ):
        assert layer(image).shape == shape, layer
    assert nn.Embedding(5, 3, rng=rng())(Tensor(np.array([[0, 4]]))).shape == (1, 2, 3)
    with pytest.raises(IndexError, match="flatten: axis 4 is out of range"):
        nn.Flatten(4)(image)
    y, places = nn.MaxPool2d(2, return_indices=True)(image)
    assert y.shape == places.shape == (2, 4, 4, 4)


def test_batch_norm_keeps_running_statistics():
    norm = nn.BatchNorm1d(3, momentum=0.25)
    x = random(6, 3)
    norm(x)
    mean, var = x.numpy().mean(0), x.numpy().var(0, ddof=1)
    np.testing.assert_allclose(norm.running_mean.numpy(), 0.25 * mean, rtol=1e-5)
    np.testing.assert_allclose(norm.running_var.numpy(), 0.75 + 0.25 * var, rtol=1e-5)
    assert norm.num_batches_tracked.item() == 1
    average = nn.BatchNorm1d(3, momentum=None)
    batches = [random(6, 3, seed=s) for s in range(3)]
    for b in batches:
        average(b)
    expected = np.mean([b.numpy().mean(0) for b in batches], 0)
    np.testing.assert_allclose(average.running_mean.numpy(), expected, rtol=1e-5, atol=1e-6)
    before = average.eval().state_dict()
    y = average(random(1, 3))  # one value per channel is enough in evaluation
    expected = (random(1, 3).numpy() - before["running_mean"]) / np.sqrt(
        before["running_var"] + 1e-5
    )
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5)
    assert average.state_dict()["num_batches_tracked"] == 3


def test_running_statistics_do_not_break_an_earlier_backward():
    norm = nn.BatchNorm2d(2)
    x = random(3, 2, 4, 4)
    loss = (norm(x) * random(3, 2, 4, 4, seed=1)).sum()
    norm(x)
    assert grad(loss, [norm.weight])[0].shape == (2,)


def test_norm_layers_say_what_they_take():
    with pytest.raises(ValueError, match=r"BatchNorm2d: got input \(2, 3\), expected \(N, 4, H, W"):
        nn.BatchNorm2d(4)(random(2, 3))
    with pytest.raises(ValueError, match=r"expected \(N, 4\) or \(N, 4, L\)"):
        nn.BatchNorm1d(4)(random(2, 3))
    with pytest.raises(ValueError, match="more than 1 value per channel when training.*eval"):
        nn.BatchNorm1d(4)(random(1, 4))
    with pytest.raises(ValueError, match="num_groups=3 must divide num_channels=4"):
        nn.GroupNorm(3, 4)
    with pytest.raises(TypeError):
        nn.BatchNorm2d(4, 1e-5, 0.1, True, True, np.float64)  # type: ignore[misc]


def test_dropout_scales_what_it_keeps_and_rests_in_evaluation():
    drop = nn.Dropout(0.25, rng=rng())
    y = drop(Tensor(np.ones(10000, np.float32))).numpy()
    np.testing.assert_allclose(np.unique(y), [0, 4 / 3], rtol=1e-6)
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.02)
    x = random(4)
    np.testing.assert_array_equal(drop.eval()(x).numpy(), x.numpy())
    with pytest.raises(ValueError, match="p=1.5"):
        nn.Dropout(1.5, rng=rng())


# ---- attention


def attend(layer, x, **kwargs):
    return layer(x, x, x, **kwargs)


def test_attention_layouts_agree():
    first, second = (
        nn.MultiheadAttention(6, 2, batch_first=b, rng=rng(), dtype=np.float64) for b in (0, 1)
    )
    x = random(3, 5, 6, dtype=np.float64)  # (N, T, E)
    y, weights = attend(second, x)
    z, same = attend(first, x.transpose(0, 1))
    np.testing.assert_allclose(z.transpose(0, 1).numpy(), y.numpy())
    np.testing.assert_allclose(same.numpy(), weights.numpy())
    alone, w0 = attend(second, x[0])
    np.testing.assert_allclose(alone.numpy(), y.numpy()[0])
    np.testing.assert_allclose(w0.numpy(), weights.numpy()[0])
    assert weights.shape == (3, 5, 5)
    np.testing.assert_allclose(weights.numpy().sum(-1), 1)


def test_attention_with_and_without_weights_agree():
    layer = nn.MultiheadAttention(6, 2, batch_first=True, rng=rng(), dtype=np.float64)
    q, k, v = (random(2, t, 6, seed=s, dtype=np.float64) for s, t in enumerate((4, 5, 5)))
    padding = Tensor(np.array([[False] * 5, [False, False, False, True, True]]))
    forbidden = Tensor(np.random.default_rng(3).random((4, 5)) < 0.3)
    for options in (
        {},
        {"is_causal": True},
        {"key_padding_mask": padding},
        {"attn_mask": forbidden, "key_padding_mask": padding},
        {"key_padding_mask": padding, "is_causal": True},
        {"attn_mask": random(4, 4, 5, dtype=np.float64)},
    ):
        y, weights = layer(q, k, v, **options)
        z, none = layer(q, k, v, need_weights=False, **options)
        np.testing.assert_allclose(z.numpy(), y.numpy(), rtol=1e-9, atol=1e-12)
        assert none is None
        if "key_padding_mask" in options:
            assert not weights.numpy()[1, :, 3:].any()
        if "is_causal" in options:
            assert not np.triu(weights.numpy(), 1).any()
    _, each = layer(q, k, v, average_attn_weights=False)
    assert each.shape == (2, 2, 4, 5)


def test_batch_first_is_given_by_name():
    # By position torch has other arguments there: a silent exchange of batch and time.
    with pytest.raises(TypeError, match="positional"):
        nn.MultiheadAttention(6, 2, 0.0, True, True, rng=rng())  # type: ignore[misc]


def test_attention_errors():
    layer = nn.MultiheadAttention(6, 2, rng=rng())
    with pytest.raises(ValueError, match="num_heads=4 must divide embed_dim=6"):
        nn.MultiheadAttention(6, 4, rng=rng())
    with pytest.raises(ValueError, match=r"query is \(2, 3, 5\).*E = embed_dim = 6"):
        attend(layer, random(2, 3, 5))
    with pytest.raises(ValueError, match=r"key \(4, 1, 6\) and value \(3, 1, 6\) must be as large"):
        layer(random(2, 1, 6), random(4, 1, 6), random(3, 1, 6))
    with pytest.raises(ValueError, match=r"axis 1, the batch, is 3 in the query .* 1 in the key"):
        layer(random(2, 3, 6), random(2, 1, 6), random(2, 1, 6))
    with pytest.raises(ValueError, match=r"key_padding_mask \(2, 3\) must be \(3, 2\)"):
        attend(layer, random(2, 3, 6), key_padding_mask=Tensor(np.zeros((2, 3), bool)))
    with pytest.raises(ValueError, match=r"attn_mask \(3, 3\) must be \(2, 2\)"):
        attend(layer, random(2, 3, 6), attn_mask=Tensor(np.zeros((3, 3), bool)))


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_causal_encoder_does_not_look_ahead(norm_first):
    layer = nn.TransformerEncoderLayer(
        6, 2, 8, dropout=0.0, batch_first=True, norm_first=norm_first, rng=rng(), dtype=np.float64
    )
    x = random(1, 5, 6, dtype=np.float64)
    changed = Tensor(x.numpy().copy())
    changed.data[0, 3] *= -1  # a constant added would vanish in the layer norm
    y, z = layer(x, is_causal=True).numpy(), layer(changed, is_causal=True).numpy()
    np.testing.assert_array_equal(y[0, :3], z[0, :3])
    assert (abs(y[0, 3:] - z[0, 3:]).max(-1) > 1e-6).all()


def test_dropout_in_a_transformer_layer_comes_from_its_generator():
    layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.5, rng=(generator := rng()))
    x, state = random(3, 2, 6), generator.state_dict()
    y = layer(x).numpy()
    assert not np.array_equal(y, layer(x).numpy())
    generator.load_state_dict(state)
    np.testing.assert_array_equal(y, layer(x).numpy())
    np.testing.assert_array_equal(layer.eval()(x).numpy(), layer(x).numpy())


# ---- agreement with torch.nn

PAIRS = {
    "Linear": ((4, 3), {}, [(2, 4)]),
    "Embedding": (
        (5, 3),
        {"padding_idx": 1, "max_norm": 1.0, "norm_type": 3.0, "scale_grad_by_freq": True},
        [(2, 4)],
    ),
    "Conv2d": ((4, 6, 3), {"stride": 2, "groups": 2, "padding": 1}, [(2, 4, 7, 8)]),
    "ConvTranspose2d": (
        (4, 6, 3, 2),
        {"padding": 1, "output_padding": 1, "groups": 2},
        [(2, 4, 5, 6)],
    ),
    "BatchNorm1d": ((4,), {"bias": False}, [(5, 4)]),
    "BatchNorm2d": ((4,), {"momentum": None}, [(3, 4, 5, 2)]),
    "InstanceNorm2d": ((4,), {"affine": True, "track_running_stats": True}, [(3, 4, 5, 2)]),
    "GroupNorm": ((2, 4), {"bias": False}, [(3, 4, 5)]),
    "LayerNorm": (([3, 4],), {"bias": False}, [(2, 3, 4)]),
    "LeakyReLU": ((0.2,), {}, [(2, 3)]),
    "GELU": ((), {"approximate": "tanh"}, [(2, 3)]),
    "Softplus": ((2.0,), {}, [(2, 3)]),
    "ELU": ((), {}, [(2, 3)]),
    "SiLU": ((), {}, [(2, 3)]),
    "Upsample": ((), {"scale_factor": 2, "mode": "bilinear"}, [(1, 2, 3, 4)]),
    "AvgPool2d": ((3, 2, 1, True, False), {}, [(1, 2, 6, 5)]),
    "MaxPool2d": ((3,), {"stride": 2, "dilation": 2, "ceil_mode": True}, [(1, 2, 8, 7)]),
    "ZeroPad2d": (((1, 2, 0, 1),), {}, [(1, 2, 3, 4)]),
    "MultiheadAttention": ((6, 2), {}, [(3, 2, 6), (4, 2, 6), (4, 2, 6)]),
    "TransformerEncoderLayer": (
        (6, 2, 8),
        {"dropout": 0.0, "activation": "gelu", "norm_first": True},
        [(3, 2, 6)],
    ),
    "TransformerDecoderLayer": (
        (6, 2, 8),
        {"dropout": 0.0, "batch_first": True},
        [(2, 3, 6), (2, 4, 6)],
    ),
}
RANDOM = {
    "Linear",
    "Embedding",
    "Conv2d",
    "ConvTranspose2d",
    "MultiheadAttention",
    "TransformerEncoderLayer",
    "TransformerDecoderLayer",
}


@pytest.mark.parity
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("training", [True, False])
def test_a_layer_is_torch_s(name, training):
    """The same arguments, state_dict (names, order, shapes, dtypes), repr, values and gradients."""
    import torch

    args, kwargs, shapes = PAIRS[name]
    extra = {"rng": rng()} if name in RANDOM else {}
    mine = getattr(nn, name)(*args, **kwargs, **extra)
    theirs = getattr(torch.nn, name)(*args, **kwargs)
    expected = {k: v.numpy() for k, v in theirs.state_dict().items()}
    assert {k: (v.shape, v.dtype) for k, v in mine.state_dict().items()} == {
        k: (v.shape, v.dtype) for k, v in expected.items()
    }
    assert list(mine.state_dict()) == list(expected)
    assert [n for n, _ in mine.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    mine.load_state_dict(expected)
    mine.train(training)
    theirs.train(training)
    if name == "Embedding":
        arrays = [np.random.default_rng(0).integers(0, 5, shapes[0])]
    else:
        arrays = [random(*s, seed=i).numpy() for i, s in enumerate(shapes)]
    for _ in range(2):  # twice, so that running statistics count
        y = mine(*map(Tensor, arrays))
        z = theirs(*[torch.tensor(a) for a in arrays])
    y, z = (y[0], z[0]) if isinstance(y, tuple) else (y, z)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=2e-5, atol=2e-6)
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(mine.state_dict()[key], value.numpy(), rtol=2e-5, atol=2e-6)
    if mine.parameters():
        cot = random(*y.shape, seed=9)
        grads = grad((y * cot).sum(), mine.parameters())
        (z * torch.tensor(cot.numpy())).sum().backward()
        for (key, p), g in zip(theirs.named_parameters(), grads, strict=True):
            np.testing.assert_allclose(g.numpy(), p.grad.numpy(), rtol=2e-4, atol=2e-5, err_msg=key)
    if "Transformer" not in name and "Multihead" not in name and "Upsample" != name:
        assert repr(mine).replace("'", "") == repr(theirs).replace("'", "")

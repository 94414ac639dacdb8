"""Training on a device that refuses what CuPy refuses, captured as a graph: the CPU's numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from minigen_kernels.random import Generator

from minigen import Tensor, grad, nn
from minigen import functional as F
from minigen.capture import WARM_UP, Captured, captured
from minigen.data import ImageSet
from minigen.models import dcgan, image_gpt, vae
from minigen.optim import EMA, SGD, Adam, AdamW, clip_grad_norm
from minigen.training import NullRun
from tests.device import strict_cupy

STEPS = WARM_UP + 3
CONFIGS = {
    "vae mlp": (vae, replace(vae.PRESETS["mlp"], size=8, hidden=6, latent=3)),
    "vae conv": (vae, replace(vae.PRESETS["conv"], size=8, hidden=6, width=2, latent=3)),
    "dcgan": (dcgan, dcgan.Config(size=8, latent=3, width=2)),
    "image-gpt": (image_gpt, image_gpt.Config(size=4, levels=4, width=8, layers=1, n_heads=2,
                                              warmup=2)),
}  # fmt: skip


class Told(NullRun):
    """A run that keeps what it is told."""

    def __init__(self, **options):
        super().__init__(draw=True, **options)
        self.said = []

    def say(self, text):
        self.said.append(text)


def pictures(n: int = 16) -> ImageSet:
    images = np.random.default_rng(0).integers(0, 256, (n, 1, 8, 8)).astype(np.uint8)
    return ImageSet("squares", images, np.arange(n) % 3)


def trained(module, config, device):
    run = Told(device=device)
    config = replace(config, batch=4, steps=STEPS)
    model = module.train(config, pictures(), Generator(1), run)
    return run, model


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_is_trained_as_on_the_cpu(strict, name):
    """Losses, weights, counts and samples; the steps after the first are replays of one graph."""
    module, config = CONFIGS[name]
    here, on_cpu = trained(module, config, "cpu")
    there, on_device = trained(module, config, "cuda")
    assert there.said == [] and on_device.device == "cuda:0"
    for mine, theirs in zip(there.logs, here.logs, strict=True):
        assert mine == pytest.approx(theirs, rel=2e-4, abs=1e-6)
    np.testing.assert_allclose(there.samples, here.samples, atol=2e-3)
    for name in here.kept:
        expected, found = (run.kept[name].state_dict() for run in (here, there))
        assert expected.keys() == found.keys()
        for key, value in expected.items():
            assert type(found[key]) is type(value), key
            np.testing.assert_allclose(found[key], value, rtol=1e-3, atol=2e-3, err_msg=key)


def test_a_device_run_goes_on_from_a_saved_state(strict):
    """What is saved is NumPy, and is put back where the parameters are."""
    rng = Generator(0)
    model = nn.Sequential(nn.Linear(3, 4, rng=rng), nn.BatchNorm1d(4)).to("cuda")
    opt, ema = AdamW(model.parameters()), EMA(model)
    x = Tensor(strict.asarray(np.ones((5, 3), np.float32)))
    for _ in range(2):
        opt.step(grad((model(x) * model(x)).sum(), opt.params))
        ema.update()
    saved = [thing.state_dict() for thing in (model, opt, ema)]
    arrays = [a for state in saved for a in state.values() if not isinstance(a, float)]
    assert all(isinstance(a, np.ndarray) for a in arrays)
    again = nn.Sequential(nn.Linear(3, 4, rng=rng), nn.BatchNorm1d(4)).to("cuda")
    others = again, AdamW(again.parameters()), EMA(again)
    for thing, state in zip(others, saved, strict=True):
        thing.load_state_dict(state)
        for key, value in thing.state_dict().items():
            np.testing.assert_array_equal(value, state[key], err_msg=key)
    assert again.device == "cuda:0" and others[1].state[0]["exp_avg"].device.id == 0


# ---- captured


def network(seed: int = 3):
    rng = Generator(seed)
    layers = nn.Linear(3, 8, rng=rng), nn.ReLU(), nn.Dropout(0.3, rng=rng), nn.Linear(8, 2, rng=rng)
    return nn.Sequential(*layers), rng


def training(make_optimiser, wrap, device, read=False):
    """Losses, weights, counts and the generator's place after some steps with changing rates."""
    model, rng = network()
    model.to(device)
    opt = make_optimiser(model.parameters())
    ema = EMA(model, 0.5)

    def step(x, target):
        loss = F.cross_entropy(model(x), target)
        grads, norm = clip_grad_norm(grad(loss, opt.params), 0.5)
        if read:
            float(norm)
        opt.step(grads)
        ema.update()
        return loss

    written, step = step, wrap(step)
    draws, losses = np.random.default_rng(0), []
    for k in range(6):
        opt.lr, ema.decay = 0.1 / (k + 1), 1 - 1 / (k + 2)
        x = Tensor(draws.standard_normal((4, 3)).astype(np.float32))
        target = Tensor(draws.integers(0, 2, 4))
        # A captured step takes its inputs from the device or from the CPU.
        if device != "cpu" and (k % 2 or step is written):
            x, target = x.to(device), target.to(device)
        losses.append(float(step(x, target)))
    counts = opt.steps, rng.counter, [p.version[0] for p in model.parameters()]
    weights = {**model.state_dict(), **{f"ema {k}": v for k, v in ema.state_dict().items()}}
    return losses, weights, counts


OPTIMISERS = {
    "Adam": lambda params: Adam(params, betas=(0.8, 0.9), weight_decay=0.1),
    "AdamW": lambda params: AdamW(params, weight_decay=0.1),
    "SGD": lambda params: SGD(params, momentum=0.9, weight_decay=0.1, nesterov=True),
}


def same(found, expected):
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    for key, value in expected[1].items():
        np.testing.assert_allclose(found[1][key], value, rtol=1e-4, atol=1e-6, err_msg=key)
    assert found[2][:2] == expected[2][:2]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_captured_step_gives_what_the_step_gives(strict, optimiser):
    made = []

    def wrap(step):
        made.append(captured(step, "cuda", pytest.fail))
        return made[0]

    expected = training(OPTIMISERS[optimiser], lambda step: step, "cpu")
    found = training(OPTIMISERS[optimiser], wrap, "cuda")
    same(found, expected)
    (_, recorded), = made[0]._recorded.values()
    assert recorded.replays == 6 - WARM_UP and made[0].reason is None


def test_a_step_that_reads_a_value_runs_as_it_is_written(strict):
    """One line of reason; nothing is counted twice, so the numbers are those of the CPU."""
    said = []
    expected = training(OPTIMISERS["Adam"], lambda step: step, "cpu")
    found = training(OPTIMISERS["Adam"], lambda step: captured(step, "cuda", said.append), "cuda",
                     read=True)  # fmt: skip
    same(found, expected)
    assert len(said) == 1 and "\n" not in said[0]
    assert said[0].startswith("the step is not captured as a CUDA graph, and runs eagerly: item:")


def test_what_fails_after_the_optimiser_is_taken_back(strict):
    params = [nn.Parameter(strict.asarray(np.ones(3, np.float32)))]
    opt, rng = Adam(params), Generator(0).to("cuda")

    def step(x):
        z = Tensor(rng.uniform((3,)))
        opt.step(grad((params[0] * x * z).sum(), params))
        return x.numpy()

    run = Captured(step, "cuda")
    for k in range(1, 5):
        run(Tensor(strict.asarray(np.ones(3, np.float32))))
        assert (opt.steps, rng.counter) == ([k], k)
    assert "get: operation not permitted" in run.reason


def test_an_error_of_the_step_itself_comes_through(strict):
    calls = []

    def step(x):
        calls.append(x)
        if len(calls) > WARM_UP:
            raise ValueError("my own mistake")
        return x

    run = Captured(step, "cuda")
    x = Tensor(np.ones(2, np.float32))
    for _ in range(WARM_UP):
        run(x)
    with pytest.raises(ValueError, match="my own mistake"):
        run(x)


def test_every_shape_of_the_inputs_is_recorded_by_itself(strict):
    run = Captured(lambda x: (x * 2).sum(), "cuda", pytest.fail)
    for k in range(8):
        x = np.full(2 + k % 2, k, np.float32)
        assert run(Tensor(x)).item() == pytest.approx(2 * x.sum())
    assert len(run._recorded) == 2


def test_a_number_from_the_cpu_is_no_part_of_a_graph(strict):
    table = Tensor(np.arange(3, dtype=np.float32))
    run = Captured(lambda x: x + table.to(x.device), "cuda")
    for _ in range(WARM_UP + 1):
        run(Tensor(np.ones(3, np.float32)))
    assert "a copy of an array of shape (3,) to cuda:0 cannot be captured" in run.reason


def test_on_the_cpu_a_step_is_left_alone():
    def step(x):
        return x

    assert captured(step, "cpu") is step


def test_the_stand_in_computes_nothing_while_it_captures(strict):
    """Or the tests above would prove little."""
    x, stream = strict.asarray(np.ones(2, np.float32)), strict.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        x += 1
        y = x * 3
        with pytest.raises(strict_cupy.CaptureError):
            float(y[0])
        graph = stream.end_capture()
    assert np.isnan(y.get()).all() and (x.get() == 1).all()
    graph.launch()
    graph.launch()
    assert (x.get() == 3).all() and (y.get() == 9).all()


def test_arrays_are_shared_by_dlpack():
    x = Tensor(np.arange(3.0))
    shared = np.from_dlpack(x)
    assert np.shares_memory(shared, x.data)
    assert not hasattr(x, "__cuda_array_interface__")


def test_an_array_of_another_library_on_the_gpu_is_taken(strict):
    class Foreign:
        dtype = np.dtype(np.float32)
        __cuda_array_interface__ = {"shape": (2,)}

    seen = []
    strict.asarray = lambda value: seen.append(value) or strict.zeros(2, np.float32)
    assert Tensor(Foreign()).device == "cuda:0" and len(seen) == 1

"""All models: the registry, and the same bytes in every process."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from minigen import Generator, models
from minigen.errors import UsageError
from minigen.models import dcgan, image_gpt, vae
from minigen.training import NullRun
from tests.minigen.model_helpers import pictures

TINY = {
    "dcgan": dcgan.Config(size=8, latent=4, width=4, batch=8, steps=20),
    "vae": vae.Config(size=8, hidden=16, latent=3, batch=8, steps=20),
    "image-gpt": image_gpt.Config(size=4, levels=4, width=8, n_heads=2, layers=1, batch=8, steps=20,
                                  warmup=5),
}  # fmt: skip


def short_run(name):
    run = NullRun()
    model = models.get(name).train(TINY[name], pictures(20), Generator(7), run)
    return model, run


def digest(name):
    """A hash of everything that a short run learned and logged."""
    model, run = short_run(name)
    text = hashlib.sha256(repr(run.logs).encode())
    for key, array in model.state_dict().items():
        text.update(key.encode() + np.ascontiguousarray(array).tobytes())
    return text.hexdigest()


def test_the_registry_knows_its_models_and_guesses():
    for name in models.MODELS:
        module = models.get(name)
        config = module.config_for((1, 28, 28))
        assert module.flop_per_step(config) > 1e8
        assert all(isinstance(c, module.Config) for c in module.PRESETS.values())
    assert models.get("image_gpt") is models.get("Image-GPT")
    with pytest.raises(UsageError, match='Did you mean "dcgan"'):
        models.get("dcgam")


def test_a_run_is_the_same_in_every_process_and_under_every_hash_seed():
    here = os.path.dirname(__file__)
    root = os.path.dirname(os.path.dirname(here))
    code = (
        f"import sys; sys.path[:0] = [{root!r}, {os.path.join(root, 'kernels')!r}]\n"
        "from tests.minigen.test_models import TINY, digest\n"
        "print(*[digest(name) for name in TINY])"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed in ("1", "2")
    ]
    assert found[0] == found[1] and len(set(found[0])) == 3

"""All models: the registry, and the same bytes in every process."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from minigen import Generator, models, training
from minigen.errors import UsageError
from minigen.models import dcgan, image_gpt, vae
from minigen.training import NullRun, checkpoint
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


def run_in(out, name, resume=None):
    """A run of four steps in a run directory, from the start or from a checkpoint of it."""
    config = dataclasses.replace(TINY[name], steps=4)
    fields, found = dataclasses.asdict(config), None
    if resume is None:
        folder = training.RunFolder.create(out, name)
        folder.write_config({"model": name, "config": fields})
    else:
        folder = training.RunFolder.open(out)
        found = training.load_for_resume(resume, name, fields)
    options = training.RunOptions(sample_every=2, checkpoint_every=1, keep=9)
    with training.Run(folder, training.RunInfo(name, config=fields), options, resume=found) as run:
        models.get(name).train(config, pictures(20), Generator(7), run)


def left_behind(out):
    """Every number of the last checkpoint, the metrics but for their times, and the samples."""
    arrays, tree = checkpoint.pack(checkpoint.load(checkpoint.find(out)).state)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    samples = [*sorted((out / "samples").iterdir()), out / "samples.gif"]
    return (
        tree,
        {key: array.tobytes() for key, array in arrays.items()},
        [{k: v for k, v in row.items() if k != "seconds"} for row in rows],
        {path.name: path.read_bytes() for path in samples},
    )


@pytest.mark.parametrize("name", TINY)
def test_a_run_resumed_at_any_step_is_the_unbroken_one(name, tmp_path, monkeypatch):
    """Weights, averages, batch-norm statistics, optimisers, random numbers, order of the data."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    run_in(tmp_path / "whole", name)
    expected = left_behind(tmp_path / "whole")
    assert len(expected[2]) == 4 and len(expected[3]) == 3
    for step in (1, 2, 3):
        again = tmp_path / f"from-{step}"
        shutil.copytree(tmp_path / "whole", again)
        run_in(again, name, resume=again / f"ckpt/step-{step:06d}.safetensors")
        assert left_behind(again) == expected

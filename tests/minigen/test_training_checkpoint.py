"""Checkpoints: exact there and back, whole after any failure, and errors that name the remedy."""

from __future__ import annotations

import errno
import math
import os
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigen import images
from minigen.errors import CheckpointError, OutputError, TrainingError
from minigen.training import RunFolder, checkpoint, packing, toml
from minigen.training.checkpoint import Checkpoint
from minigen.training.progress import Meter, duration


def make(step: int, value: float = 1.0, **info) -> Checkpoint:
    state = {"net": {"0.weight": np.full((2, 3), value + step, np.float32)}, "opt": {"step": step}}
    return Checkpoint("toy", step, {"lr": 0.1}, state, info)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A ckpt folder with checkpoints of the steps 10 and 20."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    ckpt = tmp_path / "run" / "ckpt"
    for step in (10, 20):
        checkpoint.save(ckpt, make(step))
    return ckpt


# ---- packing

keys = st.text("ab.0'", min_size=1, max_size=3)
numbers = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
dtypes = st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_])
arrays = dtypes.flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
)
scalars = st.floats(width=32, allow_nan=False).map(np.float32) | st.integers(0, 9).map(np.int64)
states = st.recursive(
    numbers | arrays | scalars,
    lambda s: st.lists(s, max_size=3) | st.lists(s, max_size=2).map(tuple)
    | st.dictionaries(keys, s, max_size=3),
    max_leaves=8,
)  # fmt: skip


def same(a, b) -> bool:
    if isinstance(a, (np.ndarray, np.generic)):
        alike = type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape
        return alike and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@given(states)
def test_packing_and_unpacking_is_exact(state):
    found, tree = packing.pack(state, "x")
    assert same(packing.unpack(found, tree), state)


def test_an_array_that_is_not_contiguous_is_packed_in_order():
    x = np.arange(12.0).reshape(3, 4).T
    found, tree = packing.pack({"x": x})
    assert np.array_equal(packing.unpack(found, tree)["x"], x)


@pytest.mark.parametrize("bad", [{1: 2.0}, {"x": object()}, {"x": np.array(["a"])}, {"x": {3}}])
def test_what_json_and_safetensors_cannot_hold_is_refused(bad):
    with pytest.raises(TypeError, match="state"):
        packing.pack(bad)


# ---- save and load


def test_a_checkpoint_comes_back_as_it_was(folder):
    found = checkpoint.load(folder / "last.safetensors")
    assert same(found.state, make(20).state)
    assert (found.model, found.step, found.config) == ("toy", 20, {"lr": 0.1})


@pytest.mark.parametrize("keep, left", [(1, []), (2, [50]), (3, [40, 50])])
def test_the_last_few_are_kept(tmp_path, monkeypatch, keep, left):
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    for step in (10, 30, 40, 50, 60):
        checkpoint.save(tmp_path, make(step), keep)
    names = [f"step-{step:06d}.safetensors" for step in left]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.safetensors", *names]
    assert [checkpoint.load(tmp_path / name).step for name in names] == left


def test_it_works_where_there_are_no_hard_links(tmp_path, monkeypatch):
    def no_links(*paths):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, make(step))
    assert checkpoint.load(tmp_path / "step-000002.safetensors").step == 2
    assert checkpoint.load(tmp_path / "last.safetensors").step == 3


@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.6, 0.99])
def test_a_checkpoint_cut_short_names_the_one_that_is_whole(folder, share):
    last = folder / "last.safetensors"
    data = last.read_bytes()
    last.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match="cut short.*step 10 is whole.*--resume") as caught:
        checkpoint.load(last)
    assert "step-000010.safetensors" in str(caught.value) and "\n" not in str(caught.value)


@given(st.integers(0, 10**9), st.integers(1, 255))
def test_no_changed_byte_goes_unseen(tmp_path_factory, position, change):
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    data = bytearray(checkpoint.encode(make(3, seconds=1.5)))
    data[position % len(data)] ^= change
    path.write_bytes(data)
    with pytest.raises(CheckpointError):
        checkpoint.load(path)


def test_other_files_are_refused(folder, tmp_path):
    import safetensors.numpy

    foreign = tmp_path / "torch.safetensors"
    safetensors.numpy.save_file({"w": np.ones(3)}, foreign)
    with pytest.raises(CheckpointError, match="no minigen checkpoint.*without --resume"):
        checkpoint.load(foreign)
    (folder / "last.safetensors").write_bytes(b"\x80\x04\x95pickle")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        checkpoint.load(folder / "last.safetensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.load(folder / "nothing.safetensors")


def fail_with(monkeypatch, number: int) -> None:
    def failing(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(images.os, "fsync", failing)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_failed_save_leaves_what_was_there(folder, monkeypatch, number):
    fail_with(monkeypatch, number)
    with pytest.raises(OutputError, match="step 20 is intact.*--resume") as caught:
        checkpoint.save(folder, make(30))
    assert os.strerror(number) in str(caught.value) and "step 30" in str(caught.value)
    assert checkpoint.load(folder / "last.safetensors").step == 20
    assert not [p for p in folder.iterdir() if p.suffix != ".safetensors"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_said_in_one_line(tmp_path, monkeypatch):
    blocked = tmp_path / "ckpt"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="cannot write the checkpoint of step 1"):
        checkpoint.save(blocked, make(1))


def test_numbers_that_are_not_finite_are_not_saved(folder):
    with pytest.raises(TrainingError, match="net.0.weight holds NaN or Inf after step 30"):
        checkpoint.save(folder, make(30, value=math.inf))
    assert checkpoint.load(folder / "last.safetensors").step == 20


def test_going_back_to_an_earlier_checkpoint_sets_later_ones_aside(folder):
    checkpoint.save(folder, make(30), keep=3)
    checkpoint.rewind(folder / "step-000010.safetensors")
    assert checkpoint.load(folder / "last.safetensors").step == 10
    aside = sorted(p.name for p in folder.glob("set-aside-*"))
    assert aside == ["set-aside-step-000020.safetensors", "set-aside-step-000030.safetensors"]
    assert checkpoint.load(folder / aside[1]).step == 30


def test_without_a_last_one_the_newest_is_found(folder):
    (folder / "last.safetensors").unlink()
    assert checkpoint.find(folder.parent) == folder / "step-000010.safetensors"


def test_a_file_with_a_name_of_its_own_is_left_alone(folder):
    mine = folder / "step-best.safetensors"
    mine.write_bytes((folder / "last.safetensors").read_bytes())
    checkpoint.save(folder, make(30))
    (folder / "last.safetensors").write_bytes(b"half")
    with pytest.raises(CheckpointError, match="step 20 is whole"):
        checkpoint.load(folder / "last.safetensors")
    checkpoint.rewind(folder / "step-000020.safetensors")
    assert mine.exists() and checkpoint.load(folder / "last.safetensors").step == 20


# ---- the small things around it


def test_leftovers_of_a_killed_process_are_removed(folder):
    leftover = folder / ".last.safetensors.123-456~"
    leftover.write_bytes(b"half")
    RunFolder(folder.parent, (folder.parent / "lock").open("w")).close()
    assert not leftover.exists() and (folder / "last.safetensors").exists()


plain = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()
tables = st.dictionaries(st.text(), plain | st.lists(st.integers()), max_size=4)


@given(st.dictionaries(st.text(), plain | tables, max_size=4))
def test_toml_comes_back(values):
    assert tomllib.loads(toml.dumps(values)) == values


def test_the_meter_leaves_the_first_step_out():
    times = iter([100.0, 101.0, 102.0])
    meter = Meter(lambda: next(times))
    assert meter.images_per_second() is None
    for step in (1, 2, 3):
        meter.mark(step, 64 * step)
    assert meter.seconds_per_step() == 1.0 and meter.images_per_second() == 64.0
    assert [duration(s) for s in (7.2, 65, 7384)] == ["7 s", "1 min 05 s", "2 h 03 min"]

"""Checkpoints: one safetensors file with everything a run needs to go on, written at a stroke.

The tensors carry the arrays of all that the run keeps; the metadata of the same file carries the
rest as JSON, with a format number and a checksum. `last.safetensors` is the newest checkpoint, the
ones before it are `step-000400.safetensors`. Every change is a rename of a file that is already
whole on the disk, so that no interruption leaves less than one loadable checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from minigen.errors import CheckpointError, OutputError, TrainingError
from minigen.images import write_atomically

from .packing import pack, unpack

FORMAT = "minigen-checkpoint-1"
LAST = "last.safetensors"


@dataclasses.dataclass
class Checkpoint:
    """A run at the end of `step`: what it is a run of, and the state of everything it keeps.

    config  the model's configuration, as plain values.
    state   name -> state_dict of what the run keeps.
    info    what else the run wants to know again: seconds spent, environment.
    """

    model: str
    step: int
    config: dict[str, Any]
    state: dict[str, Any]
    info: dict[str, Any] = dataclasses.field(default_factory=dict)


def save(folder: Path, checkpoint: Checkpoint, keep: int = 2) -> Path:
    """Make `checkpoint` the last one in `folder`, and keep the `keep - 1` before it.

    OutputError when the disk is full or read-only; TrainingError when a number is not finite.
    Either way the checkpoints that were there stay as they are.
    """
    data = encode(checkpoint)
    last = folder / LAST
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if keep > 1 and step_of(last) >= 0:
            _also_called(last, folder / f"step-{step_of(last):06d}.safetensors")
        write_atomically(last, data)
        earlier = earlier_ones(folder)
        for path in earlier[: max(0, len(earlier) - (keep - 1))]:
            path.unlink()
    except (OSError, OutputError) as error:
        still = f"; the checkpoint of step {step_of(last)} is intact" if last.exists() else ""
        raise OutputError(
            f"cannot write the checkpoint of step {checkpoint.step} ({len(data) / 1e6:.1f} MB) to "
            f"{folder}: {_reason(error)}{still}. Make room or choose another --out, then go on "
            f"with --resume."
        ) from error
    return last


def encode(checkpoint: Checkpoint) -> bytes:
    """The checkpoint as the bytes of a safetensors file."""
    import safetensors.numpy

    arrays, tree = pack(checkpoint.state)
    for key, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise TrainingError(
                f"{key} holds NaN or Inf after step {checkpoint.step}, so no checkpoint was made of"
                " it; the one before is kept. Lower the learning rate, or let --anomaly name the op"
            )
    fields = {
        "model": checkpoint.model,
        "step": checkpoint.step,
        "config": checkpoint.config,
        "state": tree,
        "info": checkpoint.info,
    }
    metadata = {name: json.dumps(value) for name, value in fields.items()}
    metadata |= {"format": FORMAT, "checksum": _checksum(arrays, metadata)}
    return safetensors.numpy.save(arrays, metadata)


def load(path: Path) -> Checkpoint:
    """The checkpoint in a file, verified. CheckpointError says what is wrong and what to do."""
    try:
        arrays, metadata = _verified(path)
        fields = {name: json.loads(text) for name, text in metadata.items()}
        return Checkpoint(**{**fields, "state": unpack(arrays, fields["state"])})
    except _Unusable as error:
        raise CheckpointError(f"{path} {error}. {_instead_of(path)}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} lacks a part: {error}. {_instead_of(path)}") from error


class _Unusable(Exception):
    """Why a file is no checkpoint, as the predicate of a sentence about it."""


def _verified(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and metadata of a checkpoint file whose checksum is right."""
    import safetensors.numpy

    try:
        data = path.read_bytes()
    except OSError as error:
        raise _Unusable(f"cannot be read: {_reason(error)}") from error
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        arrays = safetensors.numpy.load(data)
    except Exception as error:  # whatever the readers think of these bytes
        raise _Unusable("is cut short, or is not a safetensors file") from error
    metadata = dict(header.get("__metadata__", {}))
    if metadata.pop("format", "none") != FORMAT:
        raise _Unusable("holds tensors, but is no minigen checkpoint of this format")
    if metadata.pop("checksum", "") != _checksum(arrays, metadata):
        raise _Unusable("is damaged: its contents do not match its checksum")
    return {key: array.copy() for key, array in arrays.items()}, metadata


def _instead_of(path: Path) -> str:
    """The remedy for a bad file: the newest other checkpoint that is whole."""
    siblings = [*earlier_ones(path.parent), path.parent / LAST]
    for other in reversed(siblings):
        with contextlib.suppress(_Unusable):
            if other != path:
                _verified(other)
                step = step_of(other)
                return f'The checkpoint of step {step} is whole: go on with --resume "{other}"'
    return "No other checkpoint is beside it: start the run again without --resume"


def find(where: Path) -> Path:
    """The newest checkpoint of a run directory; a checkpoint file stands for itself."""
    if where.is_file():
        return where
    if not where.is_dir():
        raise CheckpointError(f"there is no run directory or checkpoint {where}: check the path")
    last = where / "ckpt" / LAST
    if last.exists():
        return last
    earlier = earlier_ones(where / "ckpt")
    if not earlier:
        raise CheckpointError(
            f"{where} holds no checkpoint: the run ended before its first one, or this is not a "
            "run directory. Start it again without --resume."
        )
    return earlier[-1]


def rewind(path: Path) -> None:
    """Make an earlier checkpoint the last one; those after it are set aside, not deleted."""
    last = path.parent / LAST
    if path == last:
        return
    step = step_of(path)
    for other in earlier_ones(path.parent):
        if _number(other) > step:
            os.replace(other, other.with_name(f"set-aside-{other.name}"))
    if last.exists():
        name = f"set-aside-step-{max(step_of(last), 0):06d}.safetensors"
        _also_called(last, last.with_name(name))
    spare = last.with_suffix(".part")
    _also_called(path, spare)
    os.replace(spare, last)
    path.unlink()


def _checksum(arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for key in sorted(arrays):
        array = arrays[key]
        digest.update(f"{key} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def step_of(path: Path) -> int:
    """The step in a checkpoint's header; -1 when it cannot be read."""
    try:
        with path.open("rb") as file:
            header = file.read(int.from_bytes(file.read(8), "little"))
        return int(json.loads(header)["__metadata__"]["step"])
    except (OSError, ValueError, KeyError, OverflowError, MemoryError):
        return -1


def earlier_ones(folder: Path) -> list[Path]:
    """The checkpoints before the last one, by step; a file with a name of its own is not ours."""
    ours = [p for p in folder.glob("step-*.safetensors") if re.fullmatch(r"step-\d+", p.stem)]
    return sorted(ours, key=_number)


def _number(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def _also_called(path: Path, name: Path) -> None:
    """Give a file a second name: a hard link, or a copy where there are no links."""
    with contextlib.suppress(FileNotFoundError):
        name.unlink()
    try:
        os.link(path, name)
    except OSError:
        spare = name.with_suffix(".part")
        shutil.copyfile(path, spare)
        os.replace(spare, name)


def _reason(error: BaseException) -> str:
    cause = error if isinstance(error, OSError) else error.__cause__ or error
    return (getattr(cause, "strerror", None) or str(cause)).rstrip(".")


def load_for_resume(path: Path, model: str, config: dict[str, Any]) -> Checkpoint:
    """The checkpoint to go on from, checked to be one of this model and configuration.

    path    a run directory, or a checkpoint in one; the latter becomes the directory's last.
    config  may ask for another number of `steps` than the checkpoint's run did, nothing else.
    """
    file = find(path)
    found = load(file)
    if found.model != model:
        raise CheckpointError(
            f"{file} is a checkpoint of {found.model}, not of {model}: go on with "
            f'`minigen train {found.model} --resume "{path}"`'
        )
    wanted = json.loads(json.dumps(config))  # tuples become lists, as in the checkpoint
    other = [
        f"{name} = {found.config.get(name)!r} (now {wanted.get(name)!r})"
        for name in sorted({*found.config, *wanted} - {"steps"})
        if found.config.get(name) != wanted.get(name)
    ]
    if other:
        raise CheckpointError(
            f"{file} was made with {', '.join(other)}: a run goes on as it began; leave the option "
            "away, or start a new run"
        )
    rewind(file)
    return found

"""The run directory: what a run leaves behind, and the lock that keeps a second run out.

    config.toml    what was asked for, resolved: enough to build the model again
    cmd.txt        the command lines, one for every start
    env.json       versions, CPU, threads, git
    metrics.jsonl  one line per step
    samples/       000500.png …, drawn from fixed noise; samples.gif shows them in turn
    ckpt/          last.safetensors and the checkpoints before it
    log.txt        what the run said
    result.json    final numbers
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import time
import tomllib
from pathlib import Path
from typing import IO, Any

from minigen.errors import MinigenError, OutputError
from minigen.images import write_atomically
from minigen.locks import try_lock

from . import toml

LOCK = "lock"


class RunFolder:
    """A run directory that this process holds, until close()."""

    def __init__(self, path: Path, lock: IO[str]):
        self.path, self._lock = path, lock
        self.checkpoints = path / "ckpt"
        self.samples = path / "samples"
        self.metrics = path / "metrics.jsonl"
        for leftover in [*path.rglob(".*~"), *path.rglob("*.part")]:  # of a process that was killed
            leftover.unlink()

    @staticmethod
    def create(out: Path | None, name: str, root: Path | None = None) -> RunFolder:
        """A new run directory: `out`, which must be empty or new, or runs/NAME/<time stamp>.

        No two calls, in one process or in several, are given the same directory.
        """
        try:
            path = _new_folder((root or Path("runs")) / name) if out is None else out
            path.mkdir(parents=True, exist_ok=True)
            if not (path / LOCK).exists():  # leave nothing in a folder that is no run's
                _check_empty(path)
            lock = _take_lock(path)
            try:
                _check_empty(path)
            except OutputError:
                lock.close()
                raise
        except OSError as error:
            raise OutputError(
                f"cannot make a run directory in {out or root or 'runs'}: "
                f"{error.strerror or error}; choose another folder with --out"
            ) from error
        return RunFolder(path, lock)

    @staticmethod
    def open(path: Path) -> RunFolder:
        """The run directory of an earlier run, to go on with it."""
        if not (path / "config.toml").is_file():
            raise OutputError(f"{path} is not a run directory: it has no config.toml")
        try:
            return RunFolder(path, _take_lock(path))
        except OSError as error:
            raise OutputError(
                f"cannot write in {path}: {error.strerror or error}; copy the folder to a place "
                "where you may write, and resume there"
            ) from error

    def close(self) -> None:
        """Let go of the directory."""
        if not self._lock.closed:
            with contextlib.suppress(OSError):
                self._lock.truncate(0)
            self._lock.close()

    # ---- its files

    def write_config(self, values: dict[str, Any]) -> None:
        """Write config.toml, whole or not at all."""
        write_atomically(self.path / "config.toml", toml.dumps(values).encode())

    def write_json(self, name: str, values: Any) -> None:
        """Write a JSON file, whole or not at all."""
        text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
        write_atomically(self.path / name, text.encode())

    def write_start(self, command: list[str], env: dict[str, Any], step: int) -> None:
        """Note the command line and the environment of this start (from `step`)."""
        line = subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)
        before = self.path / "cmd.txt"
        lines = before.read_text(encoding="utf-8") if before.exists() else ""
        write_atomically(before, f"{lines}{line}\n".encode())
        starts = []
        with contextlib.suppress(OSError, ValueError):
            starts = json.loads((self.path / "env.json").read_text(encoding="utf-8"))["starts"]
        self.write_json("env.json", {"starts": [*starts, {"from_step": step, **env}]})

    def log(self, line: str) -> None:
        """Add a line to log.txt; a full disk must not stop a run here."""
        with contextlib.suppress(OSError), (self.path / "log.txt").open("a", encoding="utf-8") as f:
            f.write(time.strftime("%Y-%m-%d %H:%M:%S ") + line + "\n")

    def go_back_to(self, step: int, sample_every: int) -> None:
        """Remove metrics and samples that an unbroken run would not have after `step`."""
        if self.metrics.exists():
            with self.metrics.open("rb") as file:
                kept = [line for line in file if line.endswith(b"\n") and _step(line) <= step]
            write_atomically(self.metrics, b"".join(kept))
        for picture in self.pictures():
            number = int(picture.stem)
            # At `step` itself, where a run stopped, there may be one out of turn. Those before it
            # stay: sample_every may have been another then.
            if number > step or (number == step and number % sample_every):
                picture.unlink()

    def has_result(self, step: int) -> bool:
        """Whether the final numbers of this step are there."""
        try:
            text = (self.path / "result.json").read_text(encoding="utf-8")
            return json.loads(text)["steps"] == step
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def pictures(self) -> list[Path]:
        """The sample grids so far, by step."""
        found = [path for path in self.samples.glob("*.png") if path.stem.isdecimal()]
        return sorted(found, key=lambda path: int(path.stem))


def read_config(path: Path) -> dict[str, Any]:
    """The values of a run directory's config.toml, or of such a file itself."""
    path = path / "config.toml" if path.is_dir() else path
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MinigenError(
            f"cannot read the configuration {path}: {reason}; give a run directory that "
            "`minigen train` made, or its config.toml"
        ) from error


def _check_empty(path: Path) -> None:
    if any(entry.name != LOCK for entry in path.iterdir()):
        raise OutputError(
            f"{path} is not empty: choose another --out, go on with the run in it by "
            f'--resume "{path}", or remove it first'
        )


def _new_folder(parent: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1, 1000):
        path = parent / (stamp if number == 1 else f"{stamp}-{number}")
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise OutputError(f"{parent} already has 999 runs of this second: choose a folder with --out")


def _step(line: bytes) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _take_lock(folder: Path) -> IO[str]:
    """Hold folder/lock. The system lets go when the process ends, so that no lock is ever stale."""
    file = (folder / LOCK).open("a+", encoding="utf-8")
    if not try_lock(file):
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise OutputError(
            f"{folder} is in use by {holder}: wait for that run to end, or choose another --out"
        )
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file

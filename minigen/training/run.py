"""Run: what a training loop talks to. The loop itself stays in the model's file.

    run.keep(generator=G, opt=opt, rng=rng, batches=batches)     # saved, and restored on resume
    run.watch(lambda: sample(G, 100, noise))                     # drawn every so often
    for step, x in run.steps(batches, config.steps):
        run.log(loss=loss)
    run.result(parts=3)                                          # final numbers

`Run` writes a run directory; `NullRun` has the same methods, keeps everything in memory, and
writes nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minigen import images
from minigen.errors import CheckpointError, OutputError

from . import checkpoint
from .checkpoint import Checkpoint
from .folder import RunFolder
from .null import NullRun
from .progress import Progress, duration
from .signals import StopRequest

GIF_FRAMES = 60
# Of two environments; data is a digest of the pictures, which an older Pillow draws otherwise.
COMPARED = (
    "minigen numpy numba llvmlite pillow cpu threads vector_bits data device precision".split()
)


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop; it has finished its step and saved."""


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """When a run samples, saves and stops.

    sample_every, checkpoint_every are in steps; checkpoint_minutes adds checkpoints by the clock;
    keep is the number of checkpoints that are left on the disk.
    """

    sample_every: int = 100
    checkpoint_every: int = 500
    checkpoint_minutes: float = 5.0
    max_minutes: float | None = None
    keep: int = 2


@dataclasses.dataclass(frozen=True)
class RunInfo:
    """What a run is a run of. config: plain values; env: see minigen.environment.

    cost tells, from the number of parameters and of steps to go, what the run will take; command
    is the start of the line that resumes it.
    """

    model: str
    data: str = "data"
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    env: dict[str, Any] = dataclasses.field(default_factory=dict)
    cost: Callable[[int, int], str] | None = None


class Run(NullRun):
    """A run with a run directory. Use it as a context manager: leaving it frees the directory.

    stopped  why the run ended before its last step ("time"), else None.
    """

    def __init__(
        self,
        folder: RunFolder,
        info: RunInfo,
        options: RunOptions | None = None,
        progress: Progress | None = None,
        resume: Checkpoint | None = None,
        device: str = "cpu",
    ):
        super().__init__(device=device)
        self.folder, self.info = folder, info
        self.options, self.progress = options or RunOptions(), progress or Progress()
        self.stopped: str | None = None
        self._saved = resume
        self._began = self._saved_at = time.monotonic()
        self._seconds_before = 0.0
        self._first_step = 0
        self._refined = False
        if resume is not None:
            self.step = self._first_step = resume.step
            self._seconds_before = resume.info.get("seconds", 0.0)
            self.seen = resume.info.get("images", 0)
            self.results = dict(resume.info.get("results", {}))

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: Any) -> None:
        self.progress.close()
        self.folder.close()

    @property
    def seconds(self) -> float:
        """Spent on this run, earlier starts included."""
        return self._seconds_before + time.monotonic() - self._began

    @property
    def last_saved(self) -> int | None:
        """The step of the last checkpoint, or None."""
        return None if self._saved is None else self._saved.step

    # ---- what the loop calls

    def keep(self, **things: Any) -> None:
        super().keep(**things)
        if self._saved is None:
            return
        state, where = self._saved.state, f"the checkpoint of step {self._saved.step}"
        if set(state) != set(things):
            raise CheckpointError(
                f"{where} in {self.folder.path} holds {sorted(state)}, this version of "
                f"{self.info.model} keeps {sorted(things)}: start the run again without --resume"
            )
        for name, thing in things.items():
            try:
                thing.load_state_dict(state[name])
            except (KeyError, ValueError, TypeError, AttributeError) as error:
                raise CheckpointError(
                    f"{where} in {self.folder.path} does not fit {self.info.model}: {name}: "
                    f"{error}. Start the run again without --resume"
                ) from error
        self._saved.state = {}  # held by the things now

    def steps(self, batches: Iterator[Any], total: int) -> Iterator[tuple[int, Any]]:
        self._begin(total)
        with StopRequest() as stop:
            while self.step < total:
                batch = next(batches)
                self.step += 1
                yield self.step, batch
                self._end_of_step(batch)
                minutes = self.options.max_minutes
                out_of_time = minutes is not None and time.monotonic() - self._began >= 60 * minutes
                self._sample_and_save(stop.name is not None or out_of_time)
                if self.step < total and (stop.name is not None or out_of_time):
                    self._stop(stop.name)
                    return
        self._end()

    @property
    def again(self) -> str:
        """The command that goes on with this run, or begins it anew if nothing was saved."""
        return f'minigen train {self.info.model} --resume "{self.folder.path}"'

    @property
    def kept_so_far(self) -> str:
        """What an error need not worry about."""
        if self.last_saved is None:
            return "there is no checkpoint yet"
        return f"the checkpoint of step {self.last_saved} is kept"

    def _after_nan(self) -> str:
        return (
            f": the run cannot go on ({self.kept_so_far}). Lower the learning rate in a new run, "
            f"or name the operation with `{self.again} --anomaly`"
        )

    def result(self, **values: Any) -> None:
        super().result(**values)
        self._write_result()

    # ---- what happens around a step

    def _begin(self, total: int) -> None:
        self.total, left = total, total - self.step
        if self._first_step and left > 0:
            self.folder.go_back_to(self.step, self.options.sample_every)
        if self._first_step:
            self._compare_environments()
            self._compare_lengths()
        count = sum(
            p.size for t in self.kept.values() if hasattr(t, "parameters") for p in t.parameters()
        )
        if self.info.cost is not None and left > 0:
            self.say(self.info.cost(count, left))
        if left <= 0:
            self.say(f"this run has had its {total} steps: give more of them with --steps")
        title = f"{self.info.model} on {self.info.data}"
        self.progress.start(title, self.step, total)
        self.progress.event("start", run=str(self.folder.path), step=self.step, total=total)
        self._saved_at = time.monotonic()

    def _compare_environments(self) -> None:
        before = self._saved.info.get("env", {}) if self._saved else {}
        now = self.info.env
        changed = [
            f"{name} {before[name]} → {now[name]}"
            for name in COMPARED
            if name in before and name in now and before[name] != now[name]
        ]
        if changed:
            self.say(
                f"warning: not as when this run was saved: {', '.join(changed)}; it goes on, but "
                "its numbers may differ from those of an unbroken run"
            )

    def _compare_lengths(self) -> None:
        before = self._saved.config.get("steps") if self._saved else None
        now = self.info.config.get("steps")
        if before != now:
            self.say(
                f"this run was to have {before} steps and now has {now}: what depends on their "
                "number, such as a falling learning rate, follows the new one from here on"
            )

    def _end_of_step(self, batch: Any) -> None:
        self.seen += len(batch)
        line = {"step": self.step, "seconds": round(self.seconds, 3), **self._values}
        try:
            data = json.dumps(line).encode() + b"\n"
            with self.folder.metrics.open("ab", buffering=0) as file:
                if file.write(data) < len(data):  # what an almost full disk does without an error
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise OutputError(
                f"cannot write {self.folder.metrics}: {error.strerror or error}; "
                f"{self.kept_so_far}. Make room, then go on with: {self.again}"
            ) from error
        self.progress.step(self.step, self.seen, self._values)
        self._values = {}
        done = self.step - self._first_step
        each = self.progress.meter.seconds_per_step()
        if not self._refined and each is not None and (done >= 20 or done * each > 10):
            self._refined = True
            memory = f", {peak:.0f} MB of memory" if (peak := peak_memory_mb()) else ""
            left = duration(each * (self.total - self.step))
            self.say(f"measured: {1000 * each:.0f} ms a step, {left} to go{memory}")

    def _sample_and_save(self, stopping: bool) -> None:
        step, options, last = self.step, self.options, self.step == self.total
        if step % options.sample_every == 0 or last:
            self._sample()
        old = time.monotonic() - self._saved_at >= 60 * options.checkpoint_minutes
        if step % options.checkpoint_every == 0 or last or stopping or old:
            self.save()

    def save(self) -> Path:
        """Write a checkpoint of this step."""
        info = {
            "seconds": self.seconds,
            "images": self.seen,
            "env": self.info.env,
            "results": self.results,
        }
        state = {name: thing.state_dict() for name, thing in self.kept.items()}
        new = Checkpoint(self.info.model, self.step, self.info.config, state, info)
        path = checkpoint.save(self.folder.checkpoints, new, self.options.keep)
        self._saved = dataclasses.replace(new, state={})
        self._saved_at = time.monotonic()
        self.progress.event("checkpoint", step=self.step, path=str(path))
        return path

    def _sample(self) -> None:
        if self._draw is None:
            return
        path = self.folder.samples / f"{self.step:06d}.png"
        images.save_png(images.grid(np.asarray(self._draw()), scale=2, value_range=(-1, 1)), path)
        self.progress.event("sample", step=self.step, path=str(path))

    def _stop(self, signal_name: str | None) -> None:
        try:
            self._close_books()
        except OutputError as error:  # the checkpoint is whole; say how to go on all the same
            self.say(f"warning: {error}")
        why = "time is up" if signal_name is None else "interrupted"
        text = f"{why} after step {self.step} of {self.total}, all saved; go on with: {self.again}"
        self.folder.log(text)
        if signal_name is not None:
            raise Interrupted(text)
        self.stopped = "time"
        self._sample()  # after the save: an unbroken run has no such sample
        self.progress.note(text)

    def _end(self) -> None:
        # A run killed between its last checkpoint and here has had its steps, but not this.
        if self.step > self._first_step or not self.folder.has_result(self.step):
            self._close_books()

    def _close_books(self) -> None:
        """The GIF, and the result so far, which says that the books are closed."""
        pictures = self.folder.pictures()
        every = math.ceil(len(pictures) / GIF_FRAMES) or 1
        frames = []
        for path in pictures[::-1][::every][::-1]:  # the last one is always among them
            with contextlib.suppress(OSError, SyntaxError):  # a picture that somebody spoilt
                frames.append(images.load_png(path))
        frames = [frame for frame in frames if frame.size == frames[-1].size]
        if frames:
            images.save_gif(frames, self.folder.path / "samples.gif")
        self._write_result()

    def _write_result(self) -> None:
        seconds = round(self.seconds, 1)
        facts = {
            "model": self.info.model,
            "data": self.info.data,
            "steps": self.step,
            "finished": self.step >= self.total > 0,
            "images": self.seen,
            "seconds": seconds,
        }
        self.folder.write_json("result.json", {**facts, **self.results})

    def say(self, text: str) -> None:
        """A line for the reader, and for log.txt."""
        self.progress.note(text)
        self.folder.log(text)


def peak_memory_mb() -> float | None:
    """The most memory this process has held, in MB; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)

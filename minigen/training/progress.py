"""How a run shows where it stands: a bar on a terminal, a line every few seconds elsewhere, JSON.

All of it goes to stderr, but for JSON, which is what a program asked to read on stdout.
"""

from __future__ import annotations

import collections
import json
import os
import sys
import time
from typing import Any, Literal

Mode = Literal["auto", "quiet", "json"]
LINE_SECONDS = 5.0
BAR_SECONDS = 0.1
WINDOW = 100


class Meter:
    """Images per second and seconds to go, from the last WINDOW steps (the first one compiles)."""

    def __init__(self, clock: Any = time.monotonic):
        self._clock = clock
        self._marks: collections.deque[tuple[float, int, int]] = collections.deque(maxlen=WINDOW)

    def mark(self, step: int, images: int) -> None:
        """`step` is done, after `images` images since the start."""
        self._marks.append((self._clock(), step, images))

    def seconds_per_step(self) -> float | None:
        """None before there are two steps to measure between."""
        if len(self._marks) < 2:
            return None
        (t0, step0, _), (t1, step1, _) = self._marks[0], self._marks[-1]
        return (t1 - t0) / max(1, step1 - step0)

    def images_per_second(self) -> float | None:
        """None before there are two steps to measure between."""
        if len(self._marks) < 2:
            return None
        (t0, _, images0), (t1, _, images1) = self._marks[0], self._marks[-1]
        return (images1 - images0) / max(t1 - t0, 1e-9)


class Progress:
    """Says nothing: the base of the others, and what --quiet chooses."""

    def start(self, title: str, step: int, total: int) -> None:
        """Show a run of `total` steps that goes on after `step`."""
        self.title, self.total = title, total
        self.meter = Meter()

    def note(self, text: str) -> None:
        """A line for the reader: the cost, a warning, where the samples are."""

    def compiling(self, name: str) -> None:
        """A kernel is about to be compiled, which takes seconds."""

    def step(self, step: int, images: int, values: dict[str, float]) -> None:
        """`step` is done; `images` were seen since the start."""
        self.meter.mark(step, images)

    def event(self, name: str, **fields: Any) -> None:
        """Something for programs: a sample, a checkpoint, the end."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Lines(Progress):
    """One plain line every LINE_SECONDS."""

    _next, _last_said, _said_compiling = 0.0, None, False

    def note(self, text: str) -> None:
        _print(text)

    def compiling(self, name: str) -> None:
        if not self._said_compiling:
            _print("compiling kernels, first run only ...")
        self._said_compiling = True

    def step(self, step: int, images: int, values: dict[str, float]) -> None:
        super().step(step, images, values)
        if time.monotonic() >= self._next or step == self.total:
            self._next = time.monotonic() + LINE_SECONDS
            _print(f"step {step}/{self.total}  {describe(values)}  {pace(self.meter, step, self)}")


class Bar(Progress):
    """A progress bar that stays on the last line of a terminal."""

    _said_compiling = False

    def start(self, title: str, step: int, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        super().start(title, step, total)
        # Drawn by step() only: no thread, so that a signal never meets a lock that is held.
        self.bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}"),
            TextColumn("{task.fields[pace]}"),
            console=Console(stderr=True),
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self.bar.add_task(title, total=total, completed=step, values="", pace="")
        self._next = 0.0
        self.bar.start()

    def note(self, text: str) -> None:
        if hasattr(self, "bar"):
            self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            _print(text)

    def compiling(self, name: str) -> None:
        if hasattr(self, "bar"):
            text = f"compiling kernels, first run only ({name})"
            self.bar.update(self._task, pace=text, refresh=True)
        elif not self._said_compiling:
            _print("compiling kernels, first run only ...")
        self._said_compiling = True

    def step(self, step: int, images: int, values: dict[str, float]) -> None:
        super().step(step, images, values)
        if time.monotonic() >= self._next or step == self.total:
            self._next = time.monotonic() + BAR_SECONDS
            self.bar.update(
                self._task,
                completed=step,
                values=describe(values),
                pace=pace(self.meter, step, self),
                refresh=True,
            )

    def close(self) -> None:
        if hasattr(self, "bar"):
            self.bar.stop()
            del self.bar


class Json(Progress):
    """One JSON object per line on stdout."""

    _next = 0.0

    def note(self, text: str) -> None:
        self.event("note", text=text)

    def compiling(self, name: str) -> None:
        self.event("compiling", kernel=name)

    def step(self, step: int, images: int, values: dict[str, float]) -> None:
        super().step(step, images, values)
        if time.monotonic() >= self._next or step == self.total:
            self._next = time.monotonic() + LINE_SECONDS
            rate, each = self.meter.images_per_second(), self.meter.seconds_per_step()
            left = None if each is None else each * (self.total - step)
            self.event(
                "step", step=step, total=self.total, **values, images_per_second=rate, eta=left
            )

    def event(self, name: str, **fields: Any) -> None:
        _print(json.dumps({"event": name, **fields}, ensure_ascii=False), sys.stdout)


def choose(mode: Mode) -> Progress:
    """The display for a mode: "auto" is a bar on a terminal and plain lines elsewhere."""
    if mode == "quiet":
        return Progress()
    if mode == "json":
        return Json()
    terminal = sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()
    return Bar() if terminal and os.environ.get("TERM") != "dumb" else Lines()


def describe(values: dict[str, float]) -> str:
    """'loss_d 0.512  loss_g 1.230'"""
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def pace(meter: Meter, step: int, progress: Progress) -> str:
    """'812 images/s  1 min 05 s to go'"""
    rate, each = meter.images_per_second(), meter.seconds_per_step()
    if rate is None or each is None:
        return ""
    return f"{rate:.0f} images/s  {duration(each * (progress.total - step))} to go"


def duration(seconds: float) -> str:
    """'7 s', '1 min 05 s', '2 h 03 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _print(text: str, stream: Any = None) -> None:
    """Print and flush; a reader who went away must not end the run."""
    stream = sys.stderr if stream is None else stream
    if stream is None or stream.closed:
        return
    try:
        print(text, file=stream, flush=True)
    except UnicodeEncodeError:  # a terminal of another alphabet
        print(text.encode("ascii", "replace").decode(), file=stream, flush=True)
    except OSError:
        # What is still in the buffer would raise again when Python closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

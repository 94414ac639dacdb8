"""The child process in which a lesson's code runs: one namespace, one cell at a time.

Commands come in as JSON lines on stdin, events go out as JSON lines on stdout. What the cells
themselves print, from C too, goes through a pipe and becomes events; what they read is empty.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from . import showing, source
from .session import INTERRUPTED

LIMIT = 20_000  # characters of an explanation
DOCUMENTED = 16  # lines of a docstring
BRIEF = 300  # characters for each part of an object


class Worker:
    """Runs the cells of one lesson in the namespace of a module called __main__."""

    def __init__(self, lesson: source.Lesson, events: TextIO):
        self.lesson, self.events = lesson, events
        self.lock = threading.Lock()
        self.module = ModuleType("__main__")
        self.module.__file__ = str(lesson.path)
        sys.modules["__main__"] = self.module
        self.end, self.drained = os.urandom(8).hex(), threading.Event()
        reading, writing = os.pipe()
        for number in (1, 2):
            os.dup2(writing, number)
        os.close(writing)
        # Opened anew: what is written while a reader is slow must not be lost or reordered.
        sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)
        sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)
        threading.Thread(target=self.forward, args=(reading,), daemon=True).start()
        showing.listener = lambda p: self.send(
            "picture", png=str(p.png), caption=p.caption,
            svg=p.svg and str(p.svg), gif=p.gif and str(p.gif),
        )  # fmt: skip

    def send(self, event: str, **values: Any) -> None:
        self.drain()
        self._write(event, **values)

    def _write(self, event: str, **values: Any) -> None:
        with self.lock:
            self.events.write(json.dumps({"event": event, **values}) + "\n")
            self.events.flush()

    def forward(self, pipe: int) -> None:
        """Pass on what arrives in the pipe, as text; notice the mark that drain() puts there."""
        held, mark = b"", f"\x00{self.end}\x00".encode()
        while data := os.read(pipe, 1 << 16):
            held += data
            while mark in held:
                before, _, held = held.partition(mark)
                if before:
                    self._write("output", text=before.decode("utf-8", "replace"))
                self.drained.set()
            # The last bytes may be half a character, or half a mark.
            cut = len(held) if held.endswith(b"\n") else max(held.rfind(b"\n") + 1, 0)
            if cut or len(held) > 1 << 16:
                cut = cut or len(held)
                self._write("output", text=held[:cut].decode("utf-8", "replace"))
                held = held[cut:]

    def drain(self) -> None:
        """Wait until all that was printed has been passed on."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        self.drained.clear()
        os.write(1, f"\x00{self.end}\x00".encode())
        self.drained.wait(5)

    def run(self, index: int) -> None:
        """Run a cell; the event "done" carries its seconds, and the traceback if it failed."""
        cell, start, error = self.lesson.cells[index], time.perf_counter(), None
        try:
            padded = "\n" * (cell.line - 1) + cell.source
            code = compile(padded, str(self.lesson.path), "exec")
            exec(code, self.module.__dict__)
        except KeyboardInterrupt:
            error = INTERRUPTED
        except SystemExit as leaving:
            error = f"the cell called exit({leaving.code!r})" if leaving.code else None
        except BaseException:
            error = self.traceback()
        self.send("done", seconds=time.perf_counter() - start, error=error)

    def traceback(self) -> str:
        """The traceback from the lesson's own line on, without this file's frames."""
        kind, value, trace = sys.exc_info()
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        return "".join(traceback.format_exception(kind, value, trace))

    def explain(self, name: str) -> None:
        self.send("explained", text=explanation(name, self.module.__dict__)[:LIMIT])


def explanation(name: str, namespace: dict[str, Any]) -> str:
    """What a dotted name is: its kind, shape or value, signature, docstring and source."""
    import builtins

    first, *rest = name.split(".")
    if first not in namespace and not hasattr(builtins, first):
        return f"{name} is not defined at this step: does a later one make it, or is it misspelt?"
    thing = namespace[first] if first in namespace else getattr(builtins, first)
    try:
        for part in rest:
            thing = getattr(thing, part)
    except AttributeError as error:
        return f"{error}."
    kind = type(thing).__name__
    an = kind[0] in "AEIOaeio" or kind == "ndarray"
    lines = [f"{name} is {'an' if an else 'a'} {kind}"]
    if inspect.isroutine(thing) or inspect.isclass(thing):
        with contextlib.suppress(ValueError, TypeError):
            lines[0] = f"{name}{inspect.signature(thing)}"
        lines += _docstring(thing)
        with contextlib.suppress(OSError, TypeError):
            file, (text, at) = inspect.getsourcefile(thing), inspect.getsourcelines(thing)
            lines += ["", f"from {file}, line {at}:", "", "".join(text[:60])]
    elif inspect.ismodule(thing):
        lines += _docstring(thing)
    else:
        for what in ("shape", "dtype"):
            if hasattr(thing, what):
                lines.append(f"{what}: {getattr(thing, what)}")
        if type(thing).__repr__ is object.__repr__ and getattr(thing, "__dict__", {}):
            # Its own words would be no more than where it lies in memory.
            lines += [f"{name}.{k} = {_brief(v)}" for k, v in vars(thing).items()]
        else:
            lines.append(repr(thing)[:2000])
    return "\n".join(lines).rstrip()


def _docstring(thing: Any) -> list[str]:
    """What it says of itself, as far as a screen holds it: NumPy's go on for pages."""
    lines = (inspect.getdoc(thing) or "").splitlines()
    return lines if len(lines) <= DOCUMENTED else [*lines[:DOCUMENTED], "..."]


def _brief(value: Any) -> str:
    """What a value says of itself, if that is short; else its beginning and its end."""
    text = repr(value)
    return text if len(text) <= BRIEF else f"{text[: BRIEF // 2]} ... {text[-BRIEF // 4 :]}"


def main() -> None:
    path = sys.argv[1]
    # A parent that runs in the background of a shell has handed on that it ignores this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The channels of commands and events move away from where cells read and print.
    commands = open(os.dup(0), encoding="utf-8")
    events = open(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    sys.stdin = open(0, encoding="utf-8", closefd=False)
    sys.argv = [path]
    worker = Worker(source.read(Path(path)), events)
    sys.path.insert(0, os.getcwd())
    while True:
        try:
            line = commands.readline()
            if not line:
                break
            command = json.loads(line)
            if "run" in command:
                worker.run(command["run"])
            else:
                worker.explain(command["explain"])
        except KeyboardInterrupt:  # between cells: nothing to interrupt
            continue
    os._exit(0)  # threads that a cell left behind do not hold the process


if __name__ == "__main__":
    main()

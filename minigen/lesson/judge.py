"""The child process that judges one exercise: memory and time are limited, the verdict is a file.

    python -m minigen.lesson.judge LESSON EXERCISE COPY FILE VERDICT SECONDS PATIENCE MEGABYTES

COPY is what is judged, and what the code takes for its own file; FILE, the learner's, is what the
verdict and tracebacks name.
"""

from __future__ import annotations

import ast
import contextlib
import errno
import faulthandler
import json
import linecache
import math
import os
import sys
import traceback
from pathlib import Path
from typing import Any, TextIO

from . import source
from .planted import module_of

LONG = 500  # characters of an error's own message
WRITTEN = 16  # MB that one file may grow to, what is printed included


def main() -> None:
    lesson_path, id, copy, file, verdict, seconds, patience, megabytes = sys.argv[1:]
    lesson = source.read(Path(lesson_path))
    namespace = {**given(lesson, lesson.exercises[id][0]), "__file__": copy}
    from . import check  # noqa: F401  before the limits: it imports much

    text = Path(copy).read_text(encoding="utf-8")
    # So that lines are quoted as they were judged, whatever the learner has saved since.
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    sys.argv, mine = [copy], os.getpid()
    limit_memory(int(megabytes))
    limit_files()
    with open(Path(verdict).with_name("trace.txt"), "w") as trace:  # who runs out of time writes it
        limit_time(float(seconds), float(patience), trace)
        kind, message = judged(lesson, id, text, file, namespace, int(megabytes))
    if os.getpid() == mine:  # and not a copy of this process that the code has made
        Path(verdict).write_text(json.dumps({"kind": kind, "message": message}), encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(0)  # threads that the code has left behind do not hold the process


def judged(
    lesson: source.Lesson, id: str, text: str, file: str, namespace: dict[str, Any], megabytes: int
) -> tuple[str, str]:
    """(kind, message) of the verdict on this text: what it raises, put in words."""
    from . import check as judgements

    cell, check = lesson.exercises[id]
    wanted = defined(cell)
    for name in wanted:  # an empty file must not be judged by minigen's own
        namespace.pop(name, None)
    try:
        exec(compile(text, file, "exec"), namespace)
        missing = [name for name in wanted if name not in namespace]
        if missing:
            return "broken", (f"the file defines no {missing[0]}: it is what the check calls "
                              "(a file that is removed is made again by minigen lesson start)")
        namespace["__name__"] = "__main__"
        padded = "\n" * (check.line - 1) + check.source
        exec(compile(padded, str(lesson.path), "exec"), namespace)
    except judgements.Failed as error:
        return "wrong", str(error)
    except judgements.Stop as stop:
        return "stopped", str(stop)
    except NotImplementedError:
        return "stopped", "not written yet: replace `raise NotImplementedError`"
    except MemoryError:
        return "stopped", f"it wants more than {megabytes} MB of memory"
    except RecursionError:
        return "broken", "it calls itself without end:\n" + place(file)
    except SyntaxError as error:
        return "broken", f"line {error.lineno}: {error.msg}\n    {(error.text or '').strip()}"
    except SystemExit:
        return "broken", "it calls exit(); an exercise returns its answer"
    except KeyboardInterrupt:
        return "stopped", "interrupted"
    except BaseException as error:
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            return "stopped", (f"it printed more than {WRITTEN} MB: does a loop never stop?\n"
                               + place(file))
        return "broken", told(error, file, str(lesson.path))
    return "passed", ""


def defined(cell: source.Cell) -> list[str]:
    """The functions and classes that the learner's file must define."""
    if "bug" in cell.attributes:
        return [cell.attributes["of"]]
    return [node.name for node in ast.parse(cell.source).body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)]


def given(lesson: source.Lesson, cell: source.Cell) -> dict[str, Any]:
    """The namespace that an exercise starts from: the cells it uses, or the module of its bug."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    if "bug" in cell.attributes:
        module = module_of(cell.attributes["bug"])
        namespace = {**vars(module)}
        # What the lesson's check needs besides is imported below, under its own name.
    for id in cell.attributes.get("uses", []):
        used = lesson.cell(id)
        code = compile("\n" * (used.line - 1) + used.source, str(lesson.path), "exec")
        with contextlib.redirect_stdout(None):
            exec(code, namespace)
    return namespace


def limit_time(seconds: float, patience: float, trace: TextIO) -> None:
    """So much time of the processor, and `patience` times as much by the clock; then the process
    ends and leaves where it was in `trace`, below a line "Timeout" when it was the clock.

    The processor's time, because a busy machine is not the learner's fault; the clock, because what
    sleeps uses no processor.
    """
    faulthandler.dump_traceback_later(patience * seconds, exit=True, file=trace)
    try:
        import resource
        import signal
        import time

        limit = math.ceil(time.process_time() + seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        faulthandler.register(signal.SIGXCPU, file=trace, all_threads=False, chain=True)
    except (ImportError, OSError, ValueError, AttributeError):
        return


def limit_memory(megabytes: int) -> None:
    """So much more than there is now, where the system can limit it."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ImportError, OSError, ValueError):
        return


def limit_files() -> None:
    """WRITTEN MB for each file: what prints without end must not fill the disk."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (WRITTEN << 20, WRITTEN << 20))
    except (ImportError, OSError, ValueError):
        return


def place(file: str) -> str:
    """The innermost line of a file, such as the learner's, in the current exception."""
    frames = [f for f in traceback.extract_tb(sys.exc_info()[2]) if f.filename == file]
    return f"    line {frames[-1].lineno}: {frames[-1].line}" if frames else ""


def told(error: BaseException, file: str, lesson: str) -> str:
    """An exception, the learner's own line or that of the check, and Hypothesis's case."""
    notes = [n for n in getattr(error, "__notes__", []) if "failing case" in n]
    try:
        text = str(error)
    except Exception:
        text = "(it cannot say what is wrong: its __str__ fails)"
    text = text if len(text) <= LONG else f"{text[:LONG]} ..."
    what = f"{type(error).__name__}: {text}".removesuffix(": ")
    where = place(file)
    if not where and place(lesson):  # it is what the code has given that does not fit
        where = f"    in the check: {place(lesson).partition(': ')[2]}"
    return "\n".join(filter(None, [what, where, *notes]))


if __name__ == "__main__":
    main()

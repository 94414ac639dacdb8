"""The child process that judges one exercise: memory and time are limited, the verdict is a file.

    python -m minigen.lesson.judge LESSON EXERCISE FILE VERDICT SECONDS MEGABYTES
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import sys
import traceback
from pathlib import Path
from typing import Any

from . import source
from .planted import module_of


def main() -> None:
    lesson_path, id, file, verdict, seconds, megabytes = sys.argv[1:]
    lesson = source.read(Path(lesson_path))
    cell, check = lesson.exercises[id]
    namespace = given(lesson, cell)
    from . import check as judgements  # before the limits: it imports much

    text = Path(file).read_text(encoding="utf-8")
    kind, message = "broken", "the check came to no end"
    limit_memory(int(megabytes))
    with open(verdict + ".trace", "w") as trace:
        faulthandler.dump_traceback_later(float(seconds), exit=True, file=trace)
        try:
            exec(compile(text, file, "exec"), namespace)
            namespace["__name__"] = "__main__"
            exec(compile("\n" * (check.line - 1) + check.source, lesson_path, "exec"), namespace)
            kind, message = "passed", ""
        except judgements.Failed as error:
            kind, message = "wrong", str(error)
        except judgements.Stop as stop:
            kind, message = "stopped", str(stop)
        except NotImplementedError:
            kind, message = "stopped", "not written yet: replace `raise NotImplementedError`"
        except MemoryError:
            kind, message = "stopped", f"it wants more than {megabytes} MB of memory"
        except RecursionError:
            kind, message = "broken", "it calls itself without end:\n" + place(file)
        except SyntaxError as error:
            kind = "broken"
            message = f"line {error.lineno}: {error.msg}\n    {(error.text or '').strip()}"
        except SystemExit:
            kind, message = "broken", "it calls exit(); an exercise returns its answer"
        except KeyboardInterrupt:
            kind, message = "stopped", "interrupted"
        except BaseException as error:
            kind, message = "broken", told(error, file)
        faulthandler.cancel_dump_traceback_later()
    Path(verdict).write_text(json.dumps({"kind": kind, "message": message}), encoding="utf-8")


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


def limit_memory(megabytes: int) -> None:
    """So much more than there is now, where the system can limit it."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ImportError, OSError, ValueError):
        return


def place(file: str) -> str:
    """The innermost line of the learner's file in the current exception."""
    frames = [f for f in traceback.extract_tb(sys.exc_info()[2]) if f.filename == file]
    return f"    line {frames[-1].lineno}: {frames[-1].line}" if frames else ""


def told(error: BaseException, file: str) -> str:
    """An exception, the learner's own line, and the case that Hypothesis found."""
    notes = [n for n in getattr(error, "__notes__", []) if "failing case" in n]
    return "\n".join(filter(None, [f"{type(error).__name__}: {error}", place(file), *notes]))


if __name__ == "__main__":
    main()

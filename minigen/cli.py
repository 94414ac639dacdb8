"""minigen: the command line. Each command is a module of minigen.commands, imported when called.

Exit codes: 0 done, 1 an error, 2 a wrong command line, 130 interrupted but saved.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

from .errors import MinigenError, UsageError, did_you_mean
from .version import __version__

COMMANDS = {
    "train": "train a model, or go on with a run",
    "sample": "draw a grid of samples from a run",
    "eval": "measure a run's model on test images",
    "data": "list or fetch data sets",
    "check": "check gradients by their properties",
    "bench": "measure kernels and models, beside PyTorch",
    "lesson": "learn it: lessons in the terminal, exercises, pages",
    "doctor": "report versions, CPU, kernels, cache, GPU",
    "warmup": "compile the kernels now rather than at first use",
}
_asked: list[int] = []  # the signals that have asked this command to end
DEBUG_HINT = "run it again with --debug for the traceback"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: this process's) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [word for word in arguments if word != "--debug"]
    try:
        with _terminated_is_interrupted():
            return _dispatch(arguments)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt as stop:
        complain(str(stop) or "interrupted; nothing was saved")
        return 130
    except BrokenPipeError:
        return _reader_left()
    except Exception as error:
        if debug:
            raise
        known = isinstance(error, MinigenError)
        complain(f"error: {error if known else unexpected(error)}")
        return error.exit_code if isinstance(error, MinigenError) else 1


@contextlib.contextmanager
def _terminated_is_interrupted() -> Iterator[None]:
    """SIGTERM means what Ctrl-C does: one line, exit code 130. The second one ends at once."""
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _asked.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        _asked.clear()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _dispatch(arguments: list[str]) -> int:
    command, rest = (arguments[0], arguments[1:]) if arguments else ("-h", [])
    if command in ("-h", "--help", "help"):
        out(overview())
        return 0
    if command in ("-V", "--version"):
        out(f"minigen {__version__}")
        return 0
    if command not in COMMANDS:
        raise UsageError(
            f'there is no command "{command}".{did_you_mean(command, list(COMMANDS))} '
            f"Commands: {', '.join(COMMANDS)}."
        )
    code = importlib.import_module(f"minigen.commands.{command}").main(rest)
    if sys.stdout is not None:
        sys.stdout.flush()
    return code


def overview() -> str:
    """What `minigen -h` says."""
    lines = [f"  {name:<8} {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            f"minigen {__version__}: deep generative image models from scratch",
            "",
            "usage: minigen COMMAND [options]         minigen COMMAND -h explains each",
            "",
            *lines,
            "",
            "start with: minigen train dcgan",
        ]
    )


def out(text: str) -> None:
    """Print a result to stdout, in whatever alphabet the terminal has."""
    if _asked:  # and what was raised then was lost, as in a callback of the garbage collector
        raise KeyboardInterrupt
    if sys.stdout is None:
        return
    try:
        print(text, flush=True)
    except UnicodeEncodeError:
        print(text.encode("ascii", "replace").decode(), flush=True)


def complain(text: str) -> None:
    """Print one line to stderr."""
    if sys.stderr is None or sys.stderr.closed:
        return
    line = "minigen: " + " ".join(text.split())
    try:
        print(line, file=sys.stderr, flush=True)
    except UnicodeEncodeError:
        print(line.encode("ascii", "replace").decode(), file=sys.stderr, flush=True)
    except OSError:  # nobody reads it
        pass


def unexpected(error: Exception) -> str:
    """One line about an error that nobody foresaw."""
    if isinstance(error, MemoryError):
        return f"out of memory ({error}): take smaller batches or a smaller model"
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or 'a file'}; {DEBUG_HINT}"
    return f"{type(error).__name__}: {error}; {DEBUG_HINT}"


def _reader_left() -> int:
    """stdout was closed by its reader (| head): end quietly."""
    # What is still in the buffer would raise again when Python closes the stream.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0

"""Between `minigen lesson check` and the process that judges: the parent that a learner's code may
end without ending anything else.

    python -I -S warden.py ENDED COMMAND...

Runs the command; ends what the command has left behind; then writes its exit code, negative for a
signal, to the file ENDED. When its own stdin ends, whoever wanted to know is gone, and the command
is ended, too. It imports nothing of minigen, so that it is there at once.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # of <linux/prctl.h>


def adopt() -> None:
    """Become the parent of what loses its own below this process, whatever session or environment
    it is in (Linux; elsewhere it goes to the system's first process)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> list[int]:
    """The running processes whose parent this is, where the system shows it (Linux)."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # number (name, which may hold anything) state parent ...
            state, parent, *_ = file.read_bytes().rpartition(b")")[2].split()
            if state != b"Z" and int(parent) == os.getpid():
                found.append(int(file.parent.name))
    return found


def end_children() -> None:
    """End them, and those that lose their parent by it."""
    for _ in range(100):
        left = children()
        if not left:
            return
        for number in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.01)


def main() -> None:
    ended, *command = sys.argv[1:]
    adopt()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def end_with_stdin() -> None:
        while os.read(0, 1):
            pass
        child.kill()

    threading.Thread(target=end_with_stdin, daemon=True).start()
    code = child.wait()
    end_children()
    with open(ended, "w", encoding="ascii") as file:
        file.write(str(code))


if __name__ == "__main__":
    main()

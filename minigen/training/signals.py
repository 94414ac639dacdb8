"""Ctrl-C and SIGTERM: the first asks the run to stop after this step, the second ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGBREAK")  # SIGBREAK is Ctrl-Break on Windows
MESSAGE = b"\nfinishing this step, then saving; once more to quit at once\n"
SHOW_CURSOR = b"\x1b[?25h"


class StopRequest:
    """While in force, a signal sets `name` instead of ending the process; a second one ends it."""

    def __init__(self) -> None:
        self.name: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in _numbers():
                # A process started with nohup, or in the background, ignores them: leave it so.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        # The system's own action: it ends the process at once, even inside a kernel. Nothing is
        # damaged by that, because files are only ever replaced by whole ones.
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        # Written past Python's buffers, which may be in use where the signal came.
        with contextlib.suppress(OSError):
            os.write(2, (SHOW_CURSOR if os.isatty(2) else b"") + MESSAGE)


def _numbers() -> list[int]:
    return [getattr(signal, name) for name in NAMES if hasattr(signal, name)]

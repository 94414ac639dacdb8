"""Run directories, checkpoints, resume, signals, progress; the loop stays in the model's file."""

from __future__ import annotations

from .checkpoint import Checkpoint, load_for_resume
from .folder import RunFolder, read_config
from .null import NullRun
from .progress import Progress
from .run import Interrupted, Run, RunInfo, RunOptions

__all__ = [
    "Checkpoint",
    "Interrupted",
    "NullRun",
    "Progress",
    "Run",
    "RunFolder",
    "RunInfo",
    "RunOptions",
    "load_for_resume",
    "read_config",
]

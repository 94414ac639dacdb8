"""Rows and the threads that share one: the constants of team.cuh, and how many blocks they make."""

from __future__ import annotations

from typing import Any

from .launch import launch, tiles

WARP, THREADS = 32, 256
LONGEST_OF_A_WARP = 1024  # elements of a row; a longer one has a block to itself


def launch_rows(source: str, kernel: str, ending: str, shape: tuple, *arguments: Any) -> None:
    """Run a kernel that gives each row a team: a warp if the row is short, or a whole block.

    shape is (rows, width), which follow the arrays; `arguments` ends with what comes after them.
    """
    rows, width = shape
    if not rows:
        return
    short = width <= LONGEST_OF_A_WARP
    team, blocks = ("warp", tiles(rows, THREADS // WARP)) if short else ("block", rows)
    launch(source, f"{kernel}_{team}_{ending}", blocks, THREADS, *arguments)

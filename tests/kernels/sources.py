"""kernels/README's list of the CUDA sources with their lines; `python -m tests.kernels.sources`
writes it anew."""

from __future__ import annotations

from pathlib import Path

from minigen_kernels.cuda.launch import FOLDER

from benchmarks.pages import put_between, table

README = Path(__file__).parents[2] / "kernels" / "README.md"


def listed() -> str:
    """The sources in the order of their names, and how long they are."""
    rows = []
    for path in sorted([*FOLDER.glob("*.cu"), *FOLDER.glob("*.cuh")]):
        lines = path.read_text(encoding="utf-8").splitlines()
        rows.append([f"`{path.name}`", len(lines)])
    return table(["source", "lines"], rows)


if __name__ == "__main__":
    put_between(README, "sources", listed())

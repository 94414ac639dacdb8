"""Text between markers: what a command writes into a page, and nothing else of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def put_between(page: Path, name: str, text: str) -> None:
    """Replace what stands between <!-- NAME:begin --> and <!-- NAME:end -->.

    ValueError when the page does not have each marker exactly once.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before = page.read_text(encoding="utf-8")
    if before.count(begin) != 1 or before.count(end) != 1:
        raise ValueError(f"{page} must have {begin} and {end} once each")
    head, rest = before.split(begin)
    _, tail = rest.split(end)
    page.write_text(f"{head}{begin}\n{text}\n{end}{tail}", encoding="utf-8")

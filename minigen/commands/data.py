"""minigen data list | fetch NAME."""

from __future__ import annotations

import sys
from pathlib import Path

from .. import data
from ..cli import out
from ..errors import UsageError, did_you_mean

USAGE = """usage: minigen data list              the data sets, and where their files are
       minigen data fetch NAME ...   download official files, checked by their checksums

Files go to the folder in MINIGEN_DATA, else to the user's cache folder. With MINIGEN_OFFLINE=1
nothing is downloaded."""


def main(argv: list[str]) -> int:
    command, names = (argv[0], argv[1:]) if argv else ("-h", [])
    if command in ("-h", "--help") or "-h" in names or "--help" in names:
        out(USAGE)
        return 0
    if command == "list" and not names:
        return _list()
    if command == "fetch" and names:
        return _fetch(names)
    if command in ("list", "fetch"):
        missing = 'unknown argument "' + names[0] + '"' if names else "name a data set"
        raise UsageError(f"minigen data {command}: {missing}; minigen data -h")
    raise UsageError(
        f'minigen data has no "{command}".{did_you_mean(command, ["list", "fetch"])} '
        "minigen data -h lists what there is"
    )


def _list() -> int:
    rows = data.available()
    places = [str(r.folder) if r.folder else "built in" if r.present else "not here" for r in rows]
    width = max(map(len, places))
    for row, where in zip(rows, places, strict=True):
        size = f"{row.megabytes} MB" if row.megabytes else "-"
        out(f"{row.name:<16} {size:>7}  {where:<{width}}  {row.what}")
    out(f"\nfiles are looked for in {data.data_root()}; minigen data fetch NAME gets them")
    return 0


def _fetch(names: list[str]) -> int:
    for name in names:
        said: dict[str, int] = {}

        def progress(file: str, done: int, total: int | None, said: dict[str, int] = said) -> None:
            tenth = -1 if not total else 10 * done // total
            if said.get(file) != tenth and sys.stderr is not None:
                said[file] = tenth
                share = f"{100 * done // total}%" if total else f"{done / 1e6:.1f} MB"
                print(f"{file}: {share}", file=sys.stderr, flush=True)

        paths = data.fetch(name, progress=progress)
        folders = sorted({str(Path(p).parent) for p in paths})
        out(f"{name}: {', '.join(folders) if folders else 'drawn here, nothing to fetch'}")
    return 0

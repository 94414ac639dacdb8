"""What a learner has made, kept safe while the learner's code runs.

The code runs on a copy. What it reaches all the same, by an absolute path, is looked at afterwards:
what is gone is put back; what was changed stays, since it may as well be what the learner saved in
an editor meanwhile, and what it was before is kept beside the file of progress.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import OutputError
from ..images import write_atomically

__all__ = ["Kept", "aside", "free", "room"]

LARGEST = 1 << 20  # bytes of a file that is kept


@dataclass
class Kept:
    """The files in some folders below `root`, as they are now: `compare` tells what has become of
    them."""

    root: Path
    files: dict[Path, bytes] = field(default_factory=dict)
    modes: dict[Path, int] = field(default_factory=dict)

    @staticmethod
    def of(root: Path, folders: Iterable[Path]) -> Kept:
        """Keep what is in these folders, not in those below them; what cannot be read is left."""
        kept = Kept(root)
        with contextlib.suppress(OSError):
            kept.modes[root] = root.stat().st_mode
        for place in folders:
            with contextlib.suppress(OSError):
                kept.modes[place] = place.stat().st_mode
                for path in sorted(p for p in place.iterdir() if p.is_file()):
                    kept._keep(path)
        return kept

    def _keep(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            status = path.stat()
            if status.st_size < LARGEST:
                self.files[path], self.modes[path] = path.read_bytes(), status.st_mode

    def copy_to(self, place: Path) -> None:
        """Write all of it below another folder."""
        for path, data in self.files.items():
            copy = place / path.relative_to(self.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(data)

    def compare(self, shelf: Path) -> tuple[list[Path], dict[Path, Path | None], list[str]]:
        """Put back what is gone. The files put back; those changed, with where the text before is
        on the `shelf` now, None where none can be written; what could not be put back, in words."""
        gone: list[Path] = []
        changed: dict[Path, Path | None] = {}
        failed: list[str] = []
        for path, mode in self.modes.items():
            with contextlib.suppress(OSError):
                now = path.lstat().st_mode
                if now != mode and stat.S_IFMT(now) == stat.S_IFMT(mode):
                    path.chmod(stat.S_IMODE(mode))
        for path, data in self.files.items():
            try:
                now = path.read_bytes() if path.is_file() else None
                if now is None:
                    room(path)
                    write_atomically(path, data)
                    path.chmod(stat.S_IMODE(self.modes[path]))
                    gone.append(path)
                elif now != data:
                    changed[path] = self._shelve(path, data, shelf)
            except (OSError, OutputError) as error:
                failed.append(f"{path.relative_to(self.root)} cannot be put back: "
                              f"{error.__cause__ or error}")
        return gone, changed, failed

    def _shelve(self, path: Path, data: bytes, shelf: Path) -> Path | None:
        try:
            return write_atomically(free(shelf / path.relative_to(self.root)), data)
        except OutputError:
            return None


def room(path: Path) -> None:
    """Move aside what stands where `path`, a file, or a folder above it belongs, and is none."""
    for place in [*reversed(path.parents), path]:
        if os.path.lexists(place) and not (place.is_file() if place == path else place.is_dir()):
            aside(place)


def aside(path: Path) -> Path:
    """Rename what is at `path`, so that nothing of it is lost; its new place."""
    return path.rename(free(path.with_name(f"{path.stem}.broken{path.suffix}")))


def free(path: Path) -> Path:
    """`path`, or the first of NAME.1, NAME.2, ... with its suffix, that is not there yet."""
    found, k = path, 0
    while os.path.lexists(found):
        k += 1
        found = path.with_name(f"{path.stem}.{k}{path.suffix}")
    return found

"""Official files from their mirrors: resumed where possible, trusted only by checksum.

A file arrives as `.NAME.part` and takes its name only when the checksum fits. Two processes that
want the same file wait for each other by a lock of the operating system on `.NAME.lock`, which
goes with its process, however that ends.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from minigen.data.catalogue import CIFAR_FILES, DRAWN, REMOTE, RemoteFile, key_of
from minigen.data.sources import digest_of, find_file, find_split, set_folders
from minigen.errors import DataError, DownloadError, UsageError, did_you_mean
from minigen.locks import try_lock

OFFLINE = "MINIGEN_OFFLINE"
CHUNK = 1 << 16
TRIES = 3  # per mirror, while each brings something new
Progress = Callable[[str, int, int | None], None]  # file name, bytes so far, bytes in all if known
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, OSError, ValueError)


@dataclass(frozen=True)
class Row:
    """One line of `minigen data list`; `folder` is where the files are, when they are present."""

    name: str
    what: str
    megabytes: int
    present: bool
    folder: Path | None
    licence: str


def available(root: str | Path | None = None) -> list[Row]:
    """Every known set: drawn ones first (always present), then the official ones."""
    rows = [Row(name, what, 0, True, None, "drawn here") for name, what in DRAWN.items()]
    for remote in REMOTE.values():
        try:
            paths = find_split(remote.name, "train", root) + find_split(remote.name, "test", root)
        except DataError:
            paths = []
        folder = paths[0].parent if paths else None
        rows.append(
            Row(remote.name, remote.what, remote.megabytes, bool(paths), folder, remote.licence)
        )
    return rows


def fetch(
    name: str,
    root: str | Path | None = None,
    progress: Progress | None = None,
    *,
    timeout: float = 30.0,
) -> list[Path]:
    """Put the official files of a set into ROOT/name and return their paths; drawn sets: [].

    Files that are there already and have the right checksum are left alone. `timeout` is how many
    seconds a mirror may be silent. DownloadError: no mirror has the file, or MINIGEN_OFFLINE.
    """
    key = key_of(name)
    if key in DRAWN:
        return []
    if key not in REMOTE:
        known = [*REMOTE, *DRAWN]
        raise UsageError(
            f'there is no data set "{name}".{did_you_mean(key, known)} Known: {", ".join(known)}.'
        )
    remote, folders = REMOTE[key], set_folders(key, root)
    if key == "cifar10":
        batches = [find_file(folders, file) for files in CIFAR_FILES.values() for file in files]
        if all(batches):
            return [path for path in batches if path]
    paths = []
    for file in remote.files:
        there = next((f for f in folders if _is_right(f / file.name, file)), folders[0])
        paths.append(fetch_file(remote.mirrors, file, there, progress=progress, timeout=timeout))
    return _unpack_cifar10(paths[0]) if key == "cifar10" else paths


def fetch_file(
    mirrors: tuple[str, ...],
    file: RemoteFile,
    folder: str | Path,
    *,
    progress: Progress | None = None,
    timeout: float = 30.0,
) -> Path:
    """folder/file.name with the right checksum, from the first mirror (mirror + name) with it."""
    folder = Path(folder)
    path = folder / file.name
    if _is_right(path, file):
        return path
    if os.environ.get(OFFLINE, "") not in ("", "0"):
        raise DownloadError(
            f"{file.name} is not in {folder} and {OFFLINE} is set: unset it, or put the file there."
        )
    part = folder / f".{file.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder / f".{file.name}.lock"):
            if _is_right(path, file):  # another process was faster
                return path
            failures = []
            for mirror in mirrors:
                failure = _from_mirror(mirror + file.name, part, file, progress, timeout)
                if failure is None:
                    os.replace(part, path)
                    return path
                failures.append(f"{mirror}: {failure}")
    except OSError as error:
        raise DownloadError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another "
            "folder with MINIGEN_DATA."
        ) from error
    raise DownloadError(
        f"could not fetch {file.name} ({'; '.join(failures)}). Try again later, what arrived is "
        f"kept; or put the file into {folder} by hand."
    )


def _from_mirror(
    url: str, part: Path, file: RemoteFile, progress: Progress | None, timeout: float
) -> str | None:
    """Fill `part` from the url. None when its checksum fits, else why not, in a few words."""
    failure = "nothing arrived"
    for _ in range(TRIES):
        before = part.stat().st_size if part.exists() else 0
        failure = _receive(url, part, file.name, progress, timeout)
        if failure is None:
            if _is_right(part, file):
                return None
            part.unlink(missing_ok=True)
            failure = f"wrong bytes (its {file.algorithm} is not {file.digest[:12]}…)"
            if not before:
                return failure  # not the fault of an old beginning
        elif not part.exists() or part.stat().st_size <= before:
            return failure
    return failure


def _receive(
    url: str, part: Path, name: str, progress: Progress | None, timeout: float
) -> str | None:
    """Append what is missing of `part`, by a range request. None when all of it arrived."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "minigen", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        request = urllib.request.Request(url, headers=headers)
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # no byte beyond what is here: complete, or of another file
            return None
        return f"HTTP {error.code} {error.reason}"
    except NETWORK_ERRORS as error:
        return _words(error)
    with response:
        continued = response.status == 206 and response.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        )
        if response.status == 206 and not continued:
            return "a range that was not asked for"
        done = have if continued else 0
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdigit() else None
        with open(part, "ab" if continued else "wb") as sink:
            for chunk in _chunks(response):
                if isinstance(chunk, str):
                    return chunk
                sink.write(chunk)
                done += len(chunk)
                if progress:
                    progress(name, done, total)
            sink.flush()
            os.fsync(sink.fileno())
    return None if total is None or done == total else f"cut short at {done} of {total} bytes"


def _chunks(response) -> Iterator[bytes | str]:
    """What arrives, bit by bit; at last, if the network fails, a string that says how."""
    while True:
        try:
            chunk = response.read1(CHUNK)
        except NETWORK_ERRORS as error:
            yield _words(error)
            return
        if not chunk:
            return
        yield chunk


def _words(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


def _is_right(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and digest_of(path, file.algorithm) == file.digest


@contextlib.contextmanager
def _lock(path: Path, wait: float = 3600.0) -> Iterator[None]:
    """Hold the file's lock; DownloadError when another process keeps it for `wait` seconds."""
    with open(path, "a+b") as file:
        give_up = time.monotonic() + wait
        while not try_lock(file):
            if time.monotonic() > give_up:
                raise DownloadError(f"another process has been fetching {path.name} for too long.")
            time.sleep(0.05)
        yield  # closing the file frees the lock


def _unpack_cifar10(archive: Path) -> list[Path]:
    """The six batches out of the official archive, by their names and nothing else."""
    from minigen.images import write_atomically

    paths = []
    try:
        with tarfile.open(archive) as tar:
            for name in sum(CIFAR_FILES.values(), ()):
                member = tar.extractfile(f"cifar-10-batches-bin/{name}")
                if member is None:
                    raise KeyError(name)
                paths.append(write_atomically(archive.parent / name, member.read()))
    except (tarfile.TarError, KeyError, EOFError, OSError) as error:
        raise DataError(
            f"{archive} cannot be unpacked ({error}); delete it and fetch again."
        ) from (error)
    archive.unlink()
    return paths

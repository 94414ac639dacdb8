"""Downloads from a server in this process that does all that real mirrors have done to people."""

import dataclasses
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from minigen import data
from minigen.data import catalogue
from minigen.data import download as module
from minigen.data.catalogue import RemoteFile, RemoteSet
from minigen.errors import DataError, DownloadError

CONTENT = bytes(range(256)) * 1200  # several chunks
FILE = RemoteFile("set.bin", hashlib.sha256(CONTENT).hexdigest())
SHORT, LONG = 0.5, 30.0  # seconds: for mirrors that hang, and for those that answer


class Handler(BaseHTTPRequestHandler):
    """The first part of the path says how the mirror behaves."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        kind = self.path.split("/")[1]
        self.server.log.append((kind, self.headers.get("Range")))
        self.close_connection = True
        if kind == "missing":
            return self.send_error(404)
        if kind == "hangs":
            self.server.release.wait(20)
            return None
        body = self.server.files.get(self.path.split("/")[-1], CONTENT)
        body = body[::-1] if kind == "wrong" else body
        start = 0
        asked = self.headers.get("Range")
        if asked and kind != "plain":
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            shift = 1 if kind == "shifted" else 0
            self.send_header("Content-Range", f"bytes {start + shift}-{len(body)}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        body = body[start:]
        if kind == "short":
            body = body[: len(body) // 2]
        elif kind == "stalls":
            self.wfile.write(body[: len(body) // 2])
            self.server.release.wait(20)
            return None
        self.wfile.write(body)
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "MINIGEN_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.log, server.files, server.release = [], {}, threading.Event()
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


def get(server, folder, *kinds, file=FILE, **options):
    mirrors = tuple(f"{server.url}/{kind}/" for kind in kinds)
    timeout = SHORT if {"hangs", "stalls"} & set(kinds) else LONG
    return data.fetch_file(mirrors, file, folder, timeout=timeout, **options)


def part_of(folder):
    return folder / f".{FILE.name}.part"


def test_a_file_arrives_once_and_its_progress_is_told(server, tmp_path):
    told = []
    path = get(server, tmp_path / "new", "good", progress=lambda *now: told.append(now))
    assert path == tmp_path / "new" / "set.bin" and path.read_bytes() == CONTENT
    assert told[-1] == ("set.bin", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert not part_of(tmp_path / "new").exists()
    get(server, tmp_path / "new", "good")
    assert len(server.log) == 1, "what is there is not fetched again"


@pytest.mark.parametrize(
    "kind, says",
    [
        ("missing", "HTTP 404"),
        ("hangs", "no answer in time"),
        ("stalls", "no answer in time"),
        ("short", "cut short at"),
        ("wrong", "wrong bytes"),
    ],
)
def test_a_bad_mirror_is_named_and_the_next_one_used(server, tmp_path, kind, says):
    with pytest.raises(DownloadError) as error:
        get(server, tmp_path / "alone", kind)
    text = str(error.value)
    assert says in text and f"/{kind}/" in text and "\n" not in text and "by hand" in text
    assert not (tmp_path / "alone" / "set.bin").exists()
    # Thrice: on a busy machine even a good server may be silent for half a second.
    assert get(server, tmp_path / "two", kind, *["good"] * 3).read_bytes() == CONTENT


def test_a_mirror_that_is_not_there(server, tmp_path):
    with pytest.raises(DownloadError, match="refused"):
        data.fetch_file(("http://127.0.0.1:1/",), FILE, tmp_path, timeout=LONG)
    with pytest.raises(DownloadError, match="could not fetch"):
        data.fetch_file(("nonsense://host/",), FILE, tmp_path, timeout=LONG)


@pytest.mark.parametrize("kind, status", [("good", "resumed"), ("plain", "from the start")])
def test_a_part_is_resumed_or_begun_again(server, tmp_path, kind, status):
    part_of(tmp_path).write_bytes(CONTENT[:1000])
    told = []
    path = get(server, tmp_path, kind, progress=lambda *now: told.append(now))
    assert path.read_bytes() == CONTENT and server.log == [(kind, "bytes=1000-")]
    assert (told[0][1] > 1000) and told[-1][1:] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize("beginning", [b"x" * 1000, b"x" * (len(CONTENT) + 5)])
def test_a_false_beginning_is_thrown_away(server, tmp_path, beginning):
    part_of(tmp_path).write_bytes(beginning)
    assert get(server, tmp_path, "good").read_bytes() == CONTENT
    assert [asked for _, asked in server.log] == [f"bytes={len(beginning)}-", None]


def test_a_finished_part_only_needs_its_name(server, tmp_path):
    part_of(tmp_path).write_bytes(CONTENT)
    assert get(server, tmp_path, "good").read_bytes() == CONTENT


def test_a_range_that_was_not_asked_for_is_refused(server, tmp_path):
    part_of(tmp_path).write_bytes(CONTENT[:1000])
    with pytest.raises(DownloadError, match="a range that was not asked for"):
        get(server, tmp_path, "shifted")
    assert part_of(tmp_path).read_bytes() == CONTENT[:1000]


def test_what_a_bad_mirror_brought_is_continued_at_the_next(server, tmp_path):
    assert get(server, tmp_path, "stalls", *["good"] * 3).read_bytes() == CONTENT
    assert server.log[-1][0] == "good" and server.log[-1][1] is not None


def test_a_damaged_file_is_replaced(server, tmp_path):
    (tmp_path / "set.bin").write_bytes(CONTENT[:-1])
    assert get(server, tmp_path, "good").read_bytes() == CONTENT


def test_offline(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGEN_OFFLINE", "1")
    with pytest.raises(DownloadError, match="set.bin is not in .*MINIGEN_OFFLINE is set"):
        get(server, tmp_path, "good")
    (tmp_path / "set.bin").write_bytes(CONTENT)
    assert get(server, tmp_path, "good").read_bytes() == CONTENT
    monkeypatch.setenv("MINIGEN_OFFLINE", "0")
    get(server, tmp_path / "other", "good")
    assert len(server.log) == 1


def test_two_at_once_fetch_once(server, tmp_path):
    threads = [threading.Thread(target=get, args=(server, tmp_path, "good")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "set.bin").read_bytes() == CONTENT and len(server.log) == 1


def test_the_lock_of_a_killed_process_is_free(server, tmp_path):
    lock = tmp_path / f".{FILE.name}.lock"
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from pathlib import Path; from minigen.data.download import _lock; import time\n"
        f"with _lock(Path({str(lock)!r})): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DownloadError, match="another process"), module._lock(lock, wait=0.1):
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with module._lock(lock, wait=30):
        assert lock.exists()


def test_a_full_disk_is_one_clear_line(server, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DownloadError, match="cannot write .*set.bin.*free some space"):
        get(server, tmp_path, "good")


def test_fetch_puts_every_file_where_load_looks(server, tmp_path, monkeypatch):
    contents = {f"{name}.gz": name.encode() for name in sum(catalogue.IDX_FILES.values(), ())}
    server.files = contents
    files = tuple(RemoteFile(n, hashlib.md5(c).hexdigest(), "md5") for n, c in contents.items())
    small = dataclasses.replace(catalogue.MNIST, mirrors=(f"{server.url}/good/",), files=files)
    monkeypatch.setitem(catalogue.REMOTE, "mnist", small)
    paths = data.fetch("MNIST", tmp_path, timeout=LONG)
    assert [path.read_bytes() for path in paths] == list(contents.values())
    assert {path.parent for path in paths} == {tmp_path / "mnist"}
    rows = {row.name: row for row in data.available(tmp_path)}
    assert rows["mnist"].present and rows["mnist"].folder == tmp_path / "mnist"
    assert not rows["kmnist"].present and rows["kmnist"].folder is None
    assert rows["glyphs"].present and data.fetch("glyphs") == []
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "mnist").rename(elsewhere)
    assert {p.parent for p in data.fetch("mnist", elsewhere)} == {elsewhere}
    assert len(server.log) == 4


def archive(names):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = 3073
            tar.addfile(member, io.BytesIO(bytes(3073)))
    return buffer.getvalue()


def test_cifar10_is_unpacked_by_name(server, tmp_path, monkeypatch):
    names = sum(catalogue.CIFAR_FILES.values(), ())

    def serve(content):
        server.files = {catalogue.CIFAR_ARCHIVE: content}
        file = RemoteFile(catalogue.CIFAR_ARCHIVE, hashlib.sha256(content).hexdigest())
        small = RemoteSet("cifar10", "", 0, "", (f"{server.url}/good/",), (file,))
        monkeypatch.setitem(catalogue.REMOTE, "cifar10", small)

    serve(archive(names[:3]))
    with pytest.raises(DataError, match="cannot be unpacked.*data_batch_4"):
        data.fetch("cifar10", tmp_path / "partly", timeout=LONG)
    serve(archive([*names, "../../evil"]))
    paths = data.fetch("cifar10", tmp_path / "whole", timeout=LONG)
    assert sorted(p.name for p in (tmp_path / "whole" / "cifar10").glob("[!.]*")) == sorted(names)
    assert len(data.load("cifar10", root=tmp_path / "whole")) == 5
    count = len(server.log)
    assert data.fetch("cifar10", tmp_path / "whole") == paths and len(server.log) == count

"""The cache of compiled kernels: never stale, never mixed up, and missing where it must be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from minigen_kernels.cpu import jit as jit_module
from minigen_kernels.cpu.jit import jit

KERNELS = Path(jit_module.__file__).parents[2]
PROGRAM = """
import sys
from minigen_kernels.cpu import jit
from probe import double

jit.on_compile(lambda name: print("compiled", name))
value = float(sys.argv[1]) if "." in sys.argv[1] else int(sys.argv[1])
print("result", double(value), type(double(value)).__name__)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache of its own, and a module `probe` with one kernel."""
    monkeypatch.setenv("MINIGEN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "probe.py").write_text(
        "from minigen_kernels.cpu.jit import jit\n\n\n@jit\ndef double(x):\n    return x + x\n"
    )
    return tmp_path


def start(folder, argument):
    # Python's own cache takes a source changed within a second, to the same length, for unchanged.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(KERNELS), str(folder)])
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, argument],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines_of(process):
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out.split("\n")[:-1]


def test_two_processes_with_two_signatures_never_get_each_others_code(folder):
    """Numba's own index gives both the data file number 1 when they compile at the same time."""
    both = [start(folder, "21"), start(folder, "1.5")]
    assert [lines_of(p)[-1] for p in both] == ["result 42 int", "result 3.0 float"]
    again = [start(folder, "21"), start(folder, "1.5")]  # and now from the cache
    assert [lines_of(p) for p in again] == [["result 42 int"], ["result 3.0 float"]]
    assert len(jit_module.cached_files()) == 2


def test_a_file_cut_short_is_compiled_again(folder):
    assert lines_of(start(folder, "21"))[0] == "compiled double"
    (file,) = jit_module.cached_files()
    file.write_bytes(file.read_bytes()[:100])
    assert lines_of(start(folder, "21")) == ["compiled double", "result 42 int"]
    assert lines_of(start(folder, "21")) == ["result 42 int"]


def test_a_folder_that_cannot_be_made_means_no_cache(folder):
    (folder / "cache").write_text("a file where the folder should be")
    assert lines_of(start(folder, "21"))[-1] == "result 42 int"
    assert (folder / "cache").read_text() == "a file where the folder should be"


def test_a_changed_source_of_the_caller_is_not_served_from_the_cache(folder):
    assert lines_of(start(folder, "21"))[-1] == "result 42 int"
    probe = folder / "probe.py"
    probe.write_text(probe.read_text().replace("x + x", "x * 3"))
    assert lines_of(start(folder, "21")) == ["compiled double", "result 63 int"]


def test_one_file_as_a_module_of_two_packages_is_two_entries(folder):
    """As benchmarks/peak.py is, in a checkout and in the wheel: the saved code names its module."""
    for package in ("kernels", "installed/kernels"):  # as far as files go, these are alike
        (folder / package).mkdir(parents=True)
        (folder / "probe.py").replace(folder / package / "probe.py")
        place = package.replace("/", ".")
        (folder / "probe.py").write_text(f"from {place}.probe import double\n")
        assert lines_of(start(folder, "21")) == ["compiled double", "result 42 int"]
        text = (folder / package / "probe.py").read_text()
        shutil.rmtree(folder / package)
        (folder / "probe.py").write_text(text)


def test_the_hash_changes_with_every_source_that_is_imported_and_with_no_other(tmp_path):
    """Directly and through others, in every form of the statement; what functions import is not."""
    package = tmp_path / "package"
    sources = {
        "__init__.py": "",
        "a.py": "import math\nfrom . import b, c\nfrom ..package.d import x\n",
        "b.py": "from .inner import deep\nfrom minigen_kernels.cpu import simd\n",
        "c.py": "def f():\n    from . import unseen\n    return unseen\n",
        "d.py": "import minigen_kernels.geometry\nimport numpy\nx = 1\n",
        "unseen.py": "y = 1\n",
        "alone.py": "",
        "inner/__init__.py": "deep = 1\n",
    }
    for name, text in sources.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    found = {file.name for file in jit_module.sources_of(package / "a.py")}
    assert found >= {"a.py", "b.py", "c.py", "d.py", "__init__.py", "simd.py", "geometry.py"}
    assert not found & {"unseen.py", "alone.py", "conv.py"}
    first = jit_module.sources_hash(package / "a.py")
    for name, text in sources.items():
        (package / name).write_text(text + "z = 1\n")
        changed = jit_module.sources_hash(package / "a.py") != first
        assert changed == (name not in ("__init__.py", "unseen.py", "alone.py")), name
        (package / name).write_text(text)
    assert jit_module.sources_hash(package / "a.py") == first


def test_a_kernel_depends_on_the_kernels_it_is_made_of_and_on_the_packages_constants():
    cpu = Path(jit_module.__file__).parent
    names = {file.name for file in jit_module.sources_of(cpu / "gemm.py")}
    assert names >= {"gemm.py", "panels.py", "lanes.py", "simd.py", "threads.py", "__init__.py"}
    assert not names & {"conv.py", "norm.py", "reference.py"}


def test_a_changed_module_that_the_caller_imports_is_not_served_from_the_cache(folder):
    helper = folder / "parts" / "factor.py"
    helper.parent.mkdir()
    helper.write_text("FACTOR = 2\n")
    (folder / "parts" / "made.py").write_text(
        "from minigen_kernels.cpu.jit import jit\nfrom .factor import FACTOR\n\n\n"
        "@jit\ndef double(x):\n    return x * FACTOR\n"
    )
    (folder / "probe.py").write_text("from parts.made import double\n")
    assert lines_of(start(folder, "21"))[-1] == "result 42 int"
    helper.write_text("FACTOR = 3\n")
    assert lines_of(start(folder, "21")) == ["compiled double", "result 63 int"]


def test_the_same_function_with_other_options_is_another_entry(folder):
    def tenth(x):
        return x / 10

    compiled = jit(tenth), jit(tenth, error_model="python")
    assert [f(5.0) for f in compiled] == [0.5, 0.5]
    names = [file.name.rpartition("-")[0] for file in jit_module.cached_files()]
    assert len(names) == 2 and len(set(names)) == 1
    assert np.isinf(jit(lambda x: 1.0 / x)(0.0))


def test_the_cache_can_be_cleared(folder):
    jit(lambda x: x - 1)(2)
    assert jit_module.base_folder() == folder / "cache" / "jit"
    assert jit_module.cache_folder().parent == jit_module.base_folder()
    assert jit_module.clear_cache() == 1
    assert jit_module.cached_files() == [] and jit_module.clear_cache() == 0


def test_the_users_own_cache_folder(monkeypatch):
    monkeypatch.delenv("MINIGEN_CACHE", raising=False)
    homes = {
        "linux": ("XDG_CACHE_HOME", "c", Path("c", "minigen", "jit")),
        "win32": ("LOCALAPPDATA", "c", Path("c", "minigen", "jit")),
        "darwin": ("UNUSED", "", Path.home() / "Library" / "Caches" / "minigen" / "jit"),
    }
    for platform, (variable, value, expected) in homes.items():
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setenv(variable, value)
        assert jit_module.base_folder() == expected


def test_without_a_hook_a_terminal_is_told_once(folder, monkeypatch, capsys):
    monkeypatch.setattr(jit_module, "_said", [])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    jit(lambda x: x + 1)(1)
    jit(lambda x: x + 2)(1)
    assert capsys.readouterr().err == "compiling CPU kernels (first run only) ...\n"

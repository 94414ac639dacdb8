"""python -m benchmarks gpu [--rehearse] [--minutes 9] [--only PART,...] [--out FILE]

Everything there is to know of minigen on this machine's GPU, in at most so many minutes: the tests
marked `gpu`, compute-sanitizer where it is, the ceilings, every kernel and rung beside PyTorch's by
name, and whole training steps. Writes benchmarks/results/GPU.json, makes README's table from it,
and prints the table last, with what could not be run, and why.

--rehearse  the whole command without a GPU, on the smallest sizes: the emulator behind a
            stand-in for CuPy, and PyTorch on the CPU. Its result is marked as a rehearsal's and
            goes to --out or a temporary folder, never among the results or into README.

From a bare checkout this needs numpy, cupy, numba, numba-cuda, cuda-bindings, hypothesis, pytest,
rich, safetensors and torch.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .report import aligned, duration

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
PARTS = ("tests", "sanitizer", "baselines", "kernels", "steps")
PACKAGES = ("numpy", "cupy-cuda13x", "cupy-cuda12x", "cupy", "numba", "numba-cuda",
            "cuda-bindings", "torch")  # fmt: skip
SHARE = {"tests": 0.4, "sanitizer": 0.1, "kernels": 0.5}  # of the time that is left then
# Of the tests marked gpu, those that a rehearsal runs: one of each kind.
REHEARSED = ("(test_op and gelu) or (test_lower_rung and linear) or gemm-bf16 or wgmma or "
             "(test_model and mlp) or (against_eager and SGD) or cannot_be_captured or "
             "random_bits")  # fmt: skip
SHARDS = 4  # processes for the tests marked gpu
Say = Callable[[str], None]


class Session:
    """A run of the command: its clock, what it has found, and what it could not run."""

    def __init__(self, minutes: float, rehearsal: bool, say: Say):
        self.end, self.rehearsal, self.say = time.monotonic() + 60 * minutes, rehearsal, say
        self.could_not: list[dict[str, str]] = []
        self.found: dict[str, Any] = {}

    def left(self) -> float:
        """Seconds to the end of the time given."""
        return self.end - time.monotonic()

    def missed(self, what: str, why: str) -> None:
        self.could_not.append({"what": what, "why": why})


def main(arguments: Sequence[str]) -> int:
    """The command; 1 if a test failed or a kernel was wrong."""
    options = _options(arguments)
    for path in (ROOT, ROOT / "kernels"):  # a bare checkout is not installed
        if path.is_dir() and str(path) not in sys.path:
            sys.path.insert(0, str(path))
    session = Session(options.minutes, options.rehearse, print)
    device = _device(session)
    if device is None:
        remedy = "" if session.rehearsal else "; without one: --rehearse"
        print(f"no GPU to measure on: {session.could_not[-1]['why']}{remedy}")
        return 1
    try:
        result = _result(session, device, options.only)
    finally:
        device.close()
    _write(result, options, device.name)
    print(page(result))
    return int(bool(failures(result)))


def _result(session: Session, device: Any, only: Sequence[str]) -> dict[str, Any]:
    """What all the parts, or only some, have found."""
    from .gpu_clock import one_line

    for part in PARTS:
        if only and part not in only:
            continue
        session.say(f"--- {part}, {session.left() / 60:.1f} minutes left")
        try:
            RUN[part](session, device)
        except Exception as error:  # a part that breaks must not take the others with it
            session.missed(part, one_line(error))
    return {
        "command": "python -m benchmarks gpu" + " --rehearse" * session.rehearsal,
        "rehearsal": session.rehearsal, "machine": machine(device),
        "date": datetime.date.today().isoformat(), **session.found,
        "could_not": session.could_not,
    }  # fmt: skip


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        "python -m benchmarks gpu", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--minutes", type=float, default=9.0)  # a rehearsal takes what it takes
    parser.add_argument("--only", type=lambda text: text.split(","), default=[])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    unknown = set(options.only) - set(PARTS)
    if unknown:
        parser.error(f"--only {sorted(unknown)[0]}: the parts are {', '.join(PARTS)}")
    if options.rehearse and options.out and RESULTS in options.out.resolve().parents:
        parser.error(f"--out: a rehearsal measures no GPU, so it does not write to {RESULTS}")
    return options


def _device(session: Session) -> Any:
    from . import gpu_clock

    try:
        return gpu_clock.Rehearsal() if session.rehearsal else gpu_clock.Gpu()
    except Exception as error:
        session.missed("everything", gpu_clock.one_line(error))
        return None


def _write(result: dict[str, Any], options: argparse.Namespace, gpu: str) -> None:
    name = "-".join(re.findall(r"[a-z0-9]+", gpu.lower()))
    if result["rehearsal"]:
        path = options.out or Path(tempfile.mkdtemp(prefix="minigen-rehearsal-")) / "rehearsal.json"
    else:
        path = options.out or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"written: {path}")
    if not (options.only or options.out or result["rehearsal"]):
        from .pages import put_between

        with contextlib.suppress(OSError, ValueError):  # no checkout, or a README without a place
            put_between(ROOT / "README.md", "gpu", "```text\n" + page(result) + "\n```")


def machine(device: Any) -> dict[str, Any]:
    """What the numbers were measured on."""
    packages = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[name] = importlib.metadata.version(name)
    facts = {"gpu": device.name, "python": platform.python_version(),
             "system": platform.platform(), "packages": packages}  # fmt: skip
    told = _printed(
        "nvidia-smi", "--query-gpu=driver_version,clocks.sm,clocks.max.sm,power.limit",
        "--format=csv,noheader",
    )  # fmt: skip
    runtime = device.cupy.cuda.runtime
    return {**facts, "driver, SM clock, most, power": told.splitlines()[0] if told else "",
            "cuda_runtime": runtime.runtimeGetVersion(),
            "processors": device.properties["multiProcessorCount"],
            "l2_bytes": device.properties["l2CacheSize"]}  # fmt: skip


def _printed(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


# ---- the parts


def tests(session: Session, device: Any) -> None:
    """The tests marked gpu; in a rehearsal some of them, by the emulator."""
    seconds = max(30.0, SHARE["tests"] * session.left())
    chosen = ["-k", REHEARSED] if device.rehearsal else []
    shards = 1 if device.rehearsal else min(SHARDS, os.cpu_count() or 1)
    threads = str(max(1, (os.cpu_count() or 1) // shards))

    def shard(i: int) -> dict[str, Any]:
        """Every so-manieth test; most of their time is Python's and the CPU's kernels'."""
        told = {"MINIGEN_REHEARSAL": "1" if device.rehearsal else "",
                "MINIGEN_SHARD": f"{i}/{shards}", "NUMBA_NUM_THREADS": threads}  # fmt: skip
        return _pytest(["-m", "gpu", "-rfE", *chosen, "tests/device"], seconds, told=told)

    with ThreadPoolExecutor(shards) as pool:
        done = merged(list(pool.map(shard, range(shards))))
    session.found["tests"] = done
    if device.rehearsal:
        session.missed("the other tests marked gpu", "a rehearsal runs one of each kind")
    if done["timed_out"]:
        session.missed("some tests marked gpu", f"they took more than {seconds:.0f} s")
    if done["counts"].get("skipped"):
        session.missed(f"{done['counts']['skipped']} tests marked gpu", done["skip_reason"])


def merged(shards: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What several runs of pytest found, as of one."""
    words = {word for done in shards for word in done["counts"]}
    return {
        "counts": {w: sum(done["counts"].get(w, 0) for done in shards) for w in sorted(words)},
        "failed": [line for done in shards for line in done["failed"]],
        "timed_out": any(done["timed_out"] for done in shards),
        "skip_reason": next((d["skip_reason"] for d in shards if d["skip_reason"]), ""),
        "tail": "".join(done["tail"] for done in shards),
    }


def _pytest(
    arguments: list[str], seconds: float, before: Sequence[str] = (),
    told: dict[str, str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    command = [*before, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
               "-W", "ignore", "--tb=line", "-rs", *arguments]  # fmt: skip
    paths = [str(ROOT), str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}
    environment |= told or {}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds
        )
        said, timed_out = done.stdout + done.stderr, False
    except subprocess.TimeoutExpired as error:
        heard: str | bytes = error.stdout or ""
        said = heard.decode(errors="replace") if isinstance(heard, bytes) else heard
        timed_out = True
    counts = {word.rstrip("s") if word == "errors" else word: int(n) for n, word in re.findall(
        r"(\d+) (passed|failed|errors?|skipped)", said.splitlines()[-1] if said else "")}
    reasons = re.findall(r"^SKIPPED .*?: (.*)$", said, re.M)
    failed = re.findall(r"^(?:FAILED|ERROR) (.*)$", said, re.M)
    return {"counts": counts, "failed": failed[:40], "timed_out": timed_out,
            "skip_reason": max(set(reasons), key=reasons.count) if reasons else "",
            "tail": "" if counts else said[-2000:]}  # fmt: skip


def sanitizer(session: Session, device: Any) -> None:
    """compute-sanitizer over one pass of every kernel."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        session.missed("compute-sanitizer", "it is not installed (it comes with the CUDA toolkit)")
        return
    if device.rehearsal:
        session.missed("compute-sanitizer", "it needs a GPU")
        return
    seconds = max(30.0, SHARE["sanitizer"] * session.left())
    chosen = ["-m", "gpu", "tests/device/test_gpu.py", "-k", "conv2d or attention or matmul"]
    done = _pytest(chosen, seconds, (tool, "--error-exitcode", "7"))
    session.found["sanitizer"] = done
    if done["timed_out"]:
        session.missed("compute-sanitizer", f"not done after {seconds:.0f} s")


def baselines(session: Session, device: Any) -> None:
    """What every later figure is a share of: a copy, and what a launch costs the CPU."""
    from . import gpu_baselines

    session.found["baselines"] = gpu_baselines.measured(device, session.missed)


def kernels(session: Session, device: Any) -> None:
    """Every kernel and rung, beside its peers."""
    from . import gpu_cases
    from .gpu_clock import one_line

    cases = gpu_cases.SMALLEST if device.rehearsal else gpu_cases.CASES
    found = session.found["kernels"] = []
    end = session.left() * (1 - SHARE["kernels"])
    for case in cases:
        label = f"{case.kernel} {case.name}"
        if session.left() < max(end, 20):
            session.missed(label, "no time left")
            continue
        try:
            found.append(_kernel(session, device, case, label))
        except Exception as error:  # such as memory that is not enough
            session.missed(label, one_line(error))


def _kernel(session: Session, device: Any, case: Any, label: str) -> dict[str, Any]:
    """One kernel at one size, by all who compute it."""
    from . import gpu_clock, gpu_kernels
    from .gpu_cases import FLOAT32

    sets = device.sets(case.bytes)
    right = gpu_kernels.right_answer(case, device)
    taking_part = list(gpu_kernels.contestants(case, device, sets))
    try:
        taking_part += gpu_kernels.peers(case, device, sets)
    except Exception as error:
        session.missed(f"{label}: the peers", gpu_clock.one_line(error))
    columns = gpu_clock.measured(
        device, taking_part, right, FLOAT32, sets,
        lambda name, why: session.missed(f"{label}: {name}", why),
    )  # fmt: skip
    warm = case.bytes * sets < gpu_clock.L2_BYTES
    return {"kernel": case.kernel, "name": case.name, "flop": case.flop, "bytes": case.bytes,
            "L2-warm": warm, "columns": columns}  # fmt: skip


def steps(session: Session, device: Any) -> None:
    """Whole training steps."""
    from . import gpu_steps

    found = session.found["steps"] = []
    for case in gpu_steps.SMALLEST if device.rehearsal else gpu_steps.CASES:
        if session.left() < 40:
            session.missed(case.name, "no time left")
            continue
        columns = gpu_steps.measured(
            case, device, session.left,
            lambda name, why, case=case: session.missed(f"{case.name}: {name}", why),
        )  # fmt: skip
        found.append({"name": case.name, "columns": columns})


RUN: dict[str, Callable[[Session, Any], None]] = {
    "tests": tests, "sanitizer": sanitizer, "baselines": baselines, "kernels": kernels,
    "steps": steps,
}  # fmt: skip


# ---- the page


def failures(result: dict[str, Any]) -> list[str]:
    """What went wrong, as opposed to what was not there."""
    failed = list(result.get("tests", {}).get("failed", []))
    failed += result.get("sanitizer", {}).get("failed", [])
    wrong = [m for m in result["could_not"] if m["why"].startswith("ArithmeticError")]
    return failed + [f"{m['what']}: {m['why']}" for m in wrong]


def page(result: dict[str, Any]) -> str:
    """The result as text: tables, and what is missing from them."""
    machine, lines = result["machine"], []
    if result["rehearsal"]:
        lines.append(
            "REHEARSAL: the emulator in the GPU's place, PyTorch on this CPU. Results are checked; "
            "the times\nare those of this CPU and say nothing about a GPU."
        )
    told = ", ".join(f"{k} {v}" for k, v in machine["packages"].items())
    lines.append(f"{machine['gpu']}, {result['date']}, {told}")
    if "tests" in result:
        counts = ", ".join(f"{n} {what}" for what, n in result["tests"]["counts"].items())
        lines.append(f"tests marked gpu: {counts or 'none finished'}")
    for name, value in result.get("baselines", {}).items():
        lines.append(f"{name}: {value}")
    if result.get("kernels"):
        lines += ["", _kernel_table(result["kernels"])]
    if result.get("steps"):
        lines += ["", _step_table(result["steps"])]
    missing = [f"- {m['what']}: {m['why']}" for m in result["could_not"]]
    lines += ["", "could not be run:", *missing] if missing else []
    bad = failures(result)
    lines += ["", "FAILED:", *[f"- {line}" for line in bad]] if bad else []
    return "\n".join(lines)


def _kernel_table(cases: list[dict[str, Any]]) -> str:
    rows = []
    for case in cases:
        best = min((c["median"] for c in case["columns"].values() if c["library"] == "torch"),
                   default=math.nan)  # fmt: skip
        for name, c in case["columns"].items():
            rows.append([
                f"{case['kernel']} {case['name']}", name,
                "–" if c["error"] is None else f"{c['error']:.0e}",
                f"{duration(c['median'])} ±{c['spread']:.0%}", _rate(case, c["median"]),
                f"{best / c['median']:.2f}" if best == best else "–", c["note"],
            ])  # fmt: skip
    return aligned(["kernel", "by", "error", "time", "rate", "× best peer", "as"], rows)


def _rate(case: dict[str, Any], seconds: float) -> str:
    if case["flop"]:
        return f"{case['flop'] / seconds * 1e-12:.2f} TFLOP/s"
    return f"{case['bytes'] / seconds * 1e-12:.2f} TB/s"


def _step_table(steps: list[dict[str, Any]]) -> str:
    rows = []
    for step in steps:
        eager = step["columns"].get("torch eager", {}).get("median", math.nan)
        for name, c in step["columns"].items():
            ratio = f"{eager / c['median']:.2f}" if eager == eager else "–"
            rows.append([step["name"], name, f"{duration(c['median'])} ±{c['spread']:.0%}", ratio])
    return aligned(["training step", "by", "time", "× torch eager"], rows)

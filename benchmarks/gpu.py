"""python -m benchmarks gpu [--rehearse] [--minutes 9] [--only PART,...] [--out FILE]

Everything there is to know of minigen on this machine's GPU, in at most so many minutes: the tests
marked `gpu`, compute-sanitizer where it is, the ceilings, every kernel and rung beside PyTorch's by
name, and whole training steps. Writes benchmarks/results/GPU.json, makes README's table from it,
and prints the table last, with what could not be run, and why.

--rehearse  the whole command without a GPU: the emulator computes the smallest sizes, all results
            are checked, nothing is timed and nothing is written.

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
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .report import aligned, duration

ROOT = Path(__file__).parents[1]
PARTS = ("tests", "sanitizer", "baselines", "kernels", "steps")
PACKAGES = ("numpy", "cupy-cuda13x", "cupy-cuda12x", "cupy", "numba", "numba-cuda",
            "cuda-bindings", "torch")  # fmt: skip
SHARE = {"tests": 0.4, "sanitizer": 0.1, "kernels": 0.5}  # of the time that is left then
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
        print(f"no GPU to measure on: {session.could_not[-1]['why']}; without one: --rehearse")
        return 1
    for part in PARTS:
        if options.only and part not in options.only:
            continue
        session.say(f"--- {part}, {session.left() / 60:.1f} minutes left")
        try:
            RUN[part](session, device)
        except Exception as error:  # a part that breaks must not take the others with it
            from .gpu_clock import one_line

            session.missed(part, one_line(error))
    result = {
        "command": "python -m benchmarks gpu", "machine": machine(device),
        "date": datetime.date.today().isoformat(), **session.found,
        "could_not": session.could_not,
    }  # fmt: skip
    if not session.rehearsal:
        _write(result, options, device.name)
    print(page(result, rehearsal=session.rehearsal))
    return int(bool(failures(result)))


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        "python -m benchmarks gpu", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    unknown = set(options.only) - set(PARTS)
    if unknown:
        parser.error(f"--only {sorted(unknown)[0]}: the parts are {', '.join(PARTS)}")
    if options.rehearse and options.out:
        parser.error("--out: a rehearsal measures nothing, so it writes nothing")
    return options


def _device(session: Session) -> Any:
    from . import gpu_clock

    if session.rehearsal:
        return gpu_clock.Rehearsal()
    try:
        return gpu_clock.Gpu()
    except Exception as error:
        session.missed("everything", gpu_clock.one_line(error))
        return None


def _write(result: dict[str, Any], options: argparse.Namespace, gpu: str) -> None:
    name = "-".join(re.findall(r"[a-z0-9]+", gpu.lower()))
    path = options.out or Path(__file__).parent / "results" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"written: {path}")
    if not options.only and options.out is None:
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
    if device.rehearsal:
        return facts
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
    """The tests marked gpu; in a rehearsal they are found, and skip themselves."""
    seconds = max(30.0, SHARE["tests"] * session.left())
    done = _pytest(["-m", "gpu", "-rfE", "tests/device"], seconds)
    session.found["tests"] = done
    if done["timed_out"]:
        session.missed("some tests marked gpu", f"they took more than {seconds:.0f} s")
    if done["counts"].get("skipped"):
        session.missed(f"{done['counts']['skipped']} tests marked gpu", done["skip_reason"])


def _pytest(arguments: list[str], seconds: float, before: Sequence[str] = ()) -> dict[str, Any]:
    command = [*before, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
               "-W", "ignore", "--tb=line", "-rs", *arguments]  # fmt: skip
    paths = [str(ROOT), str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}
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
    if device.rehearsal:
        session.missed("baselines", "there is nothing to measure in a rehearsal")
        return
    from . import gpu_baselines

    session.found["baselines"] = gpu_baselines.measured(device, session.missed)


def kernels(session: Session, device: Any) -> None:
    """Every kernel and rung, beside its peers."""
    from . import gpu_clock, gpu_kernels

    cases = gpu_kernels.SMALLEST if device.rehearsal else gpu_kernels.CASES
    found = session.found["kernels"] = []
    end = session.left() * (1 - SHARE["kernels"])
    for case in cases:
        label = f"{case.kernel} {case.name}"
        if session.left() < max(end, 20):
            session.missed(label, "no time left")
            continue
        if not gpu_kernels.rung_names(case.kernel):
            session.missed(label, "the kernel has no CUDA rung in this version")
            continue
        sets = device.sets(case.bytes)
        right = gpu_kernels.right_answer(case, device)
        taking_part = list(gpu_kernels.contestants(case, device, sets))
        if not device.rehearsal:
            try:
                taking_part += gpu_kernels.peers(case, sets)
            except Exception as error:
                session.missed(f"{label}: the peers", gpu_clock.one_line(error))
        columns = gpu_clock.measured(
            device, taking_part, right, gpu_kernels.FLOAT32, sets,
            lambda name, why, label=label: session.missed(f"{label}: {name}", why),
        )  # fmt: skip
        warm = case.bytes * sets < gpu_clock.L2_BYTES
        found.append({"kernel": case.kernel, "name": case.name, "flop": case.flop,
                      "bytes": case.bytes, "L2-warm": warm, "columns": columns})  # fmt: skip


def steps(session: Session, device: Any) -> None:
    """Whole training steps."""
    from . import gpu_clock, gpu_steps

    if device.rehearsal:
        case = gpu_steps.SMALLEST
        try:
            session.found["steps"] = [{"name": case.name, "losses": gpu_steps.rehearsed(case)}]
        except Exception as error:
            session.missed(case.name, gpu_clock.one_line(error))
        return
    found = session.found["steps"] = []
    for case in gpu_steps.CASES:
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


def page(result: dict[str, Any], rehearsal: bool = False) -> str:
    """The result as text: tables, and what is missing from them."""
    machine, lines = result["machine"], []
    if rehearsal:
        lines.append("REHEARSAL by the emulator: results are checked, nothing is measured.")
    else:
        told = ", ".join(f"{k} {v}" for k, v in machine["packages"].items())
        lines.append(f"{machine['gpu']}, {result['date']}, {told}")
    if "tests" in result:
        counts = ", ".join(f"{n} {what}" for what, n in result["tests"]["counts"].items())
        lines.append(f"tests marked gpu: {counts or 'none finished'}")
    for name, value in result.get("baselines", {}).items():
        lines.append(f"{name}: {value}")
    if result.get("kernels"):
        lines += ["", _kernel_table(result["kernels"], rehearsal)]
    if result.get("steps"):
        lines += ["", _step_table(result["steps"], rehearsal)]
    missing = [f"- {m['what']}: {m['why']}" for m in result["could_not"]]
    lines += ["", "could not be run:", *missing] if missing else []
    bad = failures(result)
    lines += ["", "FAILED:", *[f"- {line}" for line in bad]] if bad else []
    return "\n".join(lines)


def _kernel_table(cases: list[dict[str, Any]], rehearsal: bool) -> str:
    rows = []
    for case in cases:
        best = min((c["median"] for n, c in case["columns"].items()
                    if "median" in c and c.get("note")), default=math.nan)  # fmt: skip
        for name, c in case["columns"].items():
            row = [f"{case['kernel']} {case['name']}", name, f"{c['error']:.0e}"]
            if not rehearsal:
                times = f"{best / c['median']:.2f}" if best == best else "–"
                took = f"{duration(c['median'])} ±{c['spread']:.0%}"
                row += [took, _rate(case, c["median"]), times, c["note"]]
            rows.append(row)
    head = ["kernel", "by", "error"]
    head += [] if rehearsal else ["time", "rate", "× best peer", "as"]
    return aligned(head, rows)


def _rate(case: dict[str, Any], seconds: float) -> str:
    if case["flop"]:
        return f"{case['flop'] / seconds * 1e-12:.2f} TFLOP/s"
    return f"{case['bytes'] / seconds * 1e-12:.2f} TB/s"


def _step_table(steps: list[dict[str, Any]], rehearsal: bool) -> str:
    if rehearsal:
        rows = [[s["name"], ", ".join(f"{x:.4g}" for x in s["losses"])] for s in steps]
        return aligned(["training step", "losses, as those of the CPU's kernels"], rows)
    rows = []
    for step in steps:
        eager = step["columns"].get("torch eager", {}).get("median", math.nan)
        for name, c in step["columns"].items():
            ratio = f"{eager / c['median']:.2f}" if eager == eager else "–"
            rows.append([step["name"], name, f"{duration(c['median'])} ±{c['spread']:.0%}", ratio])
    return aligned(["training step", "by", "time", "× torch eager"], rows)

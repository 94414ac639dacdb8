"""minigen bench: how fast minigen is on this machine, and how fast PyTorch is on the same cores.

A run prints a table for each group of cases, writes a JSON file with the machine's description,
and draws plots beside it. In a checkout the file is benchmarks/results/CPU.json, and the tables in
README.md and kernels/README.md are made from it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import json
import math
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import report
from .cases import GROUPS, LADDERS, OF_THREADS, SCALING, Case, Group
from .machine import describe
from .runner import exponent, measure
from .worker import Contestant

EXTRA = ("widths", "parts", "ladders", "scaling", "memory", "start")  # what is no group of cases
ROUNDS, QUICK_ROUNDS = 25, 9
# Whose memory is measured, in which variants: the least counts. (Which of torch's is the quicker
# would take steps of full size to find out, before the memory of such steps is measured.)
OWNERS = {"minigen": ("minigen",), "torch": ("torch contiguous_format", "torch channels_last")}


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure minigen's kernels and models, beside PyTorch where it is installed."""

    only: tuple[str, ...] = ()
    """Groups to measure (default: all): gemm, skinny, conv2d, ...; `minigen bench --list`."""
    vs: tuple[str, ...] = ()
    """What to compare with: torch, torch.compile (training steps), numpy. Default: torch if
    installed, numpy."""
    quick: bool = False
    """A few cases of each group, in about two minutes."""
    rounds: int | None = None
    """Rounds of each case (default: 25; quick: 9)."""
    out: Path | None = None
    """The JSON file to write (default: benchmarks/results/CPU.json in a checkout)."""
    list: bool = False
    """Name the groups and stop."""
    compare: tuple[Path, Path] | None = None
    """Compare two result files, ratio by ratio, instead of measuring."""
    debug: bool = False
    """Show the traceback of an error."""


def main(options: Options, say: Any) -> int:
    """Run the command; `say` prints a line."""
    names = [group.name for group in GROUPS] + list(EXTRA)
    if options.list:
        for group in GROUPS:
            say(f"{group.name:<12} {group.title}, {len(group.cases)} cases")
        for name in EXTRA:
            say(name)
        return 0
    if options.compare:
        return report.compare(*options.compare, say)
    unknown = [name for name in options.only if name not in names]
    if unknown:
        raise ValueError(f"--only {unknown[0]}: the groups are {', '.join(names)}")
    result = run(options, [n for n in names if not options.only or n in options.only], say)
    path = options.out or default_path(result["machine"]["cpu"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    report.draw(result, path)
    say(f"written: {path}")
    if not options.only and not options.quick and options.out is None:
        report.rewrite(Path(__file__).parents[1], result, path)
    return 0


def default_path(cpu: str) -> Path:
    """results/CPU.json beside this file in a checkout, else bench-CPU.json here."""
    name = "-".join("".join(c if c.isalnum() else " " for c in cpu).split()).lower()
    results = Path(__file__).parent / "results"
    return results / f"{name}.json" if results.is_dir() else Path(f"bench-{name}.json")


def run(options: Options, names: Sequence[str], say: Any) -> dict[str, Any]:
    """Everything that is measured, as JSON values."""
    began, peers = time.perf_counter(), _peers(options.vs)
    # NumPy's threads look for work for 2^26 cycles after each product, on a core that whoever comes
    # next needs (a torch.matmul of 512 took up to eight times as long). 2^20 cycles are 0.4 ms.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")
    machine = describe()
    threads = machine["threads"]
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    say(
        f"{machine['cpu']}, {threads} threads, {machine['vector_bits']} bits: "
        f"{machine['fma_gflops']:.0f} GFLOP/s, copies {machine['copy_gbytes_per_s']:.1f} GB/s"
    )
    result: dict[str, Any] = {
        "command": shlex.join(["minigen", "bench", *sys.argv[2:]]),
        "machine": machine,
        "peers": {name: _version(name) for name in peers},
        "rounds": rounds,
        "groups": [],
    }
    # The same contestant twice: how far apart two equal things come out is the noise.
    everybody = "minigen", "minigen #2", *peers
    with _closing([Contestant(name, threads) for name in everybody]) as contestants:
        for group in (g for g in GROUPS if g.name in names):
            cases = [group.cases[i] for i in group.quick] if options.quick else group.cases
            # Of a single operation torch.compile has the same kernels as torch.
            whole = [c for c in contestants if c.name != "torch.compile" or "steps" in group.name]
            if cases:
                result["groups"].append(_group(group, cases, whole, rounds, machine, say))
        if "parts" in names and not options.quick:
            result["parts"] = _parts(contestants[0], say)
        if "scaling" in names and not options.quick:
            result["scaling"] = _scaling(contestants[:1], rounds, say)
            result["scaling"] += _scaling_of_threads(threads, rounds, say)
        if "memory" in names:
            result["memory"] = _memory(["minigen", *peers], threads, options.quick, say)
    if "widths" in names and not options.quick:
        result["widths"] = _widths(threads, machine["vector_bits"], rounds, say)
    if "ladders" in names:
        result["ladders"] = _ladders(threads, min(rounds, 5), say)
    if "start" in names and not options.quick:
        result["start"] = _start(threads, say)
    result["seconds"] = time.perf_counter() - began
    return result


@contextlib.contextmanager
def _closing(contestants: list[Contestant]) -> Iterator[list[Contestant]]:
    """The contestants, whose processes end with the block."""
    try:
        yield contestants
    finally:
        for contestant in contestants:
            contestant.close()


def _peers(asked: Sequence[str]) -> list[str]:
    known = ("torch", "torch.compile", "numpy")
    for name in asked:
        if name not in known:
            raise ValueError(f"--vs {name}: choose from {', '.join(known)}")
    installed = importlib.util.find_spec("torch") is not None
    if any(name.startswith("torch") for name in asked) and not installed:
        raise ValueError("--vs torch: PyTorch is not installed: pip install 'minigen[peers]'")
    return list(asked or (["torch"] if installed else []) + ["numpy"])


def _version(name: str) -> str:
    return importlib.metadata.version(name.partition(".")[0])


def _group(
    group: Group, cases: Sequence[Case], contestants: Any, rounds: int, machine: Any, say: Any
) -> dict[str, Any]:
    rows = []
    for case in cases:
        columns = measure(case, contestants, rounds)
        rows.append({"name": case.name, "flop": case.flop, "bytes": case.bytes, "columns": columns})
    done = {
        "name": group.name,
        "title": group.title,
        "goal": {k: v for k, v in dataclasses.asdict(group.goal).items() if math.isfinite(v)},
        "cases": rows,
    }
    say(report.group_table(done, machine))
    return done


def _parts(contestant: Contestant, say: Any) -> list[dict[str, Any]]:
    """What each training step and the drawing of samples spend their time on."""
    cases = [c for g in GROUPS if g.name.startswith(("steps", "sampling")) for c in g.cases]
    done = [{"name": case.name, "seconds": contestant.ask("parts", case)} for case in cases]
    say("\n" + report.aligned(*report.parts_rows(done)))
    return done


def _widths(threads: int, most: int, rounds: int, say: Any) -> list[dict[str, Any]]:
    """Products of 1024 at each width of vectors, beside the FMA peak at that width."""
    cases = [c for g in GROUPS if g.name == "gemm" for c in g.cases if c.name.startswith("1024")]
    bits, done = [b for b in (512, 256, 128) if b <= most], []
    with _closing([Contestant(f"minigen {b} bits", threads) for b in bits]) as contestants:
        columns = [measure(case, contestants, rounds) for case in cases]
        for b, contestant in zip(bits, contestants, strict=True):
            peak = contestant.ask("peak", b)
            rates = {
                case.name: case.flop / column[contestant.name]["median"] * 1e-9
                for case, column in zip(cases, columns, strict=True)
            }
            done.append({"bits": b, "peak": peak, "gflops": rates})
    say("\n" + report.aligned(*report.widths_rows(done)))
    return done


def _ladders(threads: int, rounds: int, say: Any) -> dict[str, Any]:
    from minigen_kernels.cpu import LADDERS as kernels

    done = {}
    for name, case in LADDERS.items():
        count = len(kernels[name])
        with _closing([Contestant(f"minigen rung {r}", threads) for r in range(count)]) as rungs:
            done[name] = {
                "case": case.name,
                "flop": case.flop,
                "rungs": [kernel.__name__ for kernel in kernels[name]],
                "columns": measure(case, rungs, rounds),
            }
        say(report.ladder_table(name, done[name]))
    return done


def _scaling(contestants: Any, rounds: int, say: Any) -> list[dict[str, Any]]:
    done = []
    for series in SCALING:
        columns = [measure(case, contestants, rounds)["minigen"] for case in series.cases]
        seconds = [column["median"] for column in columns]
        fitted = exponent(series.x, seconds)
        entry = {"name": series.name, "x": series.x, "seconds": seconds, "fitted": fitted}
        done.append({**entry, "expected": series.expected})
        say(f"{series.name}: time grows as x^{fitted:.2f}, work as x^{series.expected}")
    return done


def _scaling_of_threads(threads: int, rounds: int, say: Any) -> list[dict[str, Any]]:
    """The same for 1, 2, 4 ... threads, each number in a process of its own."""
    counts = [2**i for i in range(threads.bit_length()) if 2**i <= threads]
    if len(counts) < 2:
        say("one thread: nothing to scale with")
        return []
    done = []
    with _closing([Contestant(f"minigen #{n} threads", n) for n in counts]) as contestants:
        for case in OF_THREADS:
            columns = measure(case, contestants, rounds)
            seconds = [columns[c.name]["median"] for c in contestants]
            entry = {"name": f"{case.name}, threads", "x": counts, "seconds": seconds}
            done.append({**entry, "fitted": exponent(counts, seconds), "expected": -1})
            say(f"{case.name}: time grows as threads^{done[-1]['fitted']:.2f}, work as threads^-1")
    return done


def _memory(names: Sequence[str], threads: int, quick: bool, say: Any) -> list[dict[str, Any]]:
    cases = [c for g in GROUPS if g.name.startswith("steps") for c in g.cases]
    done = []
    for case in cases[:1] if quick else cases:
        row: dict[str, Any] = {"name": case.name, "bytes": {}}
        for name in (n for n in names if n in OWNERS):
            for variant in OWNERS[name]:
                contestant = Contestant(variant, threads)
                try:
                    size = contestant.ask("memory", case)
                    row["bytes"][name] = min(size, row["bytes"].get(name, size))
                except RuntimeError as error:
                    row.setdefault("errors", {})[variant] = str(error)
                finally:
                    contestant.close()
        done.append(row)
        sizes = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in row["bytes"].items())
        say(f"memory of a step, {case.name}: {sizes}")
        for error in row.get("errors", {}).values():
            say(error)
    return done


def _start(threads: int, say: Any) -> dict[str, float]:
    """Seconds from the start of a process to the end of DCGAN-28's first step."""
    from .start import first_step

    done = {}
    for name, seconds in first_step(threads).items():
        done[name] = seconds
        say(f"DCGAN-28, {name} start: first step after {seconds:.1f} s")
    return done

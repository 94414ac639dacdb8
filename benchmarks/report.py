"""Results as tables, in pages, and compared with each other."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import plots
from .pages import put_between, table
from .runner import geomean, ratio

AGAIN = "minigen #2"  # the second of two equal contestants
NOISY = 0.15  # two equal contestants further apart than this: no ratio is claimed


def group_table(group: dict[str, Any], machine: dict[str, Any]) -> str:
    """A group's cases as text for a terminal."""
    head, rows = _group_rows(group, machine)
    lines = [group["title"], aligned(head, rows), *_missing(group), verdict(group, machine)]
    return "\n" + "\n".join(lines)


def _group_rows(
    group: dict[str, Any], machine: dict[str, Any]
) -> tuple[list[str], list[list[str]]]:
    peers = _peers(group)
    head = ["case", "minigen", "of the ceiling", "A/A", *[f"× {peer}" for peer in peers], "JIT"]
    rows = []
    for case in group["cases"]:
        columns = case["columns"]
        mine = columns["minigen"]
        if "error" in mine:
            rows.append([case["name"], mine["error"]] + [""] * (len(head) - 2))
            continue
        cells = [case["name"], f"{duration(mine['median'])} ±{mine['spread']:.0%}"]
        cells += [_ceiling(case, mine, machine), _times(ratio(columns, AGAIN, "minigen"))]
        cells += [_times(ratio(columns, "minigen", peer)) for peer in peers]
        rows.append([*cells, duration(max(0.0, mine["first"] - mine["median"]))])
    return head, rows


def _peers(group: dict[str, Any]) -> list[str]:
    """The others that have a figure for at least one case."""
    found: dict[str, None] = {}
    for case in group["cases"]:
        for name, column in case["columns"].items():
            if not name.startswith("minigen") and "error" not in column:
                found[name] = None
    return list(found)


def _missing(group: dict[str, Any]) -> list[str]:
    """Why there is no figure, where somebody has one for other cases of the group, or torch none.

    That NumPy lacks a function altogether is no news.
    """
    wanted = {*_peers(group), "torch", "torch.compile"}
    return [
        f"{case['name']}: {column['error'].splitlines()[0]}"
        for case in group["cases"]
        for name, column in case["columns"].items()
        if name in wanted and "error" in column
    ]


def _ceiling(case: dict[str, Any], mine: dict[str, Any], machine: dict[str, Any]) -> str:
    """GFLOP/s and their share of the FMA peak, or GB/s and their share of a copy's."""
    if case["flop"]:
        rate = case["flop"] / mine["median"] * 1e-9
        return f"{rate:.0f} GFLOP/s, {rate / machine['fma_gflops']:.0%}"
    if case["bytes"]:
        rate = case["bytes"] / mine["median"] * 1e-9
        return f"{rate:.1f} GB/s, {rate / machine['copy_gbytes_per_s']:.0%}"
    return ""


def verdict(group: dict[str, Any], machine: dict[str, Any]) -> str:
    """One line: what the ratios to PyTorch come to, what they are held to, and the noise."""
    goal, ratios, missed = group["goal"], [], []
    for case in group["cases"]:
        times = ratio(case["columns"], "minigen", "torch")
        ratios.append(times)
        fast = case["flop"] / case["columns"]["minigen"].get("median", math.inf) * 1e-9
        share = fast / machine["fma_gflops"]
        if times == times and times < goal["each"] and share < goal.get("peak", math.inf):
            missed.append(case["name"])
    noise = [ratio(case["columns"], AGAIN, "minigen") for case in group["cases"]]
    apart = max((abs(math.log(n)) for n in noise if n == n), default=0.0)
    text = f"A/A within {math.expm1(apart):.0%}"
    if apart > NOISY:
        text += ": too noisy to claim a ratio"
    if any(r == r for r in ratios):
        whole = geomean(ratios)
        lowest = min(r for r in ratios if r == r)
        text = f"× torch: geomean {whole:.2f}, lowest {lowest:.2f}; {text}"
        if goal["geomean"] or goal["each"]:
            reached = not missed and whole >= goal["geomean"]
            wanted = [f"geomean ≥ {goal['geomean']}"] * (goal["geomean"] > 0)
            wanted += [f"each ≥ {goal['each']}"] * (goal["each"] > 0)
            if "peak" in goal:
                wanted[-1] += f" or {goal['peak']:.0%} of the peak"
            text += f"; goal {', '.join(wanted)}: {'reached' if reached else 'not reached'}"
            text += f" ({len(missed)} cases below)" * bool(missed)
    return text + _against_compiled(group)


def _against_compiled(group: dict[str, Any]) -> str:
    """What the verdict adds where torch.compile was measured."""
    ratios = [ratio(case["columns"], "minigen", "torch.compile") for case in group["cases"]]
    whole, wanted = geomean(ratios), group["goal"].get("compiled", 0.0)
    if whole != whole:
        return ""
    text = f"; × torch.compile: geomean {whole:.2f}"
    if wanted:
        text += f", goal ≥ {wanted}: {'reached' if whole >= wanted else 'not reached'}"
    return text


def ladder_table(name: str, ladder: dict[str, Any]) -> str:
    """A ladder's rungs as text."""
    return f"\n{name}, {ladder['case']}\n{aligned(*_ladder_rows(ladder))}"


def _ladder_rows(ladder: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    columns, rows = ladder["columns"], []
    for number, name in enumerate(ladder["rungs"]):
        column = columns[f"minigen rung {number}"]
        if "error" in column:
            rows.append([str(number), name, column["error"], ""])
            continue
        faster = ratio(columns, f"minigen rung {number}", "minigen rung 0")
        rows.append([str(number), name, duration(column["median"]), f"{faster:.0f} ×"])
    return ["rung", "function", "time", "against the formula"], rows


def duration(seconds: float) -> str:
    """1.2 µs, 34 ms, 5.6 s."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size or unit == "µs":
            value = seconds / size
            return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"
    raise AssertionError("unreachable: the last unit takes what is left")


def _times(value: float) -> str:
    return f"{value:.2f}" if value == value else "–"


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a terminal, its columns as wide as they need to be."""
    lines = [head, *rows]
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


# ---- pages and pictures


def rewrite(root: Path, result: dict[str, Any], path: Path) -> None:
    """Put the tables into README.md and kernels/README.md, where there are such pages."""
    source = f"`{result['command']}`, {_machine_line(result['machine'])}; peers: " + ", ".join(
        f"{name} {version}" for name, version in result["peers"].items()
    )
    parts = [source]
    for group in result["groups"]:
        head, rows = _group_rows(group, result["machine"])
        line = f"<b>{group['title']}.</b> {verdict(group, result['machine'])}."
        # The verdicts are read at a glance, the cases behind them are unfolded.
        shown = "\n\n".join([table(head, rows), *_missing(group)])
        parts.append(f"<details><summary>{line}</summary>\n\n{shown}\n\n</details>")
    parts += _rest(result)
    put_between(root / "README.md", "speed", "\n\n".join(parts))
    ladders = [source]
    for name, ladder in result.get("ladders", {}).items():
        ladders += [f"**{name}**, {ladder['case']}", table(*_ladder_rows(ladder))]
    put_between(root / "kernels" / "README.md", "ladders", "\n\n".join(ladders))


def _machine_line(machine: dict[str, Any]) -> str:
    return (
        f"{machine['cpu']}, {machine['threads']} threads, vectors of {machine['vector_bits']} bits,"
        f" FMA peak {machine['fma_gflops']:.0f} GFLOP/s, copies "
        f"{machine['copy_gbytes_per_s']:.1f} GB/s"
    )


def parts_rows(steps: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Shares of the time of each step."""
    titles = list(steps[0]["seconds"])
    rows = []
    for step in steps:
        whole = sum(step["seconds"].values())
        shares = [f"{step['seconds'][title] / whole:.0%}" for title in titles]
        rows.append([step["name"], duration(whole), *shares])
    return ["", "time", *titles], rows


def widths_rows(widths: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Shares of the FMA peak at each width of vectors."""
    names = list(widths[0]["gflops"])
    rows = [
        [f"{w['bits']} bits", f"{w['peak']:.0f} GFLOP/s",
         *[f"{w['gflops'][name]:.0f}, {w['gflops'][name] / w['peak']:.0%}" for name in names]]
        for w in widths
    ]  # fmt: skip
    return ["vectors of", "FMA peak", *names], rows


def _rest(result: dict[str, Any]) -> list[str]:
    parts = []
    if result.get("widths"):
        parts += ["**GEMM by vector width**, GFLOP/s and their share of the peak at that width"]
        parts += [table(*widths_rows(result["widths"]))]
    if result.get("parts"):
        parts += ["**Where the time goes**, of all that minigen does in a step"]
        parts += [table(*parts_rows(result["parts"]))]
    if result.get("memory"):
        rows = [
            [row["name"], *[f"{row['bytes'].get(n, math.nan) / 1e6:.1f} MB" for n in NAMES]]
            for row in result["memory"]
        ]
        parts += ["**Memory of a step**, beyond what was resident before", table(MEMORY, rows)]
    if result.get("start"):
        start = result["start"]
        parts.append(
            f"**Start of DCGAN-28**, process to first step: {start['cold']:.1f} s with an empty "
            f"cache of kernels, {start['warm']:.1f} s afterwards."
        )
    if result.get("scaling"):
        rows = [[s["name"], f"{s['fitted']:.2f}", str(s["expected"])] for s in result["scaling"]]
        head = ["time against", "fitted exponent", "exponent of the work"]
        parts += ["**Scaling**", table(head, rows)]
    return parts


NAMES = ("minigen", "torch")
MEMORY = ["training step", *NAMES]


def draw(result: dict[str, Any], path: Path) -> None:
    """SVG plots beside the JSON file: the ladders' bars, the roofline, the scaling."""
    stem = path.with_suffix("")
    if result.get("ladders"):
        svg = plots.bars(_bars_of(result["ladders"]), "time, seconds")
        stem.with_name(f"{stem.name}-ladders.svg").write_text(svg, encoding="utf-8")
    points = [
        (case["name"], case["flop"] / case["bytes"], case["flop"] / mine["median"] * 1e-9)
        for group in result["groups"]
        for case in group["cases"]
        if case["flop"] and case["bytes"] and "median" in (mine := case["columns"]["minigen"])
    ]
    if points:
        machine = result["machine"]
        svg = plots.roofline(points, machine["fma_gflops"], machine["copy_gbytes_per_s"])
        stem.with_name(f"{stem.name}-roofline.svg").write_text(svg, encoding="utf-8")
    if result.get("scaling"):
        lines = [(s["name"], s["x"], s["seconds"]) for s in result["scaling"]]
        svg = plots.lines(lines, "size", "time, seconds")
        stem.with_name(f"{stem.name}-scaling.svg").write_text(svg, encoding="utf-8")


def _bars_of(ladders: dict[str, Any]) -> list[tuple[str, float]]:
    return [
        (f"{name} {number}", column["median"])
        for name, ladder in ladders.items()
        for number in range(len(ladder["rungs"]))
        if "median" in (column := ladder["columns"][f"minigen rung {number}"])
    ]


# ---- regressions


def compare(before: Path, after: Path, say: Any) -> int:
    """Ratios to PyTorch of two files, case by case; 1 if one fell by more than the noise."""
    old, new = (_ratios(json.loads(p.read_text(encoding="utf-8"))) for p in (before, after))
    rows, fallen = [], 0
    for key in old:
        if key in new:
            (a, noise_a), (b, noise_b) = old[key], new[key]
            noise = max(noise_a, noise_b, 0.05)
            worse = b < a * (1 - noise)
            fallen += worse
            rows.append([*key, _times(a), _times(b), f"±{noise:.0%}", "slower" if worse else ""])
    say(aligned(["group", "case", "before", "after", "noise", ""], rows))
    say(f"{len(rows)} cases in both, {fallen} slower by more than the noise")
    return int(fallen > 0)


def _ratios(result: dict[str, Any]) -> dict[tuple[str, str], tuple[float, float]]:
    """(group, case) → (ratio to PyTorch, noise: how far apart two equal contestants were)."""
    found = {}
    for group in result["groups"]:
        for case in group["cases"]:
            times = ratio(case["columns"], "minigen", "torch")
            if times == times:
                noise = abs(ratio(case["columns"], AGAIN, "minigen") - 1)
                found[group["name"], case["name"]] = times, 0.0 if noise != noise else noise
    return found

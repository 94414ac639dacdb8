"""The one runner: checks the results first, warms up, then lets the contestants run in turn.

A round is one piece of calls of every contestant, one after another, and the next round goes the
other way about, so that what disturbs the machine disturbs all alike. The figures are medians over
the rounds; a ratio is one of medians. The time of the first call (compilation) stands apart.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from .cases import Case
from .computations import RANDOM
from .worker import Contestant

TOLERANCE = 1e-3  # between results, of their size: sums of float32 in different orders
UNCHECKED = (*RANDOM, "sample_gpt")  # whose results are drawn by each library's own generator
Say = Callable[[str], None]


def measure(case: Case, contestants: Sequence[Contestant], rounds: int) -> dict[str, Any]:
    """What each contestant took: {name: {median, best, spread, first}} in seconds, or {error}.

    spread is half the distance between the quartiles, as a share of the median.
    """
    ready, columns, expected = [], {}, None
    for contestant in contestants:
        try:
            answer = contestant.ask("prepare", case)
            if case.op not in UNCHECKED:
                expected = expected or answer["marks"]
                _same(case, contestant.name, expected, answer["marks"])
            ready.append((contestant, answer["calls"]))
            columns[contestant.name] = {"first": answer["first"]}
        except RuntimeError as error:
            columns[contestant.name] = {"error": str(error)}
    seconds: dict[str, list[float]] = {contestant.name: [] for contestant, _ in ready}
    for number in range(rounds):
        for contestant, calls in ready if number % 2 == 0 else ready[::-1]:
            seconds[contestant.name].append(contestant.ask("measure", calls))
    for name, values in seconds.items():
        columns[name] |= summary(values)
    return columns


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, best and spread of some times."""
    median = statistics.median(values)
    quarters = statistics.quantiles(values, n=4) if len(values) > 1 else [median] * 3
    spread = (quarters[2] - quarters[0]) / 2 / median
    return {"median": median, "best": min(values), "spread": spread}


def _same(case: Case, name: str, expected: Any, got: Any) -> None:
    """RuntimeError unless two sides computed the same thing: then no time of theirs compares."""
    for i, (a, b) in enumerate(zip(expected, got, strict=True)):
        apart = abs(a[1] - b[1]) / max(abs(a[1]), 1e-30) + abs(a[2] - b[2])
        if a[0] != b[0] or not apart < TOLERANCE:
            raise RuntimeError(f"{name}: result {i} of {case.name} differs: {a} and {b}")


def ratio(columns: dict[str, Any], name: str, base: str, figure: str = "median") -> float:
    """How many times as fast `name` is as `base`; NaN where one of them has no figure."""
    a, b = (columns.get(n, {}).get(figure, math.nan) for n in (name, base))
    return b / a


def geomean(values: Sequence[float]) -> float:
    """The geometric mean of those that are numbers; NaN of none."""
    logs = [math.log(v) for v in values if v == v and v > 0]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def exponent(xs: Sequence[float], seconds: Sequence[float]) -> float:
    """p of the power law seconds = c · x^p that fits best, by least squares of the logarithms."""
    u, v = [math.log(x) for x in xs], [math.log(s) for s in seconds]
    mean_u, mean_v = statistics.fmean(u), statistics.fmean(v)
    above = sum((a - mean_u) * (b - mean_v) for a, b in zip(u, v, strict=True))
    return above / sum((a - mean_u) ** 2 for a in u)

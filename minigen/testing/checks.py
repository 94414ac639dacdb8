"""run_checks: the gradient properties of ops and models, as `minigen check` prints them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, settings

from ..errors import UsageError, did_you_mean
from .cases import CASES
from .table import Case

__all__ = ["PROFILES", "Row", "run_checks"]

PROFILES = {"dev": 15, "ci": 20, "thorough": 300}  # profile: examples of each case


@dataclass(frozen=True)
class Row:
    """One line of the table: an op or model, how many cases, the worst relative error, verdict.

    verdict  "ok", or the error's text, with Hypothesis' smallest failing case in it.
    """

    name: str
    cases: int
    worst_error: float
    verdict: str
    seconds: float


def check_case(case: Case, device: str = "cpu", **options: object) -> tuple[int, float]:
    """Draw examples of a case and check each there; how many there were, and the worst error."""
    errors = []

    @given(case.examples)
    def check(example):  # type: ignore[no-untyped-def]
        errors.append(example.on(device).check(case.order))

    (settings(**options)(check) if options else check)()  # type: ignore[arg-type]
    return len(errors), max(errors, default=0.0)


def run_checks(
    names: Iterable[str] | None = None, profile: str | None = None, device: str = "cpu"
) -> list[Row]:
    """Check these ops and models (all of them if none is named), the same examples every time.

    profile  "dev" (quick; the default), "ci" or "thorough".
    device   "cpu" or "cuda": where they are computed.
    Raises UsageError, a ValueError, for a name that is neither an op nor a model.
    """
    from .models import MODEL_CASES

    table = {**CASES, **MODEL_CASES}
    names = list(names or table)
    for name in names:
        if name not in table:
            raise UnknownName(
                f"check: there is no op or model {name!r}.{did_you_mean(name, list(table))}"
            )
    if profile not in (None, *PROFILES):
        raise UnknownName(f"check: profile={profile!r} must be one of {', '.join(PROFILES)}")
    return [_row(name, table[name], PROFILES[profile or "dev"], device) for name in names]


class UnknownName(UsageError, ValueError):
    """A name that is in no table."""


def _row(name: str, cases: list[Case], examples: int, device: str) -> Row:
    start, count, worst = time.perf_counter(), 0, 0.0
    for case in cases:
        try:
            done, error = check_case(
                case, device, max_examples=examples, derandomize=True, database=None,
                deadline=None, phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
        except Exception as error:  # whatever an op raises is a failed check, and its text the news
            verdict = f"{case.name}: {type(error).__name__}: {error}"
            return Row(name, count, float("inf"), verdict, time.perf_counter() - start)
        count, worst = count + done, max(worst, error)
    return Row(name, count, worst, "ok", time.perf_counter() - start)

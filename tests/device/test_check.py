"""`minigen check --device cuda`: gradients of ops and models on the device against differences."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase

from minigen.commands import check, warmup
from minigen.errors import MinigenError
from minigen.testing.cases import CASES
from minigen.testing.checks import check_case
from minigen.testing.models import MODEL_CASES

EVERY = [case for table in (CASES, MODEL_CASES) for cases in table.values() for case in cases]

WITHOUT_INPUTS = ("rand", "randn", "uniform", "normal")


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_gradients_on_the_device(case, strict, monkeypatch):
    moved, asarray = [], strict.asarray

    def spy(*given, **options):
        moved.append(given)
        return asarray(*given, **options)

    monkeypatch.setattr(strict, "asarray", spy)
    count, _ = check_case(
        case, "cuda", max_examples=2, derandomize=True, database=None, deadline=None,
        phases=(Phase.generate,), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    assert count == 2 and (moved or case.name in WITHOUT_INPUTS)


@pytest.mark.parametrize("command", [check, warmup])
def test_without_a_gpu_it_is_said_what_is_missing(command, monkeypatch):
    monkeypatch.setattr("minigen.environment.missing_for_cuda", lambda: "no driver: use the CPU")
    with pytest.raises(MinigenError, match="--device cuda: no driver: use the CPU"):
        command.main(["--device", "cuda"])

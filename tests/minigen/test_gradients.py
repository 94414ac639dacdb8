"""Every public op, in every mode: values, first and second gradients at drawn arguments."""

import pytest

from minigen.testing.cases import CASES
from minigen.testing.checks import check_case

pytestmark = pytest.mark.gradients


@pytest.mark.parametrize("case", [c for cases in CASES.values() for c in cases], ids=lambda c: c.name)
def test_gradients(case):
    count, worst = check_case(case)
    assert count > 0 and worst < 1e-7

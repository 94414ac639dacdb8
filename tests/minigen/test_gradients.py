"""Every public op in every mode, and every model: values and gradients at drawn arguments."""

import pytest
from hypothesis import find

from minigen.testing import cases_elementwise, cases_loss, cases_nn, cases_shape
from minigen.testing.cases import CASES
from minigen.testing.checks import check_case
from minigen.testing.models import MODEL_CASES

pytestmark = pytest.mark.gradients


EVERY = [case for table in (CASES, MODEL_CASES) for cases in table.values() for case in cases]


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_gradients(case):
    count, worst = check_case(case)
    assert count > 0 and worst < 1e-7


def test_the_smallest_case_of_two_distributions_is_not_their_equality():
    """There everything but rounding cancels, and a right gradient of 0 would be accused."""
    (case,) = CASES["gaussian_kl"]
    find(case.examples, lambda example: len(example.arrays) == 4).check(case.order)


def test_no_family_s_cases_replace_another_s():
    tables = (cases_elementwise, cases_loss, cases_nn, cases_shape)
    entered = [case for table in tables for cases in table.CASES.values() for case in cases]
    assert sorted(c.name for c in entered) == sorted(c.name for cs in CASES.values() for c in cs)

"""A rule that could be broken without any test failing would be no rule: each one is broken once, and noticed."""

import pytest

from tests.faults.mutants import MUTANTS, caught_by


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MUTANTS))
def test_a_broken_rule_is_noticed(name: str) -> None:
    found = caught_by(name, MUTANTS[name].tests)

    assert found, f"nothing notices that this is not so any more: {MUTANTS[name].rule}"
    print(f"{name}: {found[0]}")

"""Short forms of some scenarios. `make scenarios` runs all of them in full."""

import pytest

from tests.faults.scenarios import run


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize("name", ["another", "edits", "frozen"])
def test_every_event_is_counted_once_whatever_happens(name: str) -> None:
    outcome = run(name, print, short=True)

    assert outcome.events > 0
    assert outcome.same_process

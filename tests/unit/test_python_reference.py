"""The reference of Agents in Python says what the code says."""

import heed.sdk
from heed.sdk import Agent
from heed.sdk.testing import Simulation
from tests.python_reference import TARGET, write_reference


def test_the_page_is_current() -> None:
    assert TARGET.read_text() == write_reference()


def test_each_public_name_is_there_with_its_docstring() -> None:
    text = write_reference()

    assert [name for name in heed.sdk.__all__ if f"### {name}\n" not in text] == []
    for member in (Agent.every, Agent.subscribe, Simulation.crash, Simulation.play):
        assert (member.__doc__ or "?").splitlines()[0] in text
    assert "- **`crash(at: int | None = None)`**: " in text
    assert "- **`meta`**: " in text  # a property


def test_it_shows_nothing_that_changes_from_run_to_run_and_no_private_name() -> None:
    text = write_reference()

    assert " at 0x" not in text
    assert "**`_" not in text
    assert "<class" not in text

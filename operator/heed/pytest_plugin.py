"""The plugin of pytest: fixtures for tests of Agents, wherever Heed is installed.

It is loaded by every run of pytest there, so it imports nothing of Heed before one of its fixtures is used.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from heed.local.nats_server import LocalServer
    from heed.sdk.agent import Agent
    from heed.sdk.testing import Simulation, SimulationFactory

_MADE: pytest.StashKey[list[Simulation]] = pytest.StashKey()  # simulations of the test that runs


@pytest.fixture(scope="session")
def simulation(pytestconfig: pytest.Config) -> SimulationFactory:
    """Make a simulation of Agents: `simulation(agent)`. Where the test fails, its report shows what happened in it.

    It keeps nothing from one test to the next, so that tests of hypothesis can use it.
    """
    from heed.sdk.testing import Simulation

    def make(*agents: Agent | Mapping[str, Any]) -> Simulation:
        made = Simulation(*agents)
        pytestconfig.stash.setdefault(_MADE, []).append(made)
        return made

    return make


@pytest.fixture(scope="session")
def heed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A real nats-server with JetStream at `heed_server.url`, on a free port of the loopback interface, empty at first.

    All tests of a process share it; where there is no nats-server they are skipped.
    """
    from heed.errors import InvalidSettings
    from heed.local.nats_server import find_server
    from heed.local.server_thread import serve_in_thread

    try:
        find_server()
    except InvalidSettings as error:
        pytest.skip(str(error))
    with serve_in_thread(tmp_path_factory.mktemp("heed_server")) as server:
        yield server


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Forget the simulations of the test before."""
    item.config.stash[_MADE] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the simulations of a test that failed; of one of hypothesis the last one, of the falsifying example."""
    report = yield
    if report.when == "call" and report.failed:
        made = item.config.stash.get(_MADE, [])
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            made = made[-1:]
        for one in made:
            report.sections.append((f"simulation of {', '.join(one.names)}", one.transcript()))
    return report

"""Tests of Agents: simulations make the operator's real decisions in memory, with time and crashes in the test's hands.

    def test_it_answers() -> None:
        simulation = Simulation(agent)
        simulation.publish(Asked(topic="tides"), session="q-1")
        simulation.complete(research, "the Moon")
        simulation.assert_emitted(Answered(topic="tides", answer="the Moon"))

`heed.sdk.testing.strategies` has hypothesis strategies of plans, and pytest has the fixtures `simulation` and
`heed_server` wherever Heed is installed.
"""

from importlib.util import find_spec

if find_spec("cel_expr_python") is None:
    message = (
        "heed.sdk.testing makes the operator's decisions and needs CEL; install it: pip install 'heed[dev]'"
    )
    raise ModuleNotFoundError(message, name="cel_expr_python")

from heed.sdk.testing.plan import Action, Advance, Answer, Complete, Crash, Fail, Plan, Publish
from heed.sdk.testing.simulation import DeadLetter, Simulation, SimulationFactory

__all__ = [
    "Action",
    "Advance",
    "Answer",
    "Complete",
    "Crash",
    "DeadLetter",
    "Fail",
    "Plan",
    "Publish",
    "Simulation",
    "SimulationFactory",
]

"""Tests of Agents: simulations make the operator's real decisions in memory, with time and crashes in the test's hands.

    def test_it_answers() -> None:
        simulation = Simulation(agent)
        simulation.publish(Asked(topic="tides"), session="q-1")
        simulation.complete(research, "the Moon")
        simulation.assert_emitted(Answered(topic="tides", answer="the Moon"))

`heed.sdk.testing.strategies` has hypothesis strategies of plans, and pytest has the fixtures `simulation` and
`heed_server` wherever Heed is installed.
"""

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

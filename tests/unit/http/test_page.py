"""The page on http tasks: its manifests are valid, its Python is their twin, and it explains each reason."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from heed.api.policy import parse_policy
from heed.api.validation import parse_agent
from heed.cli.main import main
from heed.core.compiler.program import compile_agent
from heed.core.events import Event
from heed.core.policy.permissions import resolve_permissions
from heed.sdk.loading import load_agent
from heed.sdk.manifest import build_agent
from heed.sdk.testing import Simulation
from heed.worker.http import failures
from tests.markdown import ROOT, blocks

PAGE = (ROOT / "docs/http.md").read_text()
AGENT, POLICY, LATER = map(yaml.safe_load, blocks(PAGE, "yaml"))
(RECONCILED,) = map(yaml.safe_load, blocks(PAGE, "text"))


@pytest.fixture
def twin(tmp_path: Path) -> Any:
    """The Agent in Python."""
    (code,) = blocks(PAGE, "python")
    (tmp_path / "agent.py").write_text(code)
    return load_agent(str(tmp_path / "agent.py"))


def test_the_manifests_are_valid_and_the_policy_allows_the_call() -> None:
    agent = parse_agent(AGENT)
    may = resolve_permissions(agent.metadata, [parse_policy({**POLICY, "metadata": {"name": "calls"}})])

    assert compile_agent(agent, may).tasks["charge"].repeatable
    reconciled = compile_agent(parse_agent({**AGENT, "spec": {**AGENT["spec"], "tasks": RECONCILED}}))
    assert not reconciled.tasks["charge"].repeatable


def test_the_agent_in_python_has_the_same_task(twin: Any) -> None:
    ours = compile_agent(parse_agent(build_agent(twin))).tasks["charge"]
    theirs = compile_agent(parse_agent(AGENT)).tasks["charge"]

    assert (ours.template.shape, ours.retry, ours.timeout) == (
        theirs.template.shape,
        theirs.retry,
        theirs.timeout,
    )


@pytest.mark.parametrize("kind", ["manifest", "python"])
@pytest.mark.parametrize(
    ("end", "emitted"),
    [
        ({"result": {"paid": True, "charge": "ch-1"}}, ("com.example.order.charged", {"paid": True})),
        ({"reason": "HttpStatus"}, ("com.example.order.stuck", {"reason": "HttpStatus"})),
    ],
)
def test_both_say_the_same_of_an_order(twin: Any, kind: str, end: Any, emitted: Any) -> None:
    simulation = Simulation(twin if kind == "python" else AGENT)
    data = {"order": "o-1", "cents": 100}
    simulation.publish(
        Event("1", "/shop", "com.example.order.placed", data, datacontenttype="application/json")
    )
    if "result" in end:
        simulation.complete("charge", end["result"])
    else:
        for _ in range(5):
            simulation.fail("charge", end["reason"])
            simulation.advance("1m")

    (event,) = simulation.emitted
    assert (event.type, event.data) == (emitted[0], {"order": "o-1", **emitted[1]})


@pytest.mark.parametrize(
    ("settled", "emitted"),
    [
        (True, ("com.example.transfer.done", {"reference": "t-1"})),
        (False, ("com.example.transfer.stuck", {"reference": "t-1", "reason": "NeverSettled"})),
    ],
)
def test_a_service_may_answer_later(settled: bool, emitted: tuple[str, Any]) -> None:
    simulation = Simulation(LATER)
    wanted = {"reference": "t-1", "cents": 5}
    simulation.publish(
        Event("1", "/shop", "com.example.transfer.wanted", wanted, datacontenttype="application/json")
    )
    simulation.complete("order", {"status": 202, "headers": {}})
    if settled:
        simulation.publish(
            Event(
                "2",
                "/bank",
                "com.example.bank.settled",
                {"reference": "t-1"},
                datacontenttype="application/json",
            )
        )
    simulation.advance("3h")

    assert [(event.type, event.data) for event in simulation.emitted] == [emitted]


def test_a_simulation_shows_what_is_called(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text(yaml.safe_dump(AGENT))
    placed = '{"type": "com.example.order.placed", "data": {"order": "o-1", "cents": 1}}'
    (tmp_path / "events.jsonl").write_text(placed)
    words = ["simulate", "-f", str(tmp_path / "agent.yaml"), str(tmp_path / "events.jsonl")]

    assert "calls https://payments.example.com/v1/charges" in CliRunner().invoke(main, words).output


def test_each_reason_of_a_failure_is_explained() -> None:
    reasons = {
        value
        for name, value in vars(failures).items()
        if name.isupper() and isinstance(value, str) and value[:1].isupper()
    }
    rows = "".join(re.findall(r"^\| (`.*?`) \|", PAGE, re.MULTILINE))

    assert reasons <= set(re.findall("`(.+?)`", rows))

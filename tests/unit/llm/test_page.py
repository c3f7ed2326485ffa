"""The page on models: its Agent is valid, its test passes, and it explains each field and each reason."""

import re
from typing import Any

import pytest
import yaml

from heed.api.llm_task import LlmSpec, ModelBudgetSpec
from heed.api.validation import parse_agent
from heed.core.compiler.lint import lint_agent
from heed.core.compiler.program import compile_agent
from heed.core.events import Event
from heed.core.llm.model_answer import FailureReason
from heed.sdk.testing import Simulation
from tests.markdown import ROOT, blocks

PAGE = (ROOT / "docs/llm.md").read_text()
(AGENT,) = map(yaml.safe_load, blocks(PAGE, "yaml"))


def test_the_agent_is_valid() -> None:
    agent = parse_agent(AGENT)

    assert compile_agent(agent).tasks["answer"].kind == "llm" and lint_agent(agent) == []


def test_the_test_of_the_page_passes() -> None:
    (code,) = blocks(PAGE, "python")
    found: dict[str, Any] = {}
    exec(code, found)

    found["test_a_customer_is_answered"](AGENT)


def test_a_refund_that_is_rejected_goes_back_to_the_model() -> None:
    simulation = Simulation(AGENT)
    simulation.publish(
        Event("1", "/shop", "com.example.support.asked", {"text": "Pay!"}, datacontenttype="application/json")
    )
    simulation.turn("answer", ("refund", {"order": "7", "cents": 300}), tokens=90)

    simulation.fail("refund", "Rejected")

    (record,) = [item for item in simulation.pending() if item.task == "answer"]
    assert record.attempt == 2 and record.tools is None
    simulation.fail("answer", "RateLimited")
    assert isinstance(data := simulation.emitted[0].data, dict) and data["reason"] == "RateLimited"


@pytest.mark.parametrize(
    "name",
    [field.alias for model in (LlmSpec, ModelBudgetSpec) for field in model.model_fields.values()],
)
def test_each_field_is_explained(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_each_reason_of_a_failure_is_explained() -> None:
    rows = "".join(re.findall(r"^\| (`.*?`) \|", PAGE, re.MULTILINE))

    assert {reason.value for reason in FailureReason} <= set(re.findall("`(.+?)`", rows))

"""Tasks of models in a manifest: what is wrong with one is said with its field and a remedy."""

from typing import Any

import pytest

from heed.api.policy import closed_policy, parse_policy
from heed.api.validation import parse_agent
from heed.core.compiler.program import compile_agent
from heed.core.llm.budget import Limit, SharedLimits
from heed.core.policy.permissions import resolve_permissions
from heed.errors import PolicyViolation
from tests.builders.agents import job, manifest, nap, problems
from tests.builders.turns import model_spec

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


def asking_model_spec(spec: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """An Agent with a task that asks a model, and tools."""
    tasks = {"lookup": job(), "refund": nap("1m"), "pause": nap("1m")}
    return manifest({}, tasks={"ask": {"llm": model_spec(**(spec or {})), **more}, **tasks})


def found(spec: dict[str, Any] | None = None, **more: Any) -> list[tuple[str, str]]:
    """Where what is wrong."""
    return [(item.path, item.message) for item in problems(asking_model_spec(spec, **more))]


def test_a_task_that_asks_a_model_is_compiled_with_its_template() -> None:
    program = compile_agent(
        parse_agent(asking_model_spec({"output": SCHEMA, "price": {"input": "1", "output": "2.5"}}))
    )

    task = program.tasks["ask"]
    assert task.kind == "llm" and task.template.shape["baseURL"] == "https://models.example.com/v1"
    assert [path for path, _ in task.template.expressions] == [".messages[0].text"]


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        ({"tools": [{"task": "nothing"}]}, "llm.tools[0].task", 'unknown task "nothing"'),
        ({"tools": [{"task": "ask"}]}, "llm.tools[0].task", "ask is ask itself, or calls it"),
        (
            {"tools": [{"task": "pause"}, {"task": "refund", "name": "pause"}]},
            "llm.tools[1].name",
            "there twice",
        ),
        (
            {"tools": [{"task": "pause", "input": {"type": "string"}}]},
            "llm.tools[0].input",
            "no schema of an object",
        ),
        ({"tools": [{"task": "pause", "name": "a b"}]}, "llm.tools[0].name", ""),
        ({"toolChoice": "other"}, "llm.toolChoice", "there is no tool other"),
        ({"baseURL": "ftp://x"}, "llm.baseURL", "no http:// or https:// URL"),
        ({"baseURL": "https://me:pw@x.example"}, "llm.baseURL", "holds a user or a password"),
        ({"budget": {"cost": "1.00"}}, "llm.budget.cost", "nothing says what tokens cost"),
        ({"budget": {"cost": "1,5"}, "price": {"input": "1", "output": "1"}}, "llm.budget.cost", ""),
        ({"messages": []}, "llm.messages", ""),
        ({"messages": [{"role": "user"}]}, "llm.messages[0]", "exactly one of text and parts"),
        ({"output": {"type": "nothing"}}, "llm.output", ""),
        ({"headers": [{"name": "Host", "value": "x"}]}, "llm.headers[0].name", "HTTP's own"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(spec: dict[str, Any], path: str, message: str) -> None:
    ((place, said), *_) = found(spec)

    assert place == f"spec.tasks.ask.{path}" and message in said


def test_two_models_cannot_call_each_other_for_ever() -> None:
    tasks = {
        "one": {"llm": model_spec(tools=[{"task": "two"}])},
        "two": {"llm": model_spec(tools=[{"task": "one"}])},
        "three": {"llm": model_spec(tools=[{"task": "four"}])},
        "four": {"llm": model_spec(tools=[])},
    }

    places = [item.path for item in problems(manifest({}, tasks=tasks))]

    assert places == ["spec.tasks.one.llm.tools[0].task", "spec.tasks.two.llm.tools[0].task"]


def test_retries_and_credentials_of_jobs_are_refused() -> None:
    assert found(retry={"attempts": 2}) == [
        ("spec.tasks.ask.retry", "a call of a model that may pass is made again by itself")
    ]
    assert found(publish=True) == [("spec.tasks.ask.publish", "is for jobs only")]


def test_policies_say_which_endpoints_may_be_asked() -> None:
    agent = parse_agent(asking_model_spec())

    def under(host: str) -> None:
        policy = {
            "apiVersion": "heed.dev/v1alpha1",
            "kind": "AgentPolicy",
            "metadata": {"name": "p", "namespace": "demo"},
            "spec": {"agentSelector": {}, "egress": [{"host": host}]},
        }
        compile_agent(agent, resolve_permissions(agent.metadata, [parse_policy(policy)]))

    under("models.example.com")
    with pytest.raises(PolicyViolation, match=r"llm\.baseURL"):
        under("other.example.com")


def test_budgets_of_agent_and_policies_become_limits() -> None:
    document = asking_model_spec()
    document["spec"]["modelBudgets"] = {"session": {"turns": 1000}, "day": {"cost": "2.50", "toolCalls": 0}}
    policies = [
        parse_policy(
            {
                "apiVersion": "heed.dev/v1alpha1",
                "kind": "AgentPolicy",
                "metadata": {"name": name, "namespace": "demo"},
                "spec": {"agentSelector": {}, "limits": {"model": limits}},
            }
        )
        for name, limits in (
            ("thrifty", {"tokensPerDay": 5, "costPerDay": "0.000001"}),
            ("calm", {"turnsPerDay": 7, "toolCallsPerDay": 8}),
        )
    ]
    agent = parse_agent(document)

    limits = compile_agent(agent, resolve_permissions(agent.metadata, policies)).shared_limits

    assert limits == SharedLimits(
        session=Limit(turns=1000),
        day=Limit(cost=25 * 10**11, tool_calls=0),
        policies={"demo/thrifty": Limit(tokens=5, cost=10**6), "demo/calm": Limit(turns=7, tool_calls=8)},
    )


def test_an_agent_under_a_policy_that_cannot_be_read_asks_no_model() -> None:
    document = {
        "apiVersion": "heed.dev/v1alpha1",
        "kind": "AgentPolicy",
        "metadata": {"name": "broken", "namespace": "demo"},
        "spec": {"agentSelector": {}},
    }

    limits = closed_policy(document).spec.limits

    assert limits is not None and limits.model is not None and limits.model.tokens_per_day == 0

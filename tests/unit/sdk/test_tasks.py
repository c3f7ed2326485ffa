"""Tasks: their input by a function's signature, their results, and what the manifest says of them."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from heed.sdk import Agent, Backoff, DeclarationError, Resource, Start, TaskContext, TaskOptions
from heed.sdk.errors import CodeError


class Topic(BaseModel):
    """A topic."""

    name: str
    depth: int | None = None


class Answer(BaseModel):
    """An answer."""

    text: str


agent = Agent("a")


@agent.task(
    timeout="10m", retries=3, retry_on=["Evicted"], priority=5, max_concurrent=2, attempt_timeout="1m"
)
async def look_up(
    topic: Topic,
    task: TaskContext,
    client: Annotated[str, Resource(str)],
    *,
    tries: int = 2,
    tags: list[str] | None = None,
) -> Answer:
    task.progress("half")
    return Answer(text=f"{topic.name} {tries}")


lookup = agent.job("lookup", image="example/lookup:1", command=["look"], input=Topic, result=Answer)
free = agent.job("free", spec={"template": {}})


def test_the_input_is_the_signature_without_what_is_injected() -> None:
    start = look_up.start(topic=Topic(name="tides"))

    assert start == Start("look-up", {"topic": {"name": "tides"}, "tries": 2}, None)
    assert look_up.start(topic={"name": "x"}, tries=3, task_priority=9) == Start(
        "look-up", {"topic": {"name": "x"}, "tries": 3}, 9
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "task look-up: topic: field required"),
        ({"topic": {"name": 1}}, "task look-up: topic.name: input should be a valid string"),
        ({"topic": {"name": "x"}, "task": 1}, "task look-up: task: extra inputs are not permitted"),
        ({"topic": {"name": "x"}, "try": 1}, "task look-up: try: extra inputs are not permitted"),
    ],
)
def test_an_input_that_does_not_fit_is_bad_input(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CodeError) as caught:
        look_up.start(**arguments)

    assert (caught.value.code, caught.value.message) == ("BadInput", message)


def test_a_worker_gets_the_arguments_back_as_their_types() -> None:
    assert look_up.parse_input({"topic": {"name": "x"}, "tries": 5}) == {
        "topic": Topic(name="x"),
        "tries": 5,
        "tags": None,
    }
    with pytest.raises(CodeError, match="task look-up: topic: field required"):
        look_up.parse_input(None)


async def test_a_task_is_still_its_function() -> None:
    said: list[Any] = []

    answer = await look_up(Topic(name="x"), TaskContext(say=said.append), "client")

    assert (answer, said) == (Answer(text="x 2"), ["half"])
    TaskContext().progress("nothing hears it")


def test_a_job_takes_one_value() -> None:
    assert lookup.start(Topic(name="x")) == Start("lookup", {"name": "x"}, None)
    assert lookup.start({"name": "x", "depth": 1}, priority=3) == Start(
        "lookup", {"name": "x", "depth": 1}, 3
    )
    assert free.start([1]) == Start("free", [1], None)
    assert free.start() == Start("free", None, None)
    with pytest.raises(CodeError, match="task lookup: name: field required") as caught:
        lookup.start({})
    assert caught.value.code == "BadInput"


def test_results_are_of_the_declared_type() -> None:
    assert look_up.parse_result({"text": "x"}) == Answer(text="x")
    assert look_up.dump_result(Answer(text="x")) == {"text": "x"}
    assert free.parse_result([1, "x"]) == [1, "x"]
    with pytest.raises(CodeError, match="the result of task lookup: text: field required") as caught:
        lookup.parse_result({})
    assert caught.value.code == "BadResult"


def test_the_manifest_of_a_function() -> None:
    assert look_up.manifest() == {
        "timeout": "10m",
        "attemptTimeout": "1m",
        "maxConcurrent": 2,
        "priority": 5,
        "retry": {"attempts": 4, "reasons": ["Evicted"]},
        "function": {"name": "look_up"},
    }


def test_options_of_other_tasks() -> None:
    options = TaskOptions(retries=1, backoff=Backoff("1s", max="1m"), retention="5m", publish=True)

    made = Agent("b").job("job", spec={}, options=options)

    assert made.manifest() == {
        "retention": "5m",
        "publish": True,
        "retry": {"attempts": 2, "backoff": {"initial": "1s", "factor": 2, "max": "1m", "jitter": 0.1}},
        "job": {},
    }
    with pytest.raises(DeclarationError, match="is no duration"):
        Backoff(max="long")


def test_the_manifest_of_a_job_meets_the_restricted_profile() -> None:
    assert lookup.manifest() == {
        "job": {
            "backoffLimit": 0,
            "template": {
                "spec": {
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [
                        {
                            "name": "main",
                            "image": "example/lookup:1",
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "command": ["look"],
                        }
                    ],
                }
            },
        }
    }


def test_the_manifests_of_other_kinds() -> None:
    other = Agent("b")
    wait = other.wait("wait", duration="1h")
    until = other.wait("until", until="${input.at}")
    ask = other.approval("ask", title="?", choices=["yes", "no"], users=["ann"], timeout="1d", fields=Answer)
    made = other.resource("made", template={"kind": "X"}, succeeded="true", outcome="object.status")

    assert wait.manifest() == {"wait": {"for": "1h"}}
    assert until.manifest() == {"wait": {"until": "${input.at}"}}
    assert ask.manifest() == {
        "timeout": "1d",
        "approval": {
            "title": "?",
            "choices": [{"name": "yes"}, {"name": "no"}],
            "fields": Answer.model_json_schema(),
            "approvers": {"users": ["ann"]},
        },
    }
    assert made.manifest() == {
        "resource": {"template": {"kind": "X"}, "succeeded": "true", "result": "object.status"}
    }


def test_what_cannot_be_declared() -> None:
    other = Agent("b")
    other.wait("wait", duration="1h")

    def variadic(*args: int) -> None: ...

    with pytest.raises(DeclarationError, match='there is a task "wait" already; rename one'):
        other.wait("wait", duration="1h")
    with pytest.raises(DeclarationError, match="is no name of a task"):
        other.wait("No", duration="1h")
    with pytest.raises(DeclarationError, match="is no name of a task"):
        other.wait("a" * 41, duration="1h")
    with pytest.raises(DeclarationError, match="give either a duration or until"):
        other.wait("both", duration="1h", until="x")
    with pytest.raises(DeclarationError, match="give either an image or a spec"):
        other.job("none")
    with pytest.raises(DeclarationError, match=r"task variadic: \*args: int cannot be named in an input"):
        other.task()(variadic)
    with pytest.raises(DeclarationError, match="is no duration"):
        TaskOptions(timeout="soon")
    assert list(other.tasks) == ["wait"]

"""`spec.worker` as authors write it: its mistakes are told with field and remedy, and policies hold for its pods."""

from __future__ import annotations

from typing import Any

import pytest

from heed.api.validation import parse_agent
from heed.core.compiler.authorization import check_permissions
from heed.errors import Problem
from tests.builders.agents import manifest, problems, program
from tests.builders.policies import allowed_by, policy

WORKER = {"name": "worker", "image": "researcher:1"}
CALL = {"name": "begin", "call": {"function": "begin"}}


def written(template: Any = None, **worker: Any) -> dict[str, Any]:
    more = {} if template is None else {"template": template}
    return manifest(CALL, worker={"digest": "0123456789abcdef", **more, **worker})


def template(*containers: Any, **pod: Any) -> dict[str, Any]:
    return {"spec": {"containers": list(containers), **pod}}


def told(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(item.path, item.message) for item in problems(document)]


@pytest.mark.parametrize(
    "document",
    [
        written(),
        written(address="External"),
        written(template(WORKER)),
        written(template({**WORKER, "name": "any"}), replicas=0),
        written(template({"name": "proxy", "image": "proxy:1"}, WORKER), replicas=3),
        written({**template(WORKER, restartPolicy="Always"), "metadata": {"labels": {"team": "blue"}}}),
    ],
)
def test_these_are_right(document: dict[str, Any]) -> None:
    assert program(CALL, worker=document["spec"]["worker"]).code == "0123456789abcdef"


@pytest.mark.parametrize(
    ("document", "path", "message"),
    [
        (written(replicas=1), "spec.worker.replicas", "has no meaning without `template`"),
        (written(template(WORKER), address="External"), "spec.worker.address", "is given beside `template`"),
        (written({}), "spec.worker.template.spec.containers", "there is no container"),
        (written({"spec": {}}), "spec.worker.template.spec.containers", "there is no container"),
        (
            written(template({"name": "a", "image": "a"}, {"name": "b", "image": "b"})),
            "spec.worker.template.spec.containers",
            "none of several is called worker",
        ),
        (
            written(template(WORKER, restartPolicy="Never")),
            "spec.worker.template.spec.restartPolicy",
            "Never is for Jobs: workers go on for ever",
        ),
        (
            written(template({**WORKER, "image": 3})),
            "spec.worker.template.spec.containers[0].image",
            "is a whole number (3), not a string",
        ),
    ],
)
def test_a_mistake_is_told_with_its_field(document: dict[str, Any], path: str, message: str) -> None:
    assert told(document) == [(path, message)]


def test_policies_on_images_and_service_accounts_hold_for_workers() -> None:
    agent = parse_agent(written(template(WORKER, serviceAccountName="root")))
    found: list[Problem] = []
    images = policy("images", tasks={"images": ["trusted/*"]})
    check_permissions(found, agent, allowed_by(images))
    accounts = policy("accounts", tasks={"serviceAccounts": ["default"]})
    check_permissions(found, agent, allowed_by(accounts))
    check_permissions(found, parse_agent(written(template(WORKER))), allowed_by(accounts))

    assert [(item.path, item.message) for item in found] == [
        (
            "spec.worker.template",
            "AgentPolicy demo/images allows no image researcher:1; allowed: trusted/*",
        ),
        (
            "spec.worker.template",
            "AgentPolicy demo/accounts allows no service account root; allowed: default",
        ),
    ]

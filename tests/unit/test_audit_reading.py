"""What the end-to-end tests conclude from the API server's audit log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.rights import Request, Right, covers, requests, rights, table

USER = "system:serviceaccount:system:heed"
CLUSTER_ROLE = {
    "kind": "ClusterRole",
    "rules": [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list"]}],
}
ROLE = {
    "kind": "Role",
    "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["keys"], "verbs": ["get"]}],
}


def entry(user: str = USER, decision: str = "allow", **target: str) -> dict[str, Any]:
    """A line of the log."""
    return {
        "user": {"username": user},
        "verb": "get",
        "requestURI": "/uri",
        "objectRef": {"apiGroup": "batch", "resource": "jobs", **target},
        "annotations": {"authorization.k8s.io/decision": decision},
        "requestReceivedTimestamp": "2026-11-22T18:00:00.000000Z",
    }


def asked(resource: str = "jobs", group: str = "batch", verb: str = "get", **where: str) -> Request:
    return Request(
        group, resource, verb, where.get("namespace", ""), where.get("name", ""), "/uri", True, "now"
    )


def test_requests_of_others_are_left_out_and_refusals_seen(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    lines = [entry(subresource="status"), entry(decision="forbid"), entry(user=USER + "-test")]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))

    found = list(requests(log, USER))

    assert [(request.resource, request.allowed) for request in found] == [
        ("jobs/status", True),
        ("jobs", False),
    ]


def test_a_role_is_a_set_of_verbs_on_resources() -> None:
    assert rights([CLUSTER_ROLE, ROLE]) == {
        Right("everywhere", "batch", "jobs", "get"),
        Right("everywhere", "batch", "jobs", "list"),
        Right("own namespace", "", "secrets", "get", ("keys",)),
    }


@pytest.mark.parametrize(
    ("right", "request_", "needed"),
    [
        (Right("everywhere", "batch", "jobs", "get"), asked(namespace="demo"), True),
        (Right("everywhere", "batch", "jobs", "list"), asked(namespace="demo"), False),
        (Right("everywhere", "batch", "jobs/status", "get"), asked(namespace="demo"), False),
        (Right("everywhere", "", "jobs", "get"), asked(namespace="demo"), False),
        (Right("own namespace", "batch", "jobs", "get"), asked(namespace="system"), True),
        (Right("own namespace", "batch", "jobs", "get"), asked(namespace="demo"), False),
        (Right("everywhere", "batch", "jobs", "get", ("a",)), asked(name="a"), True),
        (Right("everywhere", "batch", "jobs", "get", ("a",)), asked(name="b"), False),
    ],
)
def test_which_right_a_request_needed(right: Right, request_: Request, needed: bool) -> None:
    assert covers(right, request_, "system") is needed


def test_the_table_has_a_row_for_each_resource_and_place() -> None:
    rows = table(rights([CLUSTER_ROLE, ROLE])).splitlines()[2:]

    assert [row.split(" | ")[:3] for row in rows] == [
        ["| `secrets`", "get", "own namespace, named `keys`"],
        ["| `jobs` (batch)", "get, list", "everywhere"],
    ]

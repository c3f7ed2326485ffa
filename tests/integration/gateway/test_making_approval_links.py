"""Approval links are made over HTTP, for senders that may make them, to approvals that wait."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heed.bus.client.connection import Connection
from tests.builders.agents import AGENT, NAMESPACE
from tests.builders.approvals import an_answer
from tests.builders.events import at
from tests.integration.gateway.link_rig import (
    AGENT_PATH,
    GATEWAY_USER,
    NOTIFIER,
    TOKEN,
    Links,
    answered,
    ended,
    link_rig,
    with_session,
)


@pytest.fixture
async def links(connection: Connection, tmp_path: Path) -> AsyncIterator[Links]:
    """One approval waits that asks for nothing but a choice."""
    async with link_rig(connection, tmp_path, details="**Why**: <i>so</i>") as rig:
        yield rig


async def test_a_sender_whom_rbac_lets_gets_a_link(links: Links) -> None:
    status, made = await links.mint(**{"for": "kim@example.com", "valid": "90m"})

    assert status == 201
    assert {key: made[key] for key in ("namespace", "agent", "task", "for", "title")} == {
        "namespace": NAMESPACE,
        "agent": AGENT,
        "task": links.task,
        "for": "kim@example.com",
        "title": "Buy it?",
    }
    assert made["url"].startswith(f"{links.origin}/v1/approvals/")
    (review,) = links.reviews
    assert review == {
        "user": NOTIFIER,
        "groups": ["g"],
        "resourceAttributes": {
            "namespace": NAMESPACE,
            "verb": "create",
            "group": "heed.dev",
            "resource": "approvalanswers",
            "subresource": "links",
        },
    }


async def test_others_get_none(links: Links) -> None:
    for verdict in ({"allowed": False}, {}, {"allowed": True, "denied": True}):
        links.verdict = verdict
        status, problem = await links.mint()
        assert (status, problem["code"]) == (403, "NotAllowed")
        assert (
            f"{NOTIFIER} may not create approvalanswers/links in namespace {NAMESPACE}" in problem["detail"]
        )
    assert [(await links.mint(token=token))[0] for token in (None, "x", "x.y.z")] == [401, 401, 401]
    assert len(links.reviews) == 3


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"for": "a]"}, "for: may hold printable characters of one line without [ and ]"),
        ({"for": "a\nb"}, "for: may hold"),
        ({"for": "x" * 129}, "for: is longer than 128"),
        ({"valid": "0s"}, "valid: has to be from 1s to 30d"),
        ({"valid": "30d1s"}, "valid: has to be from 1s to 30d"),
        ({"valid": "soon"}, "valid: 'soon' does not fit"),
        ({"until": "1d"}, "until: there is no such field"),
        ({"for": 7}, "for: "),
    ],
)
async def test_what_a_link_cannot_be_is_named(links: Links, body: dict[str, Any], detail: str) -> None:
    status, problem = await links.mint(**body)

    assert (status, problem["code"]) == (400, "BadRequest")
    assert detail in problem["detail"]


@pytest.mark.parametrize("valid", ["1s", "30d"])
async def test_a_link_is_good_from_a_second_to_thirty_days(links: Links, valid: str) -> None:
    assert (await links.mint(valid=valid))[0] == 201


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"[]", 400), (b"7", 400), (b"{", 400), (b"\xff", 400), (b"", 201), (b" " * 4097, 413)],
)
async def test_what_is_no_request_for_a_link_is_refused(links: Links, body: bytes, status: int) -> None:
    path = f"/v1/approvals/{NAMESPACE}/{AGENT}/buy/links"
    headers = {"Authorization": f"Bearer {TOKEN}"}

    async with links.gateway.http.post(path, data=body, headers=headers) as response:
        assert (response.status, response.content_type) == (
            status,
            "application/json" if status == 201 else "application/problem+json",
        )


@pytest.mark.parametrize("path", ["Demo/researcher", "demo/Researcher", "demo/..", "demo/a%2Fb"])
async def test_an_agent_that_can_have_no_such_name_is_looked_for_nowhere(links: Links, path: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with links.gateway.http.post(f"/v1/approvals/{path}/buy/links", headers=headers) as response:
        assert response.status == 404
    assert links.api.count("GET") == 0


async def test_the_task_may_be_named_by_the_beginning_of_its_id_and_by_its_session(links: Links) -> None:
    other = f"{links.task[:-1]}{'0' if links.task[-1] != '0' else '1'}"
    assert (await links.mint("buy"))[1]["task"] == links.task
    links.show(with_session(links.ledger, links.task, other, "another"))

    status, problem = await links.mint("buy")
    assert (status, problem["code"], problem["tasks"]) == (409, "Ambiguous", sorted([links.task, other]))
    assert (await links.mint("buy", session="another"))[1]["task"] == other
    assert (await links.mint(links.task))[1]["task"] == links.task
    assert (await links.mint("buy", session="none"))[1]["code"] == "NoSuchApproval"
    longer = f"{links.task}0"
    links.show(with_session(links.ledger, links.task, longer, "another"))
    assert (await links.mint(links.task))[1]["task"] == links.task


async def test_what_does_not_wait_gets_no_link(links: Links) -> None:
    status, problem = await links.mint("sell")
    assert (status, problem["code"]) == (404, "NoSuchApproval")

    given = an_answer("reject", "lee")
    links.show(answered(links, given))
    status, problem = await links.mint()
    assert (status, problem["code"]) == (409, "TaskEnded")
    assert "lee answered reject" in problem["detail"]

    links.api.remove(AGENT_PATH)
    status, problem = await links.mint()
    assert (status, problem["code"]) == (404, "NoSuchAgent")


@pytest.mark.parametrize(
    ("reason", "how", "shown"),
    [
        (
            None,
            "nobody had answered in time, and onTimeout chose",
            "Nobody had answered in time, and it was decided",
        ),
        ("DeadlineExceeded", "DeadlineExceeded", "It ended without an answer (DeadlineExceeded)."),
    ],
)
async def test_an_approval_that_ended_without_an_answer_says_how(
    links: Links, reason: str | None, how: str, shown: str
) -> None:
    path = await links.link()
    links.show(ended(links.ledger, links.task, reason))

    status, problem = await links.mint()
    assert (status, problem["detail"]) == (409, f"{links.task} ended at {at(60)}: {how}")
    status, html = await links.get(path)
    assert (status, shown in html, "<dt>Ended on</dt>" in html) == (410, True, True)


async def test_an_approval_that_nobody_remembers_is_over(links: Links) -> None:
    path = await links.link()
    links.show(replace(ended(links.ledger, links.task, None), recent_tasks=()))

    status, html = await links.get(path)

    assert (status, "There is nothing left to answer." in html) == (410, True)


async def test_where_the_gateway_is_no_approver_a_link_would_be_useless(
    connection: Connection, tmp_path: Path
) -> None:
    async with link_rig(connection, tmp_path, approvers={"groups": ["purchasing"]}) as links:
        status, problem = await links.mint()

    assert (status, problem["code"]) == (409, "NotAnApprover")
    assert problem["detail"].endswith(f"name the gateway in approvers.users: {GATEWAY_USER}")

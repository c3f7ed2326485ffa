"""The page of an approval link: what it shows, that opening it changes nothing, and that it answers once."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from heed.bus.client.connection import Connection
from heed.gateway.approvals import answering
from tests.builders.agents import AGENT, UID
from tests.builders.approvals import an_answer
from tests.integration.gateway.link_rig import (
    AGENT_PATH,
    GATEWAY_GROUPS,
    GATEWAY_USER,
    Links,
    answered,
    link_rig,
)
from tests.integration.waiting import until
from tests.patience import PATIENCE


@pytest.fixture
async def links(connection: Connection, tmp_path: Path) -> AsyncIterator[Links]:
    """One approval waits that asks for nothing but a choice."""
    async with link_rig(connection, tmp_path, details="**Why**: <i>so</i>") as rig:
        yield rig


async def test_the_page_shows_what_is_asked_and_is_kept_from_others(links: Links) -> None:
    path = await links.link(**{"for": "Kim <kim@example.com>"})

    async with links.gateway.http.get(path) as response:
        html, headers = await response.text(), response.headers

    assert response.status == 200
    for part in (
        '<html lang="en">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        "<h1><bdi>Buy it?</bdi></h1>",
        "<strong>Why</strong>: &lt;i&gt;so&lt;/i&gt;",
        'type="radio" name="choice" value="approve" required',
        "<bdi>Reject</bdi>",
        "Kim &lt;kim@example.com&gt;",
        '<label class="label" for="comment">',
    ):
        assert part in html
    assert "<script" not in html and "http://" not in html and "style=" not in html
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    for part in ("form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"):
        assert part in policy
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["X-Robots-Tag"].startswith("noindex, nofollow")
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Type"] == "text/html; charset=utf-8"


async def test_a_mail_scanner_that_opens_a_link_changes_nothing(links: Links) -> None:
    path = await links.link()
    links.api.asked.clear()

    for method, headers in (
        ("GET", {}),
        ("HEAD", {}),
        ("OPTIONS", {}),
        ("GET", {"Sec-Purpose": "prefetch", "Purpose": "prefetch"}),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Referer": "https://mail.example"}),
        ("PUT", {}),
        ("DELETE", {}),
    ):
        async with links.gateway.http.request(method, path, headers=headers) as response:
            assert response.status == (200 if method in ("GET", "HEAD") else 405)
    async with links.gateway.http.get(f"{path}?choice=approve&comment=x") as response:
        assert response.status == 200

    assert {method for method, asked in links.api.asked if "subject" not in asked} == {"GET"}
    assert links.answers == []
    assert (await links.post(path, choice="approve"))[0] == 303


async def test_what_is_no_link_shows_nothing(links: Links) -> None:
    path = await links.link()
    links.api.asked.clear()

    for wrong in (path[:-1], path + "A", path.replace(".", "%2E.", 1), "/v1/approvals/x", "/v1/approvals/ä"):
        for method in ("GET", "POST"):
            async with links.gateway.http.request(method, wrong) as response:
                html = await response.text()
                assert (response.status, response.content_type) == (404, "text/html"), wrong
                assert "There is nothing here" in html and "Buy it?" not in html

    assert links.api.asked == []


async def test_an_expired_link_answers_nothing(links: Links) -> None:
    path = await links.link(valid="2m")
    proof = await links.proof(path)

    with patch.object(answering, "unix_time", lambda: time.time() + 121):
        status, html = await links.get(path)
        sent, _, _ = await links.post(path, proof=proof, choice="approve")

    assert (status, "This link has expired" in html, sent) == (410, True, 410)
    assert links.answers == []


async def test_a_link_to_an_agent_that_was_made_anew_is_over(links: Links) -> None:
    path = await links.link()
    links.api.edit(AGENT_PATH, metadata={"uid": "another"})

    status, html = await links.get(path)

    assert (status, "This approval is over" in html) == (410, True)


# --- answered ----------------------------------------------------------------------------------------------------


async def test_an_answer_is_the_gateways_and_says_whose_link_it_was(links: Links) -> None:
    path = await links.link(**{"for": "kim@example.com"})

    status, _, response = await links.post(path, choice="reject", comment=" [link for lee]\r\ntoo dear ")

    assert (status, response.headers["Location"]) == (303, f"./{path.rpartition('/')[2]}")
    assert response.headers["Cache-Control"] == "no-store"
    (answer,) = links.answers
    assert answer["spec"] == {
        "agent": AGENT,
        "task": links.task,
        "choice": "reject",
        "fields": {},
        "comment": "[link for kim@example.com] [link for lee]\ntoo dear",
        "user": GATEWAY_USER,
        "groups": GATEWAY_GROUPS,
    }
    assert answer["metadata"]["ownerReferences"] == [
        {"apiVersion": "heed.dev/v1alpha1", "kind": "Agent", "name": AGENT, "uid": UID}
    ]
    assert answer["metadata"]["name"].startswith(f"{links.task}-link-")


@pytest.mark.parametrize(("gone", "status"), [(False, 303), (True, 410)])
async def test_who_answers_is_told_once_it_is_known_what_became_of_it(
    connection: Connection, tmp_path: Path, gone: bool, status: int
) -> None:
    async with link_rig(connection, tmp_path, patience_s=3600) as links:
        path = await links.link()
        proof = await links.proof(path)
        sending = asyncio.create_task(links.post(path, proof=proof, choice="approve"))
        await until(lambda: bool(links.answers))
        looks = links.api.count("GET", "approvalanswers")
        await until(lambda: links.api.count("GET", "approvalanswers") >= looks + 3)
        assert not sending.done()

        if gone:
            links.api.remove(AGENT_PATH)
        else:
            links.judge(False, "lee was first")

        async with asyncio.timeout(PATIENCE):
            assert (await sending)[0] == status


async def test_the_page_follows_what_becomes_of_the_answer(links: Links) -> None:
    path = await links.link()
    await links.post(path, choice="approve")

    status, html = await links.get(path)
    assert (status, "The answer is recorded" in html) == (200, True)
    assert '<meta http-equiv="refresh" content="5">' in html

    links.judge(True)
    status, html = await links.get(path)
    assert (
        status,
        "<h1>Answered</h1>" in html,
        "<dt>Given on</dt><dd><bdi>1 November 2026, 12:00 UTC</bdi>" in html,
    ) == (
        200,
        True,
        True,
    )
    assert "refresh" not in html and "<form" not in html

    links.judge(False, "kim answered reject at 2026-11-01T12:00:00.25Z, and was first")
    status, html = await links.get(path)
    assert (
        "The answer does not count" in html
        and "Because kim answered reject at 1 November 2026, 12:00 UTC, and was first." in html
    )


async def test_a_page_tells_nobody_who_may_answer(connection: Connection, tmp_path: Path) -> None:
    approvers = {"users": ["boss", GATEWAY_USER], "where": "answer.comment.contains('swordfish')"}
    async with link_rig(connection, tmp_path, approvers=approvers) as links:
        path = await links.link()
        status, html, _ = await links.post(path, choice="approve")
        assert (status, "what the approval asks of who answers does not hold for it" in html) == (422, True)
        assert "swordfish" not in html and "boss" not in html

        await links.post(path, choice="approve", comment="swordfish")
        links.judge(False, "lee is not among the users boss", "NotAnApprover")
        html = (await links.get(path))[1]
        assert "The answer does not count" in html and "boss" not in html


async def test_the_second_answer_of_a_link_is_told_of_the_first(links: Links) -> None:
    path = await links.link()
    proof = await links.proof(path)
    assert (await links.post(path, proof=proof, choice="approve"))[0] == 303
    links.judge(True)

    status, html, _ = await links.post(path, proof=proof, choice="reject")

    assert (status, "<h1>Answered</h1>" in html, "<bdi>Approve</bdi>" in html) == (409, True, True)
    assert [item["spec"]["choice"] for item in links.answers] == ["approve"]


async def test_of_two_at_once_one_counts(links: Links) -> None:
    path = await links.link()
    proof = await links.proof(path)

    sent = await asyncio.gather(
        *(links.post(path, proof=proof, choice=choice) for choice in ("approve", "reject") * 4)
    )

    assert sorted(status for status, _, _ in sent) == [303] + [409] * 7
    assert len(links.answers) == 1


async def test_an_answer_whose_response_was_lost_is_there_when_it_is_sent_again(links: Links) -> None:
    # Given a gateway that died once the API server had the answer
    path = await links.link()
    proof = await links.proof(path)

    async def die(*_: Any) -> None:
        raise RuntimeError("died")

    with patch.object(answering.LinkPages, "_wait", die):
        assert (await links.post(path, proof=proof, choice="approve"))[0] == 500

    # When the browser sends the form again
    status, html, _ = await links.post(path, proof=proof, choice="approve")

    assert (status, "The answer is recorded" in html) == (409, True)
    assert len(links.answers) == 1


async def test_somebody_elses_answer_is_shown(links: Links) -> None:
    path = await links.link()
    proof = await links.proof(path)
    links.show(answered(links, an_answer("reject", "lee", name="by-hand")))

    status, html = await links.get(path)
    assert (status, "Somebody else has answered already" in html) == (200, True)
    assert "<bdi>Reject</bdi>" in html and "<dt>Given by</dt><dd><bdi>lee</bdi>" in html
    status, html, _ = await links.post(path, proof=proof, choice="approve")
    assert (status, "<bdi>lee</bdi>" in html) == (409, True)
    assert links.answers == []


async def test_another_links_answer_is_shown_as_that(links: Links) -> None:
    path = await links.link()
    links.show(answered(links, an_answer("reject", GATEWAY_USER, name="by-another")))

    assert "<dt>Given by</dt><dd><bdi>another link</bdi>" in (await links.get(path))[1]

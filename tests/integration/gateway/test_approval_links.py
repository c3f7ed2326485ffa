"""Approval links over HTTP: who gets one, what its page shows and does not do, and that it answers once."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from heed.bus.client.connection import Connection
from heed.gateway.approvals import answering, api_patience
from heed.kube.client.client import KubeApi
from tests.builders.agents import AGENT, NAMESPACE, UID
from tests.builders.approvals import an_answer, buyer, stored_answer
from tests.builders.decisions import decide_each
from tests.builders.events import at
from tests.integration.gateway.link_rig import (
    AGENT_PATH,
    GATEWAY_GROUPS,
    GATEWAY_USER,
    NOTIFIER,
    TOKEN,
    Links,
    ended,
    link_parts,
    link_rig,
    with_session,
)
from tests.integration.gateway.serving import serving
from tests.integration.waiting import until
from tests.patience import PATIENCE
from tests.unit.apiserver import api_server

FIELDS: dict[str, Any] = {
    "type": "object",
    "required": ["amount"],
    "properties": {
        "amount": {"type": "integer", "minimum": 1, "maximum": 10, "title": "How many?"},
        "colour": {"enum": ["red", "blue"]},
        "urgent": {"type": "boolean"},
    },
}


@pytest.fixture
async def links(connection: Connection, tmp_path: Path) -> AsyncIterator[Links]:
    """One approval waits that asks for nothing but a choice."""
    async with link_rig(connection, tmp_path, details="**Why**: <i>so</i>") as rig:
        yield rig


# --- made --------------------------------------------------------------------------------------------------------


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
    links.show(_answered(links, given))
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


def _answered(links: Links, given: Any) -> Any:
    """The ledger once an answer has ended the approval."""
    (decision,) = decide_each(buyer(), [stored_answer(2, links.ledger, given)], links.ledger)
    return decision.ledger


# --- shown -------------------------------------------------------------------------------------------------------


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
    links.show(_answered(links, an_answer("reject", "lee", name="by-hand")))

    status, html = await links.get(path)
    assert (status, "Somebody else has answered already" in html) == (200, True)
    assert "<bdi>Reject</bdi>" in html and "<dt>Given by</dt><dd><bdi>lee</bdi>" in html
    status, html, _ = await links.post(path, proof=proof, choice="approve")
    assert (status, "<bdi>lee</bdi>" in html) == (409, True)
    assert links.answers == []


async def test_another_links_answer_is_shown_as_that(links: Links) -> None:
    path = await links.link()
    links.show(_answered(links, an_answer("reject", GATEWAY_USER, name="by-another")))

    assert "<dt>Given by</dt><dd><bdi>another link</bdi>" in (await links.get(path))[1]


# --- refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
async def test_another_site_cannot_answer(links: Links, headers: dict[str, str]) -> None:
    path = await links.link()

    status, html, _ = await links.post(path, headers=headers, choice="approve")

    assert (status, "This was not sent from the page" in html) == (403, True)
    assert links.answers == []


async def test_who_has_not_opened_the_page_cannot_answer(links: Links) -> None:
    path, other = await links.link(), await links.link(valid="2h")

    for proof in ("", "x", await links.proof(other)):
        status, _, _ = await links.post(path, proof=proof, choice="approve")
        assert status == 403
    assert links.answers == []


@pytest.mark.parametrize(
    ("body", "type_", "status"),
    [
        (b"choice=approve", "text/plain", 415),
        (b'{"choice": "approve"}', "application/json", 415),
        (b"\xff", "application/x-www-form-urlencoded", 400),
        (b"a=1&" * 300, "application/x-www-form-urlencoded", 400),
        (b"comment=%ED%A0%80", "application/x-www-form-urlencoded", 403),
        (b"x" * 65537, "application/x-www-form-urlencoded", 413),
    ],
)
async def test_what_is_no_form_is_refused_with_a_page(
    links: Links, body: bytes, type_: str, status: int
) -> None:
    path = await links.link()

    async with links.gateway.http.post(path, data=body, headers={"Content-Type": type_}) as response:
        assert (response.status, response.content_type) == (status, "text/html")


async def test_what_would_not_count_comes_back_with_what_was_entered(
    connection: Connection, tmp_path: Path
) -> None:
    async with link_rig(connection, tmp_path, fields=FIELDS) as links:
        path = await links.link()
        assert 'type="number" step="1" inputmode="numeric" min="1" max="10"' in (await links.get(path))[1]

        status, html, _ = await links.post(
            path, {"field-0": "11", "field-1": "1", "comment": "<b>"}, choice="approve"
        )
        assert status == 422
        assert "This answer would not count" in html and "fields.amount" in html
        assert 'value="11"' in html and '<option value="1" selected>blue</option>' in html
        assert 'value="approve" required checked' in html and "\n&lt;b&gt;</textarea>" in html

        status, html, _ = await links.post(path, {"field-0": "x"}, choice="approve")
        assert (status, "This is no number." in html, 'aria-invalid="true"' in html) == (422, True, True)
        status, html, _ = await links.post(path, {"field-0": "3"}, choice="perhaps")
        assert (status, "cannot be chosen" in html) == (422, True)
        status, html, _ = await links.post(path, {"field-0": "3"})
        assert (status, "Choose an answer." in html) == (422, True)
        assert links.answers == []

        await links.post(path, {"field-0": "3", "field-1": "0", "field-2": "on"}, choice="approve")
        assert links.answers[0]["spec"]["fields"] == {"amount": 3, "colour": "red", "urgent": True}


async def test_requests_of_one_link_have_a_limit(links: Links) -> None:
    path, other = await links.link(), await links.link(valid="2h")

    found = [(await links.get(path))[0] for _ in range(40)]

    assert found[:30] == [200] * 30 and 429 in found[30:]
    assert (await links.get(other))[0] == 200


async def test_senders_of_too_many_requests_for_links_wait(connection: Connection, tmp_path: Path) -> None:
    async with link_rig(connection, tmp_path, sender_rate=1, sender_burst=2) as links:
        assert [(await links.mint())[0] for _ in range(3)] == [201, 201, 429]


async def test_links_and_answers_are_counted(links: Links) -> None:
    path, other = await links.link(), await links.link(valid="2h")
    proof = await links.proof(path)
    await links.post(path, proof=proof)
    await links.post(path, proof=proof, choice="approve")
    await links.post(path, proof=proof, choice="approve")
    await links.get(other)

    page = (await links.gateway.context.metrics.page(""))[0].decode()

    assert f'heed_gateway_approval_links_total{{namespace="{NAMESPACE}"}} 2.0' in page
    for outcome in ("Given", "Refused", "TooLate"):
        assert f'heed_gateway_approval_answers_total{{outcome="{outcome}"}} 1.0' in page
    assert path.rpartition("/")[2] not in page


async def test_an_api_server_that_is_away_is_no_end_of_a_link(links: Links) -> None:
    path = await links.link()
    proof = await links.proof(path)
    review = links.api.refuse
    links.api.refuse = lambda method, path: 503

    status, html = await links.get(path)
    assert (status, "This is not possible right now" in html) == (503, True)
    links.api.refuse = lambda method, path: 503 if method == "POST" else review(method, path)
    async with links.gateway.http.post(path, data={"proof": proof, "choice": "approve"}) as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "2")

    links.api.refuse = review
    assert (await links.post(path, choice="approve"))[0] == 303


async def test_an_api_server_that_hangs_keeps_nobody_waiting(links: Links) -> None:
    path = await links.link()
    links.api.open.clear()

    with patch.object(api_patience, "ASK_PATIENCE_S", 0.05):
        status, html = await links.get(path)
        assert (status, "This is not possible right now" in html) == (503, True)
        assert (await links.mint())[1]["code"] == "AuthorizationUnavailable"


async def test_what_is_refused_is_logged_and_counted_without_the_link(
    links: Links, caplog: pytest.LogCaptureFixture
) -> None:
    path = await links.link()

    await links.post(path, proof="x", choice="approve")

    (record,) = [item for item in caplog.records if item.msg == "request refused"]
    assert record.__dict__["code"] == "NoProof"
    assert path.rpartition("/")[2] not in str(record.__dict__)
    page = (await links.gateway.context.metrics.page(""))[0].decode()
    assert 'heed_gateway_refusals_total{reason="NoProof",route="/v1/approvals/{token}"} 1.0' in page


async def test_a_gateway_without_keys_says_how_to_have_links(connection: Connection, tmp_path: Path) -> None:
    async with api_server() as api, serving(connection, link_parts, api=api.connect(KubeApi)) as gateway:
        async with gateway.http.post("/v1/approvals/a/b/c/links") as response:
            problem = await response.json(content_type=None)
        assert (response.status, problem["code"]) == (404, "NoApprovalLinks")
        assert "gateway.approvalLinks.enabled=true" in problem["detail"]
        async with gateway.http.get("/v1/approvals/x") as response:
            assert response.status == 404


async def test_without_a_key_that_can_be_read_links_wait_and_the_gateway_is_ready(
    connection: Connection, tmp_path: Path
) -> None:
    async with link_rig(connection, tmp_path, key=b"short") as links:
        links.gateway.health.connection = connection
        assert links.gateway.health.missing() is None

        status, problem = await links.mint()
        assert (status, problem["code"]) == (503, "NoLinkKeys")
        status, html = await links.get("/v1/approvals/a.b")
        assert (status, "This is not possible right now" in html) == (503, True)


async def test_tokens_are_not_logged(links: Links, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    path = await links.link(**{"for": "kim"})
    await links.post(path, choice="approve")

    said = [record.__dict__ for record in caplog.records if record.name == "heed.gateway"]
    assert {record["msg"] for record in said} >= {"approval link made", "answer given by link"}
    assert path.rpartition("/")[2] not in str(said)
    assert {record["for"] for record in said if "for" in record} == {"kim"}

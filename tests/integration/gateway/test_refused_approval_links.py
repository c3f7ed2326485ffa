"""What the page of an approval link refuses, and what it says while the gateway cannot serve it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from heed.bus.client.connection import Connection
from heed.gateway.approvals import api_patience
from heed.kube.client.client import KubeApi
from tests.builders.agents import NAMESPACE
from tests.integration.gateway.link_rig import (
    Links,
    link_parts,
    link_rig,
)
from tests.integration.gateway.serving import serving
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

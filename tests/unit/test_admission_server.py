"""The webhook's server when clients behave badly."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, web

from heed.kube.webhook.review_pool import ReviewPool
from heed.kube.webhook.server import MAX_CONCURRENT_REVIEWS, AdmissionServer
from heed.util.http_server import serving
from tests.integration.waiting import until

KIND = {"group": "heed.dev", "version": "v1alpha1", "kind": "Other"}
REVIEW = {
    "apiVersion": "admission.k8s.io/v1",
    "request": {"uid": "1", "kind": KIND, "operation": "CREATE", "object": {}},
}


@asynccontextmanager
async def webhook() -> AsyncIterator[str]:
    """A server that never gets to ask the API server; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    admission = AdmissionServer(None, ReviewPool())  # type: ignore[arg-type]
    routes = [web.post("/validate", admission.validate)]
    async with serving(port, routes, variable="PORT", what="webhook", host="127.0.0.1"):
        yield f"http://127.0.0.1:{port}/validate"


async def asked(url: str) -> tuple[int, Any]:
    """Status and body of the answer to a review."""
    async with ClientSession() as session, session.post(url, json=REVIEW) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if answer.status == 200 else text


async def stuck(url: str) -> asyncio.StreamWriter:
    """A client that says it will send more, and does not."""
    port = int(url.split(":")[2].partition("/")[0])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    return writer


async def test_too_many_at_once_are_told_so_and_others_answered_when_they_are_gone() -> None:
    async with webhook() as url:
        assert (await asked(url))[0] == 200
        clients = [await stuck(url) for _ in range(MAX_CONCURRENT_REVIEWS)]

        async def refused() -> bool:
            return await asked(url) == (503, "too many requests at once\n")

        await until(refused)

        for client in clients:
            client.transport.abort()

        async def answered() -> bool:
            return (await asked(url))[0] == 200

        await until(answered)


async def test_the_answer_names_the_request() -> None:
    async with webhook() as url:
        status, review = await asked(url)

    assert status == 200
    assert review["kind"] == "AdmissionReview"
    assert review["response"] == {"uid": "1", "allowed": True}

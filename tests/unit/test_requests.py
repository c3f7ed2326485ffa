"""Requests to the broker: what goes out, what an answer is, and what is said, counted and raised without one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import nats.errors
import pytest

from heed.bus.client.connection import ApiRefused, NoAnswer, NotPermitted
from heed.errors import BusUnavailable
from tests.unit.inmemory import turns
from tests.unit.wire import Sent, Wire, refusal


async def forever(_: Any) -> None:
    """Never answers."""
    await asyncio.Event().wait()


async def nothing(_: Wire) -> None:
    """Nothing happens meanwhile."""


async def lost(wire: Wire) -> None:
    """The connection is lost meanwhile."""
    wire.lose()
    wire.find()


def told(words: str) -> Callable[[Wire], Awaitable[None]]:
    """The server says something meanwhile, to no request in particular."""

    async def meanwhile(wire: Wire) -> None:
        await wire.told(nats.errors.Error(words))

    return meanwhile


FORBIDDEN = 'nats: Permissions Violation for Publish to "Some.Place"'
ALLOW = "the credentials do not allow to publish on Some.Place; use others (HEED_NATS_CREDENTIALS)"


@pytest.mark.parametrize(
    ("answer", "meanwhile", "kind", "words", "counted"),
    [
        (
            nats.errors.NoRespondersError(),
            nothing,
            NoAnswer,
            "nothing at nats://broker:4222 answers to Some.Place; is JetStream on, and does the stream exist?",
            {"no_responders": 1},
        ),
        (
            nats.errors.TimeoutError(),
            nothing,
            BusUnavailable,
            "nats://broker:4222 did not answer to Some.Place within 2.5 s",
            {"timeout": 1},
        ),
        (
            nats.errors.ConnectionClosedError(),
            nothing,
            BusUnavailable,
            "nats://broker:4222 could not be asked for Some.Place: ConnectionClosedError()",
            {"failed": 1},
        ),
        (
            ConnectionResetError("gone"),
            nothing,
            BusUnavailable,
            "nats://broker:4222 could not be asked for Some.Place: ConnectionResetError('gone')",
            {"failed": 1},
        ),
        (
            forever,
            lost,
            BusUnavailable,
            "the connection to nats://broker:4222 was lost before Some.Place was answered",
            {"lost": 1},
        ),
        (forever, told(FORBIDDEN), NotPermitted, ALLOW, {"refused": 1, "client": 1}),
        (forever, told(FORBIDDEN.lower()), NotPermitted, ALLOW, {"refused": 1, "client": 1}),
    ],
)
async def test_a_request_without_an_answer_says_why_and_is_counted_by_kind(
    answer: Any,
    meanwhile: Callable[[Wire], Awaitable[None]],
    kind: type[Exception],
    words: str,
    counted: dict[str, int],
) -> None:
    wire = Wire({"Some.Place": answer})

    for times in (1, 2):
        asking = asyncio.create_task(wire.request("Some.Place", timeout=2.5))
        await turns()
        await meanwhile(wire)
        await turns()

        assert asking.done()
        with pytest.raises(kind) as raised:
            await asking
        assert type(raised.value) is kind
        assert str(raised.value) == words
        assert wire.errors == {name: times * count for name, count in counted.items()}


async def test_what_failed_it_is_known_to_whoever_asked() -> None:
    error = nats.errors.BadSubjectError()

    with pytest.raises(BusUnavailable) as raised:
        await Wire({"a": error}).request("a")

    assert raised.value.__cause__ is error


@pytest.mark.parametrize(
    "meanwhile",
    [
        told('nats: Permissions Violation for Publish to "Some.Other"'),
        told('nats: Permissions Violation for Subscription to "Some.Place"'),
        told("Some.Place"),
    ],
)
async def test_what_was_refused_elsewhere_does_not_end_a_request(
    meanwhile: Callable[[Wire], Awaitable[None]],
) -> None:
    wire = Wire({"Some.Place": forever})
    asking = asyncio.create_task(wire.request("Some.Place"))
    await turns()

    await meanwhile(wire)
    await turns()

    assert not asking.done()
    assert wire.errors == {"client": 1}
    asking.cancel()


async def test_all_requests_to_a_place_that_is_forbidden_end_and_no_others() -> None:
    wire = Wire({"Some.": forever})
    places = ("Some.Place", "some.place", "Some.Other")
    asking = [asyncio.create_task(wire.request(place)) for place in places]
    await turns()

    await wire.told(nats.errors.Error(FORBIDDEN))
    await turns()

    assert [item.done() for item in asking] == [True, True, False]
    asking[-1].cancel()
    await asyncio.gather(*asking, return_exceptions=True)


async def test_a_request_is_sent_as_it_is_and_waited_for_five_seconds_unless_told() -> None:
    wire = Wire({"a": {"yes": 1}})

    reply = await wire.request("a.b", b"data", {"name": "value"})
    await wire.request("a.c", timeout=9.0)

    assert reply.data == b'{"yes": 1}'
    assert wire.sent == [Sent("a.b", b"data", {"name": "value"}), Sent("a.c")]
    assert wire.timeouts == [5.0, 9.0]
    assert wire.errors == {}


async def test_a_request_that_was_answered_cares_for_nothing_that_happens_later() -> None:
    wire = Wire({"a": {}})
    watchers = len(wire._watchers)

    await wire.request("a")

    assert (len(wire._watchers), len(wire._asked)) == (watchers, 0)


# ── JetStream's API ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("domain", "begin"), [(None, "$JS.API."), ("hub", "$JS.hub.API.")])
async def test_the_api_is_asked_in_json_on_subjects_of_its_domain(domain: str | None, begin: str) -> None:
    wire = Wire({begin: {"a": [1]}, "INFO": {"a": [1]}, "CREATE": {"a": [1]}}, nats_domain=domain)

    assert await wire.api("INFO") == {"a": [1]}
    assert await wire.api("CREATE.x", {"b": None}) == {"a": [1]}

    assert wire.sent == [Sent(f"{begin}INFO"), Sent(f"{begin}CREATE.x", {"b": None})]


@pytest.mark.parametrize(
    ("error", "found", "words"),
    [
        (
            {"code": 400, "err_code": 10025, "description": "bad request"},
            (400, 10025, "bad request"),
            "the broker refused A.B: bad request",
        ),
        ({}, (0, 0, ""), "the broker refused A.B: no description"),
    ],
)
async def test_a_refusal_says_what_the_broker_does(
    error: dict[str, Any], found: tuple[int, int, str], words: str
) -> None:
    with pytest.raises(ApiRefused) as raised:
        await Wire({"A.B": {"error": error}}).api("A.B")

    assert (raised.value.code, raised.value.err_code, raised.value.description) == found
    assert str(raised.value) == words


@pytest.mark.parametrize(("code", "counted"), [(404, 0), (403, 2), (405, 2), (500, 2)])
async def test_a_refusal_counts_unless_it_answers_the_question(code: int, counted: int) -> None:
    wire = Wire({"A.B": refusal(code=code)})

    for _ in range(2):
        with pytest.raises(ApiRefused):
            await wire.api("A.B")

    assert wire.errors["refused"] == counted
